package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fsckDir(t *testing.T) (string, Options) {
	t.Helper()
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	for range 3 {
		fill(t, l, "a", 300)
		fill(t, l, "b", 1)
		if _, err := l.Checkpoint("a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Checkpoint("empty"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, o
}

func TestFsckOfASoundLedger(t *testing.T) {
	dir, o := fsckDir(t)
	for _, fo := range []FsckOptions{{}, {Instance: o.Instance, Seed: o.Seed}} {
		r, err := Fsck(dir, fo)
		if err != nil || !r.OK() || r.Entries != 903 || len(r.Logs) != 3 || r.Logs[0].Checkpoints != 3 || r.EntriesPerSecond <= 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if want := map[bool]string{true: "given", false: "stored"}[fo.Seed != nil]; r.Logs[0].Key != want {
			t.Errorf("key is %q, want %q", r.Logs[0].Key, want)
		}
	}
	if _, err := Fsck(t.TempDir(), FsckOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestFsckNamesWhatIsWrong(t *testing.T) {
	flip := func(name string, at int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, filepath.FromSlash(name))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(name string, size int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Truncate(filepath.Join(dir, filepath.FromSlash(name)), size); err != nil {
				t.Fatal(err)
			}
		}
	}
	otherSeed := FsckOptions{Seed: []byte(strings.Repeat("s", SeedSize))}
	for name, c := range map[string]struct {
		spoil func(*testing.T, string)
		o     FsckOptions
		want  string
	}{
		"entry":           {flip("logs/a/entries", 500), FsckOptions{}, "log a, logs/a/entries: damaged at byte "},
		"first frame":     {flip("logs/a/entries", 1), FsckOptions{}, "log a, logs/a/entries: damaged at byte 0: bundle 0"},
		"leaf hash":       {flip("logs/a/level-0", 32*257+5), FsckOptions{}, "log a, logs/a/level-0, entry 257: hash 257 (byte 8224)"},
		"upper hash":      {flip("logs/a/level-1", 33), FsckOptions{}, "log a, logs/a/level-1, entry 511: hash 1"},
		"index":           {flip("logs/a/entries.idx", 7), FsckOptions{}, "logs/a/entries.idx"},
		"index far away":  {flip("logs/a/entries.idx", 2), FsckOptions{}, "logs/a/entries.idx"},
		"short file":      {truncate("logs/a/level-0", 100), FsckOptions{}, "logs/a/level-0: damaged at byte 100"},
		"flush point":     {flip("flushed.json", 60), FsckOptions{}, "flushed.json"},
		"journal":         {flip("journal/0000000001.seg", 100), FsckOptions{}, "journal/0000000001.seg: damaged at byte 64"},
		"journal header":  {flip("journal/0000000001.seg", 20), FsckOptions{}, "journal/0000000001.seg"},
		"checkpoint":      {flip("signed.jsonl", 60), FsckOptions{}, "signed.jsonl: damaged at byte 0"},
		"history":         {flip("history.jsonl", 100), FsckOptions{}, "history.jsonl: damaged at byte 0"},
		"foreign key":     {func(*testing.T, string) {}, otherSeed, "no signature by"},
		"another name":    {func(*testing.T, string) {}, FsckOptions{Instance: "other.example.com"}, "its origin is ingest.example.com/a"},
		"another's vkey":  {func(*testing.T, string) {}, FsckOptions{VerifierKeys: map[string]string{"a": "x+1+y"}}, "reading verifier key"},
		"missing journal": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "journal", "0000000001.seg")) }, FsckOptions{}, "the segment is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := fsckDir(t)
			c.spoil(t, dir)
			r, err := Fsck(dir, c.o)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, p := range r.Problems {
				found = found || strings.Contains(filepath.ToSlash(p.String()), c.want)
			}
			if !found {
				t.Errorf("no problem says %q, but %v", c.want, r.Problems)
			}
		})
	}
}

// TestTheHistoryOutlivesTheLastCheckpoints: what is signed last is in
// signed.jsonl before it is in the history, so that a history that knows more
// shows that the other was lost or is an older copy. It binds the tree too.
func TestTheHistoryOutlivesTheLastCheckpoints(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	grow := func() {
		fill(t, l, "a", 3)
		if _, err := l.Checkpoint("a"); err != nil {
			t.Fatal(err)
		}
		closeLedger(t, l)
	}
	grow()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, o)
	grow()
	put := func(from, to, name string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	contradicted := func() {
		t.Helper()
		var c *ContradictionError
		if l, err := OpenReadOnly(older, o); !errors.As(err, &c) || c.Signed != 6 || c.Size != 3 {
			t.Errorf("opening the older copy: %v", err)
			if err == nil {
				closeLedger(t, l)
			}
		}
	}
	put(dir, older, historyFile)
	contradicted()
	wantProblem(t, "an older copy", older, "log a, history.jsonl: a checkpoint of size 6 is signed, but the log holds 3 entries")
	if err := os.Remove(filepath.Join(older, signedFile)); err != nil {
		t.Fatal(err)
	}
	contradicted()
	wantProblem(t, "an older copy without its last checkpoint", older, "log a, signed.jsonl: it has no last checkpoint, and history.jsonl has one of size 6")

	if err := os.Remove(filepath.Join(dir, signedFile)); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "no last checkpoint", dir, "log a, signed.jsonl: it has no last checkpoint, and history.jsonl has one of size 6")
	l = open(t, dir, o)
	grow()
	wantProblem(t, "signed anew", dir, "")
	l = open(t, dir, o)
	defer closeLedger(t, l)
	if past, err := l.Checkpoints("a"); err != nil || len(past) != 3 || past[0].Size != 3 || past[2].Size != 9 {
		t.Errorf("the history is %+v, %v", past, err)
	}
}
