package ingest

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// ExternalCA is a CA of somebody else's whose certificates devices may show,
// and for which devices it may speak. Operators never: the admin port knows
// none of these.
type ExternalCA struct {
	Name string `yaml:"name"`
	File string `yaml:"file"` // PEM: its certificate, or several; each is trusted as it stands
	// Bootstrap says that its certificates, such as those that a manufacturer
	// puts into a device, serve for nothing but to ask for one of the ingest's
	// own over EST. Otherwise they are credentials themselves.
	Bootstrap bool `yaml:"bootstrap"`
	// Tenants are those for whose devices it may speak, and for no others.
	Tenants []string `yaml:"tenants"`
	// URI is what a URI among the certificate's names looks like, with {device}
	// and, where there is more than one tenant, {tenant}:
	// "urn:example:{tenant}:meter:{device}".
	URI string `yaml:"uri"`
	// Devices gives the device, as tenant/device, by the certificate's common
	// name, for CAs that write nothing else.
	Devices map[string]string `yaml:"devices"`
	Type    string            `yaml:"type"`  // of devices that ask for themselves
	Fleet   string            `yaml:"fleet"` // likewise
	// CRL is a file with its list of revoked certificates, DER or PEM, which is
	// read again whenever it changes. A certificate that another CA issued, such
	// as one below it, is not on that list and is refused: each that issues is
	// declared with its own. ExpiredCRL says what becomes of its
	// certificates once the list's next update is past: "refuse" them, or
	// "accept" them and raise an alert.
	CRL        string `yaml:"crl"`
	ExpiredCRL string `yaml:"expired_crl"`
}

// What becomes of a CA's certificates when its list of revoked ones is expired.
const (
	ExpiredCRLRefuse = "refuse"
	ExpiredCRLAccept = "accept"
)

// externalCA is one that was read.
type externalCA struct {
	ExternalCA
	certs   []*x509.Certificate
	pool    *x509.CertPool
	pattern *regexp.Regexp // of URI; nil where there is none
	revoked *revocations   // nil where no list is configured
}

// externals are all that are configured.
type externals struct{ list []*externalCA }

func validateExternals(list []ExternalCA) error {
	seen := map[string]bool{}
	for i, c := range list {
		at := fmt.Sprintf("ingest.external_cas[%d]", i)
		switch {
		case !tenantForm.MatchString(c.Name) || seen[c.Name]:
			return fmt.Errorf("%s.name: %q; give each its own name of lower-case letters, digits and hyphens", at, c.Name)
		case c.File == "":
			return fmt.Errorf("%s.file: name the PEM file with its certificate", at)
		case len(c.Tenants) == 0:
			return fmt.Errorf("%s.tenants: name those for whose devices it may speak", at)
		case c.URI == "" && len(c.Devices) == 0:
			return fmt.Errorf("%s: give uri or devices, which say whose its certificates are", at)
		case c.Bootstrap && !deviceForm.MatchString(c.Type):
			return fmt.Errorf("%s.type: %q; say of which type devices are that ask for themselves", at, c.Type)
		case c.ExpiredCRL != "" && c.ExpiredCRL != ExpiredCRLRefuse && c.ExpiredCRL != ExpiredCRLAccept:
			return fmt.Errorf("%s.expired_crl: %q; want %s or %s", at, c.ExpiredCRL, ExpiredCRLRefuse, ExpiredCRLAccept)
		case len(c.Fleet) > 256:
			return fmt.Errorf("%s.fleet: at most 256 bytes", at)
		}
		seen[c.Name] = true
		for _, t := range c.Tenants {
			if !tenantForm.MatchString(t) {
				return fmt.Errorf("%s.tenants: %q is no tenant's ID", at, t)
			}
		}
		if c.URI != "" {
			if _, err := c.compile(); err != nil {
				return fmt.Errorf("%s.uri: %w", at, err)
			}
		}
		for name, device := range c.Devices {
			tenant, id, _ := strings.Cut(device, "/")
			if !slices.Contains(c.Tenants, tenant) || !deviceForm.MatchString(id) {
				return fmt.Errorf("%s.devices: %s: %q; want a device of one of its tenants, such as %s/meter-1", at, name, device, c.Tenants[0])
			}
		}
	}
	return nil
}

// compile makes the pattern that a URI has to match as a whole.
func (c *ExternalCA) compile() (*regexp.Regexp, error) {
	switch devices, tenants := strings.Count(c.URI, "{device}"), strings.Count(c.URI, "{tenant}"); {
	case devices != 1:
		return nil, fmt.Errorf("%q must hold {device} once", c.URI)
	case tenants > 1 || tenants == 0 && len(c.Tenants) > 1:
		return nil, fmt.Errorf("%q must hold {tenant} once, since it may speak for several", c.URI)
	case strings.Contains(c.URI, "}{"):
		return nil, fmt.Errorf("%q: something must stand between {tenant} and {device}", c.URI)
	}
	text := regexp.QuoteMeta(c.URI)
	text = strings.Replace(text, `\{device\}`, `(?P<device>[A-Za-z0-9][A-Za-z0-9._-]{0,127})`, 1)
	text = strings.Replace(text, `\{tenant\}`, `(?P<tenant>[a-z0-9][a-z0-9-]{0,62})`, 1)
	return regexp.Compile("^" + text + "$")
}

// loadExternals reads what the configuration names.
func loadExternals(list []ExternalCA, now time.Time) (*externals, error) {
	out := &externals{}
	for _, c := range list {
		x := &externalCA{ExternalCA: c, pool: x509.NewCertPool()}
		var err error
		if x.certs, err = readAuthorities(c.File); err != nil {
			return nil, fmt.Errorf("external CA %s: %w", c.Name, err)
		}
		for _, cert := range x.certs {
			x.pool.AddCert(cert)
		}
		if c.URI != "" {
			if x.pattern, err = c.compile(); err != nil {
				return nil, fmt.Errorf("external CA %s: %w", c.Name, err)
			}
		}
		if c.CRL != "" {
			x.revoked = &revocations{file: c.CRL, signers: x.certs}
			if err := x.revoked.read(now); err != nil {
				return nil, fmt.Errorf("external CA %s: %w", c.Name, err)
			}
		}
		out.list = append(out.list, x)
	}
	return out, nil
}

func readAuthorities(path string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("reading %s: %q is no CA's certificate", path, cert.Subject.CommonName)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading %s: it holds no PEM certificate", path)
	}
	return out, nil
}

// named finds one; nil where there is none.
func (x *externals) named(name string) *externalCA {
	for _, c := range x.list {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// external is a certificate of an external CA that the handshake verified.
type external struct {
	ca      *externalCA
	cert    *x509.Certificate
	between []*x509.Certificate // that the client showed with it
}

// verify finds the CA that signed the certificate, of which between may be
// intermediates; nil where none did. Revocation is another question.
func (x *externals) verify(cert *x509.Certificate, between []*x509.Certificate, now time.Time) (*external, error) {
	var worst error
	for _, c := range x.list {
		pool := x509.NewCertPool()
		for _, b := range between {
			pool.AddCert(b)
		}
		_, err := cert.Verify(x509.VerifyOptions{Roots: c.pool, Intermediates: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err == nil {
			return &external{c, cert, between}, nil
		}
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) {
			worst = err
		}
	}
	return nil, worst
}

// names gives the device for which the certificate speaks. A certificate that
// names several, or one for which its CA may not speak, speaks for none.
func (e *external) names() (deviceName, error) {
	var found []deviceName
	add := func(tenant, device string) {
		if n := (deviceName{tenant, device}); !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	if e.ca.pattern != nil {
		for _, u := range e.cert.URIs {
			m := e.ca.pattern.FindStringSubmatch(u.String())
			if m == nil {
				continue
			}
			tenant := e.ca.Tenants[0]
			if i := e.ca.pattern.SubexpIndex("tenant"); i >= 0 {
				tenant = m[i]
			}
			add(tenant, m[e.ca.pattern.SubexpIndex("device")])
		}
	}
	if at, ok := e.ca.Devices[e.cert.Subject.CommonName]; ok && e.cert.Subject.CommonName != "" {
		tenant, device, _ := strings.Cut(at, "/")
		add(tenant, device)
	}
	switch {
	case len(found) == 0:
		return deviceName{}, errors.New("the certificate names no device in the way that is declared of its CA")
	case len(found) > 1:
		return deviceName{}, errors.New("the certificate names more than one device")
	case !slices.Contains(e.ca.Tenants, found[0].tenant):
		return deviceName{}, errors.New("the certificate names a tenant for which its CA may not speak")
	}
	return found[0], nil
}

// effective is what the configuration snapshot says of the external CAs.
func (x *externals) effective() []map[string]any {
	out := []map[string]any{}
	for _, c := range x.list {
		prints := []string{}
		for _, cert := range c.certs {
			prints = append(prints, fingerprintOf(cert.Raw))
		}
		devices := c.Devices
		if devices == nil {
			devices = map[string]string{}
		}
		policy := c.ExpiredCRL
		if policy == "" {
			policy = ExpiredCRLRefuse
		}
		out = append(out, map[string]any{
			"name": c.Name, "certificates": prints, "bootstrap": c.Bootstrap, "tenants": c.Tenants, "uri": c.URI, "devices": devices,
			"type": c.Type, "fleet": c.Fleet, "crl": c.CRL != "", "expired_crl": policy,
		})
	}
	return out
}

// adopt finds the device for which the certificate of an external CA speaks,
// and binds the certificate to it with its first contact: as the first
// credential of an approved device, or in the place of one that the same CA has
// issued, which goes on for rotation.overlap. From then on it is a credential
// like any other.
func (s *Server) adopt(c *call, e *external) (*device, *Problem) {
	if e.ca.Bootstrap {
		return nil, problem(CodeUnknownCredential, "a certificate of "+e.ca.Name+" serves to enrol, and for nothing else")
	}
	if p := s.vouched(e); p != nil {
		return nil, p
	}
	name, err := e.names()
	if err != nil {
		return nil, problem(CodeUnknownCredential, err.Error())
	}
	fresh := evidence.Credential{
		Fingerprint: c.sess.fingerprint, Method: MethodCertificate, Serial: e.cert.SerialNumber.Text(16), Issuer: e.ca.Name,
		NotBefore: e.cert.NotBefore, NotAfter: e.cert.NotAfter,
	}
	if fresh.KeyType, err = keyType(e.cert.PublicKey); err != nil {
		return nil, problem(CodeUnknownCredential, err.Error())
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if d, _ := s.st.byFingerprint(c.sess.fingerprint); d != nil {
		return d, nil // another request of it came first
	}
	d := s.st.device(name.tenant, name.id)
	var old *evidence.Credential
	if d != nil && holds(d.record.State) && len(d.record.Credentials) > 0 {
		if old = &d.record.Credentials[len(d.record.Credentials)-1]; old.Issuer != e.ca.Name || !fresh.NotBefore.After(old.NotBefore) {
			old = nil
		}
	}
	if d == nil || old == nil && d.record.State != evidence.DeviceApproved {
		p := problem(CodeUnknownCredential, "no device that its CA may speak for waits for this certificate")
		p.tenant, p.device = name.tenant, name.id
		return nil, p
	}
	d.flow.Lock()
	defer d.flow.Unlock()
	typ, data := evidence.EntryDeviceIssued, raw(fresh)
	if old != nil {
		typ, data = evidence.EntryDeviceRotated, raw(rotatedData{fresh, old.Fingerprint, s.now().Add(s.cfg().Rotation.Overlap), "external"})
	}
	_, err = s.record(s.entry(typ, evidence.AuditEntry{
		Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, RequestID: c.id(), Result: "done",
		Reason: "certificate of the external CA " + e.ca.Name, Data: data,
	}))
	if err != nil {
		return nil, s.failure(err)
	}
	return d, nil
}

// clientCAs are those whose certificates the port tells its clients to show.
func (s *Server) clientCAs(listener string) *x509.CertPool {
	list := s.set.Load().externals.list
	if listener != "public" || len(list) == 0 {
		return s.ca.hints
	}
	pool := s.ca.hints.Clone()
	for _, x := range list {
		for _, cert := range x.certs {
			pool.AddCert(cert)
		}
	}
	return pool
}
