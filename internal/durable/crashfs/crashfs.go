// Package crashfs is a durable.FS in memory, for tests, that fails on demand
// and forgets at a crash what was never synced: content and sizes since the
// last Sync of a file, and names since the last SyncDir of a directory.
package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing/fstest"

	"trustpack/internal/durable"
)

// ErrCrashed is what every operation answers after a crash.
var ErrCrashed = errors.New("the machine has crashed")

// Fault says how an operation fails.
type Fault int

// The faults. Before is without effect, After with its full effect. Short
// leaves half of a write, and a sync that later ones do not make good; NoSpace
// is Short with ENOSPC. Crash ends everything before the operation, CrashAfter
// after it.
const (
	None Fault = iota
	Before
	After
	Short
	NoSpace
	Crash
	CrashAfter
)

func (f Fault) String() string {
	return [...]string{"none", "before", "after", "short", "no-space", "crash", "crash-after"}[f]
}

// FS is the file system. Directories need no permissions and all exist that
// were made. The zero value is not usable; call New.
type FS struct {
	mu      sync.Mutex
	names   map[string]*node // as they are
	durable map[string]*node // as a crash leaves them
	ops     int
	failAt  int
	fault   Fault
	crashed bool
	journal []string // what each operation was
}

// New makes an empty file system.
func New() *FS {
	return &FS{names: map[string]*node{}, durable: map[string]*node{}}
}

// FailAt makes the n-th changing operation from now on (from 1) fail so.
func (f *FS) FailAt(n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops, f.failAt, f.fault, f.journal = 0, n, fault, nil
}

// Operations lists the changing operations since FailAt.
func (f *FS) Operations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.journal)
}

// sector is what a device writes whole or not at all.
const sector = 512

// Reboot is the file system after a crash and a restart. How much of a file
// was written though nobody synced it is chance; keep says, in parts of 256,
// how much of it is kept: 0 is nothing, 256 is all. Of what a file grew by that
// is the beginning, and of what was overwritten in it, single sectors.
func (f *FS) Reboot(keep int) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	after := New()
	for name, n := range f.durable {
		if !f.reachable(name) {
			continue
		}
		c := &node{dir: n.dir}
		c.put(n.synced, 0)
		for at := 0; at < min(len(n.synced), len(n.content)); at += sector {
			end := min(at+sector, len(n.synced), len(n.content))
			if chance := (at/sector + 1) * 167 % 256; chance < keep && slices.Contains(n.dirty[at:end], true) {
				c.put(n.content[at:end], int64(at))
			}
		}
		if extra := len(n.content) - len(n.synced); extra > 0 {
			c.put(n.content[len(n.synced):len(n.synced)+extra*keep/256], int64(len(n.synced)))
		}
		c.sync()
		after.names[name], after.durable[name] = c, c
	}
	return after
}

// reachable reports whether the directories above name are durable.
func (f *FS) reachable(name string) bool {
	for dir := filepath.Dir(name); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if f.durable[dir] == nil {
			return false
		}
	}
	return true
}

// Restart is the file system as a process finds it that starts again on a
// machine that did not crash: what was written is there, synced or not.
func (f *FS) Restart() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	after := New()
	copies := map[*node]*node{}
	copyOf := func(n *node) *node {
		if copies[n] == nil {
			copies[n] = &node{n.dir, slices.Clone(n.content), slices.Clone(n.dirty), slices.Clone(n.synced)}
		}
		return copies[n]
	}
	for name, n := range f.names {
		after.names[name] = copyOf(n)
	}
	for name, n := range f.durable {
		after.durable[name] = copyOf(n)
	}
	return after
}

// Files lists the files by path with their content.
func (f *FS) Files() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string][]byte{}
	for name, n := range f.names {
		if !n.dir {
			out[name] = slices.Clone(n.content)
		}
	}
	return out
}

// Put sets a file's content, durably.
func (f *FS) Put(path string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &node{}
	n.put(content, 0)
	n.sync()
	f.names[filepath.Clean(path)], f.durable[filepath.Clean(path)] = n, n
}

// change runs a changing operation, or fails it as asked. partly, where it is
// given, is what a failure leaves behind.
func (f *FS) change(what string, do func() error, partly func()) error {
	if f.crashed {
		return ErrCrashed
	}
	f.ops++
	f.journal = append(f.journal, what)
	fault := None
	if f.ops == f.failAt {
		fault = f.fault
	}
	switch fault {
	case Crash:
		f.crashed = true
		return ErrCrashed
	case Before, Short, NoSpace:
		if fault != Before && partly != nil {
			partly()
		}
		if fault == NoSpace {
			return fmt.Errorf("%s: %w", what, syscall.ENOSPC)
		}
		return fmt.Errorf("%s: %w", what, syscall.EIO)
	}
	if err := do(); err != nil {
		return err
	}
	switch fault {
	case After:
		return fmt.Errorf("%s: %w", what, syscall.EIO)
	case CrashAfter:
		f.crashed = true
		return ErrCrashed
	}
	return nil
}

// OpenFile opens or makes a file.
func (f *FS) OpenFile(path string, flag int, _ fs.FileMode) (durable.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	if f.crashed {
		return nil, ErrCrashed
	}
	n, ok := f.names[path]
	switch {
	case ok && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	case ok && n.dir:
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	case ok:
		return &file{f, n, path}, nil
	case flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	n = &node{}
	err := f.change("create "+path, func() error { f.names[path] = n; return nil }, nil)
	if err != nil {
		return nil, err
	}
	return &file{f, n, path}, nil
}

// MkdirAll makes a directory.
func (f *FS) MkdirAll(path string, _ fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	return f.change("mkdir "+path, func() error {
		for p := path; ; p = filepath.Dir(p) {
			if f.names[p] == nil {
				f.names[p] = &node{dir: true}
			}
			if p == filepath.Dir(p) {
				return nil
			}
		}
	}, nil)
}

// Rename moves a file.
func (f *FS) Rename(oldPath, newPath string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldPath, newPath = filepath.Clean(oldPath), filepath.Clean(newPath)
	return f.change("rename to "+newPath, func() error {
		n, ok := f.names[oldPath]
		if !ok {
			return &fs.PathError{Op: "rename", Path: oldPath, Err: fs.ErrNotExist}
		}
		delete(f.names, oldPath)
		f.names[newPath] = n
		return nil
	}, nil)
}

// Remove removes a file.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	return f.change("remove "+path, func() error {
		if f.names[path] == nil {
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
		}
		delete(f.names, path)
		return nil
	}, nil)
}

// ReadDir lists a directory.
func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	if f.crashed {
		return nil, ErrCrashed
	}
	if n := f.names[path]; n == nil || !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
	}
	listing := fstest.MapFS{}
	for name, n := range f.names {
		if filepath.Dir(name) == path && name != path {
			mode := fs.FileMode(0)
			if n.dir {
				mode = fs.ModeDir
			}
			listing[filepath.Base(name)] = &fstest.MapFile{Mode: mode}
		}
	}
	return listing.ReadDir(".")
}

// SyncDir makes the directory's names durable.
func (f *FS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	return f.change("syncdir "+path, func() error {
		for name := range f.durable {
			if filepath.Dir(name) == path && name != path && f.names[name] == nil {
				delete(f.durable, name)
				for below := range f.durable {
					if strings.HasPrefix(below, name+string(filepath.Separator)) {
						delete(f.durable, below)
					}
				}
			}
		}
		for name, n := range f.names {
			if filepath.Dir(name) == path {
				f.durable[name] = n
			}
		}
		return nil
	}, nil)
}
