package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// written is what the committer hands on: requests that are durable, or,
// where a segment was begun, the place of its beginning.
type written struct {
	requests []*request
	hashing  *hashing // nil where all was hashed before
	last     chain
	begun    uint64     // number of the segment begun; 0 if none
	clear    chan error // told when nothing is left of what was before that segment
}

// wanted is a segment that the committer will need.
type wanted struct {
	number uint64
	size   int64
}

// made is what came of it.
type made struct {
	segment segment
	err     error
}

// commit is the committer: it gathers what waits, gives each entry its index,
// makes the whole durable by one write and one fsync, and answers the callers.
// It ends when requests is closed.
func (l *Ledger) commit() {
	defer close(l.written)
	defer close(l.wanted)
	defer close(l.toHash)
	asked := false // for the next segment
	ask := func() {
		if !asked {
			l.wanted <- wanted{l.journal.segment.header.number + 1, l.spares.after(l.journal.segment.size)}
			asked = true
		}
	}
	for first := range l.requests {
		group := l.gather(l.free.get(), first)
		if len(group) == 0 {
			continue
		}
		if lost := l.lost.Load(); lost != nil {
			l.refuse(group, lost)
			continue
		}
		if !l.journal.fits(group) && l.journal.offset > segmentHeaderSize {
			ask()
			if err := l.rotate(); err != nil {
				l.refuse(group, l.lose("beginning "+segmentName(l.journal.segment.header.number+1), err))
				continue
			}
			asked = false
			l.written <- written{last: l.journal.last, begun: l.journal.segment.header.number}
		}
		setFences(group)
		if err := l.prepareKeys(group); err != nil {
			l.refuse(group, l.lose("making a key of payloads", err))
			continue
		}
		sequence(group)
		hashing := l.hashSoon(group)
		if err := l.journal.write(group); err != nil {
			hashing.finish() // nobody may use the requests again before
			l.refuse(group, l.lose(fmt.Sprintf("writing group %d to %s", l.journal.last.number+1, segmentName(l.journal.segment.header.number)), err))
			continue
		}
		l.spares.filled.Store(l.journal.offset * allFilled / l.journal.segment.size)
		if l.spares.due(l.journal.offset, l.journal.segment.size) {
			ask()
		}
		clear := clearing(group)
		acknowledge(group)
		l.written <- written{requests: group, hashing: hashing, last: l.journal.last}
		for turn := 0; clear != nil && turn < 2; turn++ {
			// A segment that was asked for before may be made of an old one.
			again := asked && turn == 0
			ask()
			if err := l.rotate(); err != nil {
				clear <- l.lose("beginning "+segmentName(l.journal.segment.header.number+1), err)
				break
			}
			asked = false
			w := written{last: l.journal.last, begun: l.journal.segment.header.number}
			if !again {
				w.clear, clear = clear, nil
			}
			l.written <- w
		}
	}
}

// setFences dates what comes after the fences in a group.
func setFences(group []*request) {
	for _, r := range group {
		if t := r.fence; t != nil {
			t.received = max(t.received, r.fenceAt)
			t.key = nil // read anew, and not kept beyond a purge
		}
	}
}

// clearing is who in a group has the journal cleared, if anybody has.
func clearing(group []*request) (who chan error) {
	for _, r := range group {
		if r.clear != nil {
			who = r.clear // there is one purge at a time
		}
	}
	return who
}

// rotate goes on to the next segment, which was asked for a while ago.
func (l *Ledger) rotate() error {
	l.spares.hurry()
	next := <-l.made
	if next.err != nil {
		return next.err
	}
	return l.journal.begin(next.segment)
}

// prepare makes segments beside the committer, so that a rotation costs it
// nothing.
func (l *Ledger) prepare() {
	defer close(l.made)
	for w := range l.wanted {
		m := made{err: l.Err()}
		if m.err == nil {
			m.segment, m.err = l.spares.make(w.number, w.size)
		}
		l.made <- m
	}
}

// gather takes first and whatever else waits, up to a group's size.
func (l *Ledger) gather(group []*request, first *request) []*request {
	size := 0
	take := func(r *request) {
		if r.state.CompareAndSwap(requestWaiting, requestTaken) {
			group = append(group, r)
			size += len(r.body)
		}
	}
	take(first)
	for size < groupBytes {
		select {
		case r, ok := <-l.requests:
			if !ok {
				return group
			}
			take(r)
		default:
			return group
		}
	}
	return group
}

// groupPool keeps the slices of groups for the next use.
type groupPool chan []*request

func (p groupPool) get() []*request {
	select {
	case g := <-p:
		return g
	default:
		return nil
	}
}

func (p groupPool) put(g []*request) {
	clear(g)
	select {
	case p <- g[:0]:
	default:
	}
}

// prepareKeys gives each run with payloads its day, by the clock now unless the
// log was later before, and the day's key.
func (l *Ledger) prepareKeys(group []*request) error {
	now := int64(-1)
	for _, r := range group {
		if len(r.commitments) == 0 {
			continue
		}
		if now < 0 {
			now = max(0, l.now().UnixNano())
		}
		for i := range r.runs {
			run := &r.runs[i]
			if run.payloads == 0 {
				continue
			}
			t := run.tree
			t.received = max(t.received, now)
			if err := t.useKey(l.fsys, dayOf(time.Unix(0, t.received))); err != nil {
				return err
			}
			run.key, run.received = t.key, now
		}
	}
	return nil
}

// sequence gives each run its first index, by the order of the group alone.
func sequence(group []*request) {
	for _, r := range group {
		for i := range r.runs {
			run := &r.runs[i]
			run.first = run.tree.next
			run.tree.next += int64(run.count)
			binary.BigEndian.PutUint64(r.body[run.indexAt:], uint64(run.first))
			if run.payloads > 0 {
				h := r.body[run.indexAt+runHeaderSize:]
				binary.BigEndian.PutUint32(h, uint32(run.key.day))
				binary.BigEndian.PutUint64(h[4:], uint64(run.received))
			}
		}
	}
}

// acknowledge answers the callers of a group that is durable. Who reads a log
// from here on is made to wait for the integrator as far as need be.
func acknowledge(group []*request) {
	for _, r := range group {
		for i := range r.runs {
			r.runs[i].tree.durable.Store(r.runs[i].first + int64(r.runs[i].count))
		}
	}
	for _, r := range group {
		r.done <- nil
	}
}

func (l *Ledger) refuse(group []*request, err error) {
	for _, r := range group {
		r.done <- err
		l.pool.letGo(r)
	}
}

// integrate takes durable requests into the trees in the journal's order. It
// runs beside the committer, so that hashing and the next fsync overlap.
func (l *Ledger) integrate() {
	defer close(l.flushes)
	defer close(l.due)
	for w := range l.written {
		if w.begun > 0 {
			l.flushes <- place{w.last, w.begun, w.clear}
			continue
		}
		l.reached.Store(w.last.number)
		w.hashing.finish()
		for _, r := range w.requests {
			l.integrateRequest(r)
			l.pool.letGo(r)
		}
		l.free.put(w.requests)
	}
}

func (l *Ledger) integrateRequest(r *request) {
	for i := range r.runs {
		run := &r.runs[i]
		more := addition{entries: r.body[run.entries:run.end], leaves: r.leaves[run.leaf : run.leaf+run.count]}
		if run.payloads > 0 {
			more.payloads, more.commitments = r.body[run.payloads:run.payloadsEnd], r.commitments[run.leaf:run.leaf+run.count]
			more.key, more.received = run.key, run.received
		}
		if waiting := run.tree.add(more); waiting >= flushBytes {
			l.flushSoon(run.tree, waiting)
		}
	}
}

// flushSoon has a flusher move what waits of a log to its files. Where the
// flushers do not keep up the integrator does it itself, which slows the
// committer down.
func (l *Ledger) flushSoon(t *tree, waiting int) {
	if waiting < 16*flushBytes {
		if t.queued.Swap(true) {
			return
		}
		select {
		case l.due <- t:
			return
		default:
			t.queued.Store(false)
		}
	}
	l.flushOne(t)
}

// flushDue is a flusher: compressing and writing go on beside integrating.
func (l *Ledger) flushDue() {
	for t := range l.due {
		t.queued.Store(false)
		l.flushOne(t)
	}
}

func (l *Ledger) flushOne(t *tree) {
	if l.lost.Load() != nil {
		return
	}
	if err := t.flush(l.fsys, false); err != nil {
		l.lose("writing the files of log "+t.name, err)
	}
}

// lose ends all writing and gives the error that every Append answers from
// now on, which is that of the first failure.
func (l *Ledger) lose(doing string, cause error) *LostError {
	var already *LostError
	if errors.As(cause, &already) {
		return already
	}
	l.lost.CompareAndSwap(nil, &LostError{Doing: doing, Cause: cause})
	return l.lost.Load()
}
