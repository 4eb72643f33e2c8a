package ingest

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/http"
	"slices"
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
		if decision.Action == "revoke" {
			r.Revocation = &decision
		} else {
			r.Quarantine = &decision
		}
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

func (s *Server) listDevices(a *adminCall) (any, *Problem) {
	tenant, p := a.onlyTenant(a.r.URL.Query().Get("tenant"))
	if p != nil {
		return nil, p
	}
	out := []DeviceRecord{}
	for _, d := range s.st.someDevices(func(d *device) bool { return tenant == "" || d.key.tenant == tenant }) {
		out = append(out, s.st.recordOf(d))
	}
	return map[string]any{"devices": out}, nil
}

// requestDevice asks for a device, or for a new generation of one that was
// revoked, which inherits nothing.
func (s *Server) requestDevice(a *adminCall) (any, *Problem) {
	var in struct {
		Tenant string `json:"tenant"`
		Device string `json:"device"`
		Type   string `json:"type"`
		Site   string `json:"site"`
		Fleet  string `json:"fleet"`
		Reason string `json:"reason"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.tenant, a.device = clip(in.Tenant), clip(in.Device)
	switch {
	case !deviceForm.MatchString(in.Device):
		return nil, problem(CodeInvalid, "device: want 1 to 128 letters, digits, dots, hyphens or underscores, beginning with a letter or digit")
	case !deviceForm.MatchString(in.Type):
		return nil, problem(CodeInvalid, "type: want 1 to 128 letters, digits, dots, hyphens or underscores")
	case in.Reason == "":
		return nil, problem(CodeInvalid, "reason: say why the device is wanted")
	case len(in.Site) > 256 || len(in.Fleet) > 256:
		return nil, problem(CodeInvalid, "site and fleet: at most 256 bytes each")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if s.st.tenant(in.Tenant) == nil {
		return nil, problem(CodeNotFound, "there is no tenant "+clip(in.Tenant))
	}
	generation := 1
	if old := s.st.device(in.Tenant, in.Device); old != nil {
		if old.record.State != evidence.DeviceRevoked {
			return nil, problem(CodeConflict, "the device is "+string(old.record.State)+"; revoke it before it is requested anew")
		}
		generation = old.key.generation + 1
	}
	d := evidence.Device{
		Tenant: in.Tenant, ID: in.Device, Generation: generation, Type: in.Type, Site: in.Site, Fleet: in.Fleet, State: evidence.DeviceRequested,
	}
	if p := a.done(evidence.EntryDeviceRequested, evidence.AuditEntry{
		Tenant: d.Tenant, Device: d.ID, Generation: generation, Reason: in.Reason, Data: raw(d),
	}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return s.st.recordOf(s.st.device(d.Tenant, d.ID)), nil
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
	var in struct {
		Reason string `json:"reason"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.named(a)
	if p != nil {
		return nil, p
	}
	switch {
	case d.record.State != evidence.DeviceRequested:
		return nil, problem(CodeConflict, "the device is "+string(d.record.State)+", not requested")
	case d.requested.actor == a.op.Name && !off(guardSelfApproval):
		return nil, problem(CodeApprovalSelf, "the device was requested by the same operator")
	case slices.ContainsFunc(d.approvals, func(x Approval) bool { return x.Actor == a.op.Name }):
		return nil, problem(CodeApprovalSelf, "the same operator approved it before")
	}
	needed := s.cfg().Approvals.needed(d.record.Fleet)
	have := len(d.approvals) + 1
	e := evidence.AuditEntry{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason}
	d.flow.Lock()
	defer d.flow.Unlock()
	if have < needed {
		e.Data = raw(map[string]int{"approvals": have, "needed": needed})
		if p := a.done(evidence.EntryDeviceApproved, e); p != nil {
			return nil, p
		}
		a.status = http.StatusAccepted
		return map[string]int{"approvals": have, "needed": needed}, nil
	}
	code, err := newCode()
	if err != nil {
		return nil, s.failure(err)
	}
	expires := s.now().Add(s.cfg().Approvals.CodeValid)
	e.Data = raw(map[string]any{"enrolment_code_sha256": evidence.SHA256Hex([]byte(code)), "expires": expires, "approvals": have, "needed": needed})
	if p := a.done(evidence.EntryDeviceApproved, e); p != nil {
		return nil, p
	}
	return map[string]any{"enrolment_code": code, "expires": expires}, nil
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

// decideDevice is a quarantine, a release or a revocation. It waits for the
// device's request under way, if there is one: what that made durable came
// before the decision. From then on nothing of the device is accepted, and its
// open connections are cut.
func (s *Server) decideDevice(a *adminCall, typ string) (any, *Problem) {
	var in struct {
		Reason string `json:"reason"`
		Ticket string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	if in.Reason == "" && typ != evidence.EntryReleased {
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
	cut := 0
	for _, c := range d.record.Credentials {
		cut += s.sessions.cut(c.Fingerprint)
	}
	elapsed := float64(time.Since(began).Microseconds()) / 1000
	_, err := s.record(s.entry(evidence.EntrySessionsCut, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, RequestID: a.id,
		Data: raw(map[string]any{"decision_index": d.decision.Index, "connections": cut, "elapsed_ms": elapsed}),
	}))
	if err != nil {
		return nil, s.failure(err)
	}
	return s.st.recordOf(d), nil
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
		ok = state != evidence.DeviceRevoked && state != evidence.DeviceRetired
	}
	if ok {
		return nil
	}
	return problem(CodeConflict, "the device is "+string(state))
}
