package github

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
)

// outside is where recorded data from outside lies on machines that have it.
const outside = "../../../shared/data/github"

func fromOutside(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(outside, name))
	if os.IsNotExist(err) {
		t.Skipf("the recorded data from outside is not on this machine (%s)", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A GitHub made of the examples in its own API description must be read
// without a decoding error, and what the description leaves out be a gap.
func TestExamplesOfTheAPIDescription(t *testing.T) {
	var doc struct {
		Paths map[string]struct {
			Get struct {
				Responses map[string]struct {
					Content map[string]struct {
						Examples map[string]struct {
							Ref string `json:"$ref"`
						} `json:"examples"`
					} `json:"content"`
				} `json:"responses"`
			} `json:"get"`
		} `json:"paths"`
		Components struct {
			Examples map[string]struct {
				Value json.RawMessage `json:"value"`
			} `json:"examples"`
		} `json:"components"`
	}
	if err := json.Unmarshal(fromOutside(t, "openapi/ghec-collector-subset.openapi.json"), &doc); err != nil {
		t.Fatal(err)
	}
	type route struct {
		re   *regexp.Regexp
		name string
		body json.RawMessage
	}
	var routes []route
	for path, p := range doc.Paths {
		for _, ex := range p.Get.Responses["200"].Content["application/json"].Examples {
			re := regexp.MustCompile(`^` + regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`) + `$`)
			name := ex.Ref[strings.LastIndex(ex.Ref, "/")+1:]
			routes = append(routes, route{re, path, doc.Components.Examples[name].Value})
		}
	}
	if len(routes) < 30 {
		t.Fatalf("%d examples found", len(routes))
	}
	// The fixed paths before those with a parameter in the same place.
	slices.SortFunc(routes, func(a, b route) int { return strings.Count(a.name, "{") - strings.Count(b.name, "{") })
	answered, refused := map[string]bool{}, map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, rt := range routes {
			if rt.re.MatchString(r.URL.Path) {
				answered[rt.name] = true
				w.Write(rt.body)
				return
			}
		}
		refused[r.URL.Path] = true
		w.WriteHeader(http.StatusNotImplemented)
	}))
	defer server.Close()

	c, err := New(Config{BaseURL: server.URL, Organization: "github", Repositories: []Repository{{Name: "octocat/Hello-World", Branch: "master"}}},
		Deps{Now: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }, Getenv: func(string) string { return secret }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(t.Context(), evidence.Period{From: time.Date(2008, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	gaps := 0
	for _, e := range got {
		// The description was cut without the activity of a repository.
		if len(e.Population.Items) == 0 && e.Kind != KindPushes || e.Kind == KindPushes && e.Completeness.State != evidence.Incomplete {
			t.Errorf("%s: nothing was read: %+v", e.Kind, e.Completeness)
		}
		for _, g := range e.Completeness.Gaps {
			gaps++
			if !strings.Contains(g.Reason, "HTTP 501") && !strings.Contains(g.Reason, "are listed") &&
				!strings.Contains(g.Reason, "not among those of the branch") && !strings.Contains(g.Reason, "no commit of the branch") &&
				!strings.Contains(g.Reason, "keeps a year of them") && !strings.Contains(g.Reason, "gives a month of them") {
				t.Errorf("%s: %s: %s", e.Kind, g.What, g.Reason)
			}
		}
	}
	if len(answered) < 15 || len(refused) == 0 || gaps < len(refused) {
		t.Errorf("%d paths answered, %d not, %d gaps", len(answered), len(refused), gaps)
	}
}

// Real replies of years ago must still decode without losing what is judged.
func TestRecordedReplies(t *testing.T) {
	var runs gh.ListCheckRunsResults
	file := "hub4j/GHRepositoryTest/wiremock/getCheckRuns/__files/4-r_h_g_commits_78b9ff49_check-runs.json"
	if err := json.Unmarshal(fromOutside(t, file), &runs); err != nil {
		t.Fatal(err)
	}
	if len(runs.CheckRuns) == 0 || runs.CheckRuns[0].GetName() == "" || runs.CheckRuns[0].GetConclusion() == "" {
		t.Errorf("check runs %v", runs)
	}
	for _, file := range []string{
		"hub4j/GHBranchProtectionTest/wiremock/testGetProtection/__files/6-r_h_t_branches_main_protection.json",
		"hub4j/GHBranchProtectionTest/wiremock/testGetProtection/__files/4-r_h_t_branches_main_protection.json",
	} {
		var p gh.Protection
		if err := json.Unmarshal(fromOutside(t, file), &p); err != nil {
			t.Fatal(err)
		}
		var got protected
		got.fromClassic(&p)
		if !got.classic || got.admins || got.reviews != 0 {
			t.Errorf("%s: %+v", file, got)
		}
	}
	var statuses []*gh.DeploymentStatus
	if err := json.Unmarshal(fromOutside(t, "hub4j/AppTest/wiremock/testGetDeploymentStatuses/__files/6-r_h_g_deployments_315601644_statuses.json"), &statuses); err != nil {
		t.Fatal(err)
	}
	if len(statuses) == 0 || statuses[0].GetState() == "" || timeOf(statuses[0].CreatedAt).IsZero() {
		t.Errorf("statuses %v", statuses)
	}
}
