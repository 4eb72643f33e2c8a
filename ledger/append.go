package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// Entry is one entry for one log.
type Entry struct {
	Log  string // [a-z0-9][a-z0-9-]{0,62}; a log begins with its first entry
	Data []byte // 1 to 65,535 bytes

	// Payload is what the entry commits to and a purge can erase, up to 65,535
	// bytes; empty is none. With one, Data is a JSON object without a member
	// "payload", of at most 65,458 bytes: the leaf, which is what the tree
	// hashes and reading gives, has that member at its end, the hex of
	// SHA-256(salt || Payload). See payload.go.
	Payload []byte
}

// Position is where an entry stands.
type Position struct {
	Log   string
	Index int64 // from 0
}

const (
	maxBatchBytes = 64 << 20 // of one Append
	groupBytes    = 4 << 20  // a group takes no more requests beyond this
	maxKeptBuffer = 1 << 20  // larger buffers are not kept for the next use
)

// request is one Append on its way to the disk. Its states keep one that the
// caller has given up from being written. The caller is answered as soon as
// it is durable, while the integrator may still have to take it in: who is
// the last to let go of it puts it back into the pool.
type request struct {
	body   []byte // runs, whose indexes the committer fills in
	leaves []tlog.Hash
	runs   []requestRun
	state  atomic.Int32
	held   atomic.Int32 // by how many
	done   chan error

	// commitments are as many as leaves where an entry has a payload, else
	// none. They and the leaves of such entries follow from the index: who
	// hashes fills them in.
	commitments []commitment

	// What a purge asks of the committer: that payloads of a log be dated so
	// late at least, and that the journal be cleared, see erase.
	fence   *tree
	fenceAt int64
	clear   chan error
}

type requestRun struct {
	tree    *tree
	indexAt int // offset in body of the run's index, u64
	leaf    int // place of the first entry in leaves
	count   int
	entries int // offset in body where the entries begin
	end     int
	first   int64

	// Where an entry of the run has a payload: the offset at which the
	// payloads begin and end, and what the committer decided.
	payloads    int
	payloadsEnd int
	key         *payloadKey
	received    int64 // Unix time in nanoseconds
}

const (
	requestWaiting int32 = iota
	requestTaken
	requestGivenUp
)

type requestPool struct{ sync.Pool }

func (p *requestPool) get() *request {
	if r, ok := p.Get().(*request); ok {
		return r
	}
	return &request{done: make(chan error, 1)}
}

func (p *requestPool) put(r *request) {
	if cap(r.body) > maxKeptBuffer {
		return
	}
	clear(r.runs)
	r.body, r.leaves, r.runs, r.commitments = r.body[:0], r.leaves[:0], r.runs[:0], r.commitments[:0]
	r.fence, r.clear = nil, nil
	r.state.Store(requestWaiting)
	p.Put(r)
}

// letGo ends one holder's use of r.
func (p *requestPool) letGo(r *request) {
	if r.held.Add(-1) == 0 {
		p.put(r)
	}
}

// Append puts the entries into their logs, all of them or none, and returns
// where they stand once they are durable. Entries of one call that go to the
// same log follow one another in the order given.
//
// When ctx ends before the entries were taken up for writing nothing is
// appended and its error is returned; after that Append waits for the outcome.
// After a failed write every Append returns an ErrJournalLost.
func (l *Ledger) Append(ctx context.Context, entries ...Entry) ([]Position, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	return l.AppendTo(ctx, make([]Position, 0, len(entries)), entries)
}

// AppendTo is Append that puts the positions behind those it is given, and so
// allocates nothing where there is room. After an error there are none.
func (l *Ledger) AppendTo(ctx context.Context, positions []Position, entries []Entry) ([]Position, error) {
	if len(entries) == 0 {
		return positions, nil
	}
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.inflight.Done()
	r := l.pool.get()
	if err := l.encode(r, entries); err != nil {
		l.pool.put(r)
		return nil, err
	}
	return l.submit(ctx, r, positions)
}

// submit hands r to the committer and waits for the outcome.
func (l *Ledger) submit(ctx context.Context, r *request, positions []Position) ([]Position, error) {
	r.held.Store(2)
	select {
	case l.requests <- r:
	case <-ctx.Done():
		l.pool.put(r)
		return nil, fmt.Errorf("appending: %w", context.Cause(ctx))
	}
	var err error
	select {
	case err = <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(requestWaiting, requestGivenUp) {
			return nil, fmt.Errorf("appending: %w", context.Cause(ctx))
		}
		err = <-r.done
	}
	if err == nil {
		for _, run := range r.runs {
			for i := range run.count {
				positions = append(positions, Position{run.tree.name, run.first + int64(i)})
			}
		}
	} else {
		positions = nil
	}
	l.pool.letGo(r)
	return positions, err
}

// enter counts the caller in, so that Close waits for it.
func (l *Ledger) enter() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.closed:
		return ErrClosed
	case l.readOnly:
		return ErrReadOnly
	}
	if lost := l.lost.Load(); lost != nil {
		return lost
	}
	l.inflight.Add(1)
	return nil
}

// encode checks the entries, writes them as runs and hashes them, save for
// those with a payload: all the work that needs no order.
func (l *Ledger) encode(r *request, entries []Entry) error {
	var room [runHeaderSize + payloadHeaderSize]byte
	anyPayload := false
	for i := 0; i < len(entries); {
		name := entries[i].Log
		t, err := l.treeFor(name)
		if err != nil {
			return fmt.Errorf("appending entry %d: %w", i, err)
		}
		end, withPayload := i, false
		for ; end < len(entries) && entries[end].Log == name; end++ {
			withPayload = withPayload || len(entries[end].Payload) > 0
		}
		kind, header := byte(0), runHeaderSize
		if withPayload {
			kind, header, anyPayload = runPayloads, runHeaderSize+payloadHeaderSize, true
		}
		r.body = append(r.body, byte(len(name))|kind)
		r.body = append(r.body, name...)
		at := len(r.body)
		r.body = append(r.body, room[:header]...)
		run := requestRun{tree: t, indexAt: at, leaf: len(r.leaves), count: end - i, entries: at + header}
		for ; i < end; i++ {
			if err := r.encodeEntry(&entries[i]); err != nil {
				return fmt.Errorf("appending entry %d to %s: %w", i, name, err)
			}
		}
		run.end = len(r.body)
		binary.BigEndian.PutUint32(r.body[at+8:], uint32(run.count))
		binary.BigEndian.PutUint32(r.body[at+12:], uint32(run.end-run.entries))
		if withPayload {
			run.payloads = run.end
			for _, e := range entries[end-run.count : end] {
				r.body = appendEntry(r.body, e.Payload)
			}
			run.payloadsEnd = len(r.body)
			binary.BigEndian.PutUint32(r.body[at+runHeaderSize+12:], uint32(run.payloadsEnd-run.payloads))
		}
		if len(r.body) > maxBatchBytes {
			return fmt.Errorf("appending: the %d entries of one call are more than %d bytes together", len(entries), maxBatchBytes)
		}
		r.runs = append(r.runs, run)
	}
	if anyPayload {
		r.commitments = slices.Grow(r.commitments[:0], len(r.leaves))[:len(r.leaves)]
		clear(r.commitments)
	}
	return nil
}

// encodeEntry writes an entry's data and keeps a place for its leaf hash.
func (r *request) encodeEntry(e *Entry) error {
	size := len(e.Data)
	if size == 0 || size > maxEntry {
		return fmt.Errorf("it has %d bytes, want 1 to %d", size, maxEntry)
	}
	if len(r.body)+size > maxBatchBytes {
		return fmt.Errorf("the entries of one call are more than %d bytes together", maxBatchBytes)
	}
	r.body = appendEntry(r.body, e.Data)
	if len(e.Payload) == 0 {
		r.leaves = append(r.leaves, hashLast(r.body, size))
		return nil
	}
	r.leaves = append(r.leaves, tlog.Hash{})
	return checkPayload(e.Data, e.Payload)
}

// appendEntry appends an entry as a bundle holds it.
func appendEntry(bundle, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(data))), data...)
}

// hashLast is the leaf hash of the entry of size bytes at the end of bundle.
// The byte before the data is lent to the leaf prefix, which saves a copy.
func hashLast(bundle []byte, size int) tlog.Hash {
	leaf := bundle[len(bundle)-size-1:]
	low := leaf[0]
	leaf[0] = 0
	h := tlog.Hash(sha256.Sum256(leaf))
	leaf[0] = low
	return h
}
