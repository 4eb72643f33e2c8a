package ledger

import (
	"sync"
	"sync/atomic"
)

// hashing is the hashing of a group's entries with payloads, which has to wait
// for their indexes. It is begun before the group is written, so that it goes
// on while the disk works; the integrator takes part in what is left.
type hashing struct {
	requests []*request
	next     atomic.Int64
	left     sync.WaitGroup
}

// hashSoon has the hashers begin with a sequenced group; nil where nothing
// waits to be hashed.
func (l *Ledger) hashSoon(group []*request) *hashing {
	h := &hashing{}
	for _, r := range group {
		if len(r.commitments) > 0 {
			h.requests = append(h.requests, r)
		}
	}
	if len(h.requests) == 0 {
		return nil
	}
	h.left.Add(len(h.requests))
	for range l.hashers {
		select {
		case l.toHash <- h:
		default:
		}
	}
	return h
}

// hashDue is a hasher.
func (l *Ledger) hashDue() {
	for h := range l.toHash {
		h.work()
	}
}

func (h *hashing) work() {
	for {
		n := int(h.next.Add(1)) - 1
		if n >= len(h.requests) {
			return
		}
		h.requests[n].hash()
		h.left.Done()
	}
}

// finish hashes what nobody has begun with and waits for the rest.
func (h *hashing) finish() {
	if h == nil {
		return
	}
	h.work()
	h.left.Wait()
}

// hash fills in the commitments and leaf hashes of the entries with payloads.
func (r *request) hash() {
	for i := range r.runs {
		run := &r.runs[i]
		if run.payloads > 0 {
			at, end := run.leaf, run.leaf+run.count
			run.key.derive(run.first, r.body[run.entries:run.end], r.body[run.payloads:run.payloadsEnd], r.leaves[at:end], r.commitments[at:end])
		}
	}
}
