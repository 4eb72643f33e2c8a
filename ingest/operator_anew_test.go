package ingest

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestAnOperatorMadeAnewInheritsNothing: what was granted to, or taken by, an
// operator ends with him, and who has the name next begins with nothing.
func TestAnOperatorMadeAnewInheritsNothing(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	r.tenant("nord")
	sam := r.support("sam")
	active := r.grant("sam", "nord", 60, "read")
	asked, err := sam.RequestGrant(ctx, GrantRequest{Operator: "sam", Tenant: "nord", Actions: []string{"read"}, Minutes: 60, Reason: "more"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sam.Devices(ctx, "nord"); err != nil {
		t.Fatal(err)
	}
	deputy := r.as("tora", RoleAdmin)
	broken, err := deputy.OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleApprover, Minutes: 30, Reason: "nobody is here"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sam", "tora"} {
		if err := root.RemoveOperator(ctx, name, "left"); err != nil {
			t.Fatal(err)
		}
	}
	sam, deputy = r.support("sam"), r.as("tora", RoleAdmin)
	_, err = sam.Devices(ctx, "nord")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").ApproveGrant(ctx, asked.ID, "ok", "")
	refusedWith(t, err, CodeConflict)
	if open := r.s.openBreaks("tora", r.clock.now()); len(open) != 0 {
		t.Fatalf("%+v", open[0])
	}
	_, err = deputy.DeclineGrant(ctx, asked.ID, "as approver")
	refusedWith(t, err, CodeForbidden)
	ends := append(r.control(evidence.EntryGrantEnded), r.control(evidence.EntryBreakGlassClosed)...)
	var of []string
	for _, e := range ends {
		of = append(of, e.Target)
		if e.Actor == nil || e.Actor.Name != "root.admin" || !strings.Contains(string(e.Data), `"operator removed"`) {
			t.Errorf("%+v", e)
		}
	}
	want := []string{active.ID, asked.ID, broken.ID}
	slices.Sort(of)
	slices.Sort(want)
	if !slices.Equal(of, want) {
		t.Errorf("ended %v, want %v", of, want)
	}
	r.sameAsFold()
}

// TestTheLastAdminIsNotMadeAnewAsLess: an admin of the provider's cannot take
// the role from the last who needs no provider by making him anew.
func TestTheLastAdminIsNotMadeAnewAsLess(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	lena := r.bearerClient(r.session("lena", RoleAdmin), nil)
	_, err := lena.AddOperatorWithToken(ctx, "root.admin", []string{RoleAuditor}, 60, "tidying")
	refusedWith(t, err, CodeConflict)
	// With a second person to ask he would have nothing until that one approves.
	r.setRoles(2)
	_, err = lena.AddOperatorWithToken(ctx, "root.admin", []string{RoleAdmin}, 60, "lost his key")
	refusedWith(t, err, CodeConflict)
	if got := r.rolesOf("root.admin"); !slices.Equal(got, []string{RoleAdmin}) {
		t.Errorf("root.admin holds %v", got)
	}
	// As the same he can be made anew, and as less beside another.
	r.setRoles(1)
	if _, err := lena.AddOperatorWithToken(ctx, "root.admin", []string{RoleAdmin}, 60, "lost his key"); err != nil {
		t.Error(err)
	}
	if _, err := lena.AddOperator(ctx, "tora", []string{RoleAdmin}, "deputy"); err != nil {
		t.Fatal(err)
	}
	if _, err := lena.AddOperatorWithToken(ctx, "root.admin", []string{RoleAuditor}, 60, "tora takes over"); err != nil {
		t.Error(err)
	}
	r.sameAsFold()
}

// TestNoTokenInTheNameOfWhoIsToBePrivileged: who asks for somebody's roles does
// not make himself a credential in that name while another considers it.
func TestNoTokenInTheNameOfWhoIsToBePrivileged(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.setRoles(2)
	root := r.admin("root.admin")
	c, err := root.ChangeRoles(ctx, "erin", []string{RoleApprover}, "deputy")
	if err != nil || c.State != RolesPending {
		t.Fatal(c, err)
	}
	_, err = root.IssueToken(ctx, "erin", TokenRequest{})
	refusedWith(t, err, CodeConflict)
	if _, err := r.admin("carla").DeclineRoles(ctx, c.ID, "no"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.IssueToken(ctx, "erin", TokenRequest{}); err != nil {
		t.Error(err)
	}
}

// TestMinutesBeyondAllTimes: so many minutes that they overflow are too many.
func TestMinutesBeyondAllTimes(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	wraps := 307445735 // minutes, which in 64 bits of nanoseconds are 26 seconds
	if life := time.Duration(wraps) * time.Minute; life <= 0 || life > time.Minute {
		t.Fatal(life)
	}
	_, err := root.IssueToken(ctx, "erin", TokenRequest{Minutes: wraps})
	refusedWith(t, err, CodeInvalid)
	_, err = root.IssueToken(ctx, "erin", TokenRequest{OverlapMinutes: wraps})
	refusedWith(t, err, CodeInvalid)
	_, err = root.AddOperatorWithToken(ctx, "tora", []string{RoleAuditor}, wraps, "x")
	refusedWith(t, err, CodeInvalid)
}

// TestNobodyActsAfterHisEnd: between the look at his role and the decision
// somebody took it from him.
func TestNobodyActsAfterHisEnd(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.readable(&r.config)
	r.as("tora", RoleAdmin)
	o := r.s.st.operator("tora")
	call := func(action, body string) *adminCall {
		q := httptest.NewRequest("POST", "/v1/admin/x", strings.NewReader(body))
		q.Header.Set("Content-Type", "application/json")
		return &adminCall{s: r.s, w: httptest.NewRecorder(), r: q, id: "x-1", op: o, role: RoleAdmin, print: o.Fingerprint, action: action}
	}
	if _, err := r.admin("root.admin").ChangeRoles(ctx, "tora", []string{RoleAuditor}, "no longer"); err != nil {
		t.Fatal(err)
	}
	if _, p := r.s.openBreakGlass(call("break-glass.open", `{"role":"approver","minutes":5,"reason":"nobody is here"}`)); p == nil || p.Code != CodeForbidden {
		t.Errorf("break-glass: %+v", p)
	}
	if got := r.control(evidence.EntryBreakGlassOpened); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	before := len(r.control(evidence.EntryConfigApplied))
	r.config.Limits.Lines = 17
	if _, p := r.s.applyConfig(call("config.apply", `{"reason":"fewer lines"}`)); p == nil || p.Code != CodeForbidden {
		t.Errorf("configuration: %+v", p)
	}
	if after := len(r.control(evidence.EntryConfigApplied)); after != before || r.s.cfg().Limits.Lines == 17 {
		t.Errorf("%d versions, %d before", after, before)
	}
}

// TestABlankReasonIsNone: a decision on a device says why.
func TestABlankReasonIsNone(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.tenant("nord")
	r.enrol("nord", "m-1")
	carla := r.admin("carla")
	_, err := carla.QuarantineDevice(ctx, "nord", "m-1", " \t", "")
	refusedWith(t, err, CodeInvalid)
	_, err = carla.RevokeDevice(ctx, "nord", "m-1", "\n", "")
	refusedWith(t, err, CodeInvalid)
	_, _, err = carla.RotateDevice(ctx, "nord", "m-1", " ", "")
	refusedWith(t, err, CodeInvalid)
}
