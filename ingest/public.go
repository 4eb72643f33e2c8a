package ingest

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// publicHandler is what devices reach.
func (s *Server) publicHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/telemetry", s.telemetry)
	mux.HandleFunc("/v1/tenants/{tenant}/telemetry", s.telemetry)
	mux.HandleFunc("/v1/stream", s.stream)
	mux.HandleFunc("/v1/enroll", s.enroll)
	mux.HandleFunc("/v1/renew", s.renew)
	mux.HandleFunc(estPrefix, s.est)
	mux.HandleFunc("/crl/", s.serveCRL)
	mux.HandleFunc("/status/{tenant}", s.publicStatus)
	mux.HandleFunc("/v1/status/{tenant}", s.publicStatus)
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, s.begin(w, r), problem(CodeNotFound, ""))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := tokenInURL(r); p != nil { // before anything looks at the path
			s.answer(w, s.begin(w, r), p)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// telemetry takes a batch of events, NDJSON or a JSON array, off net/http.
func (s *Server) telemetry(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	c.ask(w, r)
	var to reply
	b := s.receive(c, &to)
	to.write(w)
	if b != nil {
		b.release()
	}
}

// ask notes what r asks.
func (c *call) ask(w http.ResponseWriter, r *http.Request) {
	c.method = r.Method
	if t := r.PathValue("tenant"); t != "" && !off(guardTenantPath) {
		c.named = append(c.named, t)
	}
	for _, h := range []string{"X-Tenant", "X-Tenant-Id"} {
		if off(guardTenantHeader) {
			break
		}
		c.named = append(c.named, r.Header[h]...)
	}
	c.asksBearer(r)
	c.media, c.coding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
	c.twice = len(r.Header["Content-Type"]) > 1 || len(r.Header["Content-Encoding"]) > 1
	c.all = r.URL.RawQuery != "" && r.URL.Query().Get("lines") == "all"
	c.body = &httpBody{w, r}
}

// receive takes the events of a request and makes the answer, which lies in
// the batch where there is one: that is released once the answer is written.
func (s *Server) receive(c *call, to *reply) *batch {
	b, p := s.admit(c, to)
	if p != nil {
		s.refuse(c, p, to)
		return nil
	}
	if err := s.recordRefusedLines(c, b); err != nil {
		s.refuse(c, s.failure(err), to)
		return b
	}
	to.status, to.media, to.body = http.StatusAccepted, "application/json", b.receipt(c.all)
	return b
}

// admit goes through every check of a request, cheapest first, and takes the
// events. c learns who it is and how many events it brought on the way, to
// what the answer says of rates.
func (s *Server) admit(c *call, to *reply) (*batch, *Problem) {
	if p := s.identify(c); p != nil {
		return nil, p
	}
	if c.method != http.MethodPost {
		to.allow = http.MethodPost
		return nil, problem(CodeMethod, "use POST")
	}
	if p := c.claims(); p != nil {
		return nil, p
	}
	array, p := c.mediaOf()
	if p != nil {
		return nil, p
	}
	now := c.at
	if p := s.throttle(c, to, now, 0); p != nil {
		return nil, p
	}
	body, p := c.body.text(s, c)
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
	if p := s.throttle(c, to, now, len(b.texts)); p != nil {
		return nil, p
	}
	if p := s.scan(c, b); p != nil {
		return nil, p
	}
	if err := s.durable(); err != nil {
		return nil, lostProblem(err)
	}
	if err := s.noteContact(c); err != nil {
		return nil, s.failure(err)
	}
	b.by(c)
	if err := s.take(b); err != nil {
		return nil, s.failure(err)
	}
	return b, nil
}

// mediaOf says whether the body is a JSON array or NDJSON.
func (c *call) mediaOf() (array bool, p *Problem) {
	switch c.media {
	case "application/x-ndjson":
	case "application/json":
		array = true
	default:
		media, params, err := mime.ParseMediaType(c.media)
		if charset := strings.ToLower(params["charset"]); err != nil || charset != "" && charset != "utf-8" {
			return false, problem(CodeMediaUnsupported, "Content-Type must be application/x-ndjson or application/json")
		}
		switch media {
		case "application/x-ndjson", "application/ndjson", "application/jsonl":
		case "application/json":
			array = true
		default:
			if off(guardMedia) {
				break
			}
			return false, problem(CodeMediaUnsupported, "Content-Type must be application/x-ndjson or application/json")
		}
	}
	switch c.coding {
	case "", "identity", "gzip", "zstd":
	default:
		return false, problem(CodeMediaUnsupported, "Content-Encoding must be gzip, zstd or left out")
	}
	if c.twice {
		return false, problem(CodeMediaUnsupported, "Content-Type or Content-Encoding stands twice")
	}
	return array, nil
}

// split cuts the body into the batch's lines.
func (s *Server) split(c *call, b *batch, body string, array bool) *Problem {
	limit := c.set.Limits.Lines
	if off(guardLines) {
		limit = 1 << 30
	}
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
func (s *Server) throttle(c *call, to *reply, now time.Time, n int) *Problem {
	if off(guardRates) {
		return nil
	}
	device := s.deviceRate(c)
	ok, left, retry := device.take(now, n, c.set.Rates.Device)
	if !ok {
		return c.overRate(to, CodeRateDevice, "device", c.set.Rates.Device, retry, n)
	}
	if ok, _, retry = c.t.rate.take(now, n, c.set.Rates.Tenant); !ok {
		device.give(n, c.set.Rates.Device)
		return c.overRate(to, CodeRateTenant, "tenant", c.set.Rates.Tenant, retry, n)
	}
	if n > 0 {
		to.limit, to.left, to.again = "device", left, 1
	}
	return nil
}

func (c *call) overRate(to *reply, code Code, name string, r Rate, retry time.Duration, n int) *Problem {
	p := problem(code, fmt.Sprintf("the rate is %v events a second with bursts of %d", r.PerSecond, r.Burst))
	p.retryAfter = retrySeconds(retry)
	to.limit, to.left, to.again, to.policy = name, 0, p.retryAfter, ratePolicyHeader(name, r)
	c.n = int64(n)
	return p
}

// depthOf is how deep an event may nest.
func depthOf(set *settings) int {
	if off(guardDepth) {
		return 1 << 20
	}
	return set.Limits.Depth
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
		sc.event(e, line, depthOf(c.set))
		switch {
		case e.claimed && e.tenant != c.d.key.tenant && !off(guardTenantPayload):
			c.n = int64(len(b.texts))
			return mismatch(e.tenant)
		case e.fault != "":
		case e.device != "" && e.device != c.d.key.id && !off(guardDevicePayload):
			e.fault, e.detail = CodeDeviceMismatch, "it names another device than the credential does"
			e.hasSeq = false // the number is not this device's
		default:
			e.fault, e.detail = c.set.rules.judge(sc, e)
		}
	}
	return nil
}

// recordRefusedLines enters lines that were refused, and raises the alerts of a
// number that was used for another content and of a credential that is shared.
func (s *Server) recordRefusedLines(c *call, b *batch) error {
	if b.found != nil {
		if err := s.raiseShared(c.d, b.found); err != nil {
			return err
		}
	}
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
