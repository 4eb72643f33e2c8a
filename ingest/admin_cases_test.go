package ingest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// adminCase is one call of the admin API that is done. Before it, the same
// call is refused to an operator whose role does not have it.
type adminCase struct {
	route     string // pattern, as in adminRoutes
	as        string
	path      string // filled in; empty: the route's own
	body      any
	status    int
	entry     string   // type of the entry that it leaves; empty: a read
	more      []string // further entries
	elsewhere bool     // another test does it; here it is only refused
	alone     bool     // the entry says all there is: nothing stood before or stands after

	before func()       // brings about what it needs
	after  func([]byte) // takes what later cases need from the answer
}

// adminRig is a rig and what the cases hand on.
type adminRig struct {
	*rig
	tokens map[string]string
	ids    map[string]string
}

// note keeps a field of an answer.
func (r *adminRig) note(name, field string) func([]byte) {
	return func(b []byte) {
		r.t.Helper()
		var v map[string]any
		if err := json.Unmarshal(b, &v); err != nil {
			r.t.Fatal(err)
		}
		r.ids[name], _ = v[field].(string)
	}
}

// adminCases go through every route, in an order in which each can be done.
// ID in a path or body stands for what a case before noted under that name.
func (r *adminRig) adminCases() []adminCase {
	type m = map[string]any
	why := m{"reason": "why", "ticket": "T-1"}
	grant := m{"operator": "sam", "tenant": "nord", "actions": []string{"read"}, "minutes": 5, "reason": "why"}
	export := m{"tenant": "nord", "format": "ndjson", "destination": "disk", "reason": "why"}
	device := "/v1/admin/devices/nord/m-1/"
	var seq int
	return []adminCase{
		{route: "POST /v1/admin/tenants", as: "root.admin", body: m{"id": "nord", "name": "Nord", "reason": "why"}, status: 201, entry: evidence.EntryTenantAdded},
		{route: "GET /v1/admin/tenants", as: "erin", status: 200},
		{route: "GET /v1/admin/config", as: "erin", status: 200},
		{route: "POST /v1/admin/operators", as: "root.admin", body: m{"name": "tom", "roles": []string{RoleExporter}, "token": true, "reason": "why"}, status: 201,
			entry: evidence.EntryOperatorAdded, after: r.note("token", "token")},
		{route: "POST /v1/admin/token", as: "tom", body: m{"minutes": 60, "overlap_minutes": 5}, status: 201, entry: evidence.EntryOperatorIssued,
			before: func() { r.tokens["tom"] = r.ids["token"] }},
		{route: "POST /v1/admin/operators/{name}/token", as: "root.admin", path: "/v1/admin/operators/tom/token", body: m{"minutes": 60}, status: 201, entry: evidence.EntryOperatorIssued},
		{route: "POST /v1/admin/operators/{name}/roles", as: "root.admin", path: "/v1/admin/operators/tom/roles", body: m{"roles": []string{RoleAuditor}}, status: 200, entry: evidence.EntryRoleChanged,
			after: func([]byte) { r.setRoles(2) }},
		{route: "POST /v1/admin/operators/{name}/roles", as: "root.admin", path: "/v1/admin/operators/tom/roles", body: m{"roles": []string{RoleApprover}}, status: 202, entry: evidence.EntryRoleRequested,
			after: r.note("ROLE", "id")},
		{route: "POST /v1/admin/role-changes/{id}/decline", as: "carla", path: "/v1/admin/role-changes/ROLE/decline", body: why, status: 200, entry: evidence.EntryRoleDeclined},
		{route: "POST /v1/admin/operators/{name}/roles", as: "root.admin", path: "/v1/admin/operators/tom/roles", body: m{"roles": []string{RoleApprover}}, status: 202, entry: evidence.EntryRoleRequested,
			after: r.note("ROLE", "id")},
		{route: "POST /v1/admin/role-changes/{id}/approve", as: "carla", path: "/v1/admin/role-changes/ROLE/approve", body: why, status: 200, entry: evidence.EntryRoleApproved,
			after: func([]byte) { r.setRoles(1) }},
		{route: "GET /v1/admin/role-changes", as: "erin", status: 200},
		{route: "GET /v1/admin/operators", as: "erin", status: 200},
		{route: "GET /v1/admin/who-could", as: "erin", path: "/v1/admin/who-could?from=2026-07-01T00:00:00Z&to=2026-07-02T00:00:00Z&action=device.approve", status: 200},
		{route: "POST /v1/admin/operators/{name}/remove", as: "root.admin", path: "/v1/admin/operators/tom/remove", body: m{"reason": "left"}, status: 200, entry: evidence.EntryOperatorRemoved},

		{route: "POST /v1/admin/grants", as: "ben", body: grant, status: 201, entry: evidence.EntryGrantRequested, after: r.note("GRANT", "id")},
		{route: "POST /v1/admin/grants/{id}/approve", as: "carla", path: "/v1/admin/grants/GRANT/approve", body: why, status: 200, entry: evidence.EntryGrantApproved},
		{route: "POST /v1/admin/grants/{id}/end", as: "carla", path: "/v1/admin/grants/GRANT/end", body: why, status: 200, entry: evidence.EntryGrantEnded},
		{route: "POST /v1/admin/grants", as: "ben", body: grant, status: 201, entry: evidence.EntryGrantRequested, after: r.note("GRANT", "id")},
		{route: "POST /v1/admin/grants/{id}/decline", as: "carla", path: "/v1/admin/grants/GRANT/decline", body: why, status: 200, entry: evidence.EntryGrantDeclined},
		{route: "GET /v1/admin/grants", as: "erin", status: 200},

		{route: "POST /v1/admin/logout", as: "lena", status: 200, entry: evidence.EntryOperatorLogout, before: func() { r.tokens["lena"] = r.session("lena", RoleExporter) }},
		{route: "POST /v1/admin/sessions/{id}/end", as: "root.admin", path: "/v1/admin/sessions/SESSION/end", body: m{"reason": "why"}, status: 200, entry: evidence.EntryOperatorLogout,
			before: func() { r.ids["SESSION"] = sessionID(tokenPrint(r.session("lena", RoleExporter))) }},
		{route: "GET /v1/admin/sessions", as: "erin", status: 200},
		{route: "POST /v1/admin/break-glass", as: "root.admin", body: m{"role": RoleApprover, "minutes": 5, "reason": "why"}, status: 201, entry: evidence.EntryBreakGlassOpened,
			more: []string{evidence.EntryAlertRaised}, after: r.note("BREAK", "id")},
		{route: "POST /v1/admin/break-glass/{id}/close", as: "root.admin", path: "/v1/admin/break-glass/BREAK/close", body: why, status: 200, entry: evidence.EntryBreakGlassClosed},
		{route: "GET /v1/admin/break-glass", as: "erin", status: 200},

		{route: "POST /v1/admin/devices", as: "ben", body: m{"tenant": "nord", "device": "m-1", "type": "meter", "site": "s", "fleet": "f", "reason": "why"}, status: 201, entry: evidence.EntryDeviceRequested},
		{route: "POST /v1/admin/devices/{tenant}/{device}/approve", as: "carla", path: device + "approve", body: m{"reason": "why"}, status: 200, entry: evidence.EntryDeviceApproved,
			after: func(b []byte) {
				r.note("code", "enrolment_code")(b)
				pair, err := r.deviceClient(nil).Enrol(r.t.Context(), "nord", "m-1", r.ids["code"])
				if err != nil {
					r.t.Fatal(err)
				}
				c := r.deviceClient(pair)
				r.send(c, r.line(1, 1), r.line(2, 700), r.line(3, 700), r.line(4, 2))
				seq = 4
			}},
		{route: "GET /v1/admin/devices", as: "erin", status: 200},
		{route: "GET /v1/admin/devices/due", as: "erin", status: 200},
		{route: "POST /v1/admin/devices/{tenant}/{device}/rotate", as: "carla", path: device + "rotate", body: why, status: 200, entry: "device.rotation-ordered"},
		{route: "POST /v1/admin/devices/{tenant}/{device}/quarantine", as: "ben", path: device + "quarantine", body: why, status: 200, entry: evidence.EntryQuarantined, more: []string{evidence.EntrySessionsCut}},
		{route: "POST /v1/admin/devices/{tenant}/{device}/release", as: "carla", path: device + "release", body: why, status: 200, entry: evidence.EntryReleased},
		{route: "POST /v1/admin/device-batches", as: "ben", body: m{"csv": "tenant,device,type,reason\nnord,b-1,meter,why\n"}, status: 201, entry: evidence.EntryDeviceRequested, after: r.note("BATCH", "batch")},
		{route: "POST /v1/admin/device-batches/{batch}/approve", as: "carla", path: "/v1/admin/device-batches/BATCH/approve", body: m{"reason": "why"}, status: 200, entry: evidence.EntryDeviceApproved},
		{route: "POST /v1/admin/devices/{tenant}/{device}/decline", as: "carla", path: "/v1/admin/devices/nord/m-2/decline", body: why, status: 200, entry: evidence.EntryDeviceDeclined,
			before: func() { r.request("nord", "m-2"); r.tenant("sued") }},
		{route: "POST /v1/admin/devices/{tenant}/{device}/transfer", as: "ben", path: device + "transfer", body: m{"to_tenant": "sued", "site": "s", "fleet": "f", "reason": "why", "ticket": "T"}, status: 201, entry: evidence.EntryTransferAsked},
		{route: "POST /v1/admin/devices/{tenant}/{device}/transfer/decline", as: "carla", path: device + "transfer/decline", body: why, status: 200, entry: evidence.EntryTransferRefused},
		{route: "POST /v1/admin/devices/{tenant}/{device}/transfer/approve", as: "carla", path: "/v1/admin/devices/nord/m-3/transfer/approve", body: why, status: 200, entry: evidence.EntryTransferred, more: []string{evidence.EntrySessionsCut},
			before: func() {
				r.enrol("nord", "m-3")
				if _, err := r.admin("ben").TransferDevice(r.t.Context(), "nord", "m-3", TransferRequest{ToTenant: "sued", Reason: "why"}); err != nil {
					r.t.Fatal(err)
				}
			}},
		{route: "GET /v1/admin/devices/{tenant}/{device}/receipt", as: "erin", path: "/v1/admin/devices/nord/m-3/receipt", status: 200},
		{route: "POST /v1/admin/devices/{tenant}/{device}/retire", as: "ben", path: "/v1/admin/devices/nord/m-4/retire", body: why, status: 200, entry: evidence.EntryDeviceRetired, more: []string{evidence.EntrySessionsCut},
			before: func() { r.enrol("nord", "m-4") }},

		{route: "GET /v1/admin/alerts", as: "erin", status: 200, after: func(b []byte) {
			var v struct{ Alerts []AlertRecord }
			if err := json.Unmarshal(b, &v); err != nil || len(v.Alerts) == 0 {
				r.t.Fatal(err, "no alert")
			}
			r.ids["ALERT"] = v.Alerts[0].ID
		}},
		{route: "GET /v1/admin/alerts/{id}", as: "erin", path: "/v1/admin/alerts/ALERT", status: 200},
		{route: "POST /v1/admin/alerts/{id}/resend", as: "ben", path: "/v1/admin/alerts/UNTOLD/resend", body: m{"reason": "why"}, status: 200, entry: evidence.EntryAlertResend,
			before: func() { r.ids["UNTOLD"] = r.untold() }},
		{route: "POST /v1/admin/alerts/{id}/ack", as: "ben", path: "/v1/admin/alerts/ALERT/ack", body: m{"note": "looking", "ticket": "T"}, status: 200, entry: evidence.EntryAlertAcked},
		{route: "POST /v1/admin/alerts/{id}/resolve", as: "ben", path: "/v1/admin/alerts/ALERT/resolve", body: m{"resolution": "it was a test"}, status: 200, entry: evidence.EntryAlertResolved},

		{route: "POST /v1/admin/config", as: "root.admin", body: m{"file": "another", "reason": "why"}, status: 200, entry: evidence.EntryConfigApplied},
		{route: "GET /v1/admin/config/history", as: "erin", status: 200},
		{route: "GET /v1/admin/deadletters", as: "erin", status: 200, after: func(b []byte) {
			var v struct{ DeadLetters []DeadLetter }
			if err := json.Unmarshal(b, &v); err != nil || len(v.DeadLetters) != 2 || seq == 0 {
				r.t.Fatal(err, string(b))
			}
			r.ids["LETTER1"], r.ids["LETTER2"] = itoa(v.DeadLetters[0].Index), itoa(v.DeadLetters[1].Index)
		}},
		{route: "POST /v1/admin/deadletters/{tenant}/{index}/replay", as: "ben", path: "/v1/admin/deadletters/nord/LETTER1/replay", body: why, status: 201, entry: evidence.EntryLetterReplayed},
		{route: "POST /v1/admin/deadletters/{tenant}/{index}/discard", as: "carla", path: "/v1/admin/deadletters/nord/LETTER2/discard", body: why, status: 200, entry: evidence.EntryLetterDiscarded},

		{route: "POST /v1/admin/exports", as: "emil", body: export, status: 201, entry: evidence.EntryExportRequested, after: r.note("EXPORT", "id")},
		{route: "POST /v1/admin/exports/{id}/decline", as: "carla", path: "/v1/admin/exports/EXPORT/decline", body: why, status: 200, entry: evidence.EntryExportDeclined},
		{route: "POST /v1/admin/exports", as: "emil", body: export, status: 201, entry: evidence.EntryExportRequested, after: r.note("EXPORT", "id")},
		{route: "POST /v1/admin/exports/{id}/approve", as: "carla", path: "/v1/admin/exports/EXPORT/approve", body: why, status: 200, entry: evidence.EntryExportApproved},
		{route: "POST /v1/admin/exports/{id}/file", as: "emil", path: "/v1/admin/exports/EXPORT/file", status: 200, entry: evidence.EntryExport},
		{route: "GET /v1/admin/exports", as: "erin", status: 200},

		{route: "POST /v1/admin/purges", as: "ben", body: m{"tenant": "nord", "before": "2026-07-03", "reason": "why"}, status: 201, entry: evidence.EntryPurgeRequested,
			before: func() { r.clock.add(2 * day) }, after: r.note("PURGE", "id")},
		{route: "POST /v1/admin/purges/{id}/approve", as: "carla", path: "/v1/admin/purges/PURGE/approve", body: why, status: 200, entry: evidence.EntryPurged},
		{route: "GET /v1/admin/purges", as: "erin", status: 200},

		{route: "POST /v1/admin/devices/{tenant}/{device}/revoke", as: "ben", path: device + "revoke", body: why, status: 200, entry: evidence.EntryRevoked, more: []string{evidence.EntrySessionsCut}},
		{route: "POST /v1/admin/drills", as: "ben", body: []evidence.DrillResult{{ID: "TR-01.x", Control: "TR-01", Verdict: "passed", StartedAt: r.clock.now()}}, status: 200, entry: evidence.EntryDrill, alone: true},
		{route: "POST /v1/admin/drills/runs", as: "ben", body: map[string]any{"state": "started", "run": evidence.DrillRun{Due: r.clock.now(), StartedAt: r.clock.now()}}, status: 200, entry: evidence.EntryDrillsStarted},
		{route: "GET /v1/admin/drills/runs", as: "erin", status: 200},
		{route: "GET /v1/admin/books", as: "erin", status: 200},
		{route: "GET /v1/admin/logs", as: "erin", status: 200},
		{route: "GET /v1/admin/state", as: "erin", status: 200},
		{route: "GET /v1/admin/excerpt/{log}", as: "erin", path: "/v1/admin/excerpt/control?since=0&record=0", status: 200},
		{route: "GET /v1/admin/checkpoint/{log}", as: "erin", path: "/v1/admin/checkpoint/control", status: 200},
		{route: "GET /v1/admin/openapi.yaml", as: "erin", status: 200},
		{route: "GET /status/{tenant}", as: "erin", path: "/status/nord", status: 200},
		{route: "GET /v1/status/{tenant}", as: "erin", path: "/v1/status/nord", status: 200},
		{route: "GET /log/{log}/{path...}", as: "erin", path: "/log/control/checkpoint", status: 200},
		{route: "GET /metrics", as: "erin", status: 200},
	}
}

// newAdminRig is a rig with somebody of each role and a configuration that can
// be changed.
func newAdminRig(t *testing.T) *adminRig {
	r := &adminRig{rig: newRig(t, func(c *Config) { c.Exports.UnapprovedRows = 0 }), tokens: map[string]string{}, ids: map[string]string{}}
	r.support("sam")
	r.stop()
	r.read = func(file []byte) (Config, error) {
		c := r.config
		if file != nil {
			most := 1000.0
			c.Ranges = map[string]Fields{"power.v1": {"kw": {Max: &most}}}
		}
		return c, nil
	}
	r.start()
	return r
}

// setRoles says how many persons a privileged role takes.
func (r *rig) setRoles(persons int) {
	set := *r.s.set.Load()
	set.Approvals.Roles = persons
	r.s.set.Store(&set)
}

// answerOf is an answer as it came.
type answerOf struct {
	status int
	header http.Header
	body   []byte
}

// ask makes one call as an operator, or with the token that stands under the name.
func (r *adminRig) ask(as, method, path string, body any) answerOf {
	r.t.Helper()
	c := r.admin(as)
	if token := r.tokens[as]; token != "" {
		c = r.bearerClient(token, nil)
	}
	var text []byte
	if body != nil {
		text = raw(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, c.url+path, bytes.NewReader(text))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answerOf{res.StatusCode, res.Header, b}
}

// since lists the control entries from an index on.
func (r *rig) since(from int64) []evidence.AuditEntry {
	r.t.Helper()
	var out []evidence.AuditEntry
	for data, err := range r.s.led.Entries(controlLog, from, 1<<62) {
		if err != nil {
			r.t.Fatal(err)
		}
		var e evidence.AuditEntry
		if err := unmarshal(data, &e); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// someoneWithout names an operator whose role does not have the action.
func someoneWithout(action string) (name, role string) {
	of := map[string]string{RoleAdmin: "root.admin", RoleProvisioner: "ben", RoleApprover: "carla", RoleSupport: "sam", RoleExporter: "emil", RoleAuditor: "erin"}
	for _, p := range Permissions() {
		if p.Action == action {
			for _, role := range Roles() {
				if !slices.Contains(p.Roles, role) {
					return of[role], role
				}
			}
		}
	}
	return "erin", RoleAuditor // the action is everybody's; the case itself is refused to this one
}

// TestEveryAdminCallIsAnEntry does each call of the admin API once and has it
// refused once: each that changes something leaves exactly its entry, with who,
// in which role, under which request, on what, what was before and what is
// after; each that is refused leaves the entry of its refusal. Bodies and
// answers are as openapi.yaml says.
func TestEveryAdminCallIsAnEntry(t *testing.T) {
	r := newAdminRig(t)
	doc := readAPI(t)
	actions, tried := map[string]string{}, map[string]bool{}
	for _, route := range r.s.adminRoutes() {
		actions[route.Pattern] = route.Action
	}
	for _, c := range r.adminCases() {
		tried[c.route] = true
		if actions[c.route] == "" {
			t.Errorf("%s is no route any more", c.route)
			continue
		}
		if c.before != nil {
			c.before()
		}
		fill := func(text string) string {
			for name, id := range r.ids {
				if strings.ToUpper(name) == name {
					text = strings.TrimSuffix(strings.ReplaceAll(text+"/", "/"+name+"/", "/"+id+"/"), "/")
				}
			}
			return text
		}
		method, path, _ := strings.Cut(c.route, " ")
		if c.path != "" {
			path = fill(c.path)
		}
		what := c.route + " as " + c.as

		other, role := someoneWithout(actions[c.route])
		size := r.s.led.Size(controlLog)
		a := r.ask(other, method, path, c.body)
		if err := r.fitsProblem(doc, a.body); err != nil {
			t.Errorf("%s: the refusal: %v", what, err)
		}
		entries := r.since(size)
		if a.status != 403 || len(entries) != 1 || entries[0].Type != evidence.EntryAdminRefused || entries[0].Actor.Name != other || entries[0].Actor.Role != role ||
			entries[0].RequestID != a.header.Get("X-Request-Id") || entries[0].Result != "refused" || entries[0].Target == "" && entries[0].Device == "" || entries[0].Reason == "" ||
			!strings.Contains(string(entries[0].Data), string(CodeForbidden)) {
			t.Errorf("%s, refused to %s: %d, entries %+v", what, other, a.status, entries)
		}

		if c.elsewhere {
			continue
		}
		size = r.s.led.Size(controlLog)
		a = r.ask(c.as, method, path, c.body)
		entries = r.since(size)
		if a.status != c.status {
			t.Fatalf("%s: %d %s", what, a.status, a.body)
		}
		r.wellDescribed(doc, c, a)
		if c.after != nil {
			c.after(a.body)
		}
		var types []string
		for _, e := range entries {
			types = append(types, e.Type)
		}
		var want []string
		if c.entry != "" {
			want = append([]string{c.entry}, c.more...)
		}
		slices.Sort(types)
		slices.Sort(want)
		if !slices.Equal(types, want) {
			t.Errorf("%s left the entries %v, want %v", what, types, want)
			continue
		}
		for _, e := range entries {
			if e.Type != c.entry {
				continue
			}
			if e.Actor == nil || e.Actor.Name != c.as || e.Actor.Role == "" || e.Actor.Credential == "" || e.RequestID != a.header.Get("X-Request-Id") || e.Result != "done" {
				t.Errorf("%s: the entry does not say who did it: %+v", what, e)
			}
			if e.Target == "" && e.Device == "" {
				t.Errorf("%s: the entry does not say on what", what)
			}
			if !c.alone && len(e.After) == 0 {
				t.Errorf("%s: the entry does not say what is after", what)
			}
			if made := slices.Contains([]string{evidence.EntryTenantAdded, evidence.EntryOperatorAdded, evidence.EntryDeviceRequested, evidence.EntryGrantRequested, evidence.EntryExportRequested, evidence.EntryPurgeRequested}, c.entry); !c.alone && !made && len(e.Before) == 0 {
				t.Errorf("%s: the entry does not say what was before", what)
			}
		}
	}
	for pattern := range actions {
		if !tried[pattern] {
			t.Errorf("%s is in no case: add one to adminCases in admin_cases_test.go, which does the call once and names its entry", pattern)
		}
	}
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	r.sameAsFold()
}

func (r *adminRig) fitsProblem(doc *api, body []byte) error {
	schema, err := doc.cache.Compile("https://api.example/openapi.json#/components/schemas/Problem")
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return schema.Validate(v)
}

// wellDescribed holds a call that was done against openapi.yaml.
func (r *adminRig) wellDescribed(doc *api, c adminCase, a answerOf) {
	r.t.Helper()
	op := doc.operation(c.route)
	if op == nil {
		return // said elsewhere
	}
	if _, ok := op["requestBody"]; c.body != nil || ok {
		body := raw(c.body)
		if c.body == nil {
			body = []byte("{}")
		}
		if err := doc.fits(c.route, body, "requestBody", "content", "application/json", "schema"); err != nil {
			r.t.Errorf("%s: the request: %v", c.route, err)
		}
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	status := itoa(int64(a.status))
	if media == "application/json" {
		if err := doc.fits(c.route, a.body, "responses", status, "content", media, "schema"); err != nil {
			r.t.Errorf("%s: the answer: %v\n%s", c.route, err, a.body)
		}
		return
	}
	responses, _ := op["responses"].(map[string]any)
	response, _ := responses[status].(map[string]any)
	content, _ := response["content"].(map[string]any)
	if _, ok := content[media]; !ok {
		r.t.Errorf("%s: openapi.yaml does not say that it answers %s with %s", c.route, status, media)
	}
}
