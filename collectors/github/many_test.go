package github_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trustpack/collectors/github"
	"trustpack/evidence"
)

// many is a repository of any number of squashed pull requests, each approved
// by one person or by two. It keeps nothing: a reply is made from the number.
type many struct {
	prs    int
	asked  atomic.Int64
	filler string // of a description, so that replies are of a likely size
}

func (m *many) at(n int) time.Time {
	return window.From.Add(time.Duration(n) * (window.To.Sub(window.From) / time.Duration(m.prs+1)))
}

func user(login string) map[string]any { return map[string]any{"login": login, "type": "User"} }

func shaOf(n int) string { return fmt.Sprintf("%040x", n+1) }

func (m *many) pull(n int) map[string]any {
	at := m.at(n).Format(time.RFC3339)
	ref := func(branch, sha string) map[string]any {
		return map[string]any{"ref": branch, "sha": sha, "repo": map[string]any{"full_name": "acme/app", "description": m.filler}}
	}
	return map[string]any{"number": n, "title": fmt.Sprintf("change %d", n), "state": "closed", "merged": true, "merged_at": at, "created_at": at, "updated_at": at, "closed_at": at,
		"user": user(fmt.Sprintf("dev%d", n%50)), "merged_by": user("carla"), "merge_commit_sha": shaOf(n), "body": m.filler, "commits": 1,
		"base": ref("main", shaOf(n-1)), "head": ref("topic", shaOf(n+m.prs))}
}

func (m *many) commit(n int, by string, parent string) map[string]any {
	who := map[string]any{"name": by, "email": by + "@acme.example", "date": m.at(n % m.prs).Format(time.RFC3339)}
	return map[string]any{"sha": shaOf(n), "author": user(by), "committer": user("web-flow"), "parents": []any{map[string]any{"sha": parent}},
		"commit": map[string]any{"message": fmt.Sprintf("change %d\n\n%s", n, m.filler), "author": who, "committer": who}}
}

func (m *many) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.asked.Add(1)
	path := strings.TrimPrefix(r.URL.Path, "/repos/acme/app/")
	number := func(of string) int { n, _ := strconv.Atoi(of); return n }
	part := strings.Split(path, "/")
	page := max(number(r.URL.Query().Get("page")), 1)
	// newest lists all, a hundred a page.
	newest := func(one func(int) any) any {
		out := []any{}
		for n := m.prs - 1 - (page-1)*100; n >= 0 && len(out) < 100; n-- {
			out = append(out, one(n))
		}
		if page*100 < m.prs {
			q := r.URL.Query()
			q.Set("page", strconv.Itoa(page+1))
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?%s>; rel="next"`, r.Host, r.URL.Path, q.Encode()))
		}
		return out
	}
	var reply any = []any{}
	switch {
	case r.URL.Path == "/user":
		reply = user("auditor")
	case path == "pulls" && r.URL.Query().Get("state") == "closed" && r.URL.Query().Get("base") == "main":
		reply = newest(func(n int) any { return m.pull(n + 1) })
	case path == "commits":
		reply = newest(func(n int) any { return m.commit(n+1, fmt.Sprintf("dev%d", (n+1)%50), shaOf(n)) })
	case path == "activity":
		reply = []any{}
	case path == "branches/main/protection":
		w.WriteHeader(http.StatusNotFound)
		reply = map[string]any{"message": "Branch not protected"}
	case part[0] == "collaborators" && len(part) == 3:
		reply = map[string]any{"permission": "write", "user": user(part[1])}
	case part[0] == "commits" && len(part) == 3 && part[2] == "pulls":
		n, _ := strconv.ParseInt(part[1], 16, 64)
		reply = []any{m.pull(int(n) - 1)}
	case part[0] == "commits" && len(part) == 3 && part[2] == "check-runs":
		reply = map[string]any{"total_count": 1, "check_runs": []any{map[string]any{"id": 1, "name": "test", "status": "completed", "conclusion": "success", "output": map[string]any{"text": m.filler}}}}
	case part[0] == "commits" && len(part) == 3 && part[2] == "status":
		reply = map[string]any{"state": "success", "statuses": []any{}}
	case part[0] == "pulls" && len(part) == 2:
		reply = m.pull(number(part[1]))
	case part[0] == "pulls" && part[len(part)-1] == "reviews":
		n := number(part[1])
		review := func(id int, by string) any {
			return map[string]any{"id": n*2 + id, "user": user(by), "state": "APPROVED", "commit_id": shaOf(n + m.prs), "submitted_at": m.at(n).Add(-time.Second).Format(time.RFC3339), "body": m.filler}
		}
		all := []any{review(0, fmt.Sprintf("dev%d", (n+1)%50))}
		if n%2 == 0 {
			all = append(all, review(1, fmt.Sprintf("dev%d", (n+2)%50)))
		}
		reply = all
	case part[0] == "pulls" && part[len(part)-1] == "commits":
		n := number(part[1])
		c := m.commit(n, fmt.Sprintf("dev%d", n%50), shaOf(n-1))
		c["sha"] = shaOf(n + m.prs)
		reply = []any{c}
	case part[0] == "environments":
		reply = map[string]any{"total_count": 0, "environments": []any{}}
	case r.URL.Path == "/repos/acme/app":
		reply = map[string]any{"full_name": "acme/app", "default_branch": "main", "visibility": "private"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // a client that has gone is no concern of the server
}

// folder is a store without a locker's syncs, so that the collector is
// measured and not the disk.
type folder string

func (f folder) Keep(b []byte) (string, error) {
	digest := evidence.SHA256Hex(b)
	return digest, os.WriteFile(filepath.Join(string(f), digest), b, 0o600)
}

func (f folder) Open(digest string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), digest))
}

// Two branches of one repository are judged each for itself; what the repository
// has once is read once.
func TestTwoBranches(t *testing.T) {
	server := httptest.NewServer(&many{prs: 3})
	defer server.Close()
	c, err := github.New(github.Config{BaseURL: server.URL, Repositories: []github.Repository{{Name: "acme/app"}, {Name: "acme/app", Branch: "release"}}},
		github.Deps{Tool: "test", Now: collectedAt, Getenv: func(string) string { return "token" }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got {
		if _, _, _, err := evidence.RecordOf(e); err != nil {
			t.Errorf("%s: %v", e.Kind, err)
		}
		if want := map[evidence.Kind]int{github.KindChanges: 6, github.KindPullRequests: 3, github.KindRepository: 1}[e.Kind]; want != 0 && len(e.Population.Items) != want {
			t.Errorf("%s: %d items, want %d", e.Kind, len(e.Population.Items), want)
		}
		if e.Kind != github.KindChanges {
			continue
		}
		for _, it := range e.Population.Items {
			class, branch := string(github.Approved), "main"
			if strings.HasSuffix(it.ID, "@release") {
				class, branch = string(github.DirectPush), "release"
			}
			if it.Attributes["class"] != class || it.Attributes["branch"] != branch {
				t.Errorf("%s: %v", it.ID, it.Attributes)
			}
		}
	}
}

// BenchmarkCollectMany collects TRUSTPACK_PRS pull requests (default 2,000)
// with their reviews from a server in the same process. It reports requests a second, how
// many of them the bare server answers to the same single client, and the most
// memory that the Go runtime had at any time, server and all.
func BenchmarkCollectMany(b *testing.B) {
	prs, err := strconv.Atoi(os.Getenv("TRUSTPACK_PRS"))
	if err != nil {
		prs = 2000
	}
	for b.Loop() {
		m := &many{prs: prs, filler: strings.Repeat("text of no importance ", 40)}
		server := httptest.NewServer(m)
		most, stop := watchMemory()
		c, err := github.New(github.Config{BaseURL: server.URL, Repositories: []github.Repository{{Name: "acme/app"}}},
			github.Deps{Tool: "bench", Now: collectedAt, Getenv: func(string) string { return "token" }, Store: folder(b.TempDir())})
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		approved, slices := 0, 0
		err = c.Stream(context.Background(), window, func(e evidence.Evidence) error {
			if e.Kind != github.KindChanges {
				return nil
			}
			slices++
			for _, it := range e.Population.Items {
				if it.Attributes["class"] == string(github.Approved) {
					approved++
				}
			}
			if e.Completeness.State != evidence.Complete {
				return fmt.Errorf("not whole: %v", e.Completeness.Gaps)
			}
			_, _, _, err := evidence.RecordOf(e)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		if approved != prs {
			b.Fatalf("%d of %d changes are approved", approved, prs)
		}
		rate := float64(m.asked.Load()) / time.Since(began).Seconds()
		close(stop)
		b.ReportMetric(rate, "requests/s")
		b.ReportMetric(rate/m.bare(b, server), "of-the-bare-server")
		b.ReportMetric(float64(most.Load())/1e6, "MB-at-most")
		b.ReportMetric(float64(slices), "slices")
		server.Close()
	}
}

// bare asks for what a collection asks for, and does nothing with it.
func (m *many) bare(b *testing.B, server *httptest.Server) float64 {
	paths := []string{"pulls/%d", "pulls/%d/reviews", "pulls/%d/commits", "issues/%d/timeline", "commits/%040x/check-runs", "commits/%040x/status", "commits/%040x/pulls"}
	began, n := time.Now(), min(m.prs, 2000)
	for i := range n {
		for _, p := range paths {
			resp, err := server.Client().Get(server.URL + "/repos/acme/app/" + fmt.Sprintf(p, i+1))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	return float64(n*len(paths)) / time.Since(began).Seconds()
}

// watchMemory gives the most bytes that the runtime held at once, looked at
// every few milliseconds until stop is closed.
func watchMemory() (most *atomic.Uint64, stop chan struct{}) {
	most, stop = new(atomic.Uint64), make(chan struct{})
	go func() {
		for {
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			if held := s.Sys - s.HeapReleased; held > most.Load() {
				most.Store(held)
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return most, stop
}
