package ingest

import (
	"container/list"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sessionKey is where a request's context holds its session.
type sessionKey struct{}

// session is one TCP connection, from accept to close. It wraps the raw
// connection below TLS, so that closing it cuts whatever runs above: an
// HTTP/1.1 connection kept open, all streams of an HTTP/2 one, or a handshake.
type session struct {
	net.Conn
	s        *Server
	listener string // "public" or "admin"
	source   string // IP address
	whence   string // what of it tells places apart
	number   uint64 // in the order in which connections came
	sniffed  bool   // first byte was looked at; only the reading goroutine uses it

	// Guarded by sessions.mu.
	place  *list.Element // among the connections without a proven credential
	shown  string        // the fingerprint under which it can be cut
	tokens []string      // of tokens that it brought, under which it can be cut too
	proven bool          // it holds the key to that

	// Set once by the handshake, before any request.
	fingerprint string
	notAfter    time.Time
	notBefore   time.Time
	external    *external // where a declared external CA signed it
	proof       sync.Once
	excess      bool // over the device's limit of connections; set by prove

	device    atomic.Pointer[device] // looked up by the first request
	streaming atomic.Bool            // carries a stream
	noted     atomic.Bool            // its source address is in the registry
	token     atomic.Pointer[string] // fingerprint of the token that it brought last
	removed   sync.Once
}

// Read looks at the first byte: a TLS record begins with 22, an HTTP request
// in plaintext with a letter. The latter is recorded before it is answered.
func (c *session) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.sniffed {
		c.sniffed = true
		if b[0] >= 'A' && b[0] <= 'Z' {
			if rerr := c.s.refusals.add(refused{code: CodePlaintext, source: c.source, path: c.listener, detail: "plaintext HTTP on the " + c.listener + " port"}); rerr != nil {
				return 0, errors.Join(err, rerr)
			}
		}
	}
	return n, err
}

func (c *session) Close() error {
	c.removed.Do(func() { c.s.sessions.remove(c) })
	return c.Conn.Close()
}

// sessions are the open connections, by the credential they showed.
type sessions struct {
	mu    sync.Mutex
	byKey map[string][]*session // by fingerprint, oldest first
	all   map[*session]struct{}
	ports map[string]*crowd
	none  chan struct{} // closed when none is open any more; nil until gone is asked

	serial atomic.Uint64 // number of the connection that came last
}

func newSessions() *sessions {
	return &sessions{byKey: map[string][]*session{}, all: map[*session]struct{}{}, ports: map[string]*crowd{}}
}

// prove notes that the handshake has come to its end, as the first request
// shows: until then the other side has shown a certificate, which is no secret,
// and not yet that it holds the key. So nobody can use up the connections of
// a device with a copy of its certificate.
func (c *session) prove() {
	if c.fingerprint != "" {
		c.proof.Do(func() {
			c.excess = c.s.sessions.prove(c, c.s.st.printsOf(c.fingerprint), c.s.cfg().Limits.ConnectionsPerDevice) && c.listener == "public"
		})
	}
}

// prove notes that c holds the key to what it has shown, and says whether
// others hold one of the same device, whose fingerprints are prints, in such a
// number that c is over the limit. Then it goes on making
// room, so that no device fills the port.
func (ss *sessions) prove(c *session, prints []string, limit int) (excess bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	others := 0
	for i, print := range prints {
		for _, o := range ss.byKey[print] {
			if o.proven && o != c && !o.under(prints[:i]) {
				others++
			}
		}
	}
	c.proven = true
	if others >= limit {
		return true
	}
	ss.known(c)
	return false
}

// bind notes which credential c has shown, by which it can be cut.
func (ss *sessions) bind(c *session, fingerprint string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, open := ss.all[c]; open {
		c.shown = fingerprint
		ss.byKey[fingerprint] = append(ss.byKey[fingerprint], c)
	}
}

func (ss *sessions) remove(c *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, open := ss.all[c]; open {
		delete(ss.all, c)
		ss.known(c)
		ss.ports[c.listener].open--
		ss.ended()
	}
	if c.shown != "" {
		ss.unbind(c, c.shown)
	}
	for _, print := range c.tokens {
		ss.unbind(c, print)
	}
}

// unbind takes c from those that showed the fingerprint. The caller holds ss.mu.
func (ss *sessions) unbind(c *session, fingerprint string) {
	list := slices.DeleteFunc(ss.byKey[fingerprint], func(o *session) bool { return o == c })
	if len(list) == 0 {
		delete(ss.byKey, fingerprint)
	} else {
		ss.byKey[fingerprint] = list
	}
}

// bindToken notes that c brought a token, by which it can be cut.
func (ss *sessions) bindToken(c *session, print string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, open := ss.all[c]; open && !slices.Contains(c.tokens, print) {
		c.tokens = append(c.tokens, print)
		ss.byKey[print] = append(ss.byKey[print], c)
	}
}

// under reports whether c can be cut under one of the fingerprints. The caller
// holds sessions.mu.
func (c *session) under(prints []string) bool {
	return slices.Contains(prints, c.shown) || slices.ContainsFunc(c.tokens, func(t string) bool { return slices.Contains(prints, t) })
}

func (ss *sessions) count() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.all)
}

// gone is closed at the first moment, from now on, in which no connection is open.
func (ss *sessions) gone() <-chan struct{} {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	none := make(chan struct{})
	ss.none = none
	ss.ended()
	return none
}

// ended tells whoever asked that no connection is open. The caller holds ss.mu.
func (ss *sessions) ended() {
	if len(ss.all) == 0 && ss.none != nil {
		close(ss.none)
		ss.none = nil
	}
}

func (ss *sessions) closeAll() {
	ss.mu.Lock()
	list := make([]*session, 0, len(ss.all))
	for c := range ss.all {
		list = append(list, c)
	}
	ss.mu.Unlock()
	for _, c := range list {
		_ = c.Close() // the server is ending; there is nobody to tell
	}
}

// tracked is a listener whose connections are sessions.
type tracked struct {
	net.Listener
	s    *Server
	name string
}

func (l tracked) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := conn.RemoteAddr().String()
		if host, _, err := net.SplitHostPort(source); err == nil {
			source = host
		}
		if c := (&session{Conn: conn, s: l.s, listener: l.name, source: source, whence: placeOf(source), number: l.s.sessions.serial.Add(1)}); c.admitted() {
			return c, nil
		}
	}
}

// minTLS is the oldest version of TLS that either port speaks; what the
// configuration snapshot says of it is read from here.
const minTLS = tls.VersionTLS12

// listener puts TLS over sessions.
func (ss *sessions) listener(s *Server, ln net.Listener, name string) net.Listener {
	return tls.NewListener(tracked{ln, s, name}, ss.config(s, name))
}

// config is how either port speaks TLS over sessions.
func (ss *sessions) config(s *Server, name string) *tls.Config {
	base := &tls.Config{
		MinVersion:   minTLS,
		CipherSuites: cipherSuites(),
		NextProtos:   []string{"h2", "http/1.1"},
		// An answer is one record and one write, whatever its size.
		DynamicRecordSizingDisabled: true,
		Time:                        s.now,
		// Asked for and checked in VerifyConnection, so that a certificate of
		// somebody else's CA is recorded before the handshake is refused.
		ClientAuth: tls.RequestClientCert,
		ClientCAs:  s.clientCAs(name),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate.Load(), nil
		},
	}
	weakenTLS(s, base)
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, ok := sessionBelow(hello.Conn)
		if !ok {
			return nil, errors.New("connection is not one that the ingest accepted")
		}
		if err := c.greet(hello); err != nil {
			return nil, err
		}
		own := base.Clone()
		own.GetConfigForClient = nil
		own.VerifyConnection = c.verify
		own.ClientCAs = s.clientCAs(c.listener)
		return own, nil
	}
	return base
}

// cipherSuites are those of TLS 1.2 with forward secrecy and AEAD; TLS 1.3
// has no others.
func cipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// greet records a client that offers too little, before the handshake fails.
func (c *session) greet(hello *tls.ClientHelloInfo) error {
	newest := slices.Max(append([]uint16{0}, hello.SupportedVersions...))
	r := refused{source: c.source, path: c.listener}
	switch {
	case newest < minTLS:
		r.code, r.detail = CodeTLSVersion, "offers at most "+tls.VersionName(newest)
	case newest == tls.VersionTLS12 && !slices.ContainsFunc(hello.CipherSuites, func(id uint16) bool { return slices.Contains(cipherSuites(), id) }):
		r.code, r.detail = CodeTLSCipher, "offers no cipher suite with forward secrecy and AEAD"
	default:
		return nil
	}
	return c.s.refusals.add(r) // nil: the handshake goes on to fail with its own alert
}

// verify checks the client's certificate at the end of the handshake. None is
// allowed here: enrolment and health need none. One of a device or operator
// that may do nothing any more passes, to be told so with a proper answer.
func (c *session) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		c.weakenProof(nil)
		return nil
	}
	cert := state.PeerCertificates[0]
	fp := fingerprintOf(cert.Raw)
	err := c.s.ca.verify(cert, c.proofTime(cert, c.s.now()))
	if err != nil && c.listener == "public" {
		// Whose device it is, and whether it may do anything, each request asks.
		if c.external, _ = c.s.set.Load().externals.verify(cert, state.PeerCertificates[1:], c.s.now()); c.external != nil {
			err = nil
		}
	}
	if err != nil && !off(guardChain) {
		r := refused{code: CodeUnknownCredential, fingerprint: fp, source: c.source, path: c.listener, detail: reasonOf(err)}
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			r.code = CodeExpiredCredential
			if d, _ := c.s.st.byFingerprint(fp); d != nil {
				r.of(d)
			}
		}
		if rerr := c.s.refusals.add(r); rerr != nil {
			return rerr
		}
		return fmt.Errorf("client certificate refused: %s", r.detail)
	}
	c.notBefore, c.notAfter = cert.NotBefore, cert.NotAfter
	c.fingerprint = fp
	c.weakenProof(cert)
	c.s.sessions.bind(c, fp)
	return nil
}

// reasonOf says why a chain did not verify, without text from the peer.
func reasonOf(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		return "signed by an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired or not yet valid"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "not made for client authentication"
	}
	return "does not verify"
}

// sessionOf is the connection that carries r.
func sessionOf(r *http.Request) *session {
	c, _ := r.Context().Value(sessionKey{}).(*session)
	return c
}
