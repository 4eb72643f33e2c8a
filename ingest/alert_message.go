package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// alertMessage is one event of an alert as a target is told it. All that is in
// it was known when the event happened, so that it is the same in each attempt.
type alertMessage struct {
	ID    string // the same in each attempt, and of no other event
	Event string
	alert AlertRecord
	step  AlertStep
	log   string // origin of the log that holds it
}

// message is what is told of an event; ok is false where it never happened.
func (s *Server) message(a AlertRecord, event string) (m alertMessage, ok bool) {
	step := a.step(event)
	if step == nil {
		return m, false
	}
	origin := s.led.Origin(controlLog)
	return alertMessage{ID: "msg_" + shortHash(origin, itoa(step.Index)), Event: event, alert: a, step: *step, log: origin}, true
}

// shortHash is 128 bits over the parts.
func shortHash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// maxMessageDevices is how many devices a message names, so that it stays below
// the 20 kB that Standard Webhooks recommends.
const maxMessageDevices = 50

// alertPayload is the data of a message.
type alertPayload struct {
	ID             string     `json:"id"`
	Kind           string     `json:"kind"`
	Severity       string     `json:"severity"`
	Tenant         string     `json:"tenant,omitempty"`
	Since          time.Time  `json:"since"`
	RaisedAt       time.Time  `json:"raised_at"`
	Devices        []string   `json:"devices,omitempty"` // the first 50
	DeviceCount    int        `json:"device_count"`
	Detail         string     `json:"detail"`
	Actor          string     `json:"actor,omitempty"` // who acknowledged or resolved it
	Role           string     `json:"role,omitempty"`
	Text           string     `json:"text,omitempty"` // what was said then
	Ticket         string     `json:"ticket,omitempty"`
	AcknowledgedAt *time.Time `json:"acknowledged_at,omitempty"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`
	Log            string     `json:"log"`   // where it stands,
	Index          int64      `json:"index"` // and the number of its entry
}

// body is the message as Standard Webhooks recommends it: type, timestamp,
// data.
func (m alertMessage) body() ([]byte, error) {
	a, n := m.alert, min(len(m.alert.Devices), maxMessageDevices)
	p := alertPayload{
		ID: a.ID, Kind: a.Kind, Severity: alertSeverity(a.Kind), Tenant: a.Tenant, Since: a.Since, RaisedAt: a.RaisedAt,
		Devices: a.Devices[:n], DeviceCount: len(a.Devices), Detail: clipText(a.Detail, 4000),
		Actor: m.step.Actor, Role: m.step.Role, Ticket: m.step.Ticket, Log: m.log, Index: m.step.Index,
	}
	if m.Event != AlertEventRaised {
		p.Text = m.step.Text
	}
	if ack := a.step(AlertEventAcknowledged); ack != nil && ack.Index <= m.step.Index {
		p.AcknowledgedAt, p.AcknowledgedBy = &ack.Time, ack.Actor
	}
	return json.Marshal(struct {
		Type      string       `json:"type"`
		Timestamp time.Time    `json:"timestamp"` // of the event
		Data      alertPayload `json:"data"`
	}{"alert." + m.Event, m.step.Time, p})
}

// clipText is text of at most n bytes.
func clipText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xc0 == 0x80 { // in the middle of a character
		n--
	}
	return text[:n] + "…"
}
