package ingest

import (
	"net/http"
	"slices"
	"strings"

	"trustpack/evidence"
)

// Roles of operators.
const (
	RoleAdmin       = "admin"
	RoleProvisioner = "provisioner"
	RoleApprover    = "approver"
	RoleSupport     = "support"
	RoleExporter    = "exporter"
	RoleAuditor     = "auditor"
)

// Roles lists them.
func Roles() []string {
	return []string{RoleAdmin, RoleProvisioner, RoleApprover, RoleSupport, RoleExporter, RoleAuditor}
}

// Permission is one row of the table of who may do what.
type Permission struct {
	Action string   `json:"action"` // of the admin API, such as "device.approve"
	Roles  []string `json:"roles"`  // any of them suffices; the first that the operator holds is logged
}

// Permissions is the table that the admin API is governed by.
func Permissions() []Permission {
	readers := []string{RoleAuditor, RoleAdmin, RoleProvisioner, RoleApprover}
	return []Permission{
		{"read", readers},
		{"checkpoint.make", readers},
		{"tenant.add", []string{RoleAdmin}},
		{"operator.add", []string{RoleAdmin}},
		{"operator.remove", []string{RoleAdmin}},
		{"operator.roles", []string{RoleAdmin}},
		{"role.approve", []string{RoleApprover, RoleAdmin}},
		{"role.decline", []string{RoleApprover, RoleAdmin}},
		{"operator.token", []string{RoleAdmin}},
		{"token.rotate", Roles()},
		{"session.end", []string{RoleAdmin}},
		{"logout", Roles()},
		{"grant.list", append(slices.Clone(readers), RoleSupport)},
		{"grant.request", []string{RoleProvisioner, RoleApprover, RoleAdmin, RoleSupport}},
		{"grant.approve", []string{RoleApprover}},
		{"grant.decline", []string{RoleApprover}},
		{"grant.end", []string{RoleApprover, RoleAdmin, RoleSupport}},
		{"break-glass.open", []string{RoleAdmin}},
		{"break-glass.close", []string{RoleAdmin}},
		{"device.request", []string{RoleProvisioner, RoleAdmin}},
		{"device.approve", []string{RoleApprover}},
		{"device.decline", []string{RoleApprover}},
		{"device.retire", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"device.transfer", []string{RoleProvisioner, RoleAdmin}},
		{"device.transfer-approve", []string{RoleApprover}},
		{"device.transfer-decline", []string{RoleApprover}},
		{"device.quarantine", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"device.release", []string{RoleApprover, RoleAdmin}},
		{"device.revoke", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"device.rotate", []string{RoleApprover}},
		{"alert.acknowledge", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"alert.resolve", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"alert.resend", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"export.list", append(slices.Clone(readers), RoleExporter)},
		{"export.request", []string{RoleExporter}},
		{"export.approve", []string{RoleApprover}},
		{"export.decline", []string{RoleApprover}},
		{"export.get", []string{RoleExporter}},
		{"purge.request", []string{RoleProvisioner, RoleAdmin}},
		{"purge.approve", []string{RoleApprover}},
		{"config.apply", []string{RoleAdmin}},
		{"deadletter.replay", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
		{"deadletter.discard", []string{RoleApprover}},
		{"drill.post", []string{RoleProvisioner, RoleApprover, RoleAdmin}},
	}
}

// allowed gives the role under which o may do action.
func allowed(o *operator, action string) (role string, ok bool) {
	for _, p := range Permissions() {
		if p.Action != action {
			continue
		}
		for _, r := range p.Roles {
			if slices.Contains(o.Roles, r) {
				return r, true
			}
		}
	}
	return "", false
}

// needsRole refuses an action to an operator without a role for it, and says
// which would do.
func needsRole(action string) *Problem {
	var roles []string
	for _, p := range Permissions() {
		if p.Action == action {
			roles = append(roles, p.Roles...)
		}
	}
	return problem(CodeForbidden, action+" needs another role: "+strings.Join(roles, " or "))
}

// addOperator makes an operator, or gives one new roles or a new certificate.
func (s *Server) addOperator(a *adminCall) (any, *Problem) {
	var in struct {
		Name    string   `json:"name"`
		Roles   []string `json:"roles"`
		OIDC    string   `json:"oidc"`    // name claim under which the operator will log in at the provider; roles come from there, or
		CSR     string   `json:"csr"`     // to be certified, unless
		Token   bool     `json:"token"`   // a token is wanted instead
		Minutes int      `json:"minutes"` // that the token can be used; 0 is tokens.operator_max
		Reason  string   `json:"reason"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.target = clip(in.Name)
	if !operatorForm.MatchString(in.Name) {
		return nil, problem(CodeInvalid, "name: want 1 to 64 letters, digits, dots, hyphens, underscores or @, beginning with a letter or digit")
	}
	if in.OIDC != "" && (len(in.Roles) > 0 || in.CSR != "" || in.Token || len(in.OIDC) > 255) {
		return nil, problem(CodeInvalid, "oidc: takes at most 255 bytes, and neither roles, csr nor token beside it: roles come from the provider's groups")
	}
	var roles []string
	if in.OIDC == "" {
		var p *Problem
		if roles, p = someRoles(in.Roles); p != nil {
			return nil, p
		}
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if in.Name == a.op.Name {
		return nil, problem(CodeApprovalSelf, "nobody changes their own roles or certificate")
	}
	if in.OIDC != "" {
		return s.addByIdentity(a, in.Name, in.OIDC, in.Reason)
	}
	added := evidence.Operator{Name: in.Name, Roles: roles}
	waits := slices.ContainsFunc(roles, privileged) && s.secondPerson(a, in.Name)
	if waits {
		added.Roles = unprivileged(roles)
	}
	if old := s.st.operator(in.Name); old != nil && !old.removed && slices.Contains(old.Roles, RoleAdmin) && !slices.Contains(added.Roles, RoleAdmin) && s.lastAdmin(in.Name) {
		return nil, problem(CodeConflict, "the last admin keeps the role; make another first")
	}
	answer, p := s.firstCredential(&added, in.CSR, in.Token, in.Minutes)
	if p != nil {
		return nil, p
	}
	e := evidence.AuditEntry{Target: in.Name, Reason: in.Reason, After: raw(added), Data: raw(added)}
	s.st.mu.RLock()
	old := s.st.operators[in.Name]
	s.st.mu.RUnlock()
	if old != nil {
		e.Before = raw(old.Operator)
	}
	e.Type = evidence.EntryOperatorAdded
	entries := []evidence.AuditEntry{e}
	if waits {
		more := a.roleRequested(in.Name, added.Roles, roles, in.Reason)
		more.Type = evidence.EntryRoleRequested
		entries = append(entries, more)
		answer["role_change"] = "role-" + a.id
	}
	if p := a.doneAll(entries); p != nil {
		return nil, p
	}
	s.cutOperator(old)
	a.status = http.StatusCreated
	return answer, nil
}

// firstCredential makes what a new operator proves himself with, enters it in
// o, and gives the answer that hands it over.
func (s *Server) firstCredential(o *evidence.Operator, csrPEM string, token bool, minutes int) (map[string]any, *Problem) {
	now := s.now()
	if token {
		if csrPEM != "" {
			return nil, problem(CodeInvalid, "csr and token: give one of them")
		}
		span, p := s.tokenSpan(now, minutes, now)
		if p != nil {
			return nil, p
		}
		text, err := newOperatorToken()
		if err != nil {
			return nil, s.failure(err)
		}
		o.Fingerprint, o.Method, o.NotBefore, o.NotAfter = tokenPrint(text), MethodToken, span[0], span[1]
		return map[string]any{"token": text, "not_before": span[0], "not_after": span[1]}, nil
	}
	csr, err := parseCSR([]byte(csrPEM))
	if err != nil {
		return nil, problem(CodeEnrolBadCSR, err.Error())
	}
	cert, err := s.ca.operator(o.Name, csr.PublicKey, now, s.cfg().Certificates.Operator)
	if err != nil {
		return nil, s.failure(err)
	}
	o.Fingerprint, o.Method, o.NotBefore, o.NotAfter = fingerprintOf(cert.Raw), MethodCertificate, cert.NotBefore, cert.NotAfter
	o.Serial = cert.SerialNumber.Text(16)
	return map[string]any{"certificate": string(certPEM(cert.Raw)), "ca": string(s.ca.rootPEM())}, nil
}

// cutOperator closes the connections that o's credentials have opened.
func (s *Server) cutOperator(o *operator) {
	if o == nil {
		return
	}
	for _, c := range o.credentials {
		s.sessions.cut(c.Fingerprint)
	}
	s.acts.cut(func(a *adminCall) bool { return a.op.Name == o.Name })
}

// whyRemoved is why what an operator was granted, or took, ended with him.
const whyRemoved = "operator removed"

// endsWith are the ends of what is granted to an operator who leaves, or asked
// for, and of the break-glass that he has open: whoever has his name next
// inherits nothing. The caller holds s.decide.
func (s *Server) endsWith(name string) (out []evidence.AuditEntry) {
	for _, g := range s.st.someGrants(func(g *GrantRecord) bool {
		return g.Operator == name && (g.State == GrantPending || g.State == GrantActive)
	}) {
		out = append(out, evidence.AuditEntry{
			Type: evidence.EntryGrantEnded, Tenant: g.Tenant, Target: g.ID, Data: raw(grantData{ID: g.ID, Why: whyRemoved}), Before: stateData(g.State), After: stateData(GrantEnded),
		})
	}
	for _, b := range s.openBreaks(name, s.now()) {
		out = append(out, evidence.AuditEntry{
			Type: evidence.EntryBreakGlassClosed, Target: b.ID, Data: raw(breakGlassData{ID: b.ID, Why: whyRemoved}), Before: stateData("open"), After: stateData("closed"),
		})
	}
	return out
}

// removeOperator takes an operator's rights. The last admin stays.
func (s *Server) removeOperator(a *adminCall) (any, *Problem) {
	reason, p := a.reason()
	if p != nil {
		return nil, p
	}
	name := a.r.PathValue("name")
	a.target = clip(name)
	s.decide.Lock()
	defer s.decide.Unlock()
	o := s.st.operator(name)
	switch {
	case o == nil || o.removed:
		return nil, problem(CodeNotFound, "there is no operator of that name")
	case slices.Contains(o.Roles, RoleAdmin) && s.lastAdmin(name):
		return nil, problem(CodeConflict, "the last admin cannot be removed")
	}
	entries := append(s.endsWith(name), evidence.AuditEntry{
		Type: evidence.EntryOperatorRemoved, Target: name, Reason: reason, Before: raw(o.Operator), After: stateData("removed"), Data: raw(o.Operator),
	})
	if p := a.doneAll(entries); p != nil {
		return nil, p
	}
	s.cutOperator(o)
	return map[string]string{"removed": name}, nil
}

// OperatorRecord is an operator as the admin API lists him.
type OperatorRecord struct {
	evidence.Operator
	Credentials []OperatorCredential `json:"credentials"`           // that have not ended
	BreakGlass  string               `json:"break_glass,omitempty"` // ID of the one that is open
}

func (s *Server) listOperators(*adminCall) (any, *Problem) {
	now := s.now()
	s.st.mu.RLock()
	out := []OperatorRecord{}
	for _, o := range s.st.operators {
		if o.removed {
			continue
		}
		r := OperatorRecord{Operator: o.Operator, Credentials: []OperatorCredential{}}
		r.Roles = append([]string{}, o.Roles...)
		for _, c := range o.credentials {
			if !c.ended(now) {
				r.Credentials = append(r.Credentials, c)
			}
		}
		out = append(out, r)
	}
	s.st.mu.RUnlock()
	for i := range out {
		if open := s.openBreaks(out[i].Name, now); len(open) > 0 {
			out[i].BreakGlass = open[0].ID
		}
	}
	slices.SortFunc(out, func(a, b OperatorRecord) int { return strings.Compare(a.Name, b.Name) })
	return map[string]any{"operators": out}, nil
}
