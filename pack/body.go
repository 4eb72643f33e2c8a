package pack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// opener opens the content of a file from its beginning, for the same bytes
// each time.
type opener func() (io.ReadCloser, error)

func inMemory(b []byte) opener {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// sums is what the archive and the manifest say of a file's content.
type sums struct {
	size   int64
	crc    uint32
	sha256 [sha256.Size]byte
}

// summer sums up content as it is written to it. Reset makes it anew.
type summer struct {
	size   int64
	crc    uint32
	sha256 hash.Hash
}

func newSummer() *summer { return &summer{sha256: sha256.New()} }

func (s *summer) Reset() {
	s.size, s.crc = 0, 0
	s.sha256.Reset()
}

func (s *summer) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	s.crc = crc32.Update(s.crc, crc32.IEEETable, p)
	return s.sha256.Write(p)
}

func (s *summer) sums() sums {
	out := sums{size: s.size, crc: s.crc}
	s.sha256.Sum(out.sha256[:0])
	return out
}

// copyBuffer is the size of the pieces in which content is read.
const copyBuffer = 256 << 10

// copier copies contents through one buffer.
type copier struct{ buf []byte }

// copy writes what open opens.
func (c *copier) copy(w io.Writer, open opener) error {
	in, err := open()
	if err != nil {
		return err
	}
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	_, err = io.CopyBuffer(w, in, c.buf)
	return errors.Join(err, in.Close())
}

// read gives content of at most limit bytes.
func (c *copier) read(open opener, limit int64) ([]byte, error) {
	var out bytes.Buffer
	err := c.copy(&limited{&out, limit}, open)
	return out.Bytes(), err
}

type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, fmt.Errorf("it is longer than what is read whole")
	}
	return l.w.Write(p)
}
