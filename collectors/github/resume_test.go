package github_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/collectors/github"
	"trustpack/evidence"
)

// shelf is a store in memory.
type shelf map[string][]byte

func (s shelf) Keep(body []byte) (string, error) {
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	s[digest] = bytes.Clone(body)
	return digest, nil
}

func (s shelf) Open(digest string) (io.ReadCloser, error) {
	body, there := s[digest]
	if !there {
		return nil, errors.New("not here")
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// again is a hub with ETags that is collected from several times, with what is
// kept from one collection to the next.
type again struct {
	t      *testing.T
	hub    *hub
	server *httptest.Server
	store  shelf
	index  string
	now    time.Time
	user   string
	said   []string

	full, unchanged map[string]int // requests answered, by URI
	dies            int            // the collection is killed after so many answers; 0: never
	kill            func()
	change          func(path string, body []byte) []byte // what is different now
}

func newAgain(t *testing.T, w *world) *again {
	a := &again{t: t, hub: newHub(w, 1, trouble{}), store: shelf{}, index: filepath.Join(t.TempDir(), "requests", "github.jsonl"), now: collectedAt(), user: "auditor"}
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	return a
}

func (a *again) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.dies > 0 {
		if a.dies--; a.dies == 0 {
			a.kill()
			panic(http.ErrAbortHandler)
		}
	}
	rec := httptest.NewRecorder()
	if r.URL.Path == "/user" {
		fmt.Fprintf(rec, `{"login":%q}`, a.user)
	} else {
		a.hub.mux.ServeHTTP(rec, r)
	}
	body := rec.Body.Bytes()
	if a.change != nil {
		body = a.change(r.URL.Path, body)
	}
	tag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(body))
	w.Header().Set("ETag", tag)
	w.Header().Set("Date", a.now.UTC().Format(http.TimeFormat))
	if rec.Code == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		a.unchanged[r.URL.RequestURI()]++
		w.WriteHeader(http.StatusNotModified) // without the link to the next page, as RFC 9110 allows
		return
	}
	a.full[r.URL.RequestURI()]++
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body)
}

func (a *again) collect() (map[evidence.Kind]evidence.Evidence, error) {
	a.full, a.unchanged, a.said = map[string]int{}, map[string]int{}, nil
	ctx, kill := context.WithCancel(a.t.Context())
	defer kill()
	a.kill = kill
	c, err := github.New(github.Config{BaseURL: a.server.URL, Repositories: []github.Repository{{Name: "acme/app"}},
		Emergency: github.EmergencyPolicy{Label: "emergency", ReviewDays: 3}},
		github.Deps{Tool: "test", Now: func() time.Time { return a.now }, Getenv: func(string) string { return "token" }, Store: a.store, Index: a.index,
			Progress: func(s string) { a.said = append(a.said, s) },
			Sleep:    func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		a.t.Fatal(err)
	}
	got, err := c.Collect(ctx, window)
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		out[e.Kind] = e
	}
	return out, err
}

func (a *again) mustCollect() map[evidence.Kind]evidence.Evidence {
	a.t.Helper()
	got, err := a.collect()
	if err != nil {
		a.t.Fatal(err)
	}
	return got
}

// cutOff collects and is killed after so many answers.
func (a *again) cutOff(answers int) {
	a.t.Helper()
	a.dies = answers
	if _, err := a.collect(); err == nil {
		a.t.Fatal("the collection that was killed says that it ended well")
	}
}

// ofOne matches what belongs to one pull request, commit or person.
var ofOne = regexp.MustCompile(`^/repos/acme/app/(pulls|issues|commits|collaborators)/[^?]`)

func asked(uris map[string]int) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for uri := range uris {
			if ofOne.MatchString(uri) && !yield(uri) {
				return
			}
		}
	})
}

func samePopulations(t *testing.T, a, b map[evidence.Kind]evidence.Evidence) {
	t.Helper()
	if len(a) == 0 || len(a) != len(b) {
		t.Errorf("%d kinds, want %d", len(b), len(a))
	}
	for kind := range a {
		x, err := a[kind].Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		y, err := b[kind].Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) || a[kind].Completeness.State != b[kind].Completeness.State {
			t.Errorf("%s: the population is another, or %s instead of %s", kind, b[kind].Completeness.State, a[kind].Completeness.State)
		}
	}
}

// Cut off twice, a collection goes on and asks for nothing a second time that
// belongs to one pull request; its evidence is what one collection would have
// brought, each exchange with the time at which it was made.
func TestCutOffCollectionGoesOn(t *testing.T) {
	w := newWorld(t, 3)
	w.fill(60)
	calm := newAgain(t, w)
	want := calm.mustCollect()
	whole := asked(calm.full)

	a := newAgain(t, w)
	began := a.now
	a.cutOff(150)
	seen := a.full
	a.now = a.now.Add(time.Hour)
	a.cutOff(170)
	for uri, n := range a.full {
		seen[uri] += n
	}
	a.now = a.now.Add(time.Hour)
	got := a.mustCollect()
	twice := 0
	for _, uri := range asked(a.full) {
		if seen[uri] > 0 {
			twice++
			t.Errorf("asked again: %s", uri)
		}
	}
	for uri := range a.unchanged {
		if ofOne.MatchString(uri) {
			t.Errorf("asked again, on condition: %s", uri)
		}
	}
	if n := len(asked(seen)) + len(asked(a.full)) - twice; n != len(whole) {
		t.Errorf("%d different requests in three goes, want %d", n, len(whole))
	}
	samePopulations(t, want, got)
	w.agree("gone on", got)
	times := map[time.Time]int{}
	for _, r := range got[github.KindPullRequests].Provenance.Requests {
		times[r.StartedAt]++
		if body, there := a.store[r.ReplySHA256]; !there || evidence.SHA256Hex(body) != r.ReplySHA256 {
			t.Fatalf("no reply is kept for %+v", r)
		}
	}
	for hours := range 3 {
		if at := began.Add(time.Duration(hours) * time.Hour); times[at] == 0 {
			t.Errorf("no exchange is said to be of %s: %v", at, times)
		}
	}
	if note := got[github.KindPullRequests].Completeness.Note; !strings.Contains(note, "replies were asked for by a collection of the same principal that was cut off") {
		t.Errorf("note %q", note)
	}
	// It has ended: the next one asks for all, on condition.
	a.now = a.now.Add(time.Hour)
	next := a.mustCollect()
	if n := len(asked(a.unchanged)); n != len(whole) {
		t.Errorf("after a whole collection %d were asked for on condition, want %d", n, len(whole))
	}
	if note := next[github.KindPullRequests].Completeness.Note; strings.Contains(note, "cut off") {
		t.Errorf("note of the next %q", note)
	}
}

// What was kept is not taken where it may not stand for an answer now.
func TestCutOffRepliesNotTaken(t *testing.T) {
	w := newWorld(t, 3)
	w.fill(30)
	for name, spoil := range map[string]func(a *again){
		"another principal": func(a *again) { a.user = "somebody else" },
		"nobody known":      func(a *again) {},
		"too long ago":      func(a *again) { a.now = a.now.Add(12*time.Hour + time.Second) },
		"replies damaged": func(a *again) {
			for digest := range a.store {
				a.store[digest] = []byte("[]")
			}
		},
		"replies lost":  func(a *again) { clear(a.store) },
		"index lost":    func(a *again) { must(a.t, os.Remove(a.index)) },
		"index damaged": func(a *again) { must(a.t, os.WriteFile(a.index, []byte("{\n\x00\n"), 0o600)) },
		"no source's time": func(a *again) {
			b, err := os.ReadFile(a.index)
			must(a.t, err)
			must(a.t, os.WriteFile(a.index, regexp.MustCompile(`"date":"[^"]*",`).ReplaceAll(b, nil), 0o600))
		},
		"index leads elsewhere": func(a *again) {
			b, err := os.ReadFile(a.index)
			must(a.t, err)
			must(a.t, os.WriteFile(a.index, bytes.ReplaceAll(b, []byte(`"url":"http`), []byte(`"url":"ftp`)), 0o600))
		},
	} {
		a := newAgain(t, w)
		if name == "nobody known" {
			a.user = ""
		}
		a.cutOff(100)
		before := asked(a.full)
		if len(before) < 20 {
			t.Fatalf("only %d were asked for before", len(before))
		}
		spoil(a)
		w.agree(name, a.mustCollect())
		for _, uri := range before {
			// Of equal replies the store holds one, which may be back by now.
			if itself := regexp.MustCompile(`/pulls/\d+$`).MatchString(uri); itself && a.full[uri]+a.unchanged[uri] == 0 {
				t.Errorf("%s: %s was not asked for again", name, uri)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A pull request that changed after its replies were kept is read anew.
func TestCutOffPullRequestThatChanged(t *testing.T) {
	w := newWorld(t, 3)
	w.fill(30)
	a := newAgain(t, w)
	a.cutOff(100)
	before := asked(a.full)
	number := regexp.MustCompile(`/(?:pulls|issues)/(\d+)`).FindStringSubmatch(before[len(before)-1])[1]
	a.now = a.now.Add(time.Hour)
	a.change = func(path string, body []byte) []byte {
		if path == "/repos/acme/app/pulls" {
			re := regexp.MustCompile(`("number":` + number + `,[^{}]*"updated_at":)"[^"]*"`)
			body = re.ReplaceAll(body, []byte(`${1}"`+a.now.UTC().Format(time.RFC3339)+`"`))
			if !bytes.Contains(body, []byte(a.now.UTC().Format(time.RFC3339))) {
				body = []byte(strings.Replace(string(body), `"number":`+number+`,`, `"number":`+number+`,"updated_at":"`+a.now.UTC().Format(time.RFC3339)+`",`, 1))
			}
		}
		return body
	}
	a.mustCollect()
	for _, uri := range before {
		mine := strings.Contains(uri, "/pulls/"+number+"/") || strings.HasSuffix(uri, "/pulls/"+number) || strings.Contains(uri, "/issues/"+number+"/")
		if n := a.full[uri] + a.unchanged[uri]; mine && n == 0 {
			t.Errorf("%s was not asked for again", uri)
		} else if !mine && n > 0 && regexp.MustCompile(`/(pulls|issues)/\d`).MatchString(uri) {
			t.Errorf("%s was asked for again", uri)
		}
	}
}

// A second collection gets "not modified" for all that stayed, and its
// provenance says so: the status, the condition, the reply that it stands for.
func TestNotModified(t *testing.T) {
	w := newWorld(t, 4)
	w.fill(40)
	a := newAgain(t, w)
	first := a.mustCollect()
	a.now = a.now.Add(24 * time.Hour)
	second := a.mustCollect()
	samePopulations(t, first, second)
	for uri := range a.full {
		if uri != "/user" && a.hubAnswers(uri) {
			t.Errorf("sent in full again: %s", uri)
		}
	}
	if len(a.unchanged) < 100 {
		t.Fatalf("only %d were not modified", len(a.unchanged))
	}
	for kind, e := range second {
		for _, r := range e.Provenance.Requests {
			if r.Status != http.StatusNotModified {
				continue
			}
			if r.StartedAt != a.now || !strings.HasPrefix(r.Parameters["If-None-Match"], `W/"`) || a.store[r.ReplySHA256] == nil {
				t.Errorf("%s: %+v", kind, r)
			}
			if !slices.ContainsFunc(first[kind].Provenance.Requests, func(was evidence.Request) bool {
				return was.ReplySHA256 == r.ReplySHA256 && was.Target == r.Target && was.Status == http.StatusOK
			}) {
				t.Errorf("%s: the first collection has no such reply: %+v", kind, r)
			}
		}
	}
	// Whoever changes something is seen.
	a.now = a.now.Add(24 * time.Hour)
	a.change = func(path string, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte(`"state":"APPROVED"`), []byte(`"state":"DISMISSED"`))
	}
	for _, it := range a.mustCollect()[github.KindChanges].Population.Items {
		if it.Attributes["class"] == "approved" {
			t.Errorf("%s is still approved", it.ID)
		}
	}
}

// hubAnswers reports whether the hub has what is at the address, and it is no
// full last page.
func (a *again) hubAnswers(uri string) bool {
	rec := httptest.NewRecorder()
	a.hub.mux.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, uri, nil))
	return rec.Code == http.StatusOK
}

// A full last page may get a successor without changing itself.
func TestFullLastPage(t *testing.T) {
	w := newWorld(t, 5)
	w.fill(20)
	a := newAgain(t, w)
	tags := 100
	more := func(path string, body []byte) []byte {
		if path != "/repos/acme/app/tags" {
			return body
		}
		return []byte("[" + strings.TrimSuffix(strings.Repeat(`{"name":"v","commit":{"sha":"x"}},`, tags), ",") + "]")
	}
	a.change = more
	a.mustCollect()
	a.mustCollect()
	if a.full["/repos/acme/app/tags?page=1&per_page=100"] != 1 {
		t.Errorf("the full last page was asked for on condition: %v", a.unchanged)
	}
	tags = 99
	a.mustCollect()
	a.mustCollect()
	if a.unchanged["/repos/acme/app/tags?page=1&per_page=100"] != 1 {
		t.Errorf("the last page that has room was not asked for on condition: %v", a.full)
	}
}

// The index does not grow without end, and half a line at its end is cut off.
func TestIndexOfReplies(t *testing.T) {
	w := newWorld(t, 6)
	w.fill(20)
	a := newAgain(t, w)
	want := a.mustCollect()
	first := len(a.full)
	for range 20 {
		a.mustCollect()
	}
	b, err := os.ReadFile(a.index)
	must(t, err)
	if lines := bytes.Count(b, []byte("\n")); lines > 2*first+1000 {
		t.Errorf("%d lines for %d requests", lines, first)
	}
	if bytes.Contains(b, []byte(`"token"`)) || bytes.Contains(b, []byte("Bearer")) {
		t.Error("the token is in the index")
	}
	must(t, os.WriteFile(a.index, append(b, `{"url":"htt`+strings.Repeat("x", 1<<20)...), 0o600))
	samePopulations(t, want, a.mustCollect())
	if len(a.unchanged) < first/2 {
		t.Errorf("%d of %d not modified after half a line", len(a.unchanged), first)
	}
	if b, err = os.ReadFile(a.index); err != nil || bytes.Contains(b, []byte("xxx")) {
		t.Errorf("half a line was kept: %v", err)
	}
	// Where it cannot be opened, everything is asked for, and that is said.
	must(t, os.Remove(a.index))
	must(t, os.Mkdir(a.index, 0o700))
	samePopulations(t, want, a.mustCollect())
	if len(a.unchanged) != 0 || !strings.Contains(fmt.Sprint(a.said), "everything is asked for in full") {
		t.Errorf("%d not modified; said %v", len(a.unchanged), a.said)
	}
}
