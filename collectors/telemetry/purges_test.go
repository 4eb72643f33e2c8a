package telemetry

import (
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

func purgeStory(t *testing.T, requester, approver string, changes ...func(*ledger.Purge)) *served {
	s := story(t)
	entry := func(typ, actor string) evidence.AuditEntry {
		return evidence.AuditEntry{Type: typ, Tenant: "nord", Target: "purge-1", Result: "done", Reason: "retention ended", Actor: &evidence.Actor{Name: actor, Role: "approver"}}
	}
	what := ledger.Purge{Log: "nord", Before: "2026-07-03", FirstDay: "2026-07-01", LastDay: "2026-07-02", Days: 2, End: 9, Count: 8, Bytes: 99, Commitments: "ab"}
	s.control(day(50), entry(evidence.EntryPurgeRequested, "ben"), map[string]any{"id": "purge-1", "purge": what})
	for _, change := range changes {
		change(&what)
	}
	s.control(day(50, 1), entry(evidence.EntryPurged, "carla"), map[string]any{"id": "purge-1", "requester": requester, "approver": approver, "erased": what})
	s.now = day(93)
	s.checkpoint()
	return s
}

func TestPurgeIsToldWithWhoAskedAndWhoApproved(t *testing.T) {
	e := collectFrom(t, purgeStory(t, "ben", "carla"), Config{})[KindPurges]
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 1 {
		t.Fatalf("%+v", e.Completeness)
	}
	if at := e.Population.Items[0].Attributes; at["purge"] != "purge-1" || at["requester"] != "ben" || at["approver"] != "carla" || at["payloads"] != int64(8) || at["tenant"] != "nord" || at["last_day"] != "2026-07-02" {
		t.Errorf("%v", at)
	}
}

func TestPurgeThatTheLogDoesNotBearOutIsAGap(t *testing.T) {
	incomplete(t, collectFrom(t, purgeStory(t, "dora", "carla"), Config{}), "holds no purge.requested of purge-1", KindPurges)
	incomplete(t, collectFrom(t, purgeStory(t, "ben", "dora"), Config{}), "names another approver", KindPurges)
	later := func(p *ledger.Purge) { p.Before, p.LastDay = "2026-07-04", "2026-07-03" }
	incomplete(t, collectFrom(t, purgeStory(t, "ben", "carla", later), Config{}), "what was asked for is nord of before 2026-07-03", KindPurges)
	other := func(p *ledger.Purge) { p.Log = "sued" }
	incomplete(t, collectFrom(t, purgeStory(t, "ben", "carla", other), Config{}), "it erased payloads of sued", KindPurges)
}
