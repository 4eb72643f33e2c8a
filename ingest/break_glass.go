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

// AlertBreakGlass is raised by each break-glass.
const AlertBreakGlass = "operator.break-glass"

// BreakGlassPolicy bounds it.
type BreakGlassPolicy struct {
	Max time.Duration `yaml:"max"`
}

// BreakGlass is a role that an admin took for a bounded time in an emergency,
// when nobody could be asked. It raises an alert, and everything done under it
// carries its ID.
type BreakGlass struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator"`
	Role     string    `json:"role"`
	Reason   string    `json:"reason"`
	Ticket   string    `json:"ticket,omitempty"`
	OpenedAt time.Time `json:"opened_at"`
	Until    time.Time `json:"until"` // from this moment on it opens nothing
	ClosedAt time.Time `json:"closed_at,omitzero"`
	ClosedBy string    `json:"closed_by,omitempty"`
	Why      string    `json:"why,omitempty"` // it was closed: "expired", "closed" or "operator removed"
}

func (b *BreakGlass) open(now time.Time) bool { return b.ClosedAt.IsZero() && now.Before(b.Until) }

type breakGlassData struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator,omitempty"`
	Role     string    `json:"role,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Why      string    `json:"why,omitempty"`
}

func (st *state) applyBreakGlass(e *evidence.AuditEntry) error {
	var d breakGlassData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == evidence.EntryBreakGlassOpened {
		st.breaks[d.ID] = &BreakGlass{ID: d.ID, Operator: d.Operator, Role: d.Role, Reason: e.Reason, Ticket: e.Ticket, OpenedAt: e.Time, Until: d.Until}
		return nil
	}
	old := st.breaks[d.ID]
	if old == nil {
		return fmt.Errorf("%s of a break-glass that was never opened, %s", e.Type, clip(d.ID))
	}
	b := *old // a snapshot may be at the one before
	b.ClosedAt, b.ClosedBy, b.Why = e.Time, actorName(e.Actor), d.Why
	st.breaks[d.ID] = &b
	return nil
}

func (st *state) someBreaks(keep func(*BreakGlass) bool) []*BreakGlass {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var out []*BreakGlass
	for _, b := range st.breaks {
		if keep(b) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *BreakGlass) int { return cmp.Or(b.OpenedAt.Compare(a.OpenedAt), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (s *Server) listBreakGlass(*adminCall) (any, *Problem) {
	out := []BreakGlass{}
	for _, b := range s.st.someBreaks(func(*BreakGlass) bool { return true }) {
		out = append(out, *b)
	}
	return map[string]any{"break_glass": out}, nil
}

// openBreakGlass gives an admin a role that is not his, for some minutes.
func (s *Server) openBreakGlass(a *adminCall) (any, *Problem) {
	var in struct {
		Role    string `json:"role"`
		Minutes int    `json:"minutes"`
		Reason  string `json:"reason"`
		Ticket  string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.target = a.op.Name
	longest := s.cfg().BreakGlass.Max
	switch {
	case !slices.Contains(Roles(), in.Role) || in.Role == RoleSupport:
		return nil, problem(CodeInvalid, "role: want one of "+strings.Join(Roles(), ", ")+" but "+RoleSupport)
	case in.Minutes < 1 || time.Duration(in.Minutes) > longest/time.Minute:
		return nil, problem(CodeInvalid, "minutes: want 1 to break_glass.max, "+longest.String())
	case strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say what the emergency is")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if p := a.still(""); p != nil {
		return nil, p
	}
	now := s.now()
	if slices.Contains(a.op.Roles, in.Role) || len(s.openBreaks(a.op.Name, now)) > 0 {
		return nil, problem(CodeConflict, "the operator holds the role, or has taken one already")
	}
	d := breakGlassData{ID: "break-glass-" + a.id, Operator: a.op.Name, Role: in.Role, Until: now.Add(time.Duration(in.Minutes) * time.Minute)}
	// The alert first: nothing is taken of which nobody is told.
	al := evidence.Alert{
		ID: alertID(AlertBreakGlass, now, a.op.Name), Kind: AlertBreakGlass, Since: now,
		Detail: fmt.Sprintf("%s takes the role %s until %s: %s", a.op.Name, in.Role, d.Until.Format(time.RFC3339), clip(in.Reason)),
	}
	if len(in.Reason) > 2000 || len(in.Ticket) > 500 {
		return nil, problem(CodeInvalid, "reason takes at most 2000 bytes and ticket 500")
	}
	if _, err := s.record(
		s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Target: al.ID, Data: raw(al)}),
		s.entry(evidence.EntryBreakGlassOpened, evidence.AuditEntry{
			Actor: a.actor(), RequestID: a.id, Target: d.ID, Result: "done", Reason: in.Reason, Ticket: in.Ticket, Data: raw(d),
			Before: raw(map[string]any{"roles": a.op.Roles}), After: raw(map[string]any{"roles": append(slices.Clone(a.op.Roles), in.Role)}),
		}),
	); err != nil {
		return nil, s.failure(err)
	}
	a.status = http.StatusCreated
	return *s.openBreaks(a.op.Name, now)[0], nil
}

// openBreaks are those of the operator that are open at now.
func (s *Server) openBreaks(operator string, now time.Time) []*BreakGlass {
	return s.st.someBreaks(func(b *BreakGlass) bool { return b.Operator == operator && b.open(now) })
}

func (s *Server) closeBreakGlass(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	id := a.r.PathValue("id")
	a.target = clip(id)
	s.decide.Lock()
	defer s.decide.Unlock()
	found := s.st.someBreaks(func(b *BreakGlass) bool { return b.ID == id })
	switch {
	case len(found) == 0:
		return nil, problem(CodeNotFound, "there is no such break-glass")
	case !found[0].open(s.now()):
		return nil, problem(CodeConflict, "the break-glass is over")
	}
	if p := a.done(evidence.EntryBreakGlassClosed, evidence.AuditEntry{
		Target: id, Reason: in.Reason, Ticket: in.Ticket, Data: raw(breakGlassData{ID: id, Why: "closed"}), Before: stateData("open"), After: stateData("closed"),
	}); p != nil {
		return nil, p
	}
	s.acts.cut(func(o *adminCall) bool { return o.grant == id && o != a })
	return *s.st.someBreaks(func(b *BreakGlass) bool { return b.ID == id })[0], nil
}

// endBreakGlass enters the end of those whose time is over.
func (s *Server) endBreakGlass(now time.Time) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	for _, b := range s.st.someBreaks(func(b *BreakGlass) bool { return b.ClosedAt.IsZero() && !now.Before(b.Until) }) {
		if _, err := s.record(s.entry(evidence.EntryBreakGlassClosed, evidence.AuditEntry{
			Target: b.ID, Data: raw(breakGlassData{ID: b.ID, Why: "expired"}), Before: stateData("open"), After: stateData("closed"),
		})); err != nil {
			return err
		}
		s.acts.cut(func(a *adminCall) bool { return a.grant == b.ID })
	}
	return nil
}
