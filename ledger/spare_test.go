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
