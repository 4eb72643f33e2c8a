package ingest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRootTakenOffline: the root key leaves the ingest, which goes on with a CA
// below it; who trusts the root goes on trusting the server, and what the root
// has signed stays good.
func TestRootTakenOffline(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	before := r.enrol("acme", "before")
	r.stop()
	ca, away := filepath.Join(r.dir, "ca"), filepath.Join(t.TempDir(), "away")
	wasKey, err := os.ReadFile(filepath.Join(ca, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := TakeRootOffline(r.dir, OfflineOptions{To: away, Now: r.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(ca, "root.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the root key is still there: %v", err)
	}
	if key, err := os.ReadFile(filepath.Join(away, "root.key")); err != nil || !bytes.Equal(key, wasKey) {
		t.Fatalf("the root key is not where it was to go: %v", err)
	}
	if _, err := TakeRootOffline(r.dir, OfflineOptions{To: away, Now: r.clock.now}); err == nil {
		t.Fatal("taken offline twice")
	}
	root, err := readCertificate(filepath.Join(ca, "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case issuing.CheckSignatureFrom(root) != nil || !issuing.IsCA || !issuing.MaxPathLenZero || issuing.MaxPathLen != 0:
		t.Fatalf("the issuing CA: %+v", issuing)
	case issuing.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign:
		t.Fatalf("its key's usage: %b", issuing.KeyUsage)
	case !bytes.Equal(issuing.AuthorityKeyId, root.SubjectKeyId) || len(issuing.SubjectKeyId) != 20 || bytes.Equal(issuing.SubjectKeyId, root.SubjectKeyId):
		t.Fatalf("its identifiers: %x %x", issuing.AuthorityKeyId, issuing.SubjectKeyId)
	}

	r.start()
	r.send(r.deviceClient(before), r.line(1, 1)) // the root signed it
	after := r.enrol("acme", "after")            // the client knows the root alone
	r.send(r.deviceClient(after), r.line(1, 1))
	if err := after.Leaf.CheckSignatureFrom(issuing); err != nil {
		t.Fatal(err)
	}
	certs, err := r.estClient().connect().do(http.MethodGet, "/cacerts", "", nil).certificates()
	if err != nil || len(certs) != 2 {
		t.Fatalf("cacerts: %d, %v", len(certs), err)
	}
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(root)
	for _, c := range certs {
		if !c.Equal(root) {
			between.AddCert(c)
		}
	}
	if _, err := after.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: r.clock.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Fatalf("with what cacerts gives, the device's certificate does not verify: %v", err)
	}
	// The server shows the CA between, as who knows the root alone needs it.
	addr, _ := r.s.Addrs()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca)
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, Time: r.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if chain := conn.ConnectionState().PeerCertificates; len(chain) != 2 || !chain[1].Equal(issuing) {
		t.Fatalf("the server shows %d certificates", len(chain))
	}
}

// TestRootTakenOfflineIsFinished: a run that was cut short at any step is
// finished by the next, and the key is never in neither place.
func TestRootTakenOfflineIsFinished(t *testing.T) {
	r := newRig(t)
	r.stop()
	ca, away := filepath.Join(r.dir, "ca"), filepath.Join(t.TempDir(), "away")
	key, err := os.ReadFile(filepath.Join(ca, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := TakeRootOffline(r.dir, OfflineOptions{To: away, Now: r.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range [][]string{{}, {"issuing.crt"}, {"issuing.crt", "root.crl"}, {"issuing.crt", "root.crl", "issuing.key"}} {
		if err := os.WriteFile(filepath.Join(ca, "root.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range gone {
			if err := os.Remove(filepath.Join(ca, name)); err != nil {
				t.Fatal(err)
			}
		}
		again, err := TakeRootOffline(r.dir, OfflineOptions{To: away, Now: r.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		if len(gone) == 0 && !again.Equal(first) {
			t.Fatal("an issuing CA that was there was made anew")
		}
		if _, err := openAuthority(ca); err != nil {
			t.Fatal(err)
		}
	}
	// A key of another ingest in that place is never overwritten, and nothing is lost.
	if err := os.WriteFile(filepath.Join(ca, "root.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(away, "root.key"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := TakeRootOffline(r.dir, OfflineOptions{To: away, Now: r.clock.now}); err == nil {
		t.Fatal("overwritten")
	}
	if kept, err := os.ReadFile(filepath.Join(ca, "root.key")); err != nil || !bytes.Equal(kept, key) {
		t.Fatalf("the key was lost: %v", err)
	}
}

// TestOldRootsStayAsTheyAre: a root that an older version made, without room
// for a CA below it, goes on by itself, and is not taken offline.
func TestOldRootsStayAsTheyAre(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	r.stop()
	ca := filepath.Join(r.dir, "ca")
	now, err := openAuthority(ca)
	if err != nil {
		t.Fatal(err)
	}
	old := *now.root
	old.MaxPathLen, old.MaxPathLenZero, old.KeyUsage = 0, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, &old, &old, now.key.Public(), now.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ca, "root.crt"), certPEM(der), 0o600); err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(t.TempDir(), "away")
	if _, err := TakeRootOffline(r.dir, OfflineOptions{To: away, Now: r.clock.now}); err == nil {
		t.Fatal("a root of path length 0 got a CA below it")
	}
	if _, err := os.Stat(away); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("something was written")
	}
	r.start()
	r.send(r.deviceClient(r.enrol("acme", "m1")), r.line(1, 1))
}

// TestCertificatesAreWellFormed: what RFC 5280 asks of each certificate.
func TestCertificatesAreWellFormed(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	device := r.enrol("acme", "m1").Leaf
	operator, err := x509.ParseCertificate(r.pairs["ben"].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	root, err := readCertificate(filepath.Join(r.dir, "ca", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	server := r.s.certificate.Load().Leaf
	for name, c := range map[string]*x509.Certificate{"device": device, "operator": operator, "server": server, "root": root} {
		if n := c.SerialNumber.BitLen(); n < 127 || n > 128 || c.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: a serial number of %d bits", name, n)
		}
		if len(c.SubjectKeyId) != 20 {
			t.Errorf("%s: subject key identifier %x", name, c.SubjectKeyId)
		}
		if name == "root" {
			continue
		}
		wantUse, want := x509.ExtKeyUsageClientAuth, 1
		if name == "server" {
			wantUse = x509.ExtKeyUsageServerAuth
			want = 0
		}
		switch {
		case !bytes.Equal(c.AuthorityKeyId, root.SubjectKeyId):
			t.Errorf("%s: authority key identifier %x", name, c.AuthorityKeyId)
		case len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != wantUse || c.KeyUsage != x509.KeyUsageDigitalSignature || c.IsCA:
			t.Errorf("%s: usage %v %b, CA %v", name, c.ExtKeyUsage, c.KeyUsage, c.IsCA)
		case len(c.URIs) != want || want == 0 && len(c.DNSNames)+len(c.IPAddresses) == 0:
			t.Errorf("%s: its identity is its common name alone", name)
		}
		if c.NotAfter.Sub(c.NotBefore) > 366*24*time.Hour {
			t.Errorf("%s: lives %v", name, c.NotAfter.Sub(c.NotBefore))
		}
	}
	for _, x := range root.Extensions {
		if x.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) && !x.Critical {
			t.Error("root: basic constraints are not critical")
		}
	}
}
