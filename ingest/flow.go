package ingest

import (
	"errors"
	"fmt"
	"sync"

	"trustpack/ledger"
)

// flow is what one device sends. Its mutex is held from the decision what is
// new until that is durable and noted; a change of the life cycle takes it
// too, so that nothing is accepted after the decision.
//
// A device may have many requests under way. Those that come while an append
// is awaited queue up, and one of them leads: it takes all of them that cannot
// touch each other's numbers through judgement, one append and one noting. So
// they share the wait for the disk, while each is decided on windows in which
// all that came before it stands: one that repeats the numbers of another
// waits for that one's outcome.
type flow struct {
	sync.Mutex

	queue   sync.Mutex // guards what follows
	waiting []*batch   // in order of arrival
	led     bool       // somebody leads, or was told to
}

// turns of a batch that waits.
const (
	turnLead  = iota // take the group that begins with you
	turnEnded        // somebody took you along
)

// maxGroup bounds the requests that go into the log together, and
// maxGroupBytes their bodies.
const (
	maxGroup      = 256
	maxGroupBytes = 2 << 20
)

// errNotLed is the outcome of requests whose leader did not come to its end.
var errNotLed = errors.New("the request that was to make it durable broke off")

// take judges the batch against the device's windows and the clock, makes what
// is new durable, and enters it in windows and books.
func (s *Server) take(b *batch) error {
	b.claim = claimOf(b.events)
	b.err = errNotLed
	f := &b.d.flow
	f.queue.Lock()
	f.waiting = append(f.waiting, b)
	lead := !f.led
	f.led = true
	f.queue.Unlock()
	if lead || <-b.turn == turnLead {
		s.lead(b)
	}
	return b.err
}

// lead takes the group that begins with first, which is the first in the queue.
func (s *Server) lead(first *batch) {
	f := &first.d.flow
	var group []*batch
	defer func() {
		for _, b := range group {
			if b != first {
				b.turn <- turnEnded
			}
		}
		f.handOn()
	}()
	f.Lock()
	defer f.Unlock()
	group = f.next(s.st.window)
	s.takeGroup(group)
}

// handOn makes the next that waits the leader.
func (f *flow) handOn() {
	f.queue.Lock()
	defer f.queue.Unlock()
	if f.led = len(f.waiting) > 0; f.led {
		f.waiting[0].turn <- turnLead
	}
}

// next takes the first batch out of the queue, and those after it that can go
// with it. The caller holds f.
func (f *flow) next(window int64) []*batch {
	f.queue.Lock()
	defer f.queue.Unlock()
	n, size := 1, f.waiting[0].size
	for n < min(len(f.waiting), maxGroup) && size+f.waiting[n].size <= maxGroupBytes && joins(f.waiting[:n], f.waiting[n], window) {
		size += f.waiting[n].size
		n++
	}
	first := f.waiting[0]
	first.group = append(first.group[:0], f.waiting[:n]...)
	left := copy(f.waiting, f.waiting[n:])
	clear(f.waiting[left:])
	f.waiting = f.waiting[:left]
	return first.group
}

// claim is which numbers a batch is about: from low to high of one boot, each
// at most once and in order. A batch of any other kind goes alone.
type claim struct {
	simple    bool
	gapless   bool // every number from low to high
	boot      int64
	low, high int64
}

func claimOf(events []event) claim {
	for i := range events {
		e := &events[i]
		if !e.hasSeq || i > 0 && (e.boot != events[0].boot || e.seq <= events[i-1].seq) {
			return claim{}
		}
	}
	c := claim{simple: true, boot: events[0].boot, low: events[0].seq, high: events[len(events)-1].seq}
	c.gapless = c.high-c.low == int64(len(events)-1)
	return c
}

// joins reports whether b may be judged on the same windows as the group, as
// if what the group brings were not there: whatever becomes of the group, the
// verdict on each number of b is the same. That is so above the group's
// numbers; and below or between them where nothing of it can fall out of the
// window or of the list of holes. The caller holds the flow.
func joins(group []*batch, b *batch, window int64) bool {
	if !b.claim.simple {
		return false
	}
	top, gapless := int64(-1), b.claim.gapless
	for _, g := range group {
		if !g.claim.simple || g.claim.boot != b.claim.boot || g.claim.low <= b.claim.high && b.claim.low <= g.claim.high {
			return false
		}
		top, gapless = max(top, g.claim.high), gapless && g.claim.gapless
	}
	if b.claim.low > top {
		return true
	}
	holes := 0
	if w := b.d.windows[b.claim.boot]; w != nil {
		top, holes = max(top, w.high), len(w.holes)
	}
	return gapless && b.claim.low > top-window && holes+len(group)+1 < maxHoles
}

// takeGroup is one step as seen by every other request of the device:
// decision, append, and the noting of it. Each batch learns its outcome in err.
// The caller holds the flow.
func (s *Server) takeGroup(group []*batch) {
	d, t := group[0].d, group[0].t
	if p := stateProblem(d.record.State); p != nil {
		for _, b := range group {
			b.err = p
		}
		return
	}
	t.gate.RLock()
	defer t.gate.RUnlock()
	defer func() {
		for _, b := range group {
			t.release(b.reserved)
		}
	}()
	first := group[0]
	judged := make([]*batch, 0, len(group))
	for _, b := range group {
		b.from.stamp(s.now())
		if !b.until.IsZero() && !b.from.received.Before(b.until) {
			b.err = problem(CodeExpiredCredential, "it was replaced by another one")
			continue
		}
		if b.err = b.judge(); b.err == nil && !b.n.balanced() {
			b.err = fmt.Errorf("the lines of a request do not balance: %+v", b.n)
		}
		if b.err != nil {
			continue
		}
		judged = append(judged, b)
		first.entries = b.encode(first.entries)
	}
	if len(judged) == 0 {
		return
	}
	change := s.snapshots.begin()
	defer change.end()
	var err error
	if first.positions, err = s.appendTo(first.positions, first.entries); err == nil {
		change.durable = true
		err = s.noteGroup(d, judged, first.positions)
		change.noted = err == nil
	}
	for _, b := range judged {
		b.err = err
	}
}

// noteGroup enters what is durable now, in the order of the log.
func (s *Server) noteGroup(d *device, group []*batch, positions []ledger.Position) error {
	var gaps []bootGap
	for _, b := range group {
		b.found = d.observe(b, positions[0].Index)
		gaps = append(gaps, b.note(positions[0].Index)...)
		positions = positions[len(b.ends):]
	}
	return s.recordGaps(d, gaps)
}
