package ledger

import (
	"encoding/binary"
	"fmt"
)

// A device writes sectors: after a power failure each of those that a write
// was to change holds either what was written or what stood there before. So
// every sector of a segment ends in a stamp that names the last group that was
// written into it, and a bad group at the journal's end can be told from one
// whose write was cut short:
//
//	sector, 512 bytes:
//	   0  504 bytes of the segment
//	 504  number of the group modulo 2^31, and 1 bit that is set in the last
//	      sector of the group, u32
//	 508  CRC-32C of bytes 504 to 508, u32
//
// In a sector that no group was written to, the stamp is zeros or names one of
// an earlier use of the file, whose number is lower. A group is written up to
// the end of its last sector; the one after it begins in the same sector,
// behind it, and puts its own stamp.
//
// That a group was made durable, though it cannot be read, is certain where
// each of its sectors bears its stamp, where a later one was begun, or where a
// stamp is neither its own nor an earlier one. What cannot be noticed in the
// journal itself is a sector that holds just what stood there before the group
// (a device that loses a write after it confirmed the sync, or gives zeros
// instead), and a file cut off within the group: those look as a write cut
// short does. The last checkpoints notice them if they reach that far, and a
// witness or a copy elsewhere (Cosign, HoldTo) if the whole directory is older.
const (
	sectorSize = 512
	stampSize  = 8
	sectorData = sectorSize - stampSize
)

// fileOffset is where the segment's byte of that offset, stamps not counted,
// stands in the file.
func fileOffset(at int64) int64 { return at/sectorData*sectorSize + at%sectorData }

// sectorEnd is where in the file the sector ends that holds the byte before at.
func sectorEnd(at int64) int64 { return (at + sectorData - 1) / sectorData * sectorSize }

type stamp [stampSize]byte

const stampNumbers = 1 << 31

func stampOf(number uint64, last bool) stamp {
	var s stamp
	word := uint32(number%stampNumbers) << 1
	if last {
		word |= 1
	}
	binary.BigEndian.PutUint32(s[:], word)
	binary.BigEndian.PutUint32(s[4:], castagnoli(s[:4]))
	return s
}

// read gives the number and the bit; ok is false for what stampOf never made.
func (s stamp) read() (number uint64, last, ok bool) {
	word := binary.BigEndian.Uint32(s[:])
	return uint64(word >> 1), word&1 == 1, binary.BigEndian.Uint32(s[4:]) == castagnoli(s[:4])
}

// begunOver reports whether s is zeros, or zeros behind the beginning of a
// stamp of that number, as a write leaves them that got no further.
func (s stamp) begunOver(number uint64) bool {
	for _, last := range []bool{false, true} {
		next, n := stampOf(number, last), 0
		for n < stampSize && s[n] == next[n] {
			n++
		}
		if allZero(s[n:]) {
			return true
		}
	}
	return false
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// stamper puts a group's bytes into sectors. at is the offset of the next one,
// stamps not counted.
type stamper struct {
	out    []byte
	at     int64
	number uint64
	usual  stamp // of every sector but the last
}

func newStamper(out []byte, at int64, number uint64) stamper {
	return stamper{out, at, number, stampOf(number, false)}
}

func (w *stamper) write(b []byte) {
	for len(b) > 0 {
		n := min(int64(len(b)), sectorData-w.at%sectorData)
		w.out = append(w.out, b[:n]...)
		b, w.at = b[n:], w.at+n
		if w.at%sectorData == 0 {
			w.out = append(w.out, w.usual[:]...)
		}
	}
}

// end fills the last sector up.
func (w *stamper) end() {
	s := stampOf(w.number, true)
	if used := w.at % sectorData; used > 0 {
		var zeros [sectorData]byte
		w.out = append(w.out, zeros[used:]...)
		w.out = append(w.out, s[:]...)
		return
	}
	copy(w.out[len(w.out)-stampSize:], s[:])
}

// unstamped is a segment's bytes without the stamps.
func unstamped(file []byte) []byte {
	out := make([]byte, 0, len(file))
	for len(file) > 0 {
		n := min(len(file), sectorSize)
		out = append(out, file[:min(n, sectorData)]...)
		file = file[n:]
	}
	return out
}

func stampAt(file []byte, sector int64) (stamp, bool) {
	end := (sector + 1) * sectorSize
	if end > int64(len(file)) {
		return stamp{}, false
	}
	return stamp(file[end-stampSize : end]), true
}

// landing is what the stamps say of a group that cannot be read.
type landing struct {
	end    int64  // in the file, of the last sector that bears its stamp; 0 if none does
	damage string // why it was made durable; empty where its write can have been cut short
}

// landed looks at the stamps for the group of that number, which should begin
// at the offset at, stamps not counted.
func landed(file []byte, at int64, number uint64) landing {
	var l landing
	first := at / sectorData
	own, whole := first-1, false
	for i := first; !whole; i++ {
		s, ok := stampAt(file, i)
		if !ok {
			break
		}
		n, last, ok := s.read()
		switch ahead := (n - number) % stampNumbers; {
		case !ok:
		case ahead == 0:
			own, whole = i, last
			l.end = (i + 1) * sectorSize
		case ahead < stampNumbers/2:
			l.damage = fmt.Sprintf("the sector at byte %d was written after it", i*sectorSize)
			return l
		}
	}
	missing := 0
	for i := first; i <= own+1; i++ {
		s, there := stampAt(file, i)
		n, _, ok := s.read()
		switch {
		case !there || whole && i > own:
		case ok && n == number%stampNumbers:
		case ok || s.begunOver(number) || i == first && s.begunOver(number-1):
			missing++
		default:
			l.damage = fmt.Sprintf("the stamp of the sector at byte %d is none that was written", i*sectorSize)
			return l
		}
	}
	if whole && missing == 0 {
		l.damage = "every sector of it was written"
	}
	return l
}
