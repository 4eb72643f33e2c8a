package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// alert is one alert with what became of it.
type alert struct {
	evidence.Alert
	raised, acked, resolved entry
	ticket                  string // that an operator named last, or the issue that was made of it
	named                   bool   // ticket is an operator's
	deliveries              []*alertDelivery
}

// alertDelivery is one event of an alert as one webhook or repository was told
// it, or was not.
type alertDelivery struct {
	To       string `json:"to"`
	Kind     string `json:"kind"`
	Event    string `json:"event"`
	Attempts int    `json:"attempts"`
	Ticket   string `json:"ticket"`
	Error    string `json:"error"`
	state    string // as the ingest says: delivered, undelivered or, sent again, waiting
	at       time.Time
	index    int64
}

// deliveryStates are what entries make of a delivery.
func deliveryStates() map[string]string {
	return map[string]string{evidence.EntryAlertDelivered: "delivered", evidence.EntryAlertUndelivered: "undelivered", evidence.EntryAlertResend: "waiting"}
}

// foldAlerts reads the alerts raised before the period's end, with the
// acknowledgements, resolutions and deliveries known at collection.
func (r *run) foldAlerts(p *part, entries []entry) []*alert {
	var out []*alert
	byID := map[string]*alert{}
	for _, e := range entries {
		if e.Result == "refused" {
			continue
		}
		switch e.Type {
		case evidence.EntryAlertRaised:
			a := &alert{raised: e}
			if err := e.data(&a.Alert); err != nil {
				p.gap("an alert", err)
				continue
			}
			out, byID[a.ID] = append(out, a), a
		case evidence.EntryAlertAcked, evidence.EntryAlertResolved:
			var d struct {
				ID         string `json:"id"`
				Resolution string `json:"resolution"`
			}
			if err := e.data(&d); err != nil {
				p.gap("what became of an alert", err)
				continue
			}
			a := byID[d.ID]
			if a == nil {
				p.gap("alert "+d.ID, fmt.Errorf("control entry %d acts on it and the log does not hold it", e.index))
				continue
			}
			if e.Type == evidence.EntryAlertAcked {
				a.acked = e
			} else {
				a.resolved = e
			}
			if e.Ticket != "" {
				a.ticket, a.named = e.Ticket, true
			}
		case evidence.EntryAlertDelivered, evidence.EntryAlertUndelivered, evidence.EntryAlertResend:
			r.foldDelivery(p, byID, e)
		}
	}
	return out
}

func (r *run) foldDelivery(p *part, byID map[string]*alert, e entry) {
	var d struct {
		ID string `json:"id"`
		alertDelivery
	}
	if err := e.data(&d); err != nil {
		p.gap("to whom an alert was told", err)
		return
	}
	a := byID[d.ID]
	if a == nil {
		p.gap("alert "+d.ID, fmt.Errorf("control entry %d says to whom it was told and the log does not hold it", e.index))
		return
	}
	now := d.alertDelivery
	now.state, now.at, now.index = deliveryStates()[e.Type], e.Time, e.index
	if now.Ticket != "" && !a.named {
		a.ticket = now.Ticket
	}
	for _, x := range a.deliveries {
		if x.To == now.To && x.Event == now.Event {
			if now.Kind == "" {
				now.Kind = x.Kind
			}
			*x = now
			return
		}
	}
	a.deliveries = append(a.deliveries, &now)
}

// told is what is shown of the deliveries of an alert. One that is still on its
// way for the first time is not among them: the log says of it when it ends.
func (a *alert) told() []any {
	out := []any{}
	for _, d := range a.deliveries {
		out = append(out, map[string]any{
			"to": d.To, "kind": d.Kind, "event": d.Event, "state": d.state, "attempts": d.Attempts, "at": ts(d.at), "ticket": d.Ticket, "error": d.Error, "control_index": d.index,
		})
	}
	return out
}

// untold names what of the alert was given up.
func (a *alert) untold() []any {
	out := []any{}
	for _, d := range a.deliveries {
		if d.state != "delivered" {
			out = append(out, d.Event+" to "+d.To)
		}
	}
	return out
}

// alertOrDelivery also takes the entries that say to whom alerts were told.
func alertOrDelivery(e entry) bool { return alertTypes(e) || deliveryStates()[e.Type] != "" }

func alertTypes(e entry) bool {
	return e.Type == evidence.EntryAlertRaised || e.Type == evidence.EntryAlertAcked || e.Type == evidence.EntryAlertResolved
}

// alerts are those raised in the period, or so long before it as was asked.
func (r *run) alerts() part {
	p, entries := r.fromControl(KindAlerts, alertOrDelivery)
	for _, a := range r.foldAlerts(&p, entries) {
		if !r.reach(KindAlerts).Contains(a.raised.Time) {
			continue
		}
		p.add(a.ID, map[string]any{
			"kind": a.Kind, "tenant": a.raised.Tenant, "since": ts(a.Since), "raised_at": ts(a.raised.Time), "devices": list(a.Devices), "detail": a.Detail,
			"acknowledged_at": ts(a.acked.Time), "acknowledged_by": a.acked.actorName(),
			"resolved_at": ts(a.resolved.Time), "resolution": resolution(a), "resolved_by": a.resolved.actorName(),
			"ticket": a.ticket, "deliveries": a.told(), "undelivered": a.untold(), "seen_until": ts(r.endOfSight()),
		})
	}
	return p
}

func resolution(a *alert) string {
	var d struct{ Resolution string }
	if a.resolved.data(&d) != nil {
		return ""
	}
	return d.Resolution
}

// silences are found in the tenants' logs: each time longer than the device's
// threshold in which an active device sent nothing that was accepted. Whether
// an alert was raised for it is then looked up.
func (r *run) silences() part {
	p, entries := r.fromControl(KindSilences, alertTypes)
	r.needTenants(&p)
	p.needs(r.configReply, "configuration (after what silence a device is overdue)")
	p.needs(r.devicesReply, "device registry")
	r.reconcileDevices(&p)
	p.basis = "reconciled"
	alerts := r.foldAlerts(&p, entries)
	states := r.deviceStates()
	activated := r.activations()
	for _, d := range r.devs {
		key := deviceKey(d.Tenant, d.ID, d.Generation)
		for _, s := range r.spans(activated[key], r.activity[key]) {
			end := s.to
			if end.IsZero() {
				end = r.endOfSight()
			}
			for _, in := range letIn(span{s.from, end}, states[key]) {
				if threshold := r.settingsAt(in.from).threshold(d); threshold > 0 {
					r.silence(&p, d, threshold, in, s.to, alerts)
				}
			}
		}
	}
	return p
}

// spans are the times without telemetry from the device's activation (zero
// where the log holds none) to the end of sight. The last is open.
func (r *run) spans(activated time.Time, a *activity) []span {
	var out []span
	last := activated
	if a != nil {
		if !activated.IsZero() && a.first.After(activated) {
			out = append(out, span{activated, a.first})
		}
		out, last = append(out, a.spans...), a.last
	}
	if !last.IsZero() && r.endOfSight().After(last) {
		out = append(out, span{from: last})
	}
	return out
}

// activations are the first contacts of the devices.
func (r *run) activations() map[string]time.Time {
	out := map[string]time.Time{}
	for _, e := range r.control {
		if e.Type == evidence.EntryDeviceActivated && e.Result != "refused" {
			out[deviceKey(e.Tenant, e.Device, e.Generation)] = e.Time
		}
	}
	return out
}

// endOfSight is the last instant of the period that this run could see.
func (r *run) endOfSight() time.Time {
	if r.at.Before(r.period.To) {
		return r.at
	}
	return r.period.To
}

// letIn are the parts of a silence in which the device could have reported. One
// that is shut out is not silent but silenced: a silence ends where it is shut
// out, and another begins when it is let in again.
func letIn(s span, states []stateSpan) []span {
	var in []span
	from, out := s.from, false
	for _, st := range states {
		switch {
		case st.out == out || st.from.After(s.to):
		case !st.from.After(s.from):
			out = st.out
		case st.out:
			in, out = append(in, span{from, st.from}), true
		default:
			from, out = st.from, false
		}
	}
	if !out {
		in = append(in, span{from, s.to})
	}
	return in
}

// silence adds s where it is one; until is when the device was heard again.
func (r *run) silence(p *part, d deviceRecord, threshold time.Duration, s span, until time.Time, alerts []*alert) {
	end := s.to
	// What counts is the silence inside the period.
	overdue := s.from.Add(threshold)
	if !end.After(overdue) || !end.After(r.period.From) || !overdue.Before(r.period.To) {
		return
	}
	name := d.Tenant + "/" + d.ID
	at := map[string]any{
		"tenant": d.Tenant, "device": d.ID, "generation": d.Generation, "since": ts(s.from), "until": ts(until),
		"threshold_s": threshold.Seconds(), "duration_s": end.Sub(s.from).Seconds(),
		"alert_id": "", "alert_raised_at": "", "alert_delay_s": nil,
	}
	for _, a := range alerts {
		if !strings.HasSuffix(a.Kind, ".silent") || !slices.Contains(a.Devices, name) || a.raised.Time.Before(s.from) || a.raised.Time.After(later(end, overdue).Add(threshold)) {
			continue
		}
		at["alert_id"], at["alert_raised_at"], at["alert_delay_s"] = a.ID, ts(a.raised.Time), a.raised.Time.Sub(overdue).Seconds()
		break
	}
	p.add(name+"/"+ts(s.from), at)
}

// stateSpan is the moment from which a device was shut out or let in again.
type stateSpan struct {
	from time.Time
	out  bool
}

func (r *run) deviceStates() map[string][]stateSpan {
	out := map[string][]stateSpan{}
	for _, e := range r.control {
		if e.Result == "refused" {
			continue
		}
		key := deviceKey(e.Tenant, e.Device, e.Generation)
		switch e.Type {
		case evidence.EntryRevoked, evidence.EntryQuarantined, evidence.EntryDeviceRetired, evidence.EntryTransferred:
			out[key] = append(out[key], stateSpan{e.Time, true})
		case evidence.EntryReleased:
			out[key] = append(out[key], stateSpan{e.Time, false})
		}
	}
	return out
}
