package github_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/collectors/git"
	"trustpack/collectors/github"
	"trustpack/evidence"
)

// collectedAt is the time on the collector's clock.
func collectedAt() time.Time { return window.To.AddDate(0, 0, 7) }

// collect asks the hub for everything.
func (h *hub) collect(ctx context.Context) (map[evidence.Kind]evidence.Evidence, error) {
	c, err := github.New(github.Config{BaseURL: h.server.URL, Repositories: []github.Repository{{Name: "acme/app"}},
		Emergency: github.EmergencyPolicy{Label: "emergency", ReviewDays: 3}},
		github.Deps{Tool: "test", Now: collectedAt, Getenv: func(string) string { return "token" },
			Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		return nil, err
	}
	got, err := c.Collect(ctx, window)
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		whole, jerr := join(out[e.Kind], e)
		out[e.Kind], err = whole, errors.Join(err, jerr)
	}
	return out, err
}

// join puts the slices of a kind together, which must follow one another.
func join(whole, e evidence.Evidence) (evidence.Evidence, error) {
	if whole.Kind == "" {
		if !e.Window.From.Equal(window.From) {
			return e, fmt.Errorf("%s begins at %s", e.Kind, e.Window.From)
		}
		return e, nil
	}
	if !e.Window.From.Equal(whole.Window.To) {
		return e, fmt.Errorf("%s: a slice from %s follows one to %s", e.Kind, e.Window.From, whole.Window.To)
	}
	whole.Window.To = e.Window.To
	seen := map[string]bool{}
	for _, it := range whole.Population.Items {
		seen[it.ID] = true
	}
	for _, it := range e.Population.Items {
		if !seen[it.ID] { // a pull request may be in the slice in which it was opened, and in that in which it was merged
			whole.Population.Items = append(whole.Population.Items, it)
		}
	}
	if e.Completeness.State != evidence.Complete {
		whole.Completeness.State = e.Completeness.State
		whole.Completeness.Gaps = append(whole.Completeness.Gaps, e.Completeness.Gaps...)
	}
	whole.Completeness.Got = len(whole.Population.Items)
	return whole, nil
}

// agree holds what was collected to the truth, change by change.
func (w *world) agree(what string, got map[evidence.Kind]evidence.Evidence) {
	w.t.Helper()
	changes := got[github.KindChanges]
	if changes.Completeness.State != evidence.Complete {
		w.t.Errorf("%s: the changes are %s: %v", what, changes.Completeness.State, changes.Completeness.Gaps)
	}
	wrong := 0
	seen := map[string]bool{}
	for _, it := range changes.Population.Items {
		seen[it.ID] = true
		if class := it.Attributes["class"]; class != string(w.truth[it.ID]) {
			if wrong++; wrong <= 10 {
				scenario := ""
				if c := w.all[it.ID]; c != nil && len(c.prs) > 0 {
					scenario = c.prs[0].scenario
				}
				w.t.Errorf("%s: %s (%s) is %v because of %q, and truly %s", what, it.ID, scenario, class, it.Attributes["why"], w.truth[it.ID])
			}
		}
	}
	if wrong > 0 || len(seen) != len(w.truth) {
		w.t.Errorf("%s: %d of %d changes wrong, %d found", what, wrong, len(w.truth), len(seen))
	}
	if n := len(got[github.KindPushes].Population.Items); n != len(w.pushes) {
		w.t.Errorf("%s: %d pushes, want %d", what, n, len(w.pushes))
	}
}

// TestVerdictsAgreeWithTheTruth: of 5,000 pull requests and all that came
// without one, each change has the class that it was made to have; the clone
// and GitHub tell of the same commits; and no trouble on the way changes any of
// it.
func TestVerdictsAgreeWithTheTruth(t *testing.T) {
	prs := 5000
	if testing.Short() {
		prs = 500
	}
	w := newWorld(t, 1)
	w.fill(prs)
	for _, s := range scenarios() {
		if w.counts[s.name] == 0 {
			t.Errorf("the scenario %q never came", s.name)
		}
	}
	classes := map[github.Class]int{}
	for _, c := range w.truth {
		classes[c]++
	}
	t.Logf("%d pull requests, %d commits: %v", len(w.prs), len(w.truth), classes)
	got, err := newHub(w, 1, trouble{}).collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.agree("untroubled", got)

	clone, err := git.New(git.Config{Repositories: []git.Repository{{Path: w.dir, Name: "acme/app"}}}, git.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	read, err := clone.Collect(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	inGit := map[string]bool{}
	pushed, wrong := 0, 0
	for _, e := range read { // the commits come in slices
		if e.Kind != git.KindCommits {
			continue
		}
		if e.Completeness.State != evidence.Complete {
			t.Errorf("the clone is read %+v", e.Completeness)
		}
		for _, it := range e.Population.Items {
			inGit[it.ID] = true
			if it.Attributes["class"] != "direct-push" {
				continue
			}
			if pushed++; w.truth[it.ID] != github.DirectPush {
				wrong++
			}
		}
	}
	if pushed == 0 || wrong > 0 {
		t.Errorf("git alone finds %d direct pushes, of which %d are none", pushed, wrong)
	}
	onHub := map[string]bool{}
	for _, it := range got[github.KindChanges].Population.Items {
		onHub[it.ID] = true
	}
	if !maps.Equal(inGit, onHub) {
		t.Errorf("the clone has %d commits, GitHub %d", len(inGit), len(onHub))
	}
}

// TestTroubleChangesNoVerdict: entries in any order, twice, errors of the
// gateway, limits, answers cut off, and a collection that died half-way.
func TestTroubleChangesNoVerdict(t *testing.T) {
	w := newWorld(t, 2)
	w.fill(400)
	calm, err := newHub(w, 1, trouble{}).collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.agree("untroubled", calm)
	h := newHub(w, 5, trouble{badGateway: 40, limited: 90, secondary: 70, cut: 60, repeat: 10, shuffle: true})
	ctx, kill := context.WithCancel(t.Context())
	h.dies, h.onDeath = 900, kill
	if _, err := h.collect(ctx); err == nil {
		t.Error("the collection that was killed says that it ended well")
	}
	got, err := h.collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.agree("troubled", got)
	for _, kind := range []evidence.Kind{github.KindChanges, github.KindPullRequests, github.KindPushes} {
		a, err := calm[kind].Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		b, err := got[kind].Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			for i, line := range strings.Split(string(a), "\n") {
				if other := strings.Split(string(b), "\n")[i]; line != other {
					t.Errorf("%s: trouble changed the population:\n%s\n%s", kind, line, other)
					break
				}
			}
		}
	}
	if !slices.ContainsFunc(got[github.KindChanges].Provenance.Requests, func(r evidence.Request) bool { return r.Status == 502 }) {
		t.Error("there was no trouble")
	}
}
