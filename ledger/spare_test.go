package ledger

import (
	"os"
	"testing"

	"trustpack/internal/durable"
	"trustpack/internal/durable/crashfs"
)

// TestNewSegmentIsZeroToItsEnd makes segments in small steps and in a hurry.
func TestNewSegmentIsZeroToItsEnd(t *testing.T) {
	for _, filled := range []int64{0, 300_000, allFilled} {
		for _, size := range []int64{sectorSize, zeroStep, 3*zeroStep + sectorSize, 2*zeroHurry + zeroStep + sectorSize} {
			disk := crashfs.New()
			if err := durable.MkdirIn(disk, "/ledger/"+journalDir, 0o700); err != nil {
				t.Fatal(err)
			}
			s := newSpares(disk, "/ledger", size)
			s.filled.Store(filled)
			made, err := s.make(7, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := made.close(); err != nil {
				t.Fatal(err)
			}
			f, err := disk.Reboot(0).OpenFile("/ledger/"+segmentName(7), os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, size)
			if n, err := f.Size(); err != nil || n != size {
				t.Fatalf("a segment of %d bytes has %d, %v", size, n, err)
			}
			if _, err := f.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if h, err := parseSegmentHeader(b); err != nil || h.number != 7 || !allZero(b[segmentHeaderSize:]) {
				t.Errorf("a segment of %d bytes, made while %d millionths were filled: %v, %v", size, filled, h, err)
			}
		}
	}
}

// TestHurriedZerosAreSyncedStepByStep: who syncs the journal beside a segment
// that is made in a hurry waits for one step of it at most; with pauses, for a
// smaller one. Where the committer itself waits, one sync for all is quickest.
func TestHurriedZerosAreSyncedStepByStep(t *testing.T) {
	const size = 4*zeroHurry + sectorSize
	for filled, most := range map[int64]int64{0: zeroHurry, 500_000: zeroHurry, allFilled: size} {
		s, f := newSpares(crashfs.New(), "/ledger", size), &unsynced{}
		s.filled.Store(filled)
		if err := s.zero(f, size); err != nil {
			t.Fatal(err)
		}
		if f.written != size || f.most > most {
			t.Errorf("%d millionths filled: %d bytes written, %d of them before a sync, want at most %d", filled, f.written, f.most, most)
		}
		if filled == 0 && f.least != zeroStep {
			t.Errorf("with time to spare the smallest step had %d bytes, want %d", f.least, zeroStep)
		}
		if filled == allFilled && f.most != size {
			t.Errorf("waited for, %d bytes were written before a sync, want %d", f.most, size)
		}
	}
}

// unsynced is a file that counts what waits for a sync.
type unsynced struct {
	durable.File
	written, waiting, most, least int64
}

func (f *unsynced) WriteAt(b []byte, _ int64) (int, error) {
	n := int64(len(b))
	f.written, f.waiting = f.written+n, f.waiting+n
	f.most = max(f.most, f.waiting)
	return len(b), nil
}

func (f *unsynced) Sync() error {
	if f.least == 0 || f.waiting < f.least {
		f.least = f.waiting
	}
	f.waiting = 0
	return nil
}
