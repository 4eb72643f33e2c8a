package telemetry

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"trustpack/evidence"
)

// An alert is told with the moment until which this run saw: while the period
// goes on, what nobody has done yet may still be done in time.
func TestAnAlertIsSeenUntilTheEndOfSight(t *testing.T) {
	s := story(t)
	s.control(day(50), evidence.AuditEntry{Type: evidence.EntryAlertRaised}, evidence.Alert{ID: "c1", Kind: "clock.jump"})
	s.checkpoint()
	want(t, item(t, collectFrom(t, s, Config{})[KindAlerts], "c1"), map[string]any{"seen_until": ts(quarter.To), "resolved_at": "", "resolved_by": ""})

	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := New(Config{URL: srv.URL}, Deps{Tool: "test", Now: func() time.Time { return day(60) }, Clock: evidence.ClockSimulated, Transport: http.DefaultTransport, Backoff: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(t.Context(), quarter)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(got, func(e evidence.Evidence) bool { return e.Kind == KindAlerts })
	want(t, item(t, got[i], "c1"), map[string]any{"seen_until": ts(day(60))})
}
