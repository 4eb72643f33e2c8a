package ingest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"trustpack/internal/durable"
)

// authority is the built-in CA. Its issuer, ECDSA P-256, signs the server's,
// the operators' and the devices' certificates: the root itself, as Init makes
// it, or, once that was taken offline, an issuing CA below it. Files:
// ca/root.{crt,key} and ca/server.{crt,key} in the ingest's directory, and
// ca/issuing.{crt,key} in the place of root.key; keys readable by the owner
// alone.
type authority struct {
	dir     string
	root    *x509.Certificate
	issuer  *x509.Certificate
	key     crypto.Signer   // the issuer's
	pool    *x509.CertPool  // the root
	between *x509.CertPool  // the issuer, where it is not the root
	hints   *x509.CertPool  // both
	points  func() []string // where the list of revoked certificates is; nil where that has no address
}

const clockSlack = time.Hour // how far back a certificate's validity begins, for clocks that lag

// createAuthority makes the root. It refuses to replace one.
func createAuthority(dir, org string, now time.Time) (*authority, error) {
	if _, err := os.Stat(filepath.Join(dir, "root.crt")); err == nil {
		return nil, fmt.Errorf("%s is there already and is never overwritten", filepath.Join(dir, "root.crt"))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the CA's folder: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the root key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: caName(org, " telemetry root"), Organization: []string{org}},
		NotBefore: now.Add(-clockSlack).UTC(), NotAfter: now.AddDate(10, 0, 0).UTC(),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, // one issuing CA below it, see TakeRootOffline
		KeyUsage:     x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: keyID(key.Public()),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the root certificate: %w", err)
	}
	if err := writeKey(filepath.Join(dir, "root.key"), key); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, "root.crt"), certPEM(der), 0o644); err != nil {
		return nil, err
	}
	return openAuthority(dir)
}

func openAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir, pool: x509.NewCertPool(), between: x509.NewCertPool()}
	var err error
	if a.root, err = readCertificate(filepath.Join(dir, "root.crt")); err != nil {
		return nil, err
	}
	a.pool.AddCert(a.root)
	a.hints = a.pool.Clone()
	a.issuer = a.root
	certFile, keyFile := filepath.Join(dir, "root.crt"), filepath.Join(dir, "root.key")
	if _, err := os.Stat(filepath.Join(dir, "issuing.crt")); err == nil {
		certFile, keyFile = filepath.Join(dir, "issuing.crt"), filepath.Join(dir, "issuing.key")
		if a.issuer, err = readCertificate(certFile); err != nil {
			return nil, err
		}
		if err := a.issuer.CheckSignatureFrom(a.root); err != nil {
			return nil, fmt.Errorf("%s was not signed by %s: restore the files from one copy", certFile, filepath.Join(dir, "root.crt"))
		}
		a.between.AddCert(a.issuer)
		a.hints.AddCert(a.issuer)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	if a.key, err = readKey(keyFile); err != nil {
		return nil, err
	}
	if !belongs(a.key, a.issuer) {
		return nil, fmt.Errorf("%s does not belong to %s: restore the two files from one copy", keyFile, certFile)
	}
	return a, nil
}

// belongs reports whether key is that of cert.
func belongs(key crypto.Signer, cert *x509.Certificate) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(cert.PublicKey)
}

// chain is what a client needs between a certificate and the root.
func (a *authority) chain() [][]byte {
	if a.issuer == a.root {
		return nil
	}
	return [][]byte{a.issuer.Raw}
}

// rootPEM is the root certificate, for those who must trust the server.
func (a *authority) rootPEM() []byte { return certPEM(a.root.Raw) }

// issue signs a certificate over pub. It never outlives its issuer.
func (a *authority) issue(template *x509.Certificate, pub crypto.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-clockSlack).UTC().Truncate(time.Second)
	template.NotAfter = now.Add(life).UTC().Truncate(time.Second)
	if template.NotAfter.After(a.issuer.NotAfter) {
		template.NotAfter = a.issuer.NotAfter
	}
	if !template.NotAfter.After(now) {
		return nil, fmt.Errorf("issuing a certificate: %s expired on %s", a.issuer.Subject.CommonName, a.issuer.NotAfter.Format(time.DateOnly))
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.SubjectKeyId = keyID(pub)
	if a.points != nil {
		template.CRLDistributionPoints = a.points()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.issuer, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// device issues the certificate of one generation of a device.
func (a *authority) device(tenant, device string, generation int, pub crypto.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: clipName(device), Organization: []string{tenant}},
		URIs:        []*url.URL{{Scheme: "urn", Opaque: strings.TrimPrefix(deviceURN(deviceKey{deviceName{tenant, device}, generation}), "urn:")}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pub, now, life)
}

// deviceURN is the name in a device's certificate that no other one has.
func deviceURN(k deviceKey) string {
	return "urn:trustpack:device:" + k.tenant + ":" + k.id + ":" + strconv.Itoa(k.generation)
}

// operator issues the certificate of an operator.
func (a *authority) operator(name string, pub crypto.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: clipName(name)},
		URIs:        []*url.URL{{Scheme: "urn", Opaque: "trustpack:operator:" + name}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pub, now, life)
}

// server gives the server's certificate for hosts: the one on disk while it
// fits and a third of its life is left, else a new one with a new key.
func (a *authority) server(hosts []string, now time.Time, life time.Duration) (*tls.Certificate, error) {
	certFile, keyFile := filepath.Join(a.dir, "server.crt"), filepath.Join(a.dir, "server.key")
	if cert, err := readCertificate(certFile); err == nil && a.stillServes(cert, hosts, now) {
		key, err := readKey(keyFile)
		if err != nil {
			return nil, err
		}
		if belongs(key, cert) {
			return a.serves(cert, key), nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the server's key: %w", err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: clipName(hosts[0])}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	cert, err := a.issue(template, key.Public(), now, life)
	if err != nil {
		return nil, err
	}
	if err := writeKey(keyFile, key); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(certFile, certPEM(cert.Raw), 0o644); err != nil {
		return nil, err
	}
	return a.serves(cert, key), nil
}

// serves is what a handshake shows of the server.
func (a *authority) serves(cert *x509.Certificate, key crypto.Signer) *tls.Certificate {
	return &tls.Certificate{Certificate: append([][]byte{cert.Raw}, a.chain()...), PrivateKey: key, Leaf: cert}
}

func (a *authority) stillServes(cert *x509.Certificate, hosts []string, now time.Time) bool {
	for _, h := range hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	if a.points != nil && !slices.Equal(cert.CRLDistributionPoints, a.points()) {
		return false
	}
	return cert.CheckSignatureFrom(a.issuer) == nil && !now.Before(cert.NotBefore) && cert.NotAfter.Sub(now) > cert.NotAfter.Sub(cert.NotBefore)/3
}

// verify checks that a client certificate is one of ours, at now.
func (a *authority) verify(cert *x509.Certificate, now time.Time) error {
	_, err := cert.Verify(x509.VerifyOptions{Roots: a.pool, Intermediates: a.between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// parseCSR reads a PEM certificate request, checks its signature and its key.
func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 2 {
		return nil, errors.New("csr is no single PEM block of type CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errors.New("csr cannot be parsed")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("csr is not signed by its own key")
	}
	if _, err := keyType(csr.PublicKey); err != nil {
		return nil, err
	}
	return csr, nil
}

// keyType names a public key that may be certified: P-256 or larger NIST
// curves, Ed25519, RSA from 3072 bits.
func keyType(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return "ecdsa-p" + strconv.Itoa(k.Curve.Params().BitSize), nil
		}
		return "", fmt.Errorf("an ECDSA key on %s is too weak; use P-256 or above", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return "ed25519", nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 3072 || bits > 8192 {
			return "", fmt.Errorf("an RSA key of %d bits; use 3072 to 8192", bits)
		}
		return "rsa-" + strconv.Itoa(k.N.BitLen()), nil
	}
	return "", errors.New("a key of a kind that is not taken; use ECDSA P-256, Ed25519 or RSA 3072")
}

// fingerprintOf is "sha256:<hex>" of the DER certificate.
func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always 16 bytes
	return new(big.Int).SetBytes(b), nil
}

// keyID is the identifier of a key: the first 160 bits of SHA-256 over it (RFC
// 7093, section 2, method 1).
func keyID(pub crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil // the library makes one of its own, or refuses the key
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20]
}

// caName is the common name of a CA of an organisation, of which it leaves out
// the end where the whole would have more than 64 characters.
func caName(org, what string) string {
	text := []rune(org)
	return string(text[:min(len(text), 64-len(what))]) + what
}

// clipName keeps a common name, which is ASCII, within its 64 characters (RFC 5280, ub-common-name).
func clipName(s string) string { return s[:min(len(s), 64)] }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func writeKey(path string, key crypto.Signer) error {
	b, err := keyPEM(key)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, b, 0o600)
}

func readCertificate(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("reading certificate %s: it holds no PEM certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s: %w", path, err)
	}
	return cert, nil
}

// readKey reads a PKCS #8 private key. What it holds never enters an error.
func readKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("reading private key %s: it holds no PEM block PRIVATE KEY (PKCS #8)", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading private key %s: it is no PKCS #8 key", path)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading private key %s: it cannot sign", path)
	}
	return signer, nil
}
