package ingest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"time"

	"trustpack/evidence"
)

// operatorTokenBegins begins the bearer tokens of operators; 256 bits in
// base64url follow.
const operatorTokenBegins = "tpo_"

// TokenPolicy bounds bearer tokens.
type TokenPolicy struct {
	OperatorMax time.Duration `yaml:"operator_max"` // how long a token of an operator can be used at most
	DeviceMax   time.Duration `yaml:"device_max"`   // how long a token of a device is good
	Allowed     TokenFleets   `yaml:"allowed"`      // devices that may be given one
}

// newOperatorToken makes a token.
func newOperatorToken() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	return operatorTokenBegins + base64.RawURLEncoding.EncodeToString(b), nil
}

// tokenPrint is what is kept of a token: "sha256:<hex>" of its text.
func tokenPrint(token string) string { return "sha256:" + evidence.SHA256Hex([]byte(token)) }

// operatorByToken finds the operator by a token of his.
func (s *Server) operatorByToken(a *adminCall, token string) *Problem {
	print := tokenPrint(token)
	_, op := s.st.byFingerprint(print)
	if op == nil {
		return problem(CodeUnknownCredential, "")
	}
	c, _ := op.credential(print)
	now := s.now()
	switch {
	case c.Method != MethodToken && c.Method != MethodOIDC || subtle.ConstantTimeCompare([]byte(c.Fingerprint), []byte(print)) != 1:
		return problem(CodeUnknownCredential, "")
	case now.Before(c.NotBefore) || c.ended(now):
		return problem(CodeExpiredCredential, "the token of operator "+op.Name)
	}
	if c.Method == MethodOIDC {
		if a.sess == nil || networkOf(a.sess.source) != c.Source {
			return problem(CodeUnknownCredential, "the session of operator "+op.Name+" began from another network, and holds there alone")
		}
		a.until = c.NotAfter
	}
	a.op, a.print = op.by(c), print
	return nil
}

// tokenRequest asks for a token.
type tokenRequest struct {
	NotBefore      time.Time `json:"not_before"`
	Minutes        int       `json:"minutes"`         // that it can be used; 0 is tokens.operator_max
	OverlapMinutes int       `json:"overlap_minutes"` // for which the tokens before it can still be used
	Reason         string    `json:"reason"`
}

// issueToken gives another operator a token.
func (s *Server) issueToken(a *adminCall) (any, *Problem) {
	name := a.r.PathValue("name")
	a.target = clip(name)
	if name == a.op.Name {
		return nil, problem(CodeApprovalSelf, "nobody gives themselves a credential; a token of one's own is rotated")
	}
	return s.giveToken(a, name)
}

// rotateToken gives an operator who came with a token the next one.
func (s *Server) rotateToken(a *adminCall) (any, *Problem) {
	a.target = a.op.Name
	if c, _ := a.op.credential(a.print); c.Method != MethodToken {
		return nil, problem(CodeForbidden, "only who comes with a token rotates it; another operator gives the first")
	}
	return s.giveToken(a, a.op.Name)
}

// giveToken gives the operator a token, which is in the answer and nowhere
// else. The tokens that he had end after the overlap.
func (s *Server) giveToken(a *adminCall, name string) (any, *Problem) {
	var in tokenRequest
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	now := s.now()
	span, p := s.tokenSpan(in.NotBefore, in.Minutes, now)
	if p != nil {
		return nil, p
	}
	if in.OverlapMinutes < 0 || time.Duration(in.OverlapMinutes) > s.cfg().Tokens.OperatorMax/time.Minute {
		return nil, problem(CodeInvalid, "overlap_minutes: want 0 to tokens.operator_max, "+s.cfg().Tokens.OperatorMax.String())
	}
	s.st.mu.RLock()
	o := s.st.operators[name]
	s.st.mu.RUnlock()
	switch {
	case o == nil || o.removed:
		return nil, problem(CodeNotFound, "there is no operator of that name")
	case name != a.op.Name && slices.ContainsFunc(append(s.asked(name), o.Roles...), privileged) && s.secondPerson(a, name):
		return nil, problem(CodeConflict, "the operator holds a privileged role, or it is asked for: he rotates his own token, or is added anew, which somebody else approves")
	}
	token, err := newOperatorToken()
	if err != nil {
		return nil, s.failure(err)
	}
	d := credentialIssued{name, OperatorCredential{Fingerprint: tokenPrint(token), Method: MethodToken, NotBefore: span[0], NotAfter: span[1]}, now.Add(time.Duration(in.OverlapMinutes) * time.Minute)}
	if p := a.done(evidence.EntryOperatorIssued, evidence.AuditEntry{
		Target: name, Reason: in.Reason, Data: raw(d),
		Before: raw(map[string]any{"credentials": o.credentials}), After: raw(map[string]any{"credentials": o.withCredential(d, now).credentials}),
	}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return OperatorToken{token, d.OperatorCredential}, nil
}

// tokenSpan is from when to when a new token can be used.
func (s *Server) tokenSpan(from time.Time, minutes int, now time.Time) ([2]time.Time, *Problem) {
	longest := s.cfg().Tokens.OperatorMax
	if minutes == 0 {
		minutes = int(longest / time.Minute)
	}
	if from.IsZero() || from.Before(now) {
		from = now
	}
	switch {
	case minutes < 1 || time.Duration(minutes) > longest/time.Minute:
		return [2]time.Time{}, problem(CodeInvalid, "minutes: want 1 to tokens.operator_max, "+longest.String())
	case from.After(now.Add(longest)):
		return [2]time.Time{}, problem(CodeInvalid, "not_before: lies further ahead than tokens.operator_max, "+longest.String())
	}
	return [2]time.Time{from.UTC(), from.Add(time.Duration(minutes) * time.Minute).UTC()}, nil
}
