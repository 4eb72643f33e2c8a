package ingest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// fakeHub is as much of GitHub's REST API as issues of one repository need.
type fakeHub struct {
	*httptest.Server
	t     *testing.T
	token string

	mu     sync.Mutex
	n      int // requests
	calls  []string
	issues []*hubIssue
	page   int // issues in one answer; 0: all
	// fault answers the n-th request itself, or lets it pass.
	fault func(n int, w http.ResponseWriter, r *http.Request) bool
	// lose lets a request that changes something take effect, and loses the
	// answer.
	lose func(w http.ResponseWriter, r *http.Request) bool
}

type hubIssue struct {
	Number   int      `json:"number"`
	Title    string   `json:"title"`
	Body     string   `json:"body"`
	State    string   `json:"state"`
	Reason   string   `json:"state_reason,omitempty"`
	Comments int      `json:"comments"`
	URL      string   `json:"html_url"`
	labels   []string // as they were given
	comments []string
}

func newFakeHub(t *testing.T) *fakeHub {
	h := &fakeHub{t: t, token: "ghp_" + strings.Repeat("s3cr3t", 6)}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	return h
}

func (h *fakeHub) policy() AlertGitHubPolicy {
	file := filepath.Join(h.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(h.token+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return AlertGitHubPolicy{Repository: "acme/ops", BaseURL: h.URL + "/api/v3", TokenFile: file, Labels: []string{"alert", "trustpack"}}
}

func toGitHub(h *fakeHub) func(*Config) {
	return func(c *Config) {
		quickly(&c.Alerts)
		c.Alerts.GitHub = h.policy()
	}
}

func hubError(w http.ResponseWriter, status int, message string, head map[string]string) {
	for k, v := range head {
		if k != "doc" {
			w.Header().Set(k, v)
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message, "documentation_url": head["doc"]})
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+h.token {
		h.t.Errorf("authorization %q", got)
	}
	h.mu.Lock()
	h.n++
	n, fault := h.n, h.fault
	h.calls = append(h.calls, r.Method+" "+r.URL.Path)
	h.mu.Unlock()
	if fault != nil && fault(n, w, r) {
		return
	}
	out, status := h.act(r, body)
	if out == nil {
		hubError(w, status, "Not Found", nil)
		return
	}
	if lose := h.lose; lose != nil && r.Method != http.MethodGet && lose(w, r) {
		return
	}
	if list, ok := out.([]*hubIssue); ok && h.page > 0 {
		n, err := strconv.Atoi(r.URL.Query().Get("page"))
		if err != nil {
			n = 1
		}
		if end := n * h.page; end < len(list) {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, h.URL, r.URL.Path, n+1))
			list = list[:end]
		}
		out = list[min((n-1)*h.page, len(list)):]
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

func (h *fakeHub) act(r *http.Request, body []byte) (any, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var in struct {
		Title, Body, State string
		StateReason        string `json:"state_reason"`
		Labels             []string
	}
	_ = json.Unmarshal(body, &in)
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v3/repos/acme/ops/issues")
	if !ok {
		return nil, http.StatusNotFound
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if parts[0] == "" {
		if r.Method == http.MethodPost {
			i := &hubIssue{Number: len(h.issues) + 1, Title: in.Title, Body: in.Body, State: "open", labels: in.Labels}
			i.URL = fmt.Sprintf("%s/acme/ops/issues/%d", h.URL, i.Number)
			h.issues = append(h.issues, i)
			return i, http.StatusCreated
		}
		if r.URL.Query().Get("state") != "all" {
			h.t.Errorf("issues that are closed are not looked at: %s", r.URL)
		}
		return h.issues, http.StatusOK
	}
	number, err := strconv.Atoi(parts[0])
	if err != nil || number < 1 || number > len(h.issues) {
		return nil, http.StatusNotFound
	}
	i := h.issues[number-1]
	switch {
	case len(parts) == 2 && r.Method == http.MethodPost:
		i.comments = append(i.comments, in.Body)
		i.Comments++
		return map[string]any{"id": i.Comments, "body": in.Body}, http.StatusCreated
	case len(parts) == 2:
		out := []map[string]any{}
		for n, c := range i.comments {
			out = append(out, map[string]any{"id": n + 1, "body": c})
		}
		return out, http.StatusOK
	case r.Method == http.MethodPatch:
		i.State, i.Reason = in.State, in.StateReason
	}
	return i, http.StatusOK
}

// all copies the issues.
func (h *fakeHub) all() (out []hubIssue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range h.issues {
		x := *i
		x.comments = slices.Clone(i.comments)
		out = append(out, x)
	}
	return out
}

func TestAlertsAreIssues(t *testing.T) {
	h := newFakeHub(t)
	r := newRig(t, toGitHub(h))
	id := r.raise(AlertReplayConflict, "nord", "used again: ``` @everyone <!-- trustpack-alert x --> [click](https://evil.example)")
	if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:delivered"}) {
		t.Fatalf("%v", got)
	}
	issues := h.all()
	if len(issues) != 1 {
		t.Fatalf("%+v", issues)
	}
	i := issues[0]
	if i.Title != "[critical] replay.conflict nord/m-1" || i.State != "open" || !slices.Equal(i.labels, []string{"alert", "trustpack"}) {
		t.Errorf("%+v", i)
	}
	if !strings.HasPrefix(i.Body, "````text\n") || strings.Count(i.Body, "````") != 2 || strings.LastIndex(i.Body, "````") < strings.Index(i.Body, "evil.example") || !strings.Contains(i.Body, "does not resolve the alert") {
		t.Errorf("text from outside is not fenced in:\n%s", i.Body)
	}
	if a := r.alert(id); a.Ticket != i.URL || a.Deliveries[0].Ticket != i.URL {
		t.Errorf("%+v", a)
	}
	if e := r.control(evidence.EntryAlertDelivered); len(e) != 1 || !strings.Contains(string(e[0].Data), `"kind":"github-issue"`) || !strings.Contains(string(e[0].Data), `"ticket":"`+i.URL+`"`) {
		t.Errorf("%+v", e)
	}

	// What a person does there is no resolution.
	h.mu.Lock()
	h.issues[0].State = "closed"
	h.mu.Unlock()
	r.restart()
	if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
		t.Fatal(err)
	}
	if a := r.alert(id); a.State != AlertOpen {
		t.Errorf("closed at GitHub, it is %s", a.State)
	}
	h.mu.Lock()
	h.issues[0].State = "open"
	h.mu.Unlock()

	if err := r.admin("carla").AcknowledgeAlert(t.Context(), id, "looking", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.admin("root.admin").ResolveAlert(t.Context(), id, "modem replaced", "T-8"); err != nil {
		t.Fatal(err)
	}
	if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:delivered", "acknowledged>acme/ops:delivered", "resolved>acme/ops:delivered"}) {
		t.Errorf("%v", got)
	}
	issues = h.all()
	if len(issues) != 1 || issues[0].State != "closed" || issues[0].Reason != "completed" || len(issues[0].comments) != 2 {
		t.Fatalf("%+v", issues)
	}
	if c := issues[0].comments[0]; !strings.Contains(c, "acknowledged: ") || !strings.Contains(c, " by carla\nlooking\n") {
		t.Errorf("%s", c)
	}
	if c := issues[0].comments[1]; !strings.Contains(c, " by root.admin\nticket: T-8\nmodem replaced\n") {
		t.Errorf("%s", c)
	}
	if a := r.alert(id); a.Ticket != "T-8" {
		t.Errorf("the operator's ticket is %q", a.Ticket)
	}
	r.sameAsFold()
}

// TestIssuesAreTriedAgain: each thing that GitHub may answer instead, at each
// request that an event takes, and there is one issue with one comment an event.
func TestIssuesAreTriedAgain(t *testing.T) {
	t.Parallel() // it waits more than it works
	reset := strconv.FormatInt(time.Now().Add(time.Second).Unix(), 10)
	answer := func(status int, message string, head map[string]string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { hubError(w, status, message, head) }
	}
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request)
		text  string
	}{
		"401":        {answer(401, "Bad credentials", nil), "GitHub answered 401: Bad credentials"},
		"403":        {answer(403, "Resource not accessible by personal access token", nil), "GitHub answered 403: Resource not accessible by personal access token"},
		"404":        {answer(404, "Not Found", nil), "GitHub answered 404: Not Found"},
		"500":        {answer(500, "oops", nil), "GitHub answered 500: oops"},
		"429":        {answer(429, "slow down", map[string]string{"Retry-After": "0"}), "GitHub answered 429: slow down"},
		"rate limit": {answer(403, "API rate limit exceeded", map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}), "the rate limit is used up"},
		"secondary":  {answer(403, "secondary rate limit", map[string]string{"Retry-After": "1", "doc": "https://docs.github.com/rest/#secondary-rate-limits"}), "the secondary rate limit is used up"},
		"cut off":    {func(w http.ResponseWriter, r *http.Request) { cutOff(0, w, r) }, ""},
		"half JSON": {func(w http.ResponseWriter, _ *http.Request) {
			half(w, "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n[{\"number\":")
		}, ""},
		"other host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/", http.StatusTemporaryRedirect)
		}, "it points to another host, localhost:1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t)
			// The first request of each kind goes wrong.
			failed := map[string]bool{}
			h.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				h.mu.Lock()
				bad := !failed[r.Method+r.URL.Path]
				failed[r.Method+r.URL.Path] = true
				h.mu.Unlock()
				if bad {
					c.fault(w, r)
				}
				return bad
			}
			var log logged
			r := newRig(t, toGitHub(h))
			r.stop()
			r.logger = jsonLog(&log)
			r.start()
			id := r.raise(AlertDeviceSilent, "nord", "x")
			r.told(id)
			if err := r.admin("carla").ResolveAlert(t.Context(), id, "done", ""); err != nil {
				t.Fatal(err)
			}
			if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:delivered", "resolved>acme/ops:delivered"}) {
				t.Errorf("%v\n%s", got, log.String())
			}
			if issues := h.all(); len(issues) != 1 || len(issues[0].comments) != 1 || issues[0].State != "closed" {
				t.Errorf("%+v", issues)
			}
			if !strings.Contains(log.String(), c.text) {
				t.Errorf("%q is not in\n%s", c.text, log.String())
			}
		})
	}
}

// TestGitHubIsLeftInPeace: while a limit holds, nothing is asked.
func TestGitHubIsLeftInPeace(t *testing.T) {
	t.Parallel() // it waits more than it works
	for name, head := range map[string]map[string]string{
		"secondary": {"Retry-After": "1", "doc": "https://docs.github.com/rest/#secondary-rate-limits"},
		"forbidden": {"Retry-After": "1"},
	} {
		h := newFakeHub(t)
		var asked time.Time
		h.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 1 {
				asked = time.Now()
				hubError(w, http.StatusForbidden, "wait", head)
				return true
			}
			if time.Since(asked) < time.Second {
				t.Errorf("%s: asked to wait a second, it came again after %v", name, time.Since(asked))
			}
			return false
		}
		r := newRig(t, toGitHub(h))
		r.told(r.raise(AlertDeviceSilent, "nord", "x"))
		r.told(r.raise(AlertDeviceSilent, "nord", "y"))
		r.stop()
	}
}

// TestWhatGitHubWillNeverTakeIsGivenUp: at once, since another attempt would be
// no other.
func TestWhatGitHubWillNeverTakeIsGivenUp(t *testing.T) {
	for _, status := range []int{http.StatusUnprocessableEntity, http.StatusGone} {
		h := newFakeHub(t)
		posts := 0
		h.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				posts++
				hubError(w, status, "Validation Failed", nil)
			}
			return r.Method == http.MethodPost
		}
		r := newRig(t, toGitHub(h))
		id := r.raise(AlertDeviceSilent, "nord", "x")
		if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:undelivered"}) || posts != 1 {
			t.Errorf("%d: %v after %d", status, got, posts)
		}
		if d := r.alert(id).Deliveries[0]; d.Error != fmt.Sprintf("GitHub answered %d: Validation Failed", status) || d.Attempts != 1 {
			t.Errorf("%+v", d)
		}
		r.stop()
	}
}

// TestALostAnswerMakesNoSecondIssue: whatever was made and not answered is found
// again: the issue, each comment, the end.
func TestALostAnswerMakesNoSecondIssue(t *testing.T) {
	h := newFakeHub(t)
	h.page = 2
	for n := range 5 {
		h.issues = append(h.issues, &hubIssue{Number: n + 1, State: "open", Body: "another's"})
	}
	lost := map[string]int{}
	h.lose = func(w http.ResponseWriter, r *http.Request) bool {
		key := r.Method + r.URL.Path
		if lost[key]++; lost[key] == 1 {
			cutOff(0, w, r)
			return true
		}
		return false
	}
	r := newRig(t, toGitHub(h))
	id := r.raise(AlertDeviceSilent, "nord", "x")
	if err := r.admin("carla").AcknowledgeAlert(t.Context(), id, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.admin("carla").ResolveAlert(t.Context(), id, "done", ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.told(id) {
		if !strings.HasSuffix(d, ":delivered") {
			t.Error(d)
		}
	}
	if len(lost) != 3 {
		t.Errorf("answers lost: %v", lost)
	}
	if issues := h.all(); len(issues) != 6 || len(issues[5].comments) != 2 || issues[5].State != "closed" || issues[0].State != "open" {
		t.Errorf("%+v", issues)
	}
}

// TestAKillBetweenIssueAndEntryMakesNoSecond: the ingest is gone after GitHub
// has made the issue and before the log holds it.
func TestAKillBetweenIssueAndEntryMakesNoSecond(t *testing.T) {
	h := newFakeHub(t)
	made, once := make(chan struct{}), sync.Once{}
	h.lose = func(_ http.ResponseWriter, r *http.Request) bool {
		kill := false
		once.Do(func() { kill = true })
		if kill {
			close(made)
			<-r.Context().Done()
		}
		return kill
	}
	r := newRig(t, toGitHub(h))
	first := r.raise(AlertDeviceSilent, "nord", "x")
	<-made
	if n := len(r.control(evidence.EntryAlertDelivered)); n != 0 {
		t.Fatalf("%d entries before the answer", n)
	}
	next := r.crashed()
	next.told(first)
	second := next.raise(AlertDeviceSilent, "nord", "y")
	next.told(second)
	issues := h.all()
	if len(issues) != 2 || next.alert(first).Ticket != issues[0].URL || next.alert(second).Ticket != issues[1].URL {
		t.Errorf("%+v, %s, %s", issues, next.alert(first).Ticket, next.alert(second).Ticket)
	}
	next.sameAsFold()
}

// TestAnIssueOfAnotherAlertIsNotTouched: where the number that was entered is
// another issue now, the alert gets one of its own.
func TestAnIssueOfAnotherAlertIsNotTouched(t *testing.T) {
	h := newFakeHub(t)
	r := newRig(t, toGitHub(h))
	id := r.raise(AlertDeviceSilent, "nord", "x")
	r.told(id)
	h.mu.Lock()
	h.issues[0].Body = "the repository was made anew, and this is somebody else's"
	h.mu.Unlock()
	if err := r.admin("carla").ResolveAlert(t.Context(), id, "done", ""); err != nil {
		t.Fatal(err)
	}
	r.told(id)
	issues := h.all()
	if len(issues) != 2 || len(issues[0].comments) != 0 || issues[0].State != "open" || len(issues[1].comments) != 1 || issues[1].State != "closed" {
		t.Errorf("%+v", issues)
	}
}
