package ingest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// AlertRecord is an alert and what became of it.
type AlertRecord struct {
	evidence.Alert
	Tenant         string     `json:"tenant,omitempty"`
	RaisedAt       time.Time  `json:"raised_at"`
	EscalatedAt    *time.Time `json:"escalated_at,omitempty"`
	AcknowledgedAt *time.Time `json:"acknowledged_at,omitempty"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`
	ResolvedAt     *time.Time `json:"resolved_at,omitempty"`
	ResolvedBy     string     `json:"resolved_by,omitempty"`
	Resolution     string     `json:"resolution,omitempty"`
	// Ticket is what an operator named last, or else the issue that was made of
	// the alert.
	Ticket     string          `json:"ticket,omitempty"`
	Chain      []AlertStep     `json:"chain"`                // all that was done, oldest first
	Deliveries []AlertDelivery `json:"deliveries,omitempty"` // to whom it was told outside
}

// AlertStep is one step in the life of an alert, and its entry.
type AlertStep struct {
	Event  string    `json:"event"` // one of AlertEvents, or "resend"
	Time   time.Time `json:"time"`
	Index  int64     `json:"index"`           // in the control log
	Actor  string    `json:"actor,omitempty"` // empty where the ingest itself did it
	Role   string    `json:"role,omitempty"`
	Text   string    `json:"text,omitempty"`
	Ticket string    `json:"ticket,omitempty"`
}

// States of an AlertDelivery.
const (
	DeliveryWaiting     = "waiting"
	DeliveryDelivered   = "delivered"
	DeliveryUndelivered = "undelivered" // given up until somebody has it sent again
)

// AlertDelivery is one event of an alert on its way to one target. It is owed
// from the entry of the event on, to each target of the configuration that was
// in force then.
type AlertDelivery struct {
	To       string    `json:"to"`    // name of the webhook, or the repository
	Kind     string    `json:"kind"`  // TargetWebhook or TargetGitHubIssue
	Event    string    `json:"event"` // one of AlertEvents
	State    string    `json:"state"`
	Attempts int       `json:"attempts,omitempty"`
	Error    string    `json:"error,omitempty"`
	Ticket   string    `json:"ticket,omitempty"` // URL of the issue
	Time     time.Time `json:"time"`             // since when State holds
	Index    int64     `json:"index"`            // of the entry that says so
}

// deliveryData is the data of an alert.delivered, alert.undelivered or
// alert.resend entry.
type deliveryData struct {
	ID       string `json:"id"`
	To       string `json:"to"`
	Kind     string `json:"kind,omitempty"`
	Event    string `json:"event"`
	Attempts int    `json:"attempts,omitempty"`
	Ticket   string `json:"ticket,omitempty"`
	Error    string `json:"error,omitempty"`
}

// step finds the step of an event.
func (a *AlertRecord) step(event string) *AlertStep {
	for i := range a.Chain {
		if a.Chain[i].Event == event {
			return &a.Chain[i]
		}
	}
	return nil
}

// delivery finds what is owed to a target of an event.
func (a *AlertRecord) delivery(to, event string) *AlertDelivery {
	for i := range a.Deliveries {
		if d := &a.Deliveries[i]; d.To == to && d.Event == event {
			return d
		}
	}
	return nil
}

// next finds the first delivery to a target that waits: events are told in the
// order in which they happened.
func (a *AlertRecord) next(to string) *AlertDelivery {
	for i := range a.Deliveries {
		if d := &a.Deliveries[i]; d.To == to && d.State == DeliveryWaiting {
			return d
		}
	}
	return nil
}

// deliveries counts the deliveries in a state.
func (st *state) deliveries(state string) (n int) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, a := range st.alerts {
		for i := range a.Deliveries {
			if a.Deliveries[i].State == state {
				n++
			}
		}
	}
	return n
}

// applyAlert makes an entry of an alert take effect. The caller holds st.mu.
func (st *state) applyAlert(index int64, e *evidence.AuditEntry) error {
	if e.Type == evidence.EntryAlertRaised {
		a := &AlertRecord{Tenant: e.Tenant, RaisedAt: e.Time}
		if err := json.Unmarshal(e.Data, &a.Alert); err != nil {
			return err
		}
		st.alerts[a.ID] = a
		return st.applyAlertStep(a, AlertEventRaised, index, e, a.Detail)
	}
	var d struct {
		ID         string `json:"id"`
		Resolution string `json:"resolution"`
		Within     string `json:"within"`
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	before := st.alerts[d.ID]
	if before == nil {
		return fmt.Errorf("%s of an alert that was never raised, %s", e.Type, clip(d.ID))
	}
	a := new(AlertRecord)
	*a = *before // a capture may hold the one before
	a.Chain, a.Deliveries = slices.Clone(a.Chain), slices.Clone(a.Deliveries)
	st.alerts[d.ID] = a
	at := e.Time
	switch e.Type {
	case evidence.EntryAlertEscalated:
		a.EscalatedAt = &at
		return st.applyAlertStep(a, AlertEventEscalated, index, e, "nobody acknowledged it within "+d.Within)
	case evidence.EntryAlertAcked:
		a.AcknowledgedAt, a.AcknowledgedBy = &at, actorName(e.Actor)
		return st.applyAlertStep(a, AlertEventAcknowledged, index, e, e.Reason)
	case evidence.EntryAlertResolved:
		a.ResolvedAt, a.ResolvedBy, a.Resolution = &at, actorName(e.Actor), d.Resolution
		return st.applyAlertStep(a, AlertEventResolved, index, e, d.Resolution)
	default:
		return a.applyDelivery(index, e)
	}
}

// applyAlertStep notes a step, and to whom it is to be told.
func (st *state) applyAlertStep(a *AlertRecord, event string, index int64, e *evidence.AuditEntry, text string) error {
	a.noteStep(event, index, e, text)
	targets, err := st.alertTargets(a, event)
	for _, t := range targets {
		a.Deliveries = append(a.Deliveries, AlertDelivery{To: t.to, Kind: t.kind, Event: event, State: DeliveryWaiting, Time: e.Time, Index: index})
	}
	return err
}

func (a *AlertRecord) noteStep(event string, index int64, e *evidence.AuditEntry, text string) {
	s := AlertStep{Event: event, Time: e.Time, Index: index, Text: text, Ticket: e.Ticket}
	if e.Actor != nil {
		s.Actor, s.Role = e.Actor.Name, e.Actor.Role
	}
	a.Chain = append(a.Chain, s)
	if e.Ticket != "" {
		a.Ticket = e.Ticket
	}
}

// applyDelivery notes how a delivery ended, or that it is to be made again.
func (a *AlertRecord) applyDelivery(index int64, e *evidence.AuditEntry) error {
	var d deliveryData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	x := a.delivery(d.To, d.Event)
	if x == nil {
		return fmt.Errorf("%s to %s, to whom nothing is owed of alert %s", e.Type, clip(d.To), clip(d.ID))
	}
	x.Time, x.Index, x.Attempts, x.Error = e.Time, index, d.Attempts, d.Error
	switch e.Type {
	case evidence.EntryAlertDelivered:
		x.State = DeliveryDelivered
		if x.Ticket = d.Ticket; a.Ticket == "" {
			a.Ticket = d.Ticket
		}
	case evidence.EntryAlertUndelivered:
		x.State = DeliveryUndelivered
	case evidence.EntryAlertResend:
		x.State = DeliveryWaiting
		a.noteStep("resend", index, e, strings.TrimSpace(d.Event+" to "+d.To+" "+e.Reason))
	}
	return nil
}

// alertTarget is a target that wants an event.
type alertTarget struct{ to, kind string }

// alertTargets lists who is told of an event under the configuration in force.
func (st *state) alertTargets(a *AlertRecord, event string) ([]alertTarget, error) {
	var c struct {
		Alerts struct {
			Canaries bool `json:"canaries"`
			Webhooks []struct {
				Name   string   `json:"name"`
				Kinds  []string `json:"kinds"`
				Events []string `json:"events"`
			} `json:"webhooks"`
			GitHub struct {
				Repository string   `json:"repository"`
				Kinds      []string `json:"kinds"`
			} `json:"github"`
		} `json:"alerts"`
	}
	if len(st.config.Config) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(st.config.Config, &c); err != nil {
		return nil, fmt.Errorf("reading who is told of alerts: %w", err)
	}
	if strings.HasPrefix(a.Tenant, evidence.CanaryPrefix) && !c.Alerts.Canaries {
		return nil, nil
	}
	wants := func(list []string, what string) bool { return len(list) == 0 || slices.Contains(list, what) }
	var out []alertTarget
	for _, w := range c.Alerts.Webhooks {
		if wants(w.Kinds, a.Kind) && wants(w.Events, event) {
			out = append(out, alertTarget{w.Name, TargetWebhook})
		}
	}
	if g := c.Alerts.GitHub; g.Repository != "" && wants(g.Kinds, a.Kind) {
		out = append(out, alertTarget{g.Repository, TargetGitHubIssue})
	}
	return out, nil
}
