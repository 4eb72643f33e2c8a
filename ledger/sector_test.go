package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"trustpack/internal/durable/crashfs"
)

// segmentFile is a segment with these groups, which count up from that of the
// first.
func segmentFile(h segmentHeader, groups ...[]byte) []byte {
	b := append(h.encode(), make([]byte, sectorSize-segmentHeaderSize)...)
	at := int64(segmentHeaderSize)
	for _, g := range groups {
		w := newStamper(nil, at, groupNumber(g))
		w.write(g)
		w.end()
		b = append(b[:fileOffset(at)], w.out...)
		at = w.at
	}
	return b
}

func groupNumber(g []byte) uint64 {
	n := uint64(0)
	for _, c := range g[8:16] {
		n = n<<8 | uint64(c)
	}
	return n
}

// lastWrite is a crash during the write of a group: the segment as it was
// before it and as the whole write leaves it.
type lastWrite struct {
	disk          *crashfs.FS
	path, name    string
	before, after []byte
	at, end       int64 // of the group, in the file
	size          int64 // entries of log a before it
	first         chain // where the segment begins
	opened        int
}

// someLastWrite writes a group of about so many bytes behind others, into a
// new segment or one that was in use before.
func someLastWrite(t *testing.T, recycled bool, bytes int) *lastWrite {
	t.Helper()
	o := testOptions()
	o.segmentBytes, o.flushLag = 8*sectorSize, 1
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	entry := func(n int) Entry { return Entry{Log: "a", Data: fmt.Appendf(nil, "%0*d", n, l.Size("a"))} }
	w := &lastWrite{}
	for room := false; !room; {
		if _, err := l.Append(t.Context(), entry(700)); err != nil {
			t.Fatal(err)
		}
		for { // the committer is idle; the keeper must be, too
			if p, err := readPoint(disk, "/ledger"); err != nil {
				t.Fatal(err)
			} else if p.Segment == l.journal.segment.header.number || l.journal.segment.header.number == 1 {
				break
			}
			runtime.Gosched()
		}
		w.name, w.at = segmentName(l.journal.segment.header.number), fileOffset(l.journal.offset)
		w.path = filepath.Join("/ledger", w.name)
		w.before = disk.Files()[w.path]
		inUse := !allZero(w.before[w.at/sectorSize*sectorSize+sectorSize:])
		room = w.at+int64(bytes)+200 < int64(len(w.before)) && inUse == recycled
	}
	w.size = l.Size("a")
	if _, err := l.Append(t.Context(), entry(bytes/2), entry(bytes/2)); err != nil {
		t.Fatal(err)
	}
	w.end = fileOffset(l.journal.offset)
	if l.journal.offset%sectorData == 0 {
		t.Fatal("choose another size")
	}
	w.disk = disk.Reboot(0)
	w.after, w.first = w.disk.Files()[w.path], l.journal.begun
	return w
}

// batch is how many entries the last group holds.
const batch = 2

// open says how many entries log a has with the segment as given, or that it
// is refused. All are read as the journal is, and one of a few is opened as a
// ledger, where a refusal must name the place and change nothing.
func (w *lastWrite) open(t *testing.T, what string, file []byte) (int64, error) {
	t.Helper()
	size := w.size
	s, refused := scanSegment(file, w.first, func(g group) error {
		if groupNumber(w.after[w.at:]) == g.number {
			size += batch
		}
		return nil
	})
	if refused == nil && (s.durable != "" || s.laterGood >= 0) {
		refused = fmt.Errorf("%s, and it was made durable: %s", s.bad, s.durable)
	}
	if refused != nil {
		size = 0
	}
	if w.opened++; w.opened%16 != 1 {
		return size, refused
	}
	disk := w.disk.Restart()
	disk.Put(w.path, file)
	before := disk.Files()
	o := testOptions()
	o.fsys = disk
	l, err := Open("/ledger", o)
	if (err == nil) != (refused == nil) {
		t.Fatalf("%s: %v when it is opened, %v when it is read", what, err, refused)
	}
	if err != nil {
		var d *DamageError
		if !errors.As(err, &d) || d.File != w.name || d.Offset != w.at && d.Offset != w.end || !strings.Contains(err.Error(), "restore the ledger from a copy") {
			t.Errorf("%s: %v, want damage of %s at byte %d", what, err, w.name, w.at)
		}
		if !maps.EqualFunc(before, disk.Files(), slices.Equal) {
			t.Errorf("%s: the refusal changed something", what)
		}
		return 0, err
	}
	defer l.Close()
	if l.Size("a") != size {
		t.Errorf("%s: log a has %d entries when it is opened, %d when it is read", what, l.Size("a"), size)
	}
	return size, nil
}

// kinds calls do for last groups within a sector and over several, in new
// segments and in those that were in use before.
func kindsOfLastWrites(t *testing.T, do func(t *testing.T, w *lastWrite)) {
	for _, recycled := range []bool{false, true} {
		for _, size := range []int{40, 1100} {
			t.Run(fmt.Sprintf("%d bytes, recycled %v", size, recycled), func(t *testing.T) { do(t, someLastWrite(t, recycled, size)) })
		}
	}
}

// TestAWriteCutShortIsCutOff tears the last group at every byte: the file ends
// there, zeros follow, or what stood there before.
func TestAWriteCutShortIsCutOff(t *testing.T) {
	kindsOfLastWrites(t, func(t *testing.T, w *lastWrite) {
		for cut := w.at; cut < int64(len(w.after)) && cut <= w.end+sectorSize; cut++ {
			tears := map[string][]byte{
				"ends":   w.after[:cut],
				"zeros":  append(slices.Clone(w.after[:cut]), make([]byte, int64(len(w.after))-cut)...),
				"before": append(slices.Clone(w.after[:cut]), w.before[cut:]...),
			}
			if cut%sectorSize > sectorData {
				delete(tears, "before") // eight bytes in their place are written as one
			}
			for how, file := range tears {
				what := fmt.Sprintf("%s at byte %d of %d to %d", how, cut, w.at, w.end)
				size, err := w.open(t, what, file)
				if want := w.size; err != nil {
					t.Errorf("%s: %v", what, err)
				} else if (cut >= w.end) != (size == want+batch) {
					t.Errorf("%s: log a has %d entries, of %d and %d more", what, size, want, batch)
				}
			}
		}
	})
}

// TestSectorsOfAWriteCutShort leaves out any sectors of the last group.
func TestSectorsOfAWriteCutShort(t *testing.T) {
	kindsOfLastWrites(t, func(t *testing.T, w *lastWrite) {
		first, n := w.at/sectorSize, (w.end-1)/sectorSize-w.at/sectorSize+1
		for landed := range 1 << n {
			file := slices.Clone(w.before)
			for i := range n {
				if landed>>i&1 == 1 {
					from := (first + i) * sectorSize
					copy(file[from:from+sectorSize], w.after[from:])
				}
			}
			size, err := w.open(t, fmt.Sprintf("sectors %b of %d", landed, n), file)
			whole := landed == 1<<n-1
			if err != nil || whole && size != w.size+batch || !whole && size != w.size {
				t.Errorf("sectors %b of %d: log a has %d entries, of %d and %d more: %v", landed, n, size, w.size, batch, err)
			}
		}
	})
}

// TestDamageOfTheLastGroupIsRefused flips each bit of it.
func TestDamageOfTheLastGroupIsRefused(t *testing.T) {
	kindsOfLastWrites(t, func(t *testing.T, w *lastWrite) {
		for at := w.at; at < (w.end+sectorSize-1)/sectorSize*sectorSize; at++ {
			for bit := range int64(8) {
				if w.end-w.at > sectorSize && bit != at%8 {
					continue // each bit is tried with the short ones
				}
				file := slices.Clone(w.after)
				file[at] ^= 1 << bit
				what := fmt.Sprintf("bit %d of byte %d of %d to %d flipped", bit, at, w.at, w.end)
				size, err := w.open(t, what, file)
				inGroup := at < w.end && at%sectorSize < sectorData
				switch {
				case inGroup && err == nil:
					t.Errorf("%s: opened with %d entries, of %d and %d more", what, size, w.size, batch)
				case inGroup && !strings.Contains(err.Error(), "it was made durable"):
					t.Errorf("%s: %v", what, err)
				case !inGroup && err == nil && size != w.size+batch:
					t.Errorf("%s: opened with %d entries of %d", what, size, w.size+batch)
				}
			}
		}
	})
}

// TestALostSectorOfTheLastGroup replaces whole sectors of the last group.
func TestALostSectorOfTheLastGroup(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	kindsOfLastWrites(t, func(t *testing.T, w *lastWrite) {
		first, last := w.at/sectorSize, (w.end-1)/sectorSize
		for i := first; i <= last; i++ {
			from := i * sectorSize
			garbage := slices.Clone(w.after)
			for at := max(from, w.at); at < from+sectorSize; at++ {
				garbage[at] = byte(noise.Uint32())
			}
			if size, err := w.open(t, "garbage", garbage); err == nil {
				t.Errorf("garbage in sector %d: opened with %d entries, of %d and %d more", i, size, w.size, batch)
			}
			// What looks as if it had never been written cannot be told from it.
			lost := slices.Clone(w.after)
			copy(lost[from:from+sectorSize], w.before[from:])
			if size, err := w.open(t, "lost", lost); err != nil || size != w.size {
				t.Errorf("sector %d lost: %d entries, %v", i, size, err)
			}
		}
	})
}

// TestALaterStampTells: the last of several groups in one sector, all of them
// unreadable but for their stamp.
func TestALaterStampTells(t *testing.T) {
	w := someLastWrite(t, false, 40)
	file := slices.Clone(w.after)
	s := stampOf(groupNumber(w.after[w.at:])+3, true)
	copy(file[w.at/sectorSize*sectorSize+sectorData:], s[:])
	file[w.at+groupHeaderSize]++
	if _, err := w.open(t, "later stamp", file); err == nil || !strings.Contains(err.Error(), "was written after it") {
		t.Errorf("%v", err)
	}
}

func TestStampsAreNeverZeroOrAlike(t *testing.T) {
	seen := map[stamp]bool{{}: true}
	for _, n := range []uint64{0, 1, 2, stampNumbers - 1, stampNumbers / 2} {
		for _, last := range []bool{false, true} {
			s := stampOf(n, last)
			if got, gotLast, ok := s.read(); seen[s] || !ok || got != n || gotLast != last {
				t.Errorf("stamp of %d, %v is %x, read as %d, %v, %v", n, last, s, got, gotLast, ok)
			}
			seen[s] = true
			for bit := range 64 {
				spoilt := s
				spoilt[bit/8] ^= 1 << (bit % 8)
				if _, _, ok := spoilt.read(); ok {
					t.Errorf("stamp %x passes with bit %d flipped", s, bit)
				}
			}
		}
	}
	if stampOf(7, true) != stampOf(7+stampNumbers, true) {
		t.Error("the number is not taken modulo 2^31")
	}
	w := newStamper(nil, segmentHeaderSize, 5)
	whole := bytes.Repeat([]byte("x"), 2*sectorData-segmentHeaderSize)
	w.write(whole)
	w.end()
	if len(w.out) != 2*sectorSize-segmentHeaderSize {
		t.Fatalf("%d bytes", len(w.out))
	}
	if s := stamp(w.out[len(w.out)-stampSize:]); s != stampOf(5, true) {
		t.Errorf("a group that fills its last sector ends in %x", s)
	}
}
