package ingest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trustpack/evidence"
)

// below makes a CA that m signed, and gives what makes a device's certificate
// with it, shown together with the CA's own.
func (m *maker) below(serial int64) (ca *x509.Certificate, device func(serial int64, uri string) *tls.Certificate, list func(number int64, at, next time.Time, serials ...int64) []byte) {
	m.t.Helper()
	make := func(template, parent *x509.Certificate, pub, by any) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, by)
		if err != nil {
			m.t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			m.t.Fatal(err)
		}
		return cert
	}
	key := estKey(m.t)
	ca = make(&x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "Plant " + itoa(serial)}, NotBefore: m.now().Add(-time.Hour), NotAfter: m.now().Add(365 * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: keyID(key.Public()),
	}, m.ca.root, key.Public(), m.ca.key)
	device = func(serial int64, uri string) *tls.Certificate {
		m.t.Helper()
		u, err := url.Parse(uri)
		if err != nil {
			m.t.Fatal(err)
		}
		own := estKey(m.t)
		leaf := make(&x509.Certificate{
			SerialNumber: big.NewInt(serial), NotBefore: m.now().Add(-time.Minute), NotAfter: m.now().Add(100 * day), URIs: []*url.URL{u},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, ca, own.Public(), key)
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: own, Leaf: leaf}
	}
	list = func(number int64, at, next time.Time, serials ...int64) []byte {
		m.t.Helper()
		l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: at, NextUpdate: next}
		for _, n := range serials {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: at})
		}
		der, err := x509.CreateRevocationList(rand.Reader, l, ca, key)
		if err != nil {
			m.t.Fatal(err)
		}
		return der
	}
	return ca, device, list
}

// TestExternalCRLAndCAsBetween: a list of revoked certificates speaks for what
// its own CA issued. What a CA below that one issued would never be on it,
// whatever became of it, so it is refused.
func TestExternalCRLAndCAsBetween(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	ca, device, list := m.below(77)
	dir := t.TempDir()
	write := func(name string, der []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, der, 0o600); err != nil {
			t.Fatal(err)
		}
		clock.add(time.Second)
		if err := os.Chtimes(file, clock.now(), clock.now()); err != nil {
			t.Fatal(err)
		}
		return file
	}
	start := clock.now()
	crl := write("root.crl", m.list(1, start, start.Add(day)))
	between := write("between.crl", list(1, start, start.Add(day), 503))
	both := write("both.pem", append(certPEM(m.ca.root.Raw), certPEM(ca.Raw)...))
	declared := func(change func(*ExternalCA)) []ExternalCA {
		x := ExternalCA{Name: "pki", File: m.file, Tenants: []string{"acme"}, URI: "urn:pki:{device}"}
		change(&x)
		return []ExternalCA{x}
	}
	r := newRig(t, func(c *Config) { c.ExternalCAs = declared(func(*ExternalCA) {}) })
	r.tenant("acme")
	for _, d := range []string{"m1", "m2", "m3"} {
		r.expect("acme", d)
	}
	take := func(change func(*ExternalCA)) {
		t.Helper()
		next := r.config
		next.ExternalCAs = declared(change)
		set, err := r.s.prepare(next)
		if err == nil {
			_, err = r.s.enforce(set, evidence.AuditEntry{Reason: "test"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	seq := 0
	send := func(pair *tls.Certificate) error {
		seq++
		_, err := r.deviceClient(pair).Send(t.Context(), []byte(r.line(seq, 1)))
		return err
	}
	one, two, three := device(501, "urn:pki:m1"), m.certificate("", "urn:pki:m2"), device(503, "urn:pki:m3")
	// Where no list is declared, none is missed.
	if err := send(one); err != nil {
		t.Fatal(err)
	}
	// The root's list says nothing of what the CA below it issued.
	take(func(x *ExternalCA) { x.CRL = crl })
	if err := send(two); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, send(one), CodeUnknownCredential)
	// Nor does it where it may be past its time, or names the CA below itself.
	take(func(x *ExternalCA) { x.CRL, x.ExpiredCRL = crl, ExpiredCRLAccept })
	refusedWith(t, send(one), CodeUnknownCredential)
	write("root.crl", m.list(2, start, start.Add(day), 77))
	r.tick()
	refusedWith(t, send(one), CodeUnknownCredential)
	// The CA below declared beside its root, with its own list.
	take(func(x *ExternalCA) { x.File, x.CRL = both, between })
	if err := send(one); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, send(three), CodeRevoked)
	refusedWith(t, send(two), CodeUnknownCredential) // the root's own, whose list is another one
}
