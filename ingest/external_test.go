package ingest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// expect asks for a device and has it approved; the code goes unused.
func (r *rig) expect(tenant, device string) {
	r.t.Helper()
	r.approved(tenant, device)
}

func TestExternalCASpeaksForItsDevicesAlone(t *testing.T) {
	clock := newClock()
	m, stranger := newMaker(t, clock.now), newMaker(t, clock.now)
	r := newRig(t, func(c *Config) {
		c.ExternalCAs = []ExternalCA{{Name: "pki", File: m.file, Tenants: []string{"acme"}, URI: "urn:pki:{device}", Devices: map[string]string{"SN 17": "acme/m17"}}}
	})
	r.tenant("acme")
	r.tenant("rival")
	for _, d := range []string{"m1", "m2", "m17"} {
		r.expect("acme", d)
	}
	r.expect("rival", "m1")

	good := m.certificate("whatever", "urn:pki:m1")
	r.send(r.deviceClient(good), r.line(1, 1))
	got := r.control(evidence.EntryDeviceIssued)
	var cred evidence.Credential
	if err := unmarshal(got[0].Data, &cred); err != nil || len(got) != 1 || got[0].Tenant != "acme" || got[0].Device != "m1" || cred.Issuer != "pki" || cred.Fingerprint != fingerprintOf(good.Leaf.Raw) {
		t.Fatalf("%+v %+v %v", got, cred, err)
	}
	r.send(r.deviceClient(m.certificate("SN 17")), r.line(1, 1)) // by the map of common names
	bad := func(name string, pair *tls.Certificate) {
		t.Run(name, func(t *testing.T) {
			_, err := r.deviceClient(pair).Send(t.Context(), []byte(r.line(2, 1)))
			refusedWith(t, err, CodeUnknownCredential)
		})
	}
	bad("nobody", m.certificate("SN 18"))
	bad("a common name that looks like a device", m.certificate("m2"))
	bad("two devices", m.certificate("SN 17", "urn:pki:m2"))
	bad("a device that nobody requested", m.certificate("", "urn:pki:m99"))
	bad("a second one, older than the first", m.certificate("", "urn:pki:m1")) // same time, so not newer
	bad("a URI of ours", m.certificate("", "urn:trustpack:device:acme:m2:1"))
	r.recorded(CodeUnknownCredential)
	if n := len(r.control(evidence.EntryDeviceIssued)); n != 2 {
		t.Fatalf("%d devices were issued to", n)
	}

	// A stranger's CA does not get through the handshake.
	if _, err := r.deviceClient(stranger.certificate("", "urn:pki:m2")).Send(t.Context(), []byte(r.line(1, 1))); err == nil {
		t.Fatal("a stranger's certificate was taken")
	}

	// Never an operator, not even with an operator's names.
	_, admin := r.s.Addrs()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca)
	for name, pair := range map[string]*tls.Certificate{"intruder": m.certificate("root.admin", "urn:trustpack:operator:root.admin"), "device": good} {
		// The port does not ask for certificates of this CA; the client shows it all the same.
		show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, GetClientCertificate: show, Time: r.clock.now}}}
		resp, err := client.Get("https://" + admin + "/v1/admin/devices")
		if err == nil {
			_ = resp.Body.Close()
			t.Fatalf("%s: a certificate of an external CA got through the admin port's handshake: %s", name, resp.Status)
		}
		if !strings.Contains(err.Error(), "tls: ") {
			t.Fatalf("%s: %v", name, err)
		}
	}

	// The CA renews: the new one takes the old one's place after the overlap.
	r.clock.add(time.Hour)
	clock.add(3 * time.Hour)
	next := m.certificate("", "urn:pki:m1")
	r.clock.add(2 * time.Hour)
	r.send(r.deviceClient(next), r.line(5, 1))
	r.send(r.deviceClient(good), r.line(6, 1))
	if n := len(r.control(evidence.EntryDeviceRotated)); n != 1 {
		t.Fatalf("%d rotations", n)
	}
	r.clock.add(r.config.Rotation.Overlap)
	_, err := r.deviceClient(good).Send(t.Context(), []byte(r.line(7, 1)))
	refusedWith(t, err, CodeExpiredCredential)

	r.restart()
	r.send(r.deviceClient(next), r.line(8, 1))
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", "m1", "x", ""); err != nil {
		t.Fatal(err)
	}
	_, err = r.deviceClient(next).Send(t.Context(), []byte(r.line(9, 1)))
	refusedWith(t, err, CodeRevoked)
}

func TestExternalCATenants(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	r := newRig(t, func(c *Config) {
		c.ExternalCAs = []ExternalCA{{Name: "pki", File: m.file, Tenants: []string{"acme", "beta"}, URI: "urn:pki:{tenant}:{device}"}}
	})
	for _, id := range []string{"acme", "beta", "rival"} {
		r.tenant(id)
		r.expect(id, "m1")
	}
	r.send(r.deviceClient(m.certificate("", "urn:pki:acme:m1")), r.line(1, 1))
	r.send(r.deviceClient(m.certificate("", "urn:pki:beta:m1")), r.line(1, 1))
	_, err := r.deviceClient(m.certificate("", "urn:pki:rival:m1")).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeUnknownCredential)
	for _, x := range r.recorded(CodeUnknownCredential) {
		if !strings.Contains(x.Detail, "tenant for which its CA may not speak") {
			t.Fatalf("%+v", x)
		}
	}
}

// TestExternalCADropped: a configuration without the CA shuts its devices out,
// on connections that are open too.
func TestExternalCADropped(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	declared := []ExternalCA{{Name: "pki", File: m.file, Tenants: []string{"acme"}, URI: "urn:pki:{device}"}}
	r := newRig(t, func(c *Config) { c.ExternalCAs = declared })
	r.tenant("acme")
	r.expect("acme", "m1")
	c := r.deviceClient(m.certificate("", "urn:pki:m1"))
	r.send(c, r.line(1, 1))
	next := r.config
	next.ExternalCAs = nil
	set, err := r.s.prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.enforce(set, evidence.AuditEntry{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeUnknownCredential)
	// Declared again under another certificate, it is another CA.
	next.ExternalCAs = []ExternalCA{declared[0]}
	next.ExternalCAs[0].File = newMaker(t, clock.now).file
	if set, err = r.s.prepare(next); err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.enforce(set, evidence.AuditEntry{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeUnknownCredential)
}

// TestExternalCRL: a serial number on the CA's list is refused and recorded, at
// the next request of an open connection, which a tick cuts.
func TestExternalCRL(t *testing.T) {
	for _, policy := range []string{"", ExpiredCRLRefuse, ExpiredCRLAccept} {
		t.Run("expired "+policy, func(t *testing.T) {
			clock := newClock()
			m := newMaker(t, clock.now)
			file := filepath.Join(t.TempDir(), "pki.crl")
			write := func(der []byte) {
				t.Helper()
				if err := os.WriteFile(file, der, 0o600); err != nil {
					t.Fatal(err)
				}
				clock.add(time.Second)
				at := clock.now() // another list is another file time, however fast this is
				if err := os.Chtimes(file, at, at); err != nil {
					t.Fatal(err)
				}
			}
			start := clock.now()
			write(m.list(1, start, start.Add(day)))
			r := newRig(t, func(c *Config) {
				c.ExternalCAs = []ExternalCA{{Name: "pki", File: m.file, Tenants: []string{"acme"}, URI: "urn:pki:{device}", CRL: file, ExpiredCRL: policy}}
			})
			r.tenant("acme")
			r.expect("acme", "m1")
			r.expect("acme", "m2")
			one, two := m.certificate("", "urn:pki:m1"), m.certificate("", "urn:pki:m2")
			open := r.deviceClient(one)
			r.send(open, r.line(1, 1))

			tick := func() {
				t.Helper()
				if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
					t.Fatal(err)
				}
			}
			// What the CA did not sign, and what is older, changes nothing.
			write(newMaker(t, clock.now).revoke(9, start, start.Add(day), one.Leaf.SerialNumber))
			tick()
			r.send(open, r.line(2, 1))
			write(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: m.revoke(2, start, start.Add(day), one.Leaf.SerialNumber, big.NewInt(7))}))
			tick()
			// The tick has cut the connection, which the client may notice only as it
			// sends; a new one is answered.
			_, err := open.Send(t.Context(), []byte(r.line(3, 1)))
			if p := new(Problem); errors.As(err, &p) || err == nil {
				refusedWith(t, err, CodeRevoked)
			}
			_, err = r.deviceClient(one).Send(t.Context(), []byte(r.line(3, 1)))
			refusedWith(t, err, CodeRevoked)
			write(m.list(1, start, start.Add(day)))
			tick()
			_, err = r.deviceClient(one).Send(t.Context(), []byte(r.line(3, 1)))
			refusedWith(t, err, CodeRevoked) // a list that goes back takes nothing back
			for _, x := range r.recorded(CodeRevoked) {
				if x.Fingerprint != fingerprintOf(one.Leaf.Raw) {
					t.Fatalf("%+v", x)
				}
			}
			r.send(r.deviceClient(two), r.line(1, 1))

			r.clock.add(2 * day)
			tick()
			_, err = r.deviceClient(two).Send(t.Context(), []byte(r.line(2, 1)))
			if policy == ExpiredCRLAccept && err != nil {
				t.Fatal(err)
			} else if policy != ExpiredCRLAccept {
				refusedWith(t, err, CodeCRLExpired)
				r.recorded(CodeCRLExpired)
			}
			_, err = r.deviceClient(one).Send(t.Context(), []byte(r.line(3, 1)))
			refusedWith(t, err, CodeRevoked) // for good, whatever the policy
			alerts := r.alertsOf(AlertCRLExpired)
			if len(alerts) != 1 || alerts[0].ResolvedAt != nil {
				t.Fatalf("%+v", alerts)
			}
			tick()
			write(m.revoke(3, start.Add(2*day), start.Add(3*day), one.Leaf.SerialNumber))
			tick()
			r.send(r.deviceClient(two), r.line(4, 1))
			if alerts := r.alertsOf(AlertCRLExpired); len(alerts) != 1 || alerts[0].ResolvedAt == nil {
				t.Fatalf("%+v", alerts)
			}
		})
	}
}

func (r *rig) alertsOf(kind string) []AlertRecord {
	var out []AlertRecord
	for _, a := range r.s.listAlerts() {
		if a.Kind == kind {
			out = append(out, a)
		}
	}
	return out
}

func TestExternalCAsThatCannotStand(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	ok := ExternalCA{Name: "pki", File: m.file, Tenants: []string{"acme"}, URI: "urn:pki:{device}"}
	if err := validateExternals([]ExternalCA{ok}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ExternalCA){
		"no name": func(c *ExternalCA) { c.Name = "" }, "no file": func(c *ExternalCA) { c.File = "" }, "no tenant": func(c *ExternalCA) { c.Tenants = nil },
		"bad tenant": func(c *ExternalCA) { c.Tenants = []string{"A B"} }, "no mapping": func(c *ExternalCA) { c.URI = "" },
		"no device": func(c *ExternalCA) { c.URI = "urn:pki" }, "two devices": func(c *ExternalCA) { c.URI = "{device}:{device}" },
		"several tenants": func(c *ExternalCA) { c.Tenants = []string{"a", "b"} }, "grown together": func(c *ExternalCA) { c.URI = "urn:{tenant}{device}" },
		"device of another": func(c *ExternalCA) { c.Devices = map[string]string{"x": "rival/m1"} }, "no type": func(c *ExternalCA) { c.Bootstrap = true },
		"bad policy": func(c *ExternalCA) { c.ExpiredCRL = "maybe" },
	} {
		c := ok
		change(&c)
		if err := validateExternals([]ExternalCA{c}); err == nil || !strings.HasPrefix(err.Error(), "ingest.external_cas[0]") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := validateExternals([]ExternalCA{ok, ok}); err == nil {
		t.Error("two of one name")
	}
	leaf := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(leaf, certPEM(m.certificate("x").Leaf.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]ExternalCA{
		"absent": {Name: "x", File: leaf + "x"}, "no CA": {Name: "x", File: leaf}, "no CRL": {Name: "x", File: m.file, CRL: leaf + "x"}, "not a CRL": {Name: "x", File: m.file, CRL: leaf},
	} {
		if _, err := loadExternals([]ExternalCA{c}, clock.now()); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
