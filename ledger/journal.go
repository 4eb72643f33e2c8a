package ledger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"trustpack/internal/durable"
)

// journal is the write-ahead journal at its writing end. One goroutine uses
// it. After an error it must not be used again.
type journal struct {
	fsys    durable.FS
	dir     string
	file    durable.File
	header  segmentHeader
	last    chain // the last group that is durable
	offset  int64 // behind that group
	scratch []byte
}

const (
	journalDir    = "journal"
	segmentSuffix = ".seg"
)

// segmentName is a segment's path within the ledger's directory.
func segmentName(number uint64) string {
	return filepath.Join(journalDir, fmt.Sprintf("%010d%s", number, segmentSuffix))
}

// begin makes segment number, durable and with nothing in it, and goes on
// writing there.
func (j *journal) begin(number uint64) error {
	h := segmentHeader{number: number, first: j.last.number + 1, prevCRC: j.last.crc}
	if _, err := rand.Read(h.marker[:]); err != nil {
		return fmt.Errorf("drawing a marker: %w", err)
	}
	path := filepath.Join(j.dir, segmentName(number))
	if err := durable.WriteFileIn(j.fsys, path, h.encode(), 0o600); err != nil {
		return err
	}
	file, err := j.fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = j.close()
	j.file, j.header, j.offset = file, h, segmentHeaderSize
	return err
}

// write makes the requests' runs durable as one group.
func (j *journal) write(requests []*request) error {
	buf := append(j.scratch[:0], make([]byte, groupHeaderSize)...)
	for _, r := range requests {
		buf = append(buf, r.body...)
	}
	if cap(buf) <= maxKeptBuffer {
		j.scratch = buf
	}
	next := j.last.number + 1
	crc := sealGroup(buf, j.header.marker, next, j.last.crc)
	if _, err := j.file.WriteAt(buf, j.offset); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.last = chain{next, crc}
	j.offset += int64(len(buf))
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	f := j.file
	j.file = nil
	return f.Close()
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

// dropSegments removes the segments below number, whose content the logs'
// own files hold.
func dropSegments(fsys durable.FS, dir string, number uint64) error {
	numbers, err := listSegments(fsys, dir)
	if err != nil {
		return err
	}
	dropped := false
	for _, n := range numbers {
		if n >= number {
			break
		}
		if err := fsys.Remove(filepath.Join(dir, segmentName(n))); err != nil {
			return err
		}
		dropped = true
	}
	if !dropped {
		return nil
	}
	return fsys.SyncDir(filepath.Join(dir, journalDir))
}
