package ingest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// SessionInfo is an open session as it is listed.
type SessionInfo struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator"`
	Roles    []string  `json:"roles"`
	Source   string    `json:"source"` // network from which alone it can be used
	Begun    time.Time `json:"begun"`
	Until    time.Time `json:"until"`
}

// sessionID names a session without opening it.
func sessionID(fingerprint string) string {
	return strings.TrimPrefix(fingerprint, "sha256:")[:16]
}

// by is the operator as he acts with the credential: in a session he has the
// roles that his groups gave him at its login, and no others.
func (o *operator) by(c OperatorCredential) *operator {
	if c.Method != MethodOIDC {
		return o
	}
	in := *o
	in.Roles = c.Roles
	return &in
}

// holds reports whether the operator has the role, by himself or in a session
// that is open.
func (o *operator) holds(role string, now time.Time) bool {
	return slices.Contains(o.Roles, role) || slices.ContainsFunc(o.credentials, func(c OperatorCredential) bool {
		return c.Method == MethodOIDC && !c.ended(now) && slices.Contains(c.Roles, role)
	})
}

func (s *Server) openSessions() []SessionInfo {
	now := s.now()
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	out := []SessionInfo{}
	for _, o := range s.st.operators {
		for _, c := range o.credentials {
			if c.Method == MethodOIDC && !c.ended(now) {
				out = append(out, SessionInfo{sessionID(c.Fingerprint), o.Name, c.Roles, c.Source, c.NotBefore, c.NotAfter})
			}
		}
	}
	slices.SortFunc(out, func(a, b SessionInfo) int { return cmp.Or(b.Begun.Compare(a.Begun), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (s *Server) listSessions(*adminCall) (any, *Problem) {
	return map[string]any{"sessions": s.openSessions()}, nil
}

// sessionEnded is the data of operator.logout.
type sessionEnded struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"` // of the session's token
	Why         string `json:"why"`         // "logout", or "ended" by an admin
}

// endSession ends anybody's session at once.
func (s *Server) endSession(a *adminCall) (any, *Problem) {
	id := a.r.PathValue("id")
	return s.sessionOver(a, "ended", func(c OperatorCredential) bool { return sessionID(c.Fingerprint) == id })
}

// logout ends the session by which the call came.
func (s *Server) logout(a *adminCall) (any, *Problem) {
	a.target = a.op.Name
	if c, _ := a.op.credential(a.print); c.Method != MethodOIDC {
		return nil, problem(CodeForbidden, "only who came by a session logs out of it")
	}
	return s.sessionOver(a, "logout", func(c OperatorCredential) bool { return c.Fingerprint == a.print })
}

func (s *Server) sessionOver(a *adminCall, why string, which func(OperatorCredential) bool) (any, *Problem) {
	reason, p := a.reason()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	now := s.now()
	var of *operator
	var found OperatorCredential
	s.st.mu.RLock()
	for _, o := range s.st.operators {
		for _, c := range o.credentials {
			if c.Method == MethodOIDC && !c.ended(now) && which(c) {
				of, found = o, c
			}
		}
	}
	s.st.mu.RUnlock()
	if of == nil {
		return nil, problem(CodeNotFound, "there is no such session")
	}
	a.target = of.Name
	d := sessionEnded{of.Name, found.Fingerprint, why}
	if p := a.done(evidence.EntryOperatorLogout, evidence.AuditEntry{Target: of.Name, Reason: reason, Data: raw(d), Before: stateData("open"), After: stateData("ended")}); p != nil {
		return nil, p
	}
	s.acts.cut(func(o *adminCall) bool { return o.print == found.Fingerprint && o != a })
	return map[string]string{"ended": sessionID(found.Fingerprint)}, nil
}

func (st *state) applyLogout(e *evidence.AuditEntry) error {
	var d sessionEnded
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	old := st.operators[d.Name]
	if old == nil {
		return nil // removed and forgotten: nothing is open
	}
	op := old.changed()
	op.credentials = slices.DeleteFunc(op.credentials, func(c OperatorCredential) bool { return c.Fingerprint == d.Fingerprint })
	st.enterOperator(op)
	return nil
}

// addByIdentity makes an operator who will log in at the provider under the
// name given, and has no credential of his own.
func (s *Server) addByIdentity(a *adminCall, name, identity, reason string) (any, *Problem) {
	if !s.cfg().OIDC.on() {
		return nil, problem(CodeInvalid, "oidc: the configuration has no ingest.oidc")
	}
	s.st.mu.RLock()
	var taken string
	for _, o := range s.st.operators {
		if !o.removed && (o.Name == name || o.OIDC == identity) {
			taken = o.Name
		}
	}
	s.st.mu.RUnlock()
	if taken != "" {
		return nil, problem(CodeConflict, "operator "+taken+" is there already; to link an operator with an identity, log in once with the operator's certificate or token")
	}
	added := evidence.Operator{Name: name, Roles: []string{}, Method: MethodOIDC, OIDC: identity}
	if p := a.done(evidence.EntryOperatorAdded, evidence.AuditEntry{Target: name, Reason: reason, After: raw(added), Data: raw(added)}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return map[string]any{"oidc": identity}, nil
}
