package ingest

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func (r *rig) estClient(change ...func(*estClient)) *estClient {
	r.t.Helper()
	addr, _ := r.s.Addrs()
	_, port, _ := strings.Cut(addr, ":")
	c := &estClient{t: r.t, base: "https://localhost:" + port + "/.well-known/est", roots: x509.NewCertPool(), now: r.clock.now}
	c.roots.AppendCertsFromPEM(r.ca)
	for _, f := range change {
		f(c)
	}
	return c
}

// approved provisions a device as far as its code.
func (r *rig) approved(tenant, device string) (code string) {
	r.t.Helper()
	if _, err := r.admin("ben").RequestDevice(r.t.Context(), DeviceRequest{Tenant: tenant, Device: device, Type: "meter", Reason: "test"}); err != nil {
		r.t.Fatal(err)
	}
	code, _, err := r.admin("carla").ApproveDevice(r.t.Context(), tenant, device, "ok")
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

func withCode(tenant, device, code string) func(*estClient) {
	return func(c *estClient) { c.user, c.pass = tenant+"/"+device, code }
}

func withPair(pair *tls.Certificate) func(*estClient) {
	return func(c *estClient) { c.pair = pair }
}

// issued is the one certificate of a good answer.
func (a estAnswer) issued(t testing.TB, key crypto.Signer) *tls.Certificate {
	t.Helper()
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/pkcs7-mime; smime-type=certs-only" {
		t.Fatalf("status %d, %s: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	certs, err := a.certificates()
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v; want the issued one and no other", len(certs), err)
	}
	return &tls.Certificate{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key, Leaf: certs[0]}
}

func (a estAnswer) refused(t testing.TB, status int, code Code) {
	t.Helper()
	if a.status != status || !strings.Contains(string(a.body), `"code":"`+string(code)+`"`) {
		t.Fatalf("status %d: %s; want %d %s", a.status, a.body, status, code)
	}
}

// recorded gives the refusals of a code; there must be some.
func (r *rig) recorded(code Code) []evidence.Refusal {
	r.t.Helper()
	if err := r.s.refusals.flush(true); err != nil {
		r.t.Fatal(err)
	}
	var out []evidence.Refusal
	for _, e := range r.control(evidence.EntryRefusal) {
		var x evidence.Refusal
		if err := unmarshal(e.Data, &x); err != nil {
			r.t.Fatal(err)
		}
		if x.Code == string(code) {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		r.t.Fatalf("no refusal %s is in the log", code)
	}
	return out
}

func TestESTTellsTheCA(t *testing.T) {
	r := newRig(t)
	conn := r.estClient().connect()
	for _, path := range []string{"/cacerts", "/acme/cacerts"} {
		a := conn.do(http.MethodGet, path, "", nil)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/pkcs7-mime" {
			t.Fatalf("%s: status %d, %s", path, a.status, a.header.Get("Content-Type"))
		}
		certs, err := a.certificates()
		if err != nil || len(certs) != 1 || !slices.Equal(certPEM(certs[0].Raw), r.ca) {
			t.Fatalf("%s: %d certificates, %v; want the root", path, len(certs), err)
		}
	}
	for _, path := range []string{"/", "/fullcmc", "/serverkeygen", "/cacerts/cacerts", "/simpleenroll/cacerts", "/a/b/cacerts", "/ACME/cacerts", "/acme/", "/acme"} {
		conn.do(http.MethodGet, path, "", nil).refused(t, http.StatusNotFound, CodeNotFound)
	}
	conn.do(http.MethodGet, "/simpleenroll", "", nil).refused(t, http.StatusMethodNotAllowed, CodeMethod)
	conn.do(http.MethodPost, "/cacerts", "application/pkcs10", []byte("x")).refused(t, http.StatusMethodNotAllowed, CodeMethod)
}

// TestESTTellsWhatARequestHolds reads the attributes: a P-256 key, and the
// challengePassword only where the linking is required (RFC 8951, section 4).
func TestESTTellsWhatARequestHolds(t *testing.T) {
	for _, linking := range []string{LinkingOptional, LinkingRequired} {
		r := newRig(t, func(c *Config) { c.EST.Linking = linking })
		a := r.estClient().connect().do(http.MethodGet, "/csrattrs", "", nil)
		der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(a.body)))
		if err != nil || a.status != http.StatusOK || a.header.Get("Content-Type") != "application/csrattrs" {
			t.Fatalf("%d %s %v", a.status, a.header, err)
		}
		var list []asn1.RawValue
		if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
		wants, curve := false, false
		for _, item := range list {
			var oid asn1.ObjectIdentifier
			if item.Tag == asn1.TagOID {
				if _, err := asn1.Unmarshal(item.FullBytes, &oid); err != nil {
					t.Fatal(err)
				}
				wants = wants || oid.String() == "1.2.840.113549.1.9.7"
				continue
			}
			var x struct {
				Type   asn1.ObjectIdentifier
				Values []asn1.ObjectIdentifier `asn1:"set"`
			}
			if _, err := asn1.Unmarshal(item.FullBytes, &x); err != nil {
				t.Fatal(err)
			}
			curve = curve || x.Type.String() == "1.2.840.10045.2.1" && len(x.Values) == 1 && x.Values[0].String() == "1.2.840.10045.3.1.7"
		}
		if wants != (linking == LinkingRequired) || !curve {
			t.Errorf("linking %s: challengePassword asked %v, P-256 asked %v", linking, wants, curve)
		}
	}
}

func TestESTEnrolsWithTheCode(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	code := r.approved("acme", "m1")
	key := estKey(t)
	csr := estCSR(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "m1"}})

	// The first request carries no credential: it is told which one to bring.
	a := r.estClient().connect().enrol("/simpleenroll", csr)
	a.refused(t, http.StatusUnauthorized, CodeNoCertificate)
	if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Fatalf("WWW-Authenticate %q", got)
	}
	for _, bad := range []func(*estClient){withCode("acme", "m1", "X"), withCode("acme", "m2", code), withCode("other", "m1", code), func(c *estClient) { c.user, c.pass = "m1", code }} {
		a := r.estClient(bad).connect().enrol("/simpleenroll", csr)
		a.refused(t, http.StatusUnauthorized, CodeEnrolBadCode)
		if a.header.Get("WWW-Authenticate") == "" {
			t.Fatal("401 without WWW-Authenticate")
		}
	}
	if got := r.recorded(CodeEnrolBadCode); got[0].Status != http.StatusUnauthorized {
		t.Fatalf("%+v", got[0])
	}

	conn := r.estClient(withCode("acme", "m1", code)).connect()
	conn.enrol("/simplereenroll", csr).refused(t, http.StatusUnauthorized, CodeNoCertificate)
	conn.enrol("/rival/simpleenroll", csr).refused(t, http.StatusForbidden, CodeTenantMismatch)
	pair := conn.enrol("/acme/simpleenroll", csr).issued(t, key)
	if got := pair.Leaf.URIs[0].String(); got != "urn:trustpack:device:acme:m1:1" || pair.Leaf.Subject.CommonName != "m1" {
		t.Fatalf("%s %s", got, pair.Leaf.Subject)
	}
	r.send(r.deviceClient(pair), r.line(1, 1))

	conn.enrol("/simpleenroll", csr).refused(t, http.StatusUnauthorized, CodeEnrolBadCode) // spent
	if got := r.control(evidence.EntryDeviceIssued); len(got) != 1 || got[0].Device != "m1" || got[0].RequestID == "" {
		t.Fatalf("%+v", got)
	}
}

func TestESTRefusesBadRequests(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	code := r.approved("acme", "m1")
	conn := r.estClient(withCode("acme", "m1", code)).connect()
	key := estKey(t)
	good := estCSR(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "m1"}})
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	enc := base64.StdEncoding.EncodeToString
	uri := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	name := func(n pkix.Name) []byte { return estCSR(t, key, x509.CertificateRequest{Subject: n}) }
	twice := challengeOf(t, "a")
	for _, x := range []struct {
		name, media, body string
		status            int
		code              Code
	}{
		{"wrong type", "application/json", enc(good), http.StatusUnsupportedMediaType, CodeMediaUnsupported},
		{"no type", "", enc(good), http.StatusUnsupportedMediaType, CodeMediaUnsupported},
		{"no base64", "application/pkcs10", "!" + enc(good), http.StatusBadRequest, CodeBodyMalformed},
		{"PEM", "application/pkcs10", "-----BEGIN CERTIFICATE REQUEST-----\n" + enc(good), http.StatusBadRequest, CodeBodyMalformed},
		{"empty", "application/pkcs10", "", http.StatusBadRequest, CodeBodyMalformed},
		{"too large", "application/pkcs10", strings.Repeat("A", maxESTBody+1), http.StatusRequestEntityTooLarge, CodeBodyTooLarge},
	} {
		if x.status == http.StatusRequestEntityTooLarge {
			conn = r.estClient(withCode("acme", "m1", code)).connect()
		}
		t.Run(x.name, func(t *testing.T) {
			conn.do(http.MethodPost, "/simpleenroll", x.media, []byte(x.body)).refused(t, x.status, x.code)
		})
	}
	conn = r.estClient(withCode("acme", "m1", code)).connect()
	for _, x := range []struct {
		name   string
		csr    []byte
		status int
		code   Code
	}{
		{"no DER", []byte("x"), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"forged", forged, http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"another device", name(pkix.Name{CommonName: "m2"}), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"another tenant", name(pkix.Name{CommonName: "m1", Organization: []string{"rival"}}), http.StatusForbidden, CodeTenantMismatch},
		{"another URI", estCSR(t, key, x509.CertificateRequest{URIs: []*url.URL{uri("urn:trustpack:device:acme:m2:1")}}), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"another generation", estCSR(t, key, x509.CertificateRequest{URIs: []*url.URL{uri("urn:trustpack:device:acme:m1:2")}}), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"an operator", estCSR(t, key, x509.CertificateRequest{URIs: []*url.URL{uri("urn:trustpack:operator:root.admin")}}), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"a host", estCSR(t, key, x509.CertificateRequest{DNSNames: []string{"localhost"}}), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"another name", estCSR(t, key, x509.CertificateRequest{}, attribute(t, oidChangeSubjectName, []byte{5, 0})), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"an attribute twice", estCSR(t, key, x509.CertificateRequest{}, twice, twice), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"two challenges", estCSR(t, key, x509.CertificateRequest{}, attribute(t, oidChallengePassword, []byte{12, 1, 'a'}, []byte{12, 1, 'b'})), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"challenge is a number", estCSR(t, key, x509.CertificateRequest{}, attribute(t, oidChallengePassword, []byte{2, 1, 1})), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
		{"challenge too long", estCSR(t, key, x509.CertificateRequest{}, challengeOf(t, strings.Repeat("a", 256))), http.StatusUnprocessableEntity, CodeEnrolBadCSR},
	} {
		t.Run(x.name, func(t *testing.T) { conn.enrol("/simpleenroll", x.csr).refused(t, x.status, x.code) })
	}
	for _, x := range r.recorded(CodeEnrolBadCSR) {
		if x.Status != http.StatusUnprocessableEntity {
			t.Fatalf("%+v", x)
		}
	}
	conn.enrol("/simpleenroll", good).issued(t, key) // and none of these has spent the code
}

// TestESTLinksTheRequestToItsConnection is RFC 7030, section 3.5: the challenge
// password must be this connection's channel binding, under either version.
func TestESTLinksTheRequestToItsConnection(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			for _, linking := range []string{LinkingOptional, LinkingRequired} {
				r := newRig(t, func(c *Config) { c.EST.Linking = linking })
				r.tenant("acme")
				code := r.approved("acme", "m1")
				key := estKey(t)
				named := x509.CertificateRequest{Subject: pkix.Name{CommonName: "m1"}}
				old := func(c *estClient) { c.max = version }
				conn, other := r.estClient(withCode("acme", "m1", code), old).connect(), r.estClient(withCode("acme", "m1", code), old).connect()
				if conn.state.Version != version {
					t.Fatalf("spoke %s", tls.VersionName(conn.state.Version))
				}
				if linking == LinkingRequired {
					conn.enrol("/simpleenroll", estCSR(t, key, named)).refused(t, http.StatusBadRequest, CodeESTLinking)
				}
				for _, wrong := range []asn1.RawValue{other.challenge(), challengeOf(t, ""), challengeOf(t, "secret")} {
					conn.enrol("/simpleenroll", estCSR(t, key, named, wrong)).refused(t, http.StatusBadRequest, CodeESTLinking)
				}
				r.recorded(CodeESTLinking)
				conn.enrol("/simpleenroll", estCSR(t, key, named, conn.challenge())).issued(t, key)
			}
		})
	}
}

// TestESTRenewsACertificate is RFC 7030, section 4.2.2: subject and alternative
// name as they were, with the same key or another; the old one ends after the
// overlap.
func TestESTRenewsACertificate(t *testing.T) {
	r := newRig(t)
	r.tenant("acme")
	pair, other := r.enrol("acme", "m1"), r.enrol("acme", "m2")
	key := estKey(t)
	same := x509.CertificateRequest{RawSubject: pair.Leaf.RawSubject, URIs: pair.Leaf.URIs}
	conn := r.estClient(withPair(pair)).connect()

	changed := pair.Leaf.Subject
	changed.Names, changed.OrganizationalUnit = nil, []string{"x"}
	for name, csr := range map[string][]byte{
		"no subject":     estCSR(t, key, x509.CertificateRequest{URIs: pair.Leaf.URIs}),
		"more subject":   estCSR(t, key, x509.CertificateRequest{Subject: changed, URIs: pair.Leaf.URIs}),
		"no name":        estCSR(t, key, x509.CertificateRequest{RawSubject: pair.Leaf.RawSubject}),
		"more names":     estCSR(t, key, x509.CertificateRequest{RawSubject: pair.Leaf.RawSubject, URIs: pair.Leaf.URIs, DNSNames: []string{"x"}}),
		"another device": estCSR(t, key, x509.CertificateRequest{RawSubject: other.Leaf.RawSubject, URIs: other.Leaf.URIs}),
		"renaming":       estCSR(t, key, same, attribute(t, oidChangeSubjectName, []byte{5, 0})),
	} {
		t.Run(name, func(t *testing.T) {
			conn.enrol("/simplereenroll", csr).refused(t, http.StatusUnprocessableEntity, CodeEnrolBadCSR)
		})
	}
	conn.enrol("/rival/simplereenroll", estCSR(t, key, same)).refused(t, http.StatusForbidden, CodeTenantMismatch)
	r.estClient().connect().enrol("/simplereenroll", estCSR(t, key, same)).refused(t, http.StatusUnauthorized, CodeNoCertificate)

	rekeyed := conn.enrol("/simplereenroll", estCSR(t, key, same, conn.challenge())).issued(t, key)
	if !slices.Equal(rekeyed.Leaf.RawSubject, pair.Leaf.RawSubject) || rekeyed.Leaf.URIs[0].String() != pair.Leaf.URIs[0].String() {
		t.Fatal("the name changed")
	}
	got := r.control(evidence.EntryDeviceRotated)
	var rotated rotatedData
	if err := unmarshal(got[0].Data, &rotated); err != nil || len(got) != 1 || rotated.Replaces != fingerprintOf(pair.Leaf.Raw) || rotated.Credential.Fingerprint != fingerprintOf(rekeyed.Leaf.Raw) || rotated.By != "device" {
		t.Fatalf("%+v %v", got, err)
	}
	r.send(r.deviceClient(pair), r.line(1, 1)) // both live for the overlap
	r.send(r.deviceClient(rekeyed), r.line(2, 1))
	r.clock.add(r.config.Rotation.Overlap)
	_, err := r.deviceClient(pair).Send(t.Context(), []byte(r.line(3, 1)))
	refusedWith(t, err, CodeExpiredCredential)
	old := r.estClient(withPair(pair)).connect()
	old.enrol("/simplereenroll", estCSR(t, estKey(t), same)).refused(t, http.StatusUnauthorized, CodeExpiredCredential)

	// Renewed with the same key, and once by simpleenroll with the certificate.
	again := r.estClient(withPair(rekeyed)).connect()
	renewed := again.enrol("/simplereenroll", estCSR(t, key, same)).issued(t, key)
	if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(renewed.Leaf.PublicKey) {
		t.Fatal("the key changed")
	}
	r.send(r.deviceClient(renewed), r.line(4, 1))
	more := r.estClient(withPair(renewed)).connect()
	more.enrol("/simpleenroll", estCSR(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "m2"}})).refused(t, http.StatusUnprocessableEntity, CodeEnrolBadCSR)
	more.enrol("/simpleenroll", estCSR(t, key, x509.CertificateRequest{})).issued(t, key)

	if _, err := r.admin("carla").QuarantineDevice(t.Context(), "acme", "m2", "x", ""); err != nil {
		t.Fatal(err)
	}
	out := x509.CertificateRequest{RawSubject: other.Leaf.RawSubject, URIs: other.Leaf.URIs}
	r.estClient(withPair(other)).connect().enrol("/simplereenroll", estCSR(t, key, out)).refused(t, http.StatusForbidden, CodeQuarantined)
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", "m2", "x", ""); err != nil {
		t.Fatal(err)
	}
	r.estClient(withPair(other)).connect().enrol("/simplereenroll", estCSR(t, key, out)).refused(t, http.StatusForbidden, CodeRevoked)
}

// maker is a CA that is not the ingest's.
type maker struct {
	t    testing.TB
	ca   *authority
	file string // its certificate
	now  func() time.Time
}

func newMaker(t testing.TB, now func() time.Time) *maker {
	t.Helper()
	dir := t.TempDir()
	ca, err := createAuthority(dir, "Maker", now())
	if err != nil {
		t.Fatal(err)
	}
	return &maker{t, ca, filepath.Join(dir, "root.crt"), now}
}

// certificate makes one for a device of a name; "" leaves it out.
func (m *maker) certificate(cn string, uris ...string) *tls.Certificate {
	m.t.Helper()
	key := estKey(m.t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: cn}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			m.t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	cert, err := m.ca.issue(template, key.Public(), m.now(), 365*day)
	if err != nil {
		m.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// TestESTWaitsForApproval: a device with a bootstrap certificate asks, is told
// to wait until persons approve it, and asks the same until it has its own.
func TestESTWaitsForApproval(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	declared := ExternalCA{Name: "maker", File: m.file, Bootstrap: true, Tenants: []string{"acme", "rival"}, URI: "urn:maker:{tenant}:{device}", Type: "meter"}
	for _, requests := range []bool{false, true} {
		r := newRig(t, func(c *Config) {
			c.ExternalCAs = []ExternalCA{declared}
			c.EST.Requests, c.EST.RetryAfter, c.EST.Pending = requests, 90*time.Second, 1
		})
		r.tenant("acme")
		boot := m.certificate("any", "urn:maker:acme:m1")
		conn := r.estClient(withPair(boot)).connect()
		key := estKey(t)
		csr := estCSR(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "m1"}})

		conn.enrol("/simpleenroll", estCSR(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "m2"}})).refused(t, http.StatusUnprocessableEntity, CodeEnrolBadCSR)
		conn.enrol("/rival/simpleenroll", csr).refused(t, http.StatusForbidden, CodeTenantMismatch)
		conn.enrol("/simplereenroll", csr).refused(t, http.StatusConflict, CodeConflict)
		if !requests {
			conn.enrol("/simpleenroll", csr).refused(t, http.StatusForbidden, CodeESTNotRequested)
			if _, err := r.admin("ben").RequestDevice(t.Context(), DeviceRequest{Tenant: "acme", Device: "m1", Type: "meter", Reason: "test"}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			a := conn.enrol("/simpleenroll", csr)
			if a.status != http.StatusAccepted || a.header.Get("Retry-After") != "90" {
				t.Fatalf("status %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
			}
		}
		asked := r.control(evidence.EntryDeviceRequested)
		if len(asked) != 1 || asked[0].Device != "m1" || asked[0].Actor == nil {
			t.Fatalf("%+v", asked)
		}
		if requests {
			if a := asked[0].Actor; a.Name != "est:maker" || a.Role != "device" || a.Credential != fingerprintOf(boot.Leaf.Raw) {
				t.Fatalf("%+v", a)
			}
			// One waits, so no other can ask; nor for a tenant that is none.
			r.estClient(withPair(m.certificate("", "urn:maker:acme:m9"))).connect().enrol("/simpleenroll", estCSR(t, key, x509.CertificateRequest{})).refused(t, http.StatusTooManyRequests, CodeESTPending)
			r.estClient(withPair(m.certificate("", "urn:maker:rival:m9"))).connect().enrol("/simpleenroll", estCSR(t, key, x509.CertificateRequest{})).refused(t, http.StatusForbidden, CodeESTNotRequested)
		}
		// A bootstrap certificate sends nothing, whatever the device's state is.
		_, err := r.deviceClient(boot).Send(t.Context(), []byte(r.line(1, 1)))
		refusedWith(t, err, CodeUnknownCredential)

		if _, _, err := r.admin("carla").ApproveDevice(t.Context(), "acme", "m1", "ok"); err != nil {
			t.Fatal(err)
		}
		_, err = r.deviceClient(boot).Send(t.Context(), []byte(r.line(1, 1)))
		refusedWith(t, err, CodeUnknownCredential)
		// A second device of the same maker is not the one that was approved.
		if !requests {
			r.estClient(withPair(m.certificate("m1", "urn:maker:acme:m2"))).connect().enrol("/simpleenroll", csr).refused(t, http.StatusUnprocessableEntity, CodeEnrolBadCSR)
		}
		pair := conn.enrol("/simpleenroll", csr).issued(t, key)
		r.send(r.deviceClient(pair), r.line(1, 1))
		got := r.control(evidence.EntryDeviceIssued)
		if len(got) != 1 || !strings.Contains(got[0].Reason, fingerprintOf(boot.Leaf.Raw)) {
			t.Fatalf("%+v", got)
		}
		conn.enrol("/simpleenroll", csr).refused(t, http.StatusConflict, CodeConflict)
		if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", "m1", "x", ""); err != nil {
			t.Fatal(err)
		}
		conn.enrol("/simpleenroll", csr).refused(t, http.StatusForbidden, CodeRevoked)
		r.restart() // the log alone says all of this
		r.estClient(withPair(boot)).connect().enrol("/simpleenroll", csr).refused(t, http.StatusForbidden, CodeRevoked)
	}
}

// TestESTAsksAgain: a request that nobody approved in time can be made again, as
// another generation; one that was declined cannot.
func TestESTAsksAgain(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	r := newRig(t, func(c *Config) {
		c.ExternalCAs = []ExternalCA{{Name: "maker", File: m.file, Bootstrap: true, Tenants: []string{"acme"}, URI: "urn:maker:{device}", Type: "meter"}}
		c.EST.Requests = true
	})
	r.tenant("acme")
	key := estKey(t)
	csr := estCSR(t, key, x509.CertificateRequest{})
	wait := func(pair *tls.Certificate) {
		t.Helper()
		if a := r.estClient(withPair(pair)).connect().enrol("/simpleenroll", csr); a.status != http.StatusAccepted {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	one := m.certificate("", "urn:maker:m1")
	wait(one)
	r.clock.add(r.config.Approvals.RequestValid)
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	if got := r.s.st.device("acme", "m1").record.State; got != evidence.DeviceExpired {
		t.Fatalf("the request is %s", got)
	}
	wait(one)
	if _, _, err := r.admin("carla").ApproveDevice(t.Context(), "acme", "m1", "ok"); err != nil {
		t.Fatal(err)
	}
	if got := r.estClient(withPair(one)).connect().enrol("/simpleenroll", csr).issued(t, key).Leaf.URIs[0].String(); got != "urn:trustpack:device:acme:m1:2" {
		t.Fatal(got)
	}
	two := m.certificate("", "urn:maker:m2")
	wait(two)
	if _, err := r.admin("carla").DeclineDevice(t.Context(), "acme", "m2", "not ours", ""); err != nil {
		t.Fatal(err)
	}
	r.estClient(withPair(two)).connect().enrol("/simpleenroll", csr).refused(t, http.StatusForbidden, CodeESTNotRequested)
}

// TestESTApprovalEnds: what persons approved is not there for ever.
func TestESTApprovalEnds(t *testing.T) {
	clock := newClock()
	m := newMaker(t, clock.now)
	r := newRig(t, func(c *Config) {
		c.ExternalCAs = []ExternalCA{{Name: "maker", File: m.file, Bootstrap: true, Tenants: []string{"acme"}, URI: "urn:maker:{device}", Type: "meter"}}
	})
	r.tenant("acme")
	r.approved("acme", "m1")
	r.clock.add(r.config.Approvals.CodeValid)
	key := estKey(t)
	r.estClient(withPair(m.certificate("", "urn:maker:m1"))).connect().enrol("/simpleenroll", estCSR(t, key, x509.CertificateRequest{})).refused(t, http.StatusConflict, CodeConflict)
}

// list is a list of revoked certificates, DER.
func (m *maker) list(number int64, at, next time.Time, serials ...int64) []byte {
	m.t.Helper()
	var out []*big.Int
	for _, n := range serials {
		out = append(out, big.NewInt(n))
	}
	return m.revoke(number, at, next, out...)
}

func (m *maker) revoke(number int64, at, next time.Time, serials ...*big.Int) []byte {
	m.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: at, NextUpdate: next}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: at})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, m.ca.root, m.ca.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return der
}
