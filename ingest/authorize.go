package ingest

import (
	"net/http"
	"slices"
	"strings"

	"trustpack/evidence"
)

// authorize finds by what a may do the action: by a role, else by a role taken
// in an emergency, else by grants, which reach grantRoutes alone.
func (s *Server) authorize(a *adminCall, action string) *Problem {
	a.action = action
	ok := false
	if a.role, ok = allowed(a.op, action); ok {
		return nil
	}
	now := s.now()
	if slices.Contains(a.op.Roles, RoleAdmin) {
		for _, b := range s.openBreaks(a.op.Name, now) {
			if a.role, ok = allowed(&operator{Operator: evidence.Operator{Roles: []string{b.Role}}}, action); ok {
				s.acts.under(a, b.ID, b.Until)
				return nil
			}
		}
	}
	if slices.Contains(a.op.Roles, RoleSupport) && slices.Contains(grantRoutes(), a.r.Pattern) {
		a.grants = s.st.someGrants(func(g *GrantRecord) bool {
			return g.Operator == a.op.Name && slices.Contains(g.Actions, action) && g.open(now)
		})
		if len(a.grants) > 0 {
			a.role = RoleSupport
			for _, tenant := range append([]string{a.r.PathValue("tenant")}, a.r.URL.Query()["tenant"]...) {
				if tenant != "" {
					if p := a.within(tenant); p != nil {
						return p
					}
				}
			}
			return a.enterRead()
		}
	}
	a.role = strings.Join(a.op.Roles, ",")
	if off(guardRoles) {
		return nil
	}
	return needsRole(action)
}

// within refuses a call under grants that reaches beyond their tenants, and
// notes under which of them it is.
func (a *adminCall) within(tenant string) *Problem {
	if a.grants == nil || a.grant != "" && a.scope == tenant {
		return nil
	}
	for _, g := range a.grants {
		if g.Tenant != tenant && !off(guardGrantTenant) || a.grant != "" {
			continue
		}
		a.scope = tenant
		a.s.acts.under(a, g.ID, g.Until)
		return nil
	}
	if a.tenant == "" {
		a.tenant = clip(tenant)
	}
	return problem(CodeForbidden, "there is no grant for this tenant")
}

// covers reports whether what belongs to the tenant can be seen by the call.
func (a *adminCall) covers(tenant string) bool { return a.within(tenant) == nil }

// onlyTenant is the tenant to which a listing keeps: that which was asked for,
// or, under a grant, its own. Empty: all.
func (a *adminCall) onlyTenant(asked string) (string, *Problem) {
	if a.grants == nil {
		return asked, nil
	}
	if asked == "" {
		asked = a.grants[0].Tenant
		if slices.ContainsFunc(a.grants, func(g *GrantRecord) bool { return g.Tenant != asked }) {
			return "", problem(CodeInvalid, "tenant: name one; there are grants for several")
		}
	}
	if a.grant != "" {
		return asked, a.within(asked)
	}
	if p := a.within(asked); p != nil {
		return "", p
	}
	return asked, a.enterRead()
}

// enterRead records that support reads something, before it is answered.
func (a *adminCall) enterRead() *Problem {
	if a.grant == "" || a.r.Method == http.MethodPost {
		return nil
	}
	_, err := a.s.record(a.s.entry(evidence.EntrySupportRead, evidence.AuditEntry{
		Actor: a.actor(), RequestID: a.id, Tenant: a.scope, Target: clip(a.r.URL.Path), Result: "done", Grant: a.grant,
		Data: raw(map[string]string{"action": a.action, "path": clip(a.r.URL.Path), "query": clip(a.r.URL.RawQuery)}),
	}))
	if err != nil {
		return a.s.failure(err)
	}
	return nil
}

// still refuses what may no longer be done: a role, a grant or a person may
// have gone since the call began. tenant is the one that is acted in. The
// caller holds s.decide.
func (a *adminCall) still(tenant string) *Problem {
	if a.action == "" || off(guardDeviceAdmin) || off(guardRoles) {
		return nil // not by the admin API
	}
	now := a.s.now()
	o := a.s.st.operator(a.op.Name)
	switch {
	case o == nil || o.removed:
		return problem(CodeUnknownCredential, "the operator was removed meanwhile")
	}
	c, ok := o.credential(a.print)
	if !ok || c.ended(now) {
		return problem(CodeUnknownCredential, "the credential was ended meanwhile")
	}
	switch o = o.by(c); {
	case a.grants != nil:
		if p := a.within(tenant); p != nil {
			return p
		}
		if g := a.s.st.grant(a.grant); !slices.Contains(o.Roles, RoleSupport) || !g.open(now) {
			return problem(CodeForbidden, "the grant has ended")
		}
	case a.grant != "":
		if !slices.ContainsFunc(a.s.openBreaks(a.op.Name, now), func(b *BreakGlass) bool { return b.ID == a.grant }) {
			return problem(CodeForbidden, "the break-glass has ended")
		}
	default:
		if _, ok := allowed(o, a.action); !ok {
			return needsRole(a.action)
		}
	}
	return nil
}

// over reports whether the call's grant or break-glass has ended by time.
func (a *adminCall) over() bool { return !a.until.IsZero() && !a.s.now().Before(a.until) }
