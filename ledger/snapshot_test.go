package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func writing(state string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, state)
		return err
	}
}

func save(t testing.TB, l *Ledger, name string, sizes map[string]int64, state string) {
	t.Helper()
	if err := l.SaveSnapshot(name, sizes, writing(state)); err != nil {
		t.Fatal(err)
	}
}

// load reads the whole snapshot.
func load(l *Ledger, name string) (string, *Snapshot, error) {
	s, err := l.OpenSnapshot(name)
	if err != nil {
		return "", nil, err
	}
	b, err := io.ReadAll(s)
	return string(b), s, errors.Join(err, s.Close())
}

func TestSnapshotIsBoundToTheLogs(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	if _, err := l.OpenSnapshot("state"); !errors.Is(err, ErrNotFound) {
		t.Errorf("none yet: %v", err)
	}
	fill(t, l, "a", 300)
	fill(t, l, "b", 2)
	sizes := map[string]int64{"a": 290, "b": 2, "new": 0}
	save(t, l, "state", sizes, "what 292 entries made")
	for name, bad := range map[string]map[string]int64{"more than there is": {"a": 301}, "an unknown log": {"c": 1}} {
		if err := l.SaveSnapshot("state", bad, writing("x")); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "../state", "State"} {
		if err := l.SaveSnapshot(name, nil, writing("x")); err == nil || !strings.Contains(err.Error(), "log name") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	fill(t, l, "a", 5)
	l.Close()
	reload := func(dir string, o Options) (string, *Snapshot, error) {
		t.Helper()
		l := open(t, dir, o)
		defer l.Close()
		return load(l, "state")
	}
	state, s, err := reload(dir, o)
	if err != nil || state != "what 292 entries made" || len(s.Sizes) != 3 || s.Sizes["a"] != 290 || s.Time.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}

	path := filepath.Join(dir, "snapshots", "state.snap")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, dir string, o Options, want string) {
		t.Helper()
		if state, _, err := reload(dir, o); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), want) || state != "" {
			t.Errorf("%s: %q, %v", what, state, err)
		}
	}
	l = open(t, dir, o)
	for at := range whole {
		for what, b := range map[string][]byte{"cut": whole[:at], "flipped": append(append(bytes.Clone(whole[:at]), whole[at]^1), whole[at+1:]...)} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if state, _, err := load(l, "state"); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("%s at %d: %q, %v", what, at, state, err)
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
		save(t, l, "state", nil, "")
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
	if _, err := l.OpenSnapshot("other"); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), "another name") {
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
	if _, err := r.OpenSnapshot("state"); !errors.Is(err, ErrSnapshot) {
		t.Errorf("without a seed: %v", err)
	}
	r.Close()
	if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := reload(dir, o); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// TestLongSnapshot: a state of several pieces, written in bits, comes back as
// it was; each piece that is missing, moved or doubled is noticed, and what was
// read up to there is a prefix of what was written.
func TestLongSnapshot(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, testOptions())
	defer l.Close()
	r := rand.New(rand.NewPCG(1, 2))
	var whole []byte
	err := l.SaveSnapshot("state", nil, func(w io.Writer) error {
		for len(whole) < 3*snapshotPiece+77 {
			bit := make([]byte, r.IntN(snapshotPiece*3/2))
			for i := range bit {
				bit[i] = byte(r.Uint32())
			}
			whole = append(whole, bit...)
			if n, err := w.Write(bit); err != nil || n != len(bit) {
				return fmt.Errorf("%d of %d bytes: %w", n, len(bit), err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := load(l, "state"); err != nil || got != string(whole) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(whole), err)
	}
	path := filepath.Join(dir, "snapshots", "state.snap")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := len(good) - 36 - len(whole) - 36*((len(whole)+snapshotPiece-1)/snapshotPiece)
	piece := good[head : head+snapshotPiece+36]
	for what, b := range map[string][]byte{
		"the first is missing":   slices.Concat(good[:head], good[head+len(piece):]),
		"the first came twice":   slices.Concat(good[:head], piece, good[head:]),
		"only the end":           slices.Concat(good[:head], good[len(good)-36:]),
		"no end":                 good[:len(good)-36],
		"something behind":       append(slices.Clone(good), 0),
		"another snapshot's end": slices.Concat(good[:head+len(piece)], good[len(good)-36:]),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _, err := load(l, "state"); !errors.Is(err, ErrSnapshot) || !strings.HasPrefix(string(whole), got) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
}
