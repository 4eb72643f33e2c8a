package ingest

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestRoleTableIsCurrent(t *testing.T) {
	want := RoleTable()
	if os.Getenv("UPDATE_ROLES") != "" {
		if err := os.WriteFile("ROLES.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("ROLES.md")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("ROLES.md is not what Permissions() says (%v); write it anew with UPDATE_ROLES=1 go test ./ingest -run RoleTable", err)
	}
}

// TestEachActionIsARoutes: no route has an action that is nobody's, and no
// action stands in the table that no route has.
func TestEachActionIsARoutes(t *testing.T) {
	used := map[string]bool{}
	for _, route := range newRig(t).s.adminRoutes() {
		used[route.Action] = true
		if !slices.ContainsFunc(Permissions(), func(p Permission) bool { return p.Action == route.Action && len(p.Roles) > 0 }) {
			t.Errorf("%s: nobody may %s", route.Pattern, route.Action)
		}
	}
	seen := map[string]bool{}
	for _, p := range Permissions() {
		if !used[p.Action] || seen[p.Action] {
			t.Errorf("%s is no route's action, or stands twice", p.Action)
		}
		seen[p.Action] = true
	}
	for _, action := range Grantable() {
		if !used[action] {
			t.Errorf("%s can be granted and is nothing", action)
		}
	}
}

// rolesOf lists an operator's roles.
func (r *rig) rolesOf(name string) []string {
	r.t.Helper()
	list, err := r.admin("erin").Operators(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range list {
		if o.Name == name {
			return o.Roles
		}
	}
	return nil
}

// TestPrivilegedRolesTakeTwo: with nobody else to ask, the first admin makes
// the others; then nobody alone makes anybody privileged, neither by roles nor
// by a credential for who has them.
func TestPrivilegedRolesTakeTwo(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.Roles = 2 })
	ctx := t.Context()
	root := r.admin("root.admin")
	// newRig made them in any order, so some wait for one of the approvers.
	for range 3 {
		changes, err := root.RoleChanges(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			for _, by := range []string{"carla", "dora"} {
				if c.State == RolesPending && c.Name != by {
					_, _ = r.admin(by).ApproveRoles(ctx, c.ID, "known to me") // not while that one waits too
				}
			}
		}
	}
	for name, role := range map[string]string{"ben": RoleProvisioner, "carla": RoleApprover, "dora": RoleApprover, "emil": RoleExporter, "erin": RoleAuditor} {
		if got := r.rolesOf(name); !slices.Equal(got, []string{role}) {
			t.Fatalf("%s holds %v", name, got)
		}
	}
	// A new one has nothing until somebody else approves.
	pair, err := root.AddOperator(ctx, "finn", []string{RoleAdmin, RoleAuditor}, "deputy")
	if err != nil {
		t.Fatal(err)
	}
	r.pairs["finn"] = pair
	if got := r.rolesOf("finn"); !slices.Equal(got, []string{RoleAuditor}) {
		t.Errorf("finn holds %v", got)
	}
	change := r.pending("finn")
	_, err = r.admin("finn").AddOperator(ctx, "x", []string{RoleAuditor}, "")
	refusedWith(t, err, CodeForbidden)
	_, err = root.ApproveRoles(ctx, change.ID, "mine")
	refusedWith(t, err, CodeApprovalSelf)
	_, err = r.admin("erin").ApproveRoles(ctx, change.ID, "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").DeclineRoles(ctx, change.ID, "")
	refusedWith(t, err, CodeInvalid)
	if c, err := r.admin("carla").ApproveRoles(ctx, change.ID, "he is new"); err != nil || c.State != RolesApproved || c.DecidedBy != "carla" {
		t.Fatal(c, err)
	}
	_, err = r.admin("dora").ApproveRoles(ctx, change.ID, "again")
	refusedWith(t, err, CodeConflict)
	if got := r.rolesOf("finn"); !slices.Equal(got, []string{RoleAdmin, RoleAuditor}) {
		t.Errorf("finn holds %v", got)
	}
	// Nor does anybody get at the roles of another by a credential in his name.
	_, err = root.IssueToken(ctx, "carla", TokenRequest{})
	refusedWith(t, err, CodeConflict)
	stolen, err := root.AddOperator(ctx, "carla", []string{RoleApprover}, "lost her key")
	if err != nil {
		t.Fatal(err)
	}
	r.pairs["carla"] = stolen
	if got := r.rolesOf("carla"); len(got) != 0 {
		t.Errorf("carla holds %v under a key that one person made", got)
	}
	_, err = r.admin("carla").ApproveRoles(ctx, r.pending("carla").ID, "me")
	refusedWith(t, err, CodeForbidden)
	// Who was asked for under one key does not get it under another.
	asked := r.pending("carla")
	if _, err := root.AddOperator(ctx, "carla", []string{RoleAuditor}, "another key"); err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("dora").ApproveRoles(ctx, asked.ID, "ok")
	refusedWith(t, err, CodeConflict)
	// Fewer roles need nobody; more do.
	if c, err := root.ChangeRoles(ctx, "finn", []string{RoleAuditor}, "no longer"); err != nil || c.State != RolesApproved {
		t.Error(c, err)
	}
	c, err := root.ChangeRoles(ctx, "finn", []string{RoleExporter, RoleAuditor}, "exports")
	if err != nil || c.State != RolesPending || !slices.Equal(r.rolesOf("finn"), []string{RoleAuditor}) {
		t.Error(c, err)
	}
	r.clock.add(30*day + 1)
	_, err = r.admin("dora").ApproveRoles(ctx, c.ID, "late")
	refusedWith(t, err, CodeConflict)
	_, err = root.ChangeRoles(ctx, "root.admin", []string{RoleAdmin, RoleApprover}, "me")
	refusedWith(t, err, CodeApprovalSelf)
	// Each is an entry.
	if e := r.control(evidence.EntryRoleApproved); e[len(e)-1].Actor.Name == "root.admin" || len(e[len(e)-1].Before) == 0 || len(e[len(e)-1].After) == 0 {
		t.Errorf("%+v", e[len(e)-1])
	}
	r.sameAsFold()
	r.restart()
	r.sameAsFold()
}

func (r *rig) pending(name string) RoleChange {
	r.t.Helper()
	changes, err := r.admin("erin").RoleChanges(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range changes {
		if c.Name == name && c.State == RolesPending {
			return c
		}
	}
	r.t.Fatalf("nothing waits for %s in %+v", name, changes)
	return RoleChange{}
}

// TestTheLastAdminStays: neither removed nor without the role, nor where the
// other admins cannot prove themselves any more.
func TestTheLastAdminStays(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	refusedWith(t, root.RemoveOperator(ctx, "root.admin", "x"), CodeConflict)
	given, err := root.AddOperatorWithToken(ctx, "tora", []string{RoleAdmin}, 60, "deputy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.ChangeRoles(ctx, "tora", []string{RoleAuditor}, "no"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.ChangeRoles(ctx, "tora", []string{RoleAdmin}, "yes"); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Hour) // her token has ended
	refusedWith(t, root.RemoveOperator(ctx, "root.admin", "x"), CodeConflict)
	if given, err = root.IssueToken(ctx, "tora", TokenRequest{}); err != nil {
		t.Fatal(err)
	}
	tora := r.bearerClient(given.Token, nil)
	if _, err := tora.ChangeRoles(ctx, "root.admin", []string{RoleAuditor}, "takes over"); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, tora.RemoveOperator(ctx, "tora", "x"), CodeConflict)
	_, err = root.AddOperator(ctx, "x", []string{RoleAuditor}, "")
	refusedWith(t, err, CodeForbidden)
	r.sameAsFold()
}

// TestSessionsAndRoles: who comes by the provider alone has no roles that could
// be changed; a session with the role makes its holder the second person, and
// never the admin who stays.
func TestSessionsAndRoles(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	root := r.admin("root.admin")
	r.session("lena", RoleAdmin)
	_, err := root.ChangeRoles(ctx, "lena", []string{RoleAuditor}, "x")
	refusedWith(t, err, CodeConflict)
	refusedWith(t, root.RemoveOperator(ctx, "root.admin", "x"), CodeConflict)
	for _, name := range []string{"carla", "dora"} {
		if err := root.RemoveOperator(ctx, name, "left"); err != nil {
			t.Fatal(err)
		}
	}
	r.setRoles(2)
	if c, err := root.ChangeRoles(ctx, "erin", []string{RoleExporter}, "x"); err != nil || c.State != RolesPending {
		t.Error(c, err)
	}
	r.clock.add(time.Hour)
	if c, err := root.ChangeRoles(ctx, "erin", []string{RoleExporter}, "nobody else is there"); err != nil || c.State != RolesApproved {
		t.Error(c, err)
	}
	r.sameAsFold()
}
