package ledger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trustpack/internal/durable"
)

const (
	// The first segment after an opening is small, so that a ledger that is
	// opened for a few entries costs little, and each is larger by segmentGrowth
	// than the one before.
	firstSegment  = 1 << 20
	segmentGrowth = 4

	// keptSpares is how many segments that are not needed any more wait to be
	// used again.
	keptSpares = 8
)

// segment is a journal segment open for writing, durable at its full length
// under its name.
type segment struct {
	header segmentHeader
	file   durable.File
	size   int64
}

func (s *segment) close() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// spares makes segments before they are needed. Those that the flush point
// has passed it makes anew in place: the number in their names tells that
// they are none of the journal's, whatever a crash leaves in them.
type spares struct {
	fsys  durable.FS
	dir   string
	first int64 // length of the first segment
	full  int64 // and of those that are not growing any more

	// filled is how much of the segment in use is written, in millionths: all
	// of it where somebody waits for the next.
	filled atomic.Int64

	mu     sync.Mutex
	old    []uint64 // of full length
	taking uint64   // the one being made anew
	barred bool     // no old one may be used
}

func newSpares(fsys durable.FS, dir string, segmentBytes int64) *spares {
	s := &spares{fsys: fsys, dir: dir, first: firstSegment, full: defaultSegment}
	if segmentBytes != 0 {
		s.first = (segmentBytes + sectorSize - 1) / sectorSize * sectorSize
		s.full = s.first
	}
	s.hurry()
	return s
}

// hurry has the segment that is being made, or the next, made without pauses.
func (s *spares) hurry() { s.filled.Store(allFilled) }

// allFilled is what filled says of a segment that is used up.
const allFilled = 1_000_000

// after is the length of the segment after one of the given length.
func (s *spares) after(size int64) int64 { return min(size*segmentGrowth, s.full) }

// due reports whether the segment after one of the given length, written up to
// offset, is to be made. A ledger that has filled its first is busy and will
// fill this one too, maybe before a longer one can be made.
func (s *spares) due(offset, size int64) bool { return size > s.first || offset > size/segmentGrowth }

// make makes segment number of the given length.
func (s *spares) make(number uint64, size int64) (segment, error) {
	h := segmentHeader{number: number}
	if _, err := rand.Read(h.marker[:]); err != nil {
		return segment{}, fmt.Errorf("drawing a marker: %w", err)
	}
	path := filepath.Join(s.dir, segmentName(number))
	from, ok := s.take(size)
	if !ok {
		from = durable.TempName(path)
	}
	defer s.taken()
	if err := s.prepare(from, h, size, !ok); err != nil {
		return segment{}, err
	}
	if err := s.fsys.Rename(from, path); err != nil {
		return segment{}, err
	}
	if err := s.fsys.SyncDir(filepath.Dir(path)); err != nil {
		return segment{}, err
	}
	file, err := s.fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return segment{}, err
	}
	return segment{h, file, size}, nil
}

// take takes an old segment of the given length, if there is one.
func (s *spares) take(size int64) (path string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size != s.full || len(s.old) == 0 || s.barred {
		return "", false
	}
	s.taking, s.old = s.old[0], s.old[1:]
	return filepath.Join(s.dir, segmentName(s.taking)), true
}

// bar keeps old segments from being used, or lets them be used again.
func (s *spares) bar(barred bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.barred = barred
}

func (s *spares) taken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking = 0
}

// prepare writes the header of h, in a file of zeros if it is a new one. One
// that was in use before keeps what is in it, save for the header's sector.
func (s *spares) prepare(path string, h segmentHeader, size int64, isNew bool) error {
	flag := os.O_RDWR
	if isNew {
		flag |= os.O_CREATE | os.O_EXCL
	}
	f, err := s.fsys.OpenFile(path, flag, 0o600)
	if err != nil {
		return err
	}
	if isNew {
		err = s.zero(f, size)
	}
	if err == nil {
		_, err = f.WriteAt(append(h.encode(), make([]byte, sectorSize-segmentHeaderSize)...), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

const (
	// zeroStep is how much of a new segment is written at a time, and
	// zeroHurry how much where it may be wanted soon.
	zeroStep  = 64 << 10
	zeroHurry = 1 << 20

	// zeroPause is for how long the disk is left alone after a step, in times
	// that the step took.
	zeroPause = 7
)

// zero fills a new segment. The committer's syncs wait for what is written
// beside them. So it goes in small steps with long pauses while there is time;
// in larger ones, each synced so that no sync of the committer waits for more
// than one, where the committer is so far with the segment before that this
// one may come too late; and as fast as it can where the committer stands and
// waits for it.
func (s *spares) zero(f durable.File, size int64) error {
	zeros := make([]byte, min(size, zeroHurry))
	for at := int64(0); at < size; {
		began, step, filled := time.Now(), int64(zeroStep), s.filled.Load()
		waitedFor, hurry := filled == allFilled, at*allFilled < 2*filled*size
		if hurry {
			step = zeroHurry
		}
		step = min(step, size-at)
		if _, err := f.WriteAt(zeros[:step], at); err != nil {
			return err
		}
		if at += step; waitedFor || at == size {
			continue // it is synced with the header
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if !hurry {
			time.Sleep(zeroPause * time.Since(began))
		}
	}
	return nil
}

// release lets go of the segments below from, whose content the logs' own
// files durably hold. Up to keep of them stay to be made anew.
func (s *spares) release(from uint64, keep int) error {
	numbers, err := listSegments(s.fsys, s.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep == 0 {
		s.old = nil
	}
	dropped := false
	for _, n := range numbers {
		if n >= from || n == s.taking || slices.Contains(s.old, n) {
			continue
		}
		path := filepath.Join(s.dir, segmentName(n))
		if size, err := sizeOf(s.fsys, path); err != nil {
			return err
		} else if len(s.old) < keep && size == s.full {
			s.old = append(s.old, n)
			continue
		}
		if err := s.fsys.Remove(path); err != nil {
			return err
		}
		dropped = true
	}
	if !dropped {
		return nil
	}
	return s.fsys.SyncDir(filepath.Join(s.dir, journalDir))
}

func sizeOf(fsys durable.FS, path string) (int64, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}
