package ingest

import (
	"testing"
	"time"
)

// A device that was shut out could not report: its silence begins when it is
// let in again, also after a restart.
func TestQuarantineIsNoSilence(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Heartbeat = HeartbeatPolicy{DefaultInterval: 10 * time.Minute, Missed: 3}
	})
	r.tenant("nord")
	r.send(r.deviceClient(r.enrol("nord", "a")), r.line(1, 1))
	if _, err := r.admin("carla").QuarantineDevice(t.Context(), "nord", "a", "odd values", "T-1"); err != nil {
		t.Fatal(err)
	}
	r.clock.add(5 * time.Hour)
	if _, err := r.admin("carla").ReleaseDevice(t.Context(), "nord", "a", "looked at", "T-1"); err != nil {
		t.Fatal(err)
	}
	r.restart()
	alerts := func() int {
		t.Helper()
		if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
			t.Fatal(err)
		}
		return len(r.s.listAlerts())
	}
	r.clock.add(30 * time.Minute)
	if n := alerts(); n != 0 {
		t.Errorf("%d alerts within the threshold after its release", n)
	}
	r.clock.add(time.Second)
	if n := alerts(); n != 1 {
		t.Errorf("%d alerts beyond the threshold after its release, want 1", n)
	}
}
