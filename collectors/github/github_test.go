package github

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

const secret = "ghp_SECRETofTheTests"

var quarter = evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}

// bench is a collector before a small GitHub on loopback, with a clock that
// only sleeping moves.
type bench struct {
	t      *testing.T
	server *httpreplay.Server
	config Config
	deps   Deps
	now    time.Time
	slept  []time.Duration
	said   []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	server, err := httpreplay.New(os.DirFS("testdata/api"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	b := &bench{t: t, server: server, now: time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)}
	b.config = Config{BaseURL: server.URL(), Organization: "acme", Repositories: []Repository{{Name: "acme/meter"}},
		Emails: map[string]string{"Carla@acme.example": "carla"}}
	b.deps = Deps{Tool: "trustpack test", Now: func() time.Time { return b.now }, Getenv: func(name string) string {
		return map[string]string{"GITHUB_TOKEN": secret}[name]
	}, Sleep: func(_ context.Context, d time.Duration) error {
		b.slept = append(b.slept, d)
		b.now = b.now.Add(d)
		return nil
	}, Progress: func(s string) { b.said = append(b.said, s) }}
	return b
}

func (b *bench) collect() map[evidence.Kind]evidence.Evidence {
	b.t.Helper()
	c, err := New(b.config, b.deps)
	if err != nil {
		b.t.Fatal(err)
	}
	got, err := c.Collect(b.t.Context(), quarter)
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		_, record, _, err := evidence.RecordOf(e)
		if err != nil {
			b.t.Error(err)
		}
		lines, err := e.Population.Lines()
		if err != nil {
			b.t.Error(err)
		}
		everything := string(record) + string(lines) + fmt.Sprint(b.said)
		for _, raw := range e.Raw {
			everything += string(raw.Body) + raw.Name
		}
		if strings.Contains(everything, secret) {
			b.t.Errorf("%s: the token stands in the evidence or in what was said", e.Kind)
		}
		if e.Kind == KindRuleSuites {
			e.Completeness = b.month(e.Completeness)
		}
		out[e.Kind] = e
	}
	if !slices.Equal(slices.Sorted(mapKeys(out)), slices.Sorted(slices.Values(c.Kinds()))) {
		b.t.Errorf("collected %d kinds, want %v", len(out), c.Kinds())
	}
	return out
}

// month takes out the gap that a quarter has whatever happens: GitHub gives a
// month of rule suites.
func (b *bench) month(c evidence.Completeness) evidence.Completeness {
	b.t.Helper()
	rest := slices.DeleteFunc(slices.Clone(c.Gaps), func(g evidence.Gap) bool { return strings.Contains(g.Reason, "a month of them") })
	if len(rest) == len(c.Gaps) && !strings.Contains(fmt.Sprint(rest), "everything") || c.State != evidence.Incomplete {
		b.t.Errorf("rule suites of before the last month are no gap: %+v", c)
	}
	if c.Gaps = rest; len(rest) == 0 {
		c.State = evidence.Complete
	}
	return c
}

func mapKeys(m map[evidence.Kind]evidence.Evidence) func(func(evidence.Kind) bool) {
	return func(yield func(evidence.Kind) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func item(t *testing.T, e evidence.Evidence, id string) map[string]any {
	t.Helper()
	for _, it := range e.Population.Items {
		if it.ID == id {
			return it.Attributes
		}
	}
	t.Fatalf("%s: no item %q", e.Kind, id)
	return nil
}

// told is an event of anna's in a timeline.
func told(event, at, detail string) map[string]any {
	return map[string]any{"event": event, "at": at, "actor": "anna", "detail": detail}
}

func TestCollect(t *testing.T) {
	b := newBench(t)
	got := b.collect()
	if u := b.server.Unmatched(); len(u) > 0 {
		t.Errorf("asked for more than the test's GitHub has: %v", u)
	}
	for _, seen := range b.server.Requests() {
		if seen.Method != http.MethodGet || seen.Header.Get("Authorization") != "Bearer "+secret {
			t.Errorf("%s %s was sent, or without the token", seen.Method, seen.URI)
		}
	}
	for kind, e := range got {
		if e.Completeness.State != evidence.Complete || e.Provenance.Principal != "user auditor" || e.Provenance.Origin != evidence.OriginLive {
			t.Errorf("%s: %+v, principal %s, origin %s", kind, e.Completeness, e.Provenance.Principal, e.Provenance.Origin)
		}
	}
	for _, c := range []struct {
		kind      evidence.Kind
		id, field string
		want      any
	}{
		{KindChanges, "m1", "class", "approved"}, {KindChanges, "m1", "pr", 1}, {KindChanges, "m1", "approvers", []any{"ben"}},
		{KindChanges, "m1", "checks_green", true}, {KindChanges, "m1", "merged_at", "2026-08-02T10:00:00Z"},
		{KindChanges, "h1b", "class", "approved"}, {KindChanges, "h1b", "pr", 1},
		{KindChanges, "s2", "class", "bypassed"}, {KindChanges, "s2", "checks_green", false},
		{KindChanges, "d3", "class", "direct-push"}, {KindChanges, "d3", "pr", nil}, {KindChanges, "d3", "checks_green", nil}, {KindChanges, "d3", "author", "anna"},
		{KindChanges, "d3", "pushed_by", "dmitri"}, {KindChanges, "d3", "pushed_at", "2026-08-04T10:00:05Z"}, {KindChanges, "s2", "pushed_by", "anna"}, {KindChanges, "h1b", "pushed_by", ""},
		{KindPushes, "903", "kind", "push"}, {KindPushes, "902", "after", "s2"},
		{KindPullRequests, "acme/meter#1", "approvals", []any{"ben"}}, {KindPullRequests, "acme/meter#1", "co_authors", []any{"carla"}},
		{KindPullRequests, "acme/meter#1", "last_pusher", "anna"}, {KindPullRequests, "acme/meter#1", "merge_method", "merge"},
		{KindPullRequests, "acme/meter#1", "requested_changes_outstanding", []any{}}, {KindPullRequests, "acme/meter#1", "labels", []any{"bug"}},
		{KindPullRequests, "acme/meter#1", "base_changed_at", "2026-08-01T00:00:02Z"}, {KindPullRequests, "acme/meter#1", "queued", false},
		{KindPullRequests, "acme/meter#1", "timeline", []any{
			told("labeled", "2026-08-01T00:00:01Z", "bug"), told("base_ref_changed", "2026-08-01T00:00:02Z", ""), told("review_requested", "2026-08-01T00:00:03Z", "ben"),
			told("review_dismissed", "2026-08-01T11:00:00Z", "review 9, which was approved"), told("head_ref_force_pushed", "2026-08-01T12:00:00Z", "h1b"),
			told("merged", "2026-08-02T10:00:00Z", ""), told("base_ref_changed", "2026-08-03T00:00:00Z", ""),
		}},
		{KindPullRequests, "acme/meter#2", "checks", []any{map[string]any{"name": "test", "conclusion": "pending"}}},
		{KindProtection, "acme/meter@main", "required_reviews", 1}, {KindProtection, "acme/meter@main", "enforce_admins", true},
		{KindProtection, "acme/meter@main", "allow_deletions", false}, {KindProtection, "acme/meter@main", "code_owner_reviews", true},
		{KindProtection, "acme/meter@main", "required_checks", []any{"lint", "test"}}, {KindProtection, "acme/meter@main", "source", "both"},
		{KindProtection, "acme/meter@main", "bypass", []any{"OrganizationAdmin:1 by ruleset main (always)", "app:robot", "team:ops", "user:root"}},
		{KindRulesets, "acme/meter/11", "rules", []any{"deletion", "pull_request"}}, {KindRulesets, "acme/meter/11", "enforcement", "active"},
		{KindDeployments, "71", "final_state", "success"}, {KindDeployments, "71", "change_class", "approved"},
		{KindDeployments, "71", "after", []any{ // not test, which began before it ran there; not inactive
			after("check", "smoke", "failure", "2026-08-03T00:07:00Z", "ci"), after("check", "smoke", "success", "2026-08-03T00:08:00Z", "ci"),
			after("check", "soak", "pending", "2026-08-03T00:30:00Z", "ci"), after("status", "looked at", "success", "2026-08-03T01:00:00Z", "ben"),
		}},
		{KindReleases, "acme/meter@v1.1", "sha", "m1"}, {KindReleases, "acme/meter@v1.1", "change_class", "approved"},
		{KindReleases, "acme/meter@v1.1", "assets", []any{map[string]any{"id": "9", "name": "meter.bin", "bytes": 4096, "uploader": "anna", "created_at": "2026-08-03T00:30:00Z", "updated_at": ""}}},
		{KindEnvironments, "acme/meter/production", "reviewers", []any{"user:ben", "team:ops"}}, {KindEnvironments, "acme/meter/production", "prevent_self_review", true},
		{KindEnvironments, "acme/meter/production", "wait_minutes", 30}, {KindEnvironments, "acme/meter/production", "branches", "protected"},
		{KindAccess, "acme/meter/user:ben", "writes", true}, {KindAccess, "acme/meter/user:eve", "writes", false}, {KindAccess, "acme/meter/team:ops", "writes", true},
		{KindAccess, "acme/meter/team:readers", "writes", false}, {KindAccess, "acme/meter/key:5", "added_by", "anna"}, {KindAccess, "acme/meter/key:5", "writes", true},
		{KindRepository, "acme/meter", "codeowners_errors", []any{".github/CODEOWNERS:3: Unknown owner"}}, {KindRepository, "acme/meter", "visibility", "private"},
		{KindMembers, "anna", "role", "admin"}, {KindMembers, "anna", "two_factor", true}, {KindMembers, "ben", "two_factor", false},
		{KindMembers, "guest", "outside", true}, {KindMembers, "robot[bot]", "type", "Bot"},
		{KindTeams, "acme/ops", "maintainers", []any{"anna"}}, {KindTeams, "acme/ops", "members", []any{"ben", "eve"}}, {KindTeams, "acme/night", "parent", "ops"},
		{KindTeams, "acme/night", "members", []any{}}, {KindOrganization, "acme", "two_factor_required", false}, {KindOrganization, "acme", "base_permission", "read"},
		{KindOrganization, "acme", "members_create_repositories", true}, {KindOrganization, "acme", "members_create_public_repositories", false},
		{KindRuleSuites, "21", "result", "pass"}, {KindRuleSuites, "21", "evaluation", "fail"}, {KindRuleSuites, "21", "actor", "carla"},
	} {
		if v := item(t, got[c.kind], c.id)[c.field]; !reflect.DeepEqual(v, c.want) {
			t.Errorf("%s %s %s = %v, want %v", c.kind, c.id, c.field, v, c.want)
		}
	}
	counts := map[evidence.Kind]int{KindPullRequests: 2, KindChanges: 4, KindProtection: 1, KindRulesets: 1, KindDeployments: 1, KindMembers: 4, KindPushes: 2,
		KindReleases: 1, KindEnvironments: 1, KindAccess: 5, KindRepository: 1, KindTeams: 2, KindOrganization: 1, KindRuleSuites: 1}
	for kind, n := range counts {
		if len(got[kind].Population.Items) != n {
			t.Errorf("%s: %d items, want %d", kind, len(got[kind].Population.Items), n)
		}
	}
}

// Each request must name a kept reply by its digest, byte for byte as sent.
func TestProvenanceCommitsToEachReply(t *testing.T) {
	got := newBench(t).collect()
	pages := 0
	for kind, e := range got {
		kept := map[string]int{}
		for _, raw := range e.Raw {
			kept[evidence.SHA256Hex(raw.Body)]++
		}
		if len(e.Raw) != len(e.Provenance.Requests) {
			t.Errorf("%s: %d replies kept of %d", kind, len(e.Raw), len(e.Provenance.Requests))
		}
		for _, r := range e.Provenance.Requests {
			if kept[r.ReplySHA256] == 0 || r.Status != 200 || r.StartedAt.IsZero() || strings.Contains(r.Target, "?") {
				t.Errorf("%s: request %+v", kind, r)
			}
			if r.Page == 2 {
				pages++
			}
		}
	}
	if first := got[KindMembers].Provenance.Requests[0]; first.RequestID != "A:1" || first.Method != "GET" {
		t.Errorf("the first request is %+v", first)
	}
	if pages == 0 {
		t.Error("no request says that it was for page 2")
	}
}

// Whatever fails, wherever: there is a gap that names it, the evidence is
// incomplete, nothing is classed better than it was, and no token is printed.
func TestEveryFaultIsAGap(t *testing.T) {
	whole := newBench(t)
	approved := map[string]bool{}
	for _, it := range whole.collect()[KindChanges].Population.Items {
		approved[it.ID] = it.Attributes["class"] == "approved"
	}
	var paths []string
	for _, seen := range whole.server.Requests() {
		path, _, _ := strings.Cut(seen.URI, "?")
		if path != "/user" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) < 20 {
		t.Fatalf("only %d endpoints are asked", len(paths))
	}
	echo := `{"message":"no, ` + secret + `"}`
	faults := map[string]struct {
		fault httpreplay.Fault
		want  string
	}{
		"401": {httpreplay.Fault{Status: 401, Body: echo}, "HTTP 401 no, redacted (the token in GITHUB_TOKEN is refused)"},
		"403": {httpreplay.Fault{Status: 403, Body: echo}, "HTTP 403 no, redacted"},
		"404": {httpreplay.Fault{Status: 404, Body: echo}, "HTTP 404 no, redacted"},
		"429": {httpreplay.Fault{Status: 429, Headers: map[string]string{"Retry-After": "2"}}, "HTTP 429"},
		"500": {httpreplay.Fault{Status: 500, Body: "<html>"}, "HTTP 500"},
		"cut": {httpreplay.Fault{Cut: true}, "cut off"},
		"bad": {httpreplay.Fault{Status: 200, Body: `{"broken": `}, "unexpected EOF"},
	}
	for name, f := range faults {
		for _, path := range paths {
			b := newBench(t)
			f.fault.Path = path
			b.server.Inject(f.fault)
			incomplete := 0
			for kind, e := range b.collect() {
				if e.Completeness.State == evidence.Incomplete {
					incomplete++
					if !strings.Contains(fmt.Sprint(e.Completeness.Gaps), f.want) {
						t.Errorf("%s on %s: %s: gaps %v, want %q", name, path, kind, e.Completeness.Gaps, f.want)
					}
				} else if len(e.Completeness.Gaps) > 0 {
					t.Errorf("%s on %s: %s is complete with gaps", name, path, kind)
				}
				for _, it := range e.Population.Items {
					if kind == KindChanges && it.Attributes["class"] == "approved" && !approved[it.ID] {
						t.Errorf("%s on %s: %s became approved", name, path, it.ID)
					}
				}
			}
			// Of a repository that was read, this 404 is a fact: there is no such file.
			noOwners := name == "404" && strings.HasSuffix(path, "/codeowners/errors")
			if (incomplete == 0) != noOwners || incomplete > 2 {
				t.Errorf("%s on %s: %d kinds are incomplete, want the one or two that need it", name, path, incomplete)
			}
		}
	}
}

func TestPrincipalUnknown(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "/user", Status: 403, Body: `{"message":"Resource not accessible by integration"}`})
	for kind, e := range b.collect() {
		if !strings.HasPrefix(e.Provenance.Principal, "unknown: HTTP 403 Resource not") || e.Completeness.State != evidence.Complete {
			t.Errorf("%s: principal %q, %s", kind, e.Provenance.Principal, e.Completeness.State)
		}
	}
}

func TestNoToken(t *testing.T) {
	b := newBench(t)
	b.config.TokenEnv = "ELSEWHERE"
	for kind, e := range b.collect() {
		if e.Completeness.State != evidence.Incomplete || !strings.Contains(e.Completeness.Gaps[0].Reason, "ELSEWHERE holds no token") {
			t.Errorf("%s: %+v", kind, e.Completeness)
		}
	}
	if len(b.server.Requests()) != 0 {
		t.Error("something was asked without a token")
	}
}

func TestPatience(t *testing.T) {
	const path = "/repos/acme/meter/rulesets"
	reset := time.Date(2026, 10, 2, 0, 1, 30, 0, time.UTC)
	for name, c := range map[string]struct {
		fault httpreplay.Fault
		want  []time.Duration
		state evidence.CompletenessState
	}{
		"429 with Retry-After":   {httpreplay.Fault{Times: 1, Status: 429, Headers: map[string]string{"Retry-After": "7"}}, []time.Duration{7 * time.Second}, evidence.Complete},
		"502 three times":        {httpreplay.Fault{Times: 3, Status: 502}, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, evidence.Complete},
		"cut off once":           {httpreplay.Fault{Times: 1, Cut: true}, []time.Duration{time.Second}, evidence.Complete},
		"secondary rate limit":   {httpreplay.Fault{Times: 1, Status: 403, Body: `{"message":"You have exceeded a secondary rate limit"}`}, []time.Duration{time.Minute}, evidence.Complete},
		"secondary limit twice":  {httpreplay.Fault{Times: 2, Status: 429, Body: `{"message":"You have exceeded a secondary rate limit"}`}, []time.Duration{time.Minute, 2 * time.Minute}, evidence.Complete},
		"primary limit used up":  {httpreplay.Fault{Times: 1, Status: 403, Headers: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(reset.Unix())}}, []time.Duration{90 * time.Second}, evidence.Complete},
		"used up with this one":  {httpreplay.Fault{Times: 1, Status: 200, Body: "[]", Headers: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(reset.Unix())}}, []time.Duration{90 * time.Second}, evidence.Complete},
		"longer than max_wait":   {httpreplay.Fault{Times: 1, Status: 429, Headers: map[string]string{"Retry-After": "3600"}}, nil, evidence.Incomplete},
		"500 for good":           {httpreplay.Fault{Status: 500}, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}, evidence.Incomplete},
		"403 that is no limit":   {httpreplay.Fault{Times: 1, Status: 403, Body: "{}"}, nil, evidence.Incomplete},
		"404 is not tried again": {httpreplay.Fault{Times: 1, Status: 404, Body: "{}"}, nil, evidence.Incomplete},
	} {
		b := newBench(t)
		c.fault.Path = path
		b.server.Inject(c.fault)
		e := b.collect()[KindRulesets]
		if !slices.Equal(b.slept, c.want) || e.Completeness.State != c.state {
			t.Errorf("%s: slept %v and %s, want %v and %s", name, b.slept, e.Completeness.State, c.want, c.state)
		}
		if name == "longer than max_wait" && !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "HTTP 429: asking again may only be in 1h0m0s") {
			t.Errorf("%s: gaps %v", name, e.Completeness.Gaps)
		}
		tries := 0
		for _, r := range e.Provenance.Requests {
			if strings.HasSuffix(r.Target, path) {
				tries++
			}
		}
		asked := 0
		for _, seen := range b.server.Requests() {
			if p, _, _ := strings.Cut(seen.URI, "?"); p == path {
				asked++
			}
		}
		if tries != asked {
			t.Errorf("%s: provenance has %d attempts of %d", name, tries, asked)
		}
	}
}

func TestRedaction(t *testing.T) {
	b := newBench(t)
	body := `{"login":"auditor","temp_clone_token": "ABCDEF","echo":"` + secret + `"}`
	b.server.Inject(httpreplay.Fault{Path: "/user", Status: 200, Body: body})
	e := b.collect()[KindMembers]
	want := `{"login":"auditor","temp_clone_token": "redacted","echo":"redacted"}`
	if string(e.Raw[0].Body) != want {
		t.Errorf("kept %s, want %s", e.Raw[0].Body, want)
	}
	if r := e.Provenance.Requests[0].Redactions; len(r) != 2 {
		t.Errorf("redactions %v, want both named", r)
	}
}

// A reply that points to another host must not carry the token there.
func TestTokenStaysWithItsHost(t *testing.T) {
	b := newBench(t)
	other := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "/user", Status: 302, Headers: map[string]string{"Location": other.server.URL() + "/user"}})
	got := b.collect()
	if len(other.server.Requests()) != 0 {
		t.Error("the other host was asked")
	}
	if p := got[KindChanges].Provenance.Principal; !strings.Contains(p, "points to another host") {
		t.Errorf("principal %q", p)
	}
}

// A branch without protection is a fact; a token that may not see it is a gap.
func TestBranchNotProtected(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "*/protection", Status: 404, Body: `{"message":"Branch not protected"}`})
	b.server.Inject(httpreplay.Fault{Path: "*/rules/branches/main", Status: 200, Body: `[]`})
	e := b.collect()[KindProtection]
	if e.Completeness.State != evidence.Complete {
		t.Fatalf("%+v", e.Completeness)
	}
	got := item(t, e, "acme/meter@main")
	want := map[string]any{"source": "none", "required_reviews": 0, "allow_force_pushes": true, "allow_deletions": true, "enforce_admins": false}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %v, want %v", k, got[k], v)
		}
	}
}

func TestWhatTheListsLeaveOut(t *testing.T) {
	for name, c := range map[string]struct {
		path, body, want string
		class            string // of m1
	}{
		"fewer commits than the pull request has":  {"*/pulls/1/commits", `[{"sha":"h1b","commit":{"message":"x"},"author":{"login":"anna"}}]`, "1 of 2 are listed", "unknown"},
		"fewer check runs than their total":        {"*/h1b/check-runs", `{"total_count":2,"check_runs":[{"name":"test","status":"completed","conclusion":"success"}]}`, "1 of 2 are listed", "unknown"},
		"fewer statuses than their total":          {"*/h1b/status", `{"state":"success","total_count":1,"statuses":[]}`, "0 of 1 are listed", "unknown"},
		"merge that is not on the branch":          {"*/commits", `[]`, "not among those of the branch", ""},
		"a merge that no commit is tied to":        {"*/commits/*/pulls", `[]`, "no commit of the branch is tied to it", "direct-push"},
		"reviewer of whom nothing is said (ghost)": {"*/pulls/1/reviews", `[{"id":2,"user":null,"state":"APPROVED","commit_id":"h1b","submitted_at":"2026-08-02T09:00:00Z"}]`, "", "unknown"},
		"reviewer who may only read":               {"*/ben/permission", `{"permission":"read"}`, "", "unknown"},
		"rule suite that says bypass":              {"*/rule-suites", `[{"after_sha":"m1","actor_name":"root","result":"bypass"}]`, "", "bypassed"},
	} {
		b := newBench(t)
		b.server.Inject(httpreplay.Fault{Path: c.path, Status: 200, Body: c.body})
		e := b.collect()[KindChanges]
		if said := fmt.Sprint(e.Completeness.Gaps); !strings.Contains(said, c.want) || (c.want != "") != (e.Completeness.State == evidence.Incomplete) {
			t.Errorf("%s: %s %s, want %q", name, e.Completeness.State, said, c.want)
		}
		if c.class != "" {
			if got := item(t, e, "m1"); got["class"] != c.class {
				t.Errorf("%s: %v because %v, want %s", name, got["class"], got["why"], c.class)
			}
		}
	}
}

func TestAppsThatAreNotListed(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "*/installations", Status: 200, Body: `{"total_count":2,"installations":[{"app_slug":"robot"}]}`})
	if c := b.collect()[KindMembers].Completeness; c.State != evidence.Incomplete || !strings.Contains(fmt.Sprint(c.Gaps), "acme: installed apps 1 of 2 are listed") {
		t.Errorf("%+v", c)
	}
}

func TestAPushWithoutATime(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "*/activity", Status: 200, Body: `[{"id":5,"ref":"refs/heads/main","before":"a","after":"b","activity_type":"push"}]`})
	if c := b.collect()[KindPushes].Completeness; c.State != evidence.Incomplete || !strings.Contains(fmt.Sprint(c.Gaps), "push 5 to main it is listed without a time") {
		t.Errorf("%+v", c)
	}
}

func TestNewRefuses(t *testing.T) {
	repo := []Repository{{Name: "a/b"}}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":      {Config{}, "neither a repository nor an organization"},
		"no owner":     {Config{Repositories: []Repository{{Name: "meter"}}}, `"meter": want owner/name`},
		"twice":        {Config{Repositories: []Repository{{Name: "a/b"}, {Name: "A/B"}}}, "stands twice"},
		"no URL":       {Config{Repositories: repo, BaseURL: "api.example"}, "no http or https URL"},
		"password":     {Config{Repositories: repo, BaseURL: "https://u:p@api.example"}, "carries a user name"},
		"no TLS":       {Config{Repositories: repo, BaseURL: "http://api.example"}, "without TLS"},
		"negative":     {Config{Repositories: repo, Approvals: -1}, "must not be negative"},
		"no way to it": {Config{Repositories: repo}, "no way to look up the token"},
	} {
		deps := Deps{Getenv: os.Getenv}
		if name == "no way to it" {
			deps.Getenv = nil
		}
		_, err := New(c.config, deps)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p@") {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

func TestCancelled(t *testing.T) {
	b := newBench(t)
	c, err := New(b.config, b.deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := c.Collect(ctx, quarter); err == nil || got != nil {
		t.Errorf("a cancelled run gave %d evidences and error %v", len(got), err)
	}
}

func TestItemsArePlainJSON(t *testing.T) {
	for kind, e := range newBench(t).collect() {
		for _, it := range e.Population.Items {
			b, err := json.Marshal(it.Attributes)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), ":null") {
				for k, v := range it.Attributes {
					if v == nil && !slices.Contains([]string{"pr", "checks_green", "two_factor"}, k) {
						t.Errorf("%s %s: %s is null", kind, it.ID, k)
					}
				}
			}
		}
	}
}
