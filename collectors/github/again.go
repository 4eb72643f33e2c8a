package github

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
)

// resumeWithin is how old a reply of a collection that was cut off may be to
// stand for an answer now. It is below a day, so that a day's collection never
// stands on the day before.
const resumeWithin = 12 * time.Hour

// begin opens the index of kept replies, where the caller gives a place for it.
// Without it everything is asked for in full.
func (r *run) begin() {
	d := r.c.deps
	if d.Store == nil || d.Index == "" {
		return
	}
	principal := r.principal
	if strings.HasPrefix(principal, "unknown") {
		principal = ""
	}
	k, err := openKept(d.Store, d.Index, principal, d.Now().UTC())
	if err != nil {
		d.Progress(fmt.Sprintf("github: everything is asked for in full: %v", err))
		return
	}
	r.rec.kept = k
}

// end closes the index; whole says that the collection came to its end.
func (r *run) end(whole bool) {
	if r.rec == nil || r.rec.kept == nil {
		return
	}
	k := r.rec.kept
	end := k.close
	if whole {
		end = func() error { return k.end(r.c.deps.Now().UTC()) }
	}
	if err := end(); err != nil {
		r.c.deps.Progress(fmt.Sprintf("github: the next collection may have to ask for everything in full: %v", err))
	}
}

// tellResumed adds to the note how many replies are of a collection that was
// cut off: they are older than this one.
func (r *run) tellResumed(e *evidence.Evidence) {
	n := 0
	for _, q := range e.Provenance.Requests {
		if q.StartedAt.Before(r.started) {
			n++
		}
	}
	if n == 0 {
		return
	}
	note := fmt.Sprintf("%d of the replies were asked for by a collection of the same principal that was cut off; their times are those at which they were", n)
	if e.Completeness.Note != "" {
		note = e.Completeness.Note + "; " + note
	}
	e.Completeness.Note = note
}

// noteUpdate remembers when a listing says that a pull request was last changed.
func (r *reading) noteUpdate(p *gh.PullRequest) {
	if at := timeOf(p.UpdatedAt); at.After(r.updated[p.GetNumber()]) {
		r.updated[p.GetNumber()] = at
	}
}

// changedAt reads what hangs on something that was last changed at a time by
// the source's clock: no reply from before then stands for it.
func (t *recorder) changedAt(last time.Time, f func()) {
	outer := t.floor
	if last.After(outer) {
		t.floor = last
	}
	f()
	t.floor = outer
}

// settled tells requests whose answer belongs to one pull request, commit,
// deployment or person. All others are listings whose head moves, settings and
// snapshots: they are asked for in every collection.
func (t *recorder) settled(req *http.Request) bool {
	path := strings.TrimPrefix(req.URL.Path, t.c.base.Path)
	part := strings.Split(path, "/")
	return len(part) >= 5 && part[0] == "repos" && slices.Contains([]string{"pulls", "issues", "commits", "deployments", "collaborators"}, part[3])
}

// fromCutOff answers out of a collection that was cut off, with the exchange as it
// was recorded then; nil: it does not.
func (t *recorder) fromCutOff(req *http.Request) (*http.Response, error) {
	if t.kept == nil || t.broken != nil || req.Context().Err() != nil || req.Method != http.MethodGet || !t.settled(req) {
		return nil, nil
	}
	l, body, found := t.kept.find(req)
	if !found || !t.kept.ofCutOff(l) || !l.Date.After(t.floor) || t.c.deps.Now().Sub(l.Request.StartedAt) > resumeWithin {
		return nil, nil
	}
	if t.broken = t.note(l.Request, body); t.broken != nil {
		return nil, t.broken
	}
	return l.standsFor(&http.Response{Header: http.Header{}, Request: req}, body), nil
}

// standsFor makes the reply that the source would have sent: what is kept, with
// the headers of its latest answer over those of then.
func (l keptLine) standsFor(latest *http.Response, body []byte) *http.Response {
	out := *latest
	out.StatusCode, out.Status, out.Proto, out.ProtoMajor, out.ProtoMinor = http.StatusOK, "200 OK", "HTTP/1.1", 1, 1
	out.Header = latest.Header.Clone()
	for name, value := range map[string]string{"ETag": l.ETag, "Link": l.Link, "Content-Type": l.Type} {
		if out.Header.Get(name) == "" && value != "" {
			out.Header.Set(name, value)
		}
	}
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return &out
}

// prior is a kept reply that a request asks about.
type prior struct {
	line keptLine
	body []byte
}

// condition makes the request conditional on a kept reply, where there is one
// that a "not modified" could stand for.
func (t *recorder) condition(out *http.Request, rec *evidence.Request) *prior {
	if t.kept == nil || out.Method != http.MethodGet {
		return nil
	}
	l, body, found := t.kept.find(out)
	if !found || l.ETag == "" || l.Filled {
		return nil
	}
	out.Header.Set("If-None-Match", l.ETag)
	if rec.Parameters == nil {
		rec.Parameters = map[string]string{}
	}
	rec.Parameters["If-None-Match"] = l.ETag
	return &prior{l, body}
}
