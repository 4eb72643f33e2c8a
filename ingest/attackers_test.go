package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// move is what an attacker tries.
type move struct {
	what   string
	code   Code
	who    string       // operator to whom it is refused; empty: nobody who is known
	before func()       // brings about what he goes out from
	try    func() error // the move itself
}

// siege is a rig with two tenants and what attackers go out from.
type siege struct {
	*rig
	ctx    context.Context
	tokens map[string]string
	ids    map[string]string
}

// got keeps what a step gave, and ends the test where it failed.
func got[T any](s *siege) func(T, error) T {
	return func(v T, err error) T {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
		return v
	}
}

// failed is the error alone.
func failed[T any](_ T, err error) error { return err }

func newSiege(t *testing.T) *siege {
	s := &siege{rig: newRig(t, allowTokens, func(c *Config) { c.Exports.UnapprovedRows = 0 }), ctx: t.Context(), tokens: map[string]string{}, ids: map[string]string{}}
	s.tenant("nord")
	s.tenant("sued")
	s.support("sam")
	for name, roles := range map[string][]string{"judge": {RoleProvisioner, RoleApprover, RoleExporter}, "owner": {RoleSupport, RoleApprover}} {
		s.as(name, roles...)
	}
	return s
}

// tokenFor makes an operator who comes with a token.
func (s *siege) tokenFor(name, role string, minutes int) {
	s.t.Helper()
	s.tokens[name] = got[OperatorToken](s)(s.admin("root.admin").AddOperatorWithToken(s.ctx, name, []string{role}, minutes, "test")).Token
}

// raw sends a request as it is to the admin port.
func (s *siege) raw(as, method, path, body string, header ...string) error {
	s.t.Helper()
	c := s.admin(as)
	req, err := http.NewRequestWithContext(s.ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var p Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil || res.StatusCode < 400 {
		return nil
	}
	return &p
}

// moves are tried in their order.
func (s *siege) moves() []move {
	ctx, root := s.ctx, s.admin("root.admin")
	request := func(who, device string) func() {
		return func() {
			got[DeviceRecord](s)(s.admin(who).RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: device, Type: "meter", Reason: "r"}))
		}
	}
	approve := func(c *AdminClient, tenant, device string) error {
		_, _, err := c.ApproveDevice(ctx, tenant, device, "r")
		return err
	}
	enrolFails := func(tenant, device, code string) error {
		return failed(s.deviceClient(nil).Enrol(ctx, tenant, device, s.ids[code]))
	}
	grant := func(by, operator string, actions ...string) string {
		return got[GrantRecord](s)(s.admin(by).RequestGrant(ctx, GrantRequest{Operator: operator, Tenant: "nord", Actions: actions, Minutes: 10, Reason: "r"})).ID
	}
	export := func(tenant string) ExportRequest {
		return ExportRequest{Tenant: tenant, Format: "csv", Destination: "d", Reason: "r"}
	}
	var old *DeviceClient
	return []move{
		// Who is nobody.
		{"no credential", CodeNoCertificate, "", nil, func() error { return failed(s.bearerClient("", nil).Devices(ctx, "")) }},
		{"a token that was made up", CodeUnknownCredential, "", nil, func() error {
			return failed(s.bearerClient("tpo_"+strings.Repeat("A", 43), nil).Devices(ctx, ""))
		}},
		{"an ID token as a bearer token", CodeUnknownCredential, "", nil, func() error { return failed(s.bearerClient("eyJh.eyJi.c2ln", nil).Devices(ctx, "")) }},
		{"an operator's token that has expired", CodeExpiredCredential, "", func() { s.tokenFor("tess", RoleAdmin, 5); s.clock.add(5 * time.Minute) }, func() error {
			return s.bearerClient(s.tokens["tess"], nil).AddTenant(ctx, evidence.Tenant{ID: "west", Name: "w"}, "r")
		}},
		{"the token of an operator who was removed", CodeUnknownCredential, "", func() {
			s.tokenFor("rolf", RoleAdmin, 60)
			if err := root.RemoveOperator(ctx, "rolf", "left"); err != nil {
				s.t.Fatal(err)
			}
		}, func() error {
			return s.bearerClient(s.tokens["rolf"], nil).AddTenant(ctx, evidence.Tenant{ID: "west", Name: "w"}, "r")
		}},
		{"a token over a connection with somebody else's certificate", CodeForbidden, "", func() { s.tokenFor("tora", RoleProvisioner, 600) }, func() error {
			return failed(s.bearerClient(s.tokens["tora"], s.pairs["carla"]).RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "x", Type: "meter", Reason: "r"}))
		}},
		{"a token in the URL", CodeTokenInURL, "", nil, func() error {
			return failed(s.bearerClient("", nil).Get(ctx, "/v1/admin/devices?access_token="+s.tokens["tora"]))
		}},
		{"a device's certificate at the operators' port", CodeForbidden, "", func() { s.pairs["m-1"] = s.enrol("nord", "m-1") }, func() error {
			return approve(s.admin("m-1"), "nord", "m-1")
		}},
		{"an operator's certificate at the devices' port", CodeUnknownCredential, "", nil, func() error { return failed(s.deviceClient(s.pairs["root.admin"]).Send(ctx, []byte(s.line(1, 1)))) }},

		// Enrolment.
		{"an enrolment that was seen, once more", CodeEnrolBadCode, "", func() {
			s.ids["used"] = s.codeFor("nord", "m-2")
			got[any](s)(any(nil), failed(s.deviceClient(nil).Enrol(ctx, "nord", "m-2", s.ids["used"])))
		}, func() error { return enrolFails("nord", "m-2", "used") }},
		{"a stolen code for another device", CodeEnrolBadCode, "", func() { s.ids["stolen"] = s.codeFor("nord", "m-3"); s.codeFor("nord", "m-4") }, func() error { return enrolFails("nord", "m-4", "stolen") }},
		{"a stolen code in another tenant", CodeEnrolBadCode, "", func() { s.codeFor("sued", "m-3") }, func() error { return enrolFails("sued", "m-3", "stolen") }},
		{"a stolen code after its time", CodeEnrolBadCode, "", func() { s.clock.add(s.config.Approvals.CodeValid) }, func() error { return enrolFails("nord", "m-3", "stolen") }},

		// Devices that are out, and tenants that are others'.
		{"a revoked device on its old connection", CodeRevoked, "", func() {
			s.enrolledAs("m-5")
			old = s.deviceClient(s.pairs["m-5"])
			s.send(old, s.line(1, 1))
			got[DeviceRecord](s)(root.RevokeDevice(ctx, "nord", "m-5", "key read out", "T-1"))
		}, func() error { return failed(old.Send(ctx, []byte(s.line(2, 1)))) }},
		{"a device in quarantine", CodeQuarantined, "", func() {
			s.enrolledAs("m-6")
			got[DeviceRecord](s)(root.QuarantineDevice(ctx, "nord", "m-6", "odd", ""))
		}, func() error { return failed(s.deviceClient(s.pairs["m-6"]).Send(ctx, []byte(s.line(1, 1)))) }},
		{"a device's token in another tenant", CodeTenantMismatch, "", func() { s.tokens["m-7"] = s.tokenDevice("nord", "m-7").Token }, func() error {
			return failed(s.withToken(s.tokens["m-7"], nil).do(ctx, http.MethodPost, "/v1/tenants/sued/telemetry", "application/x-ndjson", []byte(s.line(1, 1))))
		}},

		// Whose role does not do.
		{"a provisioner makes himself admin", CodeForbidden, "ben", nil, func() error { return failed(s.admin("ben").ChangeRoles(ctx, "ben", []string{RoleAdmin}, "r")) }},
		{"an admin gives himself a further role", CodeApprovalSelf, "root.admin", nil, func() error {
			return failed(root.ChangeRoles(ctx, "root.admin", []string{RoleAdmin, RoleApprover}, "r"))
		}},
		{"an admin adds himself anew, with more roles", CodeApprovalSelf, "root.admin", nil, func() error {
			return failed(root.AddOperator(ctx, "root.admin", []string{RoleAdmin, RoleApprover}, "r"))
		}},
		{"an exporter approves a device", CodeForbidden, "emil", request("ben", "m-8"), func() error { return approve(s.admin("emil"), "nord", "m-8") }},
		{"an auditor revokes one", CodeForbidden, "erin", nil, func() error { return failed(s.admin("erin").RevokeDevice(ctx, "nord", "m-1", "r", "")) }},
		{"the last admin removes himself", CodeConflict, "root.admin", nil, func() error { return root.RemoveOperator(ctx, "root.admin", "r") }},

		// Who approves what is his own.
		{"his own device", CodeApprovalSelf, "judge", request("judge", "m-9"), func() error { return approve(s.admin("judge"), "nord", "m-9") }},
		{"his own device, by his other credential", CodeApprovalSelf, "judge", func() {
			s.tokens["judge"] = got[OperatorToken](s)(root.IssueToken(ctx, "judge", TokenRequest{Minutes: 600})).Token
		}, func() error { return approve(s.bearerClient(s.tokens["judge"], nil), "nord", "m-9") }},
		{"his own batch", CodeApprovalSelf, "judge", func() {
			s.ids["batch"] = got[BatchResult](s)(s.admin("judge").RequestDevices(ctx, []byte("tenant,device,type,reason\nnord,b-1,meter,r\n"), false)).Batch
		}, func() error { return failed(s.admin("judge").ApproveBatch(ctx, s.ids["batch"], "r")) }},
		{"his own transfer", CodeApprovalSelf, "judge", func() {
			got[DeviceRecord](s)(s.admin("judge").TransferDevice(ctx, "nord", "m-1", TransferRequest{ToTenant: "sued", Reason: "r"}))
		}, func() error { return failed(s.admin("judge").ApproveTransfer(ctx, "nord", "m-1", "r")) }},
		{"his own export", CodeApprovalSelf, "judge", func() {
			s.send(s.deviceClient(s.pairs["m-1"]), s.line(1, 1))
			s.ids["export"] = got[ExportRecord](s)(s.admin("judge").RequestExport(ctx, export("nord"))).ID
		}, func() error { return failed(s.admin("judge").ApproveExport(ctx, s.ids["export"], "r", "")) }},
		{"his own purge", CodeApprovalSelf, "judge", func() {
			s.clock.add(2 * day)
			s.ids["purge"] = got[PurgeRecord](s)(s.admin("judge").RequestPurge(ctx, "nord", s.clock.now().Add(-day).Format(time.DateOnly), "r", "")).ID
		}, func() error { return failed(s.admin("judge").ApprovePurge(ctx, s.ids["purge"], "r", "")) }},
		{"a grant that he asked for", CodeApprovalSelf, "judge", func() { s.ids["asked"] = grant("judge", "sam", "read") }, func() error {
			return failed(s.admin("judge").ApproveGrant(ctx, s.ids["asked"], "r", ""))
		}},
		{"a grant that serves him", CodeApprovalSelf, "owner", func() { s.ids["for"] = grant("ben", "owner", "read") }, func() error {
			return failed(s.admin("owner").ApproveGrant(ctx, s.ids["for"], "r", ""))
		}},
		{"roles that he asked for", CodeApprovalSelf, "root.admin", func() {
			s.setRoles(2)
			s.ids["roles"] = got[RoleChange](s)(root.ChangeRoles(ctx, "dora", []string{RoleApprover, RoleExporter}, "r")).ID
		}, func() error { return failed(root.ApproveRoles(ctx, s.ids["roles"], "r")) }},
		{"roles that are for him", CodeApprovalSelf, "dora", nil, func() error { return failed(s.admin("dora").ApproveRoles(ctx, s.ids["roles"], "r")) }},
		{"roles of another, by a token in his name", CodeConflict, "root.admin", nil, func() error { return failed(root.IssueToken(ctx, "carla", TokenRequest{})) }},

		// What was approved once.
		{"an approval of roles, once more", CodeConflict, "judge", func() { got[RoleChange](s)(s.admin("carla").ApproveRoles(ctx, s.ids["roles"], "known to me")) }, func() error {
			return failed(s.admin("judge").ApproveRoles(ctx, s.ids["roles"], "r"))
		}},
		{"an approval of a grant, once more", CodeConflict, "carla", func() {
			s.ids["grant"] = grant("ben", "sam", "read", "device.quarantine", "export.get")
			got[GrantRecord](s)(s.admin("carla").ApproveGrant(ctx, s.ids["grant"], "r", ""))
		}, func() error { return failed(s.admin("carla").ApproveGrant(ctx, s.ids["grant"], "r", "")) }},

		// Support, beyond its grant.
		{"another tenant's device under a grant", CodeForbidden, "sam", func() { s.enrol("sued", "m-1") }, func() error {
			return failed(s.admin("sam").QuarantineDevice(ctx, "sued", "m-1", "r", ""))
		}},
		{"another tenant's devices, by a parameter that stands twice", CodeForbidden, "sam", nil, func() error {
			return failed(s.admin("sam").Get(ctx, "/v1/admin/devices?tenant=nord&tenant=sued"))
		}},
		{"another tenant's export, by its ID", CodeNotFound, "sam", func() {
			s.ids["theirs"] = got[ExportRecord](s)(s.admin("emil").RequestExport(ctx, export("sued"))).ID
		}, func() error {
			return s.raw("sam", http.MethodPost, "/v1/admin/exports/"+s.ids["theirs"]+"/file", "")
		}},
		{"an action that the grant does not name", CodeForbidden, "sam", nil, func() error { return failed(s.admin("sam").ReleaseDevice(ctx, "nord", "m-6", "r", "")) }},
		{"a grant after its end", CodeForbidden, "sam", func() { s.clock.add(10 * time.Minute) }, func() error {
			return failed(s.admin("sam").QuarantineDevice(ctx, "nord", "m-1", "r", ""))
		}},
		{"break-glass after its end", CodeForbidden, "root.admin", func() {
			got[BreakGlass](s)(root.OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleApprover, Minutes: 5, Reason: "r"}))
			s.clock.add(5 * time.Minute)
		}, func() error { return approve(root, "nord", "m-8") }},

		// What no client of ours sends.
		{"a huge body", CodeBodyTooLarge, "root.admin", nil, func() error {
			return s.raw("root.admin", http.MethodPost, "/v1/admin/tenants", `{"id":"west","name":"`+strings.Repeat("w", 2<<20)+`"}`)
		}},
		{"a field that is not asked for", CodeBodyMalformed, "ben", nil, func() error {
			return s.raw("ben", http.MethodPost, "/v1/admin/devices", `{"tenant":"nord","device":"m-10","type":"meter","reason":"r","state":"approved"}`)
		}},
		{"a key that stands twice", CodeBodyMalformed, "ben", nil, func() error {
			return s.raw("ben", http.MethodPost, "/v1/admin/devices", `{"tenant":"nord","tenant":"sued","device":"m-10","type":"meter","reason":"r"}`)
		}},
		{"a line feed in a name", CodeInvalid, "root.admin", nil, func() error {
			return s.raw("root.admin", http.MethodPost, "/v1/admin/operators", `{"name":"x\r\nX-Role: admin","roles":["admin"],"token":true}`)
		}},
		{"a header that asks for another method", CodeInvalid, "erin", nil, func() error {
			return s.raw("erin", http.MethodGet, "/v1/admin/tenants", "", "X-HTTP-Method-Override", "POST")
		}},
		{"a path that is not plain", CodeNotFound, "erin", nil, func() error { return s.raw("erin", http.MethodGet, "/v1/admin/devices/%2e%2e/config", "") }},
	}
}

// enrolledAs keeps a device's credential under its name.
func (s *siege) enrolledAs(device string) {
	s.t.Helper()
	s.pairs[device] = s.enrol("nord", device)
}

// TestAttackersMoves tries each move on a real ingest over TLS. Each is refused
// with exactly its code, leaves exactly one entry, which says what was tried,
// by whom and why it was refused, and changes nothing of what the ingest
// knows but the count of refusals.
func TestAttackersMoves(t *testing.T) {
	s := newSiege(t)
	standing := func() plainState {
		t.Helper()
		if err := s.s.refusals.flush(true); err != nil {
			t.Fatal(err)
		}
		p := s.foldCopy()
		p.Refusals, p.Books = nil, nil // events that were refused stand in the books
		return p
	}
	seen := map[string]bool{}
	for _, m := range s.moves() {
		if seen[m.what] {
			t.Fatalf("%s stands twice", m.what)
		}
		seen[m.what] = true
		if err := s.s.Tick(s.ctx, s.clock.now()); err != nil {
			t.Fatal(err)
		}
		if m.before != nil {
			m.before() // no tick after it: what has ended by time opens nothing, whoever noted it
		}
		before, size := standing(), s.s.led.Size(controlLog)
		err := m.try()
		var p *Problem
		if !errors.As(err, &p) || p.Code != m.code {
			t.Errorf("%s: %v, want %s", m.what, err, m.code)
		}
		after := standing()
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s: it changed something:\n%+v\n%+v", m.what, before, after)
		}
		var refusals []evidence.AuditEntry
		for _, e := range s.since(size) {
			if e.Type != evidence.EntrySessionsCut {
				refusals = append(refusals, e)
			}
		}
		if len(refusals) != 1 {
			t.Errorf("%s: left %d entries: %+v", m.what, len(refusals), refusals)
			continue
		}
		e := refusals[0]
		var d struct {
			Code  Code   `json:"code"`
			Path  string `json:"path"`
			Count int64  `json:"count"`
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			t.Fatal(err)
		}
		switch {
		case d.Code != m.code || d.Path == "":
			t.Errorf("%s: the entry says %s", m.what, e.Data)
		case m.who == "" && (e.Type != evidence.EntryRefusal || d.Count != 1):
			t.Errorf("%s: the entry is %+v", m.what, e)
		case m.who != "" && (e.Type != evidence.EntryAdminRefused || e.Actor == nil || e.Actor.Name != m.who || e.Actor.Credential == "" || e.RequestID == "" || e.Result != "refused" || e.Reason == ""):
			t.Errorf("%s: the entry is %+v", m.what, e)
		}
		if strings.Contains(string(e.Data)+e.Reason+e.Target, "tpo_") || strings.Contains(string(e.Data)+e.Reason+e.Target, "tpd_") {
			t.Errorf("%s: the entry holds a token", m.what)
		}
	}
	if len(seen) < 40 {
		t.Errorf("%d moves", len(seen))
	}
	s.sameAsFold()
}
