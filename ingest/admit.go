package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// batch is one request on its way into the log. It is used again for another
// once its answer is written.
type batch struct {
	s      *Server
	set    *settings // those in force when the request began
	d      *device
	t      *tenant
	from   sender
	size   int // of the body
	texts  []string
	events []event
	lines  []LineReceipt
	marks  map[[2]int64]int // line of each (boot, seq), where numbers do not simply rise

	buf     []byte
	ends    []entryEnd
	made    []int // line of each entry
	first   int64 // index of the first entry
	n       counts
	refusal map[Code]refused

	reserved int // places for dead letters, of the tenant's quota

	sess  *session  // that brought it; nil where none did
	print string    // of the credential that it came with
	found *finding  // that the credential is shared
	until time.Time // from when on its credential is refused; zero where no replacement has set that

	out []byte // the answer

	claim claim
	turn  chan int // see flow
	err   error    // the outcome

	// Of the whole group that the batch leads.
	group     []*batch
	entries   []ledger.Entry
	positions []ledger.Position
}

// entryEnd is where an entry and, behind it, its payload end in a batch's buf.
type entryEnd struct {
	data, payload int
}

// maxKeptBatch is the size of the largest body whose batch is used again.
const maxKeptBatch = 256 << 10

// batch gives an empty one for the call.
func (s *Server) batch(c *call) *batch {
	b, ok := s.batches.Get().(*batch)
	if !ok {
		b = &batch{turn: make(chan int, 1)}
	}
	b.s, b.set, b.d, b.t = s, c.set, c.d, c.t
	b.from = sender{room: b.from.room, device: c.d.key.id, gen: c.d.key.generation, rules: c.set.rules.hash}
	return b
}

// by notes by what the call came.
func (b *batch) by(c *call) { b.sess, b.print, b.until = c.sess, c.print, c.until }

// release lets the batch be used again, holding on to nothing of this request.
func (b *batch) release() {
	if s := b.s; b.size <= maxKeptBatch {
		clear(b.texts)
		clear(b.events)
		clear(b.lines)
		clear(b.entries)
		clear(b.positions)
		clear(b.group)
		*b = batch{
			from: sender{room: b.from.room[:0]}, group: b.group[:0],
			texts: b.texts[:0], events: b.events[:0], lines: b.lines[:0], buf: b.buf[:0], ends: b.ends[:0], made: b.made[:0], out: b.out[:0], turn: b.turn,
			entries: b.entries[:0], positions: b.positions[:0],
		}
		s.batches.Put(b)
	}
}

// judge decides each line and writes the entries.
func (b *batch) judge() error {
	b.lines = slices.Grow(b.lines[:0], len(b.events))[:len(b.events)]
	if !b.claim.simple {
		b.marks = make(map[[2]int64]int, len(b.events))
	}
	b.n.received = int64(len(b.events))
	for i := range b.events {
		if err := b.judgeLine(i); err != nil {
			return err
		}
	}
	if b.n.duplicate+b.n.refused > 0 {
		b.buf = b.from.appendTally(b.buf, b.n)
		b.end("")
	}
	return nil
}

func (b *batch) judgeLine(i int) error {
	e := &b.events[i]
	if e.fault == CodeEventTooLarge {
		b.refuse(i, e.fault, e.detail)
		return nil
	}
	if e.hasSeq {
		if done, err := b.known(i, e); done || err != nil {
			return err
		}
	}
	code, detail := e.fault, e.detail
	var flags []string
	if code == "" {
		code, detail, flags = b.set.Time.judge(e.at, b.from.received)
	}
	if code != "" && off(guardLetters) {
		b.refuse(i, code, detail)
		return nil
	}
	if code != "" {
		if !b.t.reserve(b.set.DeadLetters.PerTenant) {
			b.refuse(i, CodeLetterQuota, quotaDetail(code, b.set.DeadLetters.PerTenant))
			return nil
		}
		b.reserved++
	}
	if b.marks != nil && e.hasSeq {
		b.marks[[2]int64{e.boot, e.seq}] = i
	}
	b.made = append(b.made, i)
	if code != "" {
		b.n.deadLettered++
		b.lines[i] = LineReceipt{Line: i + 1, Status: lineDeadLettered, Code: code, Detail: detail}
		b.buf = b.from.appendDeadLetter(b.buf, e, code, detail)
		b.end(e.raw)
	} else {
		b.n.accepted++
		l := &b.lines[i]
		*l = LineReceipt{}
		l.Line, l.Status = i+1, lineAccepted
		b.buf = b.from.appendEvent(b.buf, e, flags)
		b.end(e.data)
	}
	return nil
}

// end ends an entry in the buffer and puts its payload behind it.
func (b *batch) end(payload string) {
	at := len(b.buf)
	b.buf = append(b.buf, payload...)
	b.ends = append(b.ends, entryEnd{at, len(b.buf)})
}

// known handles a number that came before. done is false for one that is new.
func (b *batch) known(i int, e *event) (done bool, err error) {
	if first, ok := b.marks[[2]int64{e.boot, e.seq}]; ok {
		if !sameEvent(&b.events[first], e) {
			b.conflict(i, e)
			return true, nil
		}
		b.duplicate(i, nil)
		return true, nil
	}
	w := b.d.windows[e.boot]
	verdict := seqNew
	if w != nil {
		verdict = w.judge(e.seq)
	}
	if verdict == seqNew {
		if e.fault == "" && (w == nil || w.high < 0) && b.d.staleBoot(e.boot) {
			b.refuse(i, CodeReplayStale, "boot "+itoa(e.boot)+" lies before all that are kept")
			return true, nil
		}
		return false, nil
	}
	if index, ok := w.position(e.seq); ok {
		same, err := b.sameStored(index, e)
		switch {
		case errors.Is(err, ledger.ErrPurged):
			b.refuse(i, CodeReplayPurged, "boot "+itoa(e.boot)+", seq "+itoa(e.seq)+" came before, as entry "+itoa(index))
			return true, nil
		case err != nil:
			return true, err
		case same && off(guardDuplicates), !same && off(guardConflicts):
			return false, nil
		case same:
			b.duplicate(i, &index)
			return true, nil
		}
		b.conflict(i, e)
		return true, nil
	}
	switch {
	case e.fault != "", verdict == seqStale && off(guardStale):
		return false, nil
	case verdict == seqStale:
		b.refuse(i, CodeReplayStale, "seq "+itoa(e.seq)+" lies before the replay window")
	default:
		b.refuse(i, CodeReplayForgotten, "boot "+itoa(e.boot)+", seq "+itoa(e.seq)+" came before, too long ago to be compared")
	}
	return true, nil
}

func (b *batch) duplicate(i int, index *int64) {
	b.n.duplicate++
	b.lines[i] = LineReceipt{Line: i + 1, Status: lineDuplicate, Index: index}
}

func (b *batch) refuse(i int, code Code, detail string) {
	b.n.refused++
	b.lines[i] = LineReceipt{Line: i + 1, Status: lineRefused, Code: code, Detail: detail}
	if b.refusal == nil {
		b.refusal = map[Code]refused{}
	}
	if _, ok := b.refusal[code]; !ok {
		b.refusal[code] = refused{code: code, detail: detail}
	}
}

func (b *batch) conflict(i int, e *event) {
	b.refuse(i, CodeReplayConflict, "boot "+itoa(e.boot)+", seq "+itoa(e.seq)+" came before with other content")
}

// sameEvent compares two lines of one batch: by what they say where both can
// be read, else by their bytes.
func sameEvent(a, b *event) bool {
	if a.fault != "" || b.fault != "" {
		return a.raw == b.raw
	}
	return a.time == b.time && a.typ == b.typ && a.fw == b.fw && a.data == b.data
}

// sameStored compares a line with the entry that holds its number. Where that
// depends on a payload that was purged the error is ledger.ErrPurged.
func (b *batch) sameStored(index int64, e *event) (bool, error) {
	data, err := b.s.led.Entry(b.t.ID, index)
	if err != nil {
		return false, fmt.Errorf("comparing a repeated number: %w", err)
	}
	var old tenantEntry
	if err := json.Unmarshal(data, &old); err != nil {
		return false, fmt.Errorf("comparing a repeated number: entry %d: %w", index, err)
	}
	payload, inline := e.raw, string(old.Bytes)
	if old.T == "event" {
		if e.fault != "" || old.Time != e.time || old.Type != e.typ || old.FW != e.fw {
			return false, nil
		}
		payload, inline = e.data, string(old.Data)
	}
	if old.Payload == "" {
		return payload == inline, nil
	}
	return b.s.led.HasPayload(b.t.ID, index, []byte(payload))
}

// judge holds a device's time against the time of receipt: the code of a dead
// letter, or the flags of an event that is taken.
func (p TimePolicy) judge(at, received time.Time) (code Code, detail string, flags []string) {
	ahead := at.Sub(received) // saturates at 292 years, either way
	switch {
	case ahead > p.Future && !off(guardFuture):
		return CodeTimeFuture, fmt.Sprintf("%v ahead of the ingest; the limit is %v", ahead.Round(time.Second), p.Future), nil
	case ahead < -p.Past && !off(guardPast):
		return CodeTimeTooOld, fmt.Sprintf("%v behind the ingest; the limit is %v", received.Sub(at).Round(time.Second), p.Past), nil
	case ahead > p.Flag:
		return "", "", flagAhead
	case ahead < -p.Flag:
		return "", "", flagBehind
	}
	return "", "", nil
}

// Flags of an event whose time is off by more than time.flag.
var (
	flagAhead  = []string{"time.ahead"}
	flagBehind = []string{"time.behind"}
)

// encode cuts the buffer into entries, behind those it is given.
func (b *batch) encode(entries []ledger.Entry) []ledger.Entry {
	at, n := 0, len(entries)
	entries = slices.Grow(entries, len(b.ends))[:n+len(b.ends)]
	for i, end := range b.ends {
		e := &entries[n+i]
		e.Log, e.Data, e.Payload = b.t.ID, b.buf[at:end.data:end.data], b.buf[end.data:end.payload:end.payload]
		at = end.payload
	}
	return entries
}

// note enters what is durable now, from index first of the tenant's log on.
func (b *batch) note(first int64) (gaps []bootGap) {
	b.first = first
	b.d.mu.Lock()
	for k, i := range b.made {
		e, index := &b.events[i], first+int64(k)
		if b.lines[i].Status == lineAccepted {
			gaps = append(gaps, b.d.applyEvent(e.boot, e.seq, index, b.s.st.window, b.from.received, e.at, e.fw)...)
		} else {
			b.d.applySeen(b.from.received)
			if e.hasSeq {
				b.d.applyDeadLetter(e.boot, e.seq, index, b.s.st.window)
			}
		}
	}
	if len(b.ends) > len(b.made) {
		b.d.applySeen(b.from.received)
	}
	b.d.mu.Unlock()
	b.t.mu.Lock()
	b.t.count(b.from.received, b.n)
	for k, i := range b.made {
		if b.lines[i].Status == lineDeadLettered {
			b.t.bury(first + int64(k))
		}
	}
	b.t.mu.Unlock()
	b.s.metrics.lines(b.t, b.n)
	return gaps
}

// recordGaps is called within a change.
func (s *Server) recordGaps(d *device, gaps []bootGap) error {
	var entries []evidence.AuditEntry
	for _, g := range gaps {
		e := gapEntry(d.key, g.boot, g.gap)
		entries = append(entries, s.entry(e.Type, e))
	}
	_, err := s.recordWithin(entries...)
	return err
}
