package ingest

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestOwnClockIsHeldAgainstTheMonotonicOne(t *testing.T) {
	r := newRig(t)
	mono := time.Duration(0)
	r.s.ownClock.mono = func() time.Duration { return mono }
	asked := 0
	r.s.ownClock.ntp = func(c *evidence.ClockCheck) { asked++; c.NTP, c.NTPSource = "synchronised", "adjtimex" }
	pass := func(wall, monotonic time.Duration) {
		t.Helper()
		r.clock.add(wall)
		mono += monotonic
		if err := r.s.watchClock(); err != nil {
			t.Fatal(err)
		}
	}
	checks := func() (out []evidence.ClockCheck) {
		t.Helper()
		for _, e := range r.control(evidence.EntryClockChecked) {
			var c evidence.ClockCheck
			if err := unmarshal(e.Data, &c); err != nil {
				t.Fatal(err)
			}
			out = append(out, c)
		}
		return out
	}
	pass(0, 0)
	for range 59 { // an hour less a minute, a little slow: no news
		pass(time.Minute, time.Minute+20*time.Millisecond)
	}
	if c := checks(); len(c) != 1 || c[0].NTP != "synchronised" || c[0].SinceS != 0 || c[0].JumpMS != 0 {
		t.Fatalf("%+v", c)
	}
	pass(time.Minute, time.Minute)
	if c := checks(); len(c) != 2 || c[1].DriftMS != -1180 || c[1].JumpMS != 0 || c[1].SinceS < 3600 || asked != 2 {
		t.Fatalf("%+v, asked %d times", c, asked)
	}
	if n := len(r.s.listAlerts()); n != 0 {
		t.Fatalf("%d alerts", n)
	}
	pass(2*time.Second, time.Second) // just not a jump
	pass(2*time.Second+time.Millisecond, time.Second)
	if c := checks(); len(c) != 3 || c[2].JumpMS != 1001 {
		t.Fatalf("%+v", c)
	}
	pass(-time.Minute, time.Second) // set back: another jump, the same alert
	c := checks()
	if len(c) != 4 || c[3].JumpMS != -61000 || c[3].HeldMS < 59000 || c[3].HeldMS > 60001 {
		t.Fatalf("%+v", c)
	}
	alerts := r.s.listAlerts()
	if len(alerts) != 1 || alerts[0].Kind != AlertClockJump || !strings.Contains(alerts[0].Detail, "ahead by 1.001s") {
		t.Fatalf("%+v", alerts)
	}
	if err := r.admin("ben").ResolveAlert(t.Context(), alerts[0].ID, "NTP was set up", ""); err != nil {
		t.Fatal(err)
	}
	pass(time.Hour, time.Second)
	if n := len(r.s.listAlerts()); n != 2 {
		t.Errorf("%d alerts, want a new one", n)
	}
	r.sameAsFold()
}

func TestASimulatedClockIsNotWatched(t *testing.T) {
	r := newRig(t)
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.control(evidence.EntryClockChecked)); n != 0 {
		t.Errorf("%d checks", n)
	}
}

func TestSystemSaysWhetherItsClockIsDisciplined(t *testing.T) {
	var c evidence.ClockCheck
	systemNTP(&c)
	known := c.NTPSource == "adjtimex" && (c.NTP == "synchronised" || c.NTP == "unsynchronised") && c.Detail == ""
	if runtime.GOOS != "linux" && known || !known && c.Detail == "" {
		t.Errorf("%+v", c)
	}
}
