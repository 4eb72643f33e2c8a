package github

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// The documented table is the one that is asked for.
func TestPermissionTableIsDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.ReplaceAll(string(readme), "\r\n", "\n"), PermissionTable()) {
		t.Errorf("README.md does not hold this table:\n%s", PermissionTable())
	}
	c, err := New(Config{Organization: "acme", Repositories: []Repository{{Name: "acme/meter"}}}, Deps{Getenv: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.Kinds() {
		if !strings.Contains(PermissionTable(), "`"+strings.TrimPrefix(string(k), "github.")+"`") {
			t.Errorf("the table has no row for %s", k)
		}
	}
}

// Each permission is asked for by itself, and what GitHub answers is told.
func TestCheckAccess(t *testing.T) {
	type answer struct {
		status       int
		body         string
		header, with string
	}
	answers := map[string]answer{}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		a, set := answers[r.URL.Path]
		if !set {
			a.status, a.body = http.StatusOK, `{"login":"auditor"}`
		}
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		if a.header != "" {
			w.Header().Set(a.header, a.with)
		}
		w.WriteHeader(a.status)
		fmt.Fprint(w, a.body)
	}))
	defer server.Close()
	b := newBench(t)
	b.config.BaseURL = server.URL
	b.config.AuditLog = true
	b.config.Repositories[0].Branch = "rel/1"
	check := func() []evidence.AccessCheck {
		c, err := New(b.config, b.deps)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.CheckAccess(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(Permissions()) {
			t.Fatalf("%d checks of %d", len(got), len(Permissions()))
		}
		return got
	}
	for _, c := range check() {
		if c.State != evidence.AccessGranted || c.Principal != "user auditor" || c.Said != "" || len(c.Kinds) == 0 {
			t.Errorf("%+v", c)
		}
	}
	if asked != len(Permissions())+1 {
		t.Errorf("%d requests for %d permissions", asked, len(Permissions()))
	}
	const protection, suites, commits = "/repos/acme/meter/branches/rel/1/protection", "/repos/acme/meter/rulesets/rule-suites", "/repos/acme/meter/commits"
	for name, x := range map[string]struct {
		path, body, header, value string
		status                    int
		want                      evidence.AccessState
		permission, said          string
	}{
		"may not":              {suites, `{"message":"no, ` + secret + `"}`, "X-Accepted-GitHub-Permissions", "administration=write", 403, evidence.AccessLacking, "Administration: write", "HTTP 403 no, redacted; GitHub wants administration=write"},
		"may not see":          {protection, `{"message":"Not Found"}`, "", "", 404, evidence.AccessLacking, "Administration: read", "HTTP 404 Not Found"},
		"sees there is none":   {protection, `{"message":"Branch not protected"}`, "", "", 404, evidence.AccessGranted, "Administration: read", ""},
		"no owner":             {"/orgs/acme/members", `{"message":"Only owners"}`, "", "", 422, evidence.AccessLacking, "Members, as an owner: read", "HTTP 422 Only owners"},
		"empty repository":     {commits, `{}`, "", "", 409, evidence.AccessGranted, "Contents: read", ""},
		"source broken":        {commits, `<html>`, "", "", 500, evidence.AccessUnknown, "Contents: read", "HTTP 500"},
		"redirected elsewhere": {commits, ``, "", "", 302, evidence.AccessUnknown, "Contents: read", "HTTP 302"},
		"classic token":        {commits, `[]`, "X-OAuth-Scopes", "repo, admin:org", 200, evidence.AccessGranted, "Contents: read", "more than is needed: repo, admin:org"},
	} {
		clear(answers)
		answers[x.path] = answer{x.status, x.body, x.header, x.value}
		seen := false
		for _, c := range check() {
			if c.Permission == x.permission && (c.Target == "acme/meter") == strings.HasPrefix(x.path, "/repos") {
				seen = true
				if c.State != x.want || !strings.Contains(c.Said, x.said) || x.said == "" && c.Said != "" {
					t.Errorf("%s: %+v", name, c)
				}
			}
		}
		if !seen {
			t.Errorf("%s: there is no check of %s", name, x.permission)
		}
	}
	b.config.TokenEnv = "ELSEWHERE"
	for _, c := range check() {
		if c.State != evidence.AccessLacking || !strings.Contains(c.Said, "ELSEWHERE holds no token") {
			t.Errorf("without a token: %+v", c)
		}
	}
}

// Who asks what may be read waits for an answer: nothing is tried again, and no
// rate limit is sat out. That it holds is said of each permission.
func TestCheckAccessWaitsForNothing(t *testing.T) {
	asked, limited := 0, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		status := http.StatusBadGateway
		if limited {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", "4102444800") // 2100
			status = http.StatusForbidden
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	b := newBench(t)
	b.config.BaseURL = server.URL
	b.deps.Sleep = func(_ context.Context, d time.Duration) error {
		t.Errorf("it waits %s", d)
		return nil
	}
	for _, c := range []struct {
		limited bool
		most    int
		said    string
	}{{false, len(Permissions()) + 1, "HTTP 502"}, {true, 1, "the rate limit is used up until 2100-01-01T00:00:00Z"}} {
		asked, limited = 0, c.limited
		source, err := New(b.config, b.deps)
		if err != nil {
			t.Fatal(err)
		}
		got, err := source.CheckAccess(t.Context())
		if err != nil || len(got) == 0 || asked > c.most {
			t.Fatalf("%d checks by %d requests: %v", len(got), asked, err)
		}
		for _, check := range got {
			if check.State != evidence.AccessUnknown || !strings.Contains(check.Said, c.said) {
				t.Errorf("%+v, not %s", check, c.said)
			}
		}
	}
}
