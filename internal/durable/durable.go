// Package durable writes files so that they are still there after the power
// failed: whole or not at all. It owns the order of write, fsync, rename and
// directory fsync, and what each operating system needs for it.
//
// FS is the seam: Disk is the operating system's, and package crashfs has one
// that fails on demand and forgets what was never synced.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FS is the part of a file system that durable writing needs. Paths are the
// operating system's.
type FS interface {
	// OpenFile is os.OpenFile without O_APPEND.
	OpenFile(path string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(path string, perm fs.FileMode) error
	// Rename replaces newPath in one step. It is durable after SyncDir of the
	// directory; on Windows, at once.
	Rename(oldPath, newPath string) error
	Remove(path string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(path string) ([]fs.DirEntry, error)
	// SyncDir makes the creation, renaming and removal of the directory's
	// entries durable.
	SyncDir(path string) error
}

// File is an open file, read and written at offsets.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes content and size durable. After it failed, nothing is known
	// about what was written since the last success, and a later success
	// does not change that: the caller must stop using the file.
	Sync() error
}

// WriteFile puts data at path on disk durably: after it returns nil the file
// holds data whatever happens; after an error, or a crash within, it holds
// data or what it held before.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return WriteFileIn(Disk{}, path, data, perm)
}

// WriteFileIn is WriteFile on fsys.
func WriteFileIn(fsys FS, path string, data []byte, perm fs.FileMode) error {
	return WriteIn(fsys, path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteIn is WriteFileIn of what write writes. A long file is brought to the
// disk piece by piece, so that what others sync meanwhile need not wait for
// all of it.
func WriteIn(fsys FS, path string, perm fs.FileMode, write func(io.Writer) error) error {
	temp := TempName(path)
	if err := writeSynced(fsys, temp, perm, write); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), removeIfThere(fsys, temp))
	}
	if err := fsys.Rename(temp, path); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), removeIfThere(fsys, temp))
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func removeIfThere(fsys FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// syncPiece is how many bytes of a long file are written between two syncs.
const syncPiece = 1 << 20

// syncedWriter writes a file from its beginning.
type syncedWriter struct {
	f      File
	at     int64
	synced int64
}

func (w *syncedWriter) Write(b []byte) (int, error) {
	n, err := w.f.WriteAt(b, w.at)
	w.at += int64(n)
	if err == nil && w.at-w.synced >= syncPiece {
		err = w.f.Sync()
		w.synced = w.at
	}
	return n, err
}

func writeSynced(fsys FS, path string, perm fs.FileMode, write func(io.Writer) error) error {
	f, err := fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if err = write(&syncedWriter{f: f}); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReadFileIn reads the whole file at path.
func ReadFileIn(fsys FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); err != nil && (err != io.EOF || int64(n) != size) {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data, nil
}

// MkdirIn makes the directory path and those above it that are missing, and
// makes each durable in the one above it.
func MkdirIn(fsys FS, path string, perm fs.FileMode) error {
	if _, err := fsys.ReadDir(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making directory %s: %w", path, err)
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirIn(fsys, parent, perm); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(path, perm); err != nil {
		return fmt.Errorf("making directory %s: %w", path, err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fmt.Errorf("making directory %s: %w", path, err)
	}
	return nil
}

// SyncAboveIn makes path's name durable in its directory, and that one's in
// the one above, up to the root, as far as this process may open them: for a
// directory found in place that an earlier process may have made and crashed
// before it was synced.
func SyncAboveIn(fsys FS, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("syncing the directories above %s: %w", path, err)
	}
	for parent := filepath.Dir(path); parent != path; path, parent = parent, filepath.Dir(parent) {
		if err := fsys.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("syncing directory %s: %w", parent, err)
		}
	}
	return nil
}

const tempPrefix = ".tmp-"

// TempName gives a name beside path for a file that is to be renamed to path
// once it is whole, and that RemoveTempsIn removes if it never was.
func TempName(path string) string {
	return filepath.Join(filepath.Dir(path), tempPrefix+filepath.Base(path)+"."+rand.Text()[:8])
}

// RemoveTempsIn removes what a crash within WriteFile left in dir.
func RemoveTempsIn(fsys FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
