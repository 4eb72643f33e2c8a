package git

import (
	"strings"
	"testing"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// on checks out a commit, so that the next one stands on it.
func (b *builder) on(h plumbing.Hash) {
	b.t.Helper()
	if err := b.wt.Checkout(&gogit.CheckoutOptions{Hash: h, Force: true}); err != nil {
		b.t.Fatal(err)
	}
}

// Merges, squashes and rebases are recognised by content, where the clone
// keeps the branches that they came of; titles are not looked at, and what
// only looks like one is not taken for one.
func TestMergeSquashAndRebaseAreRecognised(t *testing.T) {
	b := newRepo(t)
	follow(t, b)
	root := b.commit(day(7, 1), "start", "a")

	branch := func(d int, ref string, files ...string) (tip plumbing.Hash) {
		b.on(root)
		for i, f := range files {
			tip = b.commit(day(7, d+i), f, f)
		}
		b.ref(ref, tip)
		return tip
	}
	branch(2, "refs/pull/1/head", "s1", "s2")
	branch(2, "refs/heads/topic/main", "r1", "r2") // a name that ends as the branch's does
	branch(2, "refs/remotes/origin/one", "o1")
	branch(2, "refs/pull/3/head", "o1") // the same, with a name that says more
	merged := branch(2, "refs/merge-requests/4/head", "m1")
	branch(2, "refs/pull/5/merge", "x1") // what a code host tried, not what was asked for
	branch(2, "refs/pull/6/head", "y1", "y2")
	branch(25, "refs/pull/7/head", "z1") // made after its like was on the branch
	branch(2, "refs/pull/8/head", "g1", "g2")

	b.on(root)
	// Both files of pull request 1 in one commit: the first is staged by hand.
	both := func(d int, message string, contents map[string]string, last string) plumbing.Hash {
		for name, text := range contents {
			write(t, b.dir+"/"+name, text)
			if _, err := b.wt.Add(name); err != nil {
				t.Fatal(err)
			}
		}
		return b.commit(day(7, d), message, last)
	}
	squashed := both(10, "s2", map[string]string{"s1": "s1"}, "s2")
	rebased1 := b.commit(day(7, 11), "r1", "r1")
	rebased2 := b.commit(day(7, 11), "r2", "r2")
	single := b.commit(day(7, 12), "o1", "o1")
	merge := b.commit(day(7, 13), "m1", "m1", parents(single, merged))
	tried := b.commit(day(7, 14), "x1", "x1")
	half := b.commit(day(7, 15), "Squashed (#6)", "y1") // in name only
	before := b.commit(day(7, 16), "z1", "z1")
	gone := both(17, "g2", map[string]string{"g1": "g1"}, "g2")
	b.ref("refs/heads/main", gone)
	remove(t, b, treeOf(t, b, "refs/pull/8/head"))

	commits, _ := b.collect(Config{})
	if len(commits.Completeness.Gaps) > 0 {
		t.Errorf("gaps: %v", commits.Completeness.Gaps)
	}
	for _, c := range []struct {
		name     string
		hash     plumbing.Hash
		how, ref string
	}{
		{"squashed", squashed, "squash", "refs/pull/1/head"},
		{"rebased, the first", rebased1, "rebase", "refs/heads/topic/main"},
		{"rebased, the last", rebased2, "rebase", "refs/heads/topic/main"},
		{"one commit", single, "squash-or-rebase", "refs/pull/3/head"},
		{"merged", merge, "merge", "refs/merge-requests/4/head"},
		{"a trial merge", tried, "single-parent", ""},
		{"by its title", half, "single-parent", ""},
		{"made before", before, "single-parent", ""},
		{"a branch that is not whole", gone, "single-parent", ""},
		{"the root", root, "single-parent", ""},
	} {
		got := byID(t, commits, c.hash)
		if got["how"] != c.how || got["from_ref"] != c.ref {
			t.Errorf("%s: %v of %v, want %s of %q", c.name, got["how"], got["from_ref"], c.how, c.ref)
		}
		if says := "it is the " + c.how + " of " + c.ref; c.ref != "" && !strings.Contains(got["why"].(string), says) {
			t.Errorf("%s: the reason is %q, without %q", c.name, got["why"], says)
		}
	}
}

func treeOf(t *testing.T, b *builder, ref string) plumbing.Hash {
	t.Helper()
	at, err := b.repo.Reference(plumbing.ReferenceName(ref), true)
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.repo.CommitObject(at.Hash())
	if err != nil {
		t.Fatal(err)
	}
	return c.TreeHash
}
