package ledger

import (
	"bytes"
	"fmt"
)

// chain is a place in the sequence of groups.
type chain struct {
	number uint64 // of the last group; 0 before the first
	crc    uint32 // of that group; 0 before the first
}

// segmentScan is what reading a segment from its beginning gave.
type segmentScan struct {
	header segmentHeader
	last   chain // after its last good group
	end    int64 // offset behind that group
	// bad says why the bytes at end are no good group; empty where the
	// segment ends there.
	bad  string
	size int64 // of the segment
	// laterGood is the offset of a good group behind the bad place, or -1.
	laterGood int64
}

// scanSegment reads a segment's bytes and calls each for every group in
// order, up to the first that is not good. The error is that of each, or says
// that the header is unusable.
func scanSegment(b []byte, each func(group) error) (segmentScan, error) {
	h, err := parseSegmentHeader(b)
	if err != nil {
		return segmentScan{}, err
	}
	s := segmentScan{header: h, last: chain{h.first - 1, h.prevCRC}, end: segmentHeaderSize, size: int64(len(b)), laterGood: -1}
	for s.end < int64(len(b)) {
		g, n, err := parseGroup(b[s.end:], h.marker)
		if err == nil && (g.number != s.last.number+1 || g.prevCRC != s.last.crc) {
			err = fmt.Errorf("group %d does not follow group %d", g.number, s.last.number)
		}
		if err != nil {
			s.bad = err.Error()
			s.laterGood = findGroup(b, s.end+1, h.marker)
			return s, nil
		}
		if err := each(g); err != nil {
			return s, err
		}
		s.last = chain{g.number, g.crc}
		s.end += int64(n)
	}
	return s, nil
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
