package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestProvisioningNeedsAnotherPerson(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.CriticalFleets = []string{"grid"} })
	r.tenant("nord")
	ctx := t.Context()
	if _, err := r.admin("root.admin").AddOperator(ctx, "both", []string{RoleProvisioner, RoleApprover}, ""); err != nil {
		t.Fatal(err)
	}
	pair, err := r.admin("root.admin").AddOperator(ctx, "both", []string{RoleProvisioner, RoleApprover}, "again")
	if err != nil {
		t.Fatal(err)
	}
	r.pairs["both"] = pair
	ask := DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Fleet: "grid", Reason: "new site"}
	if _, err := r.admin("both").RequestDevice(ctx, ask); err != nil {
		t.Fatal(err)
	}
	_, _, err = r.admin("both").ApproveDevice(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeApprovalSelf)
	_, _, err = r.admin("ben").ApproveDevice(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeForbidden)
	if code, _, err := r.admin("carla").ApproveDevice(ctx, "nord", "m-1", ""); err != nil || code != "" {
		t.Fatalf("one approval of two gave %q, %v", code, err)
	}
	_, _, err = r.admin("carla").ApproveDevice(ctx, "nord", "m-1", "")
	refusedWith(t, err, CodeApprovalSelf)
	code, expires, err := r.admin("dora").ApproveDevice(ctx, "nord", "m-1", "")
	if err != nil || len(code) != 32 || !expires.Equal(r.clock.now().Add(day)) {
		t.Fatalf("%q %v %v", code, expires, err)
	}
	for data, err := range r.s.led.Entries(controlLog, 0, 1<<62) {
		if err != nil || strings.Contains(string(data), code) {
			t.Fatalf("the code itself is in the log: %v", err)
		}
	}
	if n := len(r.control(evidence.EntryAdminRefused)); n != 3 {
		t.Errorf("%d refused calls in the log, want 3", n)
	}
	c := r.deviceClient(nil)
	_, err = c.Enrol(ctx, "nord", "m-1", code[1:]+code[:1]+"A")
	refusedWith(t, err, CodeEnrolBadCode)
	_, err = c.Enrol(ctx, "nord", "m-2", code)
	refusedWith(t, err, CodeEnrolBadCode)
	if _, err = c.Enrol(ctx, "nord", "m-1", code); err != nil {
		t.Fatal(err)
	}
	_, err = c.Enrol(ctx, "nord", "m-1", code)
	refusedWith(t, err, CodeEnrolBadCode)
}

func TestEnrolmentCodeExpires(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	codes := map[string]string{}
	for _, d := range []string{"just", "late"} {
		if _, err := r.admin("ben").RequestDevice(t.Context(), DeviceRequest{Tenant: "nord", Device: d, Type: "meter", Reason: "x"}); err != nil {
			t.Fatal(err)
		}
		code, _, err := r.admin("carla").ApproveDevice(t.Context(), "nord", d, "")
		if err != nil {
			t.Fatal(err)
		}
		codes[d] = code
	}
	r.clock.add(day - 1)
	if _, err := r.deviceClient(nil).Enrol(t.Context(), "nord", "just", codes["just"]); err != nil {
		t.Error(err)
	}
	r.clock.add(1)
	_, err := r.deviceClient(nil).Enrol(t.Context(), "nord", "late", codes["late"])
	refusedWith(t, err, CodeEnrolBadCode)
}

func TestPermissionTable(t *testing.T) {
	for _, p := range Permissions() {
		for _, role := range Roles() {
			_, ok := allowed(&operator{Operator: evidence.Operator{Roles: []string{role}}}, p.Action)
			if ok != slices.Contains(p.Roles, role) {
				t.Errorf("%s by %s: %v", p.Action, role, ok)
			}
		}
	}
	if _, ok := allowed(&operator{Operator: evidence.Operator{Roles: Roles()}}, "no.such.action"); ok {
		t.Error("an action that is not in the table is allowed")
	}
	if role, _ := allowed(&operator{Operator: evidence.Operator{Roles: []string{RoleAdmin}}}, "device.approve"); role != "" {
		t.Error("an admin approves without the approver's role")
	}
}

func TestOperators(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	_, err := r.admin("ben").AddOperator(ctx, "mallory", []string{RoleAdmin}, "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("root.admin").AddOperator(ctx, "root.admin", []string{RoleApprover}, "")
	refusedWith(t, err, CodeApprovalSelf)
	_, err = r.admin("root.admin").AddOperator(ctx, "x", []string{"king"}, "")
	refusedWith(t, err, CodeInvalid)
	refusedWith(t, r.admin("root.admin").RemoveOperator(ctx, "root.admin", "x"), CodeConflict)
	ben := r.admin("ben")
	if _, err := ben.Devices(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := r.admin("root.admin").RemoveOperator(ctx, "ben", "left"); err != nil {
		t.Fatal(err)
	}
	_, err = r.admin("ben").Devices(ctx, "")
	refusedWith(t, err, CodeUnknownCredential)
	_, err = r.admin("root.admin").CertifyOperator(ctx, "weak", []string{RoleAuditor}, weakCSR(t), "")
	refusedWith(t, err, CodeEnrolBadCSR)
	ops, err := r.admin("erin").Operators(ctx)
	if err != nil || len(ops) != 5 {
		t.Errorf("%v %v", ops, err)
	}
}

func weakCSR(t *testing.T) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestCSRKeys(t *testing.T) {
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyType(weak.Public()); err == nil {
		t.Error("P-224 is taken")
	}
	good, csr, err := NewCSR("x")
	if err != nil {
		t.Fatal(err)
	}
	if kind, err := keyType(good.Public()); err != nil || kind != "ecdsa-p256" {
		t.Error(kind, err)
	}
	block, _ := pem.Decode(csr)
	block.Bytes[len(block.Bytes)-1] ^= 1
	if _, err := parseCSR(pem.EncodeToMemory(block)); err == nil {
		t.Error("a request with a broken signature is taken")
	}
	if _, err := parseCSR(append(csr, csr...)); err == nil {
		t.Error("two requests are taken for one")
	}
}

// TestRevocationIsEffectiveOnOpenConnections revokes a device while it holds
// an HTTP/2 connection, a kept HTTP/1.1 one, and one with a request half sent.
func TestRevocationIsEffectiveOnOpenConnections(t *testing.T) {
	for _, act := range []string{"revoke", "quarantine"} {
		t.Run(act, func(t *testing.T) {
			r := newRig(t)
			r.tenant("nord")
			pair := r.enrol("nord", "m-1")
			bystander := r.deviceClient(r.enrol("nord", "m-2"))
			h2 := r.deviceClient(pair)
			r.send(h2, r.line(1, 1))
			kept, half := r.dial(pair), r.dial(pair)
			if status := kept.post(t, r.line(2, 1)); status != 202 {
				t.Fatal(status)
			}
			if _, err := io.WriteString(half.conn, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
			decide, code := r.admin("carla").RevokeDevice, CodeRevoked
			if act == "quarantine" {
				decide, code = r.admin("carla").QuarantineDevice, CodeQuarantined
			}
			rec, err := decide(t.Context(), "nord", "m-1", "stolen", "T-7")
			if err != nil {
				t.Fatal(err)
			}
			if rec.Revocation == nil && rec.Quarantine == nil {
				t.Error("the record does not show the decision")
			}
			kept.ended(t)
			half.ended(t)
			size := r.s.led.Size("nord")
			_, err = r.deviceClient(pair).Send(t.Context(), []byte(r.line(3, 1)))
			refusedWith(t, err, code)
			cut := r.control(evidence.EntrySessionsCut)
			var d struct {
				Index       int64   `json:"decision_index"`
				Connections int     `json:"connections"`
				Elapsed     float64 `json:"elapsed_ms"`
			}
			if len(cut) != 1 || unmarshal(cut[0].Data, &d) != nil || d.Connections != 3 || d.Elapsed <= 0 || d.Elapsed > 5000 {
				t.Errorf("%+v %+v", cut, d)
			}
			entry, err := r.s.led.Entry(controlLog, d.Index)
			if err != nil || !strings.Contains(string(entry), `"ticket":"T-7"`) {
				t.Errorf("decision: %s %v", entry, err)
			}
			refusals := r.control(evidence.EntryRefusal)
			if len(refusals) != 1 || refusals[0].Device != "m-1" || refusals[0].Generation != 1 {
				t.Errorf("first refused attempt: %+v", refusals)
			}
			if r.s.led.Size("nord") != size {
				t.Error("something was stored after the decision")
			}
			if rec := r.send(bystander, r.line(1, 1)); rec.Accepted != 1 {
				t.Error("another device is affected")
			}
			if act == "quarantine" {
				if _, err := r.admin("carla").ReleaseDevice(t.Context(), "nord", "m-1", "found", "T-7"); err != nil {
					t.Fatal(err)
				}
				if rec := r.send(r.deviceClient(pair), r.line(3, 1)); rec.Accepted != 1 {
					t.Error("released, and still shut out")
				}
			}
		})
	}
}

func TestNewGenerationInheritsNothing(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	old := r.enrol("nord", "m-1")
	r.send(r.deviceClient(old), r.line(1, 1))
	_, err := r.admin("ben").RequestDevice(t.Context(), DeviceRequest{Tenant: "nord", Device: "m-1", Type: "meter", Reason: "again"})
	refusedWith(t, err, CodeConflict)
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "lost", "T-1"); err != nil {
		t.Fatal(err)
	}
	fresh := r.enrol("nord", "m-1")
	if rec := r.send(r.deviceClient(fresh), r.line(1, 2)); rec.Accepted != 1 {
		t.Errorf("the number of the old generation counts for the new: %+v", rec)
	}
	_, err = r.deviceClient(old).Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeRevoked)
	devices, err := r.admin("erin").Devices(t.Context(), "nord")
	if err != nil || len(devices) != 2 || devices[1].Generation != 2 || devices[1].Accepted != 1 {
		t.Errorf("%+v %v", devices, err)
	}
	if uri := fresh.Leaf.URIs[0].String(); uri != "urn:trustpack:device:nord:m-1:2" {
		t.Error(uri)
	}
}

func TestDeviceHasNoBusinessAtTheAdminPort(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.pairs["device"] = r.enrol("nord", "m-1")
	_, err := r.admin("device").Devices(t.Context(), "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("nobody").Devices(t.Context(), "")
	refusedWith(t, err, CodeNoCertificate)
	_, err = r.deviceClient(r.pairs["ben"]).Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeUnknownCredential)
}

// foreign makes a certificate for the same names signed by another key.
func foreign(t *testing.T, now time.Time) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "m-1", Organization: []string{"nord"}}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestHandshakesThatAreRefusedAndRecorded(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	addr, _ := r.s.Addrs()
	forced := func(pair *tls.Certificate) error {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }})
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // with TLS 1.3 the refusal comes after the handshake
			c.Close()
		}
		return err
	}
	if err := forced(foreign(t, r.clock.now())); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("a foreign certificate: %v", err)
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		c, err := tls.Dial("tcp", addr, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version, InsecureSkipVerify: true})
		if err == nil {
			t.Errorf("%s is taken", tls.VersionName(version))
			c.Close()
		}
		r.clock.add(2 * time.Second)
	}
	if c, err := tls.Dial("tcp", addr, &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}); err == nil {
		t.Error("a CBC suite is taken")
		c.Close()
	}
	res, err := http.Post("http://"+addr+"/v1/telemetry", "application/x-ndjson", strings.NewReader(r.line(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("plaintext: %s", res.Status)
	}
	r.clock.add(366 * day)
	if err := forced(pair); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("an expired certificate: %v", err)
	}
	got := map[string]int{}
	for _, e := range r.control(evidence.EntryRefusal) {
		var f evidence.Refusal
		if err := unmarshal(e.Data, &f); err != nil {
			t.Fatal(err)
		}
		got[f.Code]++
	}
	for code, want := range map[Code]int{CodeUnknownCredential: 1, CodeTLSVersion: 2, CodeTLSCipher: 1, CodePlaintext: 1, CodeExpiredCredential: 1} {
		if got[string(code)] != want {
			t.Errorf("%s: %d entries, want %d (%v)", code, got[string(code)], want, got)
		}
	}
	if r.s.led.Size("nord") != 0 {
		t.Error("something was stored")
	}
}

func TestCertificateExpiresOnAnOpenConnection(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Certificates.Device = time.Hour })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.clock.add(time.Hour)
	r.send(c, r.line(1, 1))
	r.clock.add(time.Second)
	_, err := c.Send(t.Context(), []byte(r.line(2, 1)))
	refusedWith(t, err, CodeExpiredCredential)
}

func TestConnectionsPerDevice(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 2 })
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	// The server knows a connection's credential when it has answered on it:
	// with TLS 1.3 a client's handshake ends before the server's.
	for seq := range 2 {
		if status := r.dial(pair).post(t, r.line(seq+1, 1)); status != 202 {
			t.Errorf("connection %d: %d", seq+1, status)
		}
	}
	c := r.dial(pair)
	if s := c.post(t, r.line(3, 1)); s != 429 {
		t.Errorf("third connection: %d", s)
	}
}

func TestEnrolmentAttemptsAreLimitedBySource(t *testing.T) {
	r := newRig(t)
	c := r.deviceClient(nil)
	g := r.s.sourceLimits.of("127.0.0.1")
	if ok, _, _ := g.take(r.clock.now(), enrolRate().Burst-1, enrolRate()); !ok {
		t.Fatal("the burst is refused")
	}
	_, err := c.Enrol(t.Context(), "nord", "m-1", "x")
	refusedWith(t, err, CodeEnrolBadCode)
	_, err = c.Enrol(t.Context(), "nord", "m-1", "x")
	if p := refusedWith(t, err, CodeRateSource); p.RetryAfter() != time.Second {
		t.Error(p.RetryAfter())
	}
	r.clock.add(time.Second)
	_, err = c.Enrol(t.Context(), "nord", "m-1", "x")
	refusedWith(t, err, CodeEnrolBadCode)
	r.clock.add(time.Hour)
	r.s.sourceLimits.forget(r.clock.now())
	if len(r.s.sourceLimits.by) != 0 {
		t.Error("a full limiter is kept")
	}
}
