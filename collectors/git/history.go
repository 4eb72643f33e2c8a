package git

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"trustpack/evidence"
)

// history is the shape of everything that a branch reaches: some 80 bytes a
// commit, so that 200,000 commits take little memory. Messages and trees are
// read later, and only for the commits of the window.
type history struct {
	nodes   []node
	index   map[plumbing.Hash]int32
	missing []plumbing.Hash // parents that are named and not in the clone
	hosted  bool            // some commit was made by a code host
}

type node struct {
	hash        plumbing.Hash
	committed   int64 // Unix seconds
	parents     []int32
	root        bool
	firstParent bool  // on the branch's first-parent line
	backdated   bool  // set by window: dated before commits that it stands upon
	broughtBy   int32 // set by bring: the first merge on the first-parent line that reaches it; -1 for none
}

const unread = -1 << 63 // node.committed of a commit that was met but not read

func readHistory(ctx context.Context, s storer.EncodedObjectStorer, head plumbing.Hash, shallow []plumbing.Hash, hosts func(address string) bool) (*history, error) {
	h := &history{index: map[plumbing.Hash]int32{}}
	cut := map[plumbing.Hash]bool{}
	for _, x := range shallow {
		cut[x] = true
	}
	h.meet(head)
	h.nodes[0].firstParent = true
	gone := map[plumbing.Hash]bool{}
	// nodes is its own queue: what is met is appended and read in turn.
	// A first-parent mark that comes after the reading is passed on below.
	for n := 0; n < len(h.nodes); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		hash := h.nodes[n].hash
		commit, err := object.GetCommit(s, hash)
		if errors.Is(err, plumbing.ErrObjectNotFound) && n > 0 {
			gone[hash] = true
			h.missing = append(h.missing, hash)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading commit %s: %w", hash, err)
		}
		h.nodes[n].committed = commit.Committer.When.Unix()
		h.nodes[n].root = len(commit.ParentHashes) == 0
		h.hosted = h.hosted || hosts(commit.Committer.Email)
		if cut[hash] {
			continue
		}
		parents := make([]int32, 0, len(commit.ParentHashes))
		for _, p := range commit.ParentHashes {
			parents = append(parents, h.meet(p))
		}
		h.nodes[n].parents = parents
	}
	for n := int32(0); len(h.nodes[n].parents) > 0; {
		n = h.nodes[n].parents[0]
		h.nodes[n].firstParent = true
	}
	h.drop(gone)
	h.bring()
	return h, nil
}

// bring notes of each commit beside the first-parent line which merge on the
// line brought it: the oldest that reaches it.
func (h *history) bring() {
	var line []int32
	for i := range h.nodes {
		h.nodes[i].broughtBy = -1
	}
	for n := int32(0); ; n = h.nodes[n].parents[0] {
		line = append(line, n)
		if len(h.nodes[n].parents) == 0 || !h.nodes[h.nodes[n].parents[0]].firstParent {
			break
		}
	}
	for _, merge := range slices.Backward(line) {
		stack := slices.Clone(h.nodes[merge].parents)
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if at := &h.nodes[n]; !at.firstParent && at.broughtBy < 0 {
				at.broughtBy = merge
				stack = append(stack, at.parents...)
			}
		}
	}
}

func (h *history) meet(hash plumbing.Hash) int32 {
	n, ok := h.index[hash]
	if !ok {
		n = int32(len(h.nodes))
		h.index[hash] = n
		h.nodes = append(h.nodes, node{hash: hash, committed: unread})
	}
	return n
}

// drop takes out the commits that are not in the clone.
func (h *history) drop(gone map[plumbing.Hash]bool) {
	h.index = nil
	if len(gone) == 0 {
		return
	}
	moved := make([]int32, len(h.nodes))
	kept := h.nodes[:0]
	for i, n := range h.nodes {
		moved[i] = -1
		if !gone[n.hash] {
			moved[i] = int32(len(kept))
			kept = append(kept, n)
		}
	}
	for i := range kept {
		var parents []int32
		for _, p := range kept[i].parents {
			if moved[p] >= 0 {
				parents = append(parents, moved[p])
			}
		}
		kept[i].parents = parents
	}
	h.nodes = kept
}

// window gives the commits whose committer time lies in p, and those dated
// before p though an ancestor of theirs is dated in p: a commit is younger
// than what it stands upon, whatever date it was given.
func (h *history) window(p evidence.Period) []int {
	newest := h.newestAncestors()
	from, to := p.From.Unix(), p.To.Unix()
	var in []int
	for i := range h.nodes {
		n := &h.nodes[i]
		n.backdated = newest[i] > n.committed
		if n.committed >= from && n.committed < to || n.committed < from && newest[i] >= from && newest[i] < to {
			in = append(in, i)
		}
	}
	return in
}

// newestAncestors gives for each commit the latest committer time among it and
// all that it stands upon. It works down a stack of its own, since a history
// is deeper than a call stack should be.
func (h *history) newestAncestors() []int64 {
	newest := make([]int64, len(h.nodes))
	state := make([]byte, len(h.nodes)) // 0 not seen, 1 on the stack, 2 done
	for start := range h.nodes {
		stack := []int32{int32(start)}
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			if state[n] == 2 {
				stack = stack[:len(stack)-1]
				continue
			}
			if state[n] == 0 {
				state[n] = 1
				for _, p := range h.nodes[n].parents {
					if state[p] == 0 {
						stack = append(stack, p)
					}
				}
				continue
			}
			newest[n] = h.nodes[n].committed
			for _, p := range h.nodes[n].parents {
				newest[n] = max(newest[n], newest[p])
			}
			state[n] = 2
			stack = stack[:len(stack)-1]
		}
	}
	return newest
}

func (h *history) roots() []string {
	var out []string
	for _, n := range h.nodes {
		if n.root {
			out = append(out, n.hash.String())
		}
	}
	return out
}
