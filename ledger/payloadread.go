package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"time"
)

// readFrame is a frame kept after it was read.
type readFrame struct {
	first, count int64
	day          utcDay
	payloads     []byte
}

// Payload is the payload of an entry and the salt with which the entry commits
// to it: the leaf's member "payload" is the hex of SHA-256(salt || payload).
// An entry without one gives ErrNoPayload, one whose payload was erased
// ErrPurged. What is returned was held against the commitment.
func (l *Ledger) Payload(log string, index int64) (payload, salt []byte, err error) {
	payload, salt, err = l.payload(log, index)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the payload of entry %d of %s: %w", index, log, err)
	}
	return payload, salt, nil
}

func (l *Ledger) payload(log string, index int64) (payload, salt []byte, err error) {
	t, c, err := l.committed(log, index)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil && index < t.purgedTo() { // meanwhile
			err = ErrPurged
		}
	}()
	f, err := t.frameOf(l, index)
	if err != nil {
		return nil, nil, err
	}
	for rest, n := f.payloads, f.first; n <= index; n++ {
		payload, rest = nextEntry(rest)
	}
	key, err := t.keyFor(l, f.day)
	if err != nil {
		return nil, nil, err
	}
	salt, again := key.commit(index, payload)
	if again != c {
		return nil, nil, &DamageError{File: payloadName(log, f.day, payloadSuffix), Offset: -1, Reason: fmt.Sprintf("the payload of entry %d is not what the entry commits to", index)}
	}
	return bytes.Clone(payload), salt, nil
}

// HasPayload reports whether payload is the payload of the entry, without
// reading that. The errors are those of Payload.
func (l *Ledger) HasPayload(log string, index int64, payload []byte) (bool, error) {
	t, c, err := l.committed(log, index)
	var day utcDay
	if err == nil {
		day, err = t.dayAt(index)
	}
	var key *payloadKey
	if err == nil {
		key, err = t.keyFor(l, day)
	}
	if err != nil && t != nil && index < t.purgedTo() { // meanwhile
		err = ErrPurged
	}
	if err != nil {
		return false, fmt.Errorf("comparing with the payload of entry %d of %s: %w", index, log, err)
	}
	_, again := key.commit(index, payload)
	return again == c, nil
}

// committed is what an entry with a payload commits to.
func (l *Ledger) committed(log string, index int64) (*tree, commitment, error) {
	t, err := l.find(log)
	if err != nil {
		return nil, commitment{}, err
	}
	if index < 0 || index >= t.size() {
		return nil, commitment{}, fmt.Errorf("the log has %d entries: %w", t.size(), ErrNotFound)
	}
	c, err := t.readCommitments(index, 1)
	if err == nil && (len(c) == 0 || c[0] == commitment{}) {
		err = ErrNoPayload
	}
	if err == nil && index < t.purgedTo() {
		err = ErrPurged
	}
	if err != nil {
		return nil, commitment{}, err
	}
	return t, c[0], nil
}

// readCommitments reads those of count entries from first on; none where no
// entry up to the last of them has a payload.
func (t *tree) readCommitments(first int64, count int) ([]commitment, error) {
	t.mu.RLock()
	from := t.payloads.from
	skip := max(0, from-first)
	if from < 0 || skip >= int64(count) {
		t.mu.RUnlock()
		return nil, nil
	}
	b := make([]byte, (int64(count)-skip)*int64(len(commitment{})))
	rest, err := t.payloads.commitments.readAt(b, (first+skip-from)*int64(len(commitment{})))
	t.mu.RUnlock()
	if err := finish(rest, err); err != nil {
		return nil, err
	}
	out := make([]commitment, count)
	for i := skip; i < int64(count); i++ {
		b = b[copy(out[i][:], b):]
	}
	return out, nil
}

// dayAt is the day whose payloads hold that of the entry, if any do.
func (t *tree) dayAt(index int64) (utcDay, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := &t.payloads
	if n := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].first > index }); n > 0 {
		return s.parts[n-1].day, nil
	}
	if n := sort.Search(len(s.days), func(i int) bool { return s.days[i].begin.first > index }); n > 0 {
		return s.days[n-1].day, nil
	}
	return 0, t.lostPayload(index)
}

// frameOf reads that frame.
func (t *tree) frameOf(l *Ledger, index int64) (*readFrame, error) {
	if r := t.payloads.lastFrame.Load(); r != nil && r.first <= index && index < r.first+r.count {
		return r, nil
	}
	f, ok, err := t.lastWhere(l.fsys, true, func(e timeEntry) bool { return e.first <= index })
	if err == nil && (!ok || index >= f.first+f.count) {
		err = t.lostPayload(index)
	}
	if err != nil {
		return nil, err
	}
	r, err := t.readFrame(l, f)
	if err == nil && f.waiting == nil {
		t.payloads.lastFrame.Store(r)
		if t.isPurged(f.day) { // meanwhile: nothing of it stays in memory
			t.payloads.lastFrame.CompareAndSwap(r, nil)
		}
	}
	return r, err
}

func (t *tree) readFrame(l *Ledger, f frame) (*readFrame, error) {
	r := &readFrame{f.first, f.count, f.day, f.waiting}
	if r.payloads == nil {
		var err error
		if r.payloads, err = t.unpackFrame(l, f); err != nil {
			return nil, err
		}
	}
	if err := checkBundle(r.payloads, int(r.count), 0); err != nil {
		return nil, &DamageError{File: payloadName(t.name, f.day, payloadSuffix), Offset: f.start, Reason: err.Error()}
	}
	return r, nil
}

func (t *tree) unpackFrame(l *Ledger, f frame) (payloads []byte, err error) {
	name := payloadName(t.name, f.day, payloadSuffix)
	if f.end <= f.start || f.end-f.start > maxBundle {
		return nil, &DamageError{File: payloadName(t.name, f.day, timesSuffix), Offset: -1, Reason: fmt.Sprintf("a frame cannot begin at %d and end at %d", f.start, f.end)}
	}
	file, err := readFile(l.fsys, &pack{dir: t.ledger, name: name, flushed: f.end})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b := make([]byte, f.end-f.start)
	if _, err := file.ReadAt(b, f.start); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if payloads, err = t.packer.unpack(b); err != nil {
		return nil, &DamageError{File: name, Offset: f.start, Reason: fmt.Sprintf("the frame that begins here cannot be decompressed: %v", err)}
	}
	return payloads, nil
}

// keyFor is the key of a day of the log.
func (t *tree) keyFor(l *Ledger, day utcDay) (*payloadKey, error) {
	if k := t.payloads.lastKey.Load(); k != nil && k.day == day {
		return k, nil
	}
	k, err := readKey(l.fsys, l.dir, t.name, day)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &DamageError{File: payloadName(t.name, day, keySuffix), Offset: -1, Reason: "the key is missing"}
	}
	if err == nil {
		t.payloads.lastKey.Store(k)
		if t.isPurged(day) {
			t.payloads.lastKey.CompareAndSwap(k, nil)
		}
	}
	return k, err
}

// purgedTo is the index below which all payloads were purged.
func (t *tree) purgedTo() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.payloads.purgedTo
}

func (t *tree) isPurged(day utcDay) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return day <= t.payloads.purgedDay
}

// lostPayload is the error for an entry whose payload is not there.
func (t *tree) lostPayload(index int64) error {
	return &DamageError{File: t.payloads.dir(), Offset: -1, Reason: fmt.Sprintf("the payload of entry %d is missing", index)}
}

// PayloadRange gives the indexes first to, not including, end between which
// all entries of the log are whose payloads were committed from from up to, not
// including, to by the ledger's clock, and few others: those that share a frame
// with them. It reads the time index, not the entries.
func (l *Ledger) PayloadRange(log string, from, to time.Time) (first, end int64, err error) {
	t, err := l.find(log)
	if err != nil {
		return 0, 0, fmt.Errorf("finding entries by time: %w", err)
	}
	end = t.size()
	if !from.Before(to) {
		return 0, 0, nil
	}
	f, ok, err := t.lastWhere(l.fsys, false, func(e timeEntry) bool { return time.Unix(0, e.received).Before(from) })
	if err == nil && ok {
		first = f.first
	}
	if err == nil {
		to = to.Add(t.clockBack())
		f, ok, err = t.lastWhere(l.fsys, false, func(e timeEntry) bool { return time.Unix(0, e.received).Before(to) })
	}
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("finding entries of %s by time: %w", log, err)
	case ok && !f.last:
		end = f.first + f.count
	case !ok:
		end = t.firstPayload()
	}
	return first, max(first, end), nil
}

// clockBack is by how much the log's clock went back at most.
func (t *tree) clockBack() time.Duration {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return time.Duration(t.payloads.back)
}

// firstPayload is the index of the first entry of which there is a payload, or
// the log's size.
func (t *tree) firstPayload() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch s := &t.payloads; {
	case len(s.days) > 0:
		return s.days[0].begin.first
	case len(s.parts) > 0:
		return s.parts[0].first
	}
	return t.size()
}
