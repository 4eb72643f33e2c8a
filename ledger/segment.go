package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// chain is a place in the sequence of groups.
type chain struct {
	number uint64 // of the last group; 0 before the first
	crc    uint32 // of that group; 0 before the first
}

// segmentScan is what reading a segment from its beginning gave. Offsets are
// those in the file.
type segmentScan struct {
	header segmentHeader
	groups int
	last   chain // after its last good group
	end    int64 // offset behind that group
	// bad says why what stands at end is no good group; empty where none was
	// begun there.
	bad  string
	torn int64 // bytes of the group that was begun at end
	// laterGood is the offset of a good group at the bad place, which does not
	// follow, or behind it; or -1.
	laterGood int64
	// durable says why the group at end was made durable though it is bad;
	// empty where its write can have been cut short.
	durable string
}

// scanSegment reads a segment's file, which goes on from last, and calls each
// for every group in order, up to the first that is not good. The error is
// that of each, or says that the header is unusable.
func scanSegment(file []byte, last chain, each func(group) error) (segmentScan, error) {
	b := unstamped(file)
	h, err := parseSegmentHeader(b)
	if err != nil {
		return segmentScan{}, err
	}
	s := segmentScan{header: h, last: last, laterGood: -1}
	at := int64(segmentHeaderSize)
	for {
		s.end = fileOffset(at)
		rest := b[at:]
		if len(rest) == 0 {
			return s, nil
		}
		g, n, err := parseGroup(rest, h.marker)
		if err == nil && (g.number != s.last.number+1 || g.prevCRC != s.last.crc) {
			s.bad, s.laterGood = fmt.Sprintf("group %d does not follow group %d", g.number, s.last.number), s.end
			return s, nil
		}
		if err != nil {
			s.unreadable(err, file, b, at)
			return s, nil
		}
		if err := each(g); err != nil {
			return s, err
		}
		s.groups++
		s.last = chain{g.number, g.crc}
		at += int64(n)
	}
}

// unreadable says what is known of the group that should begin at the offset
// at of b, the file's bytes without stamps.
func (s *segmentScan) unreadable(err error, file, b []byte, at int64) {
	if later := findGroup(b, at+1, s.header.marker); later >= 0 {
		s.laterGood = fileOffset(later)
	}
	l := landed(file, at, s.last.number+1)
	s.durable = l.damage
	begun := bytes.HasPrefix(b[at:], s.header.marker[:])
	if begun {
		s.torn = fileOffset(at+claimed(b[at:])) - s.end
	}
	s.torn = min(max(s.torn, l.end-s.end), int64(len(file))-s.end)
	if begun || l.end > 0 || s.laterGood >= 0 || s.durable != "" {
		s.bad = err.Error()
	}
}

// claimed is how many bytes of b belong to the group that begins there, by
// what its header says.
func claimed(b []byte) int64 {
	if len(b) < groupHeaderSize {
		return int64(len(b))
	}
	return min(int64(len(b)), groupHeaderSize+int64(binary.BigEndian.Uint32(b[16:])))
}

// findGroup looks for a group with a right checksum from the offset on.
func findGroup(b []byte, from int64, m marker) int64 {
	for from < int64(len(b)) {
		i := bytes.Index(b[from:], m[:])
		if i < 0 {
			return -1
		}
		from += int64(i)
		if _, _, err := parseGroup(b[from:], m); err == nil {
			return from
		}
		from++
	}
	return -1
}
