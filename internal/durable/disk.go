package durable

import (
	"io/fs"
	"os"
)

// Disk is the operating system's file system.
type Disk struct{}

// OpenFile opens path as os.OpenFile does.
func (Disk) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// MkdirAll is os.MkdirAll.
func (Disk) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(path, perm) }

// Rename replaces newPath by oldPath.
func (Disk) Rename(oldPath, newPath string) error { return rename(oldPath, newPath) }

// Remove is os.Remove.
func (Disk) Remove(path string) error { return os.Remove(path) }

// ReadDir is os.ReadDir.
func (Disk) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }

// SyncDir makes the directory's entries durable.
func (Disk) SyncDir(path string) error { return syncDir(path) }

type diskFile struct{ f *os.File }

func (d diskFile) ReadAt(p []byte, off int64) (int, error)  { return d.f.ReadAt(p, off) }
func (d diskFile) WriteAt(p []byte, off int64) (int, error) { return d.f.WriteAt(p, off) }
func (d diskFile) Close() error                             { return d.f.Close() }
func (d diskFile) Truncate(size int64) error                { return d.f.Truncate(size) }
func (d diskFile) Sync() error                              { return syncData(d.f) }

func (d diskFile) Size() (int64, error) {
	info, err := d.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
