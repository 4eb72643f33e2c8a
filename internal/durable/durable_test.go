package durable_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/internal/durable"
	"trustpack/internal/durable/crashfs"
)

// TestWriteFileIsOldOrNew breaks each step of a replacement in each way.
func TestWriteFileIsOldOrNew(t *testing.T) {
	const path = "/d/file"
	fresh := func() *crashfs.FS {
		f := crashfs.New()
		if err := durable.MkdirIn(f, "/d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFileIn(f, path, []byte("old content"), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := fresh()
	f.FailAt(0, crashfs.None)
	if err := durable.WriteFileIn(f, path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	steps := f.Operations()
	if len(steps) != 5 { // create, write, sync, rename, sync the directory
		t.Fatalf("steps are %q", steps)
	}
	for i, step := range append(steps, "nothing") {
		for fault := crashfs.Before; fault <= crashfs.CrashAfter; fault++ {
			t.Run(fmt.Sprintf("%s %s", fault, strings.Fields(step)[0]), func(t *testing.T) {
				f := fresh()
				f.FailAt(i+1, fault)
				err := durable.WriteFileIn(f, path, []byte("new"), 0o600)
				if (err == nil) != (step == "nothing") {
					t.Errorf("WriteFile: %v", err)
				}
				for what, after := range map[string]*crashfs.FS{"restart": f.Restart(), "crash": f.Reboot(0), "half": f.Reboot(128), "crash with luck": f.Reboot(256)} {
					got, readErr := durable.ReadFileIn(after, path)
					if readErr != nil || string(got) != "new" && (err == nil || string(got) != "old content") {
						t.Errorf("after %s: %q, %v", what, got, readErr)
					}
					if err := durable.RemoveTempsIn(after, "/d"); err != nil {
						t.Error(err)
					}
					if left := after.Files(); len(left) != 1 {
						t.Errorf("after %s: %d files", what, len(left))
					}
				}
				var crashed bool
				if crashed = errors.Is(err, crashfs.ErrCrashed); !crashed && len(f.Restart().Files()) != 1 {
					t.Error("a failed write left its temporary file")
				}
			})
		}
	}
}

func TestWriteFileOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, want := range []string{"one", "two, longer", ""} {
		if err := durable.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files, %v", len(left), err)
	}
	if err := durable.WriteFile(filepath.Join(path, "below a file"), nil, 0o600); err == nil {
		t.Error("wrote below a file")
	}
}

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	none, err := durable.LockDirShared(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, durable.LockName)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a shared lock wrote to the directory")
	}
	if err := none.Unlock(); err != nil {
		t.Error(err)
	}
	held, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, lock := range map[string]func(string) (*durable.Lock, error){"exclusive": durable.LockDir, "shared": durable.LockDirShared} {
		_, err := lock(dir)
		var locked *durable.LockedError
		if !errors.As(err, &locked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on", os.Getpid())) {
			t.Errorf("%s lock beside a holder: %v", name, err)
		}
	}
	if err := held.Unlock(); err != nil {
		t.Fatal(err)
	}
	a, err := durable.LockDirShared(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := durable.LockDirShared(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.LockDir(dir); err == nil {
		t.Error("an exclusive lock beside readers")
	}
	if err := errors.Join(a.Unlock(), b.Unlock()); err != nil {
		t.Error(err)
	}
}

// TestLockEndsWithItsProcess lets another process take the lock and die.
func TestLockEndsWithItsProcess(t *testing.T) {
	if dir := os.Getenv("DURABLE_TEST_LOCK"); dir != "" {
		if _, err := durable.LockDir(dir); err != nil {
			t.Fatal(err)
		}
		os.Exit(3)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=TestLockEndsWithItsProcess")
	cmd.Env = append(os.Environ(), "DURABLE_TEST_LOCK="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("the other process: %v, %s", err, out)
	}
	l, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Unlock()
}
