package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LockName is the file in a locked directory that carries the lock.
const LockName = "lock"

// LockedError says that somebody else holds a directory.
type LockedError struct {
	Dir    string
	Holder string // what the holder wrote about itself, such as "process 123 on host a"; empty where it cannot be read
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("%s is in use by %s: stop it first, or work on a copy of the directory", e.Dir, holder)
}

var errLockHeld = errors.New("lock is held")

// Lock holds a directory. The operating system lets go of it when the process
// ends, however it ends.
type Lock struct{ f *os.File }

// LockDir takes dir for this process alone. If it is taken the error is a
// *LockedError. The lock file stays behind and means nothing by itself.
func LockDir(dir string) (*Lock, error) {
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := lockFile(f, true); err != nil {
		return nil, lockFailed(f, dir, err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), f.Close())
	}
	return &Lock{f}, nil
}

// LockDirShared holds dir against LockDir while it is read, beside others that
// do the same, and writes nothing. A directory without a lock file (a copy
// that left it out) is held by nobody, and the lock is then an empty one.
func LockDirShared(dir string) (*Lock, error) {
	f, err := os.Open(filepath.Join(dir, LockName))
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := lockFile(f, false); err != nil {
		return nil, lockFailed(f, dir, err)
	}
	return &Lock{f}, nil
}

func lockFailed(f *os.File, dir string, err error) error {
	if !errors.Is(err, errLockHeld) {
		return errors.Join(fmt.Errorf("locking %s: %w", dir, err), f.Close())
	}
	about := make([]byte, 200)
	n, _ := f.ReadAt(about, 0) // only to name the holder; unreadable means unnamed
	return errors.Join(&LockedError{Dir: dir, Holder: printable(string(about[:n]))}, f.Close())
}

func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s))
}

// Unlock lets go of the directory.
func (l *Lock) Unlock() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
