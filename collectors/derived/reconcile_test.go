package derived

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"trustpack/evidence"
)

const after, over = "2026-10-01T01:00:00Z", "2026-10-01T02:00:00Z"

func sha(n int) string { return fmt.Sprintf("%040d", n) }

func commitOf(n int, when string) attrs {
	return attrs{"id": sha(n), "repository": "acme/app", "branch": "main", "committed_at": when, "dated_before_parents": false}
}

// changeOf is a change that a pull request brought; 0: it was pushed directly.
func changeOf(n, pr int, when string) attrs {
	out := attrs{"id": sha(n), "repo": "acme/app", "branch": "main", "committed_at": when, "pushed_at": when, "class": "approved", "why": "approved by ben", "pr": pr, "merged_at": when}
	if pr == 0 {
		out["pr"], out["class"], out["merged_at"], out["why"] = nil, "direct-push", "", "no pull request"
	}
	return out
}

func pullOf(n, merge int, when string) attrs {
	return attrs{"id": fmt.Sprintf("acme/app#%d", n), "repo": "acme/app", "base": "main", "number": n, "merged": true, "merged_at": when, "merge_sha": sha(merge)}
}

// estate is a branch of four commits: two by pull request 1, one by 2, one
// pushed directly.
type estate struct {
	commits, changes, pulls []attrs
	without                 string // a kind that was not collected
	cloneName               string
}

func whole() *estate {
	const day = "2026-08-01T10:00:00Z"
	return &estate{
		commits: []attrs{commitOf(1, day), commitOf(2, day), commitOf(3, day), commitOf(4, day)},
		changes: []attrs{changeOf(1, 1, day), changeOf(2, 1, day), changeOf(3, 2, day), changeOf(4, 0, day)},
		pulls:   []attrs{pullOf(1, 2, day), pullOf(2, 3, day)},
	}
}

func (e *estate) shelf() shelf {
	var s shelf
	put := func(kind string, items ...attrs) {
		if kind != e.without {
			s.put(kind, after, items...)
		}
	}
	name := "acme/app"
	if e.cloneName != "" {
		name = e.cloneName
		for _, c := range e.commits {
			c["repository"] = name
		}
	}
	put("git.repository", attrs{"id": name, "branch": "main"})
	put("git.commits", e.commits...)
	put("github.branch-protection", attrs{"id": "acme/app@main", "repo": "acme/app", "branch": "main"})
	put("github.changes", e.changes...)
	put("github.pull-requests", e.pulls...)
	return s
}

func (e *estate) reconciled(t *testing.T) evidence.Evidence {
	t.Helper()
	return e.shelf().draw(t, KindReconciliation, over)
}

func TestBothSidesAgree(t *testing.T) {
	for _, name := range []string{"acme/app", "ACME/app", "app", "clones/of/app", "mirror"} {
		e := whole()
		e.cloneName = name
		got := e.reconciled(t)
		if len(got.Population.Items) != 1 || got.Completeness.State != evidence.Complete || len(got.Completeness.Gaps) != 0 {
			t.Fatalf("clone %s: %+v\n%s", name, got.Population.Items, gapsOf(got))
		}
		it := got.Population.Items[0]
		want := attrs{"repo": "acme/app", "branch": "main", "clone": name, "commits_in_git": 4, "commits_on_host": 4, "commits_in_both": 4,
			"commits_in_git_alone": 0, "commits_on_host_alone": 0, "commits_by_pull_request": 3, "commits_without_pull_request": 1, "commits_of_unknown_origin": 0,
			"pull_requests_merged": 2, "pull_requests_with_commit": 2, "pull_requests_without_commit": 0, "merges_absent_from_git": 0, "merges_claimed_twice": 0,
			"pull_requests_of_other_times": 0, "explained": 0, "unexplained": 0}
		for k, v := range want {
			if it.Attributes[k] != v {
				t.Errorf("clone %s: %s is %v, want %v", name, k, it.Attributes[k], v)
			}
		}
		for _, part := range []string{"git: 4 commits, 4 of them at the code host and 0 not", "4 commits at the code host: 3 by pull request, 1 without, 0 of unknown origin", "2 pull requests merged: 2 with a commit, 0 without"} {
			if !strings.Contains(text(it, "balance"), part) {
				t.Errorf("the balance does not say %q: %s", part, text(it, "balance"))
			}
		}
		if it.ID != "acme/app@main" || len(got.Provenance.Requests) != 5 || got.Provenance.Requests[0].Parameters["id"] == "" {
			t.Errorf("%s rests on %+v", it.ID, got.Provenance.Requests)
		}
	}
}

func TestEveryDifferenceIsNamed(t *testing.T) {
	const day = "2026-08-01T10:00:00Z"
	set := func(it attrs, more attrs) attrs { maps.Copy(it, more); return it }
	for name, c := range map[string]struct {
		change func(*estate)
		want   string // what:explained, in the order of the item
		gap    string // "": it is all explained
	}{
		"a commit that the code host does not list": {func(e *estate) { e.commits = append(e.commits, commitOf(9, day)) },
			"commit-not-on-host:false", "commit-not-on-host 0000000000"},
		"a commit that the clone does not hold": {func(e *estate) { e.changes = append(e.changes, changeOf(9, 0, day)) },
			"commit-not-in-git:false", "the clone does not hold it"},
		"a commit that was pushed after the clone was read": {func(e *estate) {
			e.changes = append(e.changes, set(changeOf(9, 0, "2026-09-30T23:59:00Z"), attrs{"pushed_at": "2026-10-01T01:30:00Z"}))
		}, "commit-not-in-git:true", ""},
		"a commit that was dated before what it stands upon": {func(e *estate) {
			e.commits = append(e.commits, set(commitOf(9, "2026-05-01T10:00:00Z"), attrs{"dated_before_parents": true}))
		}, "commit-not-on-host:true", ""},
		"a commit whose pull request is not known": {func(e *estate) { e.changes[3]["class"] = "unknown" },
			"commit-of-unknown-origin:false", "commit-of-unknown-origin"},
		"a pull request without a commit": {func(e *estate) { e.pulls = append(e.pulls, pullOf(3, 9, day)) },
			"merge-absent-from-git:false pull-request-without-commit:false", "pull-request-without-commit #3"},
		"a pull request whose commit is tied to none": {func(e *estate) { e.pulls = append(e.pulls, pullOf(3, 4, day)) },
			"pull-request-without-commit:false", "is tied to no pull request"},
		"two pull requests that were merged as one": {func(e *estate) { e.pulls = append(e.pulls, pullOf(3, 3, day)) },
			"merge-claimed-twice:true pull-request-without-commit:true", ""},
		"a merge that git does not hold": {func(e *estate) { e.commits = append(e.commits[:2], e.commits[3]) },
			"commit-not-in-git:false merge-absent-from-git:false", "merge-absent-from-git #2"},
		"a merge that was pushed after the clone was read": {func(e *estate) {
			e.commits = append(e.commits[:2], e.commits[3])
			e.changes[2]["pushed_at"] = "2026-10-01T01:30:00Z"
		}, "commit-not-in-git:true merge-absent-from-git:true", ""},
		"a pull request that is not listed": {func(e *estate) { e.pulls = e.pulls[:1] },
			"pull-request-of-other-time:false", "not among the pull requests"},
		"a pull request that was merged after the period": {func(e *estate) {
			e.pulls[1]["merged_at"], e.changes[2]["merged_at"] = "2026-10-01T00:00:01Z", "2026-10-01T00:00:01Z"
		}, "pull-request-of-other-time:true", ""},
		"a clone of something else": {func(e *estate) {
			e.cloneName = "other"
			for i := range e.commits {
				e.commits[i] = commitOf(i+20, day)
			}
		}, "branch-without-clone:false branch-not-on-host:false", "nothing to be compared with"},
	} {
		e := whole()
		c.change(e)
		got := e.reconciled(t)
		var said []string
		unexplained := 0
		for _, it := range got.Population.Items {
			for _, x := range it.Attributes["differences"].([]any) {
				m := x.(map[string]any)
				if m["why"] == "" {
					t.Errorf("%s: %v has no reason", name, m)
				}
				said = append(said, fmt.Sprintf("%v:%v", m["what"], m["explained"]))
			}
			unexplained += it.Attributes["unexplained"].(int)
		}
		if strings.Join(said, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, strings.Join(said, " "), c.want)
		}
		if unexplained != strings.Count(c.want, "false") {
			t.Errorf("%s: %d are not explained, want %s", name, unexplained, c.want)
		}
		if state := got.Completeness.State; c.gap == "" && state != evidence.Complete || c.gap != "" && (state != evidence.Incomplete || !strings.Contains(gapsOf(got), c.gap)) {
			t.Errorf("%s: %s, want a gap with %q:\n%s", name, state, c.gap, gapsOf(got))
		}
	}
}

// A quarter in which nothing happened balances; one of which nothing is known
// does not.
func TestNothingToReconcile(t *testing.T) {
	for _, name := range []string{"acme/app", "clones/of/app"} {
		got := (&estate{cloneName: name}).reconciled(t)
		if len(got.Population.Items) != 1 || got.Completeness.State != evidence.Complete {
			t.Errorf("%+v\n%s", got.Population.Items, gapsOf(got))
		}
	}
	for _, kind := range []evidence.Kind{kindCommits, kindChanges, kindPulls} {
		e := whole()
		e.without = string(kind)
		got := e.reconciled(t)
		if got.Completeness.State != evidence.Incomplete || !strings.Contains(gapsOf(got), string(kind)+": it was not collected") {
			t.Errorf("without %s it is %s:\n%s", kind, got.Completeness.State, gapsOf(got))
		}
	}
	if got := (shelf{}).draw(t, KindReconciliation, over); got.Completeness.State != evidence.Incomplete || len(got.Population.Items) != 0 {
		t.Errorf("of nothing: %+v", got.Completeness)
	}
}

// What is not whole below is not whole above, and what a later collection made
// good is.
func TestWhatItIsDrawnFromMustBeWhole(t *testing.T) {
	cut := func(e *evidence.Evidence) {
		e.Completeness.State, e.Completeness.Gaps = evidence.Incomplete, []evidence.Gap{{What: "page 2", Reason: "HTTP 500"}}
	}
	s := whole().shelf()
	cut(&s[3].Evidence)
	if got := s.draw(t, KindReconciliation, over); !strings.Contains(gapsOf(got), "github.changes: page 2: HTTP 500") || got.Completeness.State != evidence.Incomplete {
		t.Errorf("%s:\n%s", got.Completeness.State, gapsOf(got))
	}
	s.put("github.changes", "2026-10-01T01:30:00Z", whole().changes...)
	if got := s.draw(t, KindReconciliation, over); got.Completeness.State != evidence.Complete {
		t.Errorf("made good: %s", gapsOf(got))
	}
	// A later one that failed does not unmake what was whole.
	cut(s.put("github.changes", "2026-10-01T01:40:00Z"))
	if got := s.draw(t, KindReconciliation, over); got.Completeness.State != evidence.Complete {
		t.Errorf("failed later: %s", gapsOf(got))
	}
	// What was read before the end of the period says nothing of its last days.
	s = whole().shelf()
	s[1].CollectedAt = at("2026-09-01T00:00:00Z")
	if got := s.draw(t, KindReconciliation, over); !strings.Contains(gapsOf(got), "git.commits: it was not read whole for 2026-09-01/2026-10-01") && !strings.Contains(gapsOf(got), "git.commits: it was not read whole for 2026-09") {
		t.Errorf("%s:\n%s", got.Completeness.State, gapsOf(got))
	}
	// While the period lasts, a day ago will do.
	for i := range s {
		s[i].CollectedAt = at("2026-09-01T00:00:00Z")
	}
	if got := s.draw(t, KindReconciliation, "2026-09-01T20:00:00Z"); got.Completeness.State != evidence.Complete {
		t.Errorf("in the period: %s", gapsOf(got))
	}
	if got := s.draw(t, KindReconciliation, "2026-09-03T00:00:00Z"); got.Completeness.State != evidence.Incomplete {
		t.Error("what was read two days ago is taken for all of today")
	}
}

func TestSamplesStaySamples(t *testing.T) {
	s := whole().shelf()
	s[1].Provenance.Origin = evidence.OriginSample
	if got := s.draw(t, KindReconciliation, over); got.Provenance.Origin != evidence.OriginSample {
		t.Errorf("of a sample it made %s", got.Provenance.Origin)
	}
}

func TestManyDifferencesAreNotAllGaps(t *testing.T) {
	e := whole()
	for i := range 200 {
		e.commits = append(e.commits, commitOf(100+i, "2026-08-01T10:00:00Z"))
	}
	got := e.reconciled(t)
	if n := len(got.Completeness.Gaps); n != most+1 || !strings.Contains(gapsOf(got), "150 more are not explained") {
		t.Errorf("%d gaps", n)
	}
	if got.Population.Items[0].Attributes["unexplained"] != 200 {
		t.Errorf("%v", got.Population.Items[0].Attributes["unexplained"])
	}
}

// A kind may come in several collections whose windows join.
func TestSlicesJoin(t *testing.T) {
	e := whole()
	e.changes[3]["committed_at"] = "2026-09-01T10:00:00Z"
	e.without = string(kindChanges)
	s := e.shelf()
	half := at("2026-08-15T00:00:00Z")
	for i, of := range [][]attrs{e.changes[:3], e.changes[3:]} {
		part := s.put("github.changes", after, of...)
		s[len(s)-1].ID = fmt.Sprintf("slice %d", i)
		if i == 0 {
			part.Window.To = half
		} else {
			part.Window.From = half
		}
	}
	if got := s.draw(t, KindReconciliation, over); got.Completeness.State != evidence.Complete || got.Population.Items[0].Attributes["commits_in_both"] != 4 {
		t.Errorf("%v\n%s", got.Population.Items[0].Attributes["balance"], gapsOf(got))
	}
	// Where one is lacking, its days are.
	if got := s[:len(s)-1].draw(t, KindReconciliation, over); !strings.Contains(gapsOf(got), "github.changes: it was not read whole for 2026-08-15/2026-10-01") {
		t.Error(gapsOf(got))
	}
}

// What was told last counts, also where it was not told whole.
func TestTheLatestWordCounts(t *testing.T) {
	e := whole()
	e.changes[3]["class"] = "unknown"
	s := e.shelf()
	later := s.put("github.changes", "2026-10-01T01:30:00Z", changeOf(4, 0, "2026-08-01T10:00:00Z"))
	later.Completeness.State, later.Completeness.Gaps = evidence.Incomplete, []evidence.Gap{{What: "page 2", Reason: "HTTP 500"}}
	it := s.draw(t, KindReconciliation, over).Population.Items[0].Attributes
	if it["commits_of_unknown_origin"] != 0 || it["commits_without_pull_request"] != 1 || it["commits_on_host"] != 4 {
		t.Errorf("%v", it["balance"])
	}
}
