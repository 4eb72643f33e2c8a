package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"time"
)

// missRate bounds the wrong tokens of one source address that are each named in
// the log; beyond it they are answered with 429 and counted. A good token is
// never held up by it, since behind one address there may be many devices and
// one of them may have been told wrong: guessing 256 bits is hopeless at any
// rate, so what is bounded is the noise.
func missRate() Rate { return Rate{PerSecond: 1, Burst: 30} }

// bearerState is what a call knows of the token that came with it.
type bearerState struct {
	text  string   // until it is known whose it is; a part of the request's bytes
	fault *Problem // the Authorization field cannot be read
	known bool     // call.print is the token's
}

func (b *bearerState) given() bool { return b.known || b.text != "" || b.fault != nil }

// asksBearer takes the token from the Authorization field, the only place in
// which one is taken.
func (c *call) asksBearer(r *http.Request) {
	token, given, p := bearer(r)
	if given {
		c.bearer = bearerState{text: token, fault: p}
	}
}

// identifyBearer finds the device that the token stands for. It is asked again
// while a request goes on, and then looks at the registry alone.
func (s *Server) identifyBearer(c *call) *Problem {
	if c.sess == nil {
		return problem(CodeNoCertificate, "")
	}
	if !c.bearer.known {
		if p := s.byToken(c); p != nil {
			return p
		}
	}
	// What follows looks at the registry after the connection was bound to the
	// token: whoever shuts the device out cuts it, or was before.
	s.st.mu.RLock()
	state := c.d.record.State
	c.t = s.st.tenants[c.d.key.tenant]
	notBefore, ok := time.Time{}, false
	if t := c.d.credential(c.print); t != nil {
		notBefore, ok = t.NotBefore, t.Retired == ""
		if c.until = t.NotAfter; !t.Ends.IsZero() && t.Ends.Before(c.until) {
			c.until = t.Ends
		}
	}
	s.st.mu.RUnlock()
	c.at = s.now()
	switch {
	case !ok || c.at.Before(notBefore) || !c.at.Before(c.until):
		return problem(CodeExpiredCredential, "the token has ended or was replaced by another one")
	case c.sess.excess:
		return s.tooManyConnections()
	}
	return stateProblem(state)
}

// byToken finds whose token it is and binds the connection to it.
func (s *Server) byToken(c *call) *Problem {
	text, fault := c.bearer.text, c.bearer.fault
	c.bearer = bearerState{}
	if fault != nil {
		return s.missed(c, fault)
	}
	if !plainDeviceToken(text) {
		return s.missed(c, problem(CodeUnknownCredential, "the bearer token is none of a device"))
	}
	sum := sha256.Sum256([]byte(text))
	print := append(make([]byte, 0, 7+2*sha256.Size), "sha256:"...)
	print = hex.AppendEncode(print, sum[:])
	s.st.mu.RLock()
	d := s.st.deviceFor[string(print)]
	known := ""
	if d != nil {
		// What finds it is a digest of 256 random bits, which nobody can
		// approach byte by byte; the comparison takes the same time all the same.
		if t := d.credential(string(print)); t != nil && t.Method == MethodToken && subtle.ConstantTimeCompare([]byte(t.Fingerprint), print) == 1 {
			known = t.Fingerprint
		}
	}
	s.st.mu.RUnlock()
	if known == "" {
		c.print = string(print)
		return s.missed(c, problem(CodeUnknownCredential, ""))
	}
	c.print = known
	if p := s.oneDevice(c, d); p != nil {
		return p
	}
	c.d, c.bearer.known = d, true
	s.bindToken(c.sess, known)
	return nil
}

// missed is the answer to a token that is nobody's.
func (s *Server) missed(c *call, p *Problem) *Problem {
	ok, _, retry := s.tokenMisses.of(c.sess.source).take(s.now(), 1, missRate())
	if ok {
		return p
	}
	c.print = "" // so that they are counted together
	p = problem(CodeRateSource, "too many wrong tokens")
	p.retryAfter = retrySeconds(retry)
	return p
}

// oneDevice sees to it that one connection speaks for one device: its
// certificate, where it showed one, and all tokens that it brings are of that.
// The certificate must be good too.
func (s *Server) oneDevice(c *call, d *device) *Problem {
	if c.sess.fingerprint == "" {
		if !c.sess.device.CompareAndSwap(nil, d) && c.sess.device.Load() != d {
			return problem(CodeCredentialMismatch, "the connection brought the token of another device before")
		}
		return nil
	}
	own := *c
	own.bearer = bearerState{}
	if p := s.identifyCertificate(&own); p != nil && own.d != d {
		c.d = own.d
		return problem(CodeCredentialMismatch, "the connection's certificate is of no device that may send, or of another one")
	} else if p != nil {
		c.d = d
		return p
	}
	if own.d != d {
		c.d = own.d
		return problem(CodeCredentialMismatch, "the connection's certificate is of another device")
	}
	return nil
}

// bindToken notes that the connection brought the token, by which it can be cut,
// and counts it among its device's. The first time only: as a certificate is
// bound to its connection by the handshake, a token is by its first use there.
func (s *Server) bindToken(c *session, print string) {
	if last := c.token.Load(); last != nil && *last == print {
		return
	}
	s.sessions.bindToken(c, print)
	c.noted.Store(false)
	c.proof.Do(func() {
		c.excess = s.sessions.prove(c, s.st.printsOf(print), s.cfg().Limits.ConnectionsPerDevice) && c.listener == "public"
	})
	c.token.Store(&print) // last: who finds it may read what stands above
}

// printsOf are the fingerprints of all credentials of the one's device: of an
// operator, or of nobody, that one alone.
func (st *state) printsOf(print string) []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	d := st.deviceFor[print]
	if d == nil || len(d.record.Credentials) < 2 {
		return []string{print}
	}
	out := make([]string, len(d.record.Credentials))
	for i := range d.record.Credentials {
		out[i] = d.record.Credentials[i].Fingerprint
	}
	return out
}
