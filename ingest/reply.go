package ingest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// reply is an answer before it is written: through net/http, or as the bytes
// that net/http would write.
type reply struct {
	status int
	media  string // Content-Type
	body   []byte

	noStore    bool // Cache-Control: no-store
	close      bool // Connection: close
	retryAfter int  // seconds; 0: none
	allow      string

	// RateLimit, where limit names one, and RateLimit-Policy.
	limit       string
	left, again int
	policy      string
}

// problem makes p the answer, keeping what was said of rates.
func (a *reply) problem(p *Problem) {
	body, err := json.Marshal(p)
	if err != nil { // strings and an integer always encode
		body = []byte(`{"code":"internal"}`)
	}
	a.status, a.media, a.body = p.Status, "application/problem+json", append(body, '\n')
	a.noStore, a.retryAfter = true, p.retryAfter
}

// write sends the answer through net/http.
func (a *reply) write(w http.ResponseWriter) {
	h := w.Header()
	set := func(key, value string) { h[key] = []string{value} }
	set("Content-Type", a.media)
	set("Content-Length", strconv.Itoa(len(a.body)))
	if a.noStore {
		set("Cache-Control", "no-store")
	}
	if a.close {
		set("Connection", "close")
	}
	if a.retryAfter > 0 {
		set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	if a.allow != "" {
		set("Allow", a.allow)
	}
	if a.limit != "" {
		set("Ratelimit", string(appendRate(nil, a.limit, a.left, a.again)))
	}
	if a.policy != "" {
		set("Ratelimit-Policy", a.policy)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone asks again, and finds its events known
}

// appendTo writes the answer to the request c as net/http writes it to an
// HTTP/1.1 connection. date is that of now, in the form of a Date field.
func (a *reply) appendTo(b []byte, c *call, date string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	if a.allow != "" {
		b = append(append(b, "\r\nAllow: "...), a.allow...)
	}
	if a.noStore {
		b = append(b, "\r\nCache-Control: no-store"...)
	}
	if a.close {
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(a.body)), 10)
	b = append(append(b, "\r\nContent-Type: "...), a.media...)
	if a.limit != "" {
		b = appendRate(append(b, "\r\nRatelimit: "...), a.limit, a.left, a.again)
	}
	if a.policy != "" {
		b = append(append(b, "\r\nRatelimit-Policy: "...), a.policy...)
	}
	if a.retryAfter > 0 {
		b = strconv.AppendInt(append(b, "\r\nRetry-After: "...), int64(a.retryAfter), 10)
	}
	b = append(append(b, "\r\nX-Request-Id: "...), c.run...)
	b = strconv.AppendInt(append(b, '-'), c.number, 10)
	b = append(append(b, "\r\nDate: "...), date...)
	b = append(b, "\r\n\r\n"...)
	return append(b, a.body...)
}

// dateField is a moment in the form of a Date field, and how long it holds.
type dateField struct {
	second int64
	text   string
}

// date is the Date field of now, made once a second.
func (s *Server) date(now time.Time) string {
	d := s.dated.Load()
	if d == nil || d.second != now.Unix() {
		d = &dateField{now.Unix(), now.UTC().Format(http.TimeFormat)}
		s.dated.Store(d)
	}
	return d.text
}
