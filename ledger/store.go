package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"sync/atomic"

	"trustpack/internal/durable"
)

// A log's payloads are kept by UTC day, in payloads/NAME:
//
//	2026-07-01.key  the day's key, made durable before the day's first payload
//	                is acknowledged; not derived from anything
//	2026-07-01.zst  zstd frames (RFC 8878), each a bundle of payloads that
//	                follow one another: u16 length, or 0 for an entry without
//	2026-07-01.idx  the time index: for each frame, 32 bytes: index of its first
//	                entry, u64; when that was committed, or the latest one before
//	                it where the clock went back, Unix nanoseconds, u64; where
//	                the frame ends, u64; entries, u32; CRC-32C of those 28 bytes,
//	                u32
//
// The last two follow from the journal as the logs' other files do. Beside the
// level files stands "commitments", 32 bytes for each entry from the first with
// a payload on, zeros for one without: with these, entries are read and proved
// without payload or key.
const (
	payloadFrame = 64 << 10 // bytes of payloads after which a frame ends
	timeRecord   = 32
	maxPadding   = 256 // entries without payload that a frame goes over
)

// payloadStore is a tree's payloads. Its fields are guarded as the tree's are.
type payloadStore struct {
	ledger      string // directory of the ledger
	log         string
	from        int64 // index of the first entry with a payload; -1 without one
	commitments pack
	received    int64          // the latest of all payloads
	back        int64          // by how much the clock went back behind that at most
	days        []*payloadDay  // those with files, ascending
	parts       []*payloadPart // behind the files, oldest first
	newFiles    bool           // the flushing lock guards it
	purgedDay   utcDay         // payloads up to this day were purged; -1 if none were
	purgedTo    int64          // those of entries below this index
	perhapsDay  utcDay         // on opening: a purge up to this day may have been begun
	unread      error          // on opening: why a file of such a day could not be read
	gone        []*payloadDay  // purged, with files open; the flushing lock guards it

	lastFrame atomic.Pointer[readFrame]
	lastKey   atomic.Pointer[payloadKey]
}

// payloadDay is the files of a day as far as they were written.
type payloadDay struct {
	day   utcDay
	begin timeEntry // of the first frame
	data  pack
	times pack
}

// payloadPart is a frame in the making. The last one of a store may grow.
type payloadPart struct {
	timeEntry
	day      utcDay
	payloads []byte
	full     bool
}

// timeEntry is a record of the time index.
type timeEntry struct {
	first    int64
	received int64
	end      int64
	count    int64
}

func (e timeEntry) append(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint64(b, uint64(e.first))
	b = binary.BigEndian.AppendUint64(b, uint64(e.received))
	b = binary.BigEndian.AppendUint64(b, uint64(e.end))
	b = binary.BigEndian.AppendUint32(b, uint32(e.count))
	return binary.BigEndian.AppendUint32(b, castagnoli(b[at:]))
}

func parseTimeEntry(b []byte) (timeEntry, error) {
	if castagnoli(b[:timeRecord-4]) != binary.BigEndian.Uint32(b[timeRecord-4:]) {
		return timeEntry{}, errors.New("the checksum of a record is wrong")
	}
	e := timeEntry{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:])), int64(binary.BigEndian.Uint32(b[24:]))}
	if e.first < 0 || e.received < 0 || e.end < 1 || e.count < 1 {
		return timeEntry{}, errors.New("a record says what cannot be")
	}
	return e, nil
}

func newPayloadStore(ledger, log string) payloadStore {
	return payloadStore{ledger: ledger, log: log, from: -1, purgedDay: -1, perhapsDay: -1, commitments: pack{dir: ledger, name: packName(log, "commitments")}}
}

// add takes in the payloads and commitments of entries from index n on, and
// gives the bytes that now wait in memory.
func (s *payloadStore) add(n int64, more *addition, buffers bufferPool) {
	if s.from < 0 {
		first := slices.IndexFunc(more.commitments, func(c commitment) bool { return c != commitment{} })
		if first < 0 {
			return
		}
		s.from = n + int64(first)
	}
	for i := max(0, s.from-n); i < int64(len(more.leaves)); i++ {
		var c commitment
		if more.commitments != nil {
			c = more.commitments[i]
		}
		s.commitments.tail = append(s.commitments.tail, c[:]...)
	}
	if more.payloads == nil {
		return
	}
	s.received = max(s.received, more.received)
	s.back = max(s.back, s.received-more.received)
	if more.key.day <= s.purgedDay {
		return
	}
	for rest := more.payloads; len(rest) > 0; n++ {
		p := s.open(n, more, buffers)
		_, after := nextEntry(rest)
		p.payloads = append(p.payloads, rest[:len(rest)-len(after)]...)
		p.full = len(p.payloads) >= payloadFrame
		p.count++
		rest = after
	}
}

// open is the part that the payload of entry n goes to.
func (s *payloadStore) open(n int64, more *addition, buffers bufferPool) *payloadPart {
	if len(s.parts) > 0 {
		p := s.parts[len(s.parts)-1]
		gap := n - p.first - p.count
		if !p.full && p.day == more.key.day && gap <= maxPadding {
			p.payloads = append(p.payloads, make([]byte, 2*gap)...)
			p.count += gap
			return p
		}
		p.full = true
	}
	p := &payloadPart{timeEntry: timeEntry{first: n, received: s.received}, day: more.key.day, payloads: buffers.get()}
	s.parts = append(s.parts, p)
	return p
}

// waiting is the bytes in memory.
func (s *payloadStore) waiting() int {
	sum := len(s.commitments.tail)
	if n := len(s.parts); n > 0 {
		sum += (n-1)*payloadFrame + len(s.parts[n-1].payloads)
	}
	return sum
}

// cut gives the parts that are to go to the files; with whole, those are all.
func (s *payloadStore) cut(whole bool) []*payloadPart {
	n := len(s.parts)
	if n > 0 && whole {
		s.parts[n-1].full = true
	} else if n > 0 && !s.parts[n-1].full {
		n--
	}
	return slices.Clone(s.parts[:n])
}

// flushPayloads moves the parts to the files. The caller holds flushing.
func (t *tree) flushPayloads(fsys durable.FS, parts []*payloadPart) error {
	s := &t.payloads
	for len(parts) > 0 {
		d, n := s.dayFor(parts[0].day), 1
		for n < len(parts) && parts[n].day == d.day {
			n++
		}
		frames, records, end := t.frames[:0], []byte(nil), d.data.flushed
		for _, p := range parts[:n] {
			frames = t.packer.pack(frames, p.payloads)
			record := p.timeEntry // readers look at the part itself
			record.end = end + int64(len(frames))
			records = record.append(records)
		}
		if cap(frames) <= maxKeptBuffer {
			t.frames = frames
		}
		if err := s.write(fsys, &d.data, frames); err != nil {
			return err
		}
		if err := s.write(fsys, &d.times, records); err != nil {
			return err
		}
		t.mu.Lock()
		if d.times.flushed == 0 {
			d.begin = parts[0].timeEntry
			s.days = append(s.days, d)
		}
		d.data.flushed, d.times.flushed = end+int64(len(frames)), d.times.flushed+int64(len(records))
		s.parts = slices.Delete(s.parts, 0, n)
		t.mu.Unlock()
		for _, p := range parts[:n] { // readers copied what they wanted under the lock
			t.buffers.put(p.payloads)
		}
		parts = parts[n:]
	}
	return nil
}

// dayFor is the last day, or a new one behind it.
func (s *payloadStore) dayFor(day utcDay) *payloadDay {
	if n := len(s.days); n > 0 && s.days[n-1].day == day {
		return s.days[n-1]
	}
	file := func(suffix string) pack { return pack{dir: s.ledger, name: payloadName(s.log, day, suffix)} }
	return &payloadDay{day: day, data: file(payloadSuffix), times: file(timesSuffix)}
}

func (s *payloadStore) write(fsys durable.FS, p *pack, b []byte) error {
	made, err := p.create(fsys)
	if err != nil {
		return err
	}
	s.newFiles = s.newFiles || made
	p.dirty = true
	if _, err := p.file.WriteAt(b, p.flushed); err != nil {
		return fmt.Errorf("writing %s: %w", p.name, err)
	}
	return nil
}

// frame is where the payloads of some entries are.
type frame struct {
	timeEntry
	start   int64
	day     utcDay
	waiting []byte // where they are in no file yet
	last    bool   // there is none behind it
}

// lastWhere is the last frame for which holds is true, which is so of all
// frames up to that; ok is false where there is none. The payloads of a frame
// in memory are given only if they are wanted.
func (t *tree) lastWhere(fsys durable.FS, wanted bool, holds func(timeEntry) bool) (f frame, ok bool, err error) {
	s := &t.payloads
	t.mu.RLock()
	if n := sort.Search(len(s.parts), func(i int) bool { return !holds(s.parts[i].timeEntry) }); n > 0 {
		p := s.parts[n-1]
		f = frame{timeEntry: p.timeEntry, day: p.day, last: n == len(s.parts)}
		if wanted {
			f.waiting = slices.Clone(p.payloads)
		}
		t.mu.RUnlock()
		return f, true, nil
	}
	n := sort.Search(len(s.days), func(i int) bool { return !holds(s.days[i].begin) })
	if n == 0 {
		t.mu.RUnlock()
		return frame{}, false, nil
	}
	d, isLast := s.days[n-1].written(), n == len(s.days) && len(s.parts) == 0
	t.mu.RUnlock()
	f, err = d.lastWhere(fsys, holds)
	f.last = isLast && f.end == d.data.flushed
	return f, err == nil, err
}

// written is the day as far as it was written. The caller holds mu.
func (d *payloadDay) written() payloadDay {
	upTo := func(p *pack) pack { return pack{dir: p.dir, name: p.name, flushed: p.flushed} }
	return payloadDay{d.day, d.begin, upTo(&d.data), upTo(&d.times)}
}

func (d payloadDay) lastWhere(fsys durable.FS, holds func(timeEntry) bool) (f frame, err error) {
	file, err := readFile(fsys, &d.times)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b := make([]byte, timeRecord)
	read := func(i int) (timeEntry, error) {
		at := int64(i) * timeRecord
		if _, err := file.ReadAt(b, at); err != nil {
			return timeEntry{}, fmt.Errorf("reading %s: %w", d.times.name, err)
		}
		e, err := parseTimeEntry(b)
		if err != nil {
			err = &DamageError{File: d.times.name, Offset: at, Reason: err.Error()}
		}
		return e, err
	}
	n := sort.Search(int(d.times.flushed/timeRecord), func(i int) bool {
		e, rerr := read(i)
		err = errors.Join(err, rerr)
		return rerr != nil || !holds(e)
	})
	if err != nil {
		return f, err
	}
	f.day = d.day
	if n > 1 {
		if f.timeEntry, err = read(n - 2); err != nil {
			return f, err
		}
		f.start = f.end
	}
	f.timeEntry, err = read(n - 1)
	return f, err
}

// readFile opens a file of payloads to read as far as it was written, which is
// not nowhere.
func readFile(fsys durable.FS, p *pack) (durable.File, error) {
	r := pack{dir: p.dir, name: p.name, flushed: p.flushed}
	if err := r.open(fsys, os.O_RDONLY); err != nil {
		return nil, err
	}
	return r.file, nil
}
