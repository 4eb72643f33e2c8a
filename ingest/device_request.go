package ingest

import (
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trustpack/evidence"
)

// form says what is wrong with the words of a request, whoever asks.
func (r DeviceRequest) form() string {
	switch {
	case !tenantForm.MatchString(r.Tenant):
		return "tenant: want 1 to 63 lower-case letters, digits or hyphens, beginning with a letter or digit"
	case !deviceForm.MatchString(r.Device):
		return "device: want 1 to 128 letters, digits, dots, hyphens or underscores, beginning with a letter or digit"
	case !deviceForm.MatchString(r.Type):
		return "type: want 1 to 128 letters, digits, dots, hyphens or underscores"
	case strings.TrimSpace(r.Reason) == "":
		return "reason: say why the device is wanted"
	case len(r.Reason) > 2000:
		return "reason: at most 2000 bytes"
	}
	return placeForm(r.Site, r.Fleet)
}

// placeForm says what is wrong with a site or a fleet.
func placeForm(site, fleet string) string {
	for _, x := range []struct{ key, value string }{{"site", site}, {"fleet", fleet}} {
		if len(x.value) > 256 || !utf8.ValidString(x.value) || strings.ContainsFunc(x.value, unicode.IsControl) || strings.TrimSpace(x.value) != x.value {
			return x.key + ": at most 256 bytes of printable text, without blanks around it"
		}
	}
	return ""
}

// over reports whether a device in state has come to its end, so that the
// name can be used again by a new generation.
func over(state evidence.DeviceState) bool {
	switch state {
	case evidence.DeviceRevoked, evidence.DeviceRetired, evidence.DeviceDeclined, evidence.DeviceExpired:
		return true
	}
	return false
}

// nextGeneration is the number of a device that is made now: one above the
// last that had the name, which must have come to its end. The caller holds
// s.decide.
func (s *Server) nextGeneration(tenant, id string) (int, *Problem) {
	old := s.st.device(tenant, id)
	switch {
	case old == nil:
		return 1, nil
	case !over(old.record.State):
		return 0, problem(CodeConflict, "the device is "+string(old.record.State)+"; revoke or retire it before it is requested anew")
	}
	return old.key.generation + 1, nil
}

// request checks what is asked for and gives the entry that asks. The caller
// holds s.decide.
func (s *Server) request(r DeviceRequest, batch string) (evidence.AuditEntry, *Problem) {
	if wrong := r.form(); wrong != "" {
		return evidence.AuditEntry{}, problem(CodeInvalid, wrong)
	}
	if s.st.tenant(r.Tenant) == nil {
		return evidence.AuditEntry{}, problem(CodeNotFound, "there is no tenant "+clip(r.Tenant))
	}
	generation, p := s.nextGeneration(r.Tenant, r.Device)
	if p != nil {
		return evidence.AuditEntry{}, p
	}
	d := evidence.Device{Tenant: r.Tenant, ID: r.Device, Generation: generation, Type: r.Type, Site: r.Site, Fleet: r.Fleet, State: evidence.DeviceRequested}
	return evidence.AuditEntry{
		Tenant: r.Tenant, Device: r.Device, Generation: generation, Reason: r.Reason,
		Data: raw(requestData{d, s.now().Add(s.cfg().Approvals.RequestValid), batch}),
	}, nil
}

// requestDevice asks for a device, or for a new generation of one that has
// come to its end, which inherits nothing.
func (s *Server) requestDevice(a *adminCall) (any, *Problem) {
	var in DeviceRequest
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.tenant, a.device = clip(in.Tenant), clip(in.Device)
	s.decide.Lock()
	defer s.decide.Unlock()
	e, p := s.request(in, "")
	if p != nil {
		return nil, p
	}
	if p := a.done(evidence.EntryDeviceRequested, e); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return s.st.recordOf(s.st.device(in.Tenant, in.Device)), nil
}

// declineDevice says no to a request.
func (s *Server) declineDevice(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	if strings.TrimSpace(in.Reason) == "" {
		return nil, problem(CodeInvalid, "reason: say why not")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.named(a)
	if p != nil {
		return nil, p
	}
	if d.record.State != evidence.DeviceRequested {
		return nil, problem(CodeConflict, "the device is "+string(d.record.State)+", not requested")
	}
	d.flow.Lock()
	p = a.done(evidence.EntryDeviceDeclined, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason, Ticket: in.Ticket,
	})
	d.flow.Unlock()
	if p != nil {
		return nil, p
	}
	return s.st.recordOf(d), nil
}

// requestOver says until when a request could have been used, where that is
// past. Logs from before requests expired say nothing of it; the policy of
// today holds for those. The caller holds s.decide or state.mu.
func (s *Server) requestOver(d *device, now time.Time) (why string) {
	switch d.record.State {
	case evidence.DeviceRequested:
		until := d.life.expires
		if until.IsZero() {
			until = d.requested.at.Add(s.cfg().Approvals.RequestValid)
		}
		if !now.Before(until) {
			return "nobody approved the request until " + until.Format(time.RFC3339)
		}
	case evidence.DeviceApproved:
		if !now.Before(d.codeUntil) {
			return "the enrolment code was not used until " + d.codeUntil.Format(time.RFC3339)
		}
	}
	return ""
}

// expireRequests ends the requests, the approvals and the transfers that were
// not used in time.
func (s *Server) expireRequests(now time.Time) error {
	if due, moves := s.unused(now); len(due)+len(moves) == 0 {
		return nil
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	due, moves := s.unused(now) // again: somebody may have decided meanwhile
	var entries []evidence.AuditEntry
	for _, d := range append(due, moves...) {
		d.flow.Lock()
		defer d.flow.Unlock()
	}
	for _, d := range due {
		entries = append(entries, s.entry(evidence.EntryRequestExpired, evidence.AuditEntry{
			Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: s.requestOver(d, now),
		}))
	}
	for _, d := range moves {
		t := d.life.transfer
		entries = append(entries, s.entry(evidence.EntryTransferRefused, evidence.AuditEntry{
			Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: "nobody decided the transfer until " + t.Expires.Format(time.RFC3339),
			Data: raw(transferData{ID: t.ID}),
		}))
	}
	_, err := s.record(entries...)
	return err
}

// unused lists the devices whose request, or whose transfer, is over, some at
// a time.
func (s *Server) unused(now time.Time) (requests, transfers []*device) {
	const some = 1000
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, d := range s.st.order {
		if len(requests)+len(transfers) == some {
			break
		}
		if s.requestOver(d, now) != "" {
			requests = append(requests, d)
		} else if t := d.life.transfer; t != nil && !now.Before(t.Expires) {
			transfers = append(transfers, d)
		}
	}
	return requests, transfers
}
