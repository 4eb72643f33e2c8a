package ledger

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight // hashes of a full tile, entries of a full bundle
	logsDir    = "logs"
)

// tree is one log: its entries and hashes, as derived from the journal.
//
// level-L holds the hashes at tree level 8L one after the other, so that each
// tile of c2sp.org/tlog-tiles is a slice of it; the levels between are hashed
// anew when they are needed. entries holds the entry bundles one after the
// other, and entries.idx the offset (u64) at which each full bundle ends.
type tree struct {
	name   string
	ledger string // directory of the ledger
	dir    string // directory of the log

	// next is the index of the next entry to sequence. The committer owns it.
	next int64

	// durable is the number of entries that were acknowledged or are about to
	// be. The committer writes it; length follows, and grown says so.
	durable atomic.Int64
	grown   *sync.Cond

	// mu guards what follows. flushing is taken before it, and held by who
	// moves bytes from memory to files.
	flushing sync.Mutex
	mu       sync.RWMutex
	length   atomic.Int64 // entries; written under mu
	frontier frontier
	entries  pack
	index    pack
	levels   []*pack

	hasDir   bool  // guarded by flushing, as is
	newFiles bool  // files were made that the directory does not durably hold
	synced   int64 // entries that the files durably hold; the keeper owns it

	checkpoints checkpointStore
}

func newTree(dir, name string) *tree {
	t := &tree{name: name, ledger: dir, dir: filepath.Join(dir, logsDir, name)}
	t.grown = sync.NewCond(t.mu.RLocker())
	t.entries = t.pack("entries")
	t.index = t.pack("entries.idx")
	return t
}

func (t *tree) pack(file string) pack {
	return pack{dir: t.ledger, name: filepath.Join(logsDir, t.name, file)}
}

func (t *tree) level(l int) *pack {
	for len(t.levels) <= l {
		p := t.pack("level-" + strconv.Itoa(len(t.levels)))
		t.levels = append(t.levels, &p)
	}
	return t.levels[l]
}

// packs lists the files. The caller holds mu.
func (t *tree) packs() []*pack {
	return append([]*pack{&t.entries, &t.index}, t.levels...)
}

func (t *tree) size() int64 { return t.length.Load() }

// add appends the entries of a bundle, whose leaf hashes are given, and gives
// the bytes that now wait in memory.
func (t *tree) add(bundle []byte, leaves []tlog.Hash) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.length.Load()
	for _, leaf := range leaves {
		size := 2 + int(binary.BigEndian.Uint16(bundle))
		t.entries.tail = append(t.entries.tail, bundle[:size]...)
		bundle = bundle[size:]
		t.frontier.push(n, leaf, t.keep)
		n++
		if n%tileWidth == 0 {
			t.index.tail = binary.BigEndian.AppendUint64(t.index.tail, uint64(t.entries.size()))
		}
	}
	t.length.Store(n)
	t.grown.Broadcast()
	return len(t.entries.tail) + len(t.level(0).tail)
}

// await waits until the tree has taken in what was acknowledged before.
func (t *tree) await() {
	want := t.durable.Load()
	if t.length.Load() >= want {
		return
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for t.length.Load() < want {
		t.grown.Wait()
	}
}

func (t *tree) keep(level int, h tlog.Hash) {
	p := t.level(level)
	p.tail = append(p.tail, h[:]...)
}

// head gives the size and root of the tree as it stands.
func (t *tree) head() (int64, tlog.Hash) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.length.Load(), t.frontier.root()
}

// rootAt is the root of the tree of the first size entries, from the hashes
// kept.
func (t *tree) rootAt(size int64) (tlog.Hash, error) {
	if size > t.size() {
		return tlog.Hash{}, fmt.Errorf("log %s has %d entries, not %d: %w", t.name, t.size(), size, ErrNotFound)
	}
	return tlog.TreeHash(size, tlog.HashReaderFunc(t.readHashes))
}

// readHashes is a tlog.HashReader over the level files.
func (t *tree) readHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		h, err := t.subtree(level, n)
		if err != nil {
			return nil, err
		}
		out[i] = h
	}
	return out, nil
}

// subtree is the root of the n-th full subtree of 2^level leaves.
func (t *tree) subtree(level int, n int64) (tlog.Hash, error) {
	height := level % tileHeight
	width := 1 << height // hashes of the tile level below that it spans
	row, err := t.readLevel(level/tileHeight, n<<height, width)
	if err != nil {
		return tlog.Hash{}, err
	}
	hashes := make([]tlog.Hash, width)
	for i := range hashes {
		copy(hashes[i][:], row[i*tlog.HashSize:])
	}
	for ; width > 1; width /= 2 {
		for i := range width / 2 {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0], nil
}

// readLevel reads count hashes of level-l from the first on.
func (t *tree) readLevel(l int, first int64, count int) ([]byte, error) {
	row := make([]byte, count*tlog.HashSize)
	t.mu.RLock()
	if l >= len(t.levels) {
		t.mu.RUnlock()
		return nil, fmt.Errorf("log %s has no hashes at tile level %d: %w", t.name, l, ErrNotFound)
	}
	rest, err := t.levels[l].readAt(row, first*tlog.HashSize)
	t.mu.RUnlock()
	return row, finish(rest, err)
}

// finish runs what readAt left to do.
func finish(rest func() error, err error) error {
	if err != nil || rest == nil {
		return err
	}
	return rest()
}

// restore takes the tree to the state in which its files durably hold length
// entries in entryBytes, and opens them.
func (t *tree) restore(length, entryBytes int64, open func(*pack) error) error {
	t.length.Store(length)
	t.durable.Store(length)
	t.next, t.synced = length, length
	t.entries.flushed = entryBytes
	t.index.flushed = length / tileWidth * 8
	for l := 0; length>>(tileHeight*l) > 0; l++ {
		t.level(l).flushed = length >> (tileHeight * l) * tlog.HashSize
	}
	for _, p := range t.packs() {
		if err := open(p); err != nil {
			return err
		}
	}
	for level := 62; level >= 0; level-- {
		if length>>level&1 == 0 {
			continue
		}
		h, err := t.subtree(level, length>>level-1)
		if err != nil {
			return err
		}
		t.frontier = append(t.frontier, h)
	}
	return nil
}

// bundle reads the bundle of the given number as far as the log had it at
// size entries: at most 256 entries with their lengths before them.
func (t *tree) bundle(number, size int64) ([]byte, error) {
	var start, end int64
	if number > 0 {
		var err error
		if start, err = t.bundleEnd(number - 1); err != nil {
			return nil, err
		}
	}
	full := (number+1)*tileWidth <= size
	if full {
		var err error
		if end, err = t.bundleEnd(number); err != nil {
			return nil, err
		}
	} else {
		t.mu.RLock()
		end = t.entries.size()
		if (number+1)*tileWidth <= t.length.Load() { // filled since size was asked
			t.mu.RUnlock()
			return t.bundle(number, (number+1)*tileWidth)
		}
		t.mu.RUnlock()
	}
	t.mu.RLock()
	there := t.entries.size()
	t.mu.RUnlock()
	if end < start || end-start > tileWidth*(2+maxEntry) || end > there {
		return nil, &DamageError{File: t.index.name, Offset: number * 8, Reason: fmt.Sprintf("bundle %d cannot begin at %d and end at %d", number, start, end)}
	}
	b := make([]byte, end-start)
	t.mu.RLock()
	rest, err := t.entries.readAt(b, start)
	t.mu.RUnlock()
	return b, finish(rest, err)
}

func (t *tree) bundleEnd(number int64) (int64, error) {
	b := make([]byte, 8)
	t.mu.RLock()
	rest, err := t.index.readAt(b, number*8)
	t.mu.RUnlock()
	if err := finish(rest, err); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}
