package ingest

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// RotationPolicy is how credentials give way to new ones.
type RotationPolicy struct {
	// DueBefore is how long before its end a credential is listed as due, but
	// never more than a third of its life: so those of a day are due for 8 hours.
	DueBefore time.Duration `yaml:"due_before"`
	// Overlap is how long the old one goes on beside the new one, at most to
	// its own end.
	Overlap time.Duration `yaml:"overlap"`
}

// DefaultRotation leaves a device that comes online once a month a chance to
// renew, and one that has renewed a day to switch over.
func DefaultRotation() RotationPolicy { return RotationPolicy{DueBefore: 30 * day, Overlap: day} }

// maxRenewals is how often a device may renew in 24 hours: each renewal is kept
// in the log for ever.
const maxRenewals = 8

// rotation is one credential taking the place of another.
type rotation struct {
	d    *device
	used string // fingerprint of the credential that asks; empty where a one-time code does
	id   string // of the request
}

// renew gives a device a new credential for the one that it shows:
// POST {"csr"}, or {"method":"token"}, which only a token may ask for. The old one lives on for rotation.overlap. Whoever holds a
// credential's key can renew it; that this cannot go unnoticed is what the
// entry is for, and the alert that is raised where the old one asks again though
// the new one is in use: whoever has that is somebody else.
func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	out, p := s.renewal(c, w, r)
	if p != nil {
		s.answer(w, c, p)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

func (s *Server) renewal(c *call, w http.ResponseWriter, r *http.Request) (any, *Problem) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, problem(CodeMethod, "use POST")
	}
	c.ask(w, r)
	if p := s.identify(c); p != nil {
		return nil, p
	}
	if p := s.enrolPace(c); p != nil {
		return nil, p
	}
	var in struct {
		Method string `json:"method"`
		CSR    string `json:"csr"`
	}
	if p := decodeJSON(w, r, &in); p != nil {
		return nil, p
	}
	want, p := wantedOf(in.Method, in.CSR)
	if p != nil {
		return nil, p
	}
	return s.renewFor(c, want)
}

// renewFor gives the device that identify found what it wants beside the
// credential that it shows.
func (s *Server) renewFor(c *call, want wanted) (any, *Problem) {
	if err := s.durable(); err != nil {
		return nil, lostProblem(err)
	}
	out, p := s.renewNow(c, want)
	if p != nil && p.Code == CodeConflict {
		if err := s.raiseShared(c.d, c.outdated(s.now())); err != nil {
			p = s.failure(err)
		}
	}
	return out, p
}

func (s *Server) renewNow(c *call, want wanted) (any, *Problem) {
	s.decide.Lock()
	defer s.decide.Unlock()
	c.d.flow.Lock()
	defer c.d.flow.Unlock()
	if p := stateProblem(c.d.record.State); p != nil {
		return nil, p
	}
	old, now := c.d.credential(c.print), s.now()
	if old == nil || !lives(old, now) {
		return nil, problem(CodeExpiredCredential, "it ended meanwhile")
	}
	if want.method == MethodToken && old.Method != MethodToken {
		return nil, problem(CodeTokenNotAllowed, "a device that has a certificate does not fall back to a token by itself")
	}
	if p := c.d.mayRenew(now); p != nil {
		return nil, p
	}
	return s.rotate(rotation{c.d, c.print, c.id()}, want)
}

// enrolPace bounds how often one source asks for credentials.
func (s *Server) enrolPace(c *call) *Problem {
	if c.sess == nil {
		return nil
	}
	ok, _, retry := s.sourceLimits.of(c.sess.source).take(s.now(), 1, enrolRate())
	if ok {
		return nil
	}
	p := problem(CodeRateSource, "")
	p.retryAfter = retrySeconds(retry)
	return p
}

// mayRenew bounds how often the device renews. The caller holds the flow.
func (d *device) mayRenew(now time.Time) *Problem {
	n := 0
	for i := range d.record.Credentials {
		if d.record.Credentials[i].NotBefore.After(now.Add(-day)) {
			n++
		}
	}
	if n < maxRenewals {
		return nil
	}
	p := problem(CodeRateDevice, "it was given as many credentials as it may in 24 hours")
	p.retryAfter = retrySeconds(time.Hour)
	return p
}

// rotate issues the new credential and sets the end of those that it replaces.
// A credential that was replaced before can be used for it once more only
// while its successor was never seen: so a device whose answer was lost asks
// again, the successor that nobody has is retired with the same decision, and
// the old one's end stays where it was. The caller holds s.decide and the
// device's flow.
func (s *Server) rotate(x rotation, want wanted) (any, *Problem) {
	now := s.now()
	until := now.Add(s.cfg().Rotation.Overlap)
	replaces, by := x.used, "device"
	var lost []string
	if x.used == "" {
		by = "code"
		if n := len(x.d.record.Credentials); n > 0 {
			replaces = x.d.record.Credentials[n-1].Fingerprint
		}
	} else if old := x.d.credential(x.used); !old.Ends.IsZero() {
		for i := range x.d.record.Credentials {
			c := &x.d.record.Credentials[i]
			if !c.Ends.IsZero() || c.Retired != "" {
				continue
			}
			if len(x.d.sources(c.Fingerprint)) > 0 {
				return nil, problem(CodeConflict, "the credential was replaced by another one, which is in use: renew with that")
			}
			lost = append(lost, c.Fingerprint)
		}
		until = old.Ends
	}
	fresh, answer, p := s.newCredential(x.d, want)
	if p != nil {
		return nil, p
	}
	about := evidence.AuditEntry{Tenant: x.d.key.tenant, Device: x.d.key.id, Generation: x.d.key.generation, RequestID: x.id, Result: "done"}
	about.Data = raw(rotatedData{fresh, replaces, until, by})
	entries := []evidence.AuditEntry{s.entry(evidence.EntryDeviceRotated, about)}
	for _, print := range lost {
		about.Data = raw(retiredData{print, whyRotated})
		entries = append(entries, s.entry(evidence.EntryCredentialDead, about))
	}
	if _, err := s.record(entries...); err != nil {
		return nil, s.failure(err)
	}
	answer["old_until"] = until
	return answer, nil
}

// newCertificate certifies a device's key for life. answer is what the device is told.
func (s *Server) newCertificate(d *device, csr *x509.CertificateRequest, life time.Duration) (c evidence.Credential, answer map[string]any, p *Problem) {
	key, err := s.ownKey(d, csr.PublicKey)
	if err != nil {
		return c, nil, s.failure(err)
	}
	cert, err := s.ca.device(d.key.tenant, d.key.id, d.key.generation, csr.PublicKey, s.now(), life)
	if err != nil {
		return c, nil, s.failure(err)
	}
	kind, err := keyType(csr.PublicKey)
	if err != nil {
		return c, nil, s.failure(err)
	}
	c = evidence.Credential{
		Fingerprint: fingerprintOf(cert.Raw), Method: MethodCertificate, KeyType: kind, Key: key, Serial: cert.SerialNumber.Text(16),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
	return c, map[string]any{"certificate": string(certPEM(cert.Raw)), "ca": string(s.ca.rootPEM())}, nil
}

// orderRotation gives a one-time code with which the device, or who sets it
// up, fetches a new credential from /v1/enroll, as at its enrolment; the old
// one's overlap begins then. In a critical fleet as many approvers must order it
// as must approve a device there, within approvals.code_valid: a code is worth
// what an approval is.
func (s *Server) orderRotation(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	if strings.TrimSpace(in.Reason) == "" {
		return nil, problem(CodeInvalid, "reason: say why")
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d, p := s.named(a)
	if p != nil {
		return nil, p
	}
	now := s.now()
	consents := d.consents(now.Add(-s.cfg().Approvals.CodeValid))
	switch {
	case d.record.State != evidence.DeviceActive && d.record.State != evidence.DeviceIssued:
		return nil, problem(CodeConflict, "the device is "+string(d.record.State)+"; only one that may send has its credential rotated")
	case slices.ContainsFunc(consents, func(x Approval) bool { return x.Actor == a.op.Name }):
		return nil, problem(CodeApprovalSelf, "the same operator ordered it before")
	}
	have, needed := len(consents)+1, s.cfg().Approvals.needed(d.record.Fleet)
	e := evidence.AuditEntry{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Reason: in.Reason, Ticket: in.Ticket}
	out := map[string]any{"approvals": have, "needed": needed}
	order := orderedData{Approvals: have, Needed: needed}
	if have < needed {
		a.status = http.StatusAccepted
	} else {
		code, err := newCode()
		if err != nil {
			return nil, s.failure(err)
		}
		expires := now.Add(s.cfg().Approvals.CodeValid)
		order.Hash, order.Expires = evidence.SHA256Hex([]byte(code)), expires
		out = map[string]any{"enrolment_code": code, "expires": expires}
	}
	e.Data = raw(order)
	d.flow.Lock()
	defer d.flow.Unlock()
	if p := a.done(evidence.EntryRotationOrdered, e); p != nil {
		return nil, p
	}
	return out, nil
}

// consents are those to an ordered rotation that are not older than since.
func (d *device) consents(since time.Time) []Approval {
	return slices.DeleteFunc(slices.Clone(d.rotation), func(x Approval) bool { return x.Time.Before(since) })
}
