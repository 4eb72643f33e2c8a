// Package httpreplay answers requests over real HTTP on loopback from recorded
// exchanges: the GitHub and AWS of tests and of the example vendor. What it was
// not given it answers with 501 and remembers, so that a test or a demo can
// fail on it. Every reply carries the header X-Trustpack-Sample: recorded.
package httpreplay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"sync"
	"time"
)

// SampleHeader is on every reply of a Server, with the value "recorded".
const SampleHeader = "X-Trustpack-Sample"

const maxRequestBody = 1 << 20

// Server replays exchanges. It is safe for concurrent use.
type Server struct {
	templates []Exchange
	values    Values

	http *http.Server
	done chan error // the end of Serve

	mu        sync.Mutex
	url       string
	exchanges []Exchange
	faults    []*armed
	seen      []Seen
	unmatched []string
}

// Seen is one request that reached the server, and the status it was given.
type Seen struct {
	Method string
	URI    string // path and query as sent
	Header http.Header
	Status int
}

// New reads the exchanges of a folder and fills in values. It refuses a
// template that asks for an unknown label and two exchanges for one request.
func New(fsys fs.FS, values Values) (*Server, error) {
	exchanges, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	return Of(exchanges, values)
}

// Of makes a server of exchanges that were made in code.
func Of(exchanges []Exchange, values Values) (*Server, error) {
	for i := range exchanges {
		if exchanges[i].source == "" {
			exchanges[i].source = fmt.Sprintf("exchange %d (%s)", i+1, exchanges[i].Request)
		}
	}
	s := &Server{templates: exchanges, values: values}
	if err := s.render("http://127.0.0.1"); err != nil {
		return nil, err
	}
	return s, nil
}

// render fills all templates for a base URL.
func (s *Server) render(base string) error {
	out := make([]Exchange, 0, len(s.templates))
	byKey := map[string]string{}
	for _, t := range s.templates {
		e, err := t.render(base, s.values)
		if err != nil {
			return err
		}
		k := e.Request.key()
		if first, twice := byKey[k]; twice {
			return fmt.Errorf("reading recorded replies: %s asks for the same request as %s: %s", e.source, first, e.Request)
		}
		byKey[k] = e.source
		out = append(out, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchanges, s.url = out, base
	return nil
}

// Start listens on a free loopback port and serves until Close.
func (s *Server) Start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("starting the replay of recorded replies: %w", err)
	}
	if err := s.render("http://" + l.Addr().String()); err != nil {
		return errors.Join(err, l.Close())
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.done = make(chan error, 1)
	go func() { s.done <- s.http.Serve(l) }()
	return nil
}

// URL is the base URL, without a slash at its end; empty before Start.
func (s *Server) URL() string {
	if s.http == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Close stops listening and cuts open connections.
func (s *Server) Close() error {
	if s.http == nil {
		return nil
	}
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.http = nil
	return err
}

// Unmatched lists requests that no exchange answered, in order.
func (s *Server) Unmatched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.unmatched...)
}

// Requests lists every request so far, in order of arrival.
func (s *Server) Requests() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Seen(nil), s.seen...)
}

// ServeHTTP answers one request. The server may also be mounted in a test's own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	w.Header().Set(SampleHeader, "recorded")
	if err != nil {
		http.Error(w, "reading the request: "+err.Error(), http.StatusBadRequest)
		return
	}
	reply, fault := s.answer(r, body)
	for k, v := range reply.Headers {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(reply.Body)))
	w.WriteHeader(reply.Status)
	// A failed write means that the client went away, which is its own affair.
	if fault != nil && fault.Cut {
		// The length is announced and half of it sent: the client sees the
		// connection end in mid-body.
		io.WriteString(w, reply.Body[:len(reply.Body)/2])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	if r.Method != http.MethodHead {
		io.WriteString(w, reply.Body)
	}
}

// answer picks the reply and records the request.
func (s *Server) answer(r *http.Request, body []byte) (Reply, *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fault := s.dueFault(r)
	reply := s.match(r, body)
	if fault != nil && !fault.Cut {
		reply = Reply{Status: fault.Status, Headers: fault.Headers, Body: fault.Body}
	}
	s.seen = append(s.seen, Seen{r.Method, r.URL.RequestURI(), r.Header.Clone(), reply.Status})
	return reply, fault
}

func (s *Server) match(r *http.Request, body []byte) Reply {
	best, bestScore := -1, -1
	for i, e := range s.exchanges {
		if score := e.Request.score(r, body); score > bestScore {
			best, bestScore = i, score
		}
	}
	if best >= 0 {
		return s.exchanges[best].Reply
	}
	what := r.Method + " " + r.URL.RequestURI()
	if t := r.Header.Get("X-Amz-Target"); t != "" {
		what += " " + t
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		what += " Action=" + form.Get("Action")
	}
	s.unmatched = append(s.unmatched, what)
	return Reply{Status: http.StatusNotImplemented, Body: "no recorded reply for " + what,
		Headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"}}
}

// score is how much of the request the matcher asked for, or -1 for no match.
func (m Request) score(r *http.Request, body []byte) int {
	if r.Method != m.Method || r.URL.Path != m.Path {
		return -1
	}
	score := 0
	query := r.URL.Query()
	for k := range query {
		if _, named := m.Query[k]; !named {
			return -1
		}
	}
	for k, want := range m.Query {
		if want == "*" {
			continue
		}
		if !query.Has(k) || query.Get(k) != want {
			return -1
		}
		score++
	}
	for k, want := range m.Headers {
		if !globMatch(want, r.Header.Get(k)) {
			return -1
		}
		score++
	}
	if m.Target != "" {
		if r.Header.Get("X-Amz-Target") != m.Target {
			return -1
		}
		score++
	}
	n, ok := m.scoreBody(body)
	if !ok {
		return -1
	}
	return score + n
}

func (m Request) scoreBody(body []byte) (score int, ok bool) {
	if len(m.Form) > 0 {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return 0, false
		}
		for k, want := range m.Form {
			if form.Get(k) != want {
				return 0, false
			}
			score++
		}
	}
	if len(m.JSON) > 0 {
		var got map[string]any
		if err := json.NewDecoder(bytes.NewReader(body)).Decode(&got); err != nil {
			return 0, false
		}
		for k, want := range m.JSON {
			if !sameJSON(got[k], want) {
				return 0, false
			}
			score++
		}
	}
	return score, true
}

// sameJSON compares by value, so that YAML's int equals JSON's float.
func sameJSON(a, b any) bool {
	encA, errA := json.Marshal(a)
	encB, errB := json.Marshal(b)
	if errA != nil || errB != nil {
		return false
	}
	var x, y any
	if json.Unmarshal(encA, &x) != nil || json.Unmarshal(encB, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
