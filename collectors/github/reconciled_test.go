package github_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"trustpack/collectors/derived"
	"trustpack/collectors/git"
	"trustpack/collectors/github"
	"trustpack/evidence"
)

// clone reads the world's repository.
func (w *world) clone() map[evidence.Kind]evidence.Evidence {
	w.t.Helper()
	c, err := git.New(git.Config{Repositories: []git.Repository{{Path: w.dir, Name: "acme/app"}}}, git.Deps{Now: collectedAt})
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := c.Collect(w.t.Context(), window)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		out[e.Kind] = e
	}
	return out
}

// drawn is what is drawn of all that was collected.
func drawn(t *testing.T, all ...map[evidence.Kind]evidence.Evidence) map[evidence.Kind]evidence.Evidence {
	t.Helper()
	kept := map[string]evidence.Collected{}
	var index []evidence.Citation
	for _, of := range all {
		for _, k := range slices.Sorted(maps.Keys(of)) {
			id := fmt.Sprintf("%s/%d", k, len(index))
			kept[id] = evidence.Collected{ID: id, Evidence: of[k]}
			index = append(index, evidence.Citation{ID: id, Kind: k, CollectedAt: of[k].CollectedAt, Window: of[k].Window})
		}
	}
	c, err := derived.New(derived.Deps{Tool: "test", Now: collectedAt,
		Kept: func(evidence.Period) ([]evidence.Citation, error) { return index, nil },
		Get:  func(id string) (evidence.Collected, error) { return kept[id], nil }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Collect(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		out[e.Kind] = e
	}
	return out
}

// TestTheWorldReconciles: the clone and GitHub are counted each for itself, the
// counts are those that the world was made with, and nothing is left to
// explain. What is taken away on either side is named.
func TestTheWorldReconciles(t *testing.T) {
	w := newWorld(t, 3)
	w.fill(600)
	inGit := w.clone()
	onHub, err := newHub(w, 1, trouble{}).collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := drawn(t, inGit, onHub)[derived.KindReconciliation]
	if e.Completeness.State != evidence.Complete || len(e.Population.Items) != 1 {
		t.Fatalf("%+v, %d items", e.Completeness, len(e.Population.Items))
	}
	toMain, direct := 0, 0
	for _, p := range w.prs {
		if p.base == "main" {
			toMain++
		}
	}
	for _, c := range w.truth {
		if c == github.DirectPush {
			direct++
		}
	}
	it := e.Population.Items[0].Attributes
	for k, want := range map[string]int{
		"commits_in_git": len(w.truth), "commits_on_host": len(w.truth), "commits_in_both": len(w.truth), "commits_without_pull_request": direct,
		"commits_by_pull_request": len(w.truth) - direct, "pull_requests_merged": toMain, "pull_requests_with_commit": toMain, "unexplained": 0,
	} {
		if it[k] != want {
			t.Errorf("%s is %v, want %d", k, it[k], want)
		}
	}
	if direct == 0 || toMain == 0 {
		t.Errorf("the world has %d direct pushes and %d pull requests", direct, toMain)
	}
	t.Logf("%v", it["balance"])

	for kind, want := range map[evidence.Kind]string{
		git.KindCommits: "commit-not-in-git", github.KindChanges: "commit-not-on-host", github.KindPullRequests: "pull-request-of-other-time",
	} {
		less := maps.Clone(onHub)
		maps.Copy(less, inGit)
		one := less[kind]
		one.Population.Items = slices.Clone(one.Population.Items)[1:]
		less[kind] = one
		e := drawn(t, less)[derived.KindReconciliation]
		if e.Completeness.State != evidence.Incomplete || !slices.ContainsFunc(e.Completeness.Gaps, func(g evidence.Gap) bool { return strings.Contains(g.What, want) }) {
			t.Errorf("without one of %s: %+v", kind, e.Completeness)
		}
	}
}
