//go:build weakened

package ingest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
)

// WithoutGuard is the environment variable that names the guard to leave out.
const WithoutGuard = "TRUSTPACK_WITHOUT_GUARD"

func off(g guard) bool { return os.Getenv(WithoutGuard) == string(g) }

// takePlain hands a connection that speaks HTTP without TLS to net/http.
func (p *port) takePlain(h *hot) (handedOn bool) {
	if !off(guardPlaintext) {
		return false
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(h.sess, first); err != nil {
		return false
	}
	whole := &begunPlain{h.sess, io.MultiReader(bytes.NewReader(first), h.sess)}
	if first[0] >= 'A' && first[0] <= 'Z' {
		return h.state.CompareAndSwap(hotIdle, hotBusy) && p.handed.take(whole)
	}
	h.conn = tls.Server(whole, p.tls)
	return false
}

// begunPlain is a session whose first byte was read before.
type begunPlain struct {
	*session
	from io.Reader
}

func (c *begunPlain) Read(b []byte) (int, error) { return c.from.Read(b) }

func (c *begunPlain) NetConn() net.Conn { return c.session }

// sessionBelow finds the session of a handshake.
func sessionBelow(c net.Conn) (sess *session, ok bool) {
	if begun, ok := c.(*begunPlain); ok {
		return begun.session, true
	}
	sess, ok = c.(*session)
	return sess, ok
}

func weakenTLS(s *Server, c *tls.Config) {
	switch {
	case off(guardTLSVersion): // the versions before 1.2 have suites of their own
		c.MinVersion = tls.VersionTLS10
		c.CipherSuites = append(c.CipherSuites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA)
	case off(guardTLSCipher):
		for _, suite := range tls.InsecureCipherSuites() {
			c.CipherSuites = append(c.CipherSuites, suite.ID)
		}
	case off(guardServerCert):
		good := c.GetCertificate
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if conn, ok := sessionBelow(hello.Conn); !ok || conn.listener != "public" {
				return good(hello)
			}
			return s.expiredCertificate()
		}
	}
}

// expiredCertificate is one of our own CA for this host that was valid until
// an hour ago.
func (s *Server) expiredCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := *s.certificate.Load().Leaf
	leaf.SerialNumber, leaf.NotBefore, leaf.NotAfter = big.NewInt(2), s.now().Add(-2*time.Hour), s.now().Add(-time.Hour)
	leaf.PublicKey, leaf.SignatureAlgorithm = nil, 0
	der, err := x509.CreateCertificate(rand.Reader, &leaf, s.ca.issuer, key.Public(), s.ca.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// weakenProof takes a client for a device that it did not prove to be.
func (c *session) weakenProof(cert *x509.Certificate) {
	switch {
	case cert == nil && off(guardNoCertificate):
		c.become(func(*device) bool { return true })
	case cert != nil && off(guardChain):
		c.become(func(d *device) bool { return d.key.id == cert.Subject.CommonName })
	}
}

func (c *session) become(match func(*device) bool) {
	for _, d := range c.s.st.someDevices(func(d *device) bool { return d.record.State == evidence.DeviceActive && match(d) }) {
		credential := d.record.Credentials[0]
		c.fingerprint, c.notBefore, c.notAfter = credential.Fingerprint, credential.NotBefore, credential.NotAfter
	}
}

// proofTime is when a certificate is judged.
func (c *session) proofTime(cert *x509.Certificate, now time.Time) time.Time {
	if off(guardExpiry) {
		return cert.NotBefore
	}
	return now
}

// anyInteger makes a number of whatever stands there.
func (s *scanner) anyInteger() int64 {
	from := s.i
	for s.i < len(s.b) && !strings.ContainsRune(",}", rune(s.b[s.i])) {
		s.i++
	}
	n, _ := strconv.ParseInt(s.b[from:s.i], 10, 64) // too large: the largest; no number: 0
	return min(n, 1<<53)
}

// deviceRate is what a device's events are counted in.
func (s *Server) deviceRate(c *call) *gcra {
	if !off(guardRateApart) {
		return &c.d.rate
	}
	return &s.st.someDevices(func(d *device) bool { return strings.HasPrefix(d.key.tenant, evidence.CanaryPrefix) })[0].rate
}

// deviceAsOperator lets a device do all that an operator may.
func (s *Server) deviceAsOperator(a *adminCall, d *device) {
	if off(guardDeviceAdmin) {
		a.op = &operator{Operator: evidence.Operator{Name: d.key.id, Roles: Roles()}}
	}
}
