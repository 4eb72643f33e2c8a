package telemetry

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"trustpack/evidence"
)

// What began before the period is brought as far back as was asked, by the
// kinds that are judged when they fall due, and the window says so. What became
// of it is told to the period's end.
func TestWhatBeganBeforeThePeriodIsBroughtAsFarAsAsked(t *testing.T) {
	s := story(t)
	rotate := func(at time.Time, old, fresh string) string {
		e := of("m1")
		e.Type = evidence.EntryDeviceRotated
		return entry{index: s.control(at, e, map[string]any{
			"credential": evidence.Credential{Fingerprint: fresh, NotBefore: at}, "replaces": old, "old_until": at.Add(48 * time.Hour), "by": "device",
		})}.id()
	}
	drill := func(at time.Time) string {
		return entry{index: s.control(at, evidence.AuditEntry{Type: evidence.EntryDrill}, evidence.DrillResult{ID: "PR-01.x", Control: "PR-01", StartedAt: at})}.id()
	}
	open := func(at time.Time, id string) string {
		s.control(at, by(evidence.EntryBreakGlassOpened, "anna", "admin"), map[string]any{"id": id, "operator": "anna", "role": "approver", "until": at.Add(30 * time.Minute)})
		return id
	}
	raise := func(at time.Time, id string) string {
		s.control(at, evidence.AuditEntry{Type: evidence.EntryAlertRaised}, evidence.Alert{ID: id, Kind: "clock.jump"})
		return id
	}
	late := day(-1, 23).Add(45 * time.Minute)
	older := map[evidence.Kind]string{
		KindRotations: rotate(day(-3), "sha256:r1", "sha256:r2"), KindDrills: drill(day(-3)), KindBreakGlass: open(day(-3), "b0"), KindAlerts: raise(day(-3), "c0"),
	}
	old := map[evidence.Kind]string{
		KindRotations: rotate(day(-1), "sha256:r2", "sha256:r3"), KindDrills: drill(day(-1)), KindBreakGlass: open(late, "b1"), KindAlerts: raise(day(-1), "c1"),
	}
	dead := of("m1")
	dead.Type = evidence.EntryCredentialDead
	s.control(day(1, 1), dead, map[string]string{"fingerprint": "sha256:r2"})
	s.control(day(0, 1), by(evidence.EntryBreakGlassClosed, "anna", "admin"), map[string]any{"id": "b1", "why": "over"})
	s.control(day(9), evidence.AuditEntry{Type: evidence.EntryAlertResolved}, map[string]any{"id": "c1", "resolution": "set right"})
	s.checkpoint()

	srv := httptest.NewServer(s)
	defer srv.Close()
	deps := Deps{Tool: "test", Now: func() time.Time { return quarter.To }, Clock: evidence.ClockSimulated, Transport: http.DefaultTransport, Backoff: atOnce}
	collect := func(back time.Duration) map[evidence.Kind]evidence.Evidence {
		deps.LooksBack = map[evidence.Kind]time.Duration{KindRotations: back, KindDrills: back, KindBreakGlass: back, KindAlerts: back, KindRefusals: back}
		c, err := New(Config{URL: srv.URL}, deps)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Collect(t.Context(), quarter)
		if err != nil {
			t.Fatal(err)
		}
		out := map[evidence.Kind]evidence.Evidence{}
		for _, e := range got {
			out[e.Kind] = e
		}
		return out
	}
	has := func(e evidence.Evidence, id string) bool {
		for _, it := range e.Population.Items {
			if it.ID == id {
				return true
			}
		}
		return false
	}
	bare, got := collect(0), collect(48*time.Hour)
	for kind, id := range old {
		if has(bare[kind], id) || bare[kind].Window != quarter {
			t.Errorf("%s of %s holds %s although nothing earlier was asked for", kind, bare[kind].Window, id)
		}
		if e := got[kind]; !has(e, id) || has(e, older[kind]) || !e.Window.From.Equal(day(-2)) || !e.Window.To.Equal(quarter.To) {
			t.Errorf("%s of %s: holds %s: %v, holds the older %s: %v", kind, e.Window, id, has(e, id), older[kind], has(e, older[kind]))
		}
	}
	if got[KindRefusals].Window != quarter {
		t.Errorf("refusals of %s", got[KindRefusals].Window)
	}
	want(t, item(t, got[KindRotations], old[KindRotations]), map[string]any{"over": true, "retired_at": ts(day(1, 1)), "retired_delay_s": 3600.0})
	want(t, item(t, got[KindBreakGlass], "b1"), map[string]any{"over": true, "closed_at": ts(day(0, 1))})
	want(t, item(t, got[KindAlerts], "c1"), map[string]any{"resolved_at": ts(day(9))})
	want(t, item(t, got[KindDrills], old[KindDrills]), map[string]any{"log_since": ts(day(-10))})
}
