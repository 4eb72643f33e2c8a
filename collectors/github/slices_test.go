package github

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// A long window comes in slices. Together they have every item, request, reply
// and gap of the whole, and each has those that its own items stand on.
func TestSlicesHaveAllOfTheWhole(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "*/pulls/2/reviews", Status: 404})
	whole := b.collect()
	c, err := New(b.config, b.deps)
	if err != nil {
		t.Fatal(err)
	}
	c.perSlice = 1
	got, err := c.Collect(t.Context(), quarter)
	if err != nil {
		t.Fatal(err)
	}
	by := map[evidence.Kind][]evidence.Evidence{}
	for _, e := range got {
		by[e.Kind] = append(by[e.Kind], e)
	}
	for k, want := range whole {
		parts := by[k]
		events := eventTimes(k) != nil && len(want.Population.Items) > 1
		if (len(parts) > 1) != events {
			t.Errorf("%s: %d slices of %d items", k, len(parts), len(want.Population.Items))
		}
		items, gaps, requests, replies := map[string]string{}, map[evidence.Gap]bool{}, map[string]bool{}, map[string]bool{}
		at := quarter.From
		for _, e := range parts {
			if !e.Window.From.Equal(at) || e.Completeness.Got != len(e.Population.Items) || e.Completeness.Basis != want.Completeness.Basis || e.Completeness.Note != want.Completeness.Note {
				t.Errorf("%s: a slice %s, where the last ended at %s: %+v", k, e.Window, at, e.Completeness)
			}
			if (e.Completeness.State == evidence.Complete) != (len(e.Completeness.Gaps) == 0) {
				t.Errorf("%s: %+v", k, e.Completeness)
			}
			at = e.Window.To
			for _, it := range e.Population.Items {
				items[it.ID] = fmt.Sprint(it.Attributes)
			}
			if k == KindRuleSuites {
				e.Completeness = b.month(e.Completeness)
			}
			for _, g := range e.Completeness.Gaps {
				gaps[g] = true
			}
			for _, q := range e.Provenance.Requests {
				requests[fmt.Sprint(q.Target, q.Parameters)] = true
			}
			for _, r := range e.Raw {
				replies[string(r.Body)] = true
			}
		}
		if !at.Equal(quarter.To) {
			t.Errorf("%s: the slices end at %s", k, at)
		}
		wantItems, wantGaps, wantRequests, wantReplies := map[string]string{}, map[evidence.Gap]bool{}, map[string]bool{}, map[string]bool{}
		for _, it := range want.Population.Items {
			wantItems[it.ID] = fmt.Sprint(it.Attributes)
		}
		for _, g := range want.Completeness.Gaps {
			wantGaps[g] = true
		}
		for _, q := range want.Provenance.Requests {
			wantRequests[fmt.Sprint(q.Target, q.Parameters)] = true
		}
		for _, r := range want.Raw {
			wantReplies[string(r.Body)] = true
		}
		if !maps.Equal(items, wantItems) || !maps.Equal(gaps, wantGaps) || !maps.Equal(requests, wantRequests) || !maps.Equal(replies, wantReplies) {
			t.Errorf("%s: the slices have %d items, %d gaps, %d requests, %d replies; the whole %d, %d, %d, %d", k,
				len(items), len(gaps), len(requests), len(replies), len(wantItems), len(wantGaps), len(wantRequests), len(wantReplies))
		}
	}
	asked := func(e evidence.Evidence, path string) bool {
		return slices.ContainsFunc(e.Provenance.Requests, func(q evidence.Request) bool { return strings.HasSuffix(q.Target, path) })
	}
	for k, parts := range by {
		for _, e := range parts {
			if !asked(e, "/user") {
				t.Errorf("%s, %s: what is about no item is missing", k, e.Window)
			}
		}
	}
	of1 := 0
	for _, e := range by[KindChanges] {
		brought := slices.ContainsFunc(e.Population.Items, func(it evidence.Item) bool { return it.Attributes["pr"] == 1 })
		if brought != asked(e, "/pulls/1/reviews") {
			t.Errorf("changes of %s: of #1: %t", e.Window, brought)
		}
		if brought {
			of1++
		}
	}
	if of1 == 0 || of1 == len(by[KindChanges]) {
		t.Errorf("#1 brought changes in %d slices", of1)
	}
	missing := 0
	for _, e := range by[KindPullRequests] {
		has := slices.ContainsFunc(e.Population.Items, func(it evidence.Item) bool { return it.ID == "acme/meter#2" })
		lacks := e.Completeness.State != evidence.Complete
		if has != asked(e, "/pulls/2/reviews") || has != lacks {
			t.Errorf("%s: #2 is there: %t, its reviews were asked for: %t, a gap: %t", e.Window, has, asked(e, "/pulls/2/reviews"), lacks)
		}
		if !has {
			missing++
		}
	}
	if missing == 0 {
		t.Error("#2 is in every slice")
	}
}

// A pull request that cannot be read may belong to any part of the window, so
// no slice is whole without it, neither of pull requests nor of changes.
func TestAPullRequestOfNoSlice(t *testing.T) {
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "*/pulls/2", Status: 404})
	c, err := New(b.config, b.deps)
	if err != nil {
		t.Fatal(err)
	}
	c.perSlice = 1
	got, err := c.Collect(t.Context(), quarter)
	if err != nil {
		t.Fatal(err)
	}
	slicesOf := map[evidence.Kind]int{}
	for _, e := range got {
		if e.Kind != KindPullRequests && e.Kind != KindChanges {
			continue
		}
		slicesOf[e.Kind]++
		if e.Completeness.State != evidence.Incomplete || !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "pull request #2") {
			t.Errorf("%s of %s: %+v", e.Kind, e.Window, e.Completeness)
		}
	}
	if slicesOf[KindChanges] < 2 {
		t.Errorf("%v", slicesOf)
	}
}
