package metering

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/collectors/git"
	"trustpack/collectors/github"
	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

const afterQuarter = "2026-10-02T06:00:00Z"

func clock(t *testing.T) func() time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, afterQuarter)
	if err != nil {
		t.Fatal(err)
	}
	return func() time.Time { return at }
}

func buildRepository(t *testing.T) (dir string, shas map[string]string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repository")
	shas, err := BuildRepository(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, shas
}

// collectGitHub asks the recorded GitHub over real HTTP.
func collectGitHub(t *testing.T, shas map[string]string) map[evidence.Kind]evidence.Evidence {
	t.Helper()
	exchanges, err := GitHubReplies(shas)
	if err != nil {
		t.Fatal(err)
	}
	server, err := httpreplay.Of(exchanges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := github.New(github.Config{Sample: true, BaseURL: server.URL(), Organization: "lindenau",
		Repositories: []github.Repository{{Name: "lindenau/gridpulse-pipeline"}}, Emergency: github.EmergencyPolicy{Label: "emergency"}},
		github.Deps{Tool: "trustpack test", Now: clock(t), Clock: evidence.ClockSimulated, Getenv: func(string) string { return "sample-token" }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(context.Background(), Quarter())
	if err != nil {
		t.Fatal(err)
	}
	if u := server.Unmatched(); len(u) > 0 {
		t.Errorf("the recorded replies do not answer %d requests, the first of them %s", len(u), u[0])
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		if _, _, _, err := evidence.RecordOf(e); err != nil {
			t.Error(err)
		}
		out[e.Kind] = e
	}
	return out
}

func TestChangesOfTheQuarter(t *testing.T) {
	dir, shas := buildRepository(t)
	got := collectGitHub(t, shas)
	for kind, e := range got {
		if kind == github.KindRuleSuites { // GitHub gives a month of them, and the vendor collects once
			if e.Completeness.State != evidence.Incomplete || len(e.Completeness.Gaps) != 1 {
				t.Errorf("%s: %+v", kind, e.Completeness)
			}
			continue
		}
		if e.Completeness.State != evidence.Complete || e.Provenance.Origin != evidence.OriginSample || len(e.Provenance.Requests) == 0 {
			t.Errorf("%s: %+v of origin %s", kind, e.Completeness, e.Provenance.Origin)
		}
	}
	label := map[string]string{}
	for l, sha := range shas {
		label[sha] = l
	}
	trouble := map[string]string{"hotfix": "direct-push", "pr48": "self-approved", "pr50": "stale-approval", "pr52": "emergency", "pr53": "bypassed"}
	counts := map[string]int{}
	var onGitHub []string
	for _, it := range got[github.KindChanges].Population.Items {
		onGitHub = append(onGitHub, it.ID)
		class := it.Attributes["class"].(string)
		counts[class]++
		want := trouble[label[it.ID]]
		if want == "" {
			want = "approved"
		}
		if class != want {
			t.Errorf("%s is %s (%s), want %s", label[it.ID], class, it.Attributes["why"], want)
		}
	}
	if n := len(onGitHub); n < 25 || n > 35 {
		t.Errorf("%d commits on the branch in the quarter, want 25 to 35: %v", n, counts)
	}
	c, err := git.New(git.Config{Sample: true, Repositories: []git.Repository{{Path: dir, Name: "lindenau/gridpulse-pipeline",
		SensitivePaths: []string{"firmware/signing/**"}}}, Signers: git.Signers{AllowedSigners: allowed(t)}}, git.Deps{Now: clock(t)})
	if err != nil {
		t.Fatal(err)
	}
	fromGit, err := c.Collect(context.Background(), Quarter())
	if err != nil {
		t.Fatal(err)
	}
	var inGit []string
	signed, sensitive := 0, 0
	for _, it := range fromGit[0].Population.Items {
		inGit = append(inGit, it.ID)
		sig := it.Attributes["signature"].(map[string]any)
		if sig["status"] == "verified" {
			signed++
		} else if sig["status"] != "none" {
			t.Errorf("%s: signature %v", label[it.ID], sig)
		}
		sensitive += len(it.Attributes["sensitive_paths"].([]any))
	}
	if !slices.Equal(inGit, onGitHub) {
		t.Errorf("the repository has %d commits and GitHub %d", len(inGit), len(onGitHub))
	}
	if signed == 0 || sensitive == 0 {
		t.Errorf("%d signed commits, %d sensitive paths; want some of each", signed, sensitive)
	}
}

func TestRestOfGitHub(t *testing.T) {
	_, shas := buildRepository(t)
	got := collectGitHub(t, shas)
	counts := map[evidence.Kind]int{}
	for k, e := range got {
		counts[k] = len(e.Population.Items)
	}
	want := map[evidence.Kind]int{github.KindPullRequests: 17, github.KindChanges: 27, github.KindProtection: 1, github.KindRulesets: 2,
		github.KindDeployments: 13, github.KindMembers: 6, github.KindPushes: 16,
		github.KindReleases: 2, github.KindEnvironments: 2, github.KindAccess: 6, github.KindRepository: 1,
		github.KindRuleSuites: 1, github.KindTeams: 1, github.KindOrganization: 1}
	if !maps.Equal(counts, want) {
		t.Errorf("items %v, want %v", counts, want)
	}
	protection := got[github.KindProtection].Population.Items[0].Attributes
	if protection["required_reviews"] != 1 || protection["enforce_admins"] != false || protection["source"] != "both" || protection["allow_force_pushes"] != false {
		t.Errorf("protection %v", protection)
	}
	methods := map[any]int{}
	for _, it := range got[github.KindPullRequests].Population.Items {
		methods[it.Attributes["merge_method"]]++
	}
	if fmt.Sprint(methods) != "map[:2 merge:5 rebase:1 squash:4 squash-or-rebase:5]" {
		t.Errorf("merge methods %v", methods)
	}
	var lacking []string
	for _, it := range got[github.KindMembers].Population.Items {
		if it.Attributes["two_factor"] == false {
			lacking = append(lacking, it.ID)
		}
	}
	if !slices.Equal(lacking, []string{"dmitri-volk"}) {
		t.Errorf("without two-factor authentication: %v", lacking)
	}
	classes := map[any]int{}
	for _, it := range got[github.KindDeployments].Population.Items {
		classes[it.Attributes["change_class"]]++
	}
	if classes["direct-push"] != 1 || classes["unknown"] != 0 {
		t.Errorf("classes of deployed changes %v", classes)
	}
	if p := got[github.KindChanges].Provenance.Principal; p != "user erin-sato" {
		t.Errorf("principal %q", p)
	}
}

func allowed(t *testing.T) string {
	t.Helper()
	data, err := AllowedSigners()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRepositoryIsTheSameEachTime(t *testing.T) {
	_, first := buildRepository(t)
	_, second := buildRepository(t)
	if !maps.Equal(first, second) {
		t.Error("two repositories differ")
	}
}

// The real git must find nothing wrong with it, and the signatures good.
func TestRealGitAcceptsTheRepository(t *testing.T) {
	for _, tool := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir, shas := buildRepository(t)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("fsck", "--strict", "--no-dangling")
	out := run("-c", "gpg.ssh.allowedSignersFile="+allowed(t), "verify-commit", "-v", shas["pr41-1"])
	if !strings.Contains(out, "Good \"git\" signature for anna-berg@lindenau.example") {
		t.Errorf("git says %s", out)
	}
	if run("rev-list", "--count", "main") != "29\n" {
		t.Errorf("main has %s commits", run("rev-list", "--count", "main"))
	}
}

func TestRepliesNeedEveryHash(t *testing.T) {
	_, shas := buildRepository(t)
	delete(shas, "pr48")
	if _, err := GitHubReplies(shas); err == nil || !strings.Contains(err.Error(), `"pr48"`) {
		t.Errorf("got %v, want an error that names the label", err)
	}
}
