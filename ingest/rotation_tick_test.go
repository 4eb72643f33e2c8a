package ingest

import (
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestATickMissesNoCredentialDuty: a tick leaves out the look at all credentials
// where nothing changed and no time has come. After each thing that can matter,
// and a tick, a look that is forced finds nothing left to do.
func TestATickMissesNoCredentialDuty(t *testing.T) {
	r := newRig(t, allowTokens, func(c *Config) {
		c.Certificates = CertificatePolicy{Device: 60 * day, Operator: 3650 * day, Server: 3650 * day}
		c.Rotation.DueBefore = 15 * day
		c.Heartbeat.DefaultInterval = 10_000 * day
		c.Approvals.RequestValid = 10_000 * day
	})
	r.tenant("nord")
	r.tenant("sued")
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	openDue := func(fleet string) (out []AlertRecord) {
		for _, a := range r.s.listAlerts() {
			if a.ResolvedAt == nil && strings.HasPrefix(a.ID, fleetName{"nord", fleet}.dueAlert()) {
				out = append(out, a)
			}
		}
		return out
	}
	after := func(what string) {
		t.Helper()
		r.tick()
		r.tick()
		did := r.s.led.Size(controlLog)
		r.s.rotations = rotationsSeen{}
		r.tick()
		if r.s.led.Size(controlLog) != did {
			e := r.since(did)
			t.Errorf("after %s the ticks missed %s %s", what, e[0].Type, e[0].Data)
		}
	}
	in := func(fleet string) func(*DeviceRequest) { return func(d *DeviceRequest) { d.Fleet = fleet } }
	a := r.enrol("nord", "a", in("fa"))
	r.enrol("nord", "b", in("fb"))
	after("two enrolments")
	r.clock.add(time.Hour)
	c := r.enrol("nord", "c", in("two"))
	r.clock.add(time.Hour)
	r.enrol("nord", "d", in("two"))
	text := r.tokenDevice("nord", "tok")
	after("more enrolments")
	r.send(r.deviceClient(a), r.line(1, 1))
	fresh, until := r.renew(a, "a")
	after("a renewal")
	r.clock.add(until.Sub(r.clock.now()) - 1)
	after("the moment before the old one's end")
	r.clock.add(1)
	after("the old one's end")
	text, err := r.withToken(text.Token, nil).RenewToken(ctx)
	must(err)
	r.clock.add(day)
	after("the end of a token's overlap")
	due := func(d string) time.Time {
		all := r.s.st.device("nord", d).record.Credentials
		return r.s.cfg().Rotation.dueFrom(&all[len(all)-1])
	}
	to := func(at time.Time) { r.clock.add(at.Sub(r.clock.now())) }
	to(due("b"))
	after("the first became due")
	r.clock.add(-time.Minute)
	after("the clock went back")
	r.clock.add(time.Minute)
	after("the time came again")
	to(due("d"))
	after("others became due")
	r.renew(c, "c")
	after("the first of a fleet renewed, and another one is due")
	must(r.admin("ben").ResolveAlert(ctx, openDue("two")[0].ID, "known", ""))
	after("somebody resolved the alert though another one is due")
	must(r.admin("ben").ResolveAlert(ctx, openDue("two")[0].ID, "known", ""))
	after("somebody resolved that too")
	if n := len(openDue("two")); n != 0 {
		t.Errorf("%d alerts of what somebody knows", n)
	}
	_, err = r.admin("carla").QuarantineDevice(ctx, "nord", "b", "why", "")
	must(err)
	after("a quarantine")
	_, err = r.admin("carla").ReleaseDevice(ctx, "nord", "b", "why", "")
	must(err)
	after("a release")
	if n := len(openDue("fb")); n != 1 {
		t.Errorf("%d alerts of one that is due and was let in again", n)
	}
	_, err = r.admin("ben").TransferDevice(ctx, "nord", "b", TransferRequest{ToTenant: "sued", Reason: "sold"})
	must(err)
	_, err = r.admin("carla").ApproveTransfer(ctx, "nord", "b", "")
	must(err)
	after("a transfer")
	change := func(due time.Duration) {
		t.Helper()
		cfg := *r.s.cfg()
		cfg.Rotation.DueBefore = due
		next, err := r.s.prepare(cfg)
		must(err)
		_, err = r.s.enforce(next, evidence.AuditEntry{Reason: "test"})
		must(err)
	}
	to(due("a"))
	after("a successor became due")
	change(day)
	after("a policy by which nothing is due")
	change(15 * day)
	after("the policy before")
	r.restart()
	after("a restart")
	_, err = r.admin("ben").RetireDevice(ctx, "nord", "d", "scrapped", "")
	must(err)
	after("a retirement")
	to(fresh.Leaf.NotAfter)
	after("a certificate's last second")
	r.clock.add(1)
	after("a certificate's end")
	to(text.NotAfter.Add(-1))
	after("the moment before a token's end")
	r.clock.add(1)
	after("a token's end")
	_, err = r.admin("carla").RevokeDevice(ctx, "nord", "a", "why", "")
	must(err)
	after("a revocation")
	r.clock.add(400 * day)
	after("years")
	r.restart()
	after("another restart")
	done := map[string]int{}
	for _, typ := range []string{evidence.EntryCredentialDead, evidence.EntryAlertRaised, evidence.EntryAlertResolved} {
		for _, e := range r.control(typ) {
			if e.Actor == nil {
				done[typ]++
			}
		}
	}
	if done[evidence.EntryCredentialDead] < 4 || done[evidence.EntryAlertRaised] < 3 || done[evidence.EntryAlertResolved] < 2 {
		t.Errorf("there was too little to do for this to show anything: %v", done)
	}
}
