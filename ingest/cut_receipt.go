package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// CutReceipt is the account of one decision to shut a device out: who decided
// it and why, the cut of the connections, and the first attempt that was
// refused after it, each with its entry in the control log and the proof that
// it is there, all under one signed checkpoint. Check needs nothing else than
// the log's verifier key.
type CutReceipt struct {
	Tenant     string          `json:"tenant"`
	Device     string          `json:"device"`
	Generation int             `json:"generation"`
	Decision   ReceiptDecision `json:"decision"`
	Cut        *ReceiptCut     `json:"cut,omitempty"` // left out where the log does not hold it
	// FirstRefused is left out where nothing of the device has been refused since.
	// That is then said in Note: it shows nothing about whether it would be.
	FirstRefused *ReceiptRefused `json:"first_refused,omitempty"`
	Note         string          `json:"note,omitempty"`
	Entries      int64           `json:"entries"` // of the control log, all of which were looked through after the decision
	Excerpt      ledger.Excerpt  `json:"excerpt"`
}

// ReceiptDecision is the decision as its entry has it.
type ReceiptDecision struct {
	Index  int64     `json:"index"`  // of the entry in the control log
	Action string    `json:"action"` // "quarantine", "revoke", "retire" or "transfer"
	Actor  string    `json:"actor"`
	Role   string    `json:"role"`
	Reason string    `json:"reason"`
	Ticket string    `json:"ticket,omitempty"`
	Time   time.Time `json:"time"`
}

// ReceiptCut is the cut of the device's open connections.
type ReceiptCut struct {
	Index       int64     `json:"index"`
	Time        time.Time `json:"time"`
	Connections int       `json:"connections"`
	ElapsedMS   float64   `json:"elapsed_ms"` // from before the decision was durable until all were closed
}

// ReceiptRefused is the first attempt that was refused because of the decision.
type ReceiptRefused struct {
	Index       int64     `json:"index"`
	Time        time.Time `json:"time"` // of the first attempt that the entry counts
	Code        Code      `json:"code"`
	Count       int64     `json:"count"`
	Path        string    `json:"path,omitempty"`
	Source      string    `json:"source,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
}

// ErrReceiptOpen is what Check gives where all that the receipt holds is
// right, and it does not hold all: no attempt was refused yet, or the cut is
// not there.
var ErrReceiptOpen = errors.New("the receipt leaves something open")

// refusedBecause is the code with which a device is refused after action.
func refusedBecause(action string) Code {
	switch action {
	case "quarantine":
		return CodeQuarantined
	case "revoke":
		return CodeRevoked
	}
	return CodeRetired
}

// decidedBy is the type of the entry of an action.
func decidedBy(action string) string {
	switch action {
	case "quarantine":
		return evidence.EntryQuarantined
	case "revoke":
		return evidence.EntryRevoked
	case "retire":
		return evidence.EntryDeviceRetired
	case "transfer":
		return evidence.EntryTransferred
	}
	return ""
}

// about reports whether e is of the receipt's device.
func (r *CutReceipt) about(e *evidence.AuditEntry) bool {
	return e.Tenant == r.Tenant && e.Device == r.Device && e.Generation == r.Generation
}

// readDecision takes the decision from its entry.
func (r *CutReceipt) readDecision(index int64, action string, e *evidence.AuditEntry) (ReceiptDecision, error) {
	if e.Type != decidedBy(action) || !r.about(e) || e.Result != "done" || e.Actor == nil {
		return ReceiptDecision{}, fmt.Errorf("entry %d is no %s of %s/%s, generation %d", index, action, r.Tenant, r.Device, r.Generation)
	}
	return ReceiptDecision{index, action, e.Actor.Name, e.Actor.Role, e.Reason, e.Ticket, e.Time}, nil
}

// readCut takes the cut from its entry; nil where e is another one.
func (r *CutReceipt) readCut(index int64, e *evidence.AuditEntry) *ReceiptCut {
	var d struct {
		Decision    int64   `json:"decision_index"`
		Connections int     `json:"connections"`
		Elapsed     float64 `json:"elapsed_ms"`
	}
	if index <= r.Decision.Index || e.Type != evidence.EntrySessionsCut || !r.about(e) || json.Unmarshal(e.Data, &d) != nil || d.Decision != r.Decision.Index {
		return nil
	}
	return &ReceiptCut{index, e.Time, d.Connections, d.Elapsed}
}

// readRefused takes a refusal that the decision caused from its entry; nil
// where e is another one.
func (r *CutReceipt) readRefused(index int64, e *evidence.AuditEntry) *ReceiptRefused {
	var f evidence.Refusal
	if index <= r.Decision.Index || e.Type != evidence.EntryRefusal || !r.about(e) || json.Unmarshal(e.Data, &f) != nil ||
		Code(f.Code) != refusedBecause(r.Decision.Action) || f.First.Before(r.Decision.Time) {
		return nil
	}
	return &ReceiptRefused{index, f.First, Code(f.Code), f.Count, f.Path, f.Source, f.Fingerprint}
}

// Check holds everything that the receipt says against the entries that it
// proves to be in the log of vkey. That nothing was refused before the first
// refusal is the word of the ingest; who has the whole log can see it.
func (r CutReceipt) Check(vkey string) error {
	if err := r.Excerpt.Verify(vkey); err != nil {
		return err
	}
	if !strings.HasSuffix(r.Excerpt.Origin, "/"+controlLog) {
		return fmt.Errorf("checking the receipt: %s is no control log", r.Excerpt.Origin)
	}
	head, err := ledger.OpenCheckpoint([]byte(r.Excerpt.Checkpoint), vkey)
	if err != nil {
		return err
	}
	if r.Entries != head.Size {
		return fmt.Errorf("checking the receipt: it says that the log has %d entries, and its checkpoint %d", r.Entries, head.Size)
	}
	entry := func(index int64) (*evidence.AuditEntry, error) {
		for _, p := range r.Excerpt.Records {
			if p.Index == index {
				e, err := readAudit(p.Entry)
				return &e, err
			}
		}
		return nil, errors.New("the excerpt does not hold it")
	}
	var failed []error
	check := func(what string, index int64, same func(*evidence.AuditEntry) bool) {
		e, err := entry(index)
		if err == nil && !same(e) {
			err = errors.New("the receipt says something else than the entry")
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("checking the receipt: %s, entry %d: %w", what, index, err))
		}
	}
	check("decision", r.Decision.Index, func(e *evidence.AuditEntry) bool {
		d, err := r.readDecision(r.Decision.Index, r.Decision.Action, e)
		return err == nil && d.Time.Equal(r.Decision.Time) && sameBut(&d.Time, &r.Decision.Time, &d, &r.Decision)
	})
	if c := r.Cut; c != nil {
		check("cut", c.Index, func(e *evidence.AuditEntry) bool {
			got := r.readCut(c.Index, e)
			return got != nil && got.Time.Equal(c.Time) && sameBut(&got.Time, &c.Time, got, c)
		})
	}
	if f := r.FirstRefused; f != nil {
		check("first refused attempt", f.Index, func(e *evidence.AuditEntry) bool {
			got := r.readRefused(f.Index, e)
			return got != nil && got.Time.Equal(f.Time) && sameBut(&got.Time, &f.Time, got, f)
		})
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	switch {
	case r.Cut == nil:
		return fmt.Errorf("%w: the decision is in the log, and the cut of the connections is not in the receipt", ErrReceiptOpen)
	case r.FirstRefused == nil:
		return fmt.Errorf("%w: decision and cut are in the log, and no attempt of the device was refused in its first %d entries", ErrReceiptOpen, r.Entries)
	}
	return nil
}

// sameBut compares what a and b point to as JSON, with the times at one value:
// the same moment can be written in two ways.
func sameBut(ta, tb *time.Time, a, b any) bool {
	*ta, *tb = ta.UTC(), tb.UTC()
	return bytes.Equal(raw(a), raw(b))
}
