package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// RoleChange is a request that an operator shall hold roles of which some are
// privileged, and what became of it. Until somebody else approves it, the
// operator holds what is not privileged of them.
type RoleChange struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Roles       []string  `json:"roles"` // all that the operator is to hold
	State       string    `json:"state"` // "pending", "approved", "declined" or "lapsed": the operator was removed or made anew meanwhile
	Requester   string    `json:"requester"`
	RequestedAt time.Time `json:"requested_at"`
	Reason      string    `json:"reason,omitempty"`
	DecidedBy   string    `json:"decided_by,omitempty"`
	DecidedAt   time.Time `json:"decided_at,omitzero"`
}

// States of a role change.
const (
	RolesPending  = "pending"
	RolesApproved = "approved"
	RolesDeclined = "declined"
	RolesLapsed   = "lapsed"
)

// privileged reports whether the role lets its holder change something, or
// take data out, by himself.
func privileged(role string) bool { return role != RoleAuditor && role != RoleSupport }

// unprivileged are those of roles that need no second person.
func unprivileged(roles []string) []string {
	return slices.DeleteFunc(slices.Clone(roles), privileged)
}

// roleData is the data of the entries of role changes.
type roleData struct {
	ID    string   `json:"id,omitempty"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

func (st *state) applyRoles(e *evidence.AuditEntry) error {
	var d roleData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == evidence.EntryRoleRequested {
		st.lapse(d.Name, e.Time)
		st.roleChanges[d.ID] = &RoleChange{ID: d.ID, Name: d.Name, Roles: d.Roles, State: RolesPending, Requester: actorName(e.Actor), RequestedAt: e.Time, Reason: e.Reason}
		return nil
	}
	if e.Type != evidence.EntryRoleChanged {
		old := st.roleChanges[d.ID]
		if old == nil {
			return fmt.Errorf("%s of a change that was never requested, %s", e.Type, clip(d.ID))
		}
		c := *old // a snapshot may be at the one before
		c.State, c.DecidedBy, c.DecidedAt = RolesApproved, actorName(e.Actor), e.Time
		if e.Type == evidence.EntryRoleDeclined {
			c.State = RolesDeclined
		}
		st.roleChanges[d.ID] = &c
		if e.Type == evidence.EntryRoleDeclined {
			return nil
		}
	}
	o := st.operators[d.Name]
	if o == nil || o.removed {
		return fmt.Errorf("%s of an operator that is not there, %s", e.Type, clip(d.Name))
	}
	o = o.changed()
	o.Roles = d.Roles
	st.enterOperator(o)
	return nil
}

// lapse ends what is asked for an operator and not decided: it was asked for
// somebody with other credentials, or other roles.
func (st *state) lapse(name string, at time.Time) {
	for id, c := range st.roleChanges {
		if c.Name == name && c.State == RolesPending {
			lapsed := *c
			lapsed.State, lapsed.DecidedAt = RolesLapsed, at
			st.roleChanges[id] = &lapsed
		}
	}
}

// asked are the roles that somebody asked for the operator to hold and nobody
// has decided.
func (s *Server) asked(name string) (roles []string) {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, c := range s.st.roleChanges {
		if c.Name == name && c.State == RolesPending {
			roles = append(roles, c.Roles...)
		}
	}
	return roles
}

// secondPerson reports whether a change of the operator's privileged roles
// that a makes needs somebody else, which it does once there is somebody: an
// admin or approver, with a living credential, who is neither of the two.
func (s *Server) secondPerson(a *adminCall, name string) bool {
	if s.cfg().Approvals.Roles < 2 {
		return false
	}
	now := s.now()
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, o := range s.st.operators {
		if o.Name != a.op.Name && o.Name != name && (o.proves(RoleAdmin, now) || o.proves(RoleApprover, now)) {
			return true
		}
	}
	return false
}

// proves reports whether o can still prove himself as who has the role: with a
// credential of his own, or in a session that is open.
func (o *operator) proves(role string, now time.Time) bool {
	return !o.removed && slices.ContainsFunc(o.credentials, func(c OperatorCredential) bool {
		return !c.ended(now) && slices.Contains(o.by(c).Roles, role)
	})
}

func (s *Server) roleChange(id string) *RoleChange {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	c := s.st.roleChanges[id]
	if c == nil {
		return nil
	}
	found := *c
	return &found
}

func (s *Server) listRoleChanges(*adminCall) (any, *Problem) {
	out := []RoleChange{}
	s.st.mu.RLock()
	for _, c := range s.st.roleChanges {
		out = append(out, *c)
	}
	s.st.mu.RUnlock()
	slices.SortFunc(out, func(a, b RoleChange) int {
		return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(a.ID, b.ID))
	})
	return map[string]any{"role_changes": out}, nil
}

// someRoles reads a list of roles.
func someRoles(roles []string) ([]string, *Problem) {
	roles = slices.Clone(roles)
	slices.Sort(roles)
	roles = slices.Compact(roles)
	if len(roles) == 0 {
		return nil, problem(CodeInvalid, "roles: give at least one")
	}
	for _, r := range roles {
		if !slices.Contains(Roles(), r) {
			return nil, problem(CodeInvalid, "roles: there is no role "+clip(r))
		}
	}
	return roles, nil
}

// roleRequested is the entry that asks for roles.
func (a *adminCall) roleRequested(name string, before, roles []string, reason string) evidence.AuditEntry {
	d := roleData{"role-" + a.id, name, roles}
	return evidence.AuditEntry{
		Target: d.ID, Reason: reason, Data: raw(d), Before: raw(map[string]any{"state": "", "roles": before}), After: raw(map[string]any{"state": RolesPending, "roles": roles}),
	}
}

// changeRoles gives an operator other roles, at once where none comes that is
// privileged; else all of it waits until somebody else approves.
func (s *Server) changeRoles(a *adminCall) (any, *Problem) {
	var in struct {
		Roles  []string `json:"roles"`
		Reason string   `json:"reason"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	name := a.r.PathValue("name")
	a.target = clip(name)
	roles, p := someRoles(in.Roles)
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	o := s.st.operator(name)
	switch {
	case name == a.op.Name:
		return nil, problem(CodeApprovalSelf, "nobody changes their own roles or certificate")
	case o == nil || o.removed:
		return nil, problem(CodeNotFound, "there is no operator of that name")
	case o.Method == MethodOIDC:
		return nil, problem(CodeConflict, "the operator's roles come from the provider's groups; he has none of his own")
	case slices.Contains(o.Roles, RoleAdmin) && !slices.Contains(roles, RoleAdmin) && s.lastAdmin(name):
		return nil, problem(CodeConflict, "the last admin keeps the role")
	}
	comes := slices.ContainsFunc(roles, func(r string) bool { return privileged(r) && !slices.Contains(o.Roles, r) })
	if comes && s.secondPerson(a, name) {
		if p := a.done(evidence.EntryRoleRequested, a.roleRequested(name, o.Roles, roles, in.Reason)); p != nil {
			return nil, p
		}
		a.status = http.StatusAccepted
		return s.roleChange("role-" + a.id), nil
	}
	d := roleData{Name: name, Roles: roles}
	if p := a.done(evidence.EntryRoleChanged, evidence.AuditEntry{
		Target: name, Reason: in.Reason, Data: raw(d), Before: raw(map[string]any{"roles": o.Roles}), After: raw(map[string]any{"roles": roles}),
	}); p != nil {
		return nil, p
	}
	s.acts.cut(func(c *adminCall) bool { return c.op.Name == name })
	return RoleChange{Name: name, Roles: roles, State: RolesApproved, Requester: a.op.Name, RequestedAt: s.now(), Reason: in.Reason, DecidedBy: a.op.Name, DecidedAt: s.now()}, nil
}

// lastAdmin reports whether nobody but name is an admin who can prove himself
// without a provider: sessions end, and who can begin one is said elsewhere.
func (s *Server) lastAdmin(name string) bool {
	now := s.now()
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	for _, o := range s.st.operators {
		if o.Name != name && !o.removed && slices.Contains(o.Roles, RoleAdmin) && slices.ContainsFunc(o.credentials, func(c OperatorCredential) bool { return c.Method != MethodOIDC && !c.ended(now) }) {
			return false
		}
	}
	return true
}

func (s *Server) approveRoles(a *adminCall) (any, *Problem) {
	return s.decideRoles(a, evidence.EntryRoleApproved, RolesApproved)
}

func (s *Server) declineRoles(a *adminCall) (any, *Problem) {
	return s.decideRoles(a, evidence.EntryRoleDeclined, RolesDeclined)
}

// decideRoles consents to a role change, or refuses it. Neither who asked for
// it nor whom it serves may.
func (s *Server) decideRoles(a *adminCall, typ, after string) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	a.target = clip(a.r.PathValue("id"))
	s.decide.Lock()
	defer s.decide.Unlock()
	c := s.roleChange(a.r.PathValue("id"))
	switch {
	case c == nil:
		return nil, problem(CodeNotFound, "there is no such role change")
	case c.State != RolesPending:
		return nil, problem(CodeConflict, "the role change is "+c.State)
	case c.Requester == a.op.Name:
		return nil, problem(CodeApprovalSelf, "the roles were asked for by the same operator")
	case c.Name == a.op.Name:
		return nil, problem(CodeApprovalSelf, "the roles are for the same operator")
	case after == RolesApproved && s.now().Sub(c.RequestedAt) > s.cfg().Approvals.RequestValid:
		return nil, problem(CodeConflict, "the roles were asked for longer ago than approvals.request_valid; ask again")
	case after == RolesDeclined && strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say why not")
	}
	held := s.st.operator(c.Name).Roles
	is := held
	if after == RolesApproved {
		is = c.Roles
		if slices.Contains(held, RoleAdmin) && !slices.Contains(is, RoleAdmin) && s.lastAdmin(c.Name) {
			return nil, problem(CodeConflict, "the last admin keeps the role")
		}
	}
	if p := a.done(typ, evidence.AuditEntry{
		Target: c.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(roleData{c.ID, c.Name, c.Roles}),
		Before: raw(map[string]any{"state": c.State, "roles": held}), After: raw(map[string]any{"state": after, "roles": is}),
	}); p != nil {
		return nil, p
	}
	return s.roleChange(c.ID), nil
}
