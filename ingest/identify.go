package ingest

import (
	"fmt"
	"slices"
	"strings"

	"trustpack/evidence"
)

// identify finds the device that the connection's certificate, or the token of
// the request, stands for. The registry is asked on every request, since what it says may have changed.
func (s *Server) identify(c *call) *Problem {
	if c.bearer.given() && !off(guardToken) {
		return s.identifyBearer(c)
	}
	return s.identifyCertificate(c)
}

func (s *Server) identifyCertificate(c *call) *Problem {
	if c.sess == nil || c.sess.fingerprint == "" {
		return problem(CodeNoCertificate, "")
	}
	d := c.sess.device.Load()
	if d == nil {
		if d, _ = s.st.byFingerprint(c.sess.fingerprint); d == nil && c.sess.external != nil {
			var p *Problem
			if d, p = s.adopt(c, c.sess.external); p != nil {
				return p
			}
		}
		if d == nil {
			return problem(CodeUnknownCredential, "")
		}
		c.sess.device.Store(d)
	}
	c.d, c.print = d, c.sess.fingerprint
	if e := c.sess.external; e != nil {
		if p := s.vouched(e); p != nil {
			return p
		}
	}
	s.st.mu.RLock()
	state := d.record.State
	c.t = s.st.tenants[d.key.tenant]
	known := true
	if len(d.record.Credentials) > 1 { // of one alone its certificate says all
		c.until, known = d.endOf(c.print)
	}
	s.st.mu.RUnlock()
	c.at = s.now()
	switch now := c.at; {
	case (now.After(c.sess.notAfter) || now.Before(c.sess.notBefore)) && !off(guardExpiry):
		return problem(CodeExpiredCredential, "")
	case !known || !c.until.IsZero() && !now.Before(c.until):
		return problem(CodeExpiredCredential, "it was replaced by another one")
	case c.sess.excess:
		return s.tooManyConnections()
	}
	return stateProblem(state)
}

func (s *Server) tooManyConnections() *Problem {
	p := problem(CodeTooManyConns, fmt.Sprintf("the limit is %d", s.cfg().Limits.ConnectionsPerDevice))
	p.retryAfter = 1
	return p
}

// stateProblem says why a device in state may not send; nil where it may.
func stateProblem(state evidence.DeviceState) *Problem {
	switch {
	case state == evidence.DeviceActive || state == evidence.DeviceIssued:
		return nil
	case state == evidence.DeviceQuarantined && off(guardQuarantine), state == evidence.DeviceRevoked && off(guardRevocation):
		return nil
	case state == evidence.DeviceQuarantined:
		return problem(CodeQuarantined, "")
	case state == evidence.DeviceRetired:
		return problem(CodeRetired, "")
	}
	return problem(CodeRevoked, "")
}

// claims refuses a request that names another tenant in path or header.
func (c *call) claims() *Problem {
	for _, t := range c.named {
		if t != c.d.key.tenant {
			return mismatch(t)
		}
	}
	return nil
}

func mismatch(claimed string) *Problem {
	p := problem(CodeTenantMismatch, "")
	p.claimed = strings.Clone(claimed) // it may be a part of a body
	if claimed == "" {
		p.claimed = "(empty)"
	}
	return p
}

// noteContact activates a device with its first valid contact and records a
// source address that its credential was not seen from before.
func (s *Server) noteContact(c *call) error {
	if c.sess.noted.Load() {
		return nil
	}
	s.st.mu.RLock()
	known := c.d.record.State == evidence.DeviceActive && sourceKnown(c)
	s.st.mu.RUnlock()
	if known {
		c.sess.noted.Store(true)
		return nil
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	c.d.flow.Lock()
	defer c.d.flow.Unlock()
	if p := stateProblem(c.d.record.State); p != nil {
		return p
	}
	e := evidence.AuditEntry{
		Tenant: c.d.key.tenant, Device: c.d.key.id, Generation: c.d.key.generation, RequestID: c.id(),
		Data: raw(sourceData{c.print, c.sess.source}),
	}
	var err error
	switch {
	case c.d.record.State == evidence.DeviceIssued:
		_, err = s.record(s.entry(evidence.EntryDeviceActivated, e))
	case !sourceKnown(c):
		_, err = s.record(s.entry(evidence.EntryCredentialSeen, e))
	}
	if err == nil {
		c.sess.noted.Store(true)
	}
	return err
}

// maxSources is how many source addresses of a credential are recorded.
const maxSources = 64

// sourceKnown reports whether the source address needs no entry. The caller
// holds state.mu or the device's flow.
func sourceKnown(c *call) bool {
	list := c.d.sources(c.print)
	return len(list) >= maxSources || slices.Contains(list, c.sess.source)
}
