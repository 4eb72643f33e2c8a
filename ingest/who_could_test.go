package ingest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// controlAt finds the index of the newest entry of a type about a target.
func (r *rig) controlAt(typ, target string) int64 {
	r.t.Helper()
	found := int64(-1)
	for i, e := range r.since(0) {
		if e.Type == typ && strings.Contains(e.Target+" "+string(e.Data), target) {
			found = int64(i)
		}
	}
	if found < 0 {
		r.t.Fatalf("there is no %s of %s", typ, target)
	}
	return found
}

// told is the answer in short: a line for each way.
func told(w *WhoCould) []string {
	var out []string
	for _, a := range w.Able {
		line := fmt.Sprintf("%s %s %s %s %s %v", a.Operator, a.By, a.Role, a.Credential.Method, strings.Join(a.Actions, ","), a.Entries)
		if a.Tenant != "" {
			line += " in " + a.Tenant
		}
		if !a.From.IsZero() {
			line += " from " + a.From.Format(time.RFC3339)
		}
		if !a.Until.IsZero() {
			line += " until " + a.Until.Format(time.RFC3339)
		}
		if a.EndedBy != nil {
			line += fmt.Sprintf(" by %d", *a.EndedBy)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// TestWhoCouldProvision: on 3 August several people could, each in another
// way. A month later all of them have lost their roles, their credentials, or
// their grants, and others came; the answer for the day is the same, from the
// running ingest and from a copy of its log alone.
func TestWhoCouldProvision(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.Roles = 2 })
	ctx := t.Context()
	r.setRoles(1)
	for name, roles := range map[string][]string{"ben": {RoleProvisioner}, "carla": {RoleApprover}, "dora": {RoleApprover}, "emil": {RoleExporter}} {
		if _, err := r.admin("root.admin").ChangeRoles(ctx, name, roles, "as they were meant"); err != nil {
			t.Fatal(err)
		}
	}
	r.setRoles(2)
	r.tenant("nord")
	r.support("sam")
	root := r.admin("root.admin")
	day3 := time.Date(2026, 8, 3, 0, 0, 0, 0, time.UTC)
	to := func(at time.Time) { r.clock.add(at.Sub(r.clock.now())) }
	at := func(hours float64) time.Time { return day3.Add(time.Duration(hours * float64(time.Hour))) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	// Before the day: dora loses the role, emil has a request pending, tom's
	// token ends on the day at six.
	to(at(-30))
	_, err := root.ChangeRoles(ctx, "dora", []string{RoleAuditor}, "no longer")
	must(err)
	asked, err := root.ChangeRoles(ctx, "emil", []string{RoleProvisioner}, "helps out")
	must(err)
	_, err = root.AddOperatorWithToken(ctx, "tom", []string{RoleProvisioner}, 36*60, "for the weekend")
	must(err)
	_, err = r.admin("carla").ApproveRoles(ctx, r.pending("tom").ID, "known to me")
	must(err)
	// One who was never more than asked for.
	_, err = root.AddOperator(ctx, "nils", []string{RoleProvisioner}, "new")
	must(err)
	_, err = r.admin("carla").DeclineRoles(ctx, r.pending("nils").ID, "unknown to me")
	must(err)
	// Removed the day before.
	_, err = root.AddOperator(ctx, "pia", []string{RoleProvisioner}, "short")
	must(err)
	_, err = r.admin("carla").ApproveRoles(ctx, r.pending("pia").ID, "known to me")
	must(err)
	must(root.RemoveOperator(ctx, "pia", "gone"))

	// The day.
	to(at(8))
	_, err = r.admin("carla").ApproveRoles(ctx, asked.ID, "fine")
	must(err)
	emilHas := r.controlAt(evidence.EntryRoleApproved, asked.ID)
	to(at(9))
	r.session("lena", RoleApprover) // for an hour
	to(at(10.5))
	glass, err := root.OpenBreakGlass(ctx, BreakGlassRequest{Role: RoleProvisioner, Minutes: 30, Reason: "nobody is there"})
	must(err)
	to(at(12))
	_, err = root.ChangeRoles(ctx, "emil", []string{RoleAuditor}, "done helping")
	must(err)
	emilHadIt := r.controlAt(evidence.EntryRoleChanged, "emil")
	to(at(13))
	g, err := r.admin("ben").RequestGrant(ctx, GrantRequest{Operator: "sam", Tenant: "nord", Actions: []string{"device.quarantine"}, Minutes: 20, Reason: "a call"})
	must(err)
	_, err = r.admin("carla").ApproveGrant(ctx, g.ID, "ok", "")
	must(err)

	added := func(name string) int64 { return r.controlAt(evidence.EntryOperatorAdded, `"name":"`+name+`"`) }
	set := func(name string) int64 { return r.controlAt(evidence.EntryRoleChanged, name) }
	tomAsked, tomHas := r.controlAt(evidence.EntryRoleRequested, `"tom"`), r.controlAt(evidence.EntryRoleApproved, `"tom"`)
	text := func(hours float64) string { return at(hours).Format(time.RFC3339) }
	want := []string{
		fmt.Sprintf("ben role provisioner x509 device.request %v", []int64{added("ben"), set("ben")}),
		fmt.Sprintf("carla role approver x509 device.approve %v", []int64{added("carla"), set("carla")}),
		fmt.Sprintf("emil role provisioner x509 device.request %v from %s until %s by %d", []int64{added("emil"), r.controlAt(evidence.EntryRoleRequested, asked.ID), emilHas}, text(8), text(12), emilHadIt),
		fmt.Sprintf("lena session approver oidc device.approve %v from %s until %s", []int64{r.controlAt(evidence.EntryOperatorLogin, "lena")}, text(9), text(10)),
		fmt.Sprintf("root.admin break-glass provisioner x509 device.request %v from %s until %s", []int64{0, r.controlAt(evidence.EntryBreakGlassOpened, glass.ID)}, text(10.5), text(11)),
		"root.admin role admin x509 device.request [0]",
		fmt.Sprintf("tom role provisioner token device.request %v until %s", []int64{added("tom"), tomAsked, tomHas}, text(6)),
	}
	quarantine := []string{
		fmt.Sprintf("sam grant support x509 device.quarantine %v in nord from %s until %s", []int64{added("sam"), r.controlAt(evidence.EntryGrantRequested, g.ID), r.controlAt(evidence.EntryGrantApproved, g.ID)}, text(13), text(13+1.0/3)),
	}

	// A month, in which nearly everything changes.
	to(at(24 * 31))
	_, err = root.ChangeRoles(ctx, "ben", []string{RoleAuditor}, "another job")
	must(err)
	must(root.RemoveOperator(ctx, "carla", "left"))
	must(root.RemoveOperator(ctx, "tom", "left"))
	_, err = root.AddOperator(ctx, "dora", []string{RoleProvisioner}, "back, with another key")
	must(err)
	_, err = root.AddOperator(ctx, "emil", []string{RoleApprover}, "another key")
	must(err)
	_, err = root.AddOperator(ctx, "carla", []string{RoleAuditor}, "another carla")
	must(err)

	whole := WhoQuery{From: day3, To: day3.Add(day), Actions: Provisioning()}
	got, err := r.admin("erin").WhoCould(ctx, whole)
	must(err)
	if !slices.Equal(told(got), want) {
		t.Errorf("on the day:\n%s\nwant\n%s", strings.Join(told(got), "\n"), strings.Join(want, "\n"))
	}
	if got.Program != "test" || got.Entries <= emilHadIt || len(got.Disorder) != 0 {
		t.Errorf("%+v", got)
	}
	// Each entry that is named is in the log and about that operator.
	log := r.since(0)
	for _, a := range got.Able {
		for _, i := range a.Entries {
			if e := log[i]; !strings.Contains(e.Target+string(e.Data), a.Operator) || e.Time.After(day3.Add(day)) {
				t.Errorf("%s: entry %d is %s of %s at %s", a.Operator, i, e.Type, e.Target, e.Time)
			}
		}
	}
	got, err = r.admin("erin").WhoCould(ctx, WhoQuery{day3, day3.Add(day), []string{"device.quarantine"}})
	must(err)
	if lines := slices.DeleteFunc(told(got), func(l string) bool { return !strings.HasPrefix(l, "sam") }); !slices.Equal(lines, quarantine) {
		t.Errorf("%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(quarantine, "\n"))
	}
	// Moments: who could right then.
	for hours, names := range map[float64]string{5.999: "ben carla root.admin tom", 6: "ben carla root.admin", 8: "ben carla emil root.admin", 9.5: "ben carla emil lena root.admin", 10: "ben carla emil root.admin", 12: "ben carla root.admin"} {
		w, err := r.admin("erin").WhoCould(ctx, WhoQuery{at(hours), at(hours).Add(1), Provisioning()})
		must(err)
		var who []string
		for _, a := range w.Able {
			if !slices.Contains(who, a.Operator) {
				who = append(who, a.Operator)
			}
		}
		if strings.Join(who, " ") != names {
			t.Errorf("at %v: %v, want %s", hours, who, names)
		}
	}
	// And now it is another list.
	now, err := r.admin("erin").WhoCould(ctx, WhoQuery{r.clock.now(), r.clock.now().Add(1), Provisioning()})
	must(err)
	if len(now.Able) != 3 || now.Able[0].Operator != "dora" || now.Able[1].Operator != "emil" || now.Able[1].Actions[0] != "device.approve" || now.Able[2].Operator != "root.admin" {
		t.Errorf("now: %v", told(now))
	}
	// Questions that are none.
	for _, q := range []WhoQuery{{day3, day3, Provisioning()}, {day3, day3.Add(1), nil}, {day3, day3.Add(1), []string{"provision"}}} {
		_, err := r.admin("erin").WhoCould(ctx, q)
		refusedWith(t, err, CodeInvalid)
	}

	// Offline, the log alone says the same.
	r.stop()
	again, err := WhoCouldIn(filepath.Join(r.dir, "ledger"), whole)
	must(err)
	if !slices.Equal(told(again), want) {
		t.Errorf("offline:\n%s", strings.Join(told(again), "\n"))
	}
	if _, err := WhoCouldIn(t.TempDir(), whole); err == nil {
		t.Error("a folder without logs gave an answer")
	}
}
