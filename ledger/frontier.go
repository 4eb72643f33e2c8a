package ledger

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of a tree of n leaves: the roots of the full
// subtrees that n's one bits stand for, the largest first. It is all that is
// needed to go on.
type frontier []tlog.Hash

// push makes leaf the one of index n, where n is the number of leaves so far,
// and calls keep for each hash of a tile that this settles: level 0 is the
// leaf's, level l the root of a full subtree of 256^l leaves.
func (f *frontier) push(n int64, leaf tlog.Hash, keep func(level int, h tlog.Hash)) {
	keep(0, leaf)
	// The leaf ends as many subtrees as n has trailing one bits.
	ended := bits.TrailingZeros64(uint64(n + 1))
	h := leaf
	for level := 1; level <= ended; level++ {
		last := len(*f) - 1
		h = tlog.NodeHash((*f)[last], h)
		*f = (*f)[:last]
		if level%tileHeight == 0 {
			keep(level/tileHeight, h)
		}
	}
	*f = append(*f, h)
}

// root is the tree's root (RFC 6962, section 2.1).
func (f frontier) root() tlog.Hash {
	if len(f) == 0 {
		return emptyRoot()
	}
	root := f[len(f)-1]
	for i := len(f) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f[i], root)
	}
	return root
}
