package telemetry

import (
	"fmt"
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

func TestPayloadDaysTellWhatWasNotPurged(t *testing.T) {
	s := story(t)
	s.now = day(40)
	ev := func(log string, at int, payload []byte, more map[string]any) int64 {
		v := map[string]any{"t": "event", "received": day(at, 12), "device": "m1", "gen": 1, "seq": 1}
		for k, x := range more {
			v[k] = x
		}
		return s.appendWith(log, s.now, v, payload)
	}
	first := ev("sued", 40, []byte("{}"), nil)
	ev("sued", 41, []byte("{}"), nil)
	ev("sued", 42, nil, map[string]any{"data": map[string]any{"kw": 1}})
	ev("sued", 95, []byte("{}"), nil) // after the period
	erased := func(log string, end int64) map[string]any {
		return map[string]any{"id": "purge-1", "requester": "ben", "approver": "carla", "erased": ledger.Purge{Log: log, Before: "2026-08-11", First: first, End: end}}
	}
	purged := evidence.AuditEntry{Type: evidence.EntryPurged, Tenant: "sued", Target: "purge-1", Result: "done", Actor: &evidence.Actor{Name: "carla"}}
	s.control(day(80), purged, erased("sued", first+1))
	s.control(day(80, 1), purged, erased("nord", first+2)) // the purge of another's log is none of this one's
	s.control(day(92), purged, erased("sued", first+2))    // came after the period
	s.now = day(93)
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindPayloadDays]
	if e.Completeness.State != evidence.Complete {
		t.Fatalf("%+v", e.Completeness)
	}
	got := map[string]string{}
	for _, it := range e.Population.Items {
		if it.Attributes["tenant"] == "sued" {
			got[it.ID] = fmt.Sprintf("%v %v %v %v", it.Attributes["day"], it.Attributes["payloads"], it.Attributes["kept"], it.Attributes["in_entries"])
		}
	}
	want := map[string]string{
		"sued/2026-08-10": "2026-08-10T00:00:00Z 1 0 0", "sued/2026-08-11": "2026-08-11T00:00:00Z 1 1 0", "sued/2026-08-12": "2026-08-12T00:00:00Z 0 0 1",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}
