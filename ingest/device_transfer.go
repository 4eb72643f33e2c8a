package ingest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// requestTransfer asks that a device go to another tenant. Somebody else
// decides; until then nothing changes.
func (s *Server) requestTransfer(a *adminCall) (any, *Problem) {
	var in struct {
		To     string `json:"to_tenant"`
		Site   string `json:"site"`
		Fleet  string `json:"fleet"`
		Reason string `json:"reason"`
		Ticket string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	if strings.TrimSpace(in.Reason) == "" {
		return nil, problem(CodeInvalid, "reason: say why the device moves")
	}
	if wrong := placeForm(in.Site, in.Fleet); wrong != "" {
		return nil, problem(CodeInvalid, wrong)
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.named(a)
	if p != nil {
		return nil, p
	}
	if p := s.mayMove(d, in.To); p != nil {
		return nil, p
	}
	if t := d.life.transfer; t != nil {
		return nil, problem(CodeConflict, "its transfer to "+t.ToTenant+" waits for a decision")
	}
	d.flow.Lock()
	p = a.done(evidence.EntryTransferAsked, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason, Ticket: in.Ticket,
		Data: raw(transferData{ID: a.id, ToTenant: in.To, Site: in.Site, Fleet: in.Fleet, Expires: s.now().Add(s.cfg().Approvals.RequestValid)}),
	})
	d.flow.Unlock()
	if p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return s.st.recordOf(d), nil
}

// mayMove says why d cannot go to another tenant. The caller holds s.decide.
func (s *Server) mayMove(d *device, to string) *Problem {
	switch {
	case d.record.State != evidence.DeviceActive && d.record.State != evidence.DeviceIssued:
		return problem(CodeConflict, "the device is "+string(d.record.State)+"; only one in service is transferred")
	case to == d.key.tenant:
		return problem(CodeConflict, "the device is that tenant's")
	case s.st.tenant(to) == nil:
		return problem(CodeNotFound, "there is no tenant "+clip(to))
	}
	if _, p := s.nextGeneration(to, d.key.id); p != nil {
		return problem(CodeConflict, "tenant "+to+" has a device of that name in use")
	}
	return nil
}

// decidable finds the device of the path, whose transfer waits.
func (s *Server) decidable(a *adminCall) (*device, *Problem) {
	d, p := s.named(a)
	if p == nil && d.life.transfer == nil {
		p = problem(CodeConflict, "no transfer of the device waits for a decision")
	}
	return d, p
}

// approveTransfer consents to a transfer. With the last consent that is needed
// the old binding ends: its credentials are refused, its connections cut. The
// new one, which inherits nothing, is enrolled with the code that the answer
// holds, once.
func (s *Server) approveTransfer(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.decidable(a)
	if p != nil {
		return nil, p
	}
	t := d.life.transfer
	switch {
	case t.RequestedBy == a.op.Name:
		return nil, problem(CodeApprovalSelf, "the transfer was requested by the same operator")
	case slices.ContainsFunc(t.Approvals, func(x Approval) bool { return x.Actor == a.op.Name }):
		return nil, problem(CodeApprovalSelf, "the same operator approved it before")
	case !s.now().Before(t.Expires):
		return nil, problem(CodeConflict, "nobody decided the transfer until "+t.Expires.Format(time.RFC3339)+"; request it anew")
	}
	if p := s.mayMove(d, t.ToTenant); p != nil {
		return nil, p
	}
	e := evidence.AuditEntry{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason, Ticket: in.Ticket}
	approvals := s.cfg().Approvals
	have, needed := len(t.Approvals)+1, max(approvals.needed(d.record.Fleet), approvals.needed(t.Fleet))
	if have < needed {
		e.Data = raw(transferData{ID: t.ID, Approvals: have, Needed: needed})
		d.flow.Lock()
		defer d.flow.Unlock()
		if p := a.done(evidence.EntryTransferConsent, e); p != nil {
			return nil, p
		}
		a.status = http.StatusAccepted
		return map[string]int{"approvals": have, "needed": needed}, nil
	}
	return s.transfer(a, d, e, have, needed)
}

// transfer closes the old binding and makes the new one.
func (s *Server) transfer(a *adminCall, d *device, e evidence.AuditEntry, have, needed int) (any, *Problem) {
	t := d.life.transfer
	generation, p := s.nextGeneration(t.ToTenant, d.key.id)
	if p != nil {
		return nil, p
	}
	code, err := newCode()
	if err != nil {
		return nil, s.failure(err)
	}
	expires := s.now().Add(s.cfg().Approvals.CodeValid)
	e.Before = raw(map[string]any{"tenant": d.key.tenant, "generation": d.key.generation, "state": d.record.State})
	e.After = raw(map[string]any{"tenant": t.ToTenant, "generation": generation, "state": evidence.DeviceApproved})
	e.Data = raw(transferData{
		ID: t.ID, ToTenant: t.ToTenant, Generation: generation, Type: d.record.Type, Site: t.Site, Fleet: t.Fleet,
		CodeHash: evidence.SHA256Hex([]byte(code)), Expires: expires, Approvals: have, Needed: needed,
	})
	d.flow.Lock()
	began := time.Now()
	p = a.done(evidence.EntryTransferred, e)
	d.flow.Unlock()
	if p != nil {
		return nil, p
	}
	if p := s.cutDevice(a, d, began); p != nil {
		return nil, p
	}
	return map[string]any{"enrolment_code": code, "expires": expires, "tenant": t.ToTenant, "generation": generation}, nil
}

// declineTransfer says no to a transfer, which changes nothing.
func (s *Server) declineTransfer(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	if strings.TrimSpace(in.Reason) == "" {
		return nil, problem(CodeInvalid, "reason: say why not")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.decidable(a)
	if p != nil {
		return nil, p
	}
	d.flow.Lock()
	p = a.done(evidence.EntryTransferRefused, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason, Ticket: in.Ticket,
		Data: raw(transferData{ID: d.life.transfer.ID}),
	})
	d.flow.Unlock()
	if p != nil {
		return nil, p
	}
	return s.st.recordOf(d), nil
}
