package telemetry

import (
	"fmt"
	"testing"
	"time"

	"trustpack/evidence"
)

func by(typ, actor, role string) evidence.AuditEntry {
	return evidence.AuditEntry{Type: typ, Result: "done", Reason: "as agreed", Actor: &evidence.Actor{Name: actor, Role: role}}
}

func want(t *testing.T, at map[string]any, values map[string]any) {
	t.Helper()
	for k, v := range values {
		if fmt.Sprint(at[k]) != fmt.Sprint(v) {
			t.Errorf("%s is %v, want %v", k, at[k], v)
		}
	}
}

func TestWhoMayExportIsReadFromTheTable(t *testing.T) {
	e := collectFrom(t, story(t), Config{})[KindExportPermissions]
	want(t, item(t, e, "operator/carla"), map[string]any{
		"subject": "operator", "requests": false, "approves": true, "takes": false, "every_action": false, "every_role": false, "may": "[export.approve]",
	})
	want(t, item(t, e, "role/exporter"), map[string]any{"subject": "role", "requests": true, "takes": true, "may": "[export.get export.request]"})
	r := &run{setup: setup{Permissions: []permission{{"read", []string{"auditor", "admin"}}, {"export.get", []string{"admin"}}}}}
	want(t, r.mayExport("operator", "x", []string{"admin"}), map[string]any{"every_action": true, "every_role": false})
	want(t, r.mayExport("operator", "x", []string{"auditor"}), map[string]any{"every_action": false, "every_role": false})
	want(t, r.mayExport("operator", "x", []string{"admin", "auditor"}), map[string]any{"every_action": true, "every_role": true})
}

// Each side may know a file that the other does not.
func TestFilesThatLeftAreJoined(t *testing.T) {
	s := story(t)
	left := func(at time.Time, id, sum string) {
		e := by(evidence.EntryExport, "emil", "exporter")
		e.Tenant, e.Target = "nord", id
		s.control(at, e, map[string]any{"id": id, "requester": "emil", "rows": 3, "bytes": 99, "sha256": sum})
	}
	asked := by(evidence.EntryExportRequested, "emil", "exporter")
	asked.Tenant, asked.Target = "nord", "x1"
	request := s.control(day(50), asked, evidence.Export{ID: "x1"})
	left(day(50, 1), "x1", "aa")
	left(day(50, 2), "x2", "bb")
	file := func(at time.Time, sum string) map[string]any {
		return map[string]any{"time": at, "rows": 3, "bytes": 99, "sha256": sum}
	}
	s.exports = []any{map[string]any{"id": "x1", "tenant": "nord", "requester": "emil", "needs_approval": true, "files": []any{
		file(day(50, 1), "aa"), file(day(50, 3), "aa"), file(day(-3), "aa"),
	}}}
	s.now = day(93)
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindExportFiles]
	if len(e.Population.Items) != 3 {
		t.Fatalf("%d items, want 3", len(e.Population.Items))
	}
	at := item(t, e, "x1/"+ts(day(50, 1))+"/aa")
	want(t, at, map[string]any{"listed": true, "needs_approval": true, "request_entry": entry{index: request}.id(), "approval_entry": ""})
	if at["entry"] == "" {
		t.Error("the entry of a file that left is not found")
	}
	want(t, item(t, e, "x2/"+ts(day(50, 2))+"/bb"), map[string]any{"listed": false, "request_entry": ""})
	want(t, item(t, e, "x1/"+ts(day(50, 3))+"/aa"), map[string]any{"listed": true, "entry": ""})
}

// The limit is 100 rows: two exports of 60 within a day are a spike, canaries'
// do not count, and one alert stands for as long as it is open.
func TestSpikesAreCountedAgain(t *testing.T) {
	s := story(t)
	s.control(day(0), evidence.AuditEntry{Type: evidence.EntryConfigApplied}, map[string]any{"version": 2, "config": map[string]any{"exports": map[string]any{"spike_rows": 100}}})
	left := func(at time.Time, tenant string, rows int) int64 {
		e := by(evidence.EntryExport, "emil", "exporter")
		e.Tenant, e.Target = tenant, "x"
		return s.control(at, e, map[string]any{"id": "x", "rows": rows})
	}
	left(day(50, 1), "nord", 60)
	left(day(50, 2), "canary-a", 500)
	first := left(day(50, 3), "nord", 60)
	s.control(day(50, 3).Add(2*time.Second), evidence.AuditEntry{Type: evidence.EntryAlertRaised}, evidence.Alert{ID: "s1", Kind: "export.spike"})
	left(day(50, 4), "nord", 60)
	s.control(day(51), evidence.AuditEntry{Type: evidence.EntryAlertResolved}, map[string]any{"id": "s1", "resolution": "meant"})
	left(day(60), "nord", 60)
	second := left(day(60, 1), "nord", 60)
	s.now = day(93)
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindExportSpikes]
	if len(e.Population.Items) != 2 {
		t.Fatalf("%d spikes, want 2: %+v", len(e.Population.Items), e.Population.Items)
	}
	want(t, item(t, e, entry{index: first}.id()), map[string]any{"rows": 120, "limit": 100, "alert_id": "s1", "alert_delay_s": 2.0})
	want(t, item(t, e, entry{index: second}.id()), map[string]any{"rows": 120, "alert_id": "", "alert_delay_s": nil})
}

func TestTheLayoutNamesWhatIsShared(t *testing.T) {
	s := story(t)
	e := collectFrom(t, s, Config{})[KindLayout]
	want(t, item(t, e, "nord"), map[string]any{"logs": 1, "origin": "example.com/test/nord", "origin_shared": false, "shared_folders": "[journal]", "devices": 2, "foreign": "[]"})
	s.event(day(92), "nord", "stranger")
	s.checkpoint()
	e = collectFrom(t, s, Config{})[KindLayout]
	want(t, item(t, e, "nord"), map[string]any{"devices": 3, "foreign": "[stranger/g1]"})
}

func TestAStatusPageIsHeldAgainstTheAlertsAndTheRegistry(t *testing.T) {
	s := story(t)
	s.device("sued", "s1", "active", "sha256:cc")
	s.control(day(90), evidence.AuditEntry{Type: evidence.EntryAlertRaised, Tenant: "nord"}, evidence.Alert{ID: "a9", Kind: "device.silent"})
	s.checkpoint()
	want(t, item(t, collectFrom(t, s, Config{})[KindStatusPages], "nord"), map[string]any{
		"page": true, "devices": 2, "foreign_devices": "[]", "missing_devices": "[]", "missing_silences": "[a9]", // a1 ended weeks before
	})
	s.status = map[string]any{"devices": []any{map[string]any{"device": "s1"}}, "silences": []any{map[string]any{"alert": "a9"}}}
	want(t, item(t, collectFrom(t, s, Config{})[KindStatusPages], "nord"), map[string]any{
		"foreign_devices": "[s1]", "missing_devices": "[m1 m2]", "missing_silences": "[]",
	})
	s.tenants = append(s.tenants, "ghost")
	if e := collectFrom(t, s, Config{})[KindStatusPages]; e.Completeness.State != evidence.Incomplete {
		t.Error("a tenant that the log never added leaves no gap")
	}
}

func TestBindingsAreThoseOfTheLog(t *testing.T) {
	s := story(t)
	issued := evidence.AuditEntry{Type: evidence.EntryDeviceIssued, Tenant: "sued", Device: "s1", Generation: 1}
	s.control(day(60), issued, evidence.Credential{Fingerprint: "sha256:aa"})
	issued.Type, issued.Tenant, issued.Device = evidence.EntryDeviceRotated, "nord", "m1"
	s.control(day(61), issued, map[string]any{"credential": evidence.Credential{Fingerprint: "sha256:aa"}, "replaces": "sha256:00"})
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindBindings]
	want(t, item(t, e, "nord/m1/g1"), map[string]any{"bound_tenant": "nord", "ended_at": "", "credential_tenants": "[nord sued]"})
	want(t, item(t, e, "nord/m2/g1"), map[string]any{"bound_by": "ben", "ended_why": "revoked", "credential_tenants": "[]"})
}

func TestRoleChangesTellWhoConsented(t *testing.T) {
	s := newServed(t)
	add := func(at time.Time, actor, name string, roles ...string) int64 {
		e := by(evidence.EntryOperatorAdded, actor, "admin")
		e.Target = name
		return s.control(at, e, evidence.Operator{Name: name, Roles: roles})
	}
	first := add(day(1), "anna", "anna", "admin")
	carla := add(day(2), "anna", "carla", "approver")
	dora := add(day(3), "anna", "dora", "exporter")
	add(day(4), "anna", "dora", "exporter") // another certificate
	change := func(at time.Time, typ, actor string, data map[string]any) int64 {
		return s.control(at, by(typ, actor, "approver"), data)
	}
	ask := map[string]any{"id": "c1", "name": "dora", "roles": []string{"exporter", "provisioner"}}
	change(day(5), "role.change-requested", "anna", ask)
	approved := change(day(6), "role.change-approved", "carla", map[string]any{"id": "c1", "name": "dora", "roles": []string{"exporter", "provisioner"}})
	change(day(6, 1), "role.change-requested", "anna", map[string]any{"id": "c2", "name": "dora", "roles": []string{"admin"}})
	change(day(6, 2), "role.change-declined", "carla", map[string]any{"id": "c2", "name": "dora", "roles": []string{"admin"}})
	changed := change(day(6, 3), evidence.EntryRoleChanged, "anna", map[string]any{"name": "dora", "roles": []string{"exporter", "auditor"}})
	removed := by(evidence.EntryOperatorRemoved, "anna", "admin")
	removed.Target = "dora"
	gone := s.control(day(7), removed, evidence.Operator{Name: "dora", Roles: []string{"exporter", "auditor"}})
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindRoleChanges]
	if len(e.Population.Items) != 6 {
		t.Fatalf("%d changes, want 6: %+v", len(e.Population.Items), e.Population.Items)
	}
	of := func(index int64) map[string]any { return item(t, e, entry{index: index}.id()) }
	want(t, of(first), map[string]any{"first": true, "others": 0})
	want(t, of(carla), map[string]any{"first": false, "others": 0, "gained": "[approver]"})
	want(t, of(dora), map[string]any{"others": 1, "approver": "", "gained": "[exporter]"})
	want(t, of(approved), map[string]any{"requester": "anna", "approver": "carla", "gained": "[provisioner]", "before": "[exporter]", "others": 1})
	want(t, of(changed), map[string]any{"approver": "", "gained": "[auditor]", "lost": "[provisioner]"})
	want(t, of(gone), map[string]any{"gained": "[]", "lost": "[exporter auditor]", "after": "[]", "reason": "as agreed"})
}

// Who held a role is told by every entry that sets roles.
func TestARoleIsHeldFromTheEntryThatGaveIt(t *testing.T) {
	r := &run{}
	add := func(typ, target, data string) entry {
		e := entry{index: int64(len(r.control)), AuditEntry: evidence.AuditEntry{Type: typ, Target: target, Data: []byte(data)}}
		r.control = append(r.control, e)
		return e
	}
	var held []bool
	ask := func() { held = append(held, r.heldRole("dora", "approver", entry{index: int64(len(r.control))})) }
	add(evidence.EntryOperatorAdded, "dora", `{"name":"dora","roles":["auditor"]}`)
	add(evidence.EntryRoleRequested, "role-1", `{"id":"role-1","name":"dora","roles":["approver","auditor"]}`)
	ask()
	add(evidence.EntryRoleApproved, "role-1", `{"id":"role-1","name":"dora","roles":["approver","auditor"]}`)
	ask()
	add(evidence.EntryRoleChanged, "dora", `{"name":"dora","roles":["auditor"]}`)
	ask()
	add(evidence.EntryRoleChanged, "dora", `{"name":"dora","roles":["approver"]}`)
	add(evidence.EntryOperatorRemoved, "dora", `{"name":"dora","roles":["approver"]}`)
	ask()
	if got := fmt.Sprint(held); got != "[false true false false]" {
		t.Errorf("held: %s", got)
	}
}
