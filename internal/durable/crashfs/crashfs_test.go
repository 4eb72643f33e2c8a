package crashfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"trustpack/internal/durable"
)

func write(t *testing.T, f *FS, path, content string, sync bool) {
	t.Helper()
	h, err := f.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := h.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func content(f *FS, path string) string {
	b, err := durable.ReadFileIn(f, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestCrashForgetsWhatWasNotSynced(t *testing.T) {
	f := New()
	if err := durable.MkdirIn(f, "/d", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, f, "/d/named", "abcdefgh", false)
	write(t, f, "/d/whole", "abcdefgh", true)
	if err := f.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "/d/nameless", "abcdefgh", true)
	write(t, f, "/d/other", "new", true)
	if err := f.Rename("/d/other", "/d/whole"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, restart, nothing, half string }{
		{"/d/named", "abcdefgh", "", "abcd"},
		{"/d/whole", "new", "abcdefgh", "abcdefgh"},
		{"/d/nameless", "abcdefgh", "absent", "absent"},
	} {
		restart, nothing, half := content(f.Restart(), c.path), content(f.Reboot(0), c.path), content(f.Reboot(128), c.path)
		if restart != c.restart || nothing != c.nothing || half != c.half {
			t.Errorf("%s: %q after a restart, %q and %q after a crash", c.path, restart, nothing, half)
		}
	}
	if _, err := f.ReadDir("/d"); !errors.Is(err, ErrCrashed) {
		t.Errorf("after the crash: %v", err)
	}
}

func TestAFailedSyncIsNotMadeGood(t *testing.T) {
	f := New()
	write(t, f, "/a", "", false)
	if err := f.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	h, err := f.OpenFile("/a", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt([]byte("lost"), 0); err != nil {
		t.Fatal(err)
	}
	f.FailAt(1, Short)
	if err := h.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	if err := h.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := content(f.Reboot(0), "/a"); got != "\x00\x00\x00\x00" {
		t.Errorf("after the crash: %q", got)
	}
}

func TestFaults(t *testing.T) {
	for fault, want := range map[Fault]string{Before: "", After: "abcd", Short: "ab", NoSpace: "ab", Crash: "", CrashAfter: "abcd"} {
		f := New()
		write(t, f, "/a", "", false)
		h, err := f.OpenFile("/a", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.FailAt(1, fault)
		if _, err := h.WriteAt([]byte("abcd"), 0); err == nil {
			t.Errorf("%v: no error", fault)
		}
		if got := content(f.Restart(), "/a"); got != want {
			t.Errorf("%v leaves %q, want %q", fault, got, want)
		}
	}
}

// TestACrashKeepsSectors: of what was written over what was synced, a crash
// keeps whole sectors, and no other.
func TestACrashKeepsSectors(t *testing.T) {
	f := New()
	f.Put("/file", make([]byte, 8*sector))
	file, err := f.OpenFile("/file", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(bytes.Repeat([]byte{1}, 6*sector), sector); err != nil {
		t.Fatal(err)
	}
	for keep, want := range map[int][2]int{0: {0, 0}, 128: {1, 5}, 256: {6, 6}} {
		got := f.Restart().Reboot(keep).Files()["/file"]
		kept := 0
		for at := 0; at < len(got); at += sector {
			n := bytes.Count(got[at:at+sector], []byte{1})
			if n != 0 && n != sector {
				t.Errorf("keep %d: %d bytes of a sector", keep, n)
			}
			kept += n / sector
		}
		if len(got) != 8*sector || kept < want[0] || kept > want[1] {
			t.Errorf("keep %d: %d sectors of %d bytes, want %v", keep, kept, len(got), want)
		}
	}
}
