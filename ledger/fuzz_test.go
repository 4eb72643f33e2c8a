package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable/crashfs"
)

// sampleChain is where sampleSegment begins.
var sampleChain = chain{6, 99}

// sampleSegment is a segment with two groups.
func sampleSegment() []byte {
	h := segmentHeader{number: 3, marker: marker{1, 2, 3, 4, 5, 6, 7, 8}}
	var groups [][]byte
	crc := sampleChain.crc
	for i := range 2 {
		body := []byte{1, 'a'}
		body = append(body, 0, 0, 0, 0, 0, 0, 0, byte(i), 0, 0, 0, 1, 0, 0, 0, 3, 0, 1, 'x')
		g := make([]byte, groupHeaderSize)
		crc = sealGroup(g, h.marker, sampleChain.number+1+uint64(i), crc, body)
		groups = append(groups, append(g, body...))
	}
	return segmentFile(h, groups...)
}

// payloadSegment is a segment with a run of two entries, one with a payload.
func payloadSegment() []byte {
	h := segmentHeader{number: 3, marker: marker{1, 2, 3, 4, 5, 6, 7, 8}}
	body := []byte{1 | runPayloads, 'a', 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 5}
	body = append(body, 0, 2, '{', '}', 0, 1, 'x', 0, 1, 'p', 0, 0)
	g := make([]byte, groupHeaderSize)
	sealGroup(g, h.marker, sampleChain.number+1, sampleChain.crc, body)
	return segmentFile(h, append(g, body...))
}

// FuzzSegment lets what is read from a damaged segment be nothing but a
// prefix of groups that encode to the bytes they were read from.
func FuzzSegment(f *testing.F) {
	whole := sampleSegment()
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[:segmentHeaderSize])
	f.Add(append(slices.Clone(whole), make([]byte, 40)...))
	withPayload := payloadSegment()
	if s, err := scanSegment(withPayload, sampleChain, func(g group) error { return parseRuns(g.body, func(run) error { return nil }) }); err != nil || s.groups != 1 {
		f.Fatalf("a seed that is no segment: %+v, %v", s, err)
	}
	f.Add(withPayload)
	f.Fuzz(func(t *testing.T, b []byte) {
		var rebuilt []byte
		s, err := scanSegment(b, sampleChain, func(g group) error {
			h, _ := parseSegmentHeader(b)
			one := make([]byte, groupHeaderSize)
			if crc := sealGroup(one, h.marker, g.number, g.prevCRC, g.body); crc != g.crc {
				t.Error("a group was read whose checksum is another")
			}
			rebuilt = append(append(rebuilt, one...), g.body...)
			return parseRuns(g.body, func(r run) error {
				n := 0
				for rest := r.entries; len(rest) > 0; n++ {
					entry, after, err := cutEntry(rest)
					if err != nil || len(entry) == 0 {
						t.Errorf("a run was passed on that cannot be read: %v", err)
						break
					}
					rest = after
				}
				if r.payloads != nil {
					key := testKey(t, r.day)
					key.derive(r.first, r.entries, r.payloads, make([]tlog.Hash, n), make([]commitment, n))
				}
				if n != r.count || CheckLogName(r.log) != nil || r.first < 0 {
					t.Errorf("a run was passed on that contradicts itself: %+v", r)
				}
				return nil
			})
		})
		if err != nil {
			return
		}
		if !bytes.Equal(unstamped(b[:min(s.end, int64(len(b)))])[segmentHeaderSize:], rebuilt) || s.end > int64(len(b))+stampSize || s.bad == "" && (s.torn > 0 || s.durable != "") || s.torn > max(0, int64(len(b))-s.end) {
			t.Errorf("read up to %d of %d bytes, bad %q", s.end, len(b), s.bad)
		}
		if s.laterGood >= 0 && (s.laterGood < s.end || s.bad == "") {
			t.Errorf("a later group at %d, where %d is the end", s.laterGood, s.end)
		}
	})
}

func fuzzSeed() []byte { return []byte(strings.Repeat("f", SeedSize)) }

// FuzzCheckpoint: what is read as a checkpoint is written as the same bytes,
// and a note verifies only if its text is what the key signed.
func FuzzCheckpoint(f *testing.F) {
	c := Checkpoint{Origin: "fuzz.example/log", Size: 5, Root: LeafHash([]byte("x")), Extensions: []string{"sample=true"}}
	vkey, err := VerifierKey(fuzzSeed(), c.Origin)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := SignCheckpoint(c, fuzzSeed())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(c.Text()))
	f.Add([]byte("o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseCheckpoint(string(b)); err == nil && got.Text() != string(b) {
			t.Errorf("%q was read as %q", b, got.Text())
		}
		if got, err := OpenCheckpoint(b, vkey); err == nil && got.Text() != c.Text() {
			t.Errorf("%q verified, and was never signed", got.Text())
		}
	})
}

// FuzzTilePath: each tile has one path.
func FuzzTilePath(f *testing.F) {
	for _, path := range []string{"tile/0/000", "tile/entries/x001/234.p/7", "tile/63/x999/x999/999.p/255", "tile/8/0/000", "tile/data/000"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		tile, err := ParseTilePath(path)
		if err != nil {
			return
		}
		if tile.Path() != path || tile.Level < EntryBundles || tile.Level > 63 || tile.N < 0 || tile.Width < 1 || tile.Width > TileWidth {
			t.Errorf("%q was read as %+v", path, tile)
		}
		if b, err := newTree("", "a", nil, nil).readTile(tile); err == nil {
			t.Errorf("an empty log has %q: %d bytes", path, len(b))
		}
	})
}

// FuzzProof: what is read as a proof is written as the same bytes, and none
// verifies for an entry that the log does not hold.
func FuzzProof(f *testing.F) {
	const origin = "fuzz.example/log"
	vkey, err := VerifierKey(fuzzSeed(), origin)
	if err != nil {
		f.Fatal(err)
	}
	left, right := LeafHash([]byte("left")), LeafHash([]byte("right"))
	signed, err := SignCheckpoint(Checkpoint{Origin: origin, Size: 2, Root: tlog.NodeHash(left, right)}, fuzzSeed())
	if err != nil {
		f.Fatal(err)
	}
	good := MarshalProof(0, tlog.RecordProof{right}, signed)
	if _, _, err := VerifyProof(good, vkey, []byte("left")); err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte("left"))
	f.Add(Proof{Index: 1, Hashes: tlog.RecordProof{left}, Checkpoint: signed, Extra: []byte("more")}.Marshal(), []byte("right"))
	f.Fuzz(func(t *testing.T, b, entry []byte) {
		if p, err := ParseProof(b); err == nil && !bytes.Equal(p.Marshal(), b) {
			t.Errorf("%q was read as %q", b, p.Marshal())
		}
		if _, index, err := VerifyProof(b, vkey, entry); err == nil && string(entry) != []string{"left", "right"}[index] {
			t.Errorf("entry %q verified at index %d", entry, index)
		}
	})
}

// FuzzExcerpt: no excerpt makes the verifier panic, and none verifies whose
// checkpoint was not signed.
func FuzzExcerpt(f *testing.F) {
	const origin = "fuzz.example/log"
	vkey, err := VerifierKey(fuzzSeed(), origin)
	if err != nil {
		f.Fatal(err)
	}
	leaf := LeafHash([]byte("x"))
	signed, err := SignCheckpoint(Checkpoint{Origin: origin, Size: 1, Root: leaf}, fuzzSeed())
	if err != nil {
		f.Fatal(err)
	}
	good := Excerpt{Origin: origin, VerifierKey: vkey, Checkpoint: string(signed),
		History: []HistoryStep{{DatedCheckpoint: DatedCheckpoint{Size: 1, Root: hashText(leaf), Note: string(signed)}}},
		Records: []RecordProof{{0, []byte("x"), string(MarshalProof(0, nil, signed))}}}
	if err := good.Verify(vkey); err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Excerpt
		if json.Unmarshal(b, &e) == nil && e.Verify(vkey) == nil && e.Checkpoint != string(signed) {
			c, err := OpenCheckpoint([]byte(e.Checkpoint), vkey)
			if err != nil || c.Size != 1 || c.Root != leaf {
				t.Errorf("%s verified", b)
			}
		}
	})
}

// FuzzRecords: no file of records makes its reader panic, and what is read was
// written by this program, byte for byte.
func FuzzRecords(f *testing.F) {
	one, err := sealRecord([]int{1}, 2)
	if err != nil {
		f.Fatal(err)
	}
	two, err := sealRecord("two", 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(slices.Clone(one), two...))
	f.Add(one)
	f.Add(append(slices.Clone(one), two[:9]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := crashfs.New()
		if err := disk.MkdirAll("/d", 0o700); err != nil {
			t.Fatal(err)
		}
		disk.Put("/d/f", b)
		file := recordFile{fsys: disk, dir: "/d", name: "f"}
		rest := b
		if err := file.read(func(body []byte) error {
			at := bytes.Index(rest, fmt.Appendf(nil, `{"crc32c":"%08x",`, castagnoli(body)))
			if at < 0 || !bytes.Contains(rest[at:], fmt.Appendf(nil, `"body":%s}`, body)) {
				t.Errorf("%q was read, and is not sealed in %q", body, rest)
				return nil
			}
			rest = rest[at+1:]
			return nil
		}); err == nil && len(b) == 0 {
			t.Error("an empty file was read, which no crash leaves")
		}
	})
}

// FuzzSnapshot: nothing but what was sealed is opened, and no byte of a state
// is passed on that was not.
func FuzzSnapshot(f *testing.F) {
	const path = "/ledger/snapshots/state.snap"
	disk := crashfs.New()
	o := testOptions()
	o.fsys = disk
	l, err := Open("/ledger", o)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	state := strings.Repeat("state", snapshotPiece/4) // two pieces
	save(f, l, "state", nil, state)
	good := disk.Files()[path]
	f.Add(good)
	f.Add(good[:40])
	f.Add(good[:snapshotPiece+200])
	f.Fuzz(func(t *testing.T, b []byte) {
		disk.Put(path, b)
		s, err := l.OpenSnapshot("state")
		if err != nil {
			return
		}
		defer s.Close()
		got, err := io.ReadAll(s)
		if !strings.HasPrefix(state, string(got)) || (err == nil) != bytes.Equal(b, good) || err == nil && string(got) != state {
			t.Errorf("of %d bytes %d were read: %v", len(b), len(got), err)
		}
	})
}

// FuzzWitness: of a witness's reply nothing is taken but its own cosignature
// of this checkpoint, and no key text makes the reader panic.
func FuzzWitness(f *testing.F) {
	w := witnessOf()
	v, err := newWitnessVerifier(w.key)
	if err != nil {
		f.Fatal(err)
	}
	const text = "fuzz.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	good := w.sign(text, 7)
	f.Add([]byte("— other.example AAAAAAAA\n"+good), w.key)
	f.Add([]byte("5\n"), "a+00000000+BA==")
	f.Fuzz(func(t *testing.T, reply []byte, key string) {
		if line, err := v.lines([]byte(text+"\n"), reply); err == nil && string(line) != good {
			t.Errorf("%q was taken out of %q", line, reply)
		}
		if k, err := newWitnessVerifier(key); err == nil && key != w.key && (k.name == "" || len(k.key) != 32) {
			t.Errorf("key %q was read as %+v", key, k)
		}
	})
}

// FuzzBundle: no frames make the reader panic or hand out more than a bundle.
func FuzzBundle(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.pack(nil, appendEntry(nil, []byte("entry"))))
	half := p.pack(nil, make([]byte, maxBundle/2+1))
	f.Add(append(slices.Clone(half), half...)) // too much together
	f.Fuzz(func(t *testing.T, frames []byte) {
		if b, err := p.unpack(frames); err == nil && len(b) > maxBundle {
			t.Errorf("%d bytes are no bundle", len(b))
		}
	})
}
