package telemetry

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func TestCompactTreeMatchesTheTransparencyLogLibrary(t *testing.T) {
	var stored []tlog.Hash
	tree := &compactTree{keep: true}
	for n := range int64(300) {
		data := fmt.Appendf(nil, "entry %d", n)
		hashes, err := tlog.StoredHashes(n, data, hashSlice(stored))
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		if err := tree.add(data); err != nil {
			t.Fatal(err)
		}
		want, err := tlog.TreeHash(n+1, hashSlice(stored))
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.root(); got != want {
			t.Fatalf("root at size %d is %s, want %s", n+1, got, want)
		}
	}
	proof, err := tlog.ProveRecord(300, 17, hashSlice(tree.stored))
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckRecord(proof, 300, tree.root(), 17, tlog.RecordHash([]byte("entry 17"))); err != nil {
		t.Error(err)
	}
	empty := &compactTree{}
	if want, _ := tlog.TreeHash(0, nil); empty.root() != want {
		t.Error("the empty tree's root is not that of RFC 6962")
	}
}

func bundle(entries ...string) []byte {
	var b []byte
	for _, e := range entries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e)))
		b = append(b, e...)
	}
	return b
}

func TestReadBundleDemandsExactlyItsEntries(t *testing.T) {
	var got []string
	collect := func(_ int64, data []byte) error { got = append(got, string(data)); return nil }
	if err := readBundle(bundle("a", "", "ccc"), 3, collect); err != nil || len(got) != 3 || got[2] != "ccc" {
		t.Errorf("got %q, %v", got, err)
	}
	whole := bundle("a", "bb")
	for name, b := range map[string][]byte{
		"too few": bundle("a"), "too many": bundle("a", "b", "c"), "cut in a length": whole[:4], "cut in an entry": whole[:len(whole)-1],
	} {
		if err := readBundle(b, 2, collect); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzReadBundle(f *testing.F) {
	f.Add(bundle("a", "bb"), int64(2))
	f.Add([]byte{0, 1}, int64(1))
	f.Fuzz(func(t *testing.T, b []byte, want int64) {
		var back []byte
		n := int64(0)
		err := readBundle(b, want%300, func(_ int64, data []byte) error {
			back = binary.BigEndian.AppendUint16(back, uint16(len(data)))
			back = append(back, data...)
			n++
			return nil
		})
		if err == nil && (string(back) != string(b) || want%300 > 0 && n != want%300) {
			t.Errorf("%d entries read from %x are not what it holds", n, b)
		}
	})
}
