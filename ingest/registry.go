package ingest

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// DeviceRecord is a device as the admin API lists it.
type DeviceRecord struct {
	evidence.Device
	RequestedBy   string     `json:"requested_by"`
	RequestedAt   time.Time  `json:"requested_at"`
	RequestReason string     `json:"request_reason"`
	Approvals     []Approval `json:"approvals"`
	IssuedAt      *time.Time `json:"issued_at,omitempty"`
	ActivatedAt   *time.Time `json:"activated_at,omitempty"`
	LastSeen      *time.Time `json:"last_seen,omitempty"`  // last time that anything of it was logged
	LastEvent     *time.Time `json:"last_event,omitempty"` // newest device time among its accepted events
	Accepted      int64      `json:"accepted"`
	Quarantine    *Decision  `json:"quarantine,omitempty"`
	Revocation    *Decision  `json:"revocation,omitempty"`
	Retirement    *Decision  `json:"retirement,omitempty"`

	RequestExpires *time.Time `json:"request_expires,omitempty"` // while it is requested
	Batch          string     `json:"batch,omitempty"`           // of what was asked for together
	Transfer       *Transfer  `json:"transfer,omitempty"`        // that waits for a decision
	MovedFrom      *Binding   `json:"moved_from,omitempty"`
	MovedTo        *Binding   `json:"moved_to,omitempty"`
}

func (st *state) recordOf(d *device) DeviceRecord {
	st.mu.RLock()
	r := DeviceRecord{
		Device: d.record, RequestedBy: d.requested.actor, RequestedAt: d.requested.at, RequestReason: d.requested.reason,
		Approvals: append([]Approval{}, d.approvals...), IssuedAt: timeOrNil(d.issued), ActivatedAt: timeOrNil(d.activated),
	}
	r.Credentials = slices.Clone(d.record.Credentials)
	if d.decision != nil {
		decision := *d.decision
		switch decision.Action {
		case "revoke":
			r.Revocation = &decision
		case "quarantine":
			r.Quarantine = &decision
		default:
			r.Retirement = &decision
		}
	}
	r.Batch, r.Transfer, r.MovedFrom, r.MovedTo = d.life.batch, d.life.transfer, d.life.from, d.life.to // none of these is changed in place
	if r.State == evidence.DeviceRequested {
		r.RequestExpires = timeOrNil(d.life.expires)
	}
	st.mu.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Firmware, r.Accepted, r.LastSeen, r.LastEvent = d.firmware, d.accepted, timeOrNil(d.lastSeen), timeOrNil(d.lastEvent)
	return r
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// named finds the device of the path. The caller holds s.decide.
func (s *Server) named(a *adminCall) (*device, *Problem) {
	a.tenant, a.device = clip(a.r.PathValue("tenant")), clip(a.r.PathValue("device"))
	d := s.st.device(a.r.PathValue("tenant"), a.r.PathValue("device"))
	if d == nil {
		return nil, problem(CodeNotFound, "there is no such device")
	}
	a.generation = d.key.generation
	return d, nil
}

// approveDevice consents to a requested device. With the last consent that is
// needed comes the one-time code, which is shown once and kept as a hash.
func (s *Server) approveDevice(a *adminCall) (any, *Problem) {
	reason, p := a.reason()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.named(a)
	if p != nil {
		return nil, p
	}
	if p := s.mayApprove(a, d); p != nil {
		return nil, p
	}
	e, code, expires, p := s.consent(d, reason)
	if p != nil {
		return nil, p
	}
	have, needed := len(d.approvals)+1, s.cfg().Approvals.needed(d.record.Fleet)
	d.flow.Lock()
	defer d.flow.Unlock()
	if p := a.done(e.Type, e); p != nil {
		return nil, p
	}
	if code == "" {
		a.status = http.StatusAccepted
		return map[string]int{"approvals": have, "needed": needed}, nil
	}
	return map[string]any{"enrolment_code": code, "expires": expires}, nil
}

// mayApprove says why the caller cannot consent to d. The caller holds
// s.decide.
func (s *Server) mayApprove(a *adminCall, d *device) *Problem {
	switch over := s.requestOver(d, s.now()); {
	case d.record.State != evidence.DeviceRequested:
		return problem(CodeConflict, "the device is "+string(d.record.State)+", not requested")
	case over != "":
		return problem(CodeConflict, over+"; request the device anew")
	case d.requested.actor == a.op.Name && !off(guardSelfApproval):
		return problem(CodeApprovalSelf, "the device was requested by the same operator")
	case slices.ContainsFunc(d.approvals, func(x Approval) bool { return x.Actor == a.op.Name }):
		return problem(CodeApprovalSelf, "the same operator approved it before")
	}
	return nil
}

// consent is the entry of one more approval of d. The last one that is needed
// has the hash of the code, which is given beside it. The caller holds s.decide.
func (s *Server) consent(d *device, reason string) (e evidence.AuditEntry, code string, expires time.Time, p *Problem) {
	have, needed := len(d.approvals)+1, s.cfg().Approvals.needed(d.record.Fleet)
	e = evidence.AuditEntry{Type: evidence.EntryDeviceApproved, Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: reason}
	if have < needed {
		e.Data = raw(map[string]int{"approvals": have, "needed": needed})
		return e, "", expires, nil
	}
	code, err := newCode()
	if err != nil {
		return e, "", expires, s.failure(err)
	}
	expires = s.now().Add(s.cfg().Approvals.CodeValid)
	e.Data = raw(map[string]any{"enrolment_code_sha256": evidence.SHA256Hex([]byte(code)), "expires": expires, "approvals": have, "needed": needed})
	return e, code, expires, nil
}

// newCode makes a one-time code of 160 bits, in letters that are hard to
// confuse.
func newCode() (string, error) {
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("making an enrolment code: %w", err)
	}
	return base32.StdEncoding.EncodeToString(b), nil
}

// decideDevice is a quarantine, a release, a revocation or a retirement. It
// waits for the device's request under way, if there is one: what that made
// durable came before the decision. From then on nothing of the device is
// accepted, and its open connections are cut.
func (s *Server) decideDevice(a *adminCall, typ string) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	if strings.TrimSpace(in.Reason) == "" && typ != evidence.EntryReleased {
		return nil, problem(CodeInvalid, "reason: say why")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.named(a)
	if p != nil {
		return nil, p
	}
	if p := transition(typ, d.record.State); p != nil {
		return nil, p
	}
	before := map[string]string{"state": string(d.record.State)}
	d.flow.Lock()
	began := time.Now()
	p = a.done(typ, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason, Ticket: in.Ticket, Before: raw(before),
	})
	d.flow.Unlock()
	if p != nil {
		return nil, p
	}
	if typ == evidence.EntryReleased {
		return s.st.recordOf(d), nil
	}
	if p := s.cutDevice(a, d, began); p != nil {
		return nil, p
	}
	return s.st.recordOf(d), nil
}

// cutDevice closes every connection that showed any of the device's
// credentials, and records how many there were, and how long after began, when
// the decision was about to be made durable, all were closed. The caller holds
// s.decide.
func (s *Server) cutDevice(a *adminCall, d *device, began time.Time) *Problem {
	cut := s.sessions.cut(d.fingerprints()...)
	elapsed := float64(time.Since(began).Microseconds()) / 1000
	_, err := s.record(s.entry(evidence.EntrySessionsCut, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, RequestID: a.id,
		Data: raw(map[string]any{"decision_index": d.decision.Index, "connections": cut, "elapsed_ms": elapsed}),
	}))
	if err != nil {
		return s.failure(err)
	}
	return nil
}

// transition says whether a decision fits the state.
func transition(typ string, state evidence.DeviceState) *Problem {
	ok := false
	switch typ {
	case evidence.EntryQuarantined:
		ok = state == evidence.DeviceActive || state == evidence.DeviceIssued
	case evidence.EntryReleased:
		ok = state == evidence.DeviceQuarantined
	case evidence.EntryRevoked:
		ok = !over(state)
	case evidence.EntryDeviceRetired:
		ok = state == evidence.DeviceIssued || state == evidence.DeviceActive || state == evidence.DeviceQuarantined
	}
	if ok {
		return nil
	}
	return problem(CodeConflict, "the device is "+string(state))
}
