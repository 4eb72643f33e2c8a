package telemetry

import (
	"testing"
	"time"

	"trustpack/evidence"
)

func of(device string) evidence.AuditEntry {
	return evidence.AuditEntry{Tenant: "nord", Device: device, Generation: 1, Result: "done"}
}

// The old credential of m1 dies in time and is refused; that of m2 is never
// retired, and is seen and used on.
func TestRotationsFollowTheOldCredential(t *testing.T) {
	s := story(t)
	rotate := func(at time.Time, device, old, fresh string) int64 {
		e := of(device)
		e.Type = evidence.EntryDeviceIssued
		s.control(at.Add(-48*time.Hour), e, evidence.Credential{Fingerprint: old, NotBefore: at.Add(-48 * time.Hour)})
		e.Type = evidence.EntryDeviceRotated
		return s.control(at, e, map[string]any{
			"credential": evidence.Credential{Fingerprint: fresh, Method: "x509", NotBefore: at}, "replaces": old, "old_until": at.Add(24 * time.Hour), "by": "device",
		})
	}
	then := func(at time.Time, device, typ string, data any) {
		e := of(device)
		e.Type = typ
		s.control(at, e, data)
	}
	good := rotate(day(60), "m1", "sha256:a1", "sha256:a2")
	then(day(60, 1), "m1", evidence.EntryCredentialSeen, map[string]string{"fingerprint": "sha256:a1", "source": "192.0.2.1"})
	then(day(61).Add(3*time.Second), "m1", evidence.EntryCredentialDead, map[string]string{"fingerprint": "sha256:a1", "why": "rotated"})
	then(day(62), "m1", evidence.EntryRefusal, evidence.Refusal{Code: "auth.expired", Fingerprint: "sha256:a1"})
	then(day(62, 1), "m1", evidence.EntryCredentialSeen, map[string]string{"fingerprint": "sha256:a2", "source": "192.0.2.2"})
	bad := rotate(day(63), "m2", "sha256:b1", "sha256:b2")
	then(day(65), "m2", evidence.EntryCredentialSeen, map[string]string{"fingerprint": "sha256:b1", "source": "192.0.2.3"})
	last := rotate(day(92).Add(-time.Hour), "m1", "sha256:a2", "sha256:a3")
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindRotations]
	at := func(index int64) map[string]any { return item(t, e, entry{index: index}.id()) }
	want(t, at(good), map[string]any{
		"by": "device", "replaces": "sha256:a1", "overlap_s": 86400.0, "old_age_days": 2.0, "over": true, "retired_at": ts(day(61).Add(3 * time.Second)),
		"retired_delay_s": 3.0, "seen_after": 0, "first_refused_at": ts(day(62)),
	})
	want(t, at(bad), map[string]any{"retired_at": "", "retired_delay_s": nil, "seen_after": 1, "first_refused_at": ""})
	want(t, at(last), map[string]any{"over": false})
}

func TestSupportGrantsHoldWhatWasDoneUnderThem(t *testing.T) {
	s := story(t)
	step := func(at time.Time, typ, actor string, data map[string]any) {
		e := by(typ, actor, "support")
		e.Tenant, e.Ticket = "nord", "SUP-1"
		s.control(at, e, data)
	}
	act := func(at time.Time, grant, tenant, typ, result string, data any) string {
		e := by(typ, "sam", "support")
		e.Tenant, e.Grant, e.Result = tenant, grant, result
		return entry{index: s.control(at, e, data)}.id()
	}
	grant := map[string]any{"id": "g1", "operator": "sam", "tenant": "nord", "actions": []string{"read"}, "minutes": 60}
	step(day(50), evidence.EntryGrantRequested, "sam", grant)
	early := act(day(50).Add(time.Minute), "g1", "nord", evidence.EntrySupportRead, "done", map[string]string{"action": "read"})
	step(day(50, 1), evidence.EntryGrantApproved, "carla", map[string]any{"id": "g1", "from": day(50, 1), "until": day(50, 2)})
	good := act(day(50, 1).Add(time.Minute), "g1", "nord", evidence.EntrySupportRead, "done", map[string]string{"action": "read"})
	away := act(day(50, 1).Add(2*time.Minute), "g1", "sued", evidence.EntrySupportRead, "done", map[string]string{"action": "read"})
	more := act(day(50, 1).Add(3*time.Minute), "g1", "nord", evidence.EntryQuarantined, "done", nil)
	act(day(50, 1).Add(4*time.Minute), "g1", "nord", evidence.EntryAdminRefused, "refused", nil)
	late := act(day(50, 2), "g1", "nord", evidence.EntrySupportRead, "done", map[string]string{"action": "read"})
	step(day(50, 2), evidence.EntryGrantEnded, "", map[string]any{"id": "g1", "why": "expired"})
	grant["id"] = "g2"
	step(day(51), evidence.EntryGrantRequested, "sam", grant)
	step(day(51, 1), evidence.EntryGrantDeclined, "carla", map[string]any{"id": "g2"})
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	g := item(t, got[KindSupportGrants], "g1")
	want(t, g, map[string]any{
		"operator": "sam", "requester": "sam", "approver": "carla", "ticket": "SUP-1", "approved": true, "over": true, "ended_why": "expired",
		"until": ts(day(50, 2)), "refused": 1, "acts": []any{early, good, away, more, late}, "late": []any{early, late}, "elsewhere": []any{away}, "beyond": []any{more},
	})
	want(t, item(t, got[KindSupportGrants], "g2"), map[string]any{"approved": false, "approver": "", "ended_why": "declined", "acts": "[]"})
	want(t, item(t, got[KindAdminActions], good), map[string]any{"grant": "g1", "role": "support"})
}

func TestBreakGlassIsToldWithItsAlertAndItsEnd(t *testing.T) {
	s := story(t)
	open := func(at time.Time, id string, alert bool) {
		if alert {
			s.control(at, evidence.AuditEntry{Type: evidence.EntryAlertRaised}, evidence.Alert{ID: "al-" + id, Kind: "operator.break-glass"})
		}
		s.control(at, by(evidence.EntryBreakGlassOpened, "anna", "admin"), map[string]any{"id": id, "operator": "anna", "role": "approver", "until": at.Add(30 * time.Minute)})
	}
	act := func(at time.Time, id string) string {
		e := by(evidence.EntryReleased, "anna", "approver")
		e.Grant = id
		return entry{index: s.control(at, e, nil)}.id()
	}
	open(day(50), "b1", true)
	done := act(day(50).Add(time.Minute), "b1")
	s.control(day(50).Add(10*time.Minute), by(evidence.EntryBreakGlassClosed, "anna", "admin"), map[string]any{"id": "b1", "why": "closed"})
	late := act(day(50).Add(11*time.Minute), "b1")
	open(day(51), "b2", false)
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindBreakGlass]
	want(t, item(t, e, "b1"), map[string]any{
		"operator": "anna", "role": "approver", "minutes": 30.0, "alert_id": "al-b1", "why": "closed", "over": true, "acts": []any{done, late}, "late": []any{late},
	})
	want(t, item(t, e, "b2"), map[string]any{"alert_id": "", "closed_at": "", "acts": "[]"})
}

// A transfer makes the device at its new tenant; the log holds no request for
// it but that of the transfer.
func TestATransferIsTheRequestOfTheNewBinding(t *testing.T) {
	s := story(t)
	s.tenant(day(40), "sued")
	step := func(at time.Time, typ, actor string, data map[string]any) int64 {
		e := of("m1")
		e.Type, e.Actor, e.Reason, e.Ticket = typ, &evidence.Actor{Name: actor, Role: "approver"}, "the building was sold", "OPS-9"
		return s.control(at, e, data)
	}
	step(day(50), evidence.EntryTransferAsked, "ben", map[string]any{"id": "t1", "to_tenant": "sued", "site": "west", "fleet": "core"})
	step(day(50, 1), evidence.EntryTransferConsent, "carla", map[string]any{"id": "t1"})
	moved := step(day(50, 2), evidence.EntryTransferred, "dora", map[string]any{"id": "t1", "to_tenant": "sued", "to_generation": 1, "type": "meter", "site": "west", "fleet": "core"})
	issued := of("m1")
	issued.Type, issued.Tenant = evidence.EntryDeviceIssued, "sued"
	s.control(day(50, 3), issued, evidence.Credential{Fingerprint: "sha256:cc"})
	s.devices = nil
	s.device("nord", "m1", "retired", "sha256:aa")
	s.device("nord", "m2", "revoked", "sha256:bb")
	s.device("sued", "m1", "issued", "sha256:cc")
	s.devices[2]["site"] = "west"
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	for _, k := range []evidence.Kind{KindDevices, KindProvisioning, KindBindings, KindTransfers} {
		if gaps := got[k].Completeness.Gaps; len(gaps) > 0 {
			t.Errorf("gaps of %s: %v", k, gaps)
		}
	}
	want(t, item(t, got[KindTransfers], entry{index: moved}.id()), map[string]any{
		"requester": "ben", "from": "nord/m1/g1", "from_state": "retired", "to": "sued/m1/g1", "to_state": "issued", "to_site": "west", "ticket": "OPS-9",
		"accepted_after": 84, // the story's device goes on
	})
	if n := len(item(t, got[KindTransfers], entry{index: moved}.id())["approvals"].([]any)); n != 2 {
		t.Errorf("%d approvals, want 2", n)
	}
	p := item(t, got[KindProvisioning], "sued/m1/g1")
	want(t, p, map[string]any{"tenant": "sued", "requester": "ben", "critical": true, "issued_at": ts(day(50, 3)), "reason": "the building was sold", "state": "issued"})
	if n := len(p["approvals"].([]any)); n != 2 {
		t.Errorf("%d approvals of the new binding, want 2", n)
	}
	want(t, item(t, got[KindBindings], "nord/m1/g1"), map[string]any{"ended_why": "transferred", "bound_tenant": "nord"})
	want(t, item(t, got[KindBindings], "sued/m1/g1"), map[string]any{"bound_tenant": "sued", "bound_site": "west", "site": "west", "bound_by": "dora"})
}

// A session gives its own roles, for its time; what is done in it is told by
// the credential.
func TestLoginsGiveRolesForATime(t *testing.T) {
	s := story(t)
	begin := func(at time.Time, print string, roles ...string) int64 {
		return s.control(at, by(evidence.EntryOperatorLogin, "gina", "approver"), map[string]any{
			"name": "gina", "roles": roles, "groups": []string{"g"}, "issuer": "https://id.example", "until": at.Add(8 * time.Hour), "fingerprint": print, "source": "192.0.2.1",
		})
	}
	act := func(at time.Time, print string) entry {
		e := by(evidence.EntryReleased, "gina", "approver")
		e.Actor.Credential, e.Time = print, at
		return entry{index: s.control(at, e, nil), AuditEntry: e}
	}
	first := begin(day(50), "sha256:s1", "approver")
	good := act(day(50, 1), "sha256:s1")
	late := act(day(50, 8), "sha256:s1")
	second := begin(day(51), "sha256:s2", "auditor")
	less := act(day(51, 1), "sha256:s2")
	s.control(day(51, 2), by(evidence.EntryOperatorLogout, "gina", "auditor"), map[string]any{"name": "gina", "fingerprint": "sha256:s2", "why": "logout"})
	gone := act(day(51, 3), "sha256:s2")
	other := act(day(52), "sha256:ff")
	s.checkpoint()
	e := collectFrom(t, s, Config{})[KindLogins]
	want(t, item(t, e, entry{index: first}.id()), map[string]any{"operator": "gina", "roles": "[approver]", "hours": 8.0, "acts": 2, "late": []any{late.id()}, "ended_at": ""})
	want(t, item(t, e, entry{index: second}.id()), map[string]any{"acts": 2, "late": []any{gone.id()}, "ended_why": "logout"})
	r := &run{}
	for i, data := range []string{
		`{"name":"gina","roles":["approver"],"until":"` + ts(day(50, 8)) + `","fingerprint":"sha256:s1"}`,
		`{"name":"gina","roles":["auditor"],"until":"` + ts(day(51, 8)) + `","fingerprint":"sha256:s2"}`,
	} {
		r.control = append(r.control, entry{index: int64(i), AuditEntry: evidence.AuditEntry{Type: evidence.EntryOperatorLogin, Data: []byte(data)}})
	}
	for _, x := range []struct {
		at   entry
		want bool
	}{{good, true}, {late, false}, {less, false}, {other, false}} {
		if got := r.heldRole("gina", "approver", x.at); got != x.want {
			t.Errorf("at %s with %s the role was held: %v, want %v", x.at.Time, x.at.Actor.Credential, got, x.want)
		}
	}
}
