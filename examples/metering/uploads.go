package metering

import (
	"bytes"
	"time"
)

// Rules of the example's ingest that decide what becomes of an upload. Its
// configuration must say the same for Expect to hold.
const (
	FlagBeyond   = time.Minute      // an event further ahead than this is accepted with a flag
	FutureBeyond = 10 * time.Minute // an event further ahead than this is a dead letter
)

// Upload is one request of a device to POST /v1/telemetry.
type Upload struct {
	At     time.Time
	Tenant string
	Device string
	Body   []byte // NDJSON
	Expect Expect
}

// Expect is what an ingest must answer. Status 403 stands with the problem's
// Code; the counts are then zero.
type Expect struct {
	Status       int
	Code         string
	Lines        int
	Accepted     int
	Duplicate    int
	DeadLettered int
	Ahead        int // among Accepted: to be flagged, as the device's clock runs ahead
}

// slotLead is how long before the full quarter of a day the uploads begin, so
// that the quarter's last reading is received within the quarter.
const slotLead = 10 * time.Minute

// slots are the times at which the device sends.
func (f *Fleet) slots(d Device) []time.Time {
	every := f.Types[d.Type].Upload
	first := Quarter().From.Add(every - slotLead)
	if d.Type != "gateway" { // gateways send at once; meters share the radio channel
		last := d.ID[len(d.ID)-1]
		first = first.Add(2 * time.Minute * time.Duration(1+last%3))
	}
	var times []time.Time
	for at := first; at.Before(Quarter().To); at = at.Add(every) {
		if !at.Before(d.Start()) {
			times = append(times, at)
		}
	}
	return times
}

// Uploads are all requests of the device in the quarter, in order of time. A
// device keeps what was refused or could not be sent and sends it again.
func (f *Fleet) Uploads(d Device) []Upload {
	var uploads []Upload
	var pending []Event
	from := d.Start()
	events := f.Events(d, Quarter().From, Quarter().To)
	taken := make([]Event, 0, 2300)
	for e := range events {
		taken = append(taken, e)
	}
	for _, at := range f.slots(d) {
		for len(taken) > 0 && !taken[0].Taken.After(at) {
			pending, taken = append(pending, taken[0]), taken[1:]
		}
		if len(pending) == 0 || d.suffers(Silent, at) || d.gone(at) {
			from = at
			continue
		}
		u := upload(d, at, pending)
		switch {
		case d.suffers(Quarantined, at):
			u.Expect = Expect{Status: 403, Code: "auth.quarantined", Lines: len(pending)}
		case d.revoked(at):
			u.Expect = Expect{Status: 403, Code: "auth.revoked", Lines: len(pending)}
		default:
			pending = pending[:0]
		}
		uploads = append(uploads, u)
		if d.resends(from, at) {
			u.At = at.Add(3 * time.Minute)
			u.Expect = Expect{Status: 202, Lines: u.Expect.Lines, Duplicate: u.Expect.Lines}
			uploads = append(uploads, u)
		}
		from = at
	}
	return uploads
}

// upload is the request with what a device in good standing is answered.
func upload(d Device, at time.Time, events []Event) Upload {
	var body bytes.Buffer
	expect := Expect{Status: 202, Lines: len(events)}
	for _, e := range events {
		body.Write(e.Line())
		ahead := e.Time.Sub(at)
		switch {
		case e.OutOfRange, ahead > FutureBeyond:
			expect.DeadLettered++
			continue
		case ahead > FlagBeyond:
			expect.Ahead++
		}
		expect.Accepted++
	}
	return Upload{At: at, Tenant: d.Tenant, Device: d.ID, Body: body.Bytes(), Expect: expect}
}

func (d Device) suffers(kind TroubleKind, at time.Time) bool {
	for _, t := range d.Trouble {
		if t.Kind == kind && t.during(at) {
			return true
		}
	}
	return false
}

// revoked reports whether the device was revoked at or before the time.
func (d Device) revoked(at time.Time) bool {
	for _, t := range d.Trouble {
		if t.Kind == Revoked && !at.Before(t.From) {
			return true
		}
	}
	return false
}

// gone reports whether the device was taken from the wall.
func (d Device) gone(at time.Time) bool {
	for _, t := range d.Trouble {
		if t.Kind == Revoked && !at.Before(t.To) {
			return true
		}
	}
	return false
}

// resends reports whether the upload at the time is the first one after a
// lost reply was due; the one before was sent at from.
func (d Device) resends(from, at time.Time) bool {
	for _, t := range d.Trouble {
		if t.Kind == Resend && from.Before(t.From) && !at.Before(t.From) {
			return true
		}
	}
	return false
}
