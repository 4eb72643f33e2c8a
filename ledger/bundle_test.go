package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestEntriesFileIsPlainZstd reads the file with nothing but a decompressor:
// it holds the bundles of all openings one after the other.
func TestEntriesFileIsPlainZstd(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	var want []byte
	for _, n := range []int{1, 3, 300, 5, 1000, 256, 2} {
		l := open(t, dir, o)
		fill(t, l, "a", n)
		want = want[:0]
		for _, e := range entries(t, l, "a", 0, math.MaxInt64) {
			want = appendEntry(want, []byte(e))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(filepath.Join(dir, "logs", "a", "entries"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := r.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, want %d: %v", got.Len(), len(want), err)
	}
	if r, err := Fsck(dir, FsckOptions{}); err != nil || !r.OK() || r.Entries != 1567 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestEachFlippedByteOfEntriesIsNoticed: by who reads it, and by fsck.
func TestEachFlippedByteOfEntriesIsNoticed(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	fill(t, l, "a", 256)
	l.Close()
	l = open(t, dir, o)
	fill(t, l, "a", 3)
	want := entries(t, l, "a", 0, math.MaxInt64)
	l.Close()
	path := filepath.Join(dir, "logs", "a", "entries")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harmless := 0
	for at := range whole {
		spoilt := slices.Clone(whole)
		spoilt[at] ^= 1 << ((at + 1) % 8)
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Fsck(dir, FsckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() && at%50 != 0 {
			continue
		}
		ro, err := OpenReadOnly(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		var d *DamageError
		var failed error
		var got []string
		for e, err := range ro.Entries("a", 0, math.MaxInt64) {
			got, failed = append(got, string(e)), err
		}
		switch {
		case r.OK() && slices.Equal(got, want): // a few bits of a frame mean nothing
			harmless++
		case r.OK() || !errors.As(failed, &d) || !strings.Contains(failed.Error(), "entries"):
			t.Errorf("byte %d flipped: fsck says %v, reading says %v", at, r.Problems, failed)
		}
		ro.Close()
	}
	if harmless > len(whole)/50 {
		t.Errorf("%d of %d flips changed nothing", harmless, len(whole))
	}
}

// TestBundlesWhileTheyAreStored reads every entry at every stage between
// memory and file.
func TestBundlesWhileTheyAreStored(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	for n := 0; n < 1200; n += 37 {
		fill(t, l, "a", 37)
		tr, err := l.find("a")
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.flush(l.fsys, n%3 == 0); err != nil {
			t.Fatal(err)
		}
		for i, e := range entries(t, l, "a", 0, math.MaxInt64) {
			if e != fmt.Sprintf("a entry %d", i) {
				t.Fatalf("at %d entries, entry %d is %q", n, i, e)
			}
		}
		if tr.waiting < 0 || tr.stored+int64(len(tr.open))*tileWidth < tr.size() {
			t.Fatalf("%d bytes wait, %d entries are stored", tr.waiting, tr.stored)
		}
	}
}
