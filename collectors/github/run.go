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
	out       map[evidence.Kind]*gathered
}

// gathered is what a kind has so far.
type gathered struct {
	items    []evidence.Item
	gaps     []evidence.Gap
	requests []evidence.Request
	raw      []evidence.RawReply
}

func (r *run) item(k evidence.Kind, id string, attributes map[string]any) {
	r.out[k].items = append(r.out[k].items, evidence.Item{ID: id, Attributes: attributes})
}

func (r *run) gap(k evidence.Kind, what, reason string) {
	g := evidence.Gap{What: what, Reason: reason}
	if !slices.Contains(r.out[k].gaps, g) {
		r.out[k].gaps = append(r.out[k].gaps, g)
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
	outer := r.rec.keepers
	r.rec.keepers = nil
	for _, k := range kinds {
		r.rec.keepers = append(r.rec.keepers, r.out[k])
	}
	f()
	r.rec.keepers = outer
}

func (r *run) whoAmI(ctx context.Context) {
	r.ask(func() {
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
		out += fmt.Sprintf(" (the token in %s is refused)", r.c.config.TokenEnv)
	case http.StatusForbidden:
		out += " (the token may not read this)"
	case http.StatusNotFound:
		out += " (it does not exist, or the token may not see it)"
	case http.StatusTooManyRequests:
		out += " (too many requests, also after waiting)"
	}
	return r.rec.scrub(out)
}

func (r *run) evidence() []evidence.Evidence {
	var all []evidence.Evidence
	for _, k := range r.c.Kinds() {
		g := r.out[k]
		slices.SortFunc(g.items, func(a, b evidence.Item) int { return strings.Compare(a.ID, b.ID) })
		e := evidence.Evidence{
			Kind: k, Collector: r.c.Name(), CollectedAt: r.started, Window: r.window,
			Snapshot: slices.Contains(snapshots(), k),
			Provenance: evidence.Provenance{
				System: "github", Account: r.account(k), Principal: r.principal, Tool: r.c.deps.Tool,
				Origin: evidence.OriginLive, Clock: r.c.deps.Clock, Requests: slices.Concat([]evidence.Request{}, g.requests),
			},
			Completeness: evidence.Completeness{State: evidence.Complete, Basis: "read-to-end", Got: len(g.items), Gaps: g.gaps},
			Population:   evidence.Population{Items: g.items},
			Raw:          g.raw,
		}
		if r.c.config.Sample {
			e.Provenance.Origin = evidence.OriginSample
		}
		if len(g.gaps) > 0 {
			e.Completeness.State = evidence.Incomplete
		}
		switch k {
		case KindChanges:
			e.Completeness.Basis = "reconciled"
			e.Completeness.Note = "every commit that the branch reaches in the window, by committer time, was tied to its pull request, and every " +
				"pull request merged in the window to a commit; bypasses are looked up in the rule suites of the last month, which is all that GitHub keeps; " +
				"rules and reviewers' access are those at the time of collection"
		case KindPullRequests:
			e.Completeness.Note = "pull requests to the branch that were opened, closed or merged in the window"
		}
		all = append(all, e)
	}
	return all
}

// snapshots are the kinds that are the state at the time of collection.
func snapshots() []evidence.Kind {
	return []evidence.Kind{KindProtection, KindRulesets, KindMembers, KindEnvironments, KindAccess, KindRepository}
}

func (r *run) account(k evidence.Kind) string {
	if k == KindMembers {
		return r.c.config.Organization
	}
	var names []string
	for _, repo := range r.c.config.Repositories {
		names = append(names, repo.Name)
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

// all reads every page of a listing. What was read before a page failed comes
// back beside the error, which names the page.
func all[T any](page func(gh.ListOptions) ([]T, *gh.Response, error)) ([]T, error) {
	var out []T
	o := gh.ListOptions{PerPage: 100, Page: 1}
	for {
		got, resp, err := page(o)
		if err != nil {
			return out, &pageError{o.Page, err}
		}
		out = append(out, got...)
		if resp.NextPage == 0 {
			return out, nil
		}
		if resp.NextPage <= o.Page {
			return out, fmt.Errorf("page %d: the source says that the next page is %d", o.Page, resp.NextPage)
		}
		o.Page = resp.NextPage
	}
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
