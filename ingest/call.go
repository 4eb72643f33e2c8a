package ingest

import (
	"net/http"
	"time"
)

// call is one request, whichever way its bytes were read.
type call struct {
	sess   *session
	set    *settings // in force when it came; it is judged by these to its end
	run    string    // begins its ID
	number int64     // ends it
	path   string

	// Of a request with telemetry.
	method        string
	named         []string // tenants that path and headers name
	media, coding string   // Content-Type and Content-Encoding
	twice         bool     // one of these stands more than once
	all           bool     // each line of the receipt is wanted
	shared        bool     // the connection is that of other requests too, as over HTTP/2: the rest of a body is no burden to it
	body          body

	d     *device // who it is, once that is known
	t     *tenant
	print string    // of the credential that says so
	until time.Time // from when on that is refused: a token's end, and when something replaces it; zero where its certificate says all

	bearer bearerState
	n      int64 // events in it, once they were counted

	at time.Time // when it was last found out who it is
}

// id is the request's ID.
func (c *call) id() string { return c.run + "-" + itoa(c.number) }

// enter makes c the next request of the connection.
func (s *Server) enter(c *call, sess *session, path string) {
	if sess != nil {
		sess.prove()
	}
	*c = call{sess: sess, set: s.set.Load(), run: s.run, number: s.requests.Add(1), path: path}
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *call {
	c := &call{}
	s.enter(c, sessionOf(r), withoutTokens(r.URL.Path))
	c.shared = r.ProtoMajor == 2
	w.Header()["X-Request-Id"] = []string{c.id()}
	return c
}

// refuse records a refusal, durably, and makes the problem the answer. Where a
// tenant's requests are refused in quick succession it takes its time.
func (s *Server) refuse(c *call, p *Problem, to *reply) {
	if p.Status < 500 {
		if err := s.refusals.add(c.refused(p)); err != nil {
			p = s.failure(err)
		}
		if c.t != nil {
			time.Sleep(c.t.pacing.turn(time.Now()))
		}
	}
	to.problem(p)
	if p.Status == http.StatusRequestEntityTooLarge && !c.shared || p.Status >= 500 || p.Code == CodeTooManyConns {
		to.close = true // what is left of the body, or the connection, is not worth keeping
	}
	if p.Status >= 500 {
		s.log.Error("request failed", "request_id", c.id(), "code", p.Code, "path", c.path)
	}
}

// answer refuses a request that came through net/http.
func (s *Server) answer(w http.ResponseWriter, c *call, p *Problem) {
	var to reply
	s.refuse(c, p, &to)
	to.write(w)
}

func (c *call) refused(p *Problem) refused {
	r := refused{code: p.Code, status: p.Status, path: c.path, detail: p.Detail, requestID: c.id(), claimed: p.claimed, events: c.n}
	if c.sess != nil {
		r.source, r.fingerprint = c.sess.source, c.sess.fingerprint
	}
	if c.print != "" {
		r.fingerprint = c.print
	}
	if c.d != nil {
		r.of(c.d)
	} else if p.tenant != "" {
		r.tenant, r.device = p.tenant, p.device
	}
	return r
}
