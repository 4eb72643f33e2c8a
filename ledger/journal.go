package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"trustpack/internal/durable"
)

// journal is the write-ahead journal at its writing end. One goroutine uses
// it. After an error it must not be used again.
type journal struct {
	segment segment
	begun   chain // where the segment begins
	last    chain // the last group that is durable
	offset  int64 // behind that group, stamps not counted
	scratch []byte
	bodies  [][]byte
}

const (
	journalDir    = "journal"
	segmentSuffix = ".seg"
)

// segmentName is a segment's path within the ledger's directory.
func segmentName(number uint64) string {
	return filepath.Join(journalDir, fmt.Sprintf("%010d%s", number, segmentSuffix))
}

// begin goes on writing in s, in which nothing has been written.
func (j *journal) begin(s segment) error {
	err := j.segment.close()
	j.segment, j.begun, j.offset = s, j.last, segmentHeaderSize
	return err
}

// fits reports whether a group of these requests can be written without
// making the segment longer.
func (j *journal) fits(requests []*request) bool {
	size := int64(groupHeaderSize)
	for _, r := range requests {
		size += int64(len(r.body))
	}
	return sectorEnd(j.offset+size) <= j.segment.size
}

// write makes the requests' runs durable as one group.
func (j *journal) write(requests []*request) error {
	var header [groupHeaderSize]byte
	j.bodies = j.bodies[:0]
	for _, r := range requests {
		j.bodies = append(j.bodies, r.body)
	}
	next := j.last.number + 1
	crc := sealGroup(header[:], j.segment.header.marker, next, j.last.crc, j.bodies...)
	w := newStamper(j.scratch[:0], j.offset, next)
	w.write(header[:])
	for _, b := range j.bodies {
		w.write(b)
	}
	w.end()
	clear(j.bodies)
	if cap(w.out) <= 2*groupBytes {
		j.scratch = w.out
	}
	if _, err := j.segment.file.WriteAt(w.out, fileOffset(j.offset)); err != nil {
		return err
	}
	if err := j.segment.file.Sync(); err != nil {
		return err
	}
	j.last, j.offset = chain{next, crc}, w.at
	return nil
}

// trim gives the space back that the last segment does not need. Nothing is
// at risk: it is all behind the last group.
func (j *journal) trim() error {
	end := sectorEnd(j.offset)
	if end >= j.segment.size {
		return nil
	}
	return j.segment.file.Truncate(end)
}

// listSegments gives the numbers of the segments in the ledger's directory,
// ascending.
func listSegments(fsys durable.FS, dir string) ([]uint64, error) {
	entries, err := fsys.ReadDir(filepath.Join(dir, journalDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || filepath.Base(segmentName(n)) != e.Name() || n == 0 {
			return nil, &DamageError{File: filepath.Join(journalDir, e.Name()), Offset: -1, Reason: "no segment has such a name"}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
