package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// Entry is one entry for one log.
type Entry struct {
	Log  string // [a-z0-9][a-z0-9-]{0,62}; a log begins with its first entry
	Data []byte // 1 to 65,535 bytes
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
}

type requestRun struct {
	tree    *tree
	indexAt int // offset in body of the run's index, u64
	count   int
	entries int // offset in body where the entries begin
	end     int
	first   int64
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
	r.body, r.leaves, r.runs = r.body[:0], r.leaves[:0], r.runs[:0]
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

// encode checks the entries, writes them as runs and hashes them: all the
// work that needs no order.
func (l *Ledger) encode(r *request, entries []Entry) error {
	var room [16]byte // for index, count and length
	for i := 0; i < len(entries); {
		name := entries[i].Log
		t, err := l.treeFor(name)
		if err != nil {
			return fmt.Errorf("appending entry %d: %w", i, err)
		}
		r.body = append(r.body, byte(len(name)))
		r.body = append(r.body, name...)
		at := len(r.body)
		r.body = append(r.body, room[:]...)
		run := requestRun{tree: t, indexAt: at, entries: at + 16}
		for ; i < len(entries) && entries[i].Log == name; i++ {
			size := len(entries[i].Data)
			if size == 0 || size > maxEntry {
				return fmt.Errorf("appending entry %d to %s: it has %d bytes, want 1 to %d", i, name, size, maxEntry)
			}
			if len(r.body)+size > maxBatchBytes {
				return fmt.Errorf("appending: the %d entries of one call are more than %d bytes together", len(entries), maxBatchBytes)
			}
			r.body = appendEntry(r.body, entries[i].Data)
			r.leaves = append(r.leaves, hashLast(r.body, size))
			run.count++
		}
		run.end = len(r.body)
		binary.BigEndian.PutUint32(r.body[at+8:], uint32(run.count))
		binary.BigEndian.PutUint32(r.body[at+12:], uint32(run.end-run.entries))
		r.runs = append(r.runs, run)
	}
	return nil
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
