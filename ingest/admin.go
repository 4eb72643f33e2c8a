package ingest

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"trustpack/evidence"
)

// adminCall is one call of the admin API by a known operator.
type adminCall struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	id     string
	op     *operator
	role   string
	print  string
	status int // of the answer; 200 where the handler sets none

	sess   *session
	action string         // of the table of permissions
	grants []*GrantRecord // by which alone it may act, where a role does not suffice
	scope  string         // the tenant of the grant under which it acts

	// Under acts.mu where others look.
	grant string    // ID of the grant or break-glass under which it acts
	until time.Time // when that ends

	// What is acted on, for the entry of a refused call.
	tenant, device, target string
	generation             int
	odd                    bool // no request that a client of ours makes; recorded whatever its method
}

// adminRoute is one way into the admin API: a pattern of net/http, the action
// of the table of permissions that it is, and what does it.
type adminRoute struct {
	Pattern, Action string
	do              func(*adminCall) (any, *Problem)
}

// adminRoutes lists them. Everything but health needs an operator.
func (s *Server) adminRoutes() []adminRoute {
	var out []adminRoute
	do := func(pattern, action string, f func(*adminCall) (any, *Problem)) {
		out = append(out, adminRoute{pattern, action, f})
	}
	do("GET /v1/admin/config", "read", s.showConfig)
	do("POST /v1/admin/config", "config.apply", s.applyConfig)
	do("GET /v1/admin/config/history", "read", s.showHistory)
	do("GET /v1/admin/tenants", "read", s.listTenants)
	do("POST /v1/admin/tenants", "tenant.add", s.addTenant)
	do("GET /v1/admin/operators", "read", s.listOperators)
	do("GET /v1/admin/who-could", "read", s.showWhoCould)
	do("POST /v1/admin/operators", "operator.add", s.addOperator)
	do("POST /v1/admin/operators/{name}/remove", "operator.remove", s.removeOperator)
	do("POST /v1/admin/operators/{name}/roles", "operator.roles", s.changeRoles)
	do("GET /v1/admin/role-changes", "read", s.listRoleChanges)
	do("POST /v1/admin/role-changes/{id}/approve", "role.approve", s.approveRoles)
	do("POST /v1/admin/role-changes/{id}/decline", "role.decline", s.declineRoles)
	do("POST /v1/admin/operators/{name}/token", "operator.token", s.issueToken)
	do("POST /v1/admin/token", "token.rotate", s.rotateToken)
	do("GET /v1/admin/sessions", "read", s.listSessions)
	do("POST /v1/admin/sessions/{id}/end", "session.end", s.endSession)
	do("POST /v1/admin/logout", "logout", s.logout)
	do("GET /v1/admin/grants", "grant.list", s.listGrants)
	do("POST /v1/admin/grants", "grant.request", s.requestGrant)
	do("POST /v1/admin/grants/{id}/approve", "grant.approve", s.approveGrant)
	do("POST /v1/admin/grants/{id}/decline", "grant.decline", s.declineGrant)
	do("POST /v1/admin/grants/{id}/end", "grant.end", s.endGrant)
	do("GET /v1/admin/break-glass", "read", s.listBreakGlass)
	do("POST /v1/admin/break-glass", "break-glass.open", s.openBreakGlass)
	do("POST /v1/admin/break-glass/{id}/close", "break-glass.close", s.closeBreakGlass)
	do("GET /v1/admin/devices", "read", s.listDevices)
	do("POST /v1/admin/devices", "device.request", s.requestDevice)
	do("POST /v1/admin/devices/{tenant}/{device}/approve", "device.approve", s.approveDevice)
	do("POST /v1/admin/devices/{tenant}/{device}/decline", "device.decline", s.declineDevice)
	do("POST /v1/admin/devices/{tenant}/{device}/transfer", "device.transfer", s.requestTransfer)
	do("POST /v1/admin/devices/{tenant}/{device}/transfer/approve", "device.transfer-approve", s.approveTransfer)
	do("POST /v1/admin/devices/{tenant}/{device}/transfer/decline", "device.transfer-decline", s.declineTransfer)
	do("GET /v1/admin/devices/{tenant}/{device}/receipt", "read", s.showReceipt)
	do("POST /v1/admin/device-batches", "device.request", s.requestBatch)
	do("POST /v1/admin/device-batches/{batch}/approve", "device.approve", s.approveBatch)
	for act, typ := range map[string]string{"quarantine": evidence.EntryQuarantined, "release": evidence.EntryReleased, "revoke": evidence.EntryRevoked, "retire": evidence.EntryDeviceRetired} {
		do("POST /v1/admin/devices/{tenant}/{device}/"+act, "device."+act, func(a *adminCall) (any, *Problem) { return s.decideDevice(a, typ) })
	}
	do("GET /v1/admin/devices/due", "read", s.listDue)
	do("POST /v1/admin/devices/{tenant}/{device}/rotate", "device.rotate", s.orderRotation)
	do("GET /v1/admin/deadletters", "read", s.showDeadLetters)
	do("POST /v1/admin/deadletters/{tenant}/{index}/replay", "deadletter.replay", s.replayDeadLetter)
	do("POST /v1/admin/deadletters/{tenant}/{index}/discard", "deadletter.discard", s.discardDeadLetter)
	do("GET /v1/admin/alerts", "read", s.showAlerts)
	do("GET /v1/admin/alerts/{id}", "read", s.showAlert)
	do("POST /v1/admin/alerts/{id}/ack", "alert.acknowledge", s.acknowledgeAlert)
	do("POST /v1/admin/alerts/{id}/resolve", "alert.resolve", s.resolveAlert)
	do("POST /v1/admin/alerts/{id}/resend", "alert.resend", s.resendAlert)
	do("GET /v1/admin/exports", "export.list", s.listExports)
	do("POST /v1/admin/exports", "export.request", s.requestExport)
	do("POST /v1/admin/exports/{id}/approve", "export.approve", s.approveExport)
	do("POST /v1/admin/exports/{id}/decline", "export.decline", s.declineExport)
	do("POST /v1/admin/exports/{id}/file", "export.get", s.getExport)
	do("GET /v1/admin/purges", "read", s.listPurges)
	do("POST /v1/admin/purges", "purge.request", s.requestPurge)
	do("POST /v1/admin/purges/{id}/approve", "purge.approve", s.approvePurge)
	do("GET /v1/admin/books", "read", s.showBooks)
	do("POST /v1/admin/drills", "drill.post", s.postDrills)
	do("GET /v1/admin/drills/runs", "read", s.showDrillRun)
	do("POST /v1/admin/drills/runs", "drill.post", s.postDrillRun)
	do("GET /v1/admin/logs", "read", s.listLogs)
	do("GET /v1/admin/state", "read", s.showState)
	do("GET /v1/admin/excerpt/{log}", "read", s.showExcerpt)
	do("GET /v1/admin/checkpoint/{log}", "checkpoint.make", s.makeCheckpoint)
	do("GET /v1/admin/openapi.yaml", "read", showOpenAPI)
	do("GET /status/{tenant}", "read", s.adminStatus)
	do("GET /v1/status/{tenant}", "read", s.adminStatus)
	do("GET /log/{log}/{path...}", "read", s.serveTile)
	metrics := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
	do("GET /metrics", "read", func(a *adminCall) (any, *Problem) {
		metrics.ServeHTTP(a.w, a.r)
		return nil, nil
	})
	return out
}

// adminHandler is what operators reach.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range append(s.adminRoutes(), adminRoute{"/", "read", func(*adminCall) (any, *Problem) { return nil, problem(CodeNotFound, "") }}) {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { s.adminDo(w, r, route.Action, route.do) })
	}
	mux.HandleFunc("GET /v1/admin/login", s.loginTerms)
	mux.HandleFunc("POST /v1/admin/login", s.login)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	return s.plainly(mux)
}

// adminDo finds who calls and whether that may be, does it, and answers. A
// handler that answers itself returns nil twice.
func (s *Server) adminDo(w http.ResponseWriter, r *http.Request, action string, f func(*adminCall) (any, *Problem)) {
	c := s.begin(w, r)
	a := &adminCall{s: s, w: w, r: r, id: c.id(), sess: c.sess}
	if p := s.identifyOperator(c, a); p != nil {
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110, section 11.6.1: one way to prove who one is
		}
		s.answer(w, c, p)
		return
	}
	s.acts.enter(a)
	defer s.acts.leave(a)
	if err := s.durable(); err != nil && r.Method != http.MethodGet {
		p := lostProblem(err)
		a.tell(action, p.Status, p.Code)
		p.write(w)
		return
	}
	out, p := func() (any, *Problem) {
		if p := s.authorize(a, action); p != nil {
			return nil, p
		}
		out, p := f(a)
		if p == nil && a.grants != nil && a.grant == "" {
			return nil, problem(CodeForbidden, "it keeps to no tenant")
		}
		return out, p
	}()
	if p != nil {
		if err := a.refuse(p); err != nil {
			p = s.failure(err)
		}
		a.tell(action, p.Status, p.Code)
		p.write(w)
		return
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.tell(action, a.status, "")
	if out != nil {
		writeJSON(w, a.status, out)
	}
}

// tell says in the process's log what an operator did, or could not do. Reading
// is no news.
func (a *adminCall) tell(action string, status int, code Code) {
	if a.r.Method == http.MethodGet && status < 500 {
		return
	}
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("request_id", a.id), slog.String("operator", a.op.Name), slog.String("action", action), slog.Int("status", status)}
	for _, x := range []struct{ key, value string }{{"code", string(code)}, {"tenant", a.tenant}, {"device", a.device}, {"target", a.target}} {
		if x.value != "" {
			attrs = append(attrs, slog.String(x.key, x.value))
		}
	}
	a.s.log.LogAttrs(a.r.Context(), level, "operator", attrs...)
}

func (a *adminCall) actor() *evidence.Actor {
	return &evidence.Actor{Name: a.op.Name, Role: a.role, Credential: a.print}
}

// done records what was decided and makes it take effect.
func (a *adminCall) done(typ string, e evidence.AuditEntry) *Problem {
	e.Type = typ
	return a.doneAll([]evidence.AuditEntry{e})
}

// doneAll is done of what was decided together: all of it, or nothing.
func (a *adminCall) doneAll(entries []evidence.AuditEntry) *Problem {
	for i := range entries {
		e := &entries[i]
		if len(e.Reason) > 2000 || len(e.Ticket) > 500 {
			return problem(CodeInvalid, "reason takes at most 2000 bytes and ticket 500")
		}
		if p := a.still(e.Tenant); p != nil {
			return p
		}
		e.Actor, e.RequestID, e.Result, e.Grant = a.actor(), a.id, "done", a.grant
		if before, after := a.s.standing(e.Type, e); e.After == nil {
			if e.After = after; e.Before == nil {
				e.Before = before
			}
		}
		*e = a.s.entry(e.Type, *e)
	}
	if _, err := a.s.record(entries...); err != nil {
		return a.s.failure(err)
	}
	return nil
}

// refuse records a call that was turned away. Reads that miss are not acts.
func (a *adminCall) refuse(p *Problem) error {
	if p.Status >= 500 || a.r.Method == http.MethodGet && p.Code != CodeForbidden && !a.odd {
		return nil
	}
	target := a.target
	if target == "" && a.device == "" {
		target = clip(a.r.URL.Path)
	}
	_, err := a.s.record(a.s.entry(evidence.EntryAdminRefused, evidence.AuditEntry{
		Actor: a.actor(), RequestID: a.id, Grant: a.grant, Tenant: a.tenant, Device: a.device, Generation: a.generation, Target: target, Result: "refused", Reason: p.Error(),
		Data: raw(map[string]any{"method": a.r.Method, "path": clip(a.r.URL.Path), "status": p.Status, "code": p.Code}),
	}))
	return err
}

// decode reads the call's JSON; an empty body leaves into as it is.
func (a *adminCall) decode(into any) *Problem {
	if a.r.ContentLength == 0 {
		return nil
	}
	return decodeJSON(a.w, a.r, into)
}

// decisionCall is what most decisions take.
type decisionCall struct {
	Reason string `json:"reason"`
	Ticket string `json:"ticket"`
}

// decision reads a call that says no more than why, and under which ticket.
func (a *adminCall) decision() (in decisionCall, p *Problem) {
	p = a.decode(&in)
	return in, p
}

// reason reads a call that says no more than why.
func (a *adminCall) reason() (string, *Problem) {
	var in struct {
		Reason string `json:"reason"`
	}
	p := a.decode(&in)
	return in.Reason, p
}
