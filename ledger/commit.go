package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// written is what the committer hands on: requests that are durable, then,
// where a segment was begun, the order to let go of those before it.
type written struct {
	requests []*request
	last     chain
	begun    uint64 // number of the segment begun after them; 0 if none
}

// commit is the committer: it gathers what waits, gives each entry its index,
// and makes the whole durable by one write and one fsync. It ends when
// requests is closed.
func (l *Ledger) commit() {
	defer close(l.written)
	for first := range l.requests {
		group := l.gather(first)
		if len(group) == 0 {
			continue
		}
		if lost := l.lost.Load(); lost != nil {
			refuse(group, lost)
			continue
		}
		sequence(group)
		if err := l.journal.write(group); err != nil {
			refuse(group, l.lose(fmt.Sprintf("writing group %d to %s", l.journal.last.number+1, segmentName(l.journal.header.number)), err))
			continue
		}
		w := written{requests: group, last: l.journal.last}
		if l.journal.offset >= l.segmentBytes {
			next := l.journal.header.number + 1
			if err := l.journal.begin(next); err != nil {
				l.lose("beginning "+segmentName(next), err)
			} else {
				w.begun = next
			}
		}
		l.written <- w
	}
}

// gather takes first and whatever else waits, up to a group's size.
func (l *Ledger) gather(first *request) []*request {
	var group []*request
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

// sequence gives each run its first index, by the order of the group alone.
func sequence(group []*request) {
	for _, r := range group {
		for i := range r.runs {
			run := &r.runs[i]
			run.first = run.tree.next
			run.tree.next += int64(run.count)
			binary.BigEndian.PutUint64(r.body[run.indexAt:], uint64(run.first))
		}
	}
}

func refuse(group []*request, err error) {
	for _, r := range group {
		r.positions = nil
		r.done <- err
	}
}

// integrate takes durable requests into the trees in the journal's order and
// answers their callers. It runs beside the committer, so that hashing and
// the next fsync overlap.
func (l *Ledger) integrate() {
	defer close(l.flushes)
	for w := range l.written {
		for _, r := range w.requests {
			leaves := r.leaves
			for _, run := range r.runs {
				waiting := run.tree.add(r.body[run.entries:run.end], leaves[:run.count])
				leaves = leaves[run.count:]
				if waiting >= flushBytes && l.lost.Load() == nil {
					if err := run.tree.flush(l.fsys); err != nil {
						l.lose("writing the files of log "+run.tree.name, err)
					}
				}
				for i := range run.count {
					r.positions = append(r.positions, Position{run.tree.name, run.first + int64(i)})
				}
			}
			r.done <- nil
		}
		if w.begun > 0 {
			l.flushes <- l.pointAt(w.last, w.begun)
		}
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
