package ingest

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// ESTPolicy is how devices enrol over EST (RFC 7030).
type ESTPolicy struct {
	// Requests lets a device that shows a bootstrap certificate of a declared CA
	// ask for itself. Persons approve it all the same.
	Requests bool `yaml:"requests"`
	// Pending is how many devices of one CA that asked for themselves may wait.
	Pending int `yaml:"pending"`
	// RetryAfter is when a device that waits for approval is told to ask again.
	RetryAfter time.Duration `yaml:"retry_after"`
	// Linking is "required" where a request must prove that its key was at hand
	// on this very connection (RFC 7030, section 3.5), else "optional".
	Linking string `yaml:"linking"`
}

// Values of ESTPolicy.Linking.
const (
	LinkingOptional = "optional"
	LinkingRequired = "required"
)

// DefaultEST lets nobody ask for themselves.
func DefaultEST() ESTPolicy {
	return ESTPolicy{Pending: 1000, RetryAfter: 5 * time.Minute, Linking: LinkingOptional}
}

func (e ESTPolicy) validate() error {
	switch {
	case e.Linking != LinkingOptional && e.Linking != LinkingRequired:
		return fmt.Errorf("ingest.est.linking: %q; want %s or %s", e.Linking, LinkingOptional, LinkingRequired)
	case e.Pending < 1 || e.Pending > 1_000_000:
		return fmt.Errorf("ingest.est.pending: %d is outside 1 to 1000000", e.Pending)
	case e.RetryAfter < time.Second || e.RetryAfter > 7*day:
		return fmt.Errorf("ingest.est.retry_after: %v is outside 1s to 7 days", e.RetryAfter)
	}
	return nil
}

func (e ESTPolicy) effective() map[string]any {
	return map[string]any{"requests": e.Requests, "pending": e.Pending, "retry_after": durationText(e.RetryAfter), "linking": e.Linking}
}

const (
	estPrefix  = "/.well-known/est/"
	maxESTBody = 64 << 10
)

// Operations of RFC 7030, section 3.2.2. The last two are not served.
const (
	estCACerts  = "cacerts"
	estAttrs    = "csrattrs"
	estEnroll   = "simpleenroll"
	estReenroll = "simplereenroll"
	estFullCMC  = "fullcmc"
	estKeygen   = "serverkeygen"
)

// estPath reads what stands behind the prefix: an operation, or a label and
// an operation. A label is a tenant's ID and never an operation; a path without
// the prefix is nobody's.
func estPath(path string) (label, operation string, ok bool) {
	all := []string{estCACerts, estAttrs, estEnroll, estReenroll, estFullCMC, estKeygen}
	rest, ok := strings.CutPrefix(path, estPrefix)
	if !ok {
		return "", "", false
	}
	if before, after, cut := strings.Cut(rest, "/"); cut {
		if !tenantForm.MatchString(before) || slices.Contains(all, before) {
			return "", "", false
		}
		label, rest = before, after
	}
	return label, rest, slices.Contains(all[:4], rest)
}

// est answers EST clients.
func (s *Server) est(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	label, operation, ok := estPath(r.URL.Path)
	if !ok {
		s.answer(w, c, problem(CodeNotFound, ""))
		return
	}
	method, serve := http.MethodGet, s.estInform
	if operation == estEnroll || operation == estReenroll {
		method, serve = http.MethodPost, s.estEnrol
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		s.answer(w, c, problem(CodeMethod, "use "+method))
		return
	}
	if p := serve(w, r, c, label, operation); p != nil {
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="enrolment", charset="UTF-8"`)
		}
		s.answer(w, c, p)
	}
}

// estInform tells anybody the CA's certificates, or what a request should hold
// (RFC 7030, sections 4.1 and 4.5). The label means nothing here.
func (s *Server) estInform(w http.ResponseWriter, _ *http.Request, _ *call, _, operation string) *Problem {
	media, body, err := "application/csrattrs", []byte(nil), error(nil)
	if operation == estAttrs {
		body, err = csrAttributes(s.cfg().EST.Linking == LinkingRequired)
	} else {
		media = "application/pkcs7-mime"
		body, err = certsOnly(append(s.ca.chain(), s.ca.root.Raw)...)
	}
	if err != nil {
		return s.failure(err)
	}
	writeEST(w, media, body)
	return nil
}

// writeEST sends DER in base64 (RFC 8951, section 3).
func writeEST(w http.ResponseWriter, media string, der []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Transfer-Encoding", "base64")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, base64.StdEncoding.EncodeToString(der)+"\n") // a client that is gone asks again
}

// estEnrol gives a certificate for a request (RFC 7030, section 4.2). Who asks
// is, in this order, whom HTTP Basic names with a one-time code, whom a
// bootstrap certificate of a declared CA names, or the device whose living
// certificate the connection shows; only the last can re-enrol.
func (s *Server) estEnrol(w http.ResponseWriter, r *http.Request, c *call, label, operation string) *Problem {
	if p := s.enrolPace(c); p != nil {
		return p
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/pkcs10" {
		return problem(CodeMediaUnsupported, "Content-Type must be application/pkcs10")
	}
	ask, p := s.estAuthenticate(r, c, operation)
	if p != nil {
		return p
	}
	if label != "" && label != ask.tenant {
		return ask.about(mismatch(label))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxESTBody))
	if err != nil {
		return ask.about(bodyProblem(err, maxESTBody))
	}
	request, p := parseEST(body)
	if p == nil {
		p = request.linked(r.TLS, s.cfg().EST.Linking == LinkingRequired)
	}
	if p != nil {
		return ask.about(p)
	}
	if err := s.durable(); err != nil {
		return lostProblem(err)
	}
	cert, p := ask.issue(request, operation)
	switch {
	case p != nil:
		return ask.about(p)
	case cert == nil:
		s.estWait(w)
		return nil
	}
	out, err := certsOnly(cert)
	if err != nil {
		return s.failure(err)
	}
	writeEST(w, "application/pkcs7-mime; smime-type=certs-only", out)
	return nil
}

// estWait says that persons have to approve first (RFC 7030, section 4.2.3).
func (s *Server) estWait(w http.ResponseWriter) {
	w.Header().Set("Retry-After", itoa(int64(s.cfg().EST.RetryAfter/time.Second)))
	w.Header().Set("Cache-Control", "no-store")
	plain(w, http.StatusAccepted, "The request waits for approval. Send it again later.\n")
}

// estAsk is who asks, and how he is given a certificate. issue gives none and
// no problem where the request waits for approval.
type estAsk struct {
	deviceName
	issue func(*estRequest, string) ([]byte, *Problem)
}

// about names in the refusal's entry who asked.
func (a *estAsk) about(p *Problem) *Problem {
	p.tenant, p.device = a.tenant, a.id
	return p
}

// estAuthenticate finds who asks.
func (s *Server) estAuthenticate(r *http.Request, c *call, operation string) (*estAsk, *Problem) {
	if user, code, ok := r.BasicAuth(); ok && operation == estEnroll {
		return s.estByCode(c, user, code)
	}
	if c.sess == nil || c.sess.fingerprint == "" {
		return nil, problem(CodeNoCertificate, "enrol with the device as user name, TENANT/DEVICE, and the enrolment code as password, or with a certificate")
	}
	if e := c.sess.external; e != nil && e.ca.Bootstrap {
		return s.estByBootstrap(c, e, operation)
	}
	if p := s.identifyCertificate(c); p != nil {
		return nil, p
	}
	d, cert := c.d, r.TLS.PeerCertificates[0]
	if c.sess.external != nil {
		return nil, problem(CodeConflict, "the device's certificate is of the external CA "+c.sess.external.ca.Name+", which renews it; what this CA issues has another name")
	}
	return &estAsk{d.key.deviceName, func(request *estRequest, operation string) ([]byte, *Problem) {
		if operation == estReenroll {
			if p := request.renews(cert); p != nil {
				return nil, p
			}
		} else if p := request.names(d.key.deviceName, deviceURN(d.key)); p != nil {
			return nil, p
		}
		return certificateOf(s.renewFor(c, wanted{method: MethodCertificate, csr: request.CertificateRequest}))
	}}, nil
}

// estByCode takes the one-time code as the password of HTTP Basic.
func (s *Server) estByCode(c *call, user, code string) (*estAsk, *Problem) {
	tenant, device, cut := strings.Cut(user, "/")
	if !cut || !tenantForm.MatchString(tenant) || !deviceForm.MatchString(device) {
		return nil, unauthorized(problem(CodeEnrolBadCode, "the user name is TENANT/DEVICE"))
	}
	name := deviceName{tenant, device}
	// The request is judged only after the code: who has none learns nothing.
	s.decide.Lock()
	_, p := s.byCode(tenant, device, code)
	s.decide.Unlock()
	if p != nil {
		return nil, unauthorized(p)
	}
	return &estAsk{name, func(request *estRequest, _ string) ([]byte, *Problem) {
		s.decide.Lock()
		defer s.decide.Unlock()
		d, p := s.byCode(tenant, device, code) // it may have been spent meanwhile
		if p != nil {
			return nil, unauthorized(p)
		}
		if p := request.names(name, deviceURN(d.key)); p != nil {
			return nil, p
		}
		return certificateOf(s.issueTo(d, wanted{method: MethodCertificate, csr: request.CertificateRequest}, c.id(), ""))
	}}, nil
}

// unauthorized makes a refused code the answer that HTTP Basic wants.
func unauthorized(p *Problem) *Problem {
	if p.Code == CodeEnrolBadCode {
		p.Status = http.StatusUnauthorized
	}
	return p
}

// certificateOf takes the certificate out of what the other ways of enrolment
// answer.
func certificateOf(answer any, p *Problem) ([]byte, *Problem) {
	if p != nil {
		return nil, p
	}
	m, ok := answer.(map[string]any)
	text, is := m["certificate"].(string)
	block, _ := pem.Decode([]byte(text))
	if !ok || !is || block == nil {
		return nil, problem(CodeInternal, "")
	}
	return block.Bytes, nil
}

// estByBootstrap takes a certificate of a declared CA as the proof of which
// device asks. A device that persons requested, or that asks for itself where
// that is allowed, is told to wait until persons have approved it; no password
// could stand for it until then, since the code is made with the approval.
func (s *Server) estByBootstrap(c *call, e *external, operation string) (*estAsk, *Problem) {
	if p := s.vouched(e); p != nil {
		return nil, p
	}
	name, err := e.names()
	if err != nil {
		return nil, problem(CodeESTNotRequested, err.Error())
	}
	ask := &estAsk{deviceName: name}
	if operation == estReenroll {
		return nil, ask.about(problem(CodeConflict, "a bootstrap certificate is not renewed here; enrol with simpleenroll"))
	}
	ask.issue = func(request *estRequest, _ string) ([]byte, *Problem) { return s.estBootstrap(c, e, name, request) }
	return ask, nil
}

func (s *Server) estBootstrap(c *call, e *external, name deviceName, request *estRequest) ([]byte, *Problem) {
	s.decide.Lock()
	defer s.decide.Unlock()
	d := s.st.device(name.tenant, name.id)
	key := deviceKey{name, 1}
	if d != nil {
		key = d.key
	}
	again := d != nil && d.record.State == evidence.DeviceExpired // nobody approved it in time
	if again {
		key.generation++
	}
	if p := request.names(name, deviceURN(key)); p != nil {
		return nil, p
	}
	switch {
	case d == nil || again:
		return nil, s.askFor(c, e, name)
	case d.record.State == evidence.DeviceRequested:
		return nil, nil
	case d.record.State == evidence.DeviceApproved && s.now().Before(d.codeUntil):
		return certificateOf(s.issueTo(d, wanted{method: MethodCertificate, csr: request.CertificateRequest}, c.id(), "bootstrap certificate "+c.sess.fingerprint+" of the external CA "+e.ca.Name))
	case d.record.State == evidence.DeviceApproved:
		return nil, problem(CodeConflict, "the approval is past its time")
	case d.record.State == evidence.DeviceDeclined:
		return nil, problem(CodeESTNotRequested, "the request was declined")
	case d.record.State == evidence.DeviceIssued || d.record.State == evidence.DeviceActive:
		return nil, problem(CodeConflict, "the device has a certificate; it renews with that")
	}
	return nil, stateProblem(d.record.State)
}

// askFor requests the device in its own name. The caller holds s.decide.
func (s *Server) askFor(c *call, e *external, name deviceName) *Problem {
	switch {
	case !s.cfg().EST.Requests:
		return problem(CodeESTNotRequested, "nobody requested the device, and est.requests lets none ask for itself")
	case s.st.tenant(name.tenant) == nil:
		return problem(CodeESTNotRequested, "there is no such tenant")
	}
	by := "est:" + e.ca.Name
	if n := len(s.st.someDevices(func(d *device) bool { return d.record.State == evidence.DeviceRequested && d.requested.actor == by })); n >= s.cfg().EST.Pending {
		p := problem(CodeESTPending, fmt.Sprintf("%d wait; est.pending lets no more", n))
		p.retryAfter = int(s.cfg().EST.RetryAfter / time.Second)
		return p
	}
	entry, p := s.request(DeviceRequest{Tenant: name.tenant, Device: name.id, Type: e.ca.Type, Fleet: e.ca.Fleet, Reason: "asked for itself over EST"}, "")
	if p != nil {
		return p
	}
	entry.Actor, entry.RequestID, entry.Result = &evidence.Actor{Name: by, Role: "device", Credential: c.sess.fingerprint}, c.id(), "done"
	if _, err := s.record(s.entry(evidence.EntryDeviceRequested, entry)); err != nil {
		return s.failure(err)
	}
	return nil
}
