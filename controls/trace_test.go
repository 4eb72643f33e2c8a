package controls

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// collected makes complete evidence of a kind for the third quarter.
func collectedOf(kind string, items ...map[string]any) evidence.Collected {
	e := evidence.Evidence{
		Kind: evidence.Kind(kind), Collector: "test", CollectedAt: time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC), Window: traced(),
		Provenance: evidence.Provenance{System: "test", Account: "a", Origin: evidence.OriginLive}, Completeness: evidence.Completeness{State: evidence.Complete, Got: len(items)},
	}
	for _, it := range items {
		id := it["id"].(string)
		delete(it, "id")
		e.Population.Items = append(e.Population.Items, evidence.Item{ID: id, Attributes: it})
	}
	return evidence.Collected{ID: kind, Evidence: e}
}

func traced() evidence.Period {
	return evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
}

const first, second, third = "aaaaaaaa01", "bbbbbbbb02", "cccccccc03"

// estate is a change that went all the way, and one that was pushed directly
// upon it and never deployed.
func estate() map[string]evidence.Collected {
	list := func(v ...any) []any { return v }
	return map[string]evidence.Collected{
		"git.commits": collectedOf("git.commits",
			map[string]any{"id": first, "parents": list("root"), "subject": "one", "author_name": "Anna", "committed_at": "2026-08-01T10:00:00Z", "signature": map[string]any{"status": "verified"}},
			map[string]any{"id": second, "parents": list(first), "subject": "two", "author_name": "Ben", "committed_at": "2026-08-02T10:00:00Z"},
			map[string]any{"id": third, "parents": list(second), "subject": "three", "author_name": "Ben", "committed_at": "2026-08-09T10:00:00Z"}),
		"github.changes": collectedOf("github.changes",
			map[string]any{"id": first, "repo": "acme/app", "class": "approved", "why": "approved by ben", "pr": 7, "approvers": list("ben"), "committed_at": "2026-08-01T10:00:00Z"},
			map[string]any{"id": second, "repo": "acme/app", "class": "direct-push", "why": "no pull request", "pr": nil, "pushed_by": "ben", "approvers": list(), "committed_at": "2026-08-02T10:00:00Z"},
			map[string]any{"id": third, "repo": "acme/app", "class": "direct-push", "why": "no pull request", "pr": nil, "pushed_by": "ben", "approvers": list(), "committed_at": "2026-08-09T10:00:00Z"}),
		"github.pull-requests": collectedOf("github.pull-requests",
			map[string]any{"id": "acme/app#7", "title": "One", "author": "anna", "created_at": "2026-07-30T10:00:00Z", "merged_at": "2026-08-01T10:00:00Z", "merge_sha": first, "merged_by": "carla", "merge_method": "squash",
				"reviews": list(map[string]any{"id": "1", "user": "ben", "state": "APPROVED", "commit_id": "head", "submitted_at": "2026-07-31T10:00:00Z"}),
				"checks":  list(map[string]any{"name": "build", "conclusion": "success"})}),
		"github.releases": collectedOf("github.releases",
			map[string]any{"id": "acme/app@v1", "tag": "v1", "sha": second, "author": "anna", "published_at": "2026-08-03T10:00:00Z", "created_at": "2026-08-03T10:00:00Z", "assets": list("a")},
			map[string]any{"id": "acme/app@v2", "tag": "v2", "sha": second, "published_at": "2026-08-04T10:00:00Z", "created_at": "2026-08-03T10:00:00Z"}),
		"github.deployments": collectedOf("github.deployments",
			map[string]any{"id": "50", "sha": second, "environment": "production", "creator": "ci", "created_at": "2026-08-05T10:00:00Z", "final_state": "failure", "statuses": list(map[string]any{"state": "failure"})},
			map[string]any{"id": "51", "sha": second, "environment": "production", "creator": "ci", "created_at": "2026-08-05T11:00:00Z",
				"statuses": list(map[string]any{"state": "in_progress"}, map[string]any{"state": "success"}, map[string]any{"state": "inactive"}, map[string]any{"state": "success", "at": "2026-08-05T11:30:00Z", "creator": "smoke"})}),
	}
}

func trace(t *testing.T, in map[string]evidence.Collected, name string) (Chain, error) {
	t.Helper()
	var all []evidence.Collected
	for _, e := range in {
		all = append(all, e)
	}
	return Trace(Input{Period: traced(), Evidence: all}, name)
}

func steps(c Chain) string {
	var out []string
	for _, l := range c.Links {
		out = append(out, l.Step+":"+l.State)
	}
	return strings.Join(out, " ")
}

func TestTraceOfAWholeChain(t *testing.T) {
	c, err := trace(t, estate(), first[:8])
	if err != nil {
		t.Fatal(err)
	}
	if got := steps(c); got != "commit:found pull-request:found review:found check:found merge:found release:found deployment:found after-deployment:found" || !c.Whole() || c.Class != "approved" {
		t.Errorf("%s, whole %v, %s", got, c.Whole(), c.Class)
	}
	said := fmt.Sprint(c.Links)
	for _, want := range []string{"acme/app@v1", "51", "smoke", "APPROVED of head", "signature verified"} {
		if !strings.Contains(said, want) {
			t.Errorf("the chain does not name %s: %s", want, said)
		}
	}
	if strings.Contains(said, "acme/app@v2") || strings.Contains(said, " 50 ") {
		t.Errorf("it names a later release, or the deployment that failed: %s", said)
	}
}

// Tags and deployments lead back to the commit; a direct push has no pull
// request; what was never released or deployed says so.
func TestTraceNamesWhatIsMissing(t *testing.T) {
	for name, want := range map[string]string{
		"v1":   "commit:found pull-request:missing release:found deployment:found after-deployment:found",
		"51":   "commit:found pull-request:missing release:found deployment:found after-deployment:found",
		third:  "commit:found pull-request:missing release:missing deployment:missing after-deployment:missing",
		second: "commit:found pull-request:missing release:found deployment:found after-deployment:found",
	} {
		c, err := trace(t, estate(), name)
		if err != nil || steps(c) != want || c.Whole() {
			t.Errorf("%s: %v, %s, want %s", name, err, steps(c), want)
		}
	}
	in := estate()
	in["github.pull-requests"].Population.Items[0].Attributes["checks"] = []any{}
	in["github.changes"].Population.Items[0].Attributes["approvers"] = []any{}
	in["github.deployments"].Population.Items[1].Attributes["statuses"] = []any{map[string]any{"state": "success"}, map[string]any{"state": "inactive"}}
	c, err := trace(t, in, first)
	if want := "commit:found pull-request:found review:found review:missing check:missing merge:found release:found deployment:found after-deployment:missing"; err != nil || steps(c) != want {
		t.Errorf("%v, %s, want %s", err, steps(c), want)
	}
	in["github.deployments"].Population.Items[1].Attributes["statuses"] = []any{map[string]any{"state": "error"}}
	if c, err = trace(t, in, first); err != nil || !strings.HasSuffix(steps(c), "deployment:missing") {
		t.Errorf("%v, %s", err, steps(c))
	}
}

// What evidence does not speak of is not available, and never missing or found.
func TestTraceWithoutEvidence(t *testing.T) {
	for kind, want := range map[string]string{
		"git.commits":          "commit:not-available pull-request:found review:found check:found merge:found release:not-available deployment:not-available after-deployment:not-available",
		"github.changes":       "commit:found pull-request:not-available release:found deployment:found after-deployment:found",
		"github.pull-requests": "commit:found pull-request:not-available release:found deployment:found after-deployment:found",
		"github.releases":      "commit:found pull-request:found review:found check:found merge:found release:not-available deployment:found after-deployment:found",
		"github.deployments":   "commit:found pull-request:found review:found check:found merge:found release:found deployment:not-available after-deployment:not-available",
	} {
		in := estate()
		delete(in, kind)
		c, err := trace(t, in, first)
		if err != nil || steps(c) != want {
			t.Errorf("without %s: %v, %s, want %s", kind, err, steps(c), want)
		}
		if c.Whole() {
			t.Errorf("without %s the chain is whole", kind)
		}
	}
}

func TestTraceOfNobody(t *testing.T) {
	for name, want := range map[string]string{"v9": "no commit, tag or deployment", "aaaa": "no commit, tag", "": "no commit"} {
		if _, err := trace(t, estate(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	in := estate()
	delete(in, "github.releases")
	if _, err := trace(t, in, "v1"); err == nil || !strings.Contains(err.Error(), "not whole of github.releases") {
		t.Errorf("%v", err)
	}
	in = estate()
	in["github.deployments"].Population.Items[0].ID = "v1"
	in["github.deployments"].Population.Items[0].Attributes["sha"] = third
	if _, err := trace(t, in, "v1"); err == nil || !strings.Contains(err.Error(), "it may be "+second) {
		t.Errorf("%v", err)
	}
}
