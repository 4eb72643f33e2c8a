package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"trustpack/evidence"
)

// apply makes one control entry take effect. The caller holds st.mu and, for
// a change in a device's life, that device's flow; or is alone.
func (st *state) apply(index int64, e *evidence.AuditEntry) error {
	defer st.noteWithdrawal(e.Type)
	switch e.Type {
	case evidence.EntryIngestStarted, evidence.EntryIngestStopped, evidence.EntrySessionsCut, evidence.EntryAdminRefused, evidence.EntryConfigRefused, evidence.EntryClockChecked,
		evidence.EntryLedgerHeld, evidence.EntryRollbackTaken:
		return nil
	case evidence.EntryDrill:
		st.drills++
		return nil
	case evidence.EntryDrillsStarted, evidence.EntryDrillsEnded:
		return st.applyDrillRun(e)
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
		st.tenants[t.ID] = &tenant{st: st, round: st.round, Tenant: t, books: map[string]*evidence.Books{}, closed: map[string]bool{}, fates: map[int64]fate{}}
		return nil
	case evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved, evidence.EntryOperatorIssued, evidence.EntryOperatorLogin, evidence.EntryOperatorLogout:
		return st.applyOperator(e)
	case evidence.EntryRoleRequested, evidence.EntryRoleApproved, evidence.EntryRoleDeclined, evidence.EntryRoleChanged:
		return st.applyRoles(e)
	case evidence.EntryGrantRequested, evidence.EntryGrantApproved, evidence.EntryGrantDeclined, evidence.EntryGrantEnded:
		return st.applyGrant(e)
	case evidence.EntryBreakGlassOpened, evidence.EntryBreakGlassClosed:
		return st.applyBreakGlass(e)
	case evidence.EntrySupportRead:
		return nil
	case evidence.EntryRefusal:
		return st.applyRefusal(e)
	case evidence.EntryAlertRaised, evidence.EntryAlertAcked, evidence.EntryAlertResolved, evidence.EntryAlertEscalated,
		evidence.EntryAlertDelivered, evidence.EntryAlertUndelivered, evidence.EntryAlertResend:
		if e.Type == evidence.EntryAlertResolved {
			st.credentials++ // what is due may have to be said anew
		}
		return st.applyAlert(index, e)
	case evidence.EntryBooksClosed:
		return st.applyBooks(e)
	case evidence.EntryLetterReplayed, evidence.EntryLetterDiscarded:
		return st.applyLetter(e)
	case evidence.EntryExportRequested, evidence.EntryExportApproved, evidence.EntryExportDeclined, evidence.EntryExport:
		return st.applyExport(e)
	case evidence.EntryPurgeRequested, evidence.EntryPurged:
		return st.applyPurge(index, e)
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
	t.beforeChange()
	t.closed[b.Day] = true
	t.mu.Unlock()
	return nil
}

func (st *state) applyDevice(d *device, index int64, e *evidence.AuditEntry) error {
	if k := st.capturing.Load(); k != nil && e.Type != evidence.EntryGap {
		k.registry(d)
	}
	if e.Type != evidence.EntryGap && e.Type != evidence.EntryCredentialSeen {
		st.credentials++
	}
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
		d.approvals = append(d.approvals, Approval{st.name(actorName(e.Actor)), st.name(role), e.Time})
		if a.Hash != "" {
			d.record.State, d.codeHash, d.codeUntil = evidence.DeviceApproved, a.Hash, a.Expires
		}
	case evidence.EntryDeviceIssued, evidence.EntryTokenIssued:
		var c evidence.Credential
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return err
		}
		c.Method, c.KeyType = st.name(c.Method), st.name(c.KeyType)
		d.record.State, d.issued, d.codeHash = evidence.DeviceIssued, e.Time, ""
		d.record.Credentials = append(d.record.Credentials, c)
		st.enterCredential(d, c)
	case evidence.EntryRotationOrdered, evidence.EntryDeviceRotated, evidence.EntryCredentialDead:
		return st.applyRotation(d, e)
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
			decision.Action = "revoke"
			d.end(evidence.DeviceRevoked)
		}
		d.decision = decision
	case evidence.EntryDeviceRetired, evidence.EntryRequestExpired, evidence.EntryDeviceDeclined,
		evidence.EntryTransferAsked, evidence.EntryTransferConsent, evidence.EntryTransferRefused, evidence.EntryTransferred:
		return st.applyLife(d, index, e)
	case evidence.EntryReleased:
		d.record.State, d.decision, d.letIn = d.released, nil, e.Time
	case evidence.EntryGap:
		var g gapData
		if err := json.Unmarshal(e.Data, &g); err != nil {
			return err
		}
		d.mu.Lock()
		d.beforeTraffic()
		if w := d.windows[g.Boot]; w != nil && w.high >= 0 {
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
	d.addSource(s.Fingerprint, d.st.name(s.Source))
	return nil
}

func actorName(a *evidence.Actor) string {
	if a == nil {
		return ""
	}
	return a.Name
}
