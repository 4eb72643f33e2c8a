package git

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// maxBranchCommits is how far a branch that was not merged is followed.
const maxBranchCommits = 250

// fingerprint is the digest of what a change does: each path with the content
// before and after. The zero fingerprint is no change.
type fingerprint [sha256.Size]byte

// origin is a change beside the branch that a commit on it may have come from.
type origin struct {
	ref       string // "refs/pull/12/head"
	method    string // "squash", "rebase", or "squash-or-rebase" where the branch had one commit
	committed int64  // when it was there at the earliest, in Unix seconds
}

// origins are the changes of all branches and pull requests that the clone
// keeps and the branch does not reach, and the tips of those that it does.
type origins struct {
	changes map[fingerprint]origin
	tips    map[plumbing.Hash]string // the ref of each tip
}

// originsOf looks through the refs of the clone. A squash or a rebase is
// recognised by its content alone, never by its words: it changes the same
// paths from the same content to the same content. One whose files were changed
// on the branch meanwhile is not recognised.
func originsOf(ctx context.Context, repo *gogit.Repository, branch string, h *history) (origins, error) {
	out := origins{changes: map[fingerprint]origin{}, tips: map[plumbing.Hash]string{}}
	refs, err := repo.References()
	if err != nil {
		return out, err
	}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		name := ref.Name().String()
		if ref.Type() != plumbing.HashReference || !beside(name, branch) {
			return nil
		}
		// A pull request's own ref says more than a branch's.
		if old, known := out.tips[ref.Hash()]; !known || strings.HasPrefix(old, "refs/heads/") || strings.HasPrefix(old, "refs/remotes/") {
			out.tips[ref.Hash()] = name
		}
		return nil
	})
	if err != nil || len(out.tips) == 0 {
		return out, err
	}
	reached := make(map[plumbing.Hash]bool, len(h.nodes))
	for _, n := range h.nodes {
		reached[n.hash] = true
	}
	for tip, ref := range out.tips {
		if reached[tip] {
			continue
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		// A branch whose objects are not all here shows nothing.
		if err := out.follow(repo, tip, ref, reached); err != nil && !errors.Is(err, plumbing.ErrObjectNotFound) {
			return out, fmt.Errorf("%s: %w", ref, err)
		}
	}
	return out, nil
}

// beside tells whether a ref is of a branch or a pull request, other than the
// branch itself here or at a remote.
func beside(ref, branch string) bool {
	if of, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return of != branch
	}
	if of, ok := strings.CutPrefix(ref, "refs/remotes/"); ok {
		_, of, _ = strings.Cut(of, "/")
		return of != branch
	}
	return strings.HasPrefix(ref, "refs/pull/") && strings.HasSuffix(ref, "/head") ||
		strings.HasPrefix(ref, "refs/merge-requests/") && strings.HasSuffix(ref, "/head")
}

// follow takes in the changes of one branch: each of its commits, and all of
// them as one.
func (o *origins) follow(repo *gogit.Repository, tip plumbing.Hash, ref string, reached map[plumbing.Hash]bool) error {
	var commits []*object.Commit
	var base *object.Commit // the youngest commit that it shares with the branch
	seen := map[plumbing.Hash]bool{tip: true}
	for queue := []plumbing.Hash{tip}; len(queue) > 0; queue = queue[1:] {
		c, err := object.GetCommit(repo.Storer, queue[0])
		if err != nil {
			return err
		}
		if len(commits) >= maxBranchCommits {
			return nil
		}
		if reached[c.Hash] {
			if base == nil || c.Committer.When.After(base.Committer.When) {
				base = c
			}
			continue
		}
		commits = append(commits, c)
		for _, p := range c.ParentHashes {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	if base == nil {
		return nil
	}
	add := func(from plumbing.Hash, c *object.Commit, method string) error {
		d := differ{objects: repo.Storer}
		if err := d.trees("", from, c.TreeHash); err != nil {
			return err
		}
		mark := d.fingerprint()
		was := origin{ref, method, c.Committer.When.Unix()}
		if old, known := o.changes[mark]; known && (old.committed < was.committed || old.committed == was.committed && old.ref < was.ref) {
			return nil
		}
		o.changes[mark] = was
		return nil
	}
	if len(commits) == 1 {
		return add(base.TreeHash, commits[0], "squash-or-rebase")
	}
	for _, c := range commits {
		if len(c.ParentHashes) != 1 {
			continue
		}
		parent, err := c.Parent(0)
		if err != nil {
			return err
		}
		if err := add(parent.TreeHash, c, "rebase"); err != nil {
			return err
		}
	}
	return add(base.TreeHash, commits[0], "squash")
}

// of tells how a commit on the first-parent line was made, and of which ref.
func (o origins) of(c *object.Commit, mark fingerprint, firstParent bool) (how, ref string) {
	if len(c.ParentHashes) > 1 {
		for _, p := range c.ParentHashes[1:] {
			if ref = o.tips[p]; ref != "" {
				break
			}
		}
		return "merge", ref
	}
	from, known := o.changes[mark]
	if !known || !firstParent || mark == (fingerprint{}) || c.Committer.When.Unix() < from.committed {
		return "single-parent", ""
	}
	return from.method, from.ref
}

// fingerprint digests what was found to differ.
func (d *differ) fingerprint() fingerprint {
	if len(d.edits) == 0 {
		return fingerprint{}
	}
	slices.Sort(d.edits)
	sum := sha256.New()
	for _, e := range d.edits {
		_, _ = io.WriteString(sum, e) // a hash takes all
	}
	return fingerprint(sum.Sum(nil))
}
