package ingest

import (
	"crypto/x509"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// crl fetches the list as anybody does, and checks who signed it.
func (r *rig) crl() *x509.RevocationList {
	r.t.Helper()
	conn := r.estClient().connect()
	conn.c.base = strings.TrimSuffix(conn.c.base, "/.well-known/est")
	a := conn.do(http.MethodGet, crlPath, "", nil)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/pkix-crl" {
		r.t.Fatalf("status %d, %s: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	list, err := x509.ParseRevocationList(a.body)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(r.s.ca.issuer); err != nil {
		r.t.Fatal(err)
	}
	return list
}

func serials(list *x509.RevocationList) map[string]int {
	out := map[string]int{}
	for _, e := range list.RevokedCertificateEntries {
		out[e.SerialNumber.Text(16)] = e.ReasonCode
	}
	return out
}

// TestCRLHoldsWhatWasRevoked: devices and operators, while their certificates
// would still be good, and over a restart.
func TestCRLHoldsWhatWasRevoked(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	old, gone, stays, turned := r.enrol("acme", "old"), r.enrol("acme", "gone"), r.enrol("acme", "stays"), r.enrol("acme", "turned")
	first := r.crl()
	if len(first.RevokedCertificateEntries) != 0 || first.NextUpdate.Sub(first.ThisUpdate) != crlFor || first.Number == nil || len(first.AuthorityKeyId) == 0 {
		t.Fatalf("%+v", first)
	}
	if again := r.crl(); again.Number.Cmp(first.Number) != 0 {
		t.Fatal("another list, though nothing happened")
	}
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", "gone", "stolen", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin("carla").RetireDevice(t.Context(), "acme", "old", "worn out", ""); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{old.Leaf.SerialNumber.Text(16): crlCeased, gone.Leaf.SerialNumber.Text(16): 0}
	second := r.crl()
	if got := serials(second); len(got) != 2 || got[gone.Leaf.SerialNumber.Text(16)] != 0 || second.Number.Cmp(first.Number) <= 0 {
		t.Fatalf("%v after %v: %v", second.Number, first.Number, got)
	}
	if at := second.RevokedCertificateEntries[0].RevocationTime; !at.Equal(r.clock.now()) {
		t.Fatalf("revoked at %v", at)
	}

	// An operator who is removed, one who is given another certificate, and a
	// device whose certificate was replaced.
	ben := certOf(t, r.pairs["ben"].Certificate[0])
	dora := certOf(t, r.pairs["dora"].Certificate[0])
	if err := r.admin("root.admin").RemoveOperator(t.Context(), "ben", "left"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin("root.admin").AddOperator(t.Context(), "dora", []string{RoleApprover}, "lost her key"); err != nil {
		t.Fatal(err)
	}
	same := x509.CertificateRequest{RawSubject: turned.Leaf.RawSubject, URIs: turned.Leaf.URIs}
	key := estKey(t)
	r.estClient(withPair(turned)).connect().enrol("/simplereenroll", estCSR(t, key, same)).issued(t, key)
	if got := serials(r.crl()); len(got) != 4 {
		t.Fatalf("during the overlap: %v", got)
	}
	r.clock.add(r.config.Rotation.Overlap)
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	want[ben.SerialNumber.Text(16)], want[dora.SerialNumber.Text(16)], want[turned.Leaf.SerialNumber.Text(16)] = 0, 0, crlSuperseded
	third := r.crl()
	if got := serials(third); !sameSerials(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if !slices.IsSortedFunc(third.RevokedCertificateEntries, func(a, b x509.RevocationListEntry) int { return a.SerialNumber.Cmp(b.SerialNumber) }) {
		t.Error("in no order")
	}
	if _, is := serials(third)[stays.Leaf.SerialNumber.Text(16)]; is {
		t.Fatal("a living device's")
	}

	// A newer list without news, the same after a restart, and from the log alone.
	r.clock.add(crlAge)
	fourth := r.crl()
	r.restart()
	fifth := r.crl()
	if fourth.Number.Cmp(third.Number) <= 0 || fifth.Number.Cmp(fourth.Number) < 0 || !sameSerials(serials(fifth), want) {
		t.Fatalf("%v %v %v: %v", third.Number, fourth.Number, fifth.Number, serials(fifth))
	}
	r.stop()
	if err := os.RemoveAll(filepath.Join(r.dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	r.start()
	if got := serials(r.crl()); !sameSerials(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}

	// What is past its end leaves the list: devices' after 90 days, then operators'.
	later := func(d time.Duration) {
		t.Helper()
		r.clock.add(d)
		if err := r.s.renewCertificate(); err != nil {
			t.Fatal(err)
		}
	}
	later(100 * day)
	if got := serials(r.crl()); len(got) != 2 {
		t.Fatalf("after the devices' end: %v", got)
	}
	later(365 * day)
	if got := serials(r.crl()); len(got) != 0 {
		t.Fatalf("after all ends: %v", got)
	}
}

func sameSerials(a, b map[string]int) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, is := b[k]; !is || v != w {
			return false
		}
	}
	return true
}

func certOf(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCRLIsServedToReaders(t *testing.T) {
	r := newRig(t)
	conn := r.estClient().connect()
	conn.c.base = strings.TrimSuffix(conn.c.base, "/.well-known/est")
	conn.do(http.MethodPost, crlPath, "text/plain", []byte("x")).refused(t, http.StatusMethodNotAllowed, CodeMethod)
	for _, path := range []string{"/crl/", "/crl/x.crl", "/crl/issuing.crl/x", crlRootPath} {
		conn.do(http.MethodGet, path, "", nil).refused(t, http.StatusNotFound, CodeNotFound)
	}
}

// TestCRLIsWhereCertificatesSay: with a hostname configured, each certificate
// says where the list is, and there it is.
func TestCRLIsWhereCertificatesSay(t *testing.T) {
	bare := newRig(t)
	bare.tenant("acme")
	if got := bare.enrol("acme", "m1").Leaf.CRLDistributionPoints; len(got) != 0 {
		t.Fatalf("without a hostname: %v", got)
	}
	r := newRig(t, func(c *Config) { c.Hostnames = []string{"localhost"} })
	r.tenant("acme")
	points := r.enrol("acme", "m1").Leaf.CRLDistributionPoints
	if len(points) != 1 {
		t.Fatalf("%v", points)
	}
	conn := r.estClient().connect()
	conn.c.base = ""
	if a := conn.do(http.MethodGet, points[0], "", nil); a.status != http.StatusOK {
		t.Fatalf("%s: %d", points[0], a.status)
	}
}

// TestOpenSSLReadsTheCRL holds chain and lists to OpenSSL, with the root online
// and offline.
func TestOpenSSLReadsTheCRL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	for _, offline := range []bool{false, true} {
		r := newRig(t)
		if offline {
			r.stop()
			if _, err := TakeRootOffline(r.dir, OfflineOptions{To: filepath.Join(t.TempDir(), "away"), Now: r.clock.now}); err != nil {
				t.Fatal(err)
			}
			r.start()
		}
		r.tenant("acme")
		gone, stays := r.enrol("acme", "gone"), r.enrol("acme", "stays")
		if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", "gone", "stolen", ""); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		file := func(name string, data []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		root := file("root.pem", r.ca)
		crl := file("issuing.crl", r.crl().Raw)
		issuing := file("issuing.pem", certPEM(r.s.ca.issuer.Raw))
		run := func(args ...string) (string, error) {
			out, err := exec.Command(openssl, args...).CombinedOutput()
			return string(out), err
		}
		if out, err := run("crl", "-inform", "DER", "-in", crl, "-CAfile", issuing, "-noout", "-text", "-verify"); err != nil || !strings.Contains(out, "verify OK") ||
			!strings.Contains(strings.ToLower(strings.ReplaceAll(out, ":", "")), gone.Leaf.SerialNumber.Text(16)) {
			t.Fatalf("%v\n%s", err, out)
		}
		pem, err := run("crl", "-inform", "DER", "-in", crl)
		if err != nil {
			t.Fatal(pem)
		}
		lists := pem
		args := []string{"verify", "-attime", big.NewInt(r.clock.now().Unix()).String(), "-purpose", "sslclient", "-CAfile", root}
		if offline {
			top, err := os.ReadFile(filepath.Join(r.dir, "ca", "root.crl"))
			if err != nil {
				t.Fatal(err)
			}
			lists += string(top)
			args = append(args, "-untrusted", issuing, "-crl_check_all")
		} else {
			args = append(args, "-crl_check")
		}
		args = append(args, "-CRLfile", file("lists.pem", []byte(lists)))
		if out, err := run(append(args, file("stays.pem", certPEM(stays.Leaf.Raw)))...); err != nil {
			t.Fatalf("offline %v: a living device's: %v\n%s", offline, err, out)
		}
		if out, err := run(append(args, file("gone.pem", certPEM(gone.Leaf.Raw)))...); err == nil || !strings.Contains(out, "certificate revoked") {
			t.Fatalf("offline %v: a revoked device's: %v\n%s", offline, err, out)
		}
	}
}

// TestCRLNumbersRise over lists that are made one after the other at the same
// moment of the clock.
func TestCRLNumbersRise(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	last := big.NewInt(0)
	for _, id := range []string{"a", "b", "c"} {
		r.enrol("acme", id)
		if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", id, "x", ""); err != nil {
			t.Fatal(err)
		}
		list := r.crl()
		if list.Number.Cmp(last) <= 0 {
			t.Fatalf("%v after %v", list.Number, last)
		}
		last = list.Number
	}
}
