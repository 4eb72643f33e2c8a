package pack

import "golang.org/x/mod/sumdb/tlog"

// treeBuilder computes the RFC 6962 (section 2.1) root over leaves as they
// come, holding one hash for each full subtree.
type treeBuilder struct {
	size  int64
	peaks []tlog.Hash // roots of the full subtrees, largest first
}

// add takes the next leaf's data.
func (t *treeBuilder) add(data []byte) { t.addHash(tlog.RecordHash(data)) }

// addHash takes the next leaf's hash, or that of a subtree as large as those
// before.
func (t *treeBuilder) addHash(h tlog.Hash) {
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peaks) - 1
		h = tlog.NodeHash(t.peaks[last], h)
		t.peaks = t.peaks[:last]
	}
	t.peaks = append(t.peaks, h)
	t.size++
}

// root is the tree's root; of no leaves, the SHA-256 of nothing.
func (t *treeBuilder) root() tlog.Hash {
	if t.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads no hash for size 0, and so cannot fail
		return h
	}
	h := t.peaks[len(t.peaks)-1]
	for i := len(t.peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.peaks[i], h)
	}
	return h
}
