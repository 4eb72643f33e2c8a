package ingest

import (
	"slices"
	"strings"

	"trustpack/evidence"
)

func (s *Server) acknowledgeAlert(a *adminCall) (any, *Problem) {
	return s.actOnAlert(a, evidence.EntryAlertAcked, func(r AlertRecord) *Problem {
		if r.AcknowledgedAt != nil || r.ResolvedAt != nil {
			return problem(CodeConflict, "the alert is acknowledged or resolved already")
		}
		return nil
	})
}

func (s *Server) resolveAlert(a *adminCall) (any, *Problem) {
	return s.actOnAlert(a, evidence.EntryAlertResolved, func(r AlertRecord) *Problem {
		if r.ResolvedAt != nil {
			return problem(CodeConflict, "the alert is resolved already")
		}
		return nil
	})
}

func (s *Server) actOnAlert(a *adminCall, typ string, check func(AlertRecord) *Problem) (any, *Problem) {
	var in struct {
		Note       string `json:"note"`       // of an acknowledgement: what is being done
		Resolution string `json:"resolution"` // of a resolution: what it was and what was done
		Ticket     string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.target = clip(a.r.PathValue("id"))
	resolving := typ == evidence.EntryAlertResolved
	switch {
	case resolving && strings.TrimSpace(in.Resolution) == "" || len(in.Resolution) > 2000:
		return nil, problem(CodeInvalid, "resolution: say in 1 to 2000 bytes what became of it")
	case resolving && in.Note != "":
		return nil, problem(CodeInvalid, "note: it belongs to an acknowledgement; say it in resolution")
	case !resolving && in.Resolution != "":
		return nil, problem(CodeInvalid, "resolution: it belongs to a resolution; say it in note")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	r, p := s.alertNamed(a)
	if p != nil {
		return nil, p
	}
	if p := check(r); p != nil {
		return nil, p
	}
	data := map[string]string{"id": r.ID}
	if resolving {
		data["resolution"] = in.Resolution
	}
	if p := a.done(typ, evidence.AuditEntry{
		Tenant: r.Tenant, Target: r.ID, Reason: in.Note, Ticket: in.Ticket, Data: raw(data),
	}); p != nil {
		return nil, p
	}
	r, p = s.alertNamed(a)
	return viewOf(r), p
}

// resendAlert has what could not be told of an alert told after all, to one
// target or to all.
func (s *Server) resendAlert(a *adminCall) (any, *Problem) {
	var in struct {
		To     string `json:"to"` // target; empty: all
		Reason string `json:"reason"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	r, p := s.alertNamed(a)
	if p != nil {
		return nil, p
	}
	targets, sent := s.cfg().Alerts.targetNames(), 0
	for _, d := range r.Deliveries {
		if d.State != DeliveryUndelivered || in.To != "" && d.To != in.To {
			continue
		}
		if !slices.Contains(targets, d.To) {
			return nil, problem(CodeConflict, "the target "+clip(d.To)+" is no longer configured")
		}
		if p := a.done(evidence.EntryAlertResend, evidence.AuditEntry{
			Tenant: r.Tenant, Target: r.ID, Reason: in.Reason, Data: raw(deliveryData{ID: r.ID, To: d.To, Event: d.Event}),
			Before: stateData(DeliveryUndelivered), After: stateData(DeliveryWaiting),
		}); p != nil {
			return nil, p
		}
		sent++
	}
	if sent == 0 {
		return nil, problem(CodeConflict, "nothing of the alert was given up there")
	}
	r, p = s.alertNamed(a)
	return viewOf(r), p
}
