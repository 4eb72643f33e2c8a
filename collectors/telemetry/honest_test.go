package telemetry

import (
	"testing"

	"trustpack/evidence"
)

// A tenant whose name sorts before "control" is listed, and would be read,
// before the log that says which of its devices were shut out.
func TestEventsAfterARevocationAreCountedForEveryTenant(t *testing.T) {
	s := story(t)
	revoked := evidence.AuditEntry{
		Type: evidence.EntryRevoked, Tenant: "acme", Device: "m1", Generation: 1, Reason: "stolen", Ticket: "SEC-8",
		Actor: &evidence.Actor{Name: "carla", Role: "approver"},
	}
	s.event(day(50, 1), "acme", "m1")
	at := s.control(day(50, 2), revoked, nil)
	s.event(day(50, 3), "acme", "m1")
	s.event(day(50, 4), "acme", "m1")
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	r := item(t, got[KindRevocations], entry{index: at}.id())
	if r["accepted_after"] != 2 {
		t.Errorf("%v events were accepted after the revocation, want 2", r["accepted_after"])
	}
}
