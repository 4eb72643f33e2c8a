package telemetry

import (
	"testing"

	"trustpack/evidence"
)

func exportStory(t *testing.T, approver string) *served {
	s := story(t)
	by := func(typ, actor string) evidence.AuditEntry {
		return evidence.AuditEntry{Type: typ, Tenant: "nord", Target: "export-1", Result: "done", Actor: &evidence.Actor{Name: actor, Role: "exporter"}}
	}
	s.control(day(50), by(evidence.EntryExportRequested, "emil"), evidence.Export{ID: "export-1", Tenant: "nord", Rows: 3, NeedsApproval: true})
	s.control(day(50, 1), by(evidence.EntryExportApproved, "carla"), map[string]string{"id": "export-1"})
	s.control(day(50, 2), by(evidence.EntryExport, "emil"), map[string]any{
		"id": "export-1", "requester": "emil", "approver": approver, "scope": "events of nord", "rows": 3, "bytes": 99, "sha256": "ab", "destination": "here", "format": "csv",
	})
	s.now = day(93)
	s.checkpoint()
	return s
}

func TestExportIsToldWithWhoAskedAndWhoApproved(t *testing.T) {
	e := collectFrom(t, exportStory(t, "carla"), Config{})[KindExports]
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 1 {
		t.Fatalf("%+v", e.Completeness)
	}
	if at := e.Population.Items[0].Attributes; at["export"] != "export-1" || at["requester"] != "emil" || at["approver"] != "carla" || at["rows"] != int64(3) || at["tenant"] != "nord" {
		t.Errorf("%v", at)
	}
}

func TestApprovalThatTheLogDoesNotHoldIsAGap(t *testing.T) {
	incomplete(t, collectFrom(t, exportStory(t, "dora"), Config{}), "holds no export.approved of export-1", KindExports)
}
