package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// MethodOIDC is that of a session which began with a login at the provider.
const MethodOIDC = "oidc"

// LoginTerms say where and how an operator logs in: GET /v1/admin/login.
type LoginTerms struct {
	Issuer      string   `json:"issuer"`
	ClientID    string   `json:"client_id"`
	Scopes      []string `json:"scopes"`
	ACR         []string `json:"acr,omitempty"`
	DeviceGrant bool     `json:"device_grant"` // ID tokens of the device grant are taken
	Nonce       string   `json:"nonce"`        // for one login, begun now
}

// OperatorSession is what a login gives: a token that can be used from the
// address of the login until Until.
type OperatorSession struct {
	Token string    `json:"token"`
	Name  string    `json:"name"`
	Roles []string  `json:"roles"`
	Until time.Time `json:"until"`
}

// loginDone is the data of operator.login.
type loginDone struct {
	Name        string    `json:"name"`
	Roles       []string  `json:"roles"`
	Groups      []string  `json:"groups"` // of those that the token names, the ones that give roles
	Issuer      string    `json:"issuer"`
	Subject     string    `json:"subject_sha256"` // of the issuer, a line feed and sub
	Until       time.Time `json:"until"`
	Fingerprint string    `json:"fingerprint"` // of the session's token
	Source      string    `json:"source"`      // network from which alone it can be used
	Linked      bool      `json:"linked,omitempty"`
}

// loginTerms begins a login.
func (s *Server) loginTerms(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	o := s.cfg().OIDC
	if !o.on() {
		s.answer(w, c, problem(CodeNotFound, "nobody logs in here: the configuration has no ingest.oidc"))
		return
	}
	nonce, err := s.logins.nonce(s.now())
	if err != nil {
		s.answer(w, c, s.failure(err))
		return
	}
	writeJSON(w, http.StatusOK, LoginTerms{o.Issuer, o.ClientID, append([]string{"openid"}, o.Scopes...), o.ACR, o.DeviceGrant, nonce})
}

// login exchanges an ID token for a session: POST {"id_token"}. A certificate
// or token of an operator that is shown with it says whom the identity belongs
// to, where that is not known yet.
//
// The ID token is taken once and never as a bearer token. It is made for the
// client, not for this ingest, lives as long as the provider likes and cannot
// be ended here; a session ends when the policy says, or an admin. It holds
// only from the network of its login, so that a token copied off a machine is
// of no use elsewhere. Whoever changes networks logs in again.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	a := &adminCall{s: s, w: w, r: r, id: c.id(), sess: c.sess}
	out, p := s.loginCall(c, a)
	if p != nil {
		s.answer(w, c, p)
		return
	}
	s.log.Info("operator", "request_id", a.id, "operator", out.Name, "action", "login", "roles", strings.Join(out.Roles, ","))
	writeJSON(w, http.StatusCreated, out)
}

func (s *Server) loginCall(c *call, a *adminCall) (*OperatorSession, *Problem) {
	o := s.cfg().OIDC
	if !o.on() {
		return nil, problem(CodeNotFound, "nobody logs in here: the configuration has no ingest.oidc")
	}
	if c.sess == nil {
		return nil, problem(CodeForbidden, "the connection is not known")
	}
	if ok, _, retry := s.sourceLimits.of(c.sess.source).take(s.now(), 1, enrolRate()); !ok {
		p := problem(CodeRateSource, "")
		p.retryAfter = int(retry/time.Second) + 1
		return nil, p
	}
	if p := s.identifyOperator(c, a); p != nil && p.Code != CodeNoCertificate {
		return nil, p
	}
	var in struct {
		Token string `json:"id_token"`
	}
	if p := decodeJSON(a.w, a.r, &in); p != nil {
		return nil, p
	}
	if err := s.durable(); err != nil {
		return nil, lostProblem(err)
	}
	ctx, cancel := context.WithTimeout(a.r.Context(), 15*time.Second)
	defer cancel()
	id, err := s.provider.verify(ctx, &o, in.Token)
	switch {
	case errors.Is(err, errProviderSilent):
		s.log.Error("login", "request_id", a.id, "error", err)
		return nil, problem(CodeProviderSilent, "certificates and tokens of operators work as ever")
	case err != nil:
		return nil, problem(CodeLoginInvalid, clip(err.Error()))
	}
	return s.beginSession(a, &o, id, in.Token)
}

// fresh refuses an ID token that was not made for a login begun here, or that
// was used before.
func (s *Server) fresh(o *OIDCPolicy, id *loginIdentity, token string, now time.Time) *Problem {
	switch {
	case id.Nonce == "" && !o.DeviceGrant:
		return problem(CodeLoginInvalid, "the ID token carries no nonce")
	case id.Nonce == "" && id.Issued.Before(s.started.Truncate(time.Second)):
		return problem(CodeLoginInvalid, "the ID token carries no nonce and is older than this process, which cannot tell whether it was used")
	case id.Nonce != "" && !s.logins.ours(id.Nonce, now):
		return problem(CodeLoginInvalid, "the nonce of the ID token is none that was given out here in the last minutes")
	case id.Nonce != "" && !s.logins.once("nonce "+id.Nonce, now), id.Nonce == "" && !s.logins.once("token "+token, now):
		return problem(CodeLoginInvalid, "the ID token, or its nonce, was used before")
	}
	return nil
}

func (s *Server) beginSession(a *adminCall, o *OIDCPolicy, id *loginIdentity, idToken string) (*OperatorSession, *Problem) {
	s.decide.Lock()
	defer s.decide.Unlock()
	now := s.now()
	if p := s.fresh(o, id, idToken, now); p != nil {
		return nil, p
	}
	op, linked, p := s.whose(a, id)
	if p != nil {
		return nil, p
	}
	roles := o.rolesOf(id.Groups)
	if len(roles) == 0 {
		return nil, problem(CodeLoginNoRole, fmt.Sprintf("operator %s, identity %s: of %d groups none gives a role", op.Name, id.hash()[:16], len(id.Groups)))
	}
	token, err := newOperatorToken()
	if err != nil {
		return nil, s.failure(err)
	}
	d := loginDone{
		Name: op.Name, Roles: roles, Issuer: id.Issuer, Subject: id.hash(), Until: now.Add(o.MaxSession),
		Fingerprint: tokenPrint(token), Source: networkOf(a.sess.source), Linked: linked,
	}
	for _, g := range id.Groups {
		if len(o.Roles[g]) > 0 && !slices.Contains(d.Groups, g) {
			d.Groups = append(d.Groups, g)
		}
	}
	e := s.entry(evidence.EntryOperatorLogin, evidence.AuditEntry{
		Actor: &evidence.Actor{Name: op.Name, Role: strings.Join(roles, ","), Credential: d.Fingerprint}, RequestID: a.id, Target: op.Name, Result: "done", Data: raw(d),
	})
	if _, err := s.record(e); err != nil {
		return nil, s.failure(err)
	}
	return &OperatorSession{token, op.Name, roles, d.Until}, nil
}

// whose finds the operator that an identity belongs to. One that is not linked
// is linked to the operator whose certificate or token the same request shows,
// else to the one that an admin added for its name; it never makes an operator
// of its own. So whoever has a certificate and an identity is one operator by
// either, and cannot approve as the one what he asked for as the other. The
// caller holds s.decide.
func (s *Server) whose(a *adminCall, id *loginIdentity) (op *operator, linked bool, p *Problem) {
	hash := id.hash()
	var known, named *operator
	s.st.mu.RLock()
	for _, o := range s.st.operators {
		switch {
		case o.removed:
		case o.identity == hash:
			known = o
		case o.identity == "" && o.OIDC != "" && o.OIDC == id.Name:
			named = o
		}
	}
	s.st.mu.RUnlock()
	switch {
	case known != nil && a.op != nil && a.op.Name != known.Name:
		return nil, false, problem(CodeForbidden, "the identity and the credential that was shown are not of one operator")
	case known != nil:
		return known, false, nil
	case a.op != nil:
		shown := s.st.operator(a.op.Name)
		if shown == nil || shown.removed || shown.identity != "" || named != nil && named.Name != shown.Name {
			return nil, false, problem(CodeLoginUnlinked, "the operator whose credential was shown belongs to another identity, or the identity to another operator")
		}
		return shown, true, nil
	case named != nil:
		return named, true, nil
	}
	return nil, false, problem(CodeLoginUnlinked, "identity "+hash[:16]+" belongs to no operator: log in once with the certificate or token that you have, or have an admin add you")
}

// networkOf is the address, or for IPv6 its /64, within which one machine
// changes addresses by itself.
func networkOf(source string) string {
	ip := net.ParseIP(source)
	if ip == nil || ip.To4() != nil {
		return source
	}
	return ip.Mask(net.CIDRMask(64, 128)).String() + "/64"
}

// applyLogin links the operator and enters his session.
func (st *state) applyLogin(e *evidence.AuditEntry) error {
	var d loginDone
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	old := st.operators[d.Name]
	if old == nil || old.removed {
		return fmt.Errorf("%s of an operator that is not there, %s", e.Type, clip(d.Name))
	}
	st.enterOperator(old.withSession(d, e.Time))
	return nil
}

// maxOpenSessions of one operator; a further login ends the oldest.
const maxOpenSessions = 10

func (o *operator) withSession(d loginDone, now time.Time) *operator {
	op := o.changed()
	op.identity = d.Subject
	kept, open := op.credentials[:0], 0
	for i := len(op.credentials) - 1; i >= 0; i-- { // the newest first
		if op.credentials[i].Method == MethodOIDC {
			open++
		}
		if op.credentials[i].Method == MethodOIDC && open >= maxOpenSessions {
			op.credentials[i].NotAfter = now
		}
	}
	for _, c := range op.credentials {
		if !c.ended(now) {
			kept = append(kept, c)
		}
	}
	op.credentials = append(kept, OperatorCredential{Fingerprint: d.Fingerprint, Method: MethodOIDC, NotBefore: now, NotAfter: d.Until, Roles: d.Roles, Source: d.Source})
	return op
}
