package ingest

import (
	"golang.org/x/sys/unix"

	"trustpack/evidence"
)

// systemNTP asks the kernel whether its clock is disciplined (adjtimex(2), to
// read only, which needs no privilege).
func systemNTP(c *evidence.ClockCheck) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		c.Detail = "adjtimex: " + err.Error()
		return
	}
	c.NTPSource, c.NTP = "adjtimex", "synchronised"
	if state == unix.TIME_ERROR || int64(t.Status)&unix.STA_UNSYNC != 0 {
		c.NTP = "unsynchronised"
	}
	c.OffsetUS, c.MaxErrorUS = float64(t.Offset), float64(t.Maxerror)
	if int64(t.Status)&unix.STA_NANO != 0 {
		c.OffsetUS /= 1000
	}
}
