package ledger

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

const (
	tileHeight = TileHeight
	tileWidth  = TileWidth
	logsDir    = "logs"
)

// tree is one log: its entries and hashes, as derived from the journal.
//
// level-L holds the hashes at tree level 8L one after the other, so that each
// tile of c2sp.org/tlog-tiles is a slice of it; the levels between are hashed
// anew when they are needed. entries holds the entry bundles, compressed, one
// after the other (see bundle.go), and entries.idx the offset (u64) at which
// each full bundle ends.
type tree struct {
	name   string
	ledger string // directory of the ledger
	dir    string // directory of the log

	// next is the index of the next entry to sequence, key that of the day in
	// which payloads are committed, and received when the last one was. The
	// committer owns them.
	next     int64
	key      *payloadKey
	received int64

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
	entries  pack     // its tail is not used, but stored, open and waiting are
	stored   int64    // entries that the file of entries holds
	open     [][]byte // those behind them, by bundle; full ones do not change
	waiting  int      // bytes in open
	index    pack
	levels   []*pack
	payloads payloadStore

	packer   *packer
	buffers  bufferPool
	lastRead atomic.Pointer[read]
	queued   atomic.Bool // for a flusher

	// flushing guards these.
	hasDir   bool
	newFiles bool       // files were made that the directory does not durably hold
	frames   []byte     // memory for compressed bundles
	syncedTo flushedLog // what the files durably hold

	checkpoints checkpointStore
}

func newTree(dir, name string, p *packer, b bufferPool) *tree {
	t := &tree{name: name, packer: p, buffers: b, ledger: dir, dir: filepath.Join(dir, logsDir, name)}
	t.grown = sync.NewCond(t.mu.RLocker())
	t.entries = t.pack("entries")
	t.index = t.pack("entries.idx")
	t.payloads = newPayloadStore(dir, name)
	return t
}

func (t *tree) pack(file string) pack { return pack{dir: t.ledger, name: packName(t.name, file)} }

// packName is the path of a log's file within the ledger's directory.
func packName(log, file string) string { return filepath.Join(logsDir, log, file) }

func levelFile(l int) string { return "level-" + strconv.Itoa(l) }

func (t *tree) level(l int) *pack {
	for len(t.levels) <= l {
		p := t.pack(levelFile(len(t.levels)))
		t.levels = append(t.levels, &p)
	}
	return t.levels[l]
}

// packs lists the files. The caller holds mu.
func (t *tree) packs() []*pack {
	return append([]*pack{&t.entries, &t.index, &t.payloads.commitments}, t.levels...)
}

func (t *tree) size() int64 { return t.length.Load() }

// addition is entries for a tree with what was derived from them.
type addition struct {
	entries []byte // a bundle
	leaves  []tlog.Hash

	// Where an entry has a payload: as many of each.
	payloads    []byte // a bundle
	commitments []commitment
	key         *payloadKey
	received    int64
}

// add appends entries and gives the bytes that now wait in memory.
func (t *tree) add(more addition) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.length.Load()
	t.payloads.add(n, &more, t.buffers)
	bundle := more.entries
	t.waiting += len(bundle)
	size := 0
	for _, leaf := range more.leaves {
		if n%tileWidth == 0 || len(t.open) == 0 {
			t.open = append(t.open, t.buffers.get())
		}
		size += 2 + int(binary.BigEndian.Uint16(bundle[size:]))
		t.frontier.push(n, leaf, t.keep)
		n++
		if n%tileWidth == 0 {
			t.append(bundle[:size])
			bundle, size = bundle[size:], 0
		}
	}
	if size > 0 {
		t.append(bundle)
	}
	t.length.Store(n)
	t.grown.Broadcast()
	return t.waiting + len(t.level(0).tail) + t.payloads.waiting()
}

func (t *tree) append(entries []byte) {
	last := &t.open[len(t.open)-1]
	*last = append(*last, entries...)
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
	return subtreeRoot(hashes), nil
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

// restore takes the tree to the state in which its files durably hold what at
// says, and opens them.
func (t *tree) restore(fsys durable.FS, at flushedLog) error {
	length := at.Size
	t.length.Store(length)
	t.durable.Store(length)
	t.next, t.syncedTo = length, at
	t.entries.flushed, t.stored = at.EntryBytes, length
	if err := t.payloads.restore(fsys, length, at.Payloads); err != nil {
		return err
	}
	t.received = t.payloads.received
	t.index.flushed = length / tileWidth * 8
	for l := 0; length>>(tileHeight*l) > 0; l++ {
		t.level(l).flushed = length >> (tileHeight * l) * tlog.HashSize
	}
	for _, p := range t.packs() {
		if err := p.open(fsys, os.O_RDONLY); err != nil {
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
