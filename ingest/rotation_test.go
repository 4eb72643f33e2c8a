package ingest

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// renew has a device renew with the credential that it has.
func (r *rig) renew(old *tls.Certificate, device string) (*tls.Certificate, time.Time) {
	r.t.Helper()
	pair, until, err := r.deviceClient(old).Renew(r.t.Context(), device)
	if err != nil {
		r.t.Fatal(err)
	}
	return pair, until
}

func (r *rig) tick() {
	r.t.Helper()
	if err := r.s.Tick(r.t.Context(), r.clock.now()); err != nil {
		r.t.Fatal(err)
	}
}

// shown counts the open connections that showed the certificate.
func (r *rig) shown(pair *tls.Certificate) int {
	r.s.sessions.mu.Lock()
	defer r.s.sessions.mu.Unlock()
	return len(r.s.sessions.byKey[fingerprintOf(pair.Certificate[0])])
}

// TestRotationOverlaps: a device renews by itself; both credentials work until
// old_until and not one nanosecond longer, before any tick; the tick retires
// the old one and cuts its connection. A restart in between changes nothing.
func TestRotationOverlaps(t *testing.T) {
	for _, restart := range []bool{false, true} {
		r := newRig(t)
		r.tenant("nord")
		old := r.enrol("nord", "m-1")
		r.send(r.deviceClient(old), r.line(1, 1))
		fresh, until := r.renew(old, "m-1")
		if want := r.clock.now().Add(day); !until.Equal(want) {
			t.Fatalf("old_until is %v, want %v", until, want)
		}
		if restart {
			r.restart()
		}
		with, without := r.deviceClient(old), r.deviceClient(fresh)
		r.send(with, r.line(2, 1))
		r.send(without, r.line(3, 1))
		r.clock.add(until.Sub(r.clock.now()) - 1)
		r.tick()
		r.send(with, r.line(4, 1))
		r.clock.add(1)
		if restart {
			r.restart()
			with, without = r.deviceClient(old), r.deviceClient(fresh)
		}
		_, err := with.Send(t.Context(), []byte(r.line(5, 1)))
		refusedWith(t, err, CodeExpiredCredential)
		if _, _, err := with.Renew(t.Context(), "m-1"); refusedWith(t, err, CodeExpiredCredential) == nil {
			t.Fatal()
		}
		r.send(without, r.line(6, 1))
		if n := len(r.control(evidence.EntryCredentialDead)); n != 0 || r.shown(old) == 0 {
			t.Fatalf("%d entries and %d connections before the tick", n, r.shown(old))
		}
		r.tick()
		dead := r.control(evidence.EntryCredentialDead)
		if len(dead) != 1 || !strings.Contains(string(dead[0].Data), fingerprintOf(old.Certificate[0])) || !strings.Contains(string(dead[0].Data), whyRotated) || dead[0].Actor != nil {
			t.Errorf("retired: %+v", dead)
		}
		if n := r.shown(old); n != 0 {
			t.Errorf("%d connections of the old credential are open", n)
		}
		if r.shown(fresh) == 0 {
			t.Error("the new credential's connection was cut too")
		}
		r.tick()
		if n := len(r.control(evidence.EntryCredentialDead)); n != 1 {
			t.Errorf("%d entries for one end", n)
		}
		rotated := r.control(evidence.EntryDeviceRotated)
		var d rotatedData
		if err := unmarshal(rotated[0].Data, &d); err != nil || d.Replaces != fingerprintOf(old.Certificate[0]) || d.Credential.Fingerprint != fingerprintOf(fresh.Certificate[0]) || !d.OldUntil.Equal(until) || d.By != "device" {
			t.Errorf("%+v, %v", d, err)
		}
		got := r.s.st.recordOf(r.s.st.device("nord", "m-1")).Credentials
		if len(got) != 2 || !got[0].Ends.Equal(until) || got[0].Retired != whyRotated || !got[1].Ends.IsZero() || got[1].Retired != "" {
			t.Errorf("registry: %+v", got)
		}
		_, err = r.deviceClient(old).Send(t.Context(), []byte(r.line(7, 1)))
		refusedWith(t, err, CodeExpiredCredential)
		r.stop()
		same(t, "the ingest and its logs", r.foldCopy(), plainOf(r.s.st))
	}
}

// TestARequestDoesNotOutlastItsCredential: what was begun before old_until and
// would be taken after it is refused.
func TestARequestDoesNotOutlastItsCredential(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := r.enrol("nord", "m-1")
	r.send(r.deviceClient(old), r.line(1, 1))
	_, until := r.renew(old, "m-1")
	q := &hotRequests{h: &hot{s: r.s, port: r.s.port, sess: &session{s: r.s, listener: "public", source: "127.0.0.1", fingerprint: fingerprintOf(old.Certificate[0]), notAfter: r.clock.now().Add(9 * day)}}}
	c := &call{}
	r.s.enter(c, q.h.sess, "/v1/telemetry")
	if p := r.s.identify(c); p != nil {
		t.Fatal(p)
	}
	for _, left := range []time.Duration{1, 0} {
		b := r.s.batch(c)
		b.texts = []string{r.line(2, 1)}
		if p := r.s.scan(c, b); p != nil {
			t.Fatal(p)
		}
		b.by(c)
		r.clock.add(until.Sub(r.clock.now()) - left)
		err := r.s.take(b)
		if left > 0 && err != nil || left == 0 && refusedWith(t, err, CodeExpiredCredential) == nil {
			t.Errorf("%v before: %v", left, err)
		}
		b.release()
	}
	_, p := r.s.renewNow(c, wanted{method: MethodToken})
	refusedWith(t, asError(p), CodeExpiredCredential)
	r.clock.add(1)
	r.s.enter(c, q.h.sess, "/v1/telemetry")
	refusedWith(t, asError(r.s.identify(c)), CodeExpiredCredential)
}

// TestACredentialEndsToTheNanosecond, as whoever asks who it is learns.
func TestACredentialEndsToTheNanosecond(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := r.enrol("nord", "m-1")
	r.send(r.deviceClient(old), r.line(1, 1))
	_, until := r.renew(old, "m-1")
	sess := &session{s: r.s, listener: "public", source: "127.0.0.1", fingerprint: fingerprintOf(old.Certificate[0]), notAfter: r.clock.now().Add(9 * day)}
	for _, left := range []time.Duration{1, 0} {
		r.clock.add(until.Sub(r.clock.now()) - left)
		c := &call{}
		r.s.enter(c, sess, "/status")
		if p := r.s.identify(c); (p != nil) != (left == 0) {
			t.Errorf("%v before its end: %v", left, p)
		}
	}
}

func asError(p *Problem) error {
	if p == nil {
		return nil
	}
	return p
}

// TestRenewingAfterALostAnswer: the old credential renews again, what nobody
// got is retired at once, and the old one gains no time. Once the new one was
// used, the old one renews nothing any more.
func TestRenewingAfterALostAnswer(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := r.enrol("nord", "m-1")
	r.send(r.deviceClient(old), r.line(1, 1))
	lost, until := r.renew(old, "m-1")
	r.clock.add(time.Hour)
	fresh, again := r.renew(old, "m-1")
	if !again.Equal(until) {
		t.Errorf("the old credential lives until %v, before %v", again, until)
	}
	if got := r.shared(); len(got) != 0 {
		t.Errorf("a lost answer raised %+v", got)
	}
	_, err := r.deviceClient(lost).Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeExpiredCredential)
	r.send(r.deviceClient(fresh), r.line(2, 1))
	_, _, err = r.deviceClient(old).Renew(t.Context(), "m-1")
	refusedWith(t, err, CodeConflict)
	if got := r.shared(); len(got) != 1 || !strings.Contains(got[0].Detail, fingerprintOf(old.Certificate[0])) || !strings.Contains(got[0].Detail, "from 127.0.0.1 to be renewed") {
		t.Errorf("%+v", got)
	}
	r.clock.add(2 * day)
	if third, _ := r.renew(fresh, "m-1"); third == nil {
		t.Fatal()
	}
}

// TestRenewalsAreBounded: per device and day, and what ends long ago is dropped
// from the registry.
func TestRenewalsAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rotation.Overlap = time.Hour })
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	seq := 0
	for range 4 {
		n := 0
		for {
			seq++
			c := r.deviceClient(pair)
			r.send(c, r.line(seq, 1))
			next, _, err := c.Renew(t.Context(), "m-1")
			r.s.sessions.cut(fingerprintOf(pair.Certificate[0])) // else it were over its connections
			if err != nil {
				if p := refusedWith(t, err, CodeRateDevice); p.RetryAfter() == 0 {
					t.Error("no Retry-After")
				}
				break
			}
			pair, n = next, n+1
		}
		if n > maxRenewals {
			t.Fatalf("%d renewals in a day", n)
		}
		r.clock.add(2 * day)
		r.tick()
	}
	d := r.s.st.device("nord", "m-1")
	if n := len(d.record.Credentials); n != keptCredentials {
		t.Errorf("%d credentials are kept", n)
	}
	if n := len(r.s.st.deviceFor); n != keptCredentials {
		t.Errorf("%d fingerprints are known", n)
	}
	if n := len(d.seenFrom); n > keptCredentials || n == 0 {
		t.Errorf("%d of them have sources", n)
	}
	r.stop()
	same(t, "the ingest and its logs", r.foldCopy(), plainOf(r.s.st))
}

// TestRotationIsOrdered by an approver, who gets a code that serves once, while
// the old credential goes on; in a critical fleet it takes two.
func TestRotationIsOrdered(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.CriticalFleets = []string{"core"} })
	r.tenant("nord")
	old := r.enrol("nord", "m-1")
	r.send(r.deviceClient(old), r.line(1, 1))
	_, _, err := r.admin("ben").RotateDevice(t.Context(), "nord", "m-1", "why", "")
	refusedWith(t, err, CodeForbidden)
	_, _, err = r.admin("carla").RotateDevice(t.Context(), "nord", "m-1", "", "")
	refusedWith(t, err, CodeInvalid)
	_, _, err = r.admin("carla").RotateDevice(t.Context(), "nord", "m-2", "why", "")
	refusedWith(t, err, CodeNotFound)
	code, expires, err := r.admin("carla").RotateDevice(t.Context(), "nord", "m-1", "key may be known", "T-1")
	if err != nil || code == "" || !expires.Equal(r.clock.now().Add(day)) {
		t.Fatal(code, expires, err)
	}
	r.send(r.deviceClient(old), r.line(2, 1))
	fresh, err := r.deviceClient(nil).Enrol(t.Context(), "nord", "m-1", code)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.deviceClient(nil).Enrol(t.Context(), "nord", "m-1", code)
	refusedWith(t, err, CodeEnrolBadCode)
	r.send(r.deviceClient(old), r.line(3, 1))
	r.send(r.deviceClient(fresh), r.line(4, 1))
	if state := r.s.st.device("nord", "m-1").record.State; state != evidence.DeviceActive {
		t.Errorf("the device is %s", state)
	}
	r.clock.add(day)
	_, err = r.deviceClient(old).Send(t.Context(), []byte(r.line(5, 1)))
	refusedWith(t, err, CodeExpiredCredential)
	var o orderedData
	if e := r.control(evidence.EntryRotationOrdered); len(e) != 1 || unmarshal(e[0].Data, &o) != nil || o.Hash != evidence.SHA256Hex([]byte(code)) || e[0].Ticket != "T-1" {
		t.Errorf("%+v", e)
	}

	if _, err := r.admin("ben").RequestDevice(t.Context(), DeviceRequest{Tenant: "nord", Device: "k-1", Type: "meter", Fleet: "core", Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	_, _, err = r.admin("carla").RotateDevice(t.Context(), "nord", "k-1", "why", "")
	refusedWith(t, err, CodeConflict)
	for _, who := range []string{"carla", "dora"} {
		if code, _, err = r.admin(who).ApproveDevice(t.Context(), "nord", "k-1", "ok"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = r.deviceClient(nil).Enrol(t.Context(), "nord", "k-1", code); err != nil {
		t.Fatal(err)
	}
	order := func(who string) string {
		code, _, err := r.admin(who).RotateDevice(t.Context(), "nord", "k-1", "why", "")
		if err != nil {
			t.Fatal(who, err)
		}
		return code
	}
	if order("carla") != "" {
		t.Error("one approver alone rotated in a critical fleet")
	}
	_, _, err = r.admin("carla").RotateDevice(t.Context(), "nord", "k-1", "why", "")
	refusedWith(t, err, CodeApprovalSelf)
	r.restart()
	r.clock.add(day + 1)
	if order("dora") != "" {
		t.Error("a consent older than a code may be still counts")
	}
	if order("carla") == "" {
		t.Error("two approvers got no code")
	}
}

// TestARevokedDeviceRotatesNothing, nor does one in quarantine.
func TestARevokedDeviceRotatesNothing(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	r.send(r.deviceClient(pair), r.line(1, 1))
	code, _, err := r.admin("carla").RotateDevice(t.Context(), "nord", "m-1", "why", "")
	if err != nil {
		t.Fatal(err)
	}
	fresh, _ := r.renew(pair, "m-1")
	r.send(r.deviceClient(fresh), r.line(2, 1))
	if _, err := r.admin("carla").QuarantineDevice(t.Context(), "nord", "m-1", "why", ""); err != nil {
		t.Fatal(err)
	}
	if r.shown(pair)+r.shown(fresh) != 0 {
		t.Error("a quarantine cuts one credential and not the other")
	}
	_, err = r.deviceClient(nil).Enrol(t.Context(), "nord", "m-1", code)
	refusedWith(t, err, CodeEnrolBadCode)
	_, _, err = r.deviceClient(fresh).Renew(t.Context(), "m-1")
	refusedWith(t, err, CodeQuarantined)
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "why", ""); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*tls.Certificate{pair, fresh} {
		_, _, err = r.deviceClient(p).Renew(t.Context(), "m-1")
		refusedWith(t, err, CodeRevoked)
	}
	_, _, err = r.deviceClient(nil).Renew(t.Context(), "m-1")
	refusedWith(t, err, CodeNoCertificate)
}

// TestRotationIsDue: the list and the one alert a fleet, from the moment on in
// which a credential is due until none is.
func TestRotationIsDue(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Certificates = CertificatePolicy{Device: 60 * day, Operator: 3650 * day, Server: 3650 * day}
		c.Rotation.DueBefore = 15 * day
		c.Heartbeat.DefaultInterval = 1000 * day
	})
	r.tenant("nord")
	r.tenant("sued")
	pairs := map[string]*tls.Certificate{}
	for i, name := range []string{"a", "b", "c"} {
		fleet := []string{"f1", "f1", "f2"}[i]
		pairs[name] = r.enrol("nord", name, func(d *DeviceRequest) { d.Fleet = fleet })
		r.send(r.deviceClient(pairs[name]), r.line(1, 1))
		r.clock.add(day)
	}
	r.enrol("sued", "s")
	open := func() (out []AlertRecord) {
		r.tick()
		for _, a := range r.s.listAlerts() {
			if a.Kind == AlertRotationDue && a.ResolvedAt == nil {
				out = append(out, a)
			}
		}
		return out
	}
	due := func(tenant string) (out []string) {
		list, err := r.admin("erin").DueCredentials(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			out = append(out, c.Device+" "+itoa(int64(c.DaysLeft)))
		}
		return out
	}
	first := pairs["a"].Leaf.NotAfter.Add(-15 * day)
	r.clock.add(first.Sub(r.clock.now()) - 1)
	if a, d := open(), due(""); len(a) != 0 || len(d) != 0 {
		t.Fatalf("due before its time: %v %v", a, d)
	}
	r.clock.add(1)
	if a, d := open(), due(""); len(a) != 1 || !slices.Equal(d, []string{"a 15"}) || !a[0].Since.Equal(first) || a[0].Tenant != "nord" {
		t.Fatalf("%+v %v", a, d)
	}
	r.clock.add(2*day + time.Hour)
	if a, d := open(), due("nord"); len(a) != 2 || !slices.Equal(d, []string{"a 12", "b 13", "c 14"}) {
		t.Fatalf("%+v %v", a, d)
	}
	r.restart()
	if a := open(); len(a) != 2 {
		t.Fatalf("after a restart: %+v", a)
	}
	r.renew(pairs["c"], "c")
	if a, d := open(), due(""); len(a) != 1 || !slices.Equal(d, []string{"a 12", "b 13"}) {
		t.Fatalf("%+v %v", a, d)
	}
	r.clock.add(13 * day)
	if a, d := open(), due("nord"); len(a) != 2 || !slices.Equal(d, []string{"a -1", "b 0"}) { // one is of sued by now
		t.Fatalf("%+v %v", a, d)
	}
	var dead retiredData
	if e := r.control(evidence.EntryCredentialDead); len(e) != 2 || unmarshal(e[0].Data, &dead) != nil || dead.Why != whyExpired || dead.Fingerprint != fingerprintOf(pairs["a"].Certificate[0]) {
		t.Errorf("%+v", e)
	}
	r.renew(pairs["b"], "b")
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "a", "gone", ""); err != nil {
		t.Fatal(err)
	}
	if a, d := open(), due("nord"); len(a) != 1 || a[0].Tenant != "sued" || len(d) != 0 {
		t.Fatalf("%+v %v", a, d)
	}
	for _, e := range r.control(evidence.EntryAlertResolved) {
		if e.Actor != nil {
			t.Errorf("somebody resolved it: %+v", e)
		}
	}
	if n := len(r.control(evidence.EntryAlertRaised)); n != 3 {
		t.Errorf("%d alerts were raised", n)
	}
}

// TestShortCredentialsAreDueLate: one of a day is due for its last third.
func TestShortCredentialsAreDueLate(t *testing.T) {
	at := newClock().now()
	for life, want := range map[time.Duration]time.Duration{day: 8 * time.Hour, 365 * day: 30 * day, 90 * day: 30 * day, 60 * day: 20 * day} {
		c := evidence.Credential{NotBefore: at, NotAfter: at.Add(life)}
		if got := c.NotAfter.Sub(DefaultRotation().dueFrom(&c)); got != want {
			t.Errorf("one of %v is due for %v, want %v", life, got, want)
		}
	}
}

// BenchmarkCredentialDuties is what a tick costs to look at the credentials of
// 100,000 devices, none of which has ended or is due: after something changed,
// and where nothing did.
func BenchmarkCredentialDuties(b *testing.B) {
	r := newRig(b)
	r.tenant("nord")
	st, now := r.s.st, r.clock.now()
	st.mu.Lock()
	for i := range 100_000 {
		e := evidence.AuditEntry{Type: evidence.EntryDeviceRequested, Time: now, Tenant: "nord", Device: "d-" + itoa(int64(i)), Generation: 1}
		e.Data = raw(evidence.Device{Tenant: "nord", ID: e.Device, Generation: 1, Type: "meter", Fleet: "f" + itoa(int64(i%100)), State: evidence.DeviceRequested})
		if err := st.apply(0, &e); err != nil {
			b.Fatal(err)
		}
		e.Type, e.Data = evidence.EntryDeviceIssued, raw(evidence.Credential{Fingerprint: "sha256:" + e.Device, Method: MethodCertificate, NotBefore: now, NotAfter: now.Add(90 * day)})
		if err := st.apply(0, &e); err != nil {
			b.Fatal(err)
		}
	}
	st.mu.Unlock()
	for name, changed := range map[string]uint64{"changed": 1, "same": 0} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				st.credentials += changed
				if err := r.s.credentialDuties(now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
