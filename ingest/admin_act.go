package ingest

import (
	"net/http"

	"trustpack/evidence"
)

func (s *Server) addTenant(a *adminCall) (any, *Problem) {
	var in struct {
		evidence.Tenant
		Reason string `json:"reason"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.tenant = clip(in.ID)
	switch {
	case !tenantForm.MatchString(in.ID):
		return nil, problem(CodeInvalid, "id: want 1 to 63 lower-case letters, digits or hyphens, beginning with a letter or digit")
	case in.ID == controlLog || in.ID == "evidence":
		return nil, problem(CodeInvalid, "id: "+in.ID+" is the name of a log of the ingest's own")
	case len(in.Name) > 256:
		return nil, problem(CodeInvalid, "name: at most 256 bytes")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if s.st.tenant(in.ID) != nil {
		return nil, problem(CodeConflict, "the tenant is there already")
	}
	if p := a.done(evidence.EntryTenantAdded, evidence.AuditEntry{Tenant: in.ID, Target: in.ID, Reason: in.Reason, Data: raw(in.Tenant)}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return in.Tenant, nil
}

// postDrills enters the results of drills, in the order given.
func (s *Server) postDrills(a *adminCall) (any, *Problem) {
	var in []evidence.DrillResult
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	if len(in) == 0 || len(in) > 1000 {
		return nil, problem(CodeInvalid, "give 1 to 1000 results")
	}
	entries := make([]evidence.AuditEntry, len(in))
	for i, d := range in {
		switch {
		case d.ID == "" || d.Control == "":
			return nil, problem(CodeInvalid, "id and control: both must be given for each result")
		case d.Verdict != "passed" && d.Verdict != "failed" && d.Verdict != "not-available":
			return nil, problem(CodeInvalid, "verdict: want passed, failed or not-available")
		case len(raw(d)) > 32<<10:
			return nil, problem(CodeInvalid, "a result takes at most 32 KiB")
		}
		entries[i] = s.entry(evidence.EntryDrill, evidence.AuditEntry{
			Actor: a.actor(), RequestID: a.id, Grant: a.grant, Target: clip(d.ID), Result: "done", Data: raw(d),
		})
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if p := a.still(""); p != nil {
		return nil, p
	}
	indexes, err := s.record(entries...)
	if err != nil {
		return nil, s.failure(err)
	}
	positions := make([]string, len(indexes))
	for i, x := range indexes {
		positions[i] = controlLog + "/" + itoa(x)
	}
	return map[string]any{"positions": positions}, nil
}
