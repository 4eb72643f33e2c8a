package ledger

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"
)

// rederive hashes the entries anew, holds each kept hash to that, and each
// signed head to the root at its size. Bundles are taken by as many goroutines
// as there are processors; what is above them is a 256th of the work.
func (f *fsck) rederive(t *tree, heads []signedHead) (tlog.Hash, error) {
	d := &derivation{f: f, t: t, size: t.size()}
	if err := d.bundles(); err != nil {
		return tlog.Hash{}, err
	}
	if d.broken.Load() {
		return tlog.Hash{}, nil
	}
	if err := d.upper(); err != nil {
		return tlog.Hash{}, err
	}
	for _, h := range heads {
		if h.Size > d.size {
			f.problem(t.name, -1, h.file, "a checkpoint of size %d is signed, but the log holds %d entries", h.Size, d.size)
			continue
		}
		root, err := d.root(h.Size)
		if err != nil {
			return tlog.Hash{}, err
		}
		if h.Root != root {
			f.problem(t.name, -1, h.file, "the checkpoint of size %d has root %s, but the entries hash to %s", h.Size, hashText(h.Root), hashText(root))
		}
	}
	return d.root(d.size)
}

// derivation is a tree's hashes as they are derived from its entries.
type derivation struct {
	f      *fsck
	t      *tree
	size   int64
	next   atomic.Int64  // bundle to be taken
	broken atomic.Bool   // an entry cannot be read, so there is no root
	levels [][]tlog.Hash // at tile level 1 and up
	row    int64         // number of the bundle whose leaf hashes are in leaves, plus 1
	leaves []tlog.Hash
}

// bundles derives the leaf hashes and, out of full bundles, tile level 1.
func (d *derivation) bundles() error {
	d.levels = [][]tlog.Hash{make([]tlog.Hash, d.size/tileWidth)}
	var workers sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		workers.Go(func() {
			for errs[w] == nil {
				n := d.next.Add(1) - 1
				if n*tileWidth >= d.size {
					return
				}
				errs[w] = d.bundle(n)
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// bundle derives what stands on one bundle.
func (d *derivation) bundle(n int64) error {
	leaves, bytes, err := d.hash(n, d.erasedBy)
	if err != nil {
		d.broken.Store(true)
		return d.f.damage(d.t.name, err)
	}
	kept, err := d.t.readLevel(0, n*tileWidth, len(leaves))
	if err != nil {
		return err
	}
	d.compare(0, n*tileWidth, leaves, kept)
	if len(leaves) == tileWidth {
		d.levels[0][n] = subtreeRoot(leaves)
	}
	d.f.count(int64(len(leaves)), bytes)
	return nil
}

// hash is the leaf hashes of a bundle, and the bytes of its entries, each of
// which is shown to see.
func (d *derivation) hash(n int64, see func(index int64, leaf []byte)) ([]tlog.Hash, int64, error) {
	bundle, err := d.t.leaves(n)
	if err != nil {
		return nil, 0, err
	}
	count := min(tileWidth, d.size-n*tileWidth)
	bytes := int64(len(bundle)) - 2*count
	leaves := make([]tlog.Hash, 0, count)
	for range count {
		entry, rest, err := cutEntry(bundle)
		if err == nil && len(entry) == 0 {
			err = errors.New("an entry is empty")
		}
		if err != nil {
			return nil, 0, &DamageError{File: d.t.entries.name, Offset: -1, Reason: fmt.Sprintf("bundle %d of %d entries: %v", n, count, err)}
		}
		see(n*tileWidth+int64(len(leaves)), entry)
		leaves, bundle = append(leaves, LeafHash(entry)), rest
	}
	if len(bundle) > 0 {
		return nil, 0, &DamageError{File: d.t.entries.name, Offset: -1, Reason: fmt.Sprintf("bundle %d of %d entries goes on for %d bytes", n, count, len(bundle))}
	}
	return leaves, bytes, nil
}

// upper derives the tile levels from 2 on, and compares them and level 1.
func (d *derivation) upper() error {
	for l := 1; ; l++ {
		row := d.levels[l-1]
		if len(row) == 0 {
			return nil
		}
		kept, err := d.t.readLevel(l, 0, len(row))
		if err != nil {
			return err
		}
		d.compare(l, 0, row, kept)
		var above []tlog.Hash
		for ; len(row) >= tileWidth; row = row[tileWidth:] {
			above = append(above, subtreeRoot(row[:tileWidth]))
		}
		d.levels = append(d.levels, above)
	}
}

// erasedBy notes an entry that says what a purge erased.
func (d *derivation) erasedBy(index int64, leaf []byte) {
	p, ok := erasedIn(leaf)
	if !ok {
		return
	}
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	d.f.erased = append(d.f.erased, purgeRecord{Purge: p, At: Position{d.t.name, index}})
}

func (d *derivation) compare(level int, first int64, derived []tlog.Hash, kept []byte) {
	for i, h := range derived {
		at := i * tlog.HashSize
		if k := tlog.Hash(kept[at : at+tlog.HashSize]); k != h {
			n := first + int64(i)
			entry := (n+1)<<(level*tileHeight) - 1 // the last under the hash
			d.f.problem(d.t.name, entry, packName(d.t.name, levelFile(level)), "hash %d (byte %d) is %s, but what %s holds hashes to %s", n, n*tlog.HashSize, hashText(k), d.t.entries.name, hashText(h))
		}
	}
}

// root is the derived root of the first size entries.
func (d *derivation) root(size int64) (tlog.Hash, error) {
	return tlog.TreeHash(size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, n := tlog.SplitStoredHashIndex(index)
			height := level % tileHeight
			row, err := d.at(level/tileHeight, n<<height, 1<<height)
			if err != nil {
				return nil, err
			}
			out[i] = subtreeRoot(row)
		}
		return out, nil
	}))
}

// at is count derived hashes of a tile level, all of them in one tile.
func (d *derivation) at(level int, first int64, count int) ([]tlog.Hash, error) {
	if level > 0 {
		return d.levels[level-1][first : first+int64(count)], nil
	}
	if n := first / tileWidth; d.row != n+1 {
		leaves, _, err := d.hash(n, func(int64, []byte) {})
		if err != nil {
			return nil, err
		}
		d.leaves, d.row = leaves, n+1
	}
	return d.leaves[first%tileWidth : first%tileWidth+int64(count)], nil
}

// subtreeRoot is the root over a power of two of hashes.
func subtreeRoot(row []tlog.Hash) tlog.Hash {
	hashes := append(make([]tlog.Hash, 0, tileWidth), row...)
	for n := len(hashes) / 2; n > 0; n /= 2 {
		for i := range n {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0]
}

// signedHead is a signed checkpoint and the file it stands in.
type signedHead struct {
	Checkpoint
	file string
}
