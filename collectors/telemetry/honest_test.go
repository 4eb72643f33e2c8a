package telemetry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// A tenant whose name sorts before "control" is listed, and would be read,
// before the log that says which of its devices were shut out.
func TestEventsAfterARevocationAreCountedForEveryTenant(t *testing.T) {
	s := story(t)
	revoked := evidence.AuditEntry{
		Type: evidence.EntryRevoked, Tenant: "acme", Device: "m1", Generation: 1, Reason: "stolen", Ticket: "SEC-8",
		Actor: &evidence.Actor{Name: "carla", Role: "approver"},
	}
	s.event(day(50, 1), "acme", "m1")
	at := s.control(day(50, 2), revoked, nil)
	s.event(day(50, 3), "acme", "m1")
	s.event(day(50, 4), "acme", "m1")
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	r := item(t, got[KindRevocations], entry{index: at}.id())
	if r["accepted_after"] != 2 {
		t.Errorf("%v events were accepted after the revocation, want 2", r["accepted_after"])
	}
}

// What a kind is judged by must be known, or the kind has a gap: without the
// configuration no device would be silent and no fleet critical.
func TestWhatAKindLeansOnIsAGapWhereItFails(t *testing.T) {
	for path, kinds := range map[string][]evidence.Kind{
		"/v1/admin/config":  {KindConfig, KindProvisioning, KindSilences, KindExportPermissions, KindExportSpikes},
		"/v1/admin/devices": {KindDevices, KindSilences, KindBindings, KindTransfers, KindLayout, KindStatusPages},
		"/v1/admin/logs":    fromControlLog,
	} {
		t.Run(path, func(t *testing.T) {
			s := story(t)
			if path == "/v1/admin/logs" {
				s.dead = nil // none listed, and none that could be counted
			}
			s.broken[path] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", http.StatusServiceUnavailable) }
			incomplete(t, collectFrom(t, s, Config{}), "503", kinds...)
		})
	}
}

func TestALogThatIsNotListedIsAGap(t *testing.T) {
	s := story(t)
	s.hide = "nord"
	s.dead = nil
	incomplete(t, collectFrom(t, s, Config{}), "lists no log of that name",
		KindRevocations, KindSilences, KindBooks, KindDeadLetters, KindPayloadDays, KindCheckpoints, KindLayout, KindTransfers)
	s.hide = "control"
	for _, k := range append([]evidence.Kind{KindCheckpoints}, fromControlLog...) {
		if e := collectFrom(t, s, Config{})[k]; e.Completeness.State != evidence.Incomplete {
			t.Errorf("%s is %s without a control log", k, e.Completeness.State)
		}
	}
}

// Where no key is pinned for a tenant's log, what was counted in it says so.
func TestTheNoteSaysUnderWhoseKeyATenantsLogWasRead(t *testing.T) {
	got := collectFrom(t, story(t), Config{})
	for _, k := range []evidence.Kind{KindRevocations, KindSilences, KindBooks, KindDeadLetters} {
		if note := got[k].Completeness.Note; !strings.Contains(note, "of example.com/test/nord were read") || !strings.Contains(note, "the ingest itself names") {
			t.Errorf("%s notes %q", k, note)
		}
	}
}

func TestTheFirstPlaceOfACredentialCounts(t *testing.T) {
	s := story(t)
	dev := evidence.AuditEntry{Tenant: "nord", Device: "m1", Generation: 1, Type: evidence.EntryDeviceActivated}
	s.control(day(60), dev, map[string]any{"fingerprint": "sha256:aa", "source": "192.0.2.1"})
	dev.Type = evidence.EntryCredentialSeen
	s.control(day(61), dev, map[string]any{"fingerprint": "sha256:aa", "source": "192.0.2.2"})
	s.control(day(62), dev, map[string]any{"fingerprint": "sha256:aa", "source": "192.0.2.1"})
	s.checkpoint()
	places := fmt.Sprint(item(t, collectFrom(t, s, Config{})[KindDevices], "nord/m1/g1")["sources"])
	if want := "[map[fingerprint:sha256:aa source:192.0.2.1] map[fingerprint:sha256:aa source:192.0.2.2]]"; places != want {
		t.Errorf("the credential was seen from %s, want %s", places, want)
	}
}

// The collector's configuration says nothing of a sample; the log does.
func TestASampleCannotPassForTheRealThing(t *testing.T) {
	for name, s := range map[string]*served{
		"log":    newServed(t, "sample=true clock=simulated"),
		"ingest": newServed(t),
		"real":   newServed(t),
	} {
		t.Run(name, func(t *testing.T) {
			s.control(day(1), evidence.AuditEntry{Type: evidence.EntryIngestStarted}, nil)
			s.checkpoint()
			if name == "ingest" {
				s.broken["/v1/admin/config"] = func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write([]byte(`{"sample":true,"clock":"simulated","config":{}}`))
				}
			}
			wantOrigin, wantClock := evidence.OriginSample, evidence.ClockSimulated
			if name == "real" {
				wantOrigin, wantClock = evidence.OriginLive, evidence.ClockSystem
			}
			s.collectorClock = evidence.ClockSystem
			for k, e := range collectFrom(t, s, Config{}) {
				if e.Provenance.Origin != wantOrigin || e.Provenance.Clock != wantClock {
					t.Errorf("%s is of origin %s and clock %s, want %s and %s", k, e.Provenance.Origin, e.Provenance.Clock, wantOrigin, wantClock)
				}
			}
		})
	}
}

// The registry and the operators are the ingest's word; the log holds it to it.
func TestTheRegistryIsReconciledWithTheLog(t *testing.T) {
	t.Run("left out", func(t *testing.T) {
		s := story(t)
		s.devices = s.devices[:1]
		s.broken["/v1/admin/operators"] = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"operators":[]}`)) }
		got := collectFrom(t, s, Config{})
		gapsSay(t, got[KindDevices], "nord/m2/g1", "lacks it")
		gapsSay(t, got[KindOperators], "operator carla", "does not list it")
	})
	t.Run("made up", func(t *testing.T) {
		s := story(t)
		s.device("nord", "m3", "active", "sha256:cc")
		s.broken["/v1/admin/operators"] = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"operators":[{"name":"carla","roles":["admin"]},{"name":"mallory","roles":["admin"]}]}`))
		}
		got := collectFrom(t, s, Config{})
		gapsSay(t, got[KindDevices], "nord/m3/g1", "no request for it")
		gapsSay(t, got[KindOperators], "operator carla", "lists the roles admin and control entry 0 gave approver")
		gapsSay(t, got[KindOperators], "operator mallory", "never added it")
	})
	t.Run("removed", func(t *testing.T) {
		s := story(t)
		s.control(day(91), evidence.AuditEntry{Type: evidence.EntryOperatorRemoved, Target: "carla"}, evidence.Operator{Name: "carla"})
		s.checkpoint()
		gapsSay(t, collectFrom(t, s, Config{})[KindOperators], "operator carla", "removed it")
	})
}

func gapsSay(t *testing.T, e evidence.Evidence, what, reason string) {
	t.Helper()
	for _, g := range e.Completeness.Gaps {
		if g.What == what && strings.Contains(g.Reason, reason) && e.Completeness.State == evidence.Incomplete {
			return
		}
	}
	t.Errorf("%s is %s with the gaps %v, want one of %q that says %q", e.Kind, e.Completeness.State, e.Completeness.Gaps, what, reason)
}

// What was critical, or silent, by the rules of its time stays so when the
// rules are loosened afterwards.
func TestRulesOfTheirTime(t *testing.T) {
	s := newServed(t)
	apply := func(at time.Time, version int, config string) {
		s.control(at, evidence.AuditEntry{Type: evidence.EntryConfigApplied, Target: "config", Result: "done"},
			evidence.ConfigApplied{Version: version, Config: json.RawMessage(config)})
	}
	apply(day(-1), 1, `{"heartbeat":{"default_interval":"6h0m0s","missed":2},"approvals":{"critical_fleets":["core","vault"]}}`)
	dev := evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: "m1", Generation: 1}
	s.control(day(0), dev, evidence.Device{Fleet: "vault", Type: "meter"})
	s.event(day(1), "nord", "m1")
	s.event(day(1, 18), "nord", "m1")
	apply(day(2), 2, `{"heartbeat":{"default_interval":"2400h0m0s","missed":2},"approvals":{"critical_fleets":[]}}`)
	s.broken["/v1/admin/config"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"config":{"heartbeat":{"default_interval":"2400h0m0s","missed":2},"approvals":{"critical_fleets":[]}}}`))
	}
	s.event(day(2, 1), "nord", "m1")
	s.device("nord", "m1", "active")
	s.checkpoint()
	got := collectFrom(t, s, Config{})
	if p := item(t, got[KindProvisioning], "nord/m1/g1"); p["critical"] != true {
		t.Errorf("a device of what was a critical fleet is %v", p)
	}
	if sil := got[KindSilences].Population.Items; len(sil) != 1 || sil[0].Attributes["since"] != ts(day(1)) || sil[0].Attributes["threshold_s"] != 43200.0 {
		t.Errorf("silences are %v, want the one of 18 hours under the rule of 12", sil)
	}
}

// A device that came into service and never sent an event is silent too.
func TestADeviceThatNeverReportedIsSilent(t *testing.T) {
	s := story(t)
	dev := evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "nord", Device: "m4", Generation: 1}
	s.control(day(50), dev, evidence.Device{Type: "meter"})
	dev.Type = evidence.EntryDeviceActivated
	s.control(day(51), dev, map[string]any{"fingerprint": "sha256:dd", "source": "192.0.2.9"})
	s.checkpoint()
	s.device("nord", "m4", "active", "sha256:dd")
	at := item(t, collectFrom(t, s, Config{})[KindSilences], "nord/m4/"+ts(day(51)))
	if at["until"] != "" || at["alert_id"] != "" || at["duration_s"] != quarter.To.Sub(day(51)).Seconds() {
		t.Errorf("silence is %v", at)
	}
}

// Devices of two tenants may have one name; the alert of one is not the other's.
func TestAnotherTenantsAlertIsNotThisDevices(t *testing.T) {
	s := story(t)
	s.control(day(1), evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Tenant: "sued", Device: "m1", Generation: 1}, evidence.Device{Type: "meter"})
	s.event(day(39, 18), "sued", "m1")
	s.event(day(43, 6), "sued", "m1")
	s.control(day(41, 8), evidence.AuditEntry{Type: evidence.EntryAlertRaised, Tenant: "nord"},
		evidence.Alert{ID: "a2", Kind: "device.silent", Since: day(39, 18), Devices: []string{"m1"}})
	s.device("sued", "m1", "active")
	s.checkpoint()
	if at := item(t, collectFrom(t, s, Config{})[KindSilences], "sued/m1/"+ts(day(39, 18))); at["alert_id"] != "" {
		t.Errorf("the silence is answered by the alert %v", at["alert_id"])
	}
}

// A registry of several pages is read to its end, and is none where a page
// fails.
func TestTheRegistryIsReadPageByPage(t *testing.T) {
	s := story(t)
	s.page = 1
	got := collectFrom(t, s, Config{})[KindDevices]
	if got.Completeness.State != evidence.Complete || len(got.Population.Items) != 2 || len(got.Raw) != 2 {
		t.Errorf("%s with %d devices and %d raw replies, want complete with 2 and 2", got.Completeness.State, len(got.Population.Items), len(got.Raw))
	}
	n := 0
	s.broken["/v1/admin/devices"] = func(w http.ResponseWriter, _ *http.Request) {
		if n++; n > 1 {
			http.Error(w, "x", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"devices":[{"tenant":"nord","id":"m1","generation":1}],"next":"1"}`))
	}
	got = collectFrom(t, s, Config{})[KindDevices]
	if got.Completeness.State != evidence.Incomplete || len(got.Population.Items) != 0 {
		t.Errorf("%s with %d devices although a page failed", got.Completeness.State, len(got.Population.Items))
	}
}
