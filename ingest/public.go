package ingest

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
)

// publicHandler is what devices reach.
func (s *Server) publicHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/telemetry", s.telemetry)
	mux.HandleFunc("/v1/tenants/{tenant}/telemetry", s.telemetry)
	mux.HandleFunc("/v1/enroll", s.enroll)
	mux.HandleFunc("/status/{tenant}", s.publicStatus)
	mux.HandleFunc("/v1/status/{tenant}", s.publicStatus)
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, s.begin(w, r), problem(CodeNotFound, ""))
	})
	return mux
}

// call is one request to the device port.
type call struct {
	r    *http.Request
	sess *session
	set  *settings // in force when it came; it is judged by these to its end
	id   string
	d    *device // who it is, once that is known
	t    *tenant
	n    int64 // events in it, once they were counted
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *call {
	c := &call{r: r, sess: sessionOf(r), set: s.set.Load(), id: s.requestID()}
	if c.sess != nil {
		c.sess.prove()
	}
	w.Header()["X-Request-Id"] = []string{c.id}
	return c
}

// answer records a refusal, durably, and then answers with the problem.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, c *call, p *Problem) {
	if p.Status < 500 {
		if err := s.refusals.add(c.refused(p)); err != nil {
			p = s.failure(err)
		}
	}
	if p.Status == http.StatusRequestEntityTooLarge || p.Status >= 500 || p.Code == CodeTooManyConns {
		w.Header().Set("Connection", "close") // what is left of the body, or the connection, is not worth keeping
	}
	p.write(w)
	s.log.Debug("refused", "request_id", c.id, "code", p.Code, "path", r.URL.Path)
}

func (c *call) refused(p *Problem) refused {
	r := refused{code: p.Code, status: p.Status, path: c.r.URL.Path, detail: p.Detail, requestID: c.id, claimed: p.claimed, events: c.n}
	if c.sess != nil {
		r.source, r.fingerprint = c.sess.source, c.sess.fingerprint
	}
	if c.d != nil {
		r.of(c.d)
	} else if p.tenant != "" {
		r.tenant, r.device = p.tenant, p.device
	}
	return r
}

// telemetry takes a batch of events: NDJSON or a JSON array.
func (s *Server) telemetry(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	b, p := s.admit(w, c)
	if p != nil {
		s.answer(w, r, c, p)
		return
	}
	defer b.release()
	if err := s.recordRefusedLines(c, b); err != nil {
		s.failure(err).write(w)
		return
	}
	body := b.receipt(r.URL.RawQuery != "" && r.URL.Query().Get("lines") == "all")
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(body) // a client that is gone asks again, and finds its events known
}

// admit goes through every check of a request, cheapest first, and takes the
// events. c learns who it is and how many events it brought on the way.
func (s *Server) admit(w http.ResponseWriter, c *call) (*batch, *Problem) {
	if p := s.identify(c); p != nil {
		return nil, p
	}
	if c.r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, problem(CodeMethod, "use POST")
	}
	if p := c.claims(); p != nil {
		return nil, p
	}
	array, p := mediaOf(c.r)
	if p != nil {
		return nil, p
	}
	now := s.now()
	if p := s.throttle(w, c, now, 0); p != nil {
		return nil, p
	}
	body, p := s.readBody(w, c.r)
	if p != nil {
		if cut := s.identify(c); cut != nil {
			p = cut // shut out while it sent
		}
		return nil, p
	}
	b := s.batch(c)
	b.size = len(body)
	if p := s.split(c, b, body, array); p != nil {
		return nil, p
	}
	if p := s.throttle(w, c, now, len(b.texts)); p != nil {
		return nil, p
	}
	if p := s.scan(c, b); p != nil {
		return nil, p
	}
	if err := s.durable(); err != nil {
		return nil, problem(CodeDurabilityLost, "")
	}
	if err := s.noteContact(c); err != nil {
		return nil, s.failure(err)
	}
	if err := s.take(b); err != nil {
		return nil, s.failure(err)
	}
	return b, nil
}

// identify finds the device that the connection's certificate stands for. The
// registry is asked on every request, since what it says may have changed.
func (s *Server) identify(c *call) *Problem {
	if c.sess == nil || c.sess.fingerprint == "" {
		return problem(CodeNoCertificate, "")
	}
	d := c.sess.device.Load()
	if d == nil {
		if d, _ = s.st.byFingerprint(c.sess.fingerprint); d == nil {
			return problem(CodeUnknownCredential, "")
		}
		c.sess.device.Store(d)
	}
	c.d = d
	s.st.mu.RLock()
	state := d.record.State
	c.t = s.st.tenants[d.key.tenant]
	s.st.mu.RUnlock()
	now := s.now()
	switch {
	case now.After(c.sess.notAfter) || now.Before(c.sess.notBefore):
		return problem(CodeExpiredCredential, "")
	case c.sess.excess:
		p := problem(CodeTooManyConns, fmt.Sprintf("the limit is %d", s.cfg().Limits.ConnectionsPerDevice))
		p.retryAfter = 1
		return p
	}
	return stateProblem(state)
}

// stateProblem says why a device in state may not send; nil where it may.
func stateProblem(state evidence.DeviceState) *Problem {
	switch state {
	case evidence.DeviceActive, evidence.DeviceIssued:
		return nil
	case evidence.DeviceQuarantined:
		return problem(CodeQuarantined, "")
	}
	return problem(CodeRevoked, "")
}

// claims refuses a request that names another tenant in path or header.
func (c *call) claims() *Problem {
	own := c.d.key.tenant
	named := []string{}
	if t := c.r.PathValue("tenant"); t != "" {
		named = append(named, t)
	}
	for _, h := range []string{"X-Tenant", "X-Tenant-Id"} {
		named = append(named, c.r.Header[h]...)
	}
	for _, t := range named {
		if t != own {
			return mismatch(t)
		}
	}
	return nil
}

func mismatch(claimed string) *Problem {
	p := problem(CodeTenantMismatch, "")
	p.claimed = claimed
	if claimed == "" {
		p.claimed = "(empty)"
	}
	return p
}

// mediaOf says whether the body is a JSON array or NDJSON.
func mediaOf(r *http.Request) (array bool, p *Problem) {
	switch ct := r.Header.Get("Content-Type"); ct {
	case "application/x-ndjson":
	case "application/json":
		array = true
	default:
		media, params, err := mime.ParseMediaType(ct)
		if charset := strings.ToLower(params["charset"]); err != nil || charset != "" && charset != "utf-8" {
			return false, problem(CodeMediaUnsupported, "Content-Type must be application/x-ndjson or application/json")
		}
		switch media {
		case "application/x-ndjson", "application/ndjson", "application/jsonl":
		case "application/json":
			array = true
		default:
			return false, problem(CodeMediaUnsupported, "Content-Type must be application/x-ndjson or application/json")
		}
	}
	switch r.Header.Get("Content-Encoding") {
	case "", "identity", "gzip", "zstd":
	default:
		return false, problem(CodeMediaUnsupported, "Content-Encoding must be gzip, zstd or left out")
	}
	if len(r.Header["Content-Type"]) > 1 || len(r.Header["Content-Encoding"]) > 1 {
		return false, problem(CodeMediaUnsupported, "Content-Type or Content-Encoding stands twice")
	}
	return array, nil
}

// split cuts the body into the batch's lines.
func (s *Server) split(c *call, b *batch, body string, array bool) *Problem {
	limit := c.set.Limits.Lines
	var (
		ok  bool
		n   int
		err error
	)
	if array {
		if b.texts, n, ok, err = splitArray(b.texts, strings.TrimPrefix(body, "\ufeff"), limit); err != nil {
			return problem(CodeBodyMalformed, "no JSON array of events: "+err.Error())
		}
	} else {
		b.texts, n, ok = splitLines(b.texts, body, limit)
	}
	if !ok {
		c.n = int64(n)
		return problem(CodeTooManyLines, fmt.Sprintf("%d events; the limit is %d", n, limit))
	}
	if n == 0 {
		return problem(CodeBodyMalformed, "the body holds no event")
	}
	return nil
}

// throttle applies the device's rate and the tenant's to n events; with n = 0
// it only asks, before the body is read.
func (s *Server) throttle(w http.ResponseWriter, c *call, now time.Time, n int) *Problem {
	limit := func(code Code, name string, r Rate, retry time.Duration) *Problem {
		p := problem(code, fmt.Sprintf("the rate is %v events a second with bursts of %d", r.PerSecond, r.Burst))
		p.retryAfter = retrySeconds(retry)
		w.Header()["Ratelimit-Policy"] = []string{ratePolicyHeader(name, r)}
		w.Header()["Ratelimit"] = []string{rateHeader(name, 0, p.retryAfter)}
		c.n = int64(n)
		return p
	}
	ok, left, retry := c.d.rate.take(now, n, c.set.Rates.Device)
	if !ok {
		return limit(CodeRateDevice, "device", c.set.Rates.Device, retry)
	}
	if ok, _, retry = c.t.rate.take(now, n, c.set.Rates.Tenant); !ok {
		c.d.rate.give(n, c.set.Rates.Device)
		return limit(CodeRateTenant, "tenant", c.set.Rates.Tenant, retry)
	}
	if n > 0 {
		w.Header()["Ratelimit"] = []string{rateHeader("device", left, 1)}
	}
	return nil
}

// scan reads and validates each line. One that names another tenant refuses
// the whole request.
func (s *Server) scan(c *call, b *batch) *Problem {
	sc, ok := s.scanners.Get().(*scanner)
	if !ok {
		sc = &scanner{}
	}
	defer func() {
		sc.reset("", 0) // a scanner that waits keeps no body
		s.scanners.Put(sc)
	}()
	b.events = slices.Grow(b.events, len(b.texts))[:len(b.texts)]
	for i, line := range b.texts {
		e := &b.events[i]
		if len(line) > c.set.Limits.EventBytes {
			*e = event{raw: line, fault: CodeEventTooLarge, detail: fmt.Sprintf("%d bytes; the limit is %d", len(line), c.set.Limits.EventBytes)}
			continue
		}
		sc.event(e, line, c.set.Limits.Depth)
		switch {
		case e.claimed && e.tenant != c.d.key.tenant:
			c.n = int64(len(b.texts))
			return mismatch(e.tenant)
		case e.fault != "":
		case e.device != "" && e.device != c.d.key.id:
			e.fault, e.detail = CodeDeviceMismatch, "it names device "+clip(e.device)
			e.hasSeq = false // the number is not this device's
		default:
			e.fault, e.detail = c.set.rules.judge(sc, e)
		}
	}
	return nil
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
		Tenant: c.d.key.tenant, Device: c.d.key.id, Generation: c.d.key.generation, RequestID: c.id,
		Data: raw(sourceData{c.sess.fingerprint, c.sess.source}),
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
	list := c.d.seenFrom[c.sess.fingerprint]
	return len(list) >= maxSources || slices.Contains(list, c.sess.source)
}

// recordRefusedLines enters lines that were refused, and raises the alert of a
// number that was used for another content.
func (s *Server) recordRefusedLines(c *call, b *batch) error {
	for _, code := range []Code{CodeReplayConflict, CodeReplayStale, CodeEventTooLarge, CodeLetterQuota} {
		r, ok := b.refusal[code]
		if !ok {
			continue
		}
		full := c.refused(problem(code, r.detail))
		full.status, full.events = 0, 0 // the lines stand in the tally
		if code == CodeReplayConflict {
			full.status = http.StatusConflict
		}
		if err := s.refusals.add(full); err != nil {
			return err
		}
		if code == CodeReplayConflict {
			if err := s.raiseConflict(c.d, r.detail); err != nil {
				return err
			}
		}
		if code == CodeLetterQuota {
			if err := s.raiseLetterQuota(c.d.key.tenant, c.set.DeadLetters.PerTenant); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }

// readyz is 200 while the ingest can make things durable.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	switch {
	case s.durable() != nil:
		plain(w, http.StatusServiceUnavailable, "durability lost\n")
	case s.closing.Load():
		plain(w, http.StatusServiceUnavailable, "draining\n")
	default:
		plain(w, http.StatusOK, "ready\n")
	}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a prober that is gone misses nothing
}
