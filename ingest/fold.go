package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// fold rebuilds the state from the logs. The control log comes first, then
// each tenant's; within one log order counts, between them it does not: gaps,
// which stand in the control log, are applied last, and closing a window's
// past gives the same result then as it gave when it happened.
//
// missed are entries for gaps that events closed but that the control log does
// not hold, since the process ended between the two.
func foldAll(led *ledger.Ledger, window int64) (st *state, missed []evidence.AuditEntry, err error) {
	st = newState(window)
	var found []deviceGap
	gaps, err := st.foldControl(led)
	if err != nil {
		return nil, nil, fmt.Errorf("folding the control log: %w", err)
	}
	for _, t := range st.sortedTenants() {
		if led.Size(t.ID) == 0 {
			continue
		}
		if err := st.foldTenant(led, t, &found); err != nil {
			return nil, nil, fmt.Errorf("folding the log of tenant %s: %w", t.ID, err)
		}
	}
	for i := range gaps {
		if err := st.apply(0, &gaps[i]); err != nil {
			return nil, nil, fmt.Errorf("folding the control log: a gap: %w", err)
		}
	}
	missed, err = unrecorded(found, gaps)
	return st, missed, err
}

// foldControl applies the control log but for its gaps, which it returns.
func (st *state) foldControl(led *ledger.Ledger) ([]evidence.AuditEntry, error) {
	var gaps []evidence.AuditEntry
	index := int64(0)
	for data, err := range led.Entries(controlLog, 0, math.MaxInt64) {
		if err != nil {
			return nil, err
		}
		var e evidence.AuditEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("entry %d is no audit entry: %w", index, err)
		}
		if e.Type == evidence.EntryGap {
			gaps = append(gaps, e)
		} else if err := st.apply(index, &e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		index++
	}
	return gaps, nil
}

// deviceGap is a gap of one device.
type deviceGap struct {
	key deviceKey
	bootGap
}

// unrecorded gives the gaps found that no entry covers. Where only a part is
// covered, as after one aged before its neighbours, the rest is given.
func unrecorded(found []deviceGap, entries []evidence.AuditEntry) ([]evidence.AuditEntry, error) {
	type boot struct {
		key  deviceKey
		boot int64
	}
	known := map[boot][]gap{}
	for _, e := range entries {
		var g gapData
		if err := json.Unmarshal(e.Data, &g); err != nil {
			return nil, err
		}
		at := boot{deviceKey{deviceName{e.Tenant, e.Device}, e.Generation}, g.Boot}
		known[at] = append(known[at], gap{g.From, g.To})
	}
	for _, list := range known {
		slices.SortFunc(list, func(a, b gap) int { return cmp.Compare(a.from, b.from) })
	}
	var out []evidence.AuditEntry
	for _, f := range found {
		from := f.from
		for _, k := range known[boot{f.key, f.boot}] {
			if k.to < from || k.from > f.to {
				continue
			}
			if k.from > from {
				out = append(out, gapEntry(f.key, f.boot, gap{from, k.from - 1}))
			}
			from = k.to + 1
		}
		if from <= f.to {
			out = append(out, gapEntry(f.key, f.boot, gap{from, f.to}))
		}
	}
	return out, nil
}

func gapEntry(k deviceKey, boot int64, g gap) evidence.AuditEntry {
	return evidence.AuditEntry{
		Type: evidence.EntryGap, Tenant: k.tenant, Device: k.id, Generation: k.generation, Data: raw(gapData{boot, g.from, g.to}),
	}
}

func (st *state) foldTenant(led *ledger.Ledger, t *tenant, found *[]deviceGap) error {
	index := int64(0)
	for data, err := range led.Entries(t.ID, 0, math.MaxInt64) {
		if err != nil {
			return err
		}
		var e tenantEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		d := st.devices[deviceKey{deviceName{t.ID, e.Device}, e.Gen}]
		if d == nil {
			return fmt.Errorf("entry %d: device %s generation %d is not in the registry", index, clip(e.Device), e.Gen)
		}
		switch e.T {
		case "event":
			if e.Seq == nil {
				return fmt.Errorf("entry %d: event without seq", index)
			}
			var at time.Time
			if err := at.UnmarshalText([]byte(e.Time)); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			gaps, n := []bootGap(nil), counts{received: 1, accepted: 1}
			if e.Replays != nil {
				gaps, n.replayed = d.applyReplay(e.Boot, *e.Seq, index, st.window, e.Received, at), 1
				t.settle(*e.Replays, func(f *fate) { f.as = index })
			} else {
				gaps = d.applyEvent(e.Boot, *e.Seq, index, st.window, e.Received, at, e.FW)
			}
			for _, g := range gaps {
				*found = append(*found, deviceGap{d.key, g})
			}
			t.count(e.Received, n)
		case "deadletter":
			if e.Seq != nil {
				d.applyDeadLetter(e.Boot, *e.Seq, index, st.window)
			}
			d.applySeen(e.Received)
			t.count(e.Received, counts{received: 1, deadLettered: 1})
			t.bury(index)
		case "tally":
			d.applySeen(e.Received)
			// The entries before it were counted as received one by one.
			t.count(e.Received, counts{received: e.ReceivedLines - e.Accepted - e.DeadLettered, duplicate: e.Duplicate, refused: e.Refused})
		default:
			return fmt.Errorf("entry %d is of the unknown kind %q; was it written by a newer trustpack?", index, clip(e.T))
		}
		index++
	}
	return nil
}

// applyEvent notes an accepted event and gives the gaps that it closed, each
// with its boot. The caller holds d.mu, or is alone.
func (d *device) applyEvent(boot, seq, index, window int64, received, at time.Time, fw string) []bootGap {
	out := d.applyNumber(boot, seq, index, window, received)
	d.applySeen(received)
	if received.After(d.lastAccepted) {
		d.lastAccepted = received
	}
	d.applyContent(at)
	if fw != "" && fw != d.firmware {
		d.firmware = strings.Clone(fw) // it may be a part of a whole request
	}
	return out
}

// applyReplay notes an accepted event that was a dead letter: it says nothing
// of whether the device lives now, nor of its firmware.
func (d *device) applyReplay(boot, seq, index, window int64, received, at time.Time) []bootGap {
	out := d.applyNumber(boot, seq, index, window, received)
	d.applyContent(at)
	return out
}

func (d *device) applyNumber(boot, seq, index, window int64, received time.Time) []bootGap {
	w, left, gone := d.window(boot)
	var out []bootGap
	for _, g := range gone {
		out = append(out, bootGap{left, g})
	}
	for _, g := range w.accept(seq, index, window, received) {
		out = append(out, bootGap{boot, g})
	}
	return out
}

func (d *device) applyContent(at time.Time) {
	if at.After(d.lastEvent) {
		d.lastEvent = at
	}
	d.accepted++
}

type bootGap struct {
	boot int64
	gap
}

// applyDeadLetter remembers the number of a dead letter, so that the same
// line sent again is known for a duplicate.
func (d *device) applyDeadLetter(boot, seq, index, window int64) {
	if w := d.windows[boot]; w != nil {
		w.mark(seq, index, window)
	}
}

func (d *device) applySeen(received time.Time) {
	if received.After(d.lastSeen) {
		d.lastSeen = received
	}
}

// apply makes one control entry take effect. The caller holds st.mu and, for
// a change in a device's life, that device's flow; or is alone.
func (st *state) apply(index int64, e *evidence.AuditEntry) error {
	switch e.Type {
	case evidence.EntryIngestStarted, evidence.EntryIngestStopped, evidence.EntrySessionsCut, evidence.EntryAdminRefused, evidence.EntryConfigRefused, evidence.EntryClockChecked:
		return nil
	case evidence.EntryDrill:
		st.drills++
		return nil
	case evidence.EntryConfigApplied:
		var c evidence.ConfigApplied
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return err
		}
		v := ConfigVersion{Version: c.Version, SHA256: c.SHA256, Time: e.Time, Actor: actorName(e.Actor), Reason: e.Reason, Ticket: e.Ticket, Diff: c.Diff, Index: index}
		if e.Actor != nil {
			v.Role = e.Actor.Role
		}
		st.versions = append(st.versions, v)
		c.Diff = nil
		st.config = c
		return nil
	case evidence.EntryTenantAdded:
		var t evidence.Tenant
		if err := json.Unmarshal(e.Data, &t); err != nil {
			return err
		}
		st.tenants[t.ID] = &tenant{Tenant: t, books: map[string]*evidence.Books{}, closed: map[string]bool{}, fates: map[int64]fate{}}
		return nil
	case evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved:
		return st.applyOperator(e)
	case evidence.EntryRefusal:
		return st.applyRefusal(e)
	case evidence.EntryAlertRaised, evidence.EntryAlertAcked, evidence.EntryAlertResolved:
		return st.applyAlert(e)
	case evidence.EntryBooksClosed:
		return st.applyBooks(e)
	case evidence.EntryLetterReplayed, evidence.EntryLetterDiscarded:
		return st.applyLetter(e)
	case evidence.EntryExportRequested, evidence.EntryExportApproved, evidence.EntryExport:
		return st.applyExport(e)
	case evidence.EntryDeviceRequested:
		return st.applyRequested(e)
	}
	d := st.devices[deviceKey{deviceName{e.Tenant, e.Device}, e.Generation}]
	if d == nil {
		if strings.HasPrefix(e.Type, "device.") || e.Type == evidence.EntryGap || e.Type == evidence.EntryCredentialSeen {
			return fmt.Errorf("%s of a device that the registry does not know, %s/%s generation %d", e.Type, e.Tenant, clip(e.Device), e.Generation)
		}
		return fmt.Errorf("unknown type %q; was it written by a newer trustpack?", clip(e.Type))
	}
	return st.applyDevice(d, index, e)
}

func (st *state) applyOperator(e *evidence.AuditEntry) error {
	var o evidence.Operator
	if err := json.Unmarshal(e.Data, &o); err != nil {
		return err
	}
	if old := st.operators[o.Name]; old != nil {
		delete(st.operatorFor, old.Fingerprint)
	}
	op := &operator{o, e.Type == evidence.EntryOperatorRemoved}
	st.operators[o.Name] = op
	if !op.removed && o.Fingerprint != "" {
		st.operatorFor[o.Fingerprint] = op
	}
	return nil
}

func (st *state) applyRefusal(e *evidence.AuditEntry) error {
	var r evidence.Refusal
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return err
	}
	st.refusals[Code(r.Code)] += r.Count
	if t := st.tenants[e.Tenant]; t != nil && r.Events > 0 {
		t.mu.Lock()
		t.count(r.Last, counts{received: r.Events, refused: r.Events})
		t.mu.Unlock()
	}
	return nil
}

func (st *state) applyAlert(e *evidence.AuditEntry) error {
	var d struct {
		evidence.Alert
		Resolution string `json:"resolution"`
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == evidence.EntryAlertRaised {
		st.alerts[d.ID] = &AlertRecord{Alert: d.Alert, Tenant: e.Tenant, RaisedAt: e.Time}
		return nil
	}
	a := st.alerts[d.ID]
	if a == nil {
		return fmt.Errorf("%s of an alert that was never raised, %s", e.Type, clip(d.ID))
	}
	at, by := e.Time, ""
	if e.Actor != nil {
		by = e.Actor.Name
	}
	if e.Type == evidence.EntryAlertAcked {
		a.AcknowledgedAt, a.AcknowledgedBy = &at, by
	} else {
		a.ResolvedAt, a.ResolvedBy, a.Resolution = &at, by, d.Resolution
	}
	return nil
}

func (st *state) applyBooks(e *evidence.AuditEntry) error {
	var b evidence.Books
	if err := json.Unmarshal(e.Data, &b); err != nil {
		return err
	}
	t := st.tenants[b.Tenant]
	if t == nil {
		return fmt.Errorf("books of a tenant that was never added, %s", clip(b.Tenant))
	}
	t.mu.Lock()
	t.closed[b.Day] = true
	t.mu.Unlock()
	return nil
}

func (st *state) applyRequested(e *evidence.AuditEntry) error {
	var r evidence.Device
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return err
	}
	if st.tenants[r.Tenant] == nil {
		return fmt.Errorf("a device of a tenant that was never added, %s", clip(r.Tenant))
	}
	name := deviceName{r.Tenant, r.ID}
	d := &device{key: deviceKey{name, r.Generation}, record: r, requested: provisionStep{actorName(e.Actor), e.Time, e.Reason}}
	st.devices[d.key] = d
	st.latest[name] = d
	return nil
}

func (st *state) applyDevice(d *device, index int64, e *evidence.AuditEntry) error {
	switch e.Type {
	case evidence.EntryDeviceApproved:
		var a struct {
			Hash    string    `json:"enrolment_code_sha256"`
			Expires time.Time `json:"expires"`
		}
		if err := json.Unmarshal(e.Data, &a); err != nil {
			return err
		}
		role := ""
		if e.Actor != nil {
			role = e.Actor.Role
		}
		d.approvals = append(d.approvals, Approval{actorName(e.Actor), role, e.Time})
		if a.Hash != "" {
			d.record.State, d.codeHash, d.codeUntil = evidence.DeviceApproved, a.Hash, a.Expires
		}
	case evidence.EntryDeviceIssued:
		var c evidence.Credential
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return err
		}
		d.record.State, d.issued, d.codeHash = evidence.DeviceIssued, e.Time, ""
		d.record.Credentials = append(d.record.Credentials, c)
		st.deviceFor[c.Fingerprint] = d
	case evidence.EntryDeviceActivated:
		d.record.State, d.activated = evidence.DeviceActive, e.Time
		return d.applySource(e)
	case evidence.EntryCredentialSeen:
		return d.applySource(e)
	case evidence.EntryQuarantined, evidence.EntryRevoked:
		decision := &Decision{"quarantine", actorName(e.Actor), e.Reason, e.Ticket, e.Time, index}
		if d.record.State != evidence.DeviceQuarantined {
			d.released = d.record.State
		}
		d.record.State = evidence.DeviceQuarantined
		if e.Type == evidence.EntryRevoked {
			decision.Action, d.record.State, d.codeHash = "revoke", evidence.DeviceRevoked, ""
		}
		d.decision = decision
	case evidence.EntryReleased:
		d.record.State, d.decision, d.letIn = d.released, nil, e.Time
	case evidence.EntryGap:
		var g gapData
		if err := json.Unmarshal(e.Data, &g); err != nil {
			return err
		}
		d.mu.Lock()
		if w := d.windows[g.Boot]; w != nil {
			w.close(g.To + 1)
		}
		d.mu.Unlock()
	default:
		return fmt.Errorf("unknown type %q; was it written by a newer trustpack?", clip(e.Type))
	}
	return nil
}

// gapData is the data of a gap entry.
type gapData struct {
	Boot int64 `json:"boot"`
	From int64 `json:"from_seq"`
	To   int64 `json:"to_seq"`
}

// sourceData is the data of an activation and of a new source address.
type sourceData struct {
	Fingerprint string `json:"fingerprint"`
	Source      string `json:"source"`
}

func (d *device) applySource(e *evidence.AuditEntry) error {
	var s sourceData
	if err := json.Unmarshal(e.Data, &s); err != nil {
		return err
	}
	if d.seenFrom == nil {
		d.seenFrom = map[string][]string{}
	}
	if !slices.Contains(d.seenFrom[s.Fingerprint], s.Source) {
		d.seenFrom[s.Fingerprint] = append(d.seenFrom[s.Fingerprint], s.Source)
	}
	return nil
}

func actorName(a *evidence.Actor) string {
	if a == nil {
		return ""
	}
	return a.Name
}
