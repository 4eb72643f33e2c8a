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

// SupportPolicy bounds what support may do.
type SupportPolicy struct {
	Max time.Duration `yaml:"max"` // how long one grant lasts at most
}

// GrantRecord lets somebody of the role support do some things in one tenant
// for some time, and says what became of it. The role by itself opens nothing.
type GrantRecord struct {
	ID          string    `json:"id"`
	Operator    string    `json:"operator"` // who may act
	Tenant      string    `json:"tenant"`
	Actions     []string  `json:"actions"` // of Grantable
	Minutes     int       `json:"minutes"` // from the approval on
	State       string    `json:"state"`   // "pending", "active", "declined" or "ended"
	Requester   string    `json:"requester"`
	RequestedAt time.Time `json:"requested_at"`
	Reason      string    `json:"reason"`
	Ticket      string    `json:"ticket,omitempty"`
	Approver    string    `json:"approver,omitempty"`
	From        time.Time `json:"from,omitzero"`
	Until       time.Time `json:"until,omitzero"` // from this moment on it opens nothing
	Decliner    string    `json:"decliner,omitempty"`
	EndedAt     time.Time `json:"ended_at,omitzero"` // also of one that was declined
	EndedBy     string    `json:"ended_by,omitempty"`
	Why         string    `json:"why,omitempty"` // it was declined; or "expired", "revoked" or "operator removed"
}

// States of a grant.
const (
	GrantPending  = "pending"
	GrantActive   = "active"
	GrantDeclined = "declined"
	GrantEnded    = "ended"
)

// Grantable lists the actions that a grant may name. No approval is among
// them, and nothing that reaches beyond one tenant.
func Grantable() []string {
	return []string{"read", "device.quarantine", "deadletter.replay", "alert.acknowledge", "alert.resolve", "export.list", "export.request", "export.get"}
}

// grantRoutes are the routes that a grant may open: each of them keeps to one
// tenant, by its path, its query or the record that it acts on. No other is
// reached under a grant, whatever its action.
func grantRoutes() []string {
	return []string{
		"GET /v1/admin/tenants", "GET /v1/admin/devices", "GET /v1/admin/deadletters", "GET /v1/admin/alerts", "GET /v1/admin/alerts/{id}", "GET /v1/admin/books", "GET /v1/admin/exports",
		"GET /status/{tenant}", "GET /v1/status/{tenant}",
		"POST /v1/admin/devices/{tenant}/{device}/quarantine", "POST /v1/admin/deadletters/{tenant}/{index}/replay",
		"POST /v1/admin/alerts/{id}/ack", "POST /v1/admin/alerts/{id}/resolve", "POST /v1/admin/exports", "POST /v1/admin/exports/{id}/file",
	}
}

// open reports whether the grant opens something at now.
func (g *GrantRecord) open(now time.Time) bool {
	return g.State == GrantActive && !now.Before(g.From) && (now.Before(g.Until) || off(guardGrantExpiry))
}

// grantData is the data of the entries of a grant.
type grantData struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator,omitempty"`
	Tenant   string    `json:"tenant,omitempty"`
	Actions  []string  `json:"actions,omitempty"`
	Minutes  int       `json:"minutes,omitempty"`
	From     time.Time `json:"from,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	Why      string    `json:"why,omitempty"`
}

func (st *state) applyGrant(e *evidence.AuditEntry) error {
	var d grantData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == evidence.EntryGrantRequested {
		st.grants[d.ID] = &GrantRecord{
			ID: d.ID, Operator: d.Operator, Tenant: d.Tenant, Actions: d.Actions, Minutes: d.Minutes, State: GrantPending,
			Requester: actorName(e.Actor), RequestedAt: e.Time, Reason: e.Reason, Ticket: e.Ticket,
		}
		return nil
	}
	old := st.grants[d.ID]
	if old == nil {
		return fmt.Errorf("%s of a grant that was never requested, %s", e.Type, clip(d.ID))
	}
	g := *old // a snapshot may be at the one before
	switch e.Type {
	case evidence.EntryGrantApproved:
		g.State, g.Approver, g.From, g.Until = GrantActive, actorName(e.Actor), d.From, d.Until
	case evidence.EntryGrantDeclined:
		g.State, g.Decliner, g.EndedAt, g.Why = GrantDeclined, actorName(e.Actor), e.Time, e.Reason
	case evidence.EntryGrantEnded:
		g.State, g.EndedBy, g.EndedAt, g.Why = GrantEnded, actorName(e.Actor), e.Time, d.Why
	}
	st.grants[d.ID] = &g
	return nil
}

// grant is a copy of the record of id, nil where there is none.
func (st *state) grant(id string) *GrantRecord {
	st.mu.RLock()
	defer st.mu.RUnlock()
	g := st.grants[id]
	if g == nil {
		return nil
	}
	c := *g
	return &c
}

// someGrants are the grants of which keep holds, those with the least time left first.
func (st *state) someGrants(keep func(*GrantRecord) bool) []*GrantRecord {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var out []*GrantRecord
	for _, g := range st.grants {
		if keep(g) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *GrantRecord) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.ID, b.ID)) })
	return out
}

// listGrants lists the grants, newest first; to who holds the role support
// alone, his own.
func (s *Server) listGrants(a *adminCall) (any, *Problem) {
	out := []GrantRecord{}
	for _, g := range s.st.someGrants(func(g *GrantRecord) bool { return a.role != RoleSupport || g.Operator == a.op.Name }) {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b GrantRecord) int {
		return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(a.ID, b.ID))
	})
	return map[string]any{"grants": out}, nil
}

// requestGrant asks for a grant, for oneself or for somebody else.
func (s *Server) requestGrant(a *adminCall) (any, *Problem) {
	var in struct {
		Operator string   `json:"operator"`
		Tenant   string   `json:"tenant"`
		Actions  []string `json:"actions"`
		Minutes  int      `json:"minutes"`
		Reason   string   `json:"reason"`
		Ticket   string   `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.tenant, a.target = clip(in.Tenant), clip(in.Operator)
	slices.Sort(in.Actions)
	in.Actions = slices.Compact(in.Actions)
	longest := s.cfg().Support.Max
	switch {
	case len(in.Actions) == 0 || slices.ContainsFunc(in.Actions, func(x string) bool { return !slices.Contains(Grantable(), x) }):
		return nil, problem(CodeInvalid, "actions: want some of "+strings.Join(Grantable(), ", "))
	case in.Minutes < 1 || time.Duration(in.Minutes) > longest/time.Minute:
		return nil, problem(CodeInvalid, "minutes: want 1 to support.max, "+longest.String())
	case strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say what support is needed for")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	switch o := s.st.operator(in.Operator); {
	case o == nil || o.removed:
		return nil, problem(CodeNotFound, "there is no operator of that name")
	case !o.holds(RoleSupport, s.now()):
		return nil, problem(CodeConflict, "the operator does not hold the role "+RoleSupport)
	case s.st.tenant(in.Tenant) == nil:
		return nil, problem(CodeNotFound, "there is no tenant "+clip(in.Tenant))
	}
	d := grantData{ID: "grant-" + a.id, Operator: in.Operator, Tenant: in.Tenant, Actions: in.Actions, Minutes: in.Minutes}
	if p := a.done(evidence.EntryGrantRequested, evidence.AuditEntry{
		Tenant: in.Tenant, Target: d.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(d), After: raw(map[string]string{"state": GrantPending}),
	}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return s.st.grant(d.ID), nil
}

// namedGrant finds the grant of the path. The caller holds s.decide.
func (s *Server) namedGrant(a *adminCall) (*GrantRecord, *Problem) {
	a.target = clip(a.r.PathValue("id"))
	g := s.st.grant(a.r.PathValue("id"))
	if g == nil {
		return nil, problem(CodeNotFound, "there is no such grant")
	}
	a.tenant = g.Tenant
	return g, nil
}

// approveGrant lets a grant begin. Neither who asked for it nor whom it serves
// may. Who approves may give less time than was asked for.
func (s *Server) approveGrant(a *adminCall) (any, *Problem) {
	var in struct {
		decisionCall
		Seconds int64 `json:"seconds"` // how long it lasts, where that is shorter
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	g, p := s.namedGrant(a)
	if p != nil {
		return nil, p
	}
	now, longest := s.now(), s.cfg().Support.Max
	switch {
	case g.State != GrantPending:
		return nil, problem(CodeConflict, "the grant is "+g.State)
	case g.Requester == a.op.Name:
		return nil, problem(CodeApprovalSelf, "the grant was requested by the same operator")
	case g.Operator == a.op.Name:
		return nil, problem(CodeApprovalSelf, "the grant is for the same operator")
	case time.Duration(g.Minutes) > longest/time.Minute:
		return nil, problem(CodeConflict, "the grant is for longer than support.max, which now is "+longest.String())
	case in.Seconds < 0:
		return nil, problem(CodeInvalid, "seconds: want a number above 0")
	case now.Sub(g.RequestedAt) > day:
		return nil, problem(CodeConflict, "the grant was requested more than 24 hours ago; request it again")
	}
	d := grantData{ID: g.ID, From: now, Until: now.Add(shorter(in.Seconds, time.Duration(g.Minutes)*time.Minute))}
	if p := a.done(evidence.EntryGrantApproved, evidence.AuditEntry{
		Tenant: g.Tenant, Target: g.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(d), Before: stateData(g.State), After: stateData(GrantActive),
	}); p != nil {
		return nil, p
	}
	return s.st.grant(g.ID), nil
}

// stateData is how entries say where a thing stood and stands.
func stateData(state string) json.RawMessage { return raw(map[string]string{"state": state}) }

func (s *Server) declineGrant(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	g, p := s.namedGrant(a)
	switch {
	case p != nil:
		return nil, p
	case g.State != GrantPending:
		return nil, problem(CodeConflict, "the grant is "+g.State)
	case strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say why not")
	}
	if p := a.done(evidence.EntryGrantDeclined, evidence.AuditEntry{
		Tenant: g.Tenant, Target: g.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(grantData{ID: g.ID}), Before: stateData(g.State), After: stateData(GrantDeclined),
	}); p != nil {
		return nil, p
	}
	return s.st.grant(g.ID), nil
}

// endGrant ends a grant before its time; who holds the role support alone
// ends his own.
func (s *Server) endGrant(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	g, p := s.namedGrant(a)
	switch {
	case p != nil:
		return nil, p
	case a.role == RoleSupport && g.Operator != a.op.Name:
		return nil, problem(CodeForbidden, "the grant is somebody else's")
	case g.State != GrantPending && g.State != GrantActive:
		return nil, problem(CodeConflict, "the grant is "+g.State)
	}
	if p := a.done(evidence.EntryGrantEnded, evidence.AuditEntry{
		Tenant: g.Tenant, Target: g.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(grantData{ID: g.ID, Why: "revoked"}), Before: stateData(g.State), After: stateData(GrantEnded),
	}); p != nil {
		return nil, p
	}
	s.acts.cut(func(o *adminCall) bool { return o.grant == g.ID && o != a })
	return s.st.grant(g.ID), nil
}

// endGrants enters the end of grants whose time is over, and cuts what is
// still under way under them. They have opened nothing since their moment.
func (s *Server) endGrants(now time.Time) error {
	if off(guardGrantExpiry) {
		return nil
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	for _, g := range s.st.someGrants(func(g *GrantRecord) bool { return g.State == GrantActive && !now.Before(g.Until) }) {
		if _, err := s.record(s.entry(evidence.EntryGrantEnded, evidence.AuditEntry{
			Tenant: g.Tenant, Target: g.ID, Data: raw(grantData{ID: g.ID, Why: "expired"}), Before: stateData(g.State), After: stateData(GrantEnded),
		})); err != nil {
			return err
		}
		s.acts.cut(func(a *adminCall) bool { return a.grant == g.ID })
	}
	return nil
}
