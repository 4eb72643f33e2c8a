package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"trustpack/internal/durable"
)

// pack is an append-only file derived from the journal, with the bytes that
// are not in the file yet kept in memory. The tree that owns it guards its
// fields: readers hold the tree's lock shared, add holds it alone, and one
// goroutine at a time (the tree's flushing lock) moves bytes to the file.
// What lies below flushed never changes again.
type pack struct {
	dir     string       // the ledger's
	name    string       // path within it
	file    durable.File // nil until something is read from or written to it
	flushed int64        // bytes in the file
	tail    []byte       // the bytes after those
	dirty   bool         // written since the last sync; the flushing lock guards it
}

func (p *pack) size() int64 { return p.flushed + int64(len(p.tail)) }

// readAt fills b from off. The lock is held by the caller for the copy out of
// memory only: what must come from the file is read by the function returned.
func (p *pack) readAt(b []byte, off int64) (func() error, error) {
	if off < 0 || off+int64(len(b)) > p.size() {
		return nil, fmt.Errorf("reading %s: bytes %d to %d are beyond its %d", p.name, off, off+int64(len(b)), p.size())
	}
	fromFile := 0
	if off < p.flushed {
		fromFile = int(min(int64(len(b)), p.flushed-off))
	}
	copy(b[fromFile:], p.tail[max(0, off-p.flushed):])
	if fromFile == 0 {
		return nil, nil
	}
	file := p.file
	return func() error {
		if n, err := file.ReadAt(b[:fromFile], off); err != nil && (err != io.EOF || n != fromFile) {
			return fmt.Errorf("reading %s: %w", p.name, err)
		}
		return nil
	}, nil
}

// open opens the file, which must hold at least the flushed bytes; one that
// was never written need not exist while it is only read.
func (p *pack) open(fsys durable.FS, flag int) error {
	f, err := fsys.OpenFile(filepath.Join(p.dir, p.name), flag, 0o600)
	if errors.Is(err, fs.ErrNotExist) && p.flushed == 0 {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &DamageError{File: p.name, Offset: 0, Reason: fmt.Sprintf("it is missing, and should hold %d bytes", p.flushed)}
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && size < p.flushed {
		err = &DamageError{File: p.name, Offset: size, Reason: fmt.Sprintf("it ends here, and should hold %d bytes", p.flushed)}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	p.file = f
	return nil
}

// create opens the file for writing if it is not open yet, and says whether
// it was made.
func (p *pack) create(fsys durable.FS) (made bool, err error) {
	if p.file != nil {
		return false, nil
	}
	f, err := p.made(fsys)
	if err != nil {
		return false, err
	}
	p.file = f
	return true, nil
}

// made makes the file, or opens it, for writing.
func (p *pack) made(fsys durable.FS) (durable.File, error) {
	return fsys.OpenFile(filepath.Join(p.dir, p.name), os.O_RDWR|os.O_CREATE, 0o600)
}

func (p *pack) close() error {
	if p.file == nil {
		return nil
	}
	f := p.file
	p.file = nil
	return f.Close()
}
