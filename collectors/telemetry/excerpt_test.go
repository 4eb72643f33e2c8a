package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

// decided gives the control log that many entries that items cite, and as many
// that none does after them.
func decided(t *testing.T, s *served, cited, uncited int) {
	t.Helper()
	for n := range cited + uncited {
		typ := evidence.EntryRefusal
		if n >= cited {
			typ = evidence.EntryCredentialSeen
		}
		s.control(day(30), evidence.AuditEntry{Type: typ, Target: fmt.Sprint(n)}, nil)
	}
	s.checkpoint()
}

// keptOf collects, and gives the raw replies of KindCheckpoints.
func keptOf(t *testing.T, s *served) (names []string, bodies map[string][]byte) {
	t.Helper()
	e := collectFrom(t, s, Config{})[KindCheckpoints]
	if len(e.Completeness.Gaps) > 0 {
		t.Fatalf("gaps: %v", e.Completeness.Gaps)
	}
	bodies = map[string][]byte{}
	for _, r := range e.Raw {
		names, bodies[r.Name] = append(names, r.Name), r.Body
	}
	return names, bodies
}

func reading(bodies map[string][]byte) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		b, ok := bodies[name]
		if !ok {
			return nil, fmt.Errorf("%s is gone", name)
		}
		return b, nil
	}
}

// TestManyCitedEntriesAreKeptAsBundles: up to ledger.MostRecords entries are
// proved each alone; of more, the bundles that hold them are kept as the ingest
// served them, and no others.
func TestManyCitedEntriesAreKeptAsBundles(t *testing.T) {
	for name, tc := range map[string]struct {
		cited, uncited int
		bundles        []int64
		tiles          []string // of hashes
	}{
		"as many as are proved each alone": {cited: ledger.MostRecords},
		"one more":                         {cited: ledger.MostRecords + 1, bundles: []int64{0, 1}, tiles: []string{"tile/0/001.p/1", "tile/1/000.p/1"}},
		"and bundles that nothing cites":   {ledger.MostRecords + 1, 700, []int64{0, 1}, []string{"tile/0/003.p/189", "tile/1/000.p/3"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			decided(t, s, tc.cited, tc.uncited)
			names, bodies := keptOf(t, s)
			all, err := Excerpts(names, reading(bodies))
			if err != nil || len(all) != 1 {
				t.Fatalf("%d excerpts, %v", len(all), err)
			}
			e := all[0]
			if err := e.Verify(e.VerifierKey); err != nil {
				t.Error(err)
			}
			if tc.bundles == nil {
				if e.Tiles != nil || len(e.Records) != tc.cited || !slices.Equal(names, []string{"logs.json", ExcerptFile("control")}) {
					t.Errorf("%d records, tiles %+v, kept %q", len(e.Records), e.Tiles, names)
				}
				return
			}
			if e.Tiles == nil || !slices.Equal(e.Tiles.Bundles, tc.bundles) || len(e.Records) > 0 {
				t.Fatalf("%d records, tiles %+v", len(e.Records), e.Tiles)
			}
			var tiles []string
			for _, n := range names {
				path, ok := strings.CutPrefix(n, "log-control/")
				if !ok {
					continue
				}
				want, err := s.led.ReadTile("control", path)
				if err != nil || !bytes.Equal(bodies[n], want) {
					t.Errorf("%s is not what the log has: %v", n, err)
				}
				if got, err := e.Tiles.Read(path); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not read as it was kept: %v", path, err)
				}
				if !strings.HasPrefix(path, "tile/entries/") {
					tiles = append(tiles, path)
				}
			}
			slices.Sort(tiles)
			if want := 2 + len(tc.bundles) + len(tc.tiles); !slices.Equal(tiles, tc.tiles) || len(names) != want {
				t.Errorf("tiles %q, want %q; kept %q", tiles, tc.tiles, names)
			}
		})
	}
}

// TestTilesMustLeadToTheRoot: what does not prove the bundles is never kept as
// if it did.
func TestTilesMustLeadToTheRoot(t *testing.T) {
	tree := &compactTree{keep: true}
	v := &logView{name: controlLog}
	for n := range 600 {
		data := fmt.Appendf(nil, "entry %d", n)
		if err := tree.add(data); err != nil {
			t.Fatal(err)
		}
		if n%256 == 0 {
			v.bundles = append(v.bundles, nil)
		}
		v.bundles[n/256] = append(append(v.bundles[n/256], 0, byte(len(data))), data...)
	}
	v.hashes, v.head = tree.stored, ledger.Checkpoint{Size: 600, Root: tree.root()}
	cited := []int64{0, 1, 2}
	if kept, err := v.tiles(cited); err != nil || len(kept) != 5 {
		t.Fatalf("%d kept, %v", len(kept), err)
	}
	for name, change := range map[string]func(v *logView){
		"entry of a full bundle":    func(v *logView) { v.bundles[1] = bytes.Replace(v.bundles[1], []byte("300"), []byte("3oo"), 1) },
		"entry of the last bundle":  func(v *logView) { v.bundles[2] = bytes.Replace(v.bundles[2], []byte("599"), []byte("5nn"), 1) },
		"bundles the wrong way":     func(v *logView) { v.bundles[0], v.bundles[1] = v.bundles[1], v.bundles[0] },
		"bundle that is cut off":    func(v *logView) { v.bundles[1] = v.bundles[1][:1000] },
		"hash of the tile above":    func(v *logView) { v.hashes[tlog.StoredHashIndex(8, 1)][3] ^= 1 },
		"another checkpoint's root": func(v *logView) { v.head.Root[0] ^= 1 },
	} {
		changed := *v
		changed.bundles, changed.hashes = slices.Clone(v.bundles), slices.Clone(v.hashes)
		change(&changed)
		if kept, err := changed.tiles(cited); err == nil {
			t.Errorf("%s: %d replies are kept", name, len(kept))
		}
	}
}

// TestExcerptsMissNothing: what is not there, or does not belong, is an error
// and never fewer proofs.
func TestExcerptsMissNothing(t *testing.T) {
	s := newServed(t)
	decided(t, s, 300, 300)
	names, bodies := keptOf(t, s)
	without := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
	}
	excerpt := ExcerptFile("control")
	with := func(change func(map[string]any)) map[string][]byte {
		out := map[string][]byte{}
		for n, b := range bodies {
			out[n] = b
		}
		var v map[string]any
		if err := json.Unmarshal(bodies[excerpt], &v); err != nil {
			t.Fatal(err)
		}
		change(v)
		var err error
		if out[excerpt], err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
		return out
	}
	gone := with(func(map[string]any) {})
	delete(gone, excerpt)
	for name, tc := range map[string]struct {
		names  []string
		bodies map[string][]byte
		want   string
	}{
		"a bundle":           {without("log-control/tile/entries/001"), bodies, "need log-control/tile/entries/001, which was not kept"},
		"a tile":             {without("log-control/tile/1/000.p/2"), bodies, "need log-control/tile/1/000.p/2, which was not kept"},
		"the excerpt's file": {names, gone, "is gone"},
		"one too many":       {append(slices.Clone(names), "log-control/tile/entries/002.p/88"), bodies, "does not cite"},
		"no bundles cited":   {names, with(func(v map[string]any) { delete(v, "bundles") }), "cites no bundles"},
		"fewer cited":        {names, with(func(v map[string]any) { v["bundles"] = []int{0} }), "does not cite"},
		"no such bundle":     {names, with(func(v map[string]any) { v["bundles"] = []int{0, 1, 7} }), "bundle 7"},
		"no number":          {names, with(func(v map[string]any) { v["bundles"] = "0" }), excerpt},
		"no checkpoint":      {names, with(func(v map[string]any) { v["checkpoint"] = "" }), "checkpoint"},
	} {
		if all, err := Excerpts(tc.names, reading(tc.bodies)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %d excerpts, %v; want %q", name, len(all), err, tc.want)
		}
	}
	if all, err := Excerpts(names, reading(bodies)); err != nil || len(all) != 1 {
		t.Errorf("as it is: %d excerpts, %v", len(all), err)
	}
}
