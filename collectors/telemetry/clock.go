package telemetry

import (
	"errors"

	"trustpack/evidence"
)

// clock is what the ingest found of its own clock in the period: at each start,
// each hour, and when the clock jumped. An ingest that runs on the system's
// clock and says nothing of it leaves a gap; a simulated clock has no other to
// be held against.
func (r *run) clock() part {
	p, entries := r.fromControl(KindClock, r.inWindow(evidence.EntryClockChecked))
	for _, e := range entries {
		var c evidence.ClockCheck
		if err := e.data(&c); err != nil {
			p.gap("a check of the clock", err)
			continue
		}
		p.add(e.id(), map[string]any{
			"wall": ts(c.Wall), "since_s": c.SinceS, "drift_ms": c.DriftMS, "jump_ms": c.JumpMS, "held_ms": c.HeldMS,
			"ntp": c.NTP, "ntp_source": c.NTPSource, "offset_us": c.OffsetUS, "max_error_us": c.MaxErrorUS, "detail": c.Detail, "time": ts(e.Time),
		})
	}
	switch {
	case r.simulated || r.setup.Clock == evidence.ClockSimulated:
		p.note = join(p.note, "the ingest runs on a simulated clock, which it does not check")
	case len(entries) == 0:
		p.gap("checks of the clock", errors.New("the control log holds none in the period"))
	}
	return p
}
