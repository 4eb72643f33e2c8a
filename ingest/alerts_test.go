package ingest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestAlertIsAcknowledgedAndResolvedByPeople(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Heartbeat.DefaultInterval = time.Minute })
	ctx := t.Context()
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1))
	r.clock.add(time.Hour)
	if err := r.s.Tick(ctx, r.clock.now()); err != nil {
		t.Fatal(err)
	}
	admin := r.admin("carla")
	alerts, err := admin.Alerts(ctx)
	if err != nil || len(alerts) != 1 {
		t.Fatal(alerts, err)
	}
	id := alerts[0].ID
	refusedWith(t, r.admin("erin").AcknowledgeAlert(ctx, id, "", ""), CodeForbidden)
	refusedWith(t, admin.AcknowledgeAlert(ctx, "none", "", ""), CodeNotFound)
	if err := admin.AcknowledgeAlert(ctx, id, "", "T-1"); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, admin.AcknowledgeAlert(ctx, id, "", ""), CodeConflict)
	refusedWith(t, admin.ResolveAlert(ctx, id, " ", ""), CodeInvalid)
	if err := r.admin("root.admin").ResolveAlert(ctx, id, "battery changed", "T-1"); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, admin.ResolveAlert(ctx, id, "again", ""), CodeConflict)
	alerts, err = admin.Alerts(ctx)
	if a := alerts[0]; err != nil || a.AcknowledgedBy != "carla" || a.ResolvedBy != "root.admin" || a.Resolution != "battery changed" {
		t.Errorf("%+v %v", a, err)
	}
	// The silence goes on, and somebody has dealt with it.
	r.clock.add(time.Hour)
	if err := r.s.Tick(ctx, r.clock.now()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.control(evidence.EntryAlertRaised)); n != 1 {
		t.Errorf("%d alerts for one silence", n)
	}
	r.sameAsFold()
}

func TestEveryRefusalWaitsForItsEntry(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.clock.add(2 * time.Second)
		before := len(r.control(evidence.EntryRefusal))
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if err := r.s.refusals.add(refused{code: CodeNoCertificate, source: "192.0.2.1"}); err != nil {
					t.Error(err)
				}
				if len(r.control(evidence.EntryRefusal)) == before {
					t.Error("answered before anything of it was durable")
				}
			})
		}
		wg.Wait()
		if err := r.s.refusals.flush(true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSourcesOfACredentialAreRecordedAndBounded(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	r.send(r.deviceClient(pair), r.line(1, 1))
	d := r.s.st.device("nord", "m-1")
	from := func(source string) {
		t.Helper()
		c := &call{path: "/v1/telemetry", sess: &session{fingerprint: fingerprintOf(pair.Certificate[0]), source: source}, print: fingerprintOf(pair.Certificate[0]), d: d, t: r.s.st.tenant("nord")}
		if err := r.s.noteContact(c); err != nil {
			t.Fatal(err)
		}
	}
	from("127.0.0.1")
	if n := len(r.control(evidence.EntryCredentialSeen)); n != 0 {
		t.Errorf("%d entries for the address of the activation", n)
	}
	for i := range maxSources + 10 {
		from(fmt.Sprintf("192.0.2.%d", i))
		from(fmt.Sprintf("192.0.2.%d", i))
	}
	if n := len(r.control(evidence.EntryCredentialSeen)); n != maxSources-1 {
		t.Errorf("%d entries, want %d beside the activation", n, maxSources-1)
	}
	r.sameAsFold()
}
