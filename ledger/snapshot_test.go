package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSnapshotIsBoundToTheLogs(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	if _, err := l.LoadSnapshot("state"); !errors.Is(err, ErrNotFound) {
		t.Errorf("none yet: %v", err)
	}
	fill(t, l, "a", 300)
	fill(t, l, "b", 2)
	sizes := map[string]int64{"a": 290, "b": 2, "new": 0}
	if err := l.SaveSnapshot("state", sizes, []byte("what 292 entries made")); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]map[string]int64{"more than there is": {"a": 301}, "an unknown log": {"c": 1}} {
		if err := l.SaveSnapshot("state", bad, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "../state", "State"} {
		if err := l.SaveSnapshot(name, nil, nil); err == nil || !strings.Contains(err.Error(), "log name") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	fill(t, l, "a", 5)
	l.Close()
	load := func(dir string, o Options) (Snapshot, error) {
		t.Helper()
		l := open(t, dir, o)
		defer l.Close()
		return l.LoadSnapshot("state")
	}
	s, err := load(dir, o)
	if err != nil || string(s.Blob) != "what 292 entries made" || len(s.Sizes) != 3 || s.Sizes["a"] != 290 || s.Time.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}

	path := filepath.Join(dir, "snapshots", "state.snap")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, dir string, o Options, want string) {
		t.Helper()
		if s, err := load(dir, o); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), want) || s.Blob != nil {
			t.Errorf("%s: %q, %v", what, s.Blob, err)
		}
	}
	l = open(t, dir, o)
	for at := range whole {
		for what, b := range map[string][]byte{"cut": whole[:at], "flipped": append(append(bytes.Clone(whole[:at]), whole[at]^1), whole[at+1:]...)} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := l.LoadSnapshot("state"); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("%s at %d: %q, %v", what, at, s.Blob, err)
			}
		}
	}
	l.Close()

	// Another ledger with the same seed: shorter, or of other entries.
	for what, c := range map[string]struct {
		n    int
		want string
	}{"shorter": {10, "has 10 entries, not 290"}, "other entries": {400, "hash to"}, "nothing": {0, "log \"a\""}} {
		other := t.TempDir()
		l := open(t, other, o)
		for range c.n {
			appendOne(t, l, "a", "else")
		}
		fill(t, l, "b", 2)
		if err := l.SaveSnapshot("state", nil, nil); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if err := os.WriteFile(filepath.Join(other, "snapshots", "state.snap"), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(what, other, o, c.want)
	}
	if err := os.WriteFile(filepath.Join(dir, "snapshots", "other.snap"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, o)
	if _, err := l.LoadSnapshot("other"); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), "another name") {
		t.Errorf("under another name: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	another := o
	another.Seed = []byte(strings.Repeat("s", SeedSize))
	refused("another seed", dir, another, "another seed")
	r, err := OpenReadOnly(dir, Options{Instance: o.Instance})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.LoadSnapshot("state"); !errors.Is(err, ErrSnapshot) {
		t.Errorf("without a seed: %v", err)
	}
	r.Close()
	if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, err := load(dir, o); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}
