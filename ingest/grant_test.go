package ingest

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// support makes an operator who holds that role alone.
func (r *rig) support(name string) *AdminClient {
	r.t.Helper()
	pair, err := r.admin("root.admin").AddOperator(r.t.Context(), name, []string{RoleSupport}, "support")
	if err != nil {
		r.t.Fatal(err)
	}
	r.pairs[name] = pair
	return r.admin(name)
}

// grant has a grant requested by ben and approved by carla.
func (r *rig) grant(operator, tenant string, minutes int, actions ...string) GrantRecord {
	r.t.Helper()
	g, err := r.admin("ben").RequestGrant(r.t.Context(), GrantRequest{Operator: operator, Tenant: tenant, Actions: actions, Minutes: minutes, Reason: "ticket"})
	if err != nil {
		r.t.Fatal(err)
	}
	if g, err = r.admin("carla").ApproveGrant(r.t.Context(), g.ID, "ok", "T-1"); err != nil {
		r.t.Fatal(err)
	}
	return g
}

// TestSupportDoesNothingWithoutAGrant tries every route of the admin API.
func TestSupportDoesNothingWithoutAGrant(t *testing.T) {
	r := newRig(t)
	sam := r.support("sam")
	r.tenant("nord")
	for _, route := range r.s.adminRoutes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		if slices.Contains([]string{"grant.list", "grant.request", "grant.end", "token.rotate"}, route.Action) {
			continue
		}
		path = strings.NewReplacer("{tenant}", "nord", "{device}", "m-1", "{name}", "ben", "{id}", "x", "{index}", "0", "{log}", "nord", "{path...}", "checkpoint").Replace(path)
		_, err := sam.do(t.Context(), method, path, "application/json", []byte("{}"))
		refusedWith(t, err, CodeForbidden)
	}
}

func TestSupportGrant(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	sam := r.support("sam")
	r.support("sue")
	r.tenant("nord")
	r.tenant("sued")
	r.enrol("nord", "m-1")
	r.enrol("nord", "m-2")
	r.enrol("sued", "m-1")

	// Asked for by himself, approved by another, and by nobody concerned.
	want := GrantRequest{Operator: "sam", Tenant: "nord", Actions: []string{"read", "device.quarantine"}, Minutes: 30, Reason: "ticket 7"}
	for _, bad := range []struct {
		change func(*GrantRequest)
		code   Code
	}{
		{func(g *GrantRequest) { g.Minutes = 8*60 + 1 }, CodeInvalid}, {func(g *GrantRequest) { g.Minutes = 0 }, CodeInvalid},
		{func(g *GrantRequest) { g.Reason = " " }, CodeInvalid}, {func(g *GrantRequest) { g.Actions = nil }, CodeInvalid},
		{func(g *GrantRequest) { g.Actions = []string{"device.approve"} }, CodeInvalid}, {func(g *GrantRequest) { g.Tenant = "west" }, CodeNotFound},
		{func(g *GrantRequest) { g.Operator = "zoe" }, CodeNotFound}, {func(g *GrantRequest) { g.Operator = "ben" }, CodeConflict},
	} {
		in := want
		bad.change(&in)
		_, err := sam.RequestGrant(ctx, in)
		refusedWith(t, err, bad.code)
	}
	g, err := sam.RequestGrant(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sam.Devices(ctx, "nord")
	refusedWith(t, err, CodeForbidden)
	_, err = sam.ApproveGrant(ctx, g.ID, "me", "")
	refusedWith(t, err, CodeForbidden)
	both := r.as("both", RoleApprover, RoleSupport)
	own, err := both.RequestGrant(ctx, GrantRequest{Operator: "sam", Tenant: "nord", Actions: []string{"read"}, Minutes: 5, Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = both.ApproveGrant(ctx, own.ID, "", "")
	refusedWith(t, err, CodeApprovalSelf)
	forBoth, err := r.admin("ben").RequestGrant(ctx, GrantRequest{Operator: "both", Tenant: "nord", Actions: []string{"read"}, Minutes: 5, Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = both.ApproveGrant(ctx, forBoth.ID, "", "")
	refusedWith(t, err, CodeApprovalSelf)
	if g, err = r.admin("carla").ApproveGrant(ctx, g.ID, "ok", "T-7"); err != nil || !g.Until.Equal(r.clock.now().Add(30*time.Minute)) {
		t.Fatal(g, err)
	}
	_, err = r.admin("dora").ApproveGrant(ctx, g.ID, "", "")
	refusedWith(t, err, CodeConflict)

	// Within the tenant, and the actions.
	devices, err := sam.Devices(ctx, "")
	if err != nil || len(devices) != 2 || devices[0].Tenant != "nord" {
		t.Errorf("%v %v", devices, err)
	}
	if tenants, err := sam.Tenants(ctx); err != nil || len(tenants) != 1 {
		t.Errorf("%v %v", tenants, err)
	}
	if d, err := sam.QuarantineDevice(ctx, "nord", "m-1", "odd", "T-7"); err != nil || d.State != evidence.DeviceQuarantined {
		t.Error(d, err)
	}
	_, err = sam.ReleaseDevice(ctx, "nord", "m-1", "odd", "T-7")
	refusedWith(t, err, CodeForbidden)
	_, err = sam.Devices(ctx, "sued")
	refusedWith(t, err, CodeForbidden)
	_, err = sam.QuarantineDevice(ctx, "sued", "m-1", "odd", "")
	refusedWith(t, err, CodeForbidden)
	for _, path := range []string{"/status/sued", "/v1/status/sued", "/v1/admin/config", "/v1/admin/operators", "/log/control/checkpoint", "/v1/admin/devices?tenant=nord&tenant=sued"} {
		_, err = sam.Get(ctx, path)
		refusedWith(t, err, CodeForbidden)
	}
	if _, err := sam.Get(ctx, "/v1/status/nord"); err != nil {
		t.Error(err)
	}
	_, err = r.admin("sue").Devices(ctx, "nord")
	refusedWith(t, err, CodeForbidden)

	// Each act and each read carries the grant; so do those refused.
	acts := r.control(evidence.EntryQuarantined)
	if e := acts[len(acts)-1]; e.Grant != g.ID || e.Actor.Name != "sam" || e.Actor.Role != RoleSupport {
		t.Errorf("%+v", e)
	}
	reads := r.control(evidence.EntrySupportRead)
	if len(reads) != 3 || reads[0].Grant != g.ID || reads[0].Tenant != "nord" || reads[0].Target != "/v1/admin/devices" {
		t.Errorf("%+v", reads)
	}

	// From the very moment on it opens nothing, on the connection that is kept.
	r.clock.add(30*time.Minute - 1)
	if _, err := sam.Devices(ctx, "nord"); err != nil {
		t.Error(err)
	}
	r.clock.add(1)
	_, err = sam.Devices(ctx, "nord")
	refusedWith(t, err, CodeForbidden)
	_, err = sam.QuarantineDevice(ctx, "nord", "m-2", "odd", "")
	refusedWith(t, err, CodeForbidden)
	if err := r.s.Tick(ctx, r.clock.now()); err != nil {
		t.Fatal(err)
	}
	ended := r.control(evidence.EntryGrantEnded)
	if len(ended) != 1 || ended[0].Actor != nil || ended[0].Target != g.ID || !strings.Contains(string(ended[0].Data), `"expired"`) {
		t.Errorf("%+v", ended)
	}
	r.sameAsFold()

	// Declined, and ended before its time.
	no, err := sam.RequestGrant(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("carla").DeclineGrant(ctx, no.ID, "")
	refusedWith(t, err, CodeInvalid)
	if no, err = r.admin("carla").DeclineGrant(ctx, no.ID, "not needed"); err != nil || no.State != GrantDeclined {
		t.Error(no, err)
	}
	_, err = r.admin("dora").ApproveGrant(ctx, no.ID, "", "")
	refusedWith(t, err, CodeConflict)
	short := r.grant("sam", "nord", 30, "read")
	if _, err := sam.Devices(ctx, "nord"); err != nil {
		t.Error(err)
	}
	_, err = sam.QuarantineDevice(ctx, "nord", "m-2", "odd", "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("sue").EndGrant(ctx, short.ID, "")
	refusedWith(t, err, CodeForbidden)
	if _, err := r.admin("dora").EndGrant(ctx, short.ID, "enough"); err != nil {
		t.Error(err)
	}
	_, err = sam.Devices(ctx, "nord")
	refusedWith(t, err, CodeForbidden)
	if list, err := sam.Grants(ctx); err != nil || len(list) != 4 {
		t.Errorf("%d grants, %v", len(list), err)
	}
	late, err := sam.RequestGrant(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	r.clock.add(25 * time.Hour)
	_, err = r.admin("carla").ApproveGrant(ctx, late.ID, "", "")
	refusedWith(t, err, CodeConflict)
	r.restart()
	r.sameAsFold()
}

// as makes an operator with roles and gives a client.
func (r *rig) as(name string, roles ...string) *AdminClient {
	r.t.Helper()
	pair, err := r.admin("root.admin").AddOperator(r.t.Context(), name, roles, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	r.pairs[name] = pair
	return r.admin(name)
}

// slowly reads an export bit by bit: next gives what came.
type slowly struct {
	body io.ReadCloser
	size int64
}

func (r *rig) fetchSlowly(pair *tls.Certificate, id string, http1 bool) (slowly, error) {
	_, addr := r.s.Addrs()
	c, err := NewAdminClient(ClientOptions{URL: "https://" + addr, CA: r.ca, Certificate: pair, Now: r.clock.now, HTTP1: http1})
	if err != nil {
		return slowly{}, err
	}
	r.opened(c.Close)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "https://"+addr+adminPath+"exports/"+id+"/file", http.NoBody)
	if err != nil {
		return slowly{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return slowly{}, err
	}
	r.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		return slowly{}, errors.New(res.Status)
	}
	return slowly{res.Body, res.ContentLength}, nil
}

// TestADownloadUnderWayIsCut: when a grant ends, by time or by somebody, or its
// operator is removed, what is being sent stops.
func TestADownloadUnderWayIsCut(t *testing.T) {
	for name, end := range map[string]func(*rig, GrantRecord) error{
		"time, seen by the duty": func(r *rig, _ GrantRecord) error {
			r.clock.add(time.Hour)
			return r.s.Tick(r.t.Context(), r.clock.now())
		},
		"time, seen by the writing": func(r *rig, _ GrantRecord) error { r.clock.add(time.Hour); return nil },
		"revoked": func(r *rig, g GrantRecord) error {
			_, err := r.admin("dora").EndGrant(r.t.Context(), g.ID, "enough")
			return err
		},
		"operator removed": func(r *rig, _ GrantRecord) error {
			return r.admin("root.admin").RemoveOperator(r.t.Context(), "sam", "left")
		},
	} {
		for _, http1 := range []bool{true, false} {
			t.Run(name+map[bool]string{true: " 1.1", false: " 2"}[http1], func(t *testing.T) {
				r := newRig(t, func(c *Config) { c.Rates = Rates{Rate{1e6, 1e6}, Rate{1e6, 1e6}} })
				sam := r.support("sam")
				r.tenant("nord")
				c := r.deviceClient(r.enrol("nord", "m-1"))
				pad := strings.Repeat(" ", 700)
				for i := range 12 {
					var lines []string
					for n := range 1000 {
						lines = append(lines, strings.Replace(r.line(1000*i+n, 1), `"kw":`, `"kw":`+pad, 1))
					}
					r.send(c, lines...)
				}
				g := r.grant("sam", "nord", 60, "export.request", "export.get")
				x, err := sam.RequestExport(t.Context(), ExportRequest{Tenant: "nord", Format: "ndjson", Destination: "disk", Reason: "ticket"})
				if err != nil {
					t.Fatal(err)
				}
				if x.State == ExportPending {
					if _, err := r.admin("carla").ApproveExport(t.Context(), x.ID, "ok", ""); err != nil {
						t.Fatal(err)
					}
				}
				file, err := r.fetchSlowly(r.pairs["sam"], x.ID, http1)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(file.body, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				if err := end(r, g); err != nil {
					t.Fatal(err)
				}
				rest, err := io.Copy(io.Discard, file.body)
				if err == nil || rest+1000 >= file.size {
					t.Errorf("%d of %d bytes came: %v", rest+1000, file.size, err)
				}
				if e := r.control(evidence.EntryExport); len(e) != 1 || e[0].Grant != g.ID {
					t.Errorf("%+v", e)
				}
			})
		}
	}
}

func TestBreakGlass(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	r.tenant("nord")
	if _, err := r.admin("ben").RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.RequestDevice(ctx, DeviceRequest{Tenant: "nord", Device: "m-2", Type: "meter", Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := root.ApproveDevice(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeForbidden)
	for _, bad := range []BreakGlassRequest{{Role: "king", Minutes: 5, Reason: "x"}, {Role: RoleSupport, Minutes: 5, Reason: "x"}, {Role: RoleApprover, Minutes: 61, Reason: "x"}, {Role: RoleApprover, Minutes: 5}} {
		_, err := root.OpenBreakGlass(ctx, bad)
		refusedWith(t, err, CodeInvalid)
	}
	_, err = r.admin("ben").OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleApprover, Minutes: 5, Reason: "x"})
	refusedWith(t, err, CodeForbidden)
	b, err := root.OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleApprover, Minutes: 30, Reason: "both approvers are away", Ticket: "T-9"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = root.OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleExporter, Minutes: 5, Reason: "x"})
	refusedWith(t, err, CodeConflict)
	if _, _, err := root.ApproveDevice(ctx, "nord", "m-1", "emergency"); err != nil {
		t.Fatal(err)
	}
	_, _, err = root.ApproveDevice(ctx, "nord", "m-2", "emergency")
	refusedWith(t, err, CodeApprovalSelf)
	approved := r.control(evidence.EntryDeviceApproved)
	if e := approved[len(approved)-1]; e.Grant != b.ID || e.Actor.Role != RoleApprover {
		t.Errorf("%+v", e)
	}
	alerts, err := root.Alerts(ctx)
	if err != nil || len(alerts) != 1 || alerts[0].Kind != AlertBreakGlass || !strings.Contains(alerts[0].Detail, "root.admin takes the role approver") {
		t.Errorf("%+v %v", alerts, err)
	}
	r.sameAsFold()
	r.clock.add(30 * time.Minute)
	_, err = root.DeclineGrant(ctx, "x", "y")
	refusedWith(t, err, CodeForbidden)
	if err := r.s.Tick(ctx, r.clock.now()); err != nil {
		t.Fatal(err)
	}
	closed := r.control(evidence.EntryBreakGlassClosed)
	if len(closed) != 1 || closed[0].Actor != nil || !strings.Contains(string(closed[0].Data), `"expired"`) {
		t.Errorf("%+v", closed)
	}
	b, err = root.OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleApprover, Minutes: 30, Reason: "again"})
	if err != nil {
		t.Fatal(err)
	}
	if b, err = root.CloseBreakGlass(ctx, b.ID, "over"); err != nil || b.Why != "closed" {
		t.Error(b, err)
	}
	_, err = root.DeclineGrant(ctx, "x", "y")
	refusedWith(t, err, CodeForbidden)
	_, err = root.CloseBreakGlass(ctx, b.ID, "over")
	refusedWith(t, err, CodeConflict)
	r.restart()
	if list, err := r.admin("root.admin").BreakGlasses(ctx); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
	r.sameAsFold()
}
