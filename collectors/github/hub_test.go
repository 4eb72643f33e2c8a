package github_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// hub answers for a world as GitHub's REST API would: every listing in pages
// with links. It can be made troublesome.
type hub struct {
	w      *world
	mux    *http.ServeMux
	server *httptest.Server

	mu      sync.Mutex
	rng     *rand.Rand
	trouble trouble
	asked   int
	dies    int // after so many requests every connection is cut, once
	onDeath func()
}

// trouble is what may go wrong, each once in so many requests; 0 is never.
type trouble struct {
	badGateway, limited, secondary, cut, repeat int
	shuffle                                     bool // the entries of a page come in any order
}

func newHub(w *world, seed uint64, t trouble) *hub {
	h := &hub{w: w, mux: http.NewServeMux(), rng: rand.New(rand.NewPCG(seed, 3)), trouble: t}
	h.routes()
	h.server = httptest.NewServer(h)
	w.t.Cleanup(h.server.Close)
	return h
}

func (h *hub) once(in int) bool { return in > 0 && h.rng.IntN(in) == 0 }

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.asked++
	dead := h.dies > 0 && h.asked >= h.dies
	if dead {
		h.dies = 0
	}
	bad, limited, secondary, cut := h.once(h.trouble.badGateway), h.once(h.trouble.limited), h.once(h.trouble.secondary), h.once(h.trouble.cut)
	h.mu.Unlock()
	switch {
	case dead:
		h.onDeath()
		panic(http.ErrAbortHandler)
	case bad:
		http.Error(w, "<html>", http.StatusBadGateway)
	case limited:
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(collectedAt().Add(time.Minute).Unix(), 10))
		http.Error(w, `{"message":"API rate limit exceeded"}`, http.StatusForbidden)
	case secondary:
		w.Header().Set("Retry-After", "2")
		http.Error(w, `{"message":"You have exceeded a secondary rate limit"}`, http.StatusTooManyRequests)
	case cut:
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("[{"))
		panic(http.ErrAbortHandler)
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// list answers with one page of all.
func (h *hub) list(w http.ResponseWriter, r *http.Request, all []any, wrap func(total int, page []any) any) {
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("per_page"))
	if err != nil || size > 100 {
		size = 30
	}
	n := 1
	if p := q.Get("page"); p != "" {
		n, _ = strconv.Atoi(p)
	}
	from := min((n-1)*size, len(all))
	page := slices.Clone(all[from:min(from+size, len(all))])
	if from+size < len(all) {
		next := *r.URL
		q.Set("page", strconv.Itoa(n+1))
		next.RawQuery = q.Encode()
		w.Header().Set("Link", fmt.Sprintf(`<%s%s>; rel="next"`, h.server.URL, next.String()))
	}
	h.mu.Lock()
	if h.trouble.shuffle {
		h.rng.Shuffle(len(page), func(a, b int) { page[a], page[b] = page[b], page[a] })
	}
	if len(page) > 0 && h.once(h.trouble.repeat) {
		page = append(page, page[h.rng.IntN(len(page))]) // as when the listing shifts while it is read
	}
	h.mu.Unlock()
	var out any = page
	if page == nil {
		out = []any{}
	}
	if wrap != nil {
		out = wrap(len(all), page)
	}
	answer(w, out)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func missing(w http.ResponseWriter, message string) {
	w.WriteHeader(http.StatusNotFound)
	answer(w, map[string]any{"message": message})
}

func (h *hub) routes() {
	const repo = "/repos/acme/app"
	on := func(path string, f func(w http.ResponseWriter, r *http.Request)) { h.mux.HandleFunc("GET "+path, f) }
	all := func(path string, f func(r *http.Request) []any) {
		on(path, func(w http.ResponseWriter, r *http.Request) { h.list(w, r, f(r), nil) })
	}
	none := func(*http.Request) []any { return nil }
	on("/user", func(w http.ResponseWriter, _ *http.Request) { answer(w, userOf(person{login: "auditor"})) })
	on(repo+"/branches/main/protection", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"required_status_checks": map[string]any{"strict": false, "contexts": []string{"build"}}, "enforce_admins": map[string]any{"enabled": true}})
	})
	all(repo+"/rules/branches/main", none)
	all(repo+"/rulesets", none)
	all(repo+"/rulesets/rule-suites", func(*http.Request) []any { return h.w.suites })
	all(repo+"/deployments", none)
	all(repo+"/releases", none)
	all(repo+"/tags", none)
	all(repo+"/collaborators", none)
	all(repo+"/teams", none)
	all(repo+"/keys", none)
	on(repo+"/environments", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"total_count": 0, "environments": []any{}})
	})
	on(repo, func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"full_name": "acme/app"}) })
	on(repo+"/codeowners/errors", func(w http.ResponseWriter, _ *http.Request) { missing(w, "Not Found") })
	on(repo+"/activity", h.activity)
	on(repo+"/collaborators/{login}/permission", func(w http.ResponseWriter, r *http.Request) {
		level := "read"
		if login := r.PathValue("login"); strings.HasPrefix(login, "dev") || strings.HasPrefix(login, "helper") {
			level = "write"
		}
		answer(w, map[string]any{"permission": level})
	})
	h.commits(repo, on, all)
	h.pulls(repo, on, all)
}

// activity is listed newest first, and the link to the next page carries a
// cursor instead of a number.
func (h *hub) activity(w http.ResponseWriter, r *http.Request) {
	out := slices.Clone(h.w.pushes)
	slices.Reverse(out)
	from := 0
	if cursor := r.URL.Query().Get("after"); cursor != "" {
		from, _ = strconv.Atoi(strings.TrimPrefix(cursor, "c"))
	}
	if to := from + 100; to < len(out) {
		next := *r.URL
		q := next.Query()
		q.Set("after", fmt.Sprintf("c%d", to))
		next.RawQuery = q.Encode()
		w.Header().Set("Link", fmt.Sprintf(`<%s%s>; rel="next"`, h.server.URL, next.String()))
		out = out[:to]
	}
	answer(w, out[from:])
}

type (
	handle  = func(path string, f func(w http.ResponseWriter, r *http.Request))
	listing = func(path string, f func(r *http.Request) []any)
)

func (h *hub) commits(repo string, on handle, all listing) {
	all(repo+"/commits", func(r *http.Request) []any {
		since, _ := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
		until, _ := time.Parse(time.RFC3339, r.URL.Query().Get("until"))
		var out []any
		for _, c := range slices.Backward(h.w.onMain) {
			if !c.at.Before(since) && !c.at.After(until) {
				out = append(out, c.json())
			}
		}
		return out
	})
	all(repo+"/commits/{sha}/pulls", func(r *http.Request) []any {
		var out []any
		for _, p := range h.w.all[r.PathValue("sha")].prs {
			out = append(out, p.json())
		}
		return out
	})
	checks := func(r *http.Request, status bool) []check {
		var out []check
		for _, c := range h.w.checks[r.PathValue("sha")] {
			if c.status == status {
				out = append(out, c)
			}
		}
		return out
	}
	on(repo+"/commits/{sha}/check-runs", func(w http.ResponseWriter, r *http.Request) {
		var out []any
		for i, c := range checks(r, false) {
			out = append(out, map[string]any{"id": i, "name": c.name, "status": "completed", "conclusion": c.conclusion})
		}
		h.list(w, r, out, func(total int, page []any) any { return map[string]any{"total_count": total, "check_runs": page} })
	})
	on(repo+"/commits/{sha}/status", func(w http.ResponseWriter, r *http.Request) {
		var out []any
		for i, c := range checks(r, true) {
			out = append(out, map[string]any{"id": i, "context": c.name, "state": c.conclusion})
		}
		h.list(w, r, out, func(total int, page []any) any {
			return map[string]any{"state": "pending", "total_count": total, "statuses": page}
		})
	})
}

func (h *hub) pulls(repo string, on handle, all listing) {
	all(repo+"/pulls", func(r *http.Request) []any {
		var out []any
		for _, p := range slices.Backward(h.w.prs) {
			if p.base == r.URL.Query().Get("base") && r.URL.Query().Get("state") == "closed" {
				out = append(out, p.json())
			}
		}
		return out
	})
	find := func(r *http.Request) *pr {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 1 || n > len(h.w.prs) {
			return nil
		}
		return h.w.prs[n-1]
	}
	on(repo+"/pulls/{n}", func(w http.ResponseWriter, r *http.Request) {
		if p := find(r); p != nil {
			answer(w, p.json())
			return
		}
		missing(w, "Not Found")
	})
	all(repo+"/pulls/{n}/reviews", func(r *http.Request) []any {
		var out []any
		for _, v := range find(r).reviews {
			out = append(out, map[string]any{"id": v.id, "user": userOf(v.by), "state": v.state, "commit_id": v.commit, "submitted_at": stampOf(v.at)})
		}
		return out
	})
	all(repo+"/pulls/{n}/commits", func(r *http.Request) []any {
		var out []any
		for _, c := range find(r).commits {
			out = append(out, c.json())
		}
		return out
	})
	all(repo+"/issues/{n}/timeline", func(r *http.Request) []any {
		var out []any
		for _, e := range find(r).timeline {
			out = append(out, e)
		}
		return out
	})
}

func (c *commit) json() any {
	parents := []any{}
	for _, p := range c.parents {
		parents = append(parents, map[string]any{"sha": p.sha})
	}
	sign := func(p person) any {
		return map[string]any{"name": p.login, "email": p.email(), "date": stampOf(c.at)}
	}
	return map[string]any{"sha": c.sha, "parents": parents, "author": userOf(c.author), "committer": userOf(c.committer),
		"commit": map[string]any{"message": c.message, "author": sign(c.author), "committer": sign(c.committer)}}
}

func (p *pr) json() any {
	labels := []any{}
	for _, l := range p.labels {
		labels = append(labels, map[string]any{"name": l})
	}
	from := any(map[string]any{"full_name": "acme/app"})
	if p.fork {
		from = map[string]any{"full_name": p.author.login + "/app"}
	}
	return map[string]any{
		"number": p.number, "title": "change", "user": userOf(p.author), "labels": labels, "state": "closed", "merged": true, "merged_by": userOf(p.mergedBy),
		"created_at": stampOf(p.created), "updated_at": stampOf(p.merged), "closed_at": stampOf(p.merged), "merged_at": stampOf(p.merged),
		"merge_commit_sha": p.merge.sha, "commits": len(p.commits), "head": map[string]any{"sha": p.head.sha, "ref": "topic", "repo": from},
		"base": map[string]any{"ref": p.base, "repo": map[string]any{"full_name": "acme/app"}},
	}
}
