package ingest

import (
	"fmt"
	"time"

	"trustpack/evidence"
)

// clockJump is how far the wall clock may move against the monotonic one
// between two looks. What slews a clock moves it by 500 millionths at most.
const clockJump = time.Second

// clockWatch holds the wall clock, which people and NTP set, against the
// monotonic one, which nobody can. Only Tick uses it.
type clockWatch struct {
	wall func() time.Time
	mono func() time.Duration // since any moment; on Linux it stands still while the machine sleeps
	ntp  func(*evidence.ClockCheck)

	looked      bool
	last        reading // at the last look
	checked     reading // at the last entry
	checkedHour time.Time
}

// reading is both clocks at one moment.
type reading struct {
	wall time.Time
	mono time.Duration
}

func newClockWatch(wall func() time.Time) clockWatch {
	began := time.Now()
	return clockWatch{wall: wall, mono: func() time.Duration { return time.Since(began) }, ntp: systemNTP}
}

// drift is by how much the wall went ahead of the monotonic clock since then.
func (r reading) drift(then reading) time.Duration {
	return r.wall.Round(0).Sub(then.wall.Round(0)) - (r.mono - then.mono) // Round strips the monotonic part
}

// look reads both clocks. jump is not 0 where the wall has jumped since the
// look before; due says that an entry is to be made.
func (c *clockWatch) look() (r reading, jump time.Duration, due bool) {
	r = reading{c.wall(), c.mono()}
	if c.looked {
		if d := r.drift(c.last); d.Abs() > clockJump {
			jump = d
		}
	}
	due = !c.looked || jump != 0 || !r.wall.UTC().Truncate(time.Hour).Equal(c.checkedHour)
	c.last, c.looked = r, true
	return r, jump, due
}

// watchSystemClock watches the clock where it is the system's: a simulated one
// has no other to be held against.
func (s *Server) watchSystemClock(time.Time) error {
	if s.o.Clock != evidence.ClockSystem {
		return nil
	}
	return s.watchClock()
}

// watchClock enters what the clock is like, each hour, and raises an alert
// when it has jumped: one, until that is resolved; each jump is an entry.
func (s *Server) watchClock() error {
	c := &s.ownClock
	r, jump, due := c.look()
	if !due {
		return nil
	}
	check := evidence.ClockCheck{Wall: r.wall.UTC().Round(0), JumpMS: milliseconds(jump), NTP: "unknown"}
	if c.checked.wall.IsZero() {
		c.checked = r
	}
	check.SinceS, check.DriftMS = (r.mono - c.checked.mono).Seconds(), milliseconds(r.drift(c.checked))
	c.ntp(&check)
	e := s.entry(evidence.EntryClockChecked, evidence.AuditEntry{Target: "clock"})
	check.HeldMS = max(0, milliseconds(e.Time.Sub(r.wall.Round(0))))
	if check.HeldMS < 1 {
		check.HeldMS = 0 // the time that this took
	}
	e.Data = raw(check)
	s.decide.Lock()
	defer s.decide.Unlock()
	if _, err := s.record(e); err != nil {
		return err
	}
	c.checked, c.checkedHour = r, r.wall.UTC().Truncate(time.Hour)
	if jump == 0 || s.openAlert(AlertClockJump, func(*AlertRecord) bool { return true }) != nil {
		return nil
	}
	raised := s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{})
	way := "ahead"
	if jump < 0 {
		way = "back"
	}
	a := evidence.Alert{
		ID: alertID(AlertClockJump, raised.Time), Kind: AlertClockJump, Since: raised.Time,
		Detail: fmt.Sprintf("the clock of the machine jumped %s by %v; times of receipt about %s may be off", way, jump.Abs().Round(time.Millisecond), r.wall.UTC().Format(time.RFC3339)),
	}
	raised.Target, raised.Data = a.ID, raw(a)
	_, err := s.record(raised)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
