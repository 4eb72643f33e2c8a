package metering

import (
	"fmt"
	"iter"
	"time"
)

// Event is one reading as the device sends it.
type Event struct {
	Taken time.Time // when it was measured
	Time  time.Time // what the device's clock said, which is what it sends
	Boot  int64
	Seq   int64
	Type  string
	FW    string
	Data  string // JSON object
	// OutOfRange says that the reading lies outside of the schema's ranges.
	OutOfRange bool
}

// Line is the event as one line of NDJSON, with its line feed.
func (e Event) Line() []byte {
	return fmt.Appendf(nil, `{"seq":%d,"boot":%d,"time":"%s","type":"%s","fw":"%s","data":%s}`+"\n",
		e.Seq, e.Boot, e.Time.UTC().Format(time.RFC3339), e.Type, e.FW, e.Data)
}

// readMinute is when in the hour a device takes its reading.
const readMinute = 50 * time.Minute

// Start is the hour of the device's first reading: the first full one after
// its enrolment.
func (d Device) Start() time.Time {
	if d.Added.IsZero() {
		return Quarter().From
	}
	at := d.Added
	if d.Before != nil {
		at = at.Add(move)
	}
	return at.Add(enrolment + time.Hour).Truncate(time.Hour)
}

// Events gives what the device measures in [from, to) of the quarter: one
// reading an hour, and one a minute where it is in fault mode. A device that
// is revoked goes on measuring until it is taken from the wall.
func (f *Fleet) Events(d Device, from, to time.Time) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if d.Pending {
			return
		}
		m := newMeter(d)
		for hour := d.Start(); hour.Before(Quarter().To) && hour.Before(to); hour = hour.Add(time.Hour) {
			for _, e := range f.hour(m, hour) {
				if !e.Taken.Before(from) && e.Taken.Before(to) && !yield(e) {
					return
				}
			}
		}
	}
}

// hour gives the readings of one hour and takes the meter through it.
func (f *Fleet) hour(m *meter, hour time.Time) []Event {
	taken := hour.Add(readMinute)
	ahead, minutes := time.Duration(0), false
	for _, t := range m.device.Trouble {
		switch {
		case t.Kind == Silent && t.during(taken):
			m.off = true
			return nil
		case t.Kind == Revoked && !taken.Before(t.To):
			return nil
		case t.Kind == ClockAhead && t.during(taken):
			ahead = t.Ahead
		case t.Kind == OutOfRange && t.during(taken):
			minutes = true
		case t.Kind == Gap && !taken.Before(t.From) && taken.Before(t.From.Add(time.Hour)):
			m.seq += t.Missing
		}
	}
	if m.off {
		m.off, m.seq, m.boot, m.booted = false, 0, m.boot+1, hour
	}
	m.advance(hour)
	if !minutes {
		return []Event{f.event(m, taken, ahead, false)}
	}
	events := make([]Event, 0, 60)
	for i := range 60 {
		events = append(events, f.event(m, hour.Add(time.Duration(i)*time.Minute), ahead, true))
	}
	return events
}

func (f *Fleet) event(m *meter, taken time.Time, ahead time.Duration, broken bool) Event {
	m.seq++
	return Event{
		Taken: taken, Time: taken.Add(ahead), Boot: m.boot, Seq: m.seq,
		Type: f.Types[m.device.Type].Event, FW: f.firmwareOf(m.device, taken),
		Data: m.data(taken, broken), OutOfRange: broken,
	}
}

// meter is a device between two readings.
type meter struct {
	device   Device
	noise    *noise
	boot     int64
	booted   time.Time
	seq      int64
	off      bool
	register int64 // Wh
	litres   int64
	watts    int64
}

func newMeter(d Device) *meter {
	m := &meter{device: d, noise: noiseOf(d.ID), boot: 1, booted: d.Start()}
	if d.Added.IsZero() { // it has been on the wall for years
		m.register = d.Scale * m.noise.between(4_000_000, 31_000_000)
		m.litres = m.register / 35
		m.booted = d.Start().Add(-time.Duration(m.noise.between(100, 4000)) * time.Hour)
	}
	return m
}

// advance lets one hour of load pass through the registers.
func (m *meter) advance(hour time.Time) {
	weekend := hour.Weekday() == time.Saturday || hour.Weekday() == time.Sunday
	base := household(weekend)[hour.Hour()]
	if m.device.Type == "heat-meter" {
		base = hotWater()[hour.Hour()] + heating(hour)
	}
	m.watts = base * m.device.Scale * m.noise.between(820, 1190) / 1000
	m.register += m.watts
	m.litres += m.watts / 29 // about 25 K between flow and return
}

// data is the reading as JSON.
func (m *meter) data(taken time.Time, broken bool) string {
	n := m.noise
	switch m.device.Type {
	case "heat-meter":
		flow := n.between(632, 689)
		back := flow - n.between(222, 281)
		if broken {
			flow = 8500 // what an open circuit reads as
		}
		return fmt.Sprintf(`{"energy_kwh":%s,"volume_m3":%s,"power_kw":%s,"flow_c":%s,"return_c":%s}`,
			fixed(m.register, 3), fixed(m.litres, 3), fixed(m.watts, 3), fixed(flow, 1), fixed(back, 1))
	case "gateway":
		return fmt.Sprintf(`{"uptime_s":%d,"meters_heard":%d,"signal_dbm":%d,"buffer_percent":%s,"board_c":%s}`,
			int64(taken.Sub(m.booted)/time.Second), n.between(17, 19), n.between(-84, -67), fixed(n.between(8, 46), 1), fixed(n.between(288, 417), 1))
	}
	return fmt.Sprintf(`{"import_kwh":%s,"power_kw":%s,"voltage_v":%s,"frequency_hz":%s}`,
		fixed(m.register, 3), fixed(m.watts, 3), fixed(n.between(2264, 2349), 1), fixed(n.between(49971, 50029), 3))
}
