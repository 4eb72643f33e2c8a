package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
)

// run is one collection under way.
type run struct {
	c         *Collector
	window    evidence.Period
	started   time.Time
	rec       *recorder
	client    *gh.Client
	principal string

	spool     *spool
	bodies    map[string]ref // of replies, by digest; nil where a Store takes them
	exchanges []exchange     // in the order of asking
	out       map[evidence.Kind]*gathered
	keepers   []*gathered // what the requests under way are for
	about     subject     // and what they are about
	subjects  subject     // the last that was given out
}

// subject is what a request, a gap or an item is about: one pull request, one
// commit, one deployment. 0 is none of them, and so all.
type subject int32

// gathered is what a kind has so far.
type gathered struct {
	items     []member
	gaps      []mention
	named     map[evidence.Gap]bool
	exchanges []int32 // of run.exchanges
}

// member is an item whose attributes are in the spool.
type member struct {
	id    string
	ref   ref
	times []int64   // see timesOf
	about []subject // never 0
}

type mention struct {
	evidence.Gap
	about subject
}

// exchange is a request that is in the spool.
type exchange struct {
	ref   ref
	about subject
}

// spooled is what the spool holds of an exchange; without a name there was no
// reply.
type spooled struct {
	Request evidence.Request
	Name    string
	Size    int64
}

// windowOf is the window of a kind's evidence: that of the collection, and for
// deployments, which are judged when something falls due after them, so much
// before it as was asked.
func (r *run) windowOf(k evidence.Kind) evidence.Period {
	w := r.window
	if k == KindDeployments {
		w.From = w.From.Add(-r.c.deps.LooksBack[k])
	}
	return w
}

// subjectOf runs f; what it asks and misses is about s.
func (r *run) subjectOf(s subject, f func()) {
	outer := r.about
	r.about = s
	f()
	r.about = outer
}

func (r *run) newSubject() subject {
	r.subjects++
	return r.subjects
}

// item enters an item, which is about what the run is about, and about more.
func (r *run) item(k evidence.Kind, id string, a map[string]any, more ...subject) {
	m := member{id: id, ref: r.spool.put(a), times: r.timesOf(k, a)}
	for _, s := range append(more, r.about) {
		if s != 0 && !slices.Contains(m.about, s) {
			m.about = append(m.about, s)
		}
	}
	r.out[k].items = append(r.out[k].items, m)
}

func (r *run) gap(k evidence.Kind, what, reason string) {
	g := evidence.Gap{What: what, Reason: reason}
	if out := r.out[k]; !out.named[g] {
		out.named[g] = true
		out.gaps = append(out.gaps, mention{g, r.about})
	}
}

// fails names a gap in each of the kinds if err says that there is one.
func (r *run) fails(err error, what string, kinds ...evidence.Kind) bool {
	if err == nil {
		return false
	}
	for _, k := range kinds {
		r.gap(k, what, r.reason(err))
	}
	return true
}

// ask makes the requests of f and keeps them with each of the kinds; those
// of an ask within f are kept with the inner one's kinds.
func (r *run) ask(f func(), kinds ...evidence.Kind) {
	outer := r.keepers
	r.keepers = nil
	for _, k := range kinds {
		r.keepers = append(r.keepers, r.out[k])
	}
	f()
	r.keepers = outer
}

// note keeps an exchange for all that it was made for. Names of replies are
// numbered in the order of asking. The body is nil where there was no reply.
func (r *run) note(rec evidence.Request, body []byte) error {
	x := spooled{Request: rec}
	if body != nil {
		x.Name, x.Size = fmt.Sprintf("%06d-%s.json", len(r.exchanges)+1, slug(rec.Target)), int64(len(body))
		if s := r.c.deps.Store; s != nil {
			if _, err := s.Keep(body); err != nil {
				return fmt.Errorf("keeping the reply: %w", err)
			}
		} else if _, have := r.bodies[rec.ReplySHA256]; !have {
			r.bodies[rec.ReplySHA256] = r.spool.write(body)
		}
	}
	for _, g := range r.keepers {
		g.exchanges = append(g.exchanges, int32(len(r.exchanges)))
	}
	r.exchanges = append(r.exchanges, exchange{r.spool.put(x), r.about})
	return r.spool.err
}

// recall adds an exchange to the evidence.
func (r *run) recall(e *evidence.Evidence, x exchange) {
	var was spooled
	r.spool.get(x.ref, &was)
	e.Provenance.Requests = append(e.Provenance.Requests, was.Request)
	if was.Name == "" {
		return
	}
	reply := evidence.RawReply{Name: was.Name}
	if body, here := r.bodies[was.Request.ReplySHA256]; here {
		reply.Body = r.spool.read(body)
	} else {
		reply.Kept = &evidence.Kept{SHA256: was.Request.ReplySHA256, Size: was.Size}
	}
	e.Raw = append(e.Raw, reply)
}

func (r *run) whoAmI(ctx context.Context) {
	r.ask(func() {
		if l := r.rec.login; l != nil {
			if err := r.rec.renew(ctx); err != nil {
				r.principal = "unknown: " + r.reason(err)
				return
			}
			r.principal = fmt.Sprintf("app %s, installation %d of %s", l.installation.Slug, l.installation.ID, l.installation.Account.Login)
			return
		}
		user, _, err := r.client.Users.Get(ctx, "")
		switch {
		case err != nil:
			r.principal = "unknown: " + r.reason(err)
		case user.GetLogin() == "":
			r.principal = "unknown: the reply to GET /user names nobody"
		default:
			r.principal = "user " + user.GetLogin()
		}
	}, r.c.Kinds()...)
}

// reason says why a request failed, in words that hold no secret.
func (r *run) reason(err error) string {
	status, message := 0, ""
	var api *gh.ErrorResponse
	var abuse *gh.AbuseRateLimitError
	switch {
	case errors.As(err, &api) && api.Response != nil:
		status, message = api.Response.StatusCode, api.Message
	case errors.As(err, &abuse) && abuse.Response != nil:
		status, message = abuse.Response.StatusCode, abuse.Message
	default:
		return r.rec.scrub(err.Error())
	}
	out := fmt.Sprintf("HTTP %d", status)
	if page := new(pageError); errors.As(err, &page) && page.page > 1 {
		out = fmt.Sprintf("page %d: %s", page.page, out)
	}
	if message != "" {
		out += " " + message
	}
	switch status {
	case http.StatusUnauthorized:
		out += fmt.Sprintf(" (the %s is refused)", r.c.credential())
	case http.StatusForbidden:
		out += " (the token may not read this)"
	case http.StatusNotFound:
		out += " (it does not exist, or the token may not see it)"
	case http.StatusTooManyRequests:
		out += " (too many requests, also after waiting)"
	}
	return r.rec.scrub(out)
}

// emit hands over what was gathered, kind by kind and slice by slice.
func (r *run) emit(keep func(evidence.Evidence) error) error {
	for _, k := range r.c.Kinds() {
		for i, p := range r.windows(k) {
			e := r.slice(k, p, i == 0)
			if r.spool.err != nil {
				return r.spool.err
			}
			if r.c.config.Sample {
				e.Provenance.Origin = evidence.OriginSample
			}
			switch k {
			case KindChanges:
				e.Completeness.Basis = "reconciled"
				e.Completeness.Note = "every commit that the branch reaches in the window, by committer time, was tied to its pull request, and every " +
					"pull request merged in the window to a commit; bypasses are looked up in the rule suites of the last month, which is all that GitHub keeps; " +
					"rules and reviewers' access are those at the time of collection"
			case KindDeployments:
				if from := r.windowOf(k).From; from.Before(r.window.From) {
					e.Completeness.Note = fmt.Sprintf("deployments from %s on were read, for what falls due after them in the window from %s; the changes that those before it brought were not looked at",
						from.Format(time.DateOnly), r.window.From.Format(time.DateOnly))
				}
			case KindPullRequests:
				e.Completeness.Note = "pull requests to the branch that were opened, closed or merged in the window"
			}
			r.tellResumed(&e)
			if err := keep(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// snapshots are the kinds that are the state at the time of collection.
func snapshots() []evidence.Kind {
	return []evidence.Kind{KindProtection, KindRulesets, KindMembers, KindEnvironments, KindAccess, KindRepository, KindTeams, KindOrganization}
}

func (r *run) account(k evidence.Kind) string {
	if slices.Contains([]evidence.Kind{KindMembers, KindTeams, KindOrganization, KindAuditLog}, k) {
		return r.c.config.Organization
	}
	var names []string
	for _, branches := range byRepository(r.c.config.Repositories) {
		names = append(names, branches[0].Name)
	}
	return strings.Join(names, ", ")
}

// pageError is a failure on one page of a listing.
type pageError struct {
	page int // from 1
	err  error
}

func (e *pageError) Error() string { return fmt.Sprintf("page %d: %v", e.page, e.err) }
func (e *pageError) Unwrap() error { return e.err }

// each reads every page of a listing and gives it to take. The error names the
// page that failed; those before it were taken.
func each[T any](page func(gh.ListOptions) ([]T, *gh.Response, error), take func([]T)) error {
	o := gh.ListOptions{PerPage: 100, Page: 1}
	for {
		got, resp, err := page(o)
		if err != nil {
			return &pageError{o.Page, err}
		}
		take(got)
		if resp.NextPage == 0 {
			return nil
		}
		if resp.NextPage <= o.Page {
			return fmt.Errorf("page %d: the source says that the next page is %d", o.Page, resp.NextPage)
		}
		o.Page = resp.NextPage
	}
}

// all reads every page of a listing. What was read before a page failed comes
// back beside the error.
func all[T any](page func(gh.ListOptions) ([]T, *gh.Response, error)) (out []T, err error) {
	err = each(page, func(got []T) { out = append(out, got...) })
	return out, err
}

// distinct drops what is listed twice, as happens when a listing shifts from
// one page to the next.
func distinct[T any, K comparable](in []T, key func(T) K) []T {
	seen := make(map[K]bool, len(in))
	var out []T
	for _, v := range in {
		if k := key(v); !seen[k] {
			seen[k] = true
			out = append(out, v)
		}
	}
	return out
}

// get reads one reply that go-github has no fitting type for.
func get[T any](ctx context.Context, r *run, path string) (T, *gh.Response, error) {
	var out T
	req, err := r.client.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return out, nil, err
	}
	resp, err := r.client.Do(ctx, req, &out)
	return out, resp, err
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func list[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}
