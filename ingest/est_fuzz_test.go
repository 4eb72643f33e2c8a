package ingest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"testing"
)

// FuzzESTRequest: whatever is taken is a request that its own key signed, over
// a key that may be certified, and is linked to no connection that it does not
// name.
func FuzzESTRequest(f *testing.F) {
	key := estKey(f)
	for _, csr := range [][]byte{
		estCSR(f, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "m1", Organization: []string{"acme"}}, DNSNames: []string{"x"}}),
		estCSR(f, key, x509.CertificateRequest{}, challengeOf(f, "YWJj")),
		estCSR(f, key, x509.CertificateRequest{}, attribute(f, oidChangeSubjectName, []byte{5, 0}), attribute(f, asn1.ObjectIdentifier{1, 2}, nil)),
	} {
		f.Add([]byte(base64.StdEncoding.EncodeToString(csr)))
	}
	f.Add([]byte("MAA="))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, p := parseEST(body)
		if p != nil {
			if p.Status < 400 || p.Status > 499 {
				t.Fatal(p)
			}
			return
		}
		if r.CheckSignature() != nil {
			t.Fatal("taken, and not signed by its key")
		}
		if _, err := keyType(r.PublicKey); err != nil {
			t.Fatal(err)
		}
		state := &tls.ConnectionState{Version: tls.VersionTLS12, TLSUnique: []byte("abc")}
		if p := r.linked(state, false); (p == nil) != (!r.bound || r.binding == "YWJj") {
			t.Fatalf("bound %v to %q: %v", r.bound, r.binding, p)
		}
		if r.names(deviceName{"acme", "m1"}, "urn:trustpack:device:acme:m1:1") == nil && (r.renaming || len(r.DNSNames) > 0) {
			t.Fatal("names what it may not")
		}
		if again, p := parseEST([]byte(base64.StdEncoding.EncodeToString(r.Raw))); p != nil || !bytes.Equal(again.Raw, r.Raw) || again.bound != r.bound || again.binding != r.binding {
			t.Fatalf("read differently the second time: %v", p)
		}
	})
}

// FuzzESTPath: what is served is one of four operations, and a label never
// names one.
func FuzzESTPath(f *testing.F) {
	for _, p := range []string{"cacerts", "acme/simpleenroll", "cacerts/cacerts", "a/b/c", "//", "acme/fullcmc"} {
		f.Add(estPrefix + p)
	}
	f.Add("acme/cacerts")
	f.Fuzz(func(t *testing.T, path string) {
		label, operation, ok := estPath(path)
		if !ok {
			return
		}
		whole := estPrefix + operation
		if label != "" {
			whole = estPrefix + label + "/" + operation
		}
		if path != whole {
			t.Fatalf("%q became %q %q", path, label, operation)
		}
		if label != "" && !tenantForm.MatchString(label) {
			t.Fatalf("label %q", label)
		}
	})
}

// FuzzRevocations: a list that is taken was signed by the CA.
func FuzzRevocations(f *testing.F) {
	clock := newClock()
	m := newMaker(f, clock.now)
	good := m.list(1, clock.now(), clock.now().Add(day), 5, 6)
	f.Add(good)
	f.Add(m.ca.root.Raw)
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseRevocations(text, []*x509.Certificate{m.ca.root}, clock.now())
		if err != nil {
			return
		}
		// The CA has signed one list alone.
		if list.number.Int64() != 1 || len(list.serials) != 2 || !list.nextUpdate.Equal(clock.now().Add(day)) {
			t.Fatalf("%+v", list)
		}
	})
}
