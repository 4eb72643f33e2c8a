// Package ledger keeps verifiable logs: named sequences of entries, each the
// leaves of an RFC 6962 Merkle tree whose head is signed now and then as a
// checkpoint (c2sp.org/tlog-checkpoint).
//
// An append goes to the journal, which serves all logs: what callers bring at
// the same time is gathered into one group, written and synced once. From
// there the entries are taken into each log's own files, which are derived
// and may lag behind; recovery cuts them to where they were known to be
// durable and replays the journal. A directory holds:
//
//	lock                    held by the process that writes
//	journal/0000000007.seg  groups, see group.go and spare.go
//	flushed.json            how far the files below are durable
//	logs/NAME/level-L       tile hashes, entries, entries.idx: see tree.go
//	payloads/NAME/DAY.*     what entries commit to: see payload.go, store.go
//	purges.jsonl            the purges, which are entries too: see erase.go
//	signed.jsonl            the last checkpoint of each log, kept apart
//	history.jsonl           earlier checkpoints
//	snapshots/NAME.snap     states folded from the logs, see snapshot.go
//
// Verification needs none of that: VerifyProof, OpenCheckpoint,
// CheckConsistency and Excerpt.Verify are functions of their arguments.
package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trustpack/internal/durable"
)

// Options say how to open a ledger.
type Options struct {
	Instance   string           // a log's origin is Instance + "/" + its name
	Seed       []byte           // 32-byte Ed25519 seed that signs checkpoints; OpenReadOnly can do without
	Extensions []string         // extension lines signed into each checkpoint, such as "sample=true clock=simulated"
	Now        func() time.Time // dates checkpoints in the history and payloads; nil is time.Now

	fsys         durable.FS // nil is the disk
	flushLag     int        // segments the logs' files may be behind; 0 is defaultLag
	segmentBytes int64      // length of every segment; 0 is firstSegment growing to defaultSegment
}

// On gives the options for a ledger on that file system instead of the disk's.
// It has no lock, which is for whoever gave it to see to.
func (o Options) On(fsys durable.FS) Options {
	o.fsys = fsys
	return o
}

const (
	defaultSegment = 32 << 20

	// defaultLag spares syncs: each bringing up of the logs' files costs a few
	// for each log, which so many segments share.
	defaultLag = 6
)

// Ledger is an open ledger. Its methods may be called from many goroutines.
type Ledger struct {
	dir      string
	fsys     durable.FS
	options  Options
	now      func() time.Time
	readOnly bool
	lock     *durable.Lock
	recovery Recovery
	seen     func(run) error // where set, gets the runs that replay passes over

	mu     sync.RWMutex // guards logs and closed
	logs   map[string]*tree
	closed bool

	inflight sync.WaitGroup // Appends
	pool     requestPool
	free     groupPool
	packer   *packer
	buffers  bufferPool
	lost     atomic.Pointer[LostError]
	unkept   atomic.Bool   // a purge may be in the journal and not in purgesFile
	reached  atomic.Uint64 // the last group of which the integrator took in anything

	purging sync.Mutex    // held by who purges; guards purges
	purges  []purgeRecord // that stand in the logs, in order
	begun   []purgeRecord // on opening: those whose entry may not stand in the log
	passed  Position      // on opening: of the last entry that replay saw

	signing sync.Mutex // held by who makes checkpoints; guards the two files
	signed  recordFile
	history recordFile

	journal  journal // the committer's
	spares   *spares
	requests chan *request
	written  chan written
	wanted   chan wanted
	made     chan made
	toHash   chan *hashing
	hashers  int
	due      chan *tree // logs to be flushed
	flushers sync.WaitGroup
	flushes  chan place
	kept     chan struct{} // closed when the keeper has ended
}

// Recovery is what Open found and did.
type Recovery struct {
	Groups  int    // groups replayed from the journal
	Entries int64  // entries in them
	CutFile string // segment whose torn end was cut off; empty if none was
	CutAt   int64  // offset of the cut
	Cut     int64  // bytes cut off, none of which had been acknowledged
}

// Open opens the ledger in dir to append to it, making dir if it is not
// there, and holds it against every other opener until Close. A torn end of
// the journal is cut off; other damage is a *DamageError, and entries missing
// under a signed checkpoint a *ContradictionError, and then nothing has been
// changed. A directory in use gives a *durable.LockedError.
func Open(dir string, o Options) (*Ledger, error) {
	if len(o.Seed) != SeedSize {
		return nil, fmt.Errorf("opening ledger %s: signing seed is %d bytes long, want %d", dir, len(o.Seed), SeedSize)
	}
	l, err := newLedger(dir, o)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirIn(l.fsys, dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	if l.isDisk() {
		if l.lock, err = durable.LockDir(dir); err != nil {
			return nil, fmt.Errorf("opening ledger: %w", err)
		}
	}
	end, err := l.load()
	if err == nil {
		err = l.takeOver(end)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger %s: %w", dir, err), l.release())
	}
	l.requests = make(chan *request, 256)
	l.written = make(chan written, 4)
	l.free = make(groupPool, 8)
	l.wanted = make(chan wanted, 1)
	l.made = make(chan made, 1)
	l.flushes = make(chan place, 1)
	l.due = make(chan *tree, 64)
	l.kept = make(chan struct{})
	l.hashers = max(1, runtime.GOMAXPROCS(0)/2)
	l.toHash = make(chan *hashing, 4*l.hashers)
	for range l.hashers {
		l.flushers.Go(l.hashDue)
	}
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		l.flushers.Go(l.flushDue)
	}
	go l.prepare()
	go l.commit()
	go l.integrate()
	go l.keep()
	return l, nil
}

// OpenReadOnly opens the ledger in dir, or a copy of one, and writes nothing.
// While a process appends to it the error is a *durable.LockedError.
func OpenReadOnly(dir string, o Options) (*Ledger, error) {
	l, err := newLedger(dir, o)
	if err != nil {
		return nil, err
	}
	l.readOnly = true
	if l.isDisk() {
		if l.lock, err = durable.LockDirShared(dir); err != nil {
			return nil, fmt.Errorf("opening ledger: %w", err)
		}
	}
	if _, err := l.fsys.ReadDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger: %w", err), l.release())
	}
	if _, err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger %s: %w", dir, err), l.release())
	}
	return l, nil
}

func newLedger(dir string, o Options) (*Ledger, error) {
	l := &Ledger{dir: dir, fsys: o.fsys, options: o, now: o.Now, logs: map[string]*tree{}, buffers: make(bufferPool, 512)}
	var err error
	if l.packer, err = newPacker(); err != nil {
		return nil, err
	}
	if l.fsys == nil {
		l.fsys = durable.Disk{}
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.signed = recordFile{fsys: l.fsys, dir: dir, name: signedFile}
	l.history = recordFile{fsys: l.fsys, dir: dir, name: historyFile}
	l.spares = newSpares(l.fsys, dir, o.segmentBytes)
	if err := checkOrigin(o.Instance); err != nil {
		return nil, fmt.Errorf("opening ledger %s: instance: %w", dir, err)
	}
	for _, line := range o.Extensions {
		if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
			return nil, fmt.Errorf("opening ledger %s: extension line %q: want text without control characters", dir, line)
		}
	}
	return l, nil
}

func (l *Ledger) isDisk() bool {
	_, ok := l.fsys.(durable.Disk)
	return ok
}

// Recovery says what Open found and did.
func (l *Ledger) Recovery() Recovery { return l.recovery }

// Err is nil while the ledger can append, and the *LostError after a durable
// write failed.
func (l *Ledger) Err() error {
	if lost := l.lost.Load(); lost != nil {
		return lost
	}
	return nil
}

// Close waits for the appends under way, brings the files up to the journal
// and lets go of the directory. After a LostError it returns that error.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	if l.readOnly {
		return l.release()
	}
	l.inflight.Wait()
	l.spares.hurry()
	close(l.requests)
	<-l.kept
	l.flushers.Wait()
	unused := <-l.made // nothing if no segment was asked for in vain
	err := unused.segment.close()
	if l.lost.Load() == nil {
		if err := l.finish(unused.segment.header.number); err != nil {
			l.lose("bringing the logs' files up to the journal", err)
		}
	}
	return errors.Join(l.Err(), err, l.release())
}

// finish leaves nothing in the journal that the logs' files do not hold, and
// no more space taken than is needed. unused is the number of a segment that
// was made ahead; 0 if none was.
func (l *Ledger) finish(unused uint64) error {
	if err := l.flushTo(place{before: l.journal.begun, segment: l.journal.segment.header.number}, 0); err != nil {
		return err
	}
	if unused > 0 {
		if err := l.fsys.Remove(filepath.Join(l.dir, segmentName(unused))); err != nil {
			return err
		}
	}
	if l.signed.length > l.signed.whole {
		if err := l.settleCheckpoints(); err != nil {
			return err
		}
	}
	return l.journal.trim()
}

// release closes every file and unlocks the directory.
func (l *Ledger) release() error {
	errs := []error{l.journal.segment.close(), l.signed.close(), l.history.close()}
	for _, t := range l.trees() {
		for _, p := range t.packs() {
			errs = append(errs, p.close())
		}
		errs = append(errs, t.payloads.close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Unlock())
	}
	return errors.Join(errs...)
}

// treeFor gives the log of that name, new and empty if there was none.
func (l *Ledger) treeFor(name string) (*tree, error) {
	l.mu.RLock()
	t, ok := l.logs[name]
	l.mu.RUnlock()
	if ok {
		return t, nil
	}
	if err := CheckLogName(name); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.logs[name]; ok {
		return t, nil
	}
	t = newTree(l.dir, name, l.packer, l.buffers)
	l.logs[name] = t
	return t, nil
}

// find gives the log of that name if it has been used, with all that was
// acknowledged in it.
func (l *Ledger) find(name string) (*tree, error) {
	l.mu.RLock()
	t, ok := l.logs[name]
	closed := l.closed
	l.mu.RUnlock()
	switch {
	case closed:
		return nil, ErrClosed
	case !ok:
		return nil, fmt.Errorf("log %q: %w", name, ErrNotFound)
	}
	t.await()
	return t, nil
}

// trees lists the logs by name.
func (l *Ledger) trees() []*tree {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]*tree, 0, len(l.logs))
	for _, t := range l.logs {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tree) int { return strings.Compare(a.name, b.name) })
	return out
}
