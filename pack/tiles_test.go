package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

// readTile gives what a log serves under a path of c2sp.org/tlog-tiles.
func (l *testLog) readTile(path string) ([]byte, error) {
	t, err := ledger.ParseTilePath(path)
	if err != nil {
		return nil, err
	}
	if t.Level == ledger.EntryBundles {
		var out []byte
		for _, e := range l.entries[t.N*ledger.TileWidth:][:t.Width] {
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(e))), e...)
		}
		return out, nil
	}
	return tlog.ReadTileData(tlog.Tile{H: ledger.TileHeight, L: t.Level, N: t.N, W: t.Width}, tlog.HashReaderFunc(l.read))
}

func (l *testLog) tiled(since int64, cited ...int64) ledger.Excerpt {
	e := l.excerpt(since)
	e.Tiles = &ledger.Tiles{Bundles: cited, Read: l.readTile}
	return e
}

// tiledSize makes two levels of full tiles and three of the right edge.
const tiledSize = 66_000

// tiledContent is a content whose evidence log is so long that its entries
// are cited by bundles: one that is full, and the last.
func tiledContent(t testing.TB) (Content, *testLog) {
	t.Helper()
	c := content(t)
	log := &testLog{t: t, origin: "ingest.example/evidence", seed: seed(7)}
	at := map[int]evidence.Collected{700: c.Evidence[0], 701: c.Evidence[1], tiledSize - 1: c.Evidence[2]}
	for i := range tiledSize {
		entry := fmt.Appendf(nil, "entry %d", i)
		if e, ok := at[i]; ok {
			entry = []byte(canonical(t, map[string]string{"type": collectedEntry, "id": e.ID}))
		}
		log.add(entry)
	}
	c.Logs[0] = log.tiled(300, 2, tiledSize/ledger.TileWidth)
	return c, log
}

func TestTiles(t *testing.T) {
	s := edSigner(t, 1)
	c, log := tiledContent(t)
	const dir = "data/log/ingest.example/evidence/tile/"
	full := []string{dir + "0/257.p/208", dir + "1/000", dir + "1/001.p/1", dir + "2/000.p/1", dir + "entries/002", dir + "entries/257.p/208"}
	for name, tc := range map[string]struct {
		cited []int64
		files []string
		count int // entries
	}{
		"a full bundle and the last": {[]int64{2, 257}, full, 464},
		"the last is not cited":      {[]int64{2}, full[:5], 256},
		"the last alone":             {[]int64{257}, []string{full[0], full[2], full[3], full[5]}, 208},
		"right of the last full one": {[]int64{256, 257}, []string{full[0], full[2], full[3], dir + "entries/256", full[5]}, 464},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			c.Logs = slices.Clone(c.Logs)
			c.Logs[0] = log.tiled(300, tc.cited...)
			if len(tc.cited) != 2 || tc.cited[0] != 2 { // not every collection's entry is among these
				c.Evidence, c.Controls, c.Findings = c.Evidence[2:], nil, nil
				if tc.cited[0] == 2 {
					c.Evidence = nil
				}
			}
			data := buildPack(t, c, s)
			var files []string
			for _, e := range entriesOf(t, data) {
				if strings.HasPrefix(e.name, dir) {
					files = append(files, e.name)
				}
			}
			if !slices.Equal(files, tc.files) {
				t.Errorf("got %q\nwant %q", files, tc.files)
			}
			r := verifyBytes(data, options(t, s))
			want := fmt.Sprintf("%d entries", tc.count+2) // and two of the control log
			if r.Exit != 0 || !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.ID == checkInclusion && strings.HasPrefix(c.Actual, want) }) {
				t.Errorf("want %s\n%s", want, reportText(r))
			}
		})
	}
}

// TestTilesOfAnySize: whatever the size of the log, its right edge is proved.
func TestTilesOfAnySize(t *testing.T) {
	log := &testLog{t: t, origin: "ingest.example/x", seed: seed(7)}
	for size := int64(1); size <= tiledSize; size++ {
		log.add(fmt.Appendf(nil, "entry %d", size-1))
		if size > 3 && size%256 > 1 && size%256 < 255 && size != 777 || size > 1024 && size < 65_535 {
			continue
		}
		head, _ := log.checkpoint(size)
		for _, cited := range [][]int64{nil, {0}, {(size - 1) / ledger.TileWidth}} {
			tiles, err := ledger.TilesFor(size, cited)
			if err != nil {
				t.Fatal(err)
			}
			tree := newTileTree(size, head.Root, func(at tile) ([]byte, error) { return log.readTile(at.Path()) },
				func(at tile) bool { return slices.Contains(tiles, at) })
			taken := 0
			for _, at := range tiles {
				data, err := log.readTile(at.Path())
				if err != nil {
					t.Fatal(err)
				}
				if err := tree.check(at, data, func([]byte) { taken++ }); err != nil {
					t.Fatalf("size %d: %s: %v", size, at.Path(), err)
				}
			}
			if want := len(cited); want > 0 && taken != ledger.WidthAt(size, ledger.EntryBundles, cited[0]) {
				t.Fatalf("size %d, bundle %d: %d entries were taken", size, cited[0], taken)
			}
		}
	}
}

// tileCheat is a pack of tiles that the vendor changed before he signed it,
// and where it fails.
type tileCheat struct {
	change func(b *builder)
	path   string // below tiledDir; "-": anywhere
}

const tiledDir = "data/log/ingest.example/evidence/"

// tileCheats are changes of what tiledContent gives.
func tileCheats(t testing.TB, log *testLog) (wrong, right map[string]tileCheat) {
	t.Helper()
	const dir = tiledDir
	read := func(name string) []byte {
		b, err := log.readTile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	add := func(b *builder, name string, body []byte) {
		f := builtFile{path: dir + name, media: typeBinary, about: &Line{Kind: kindLog}}
		f.set(body)
		b.insert(f)
	}
	single := log.excerpt(300, 5)
	overflow := tile{N: 1<<56 + 257, Width: 208}.Path() // whose entries' numbers, modulo 2^64, are those of tile 257
	return map[string]tileCheat{
			"entry of a full bundle changed": {func(b *builder) {
				f := b.at(t, "tile/entries/002")
				f.set(bytes.Replace(f.body(t), []byte("entry 600"), []byte("entry 6oo"), 1))
			}, "tile/entries/002"},
			"entry of the last bundle changed": {func(b *builder) {
				b.remove(t, "tile/0/257.p/208")
				f := b.at(t, "tile/entries/257.p/208")
				f.set(bytes.Replace(f.body(t), []byte("entry 65800"), []byte("entry 658oo"), 1))
			}, "tile/entries/257.p/208"},
			"bundle cut off": {func(b *builder) { f := b.at(t, "tile/entries/002"); f.set(f.body(t)[:len(f.body(t))-1]) }, "tile/entries/002"},
			"entry left out": {func(b *builder) { f := b.at(t, "tile/entries/002"); f.set(f.body(t)[2+len("entry 512"):]) }, "tile/entries/002"},
			"entry too many": {func(b *builder) { f := b.at(t, "tile/entries/002"); f.set(append(f.body(t), 0, 1, 'x')) }, "tile/entries/002"},
			"entries change places": {func(b *builder) {
				f := b.at(t, "tile/entries/002")
				f.set(bytes.Replace(f.body(t), []byte("\x00\x09entry 600\x00\x09entry 601"), []byte("\x00\x09entry 601\x00\x09entry 600"), 1))
			}, "tile/entries/002"},
			"bundle of another index":   {func(b *builder) { b.at(t, "tile/entries/002").set(read("tile/entries/003")) }, "tile/entries/002"},
			"bundle under another":      {func(b *builder) { b.at(t, "tile/entries/002").path = dir + "tile/entries/003" }, "tile/entries/003"},
			"tile changed":              {func(b *builder) { f := b.at(t, "tile/1/000"); body := f.body(t); body[70] ^= 1; f.set(body) }, "tile/1/000"},
			"tile of another level":     {func(b *builder) { b.at(t, "tile/1/000").set(read("tile/0/000")) }, "tile/1/000"},
			"tile too short":            {func(b *builder) { f := b.at(t, "tile/1/000"); f.set(f.body(t)[:8160]) }, "tile/1/000"},
			"tile too long":             {func(b *builder) { f := b.at(t, "tile/1/000"); f.set(append(f.body(t), 0)) }, "tile/1/000"},
			"tile above missing":        {func(b *builder) { b.remove(t, "tile/1/000") }, "tile/entries/002"},
			"edge changed":              {func(b *builder) { f := b.at(t, "tile/2/000.p/1"); body := f.body(t); body[0] ^= 1; f.set(body) }, "tile/2/000.p/1"},
			"edge missing at the top":   {func(b *builder) { b.remove(t, "tile/2/000.p/1") }, "tile/entries/002"},
			"edge missing below":        {func(b *builder) { b.remove(t, "tile/1/001.p/1") }, "tile/entries/002"},
			"edge of leaves missing":    {func(b *builder) { b.remove(t, "tile/0/257.p/208"); b.remove(t, "tile/entries/257.p/208") }, "tile/entries/002"},
			"another tile that is none": {func(b *builder) { add(b, "tile/0/000", read("tile/0/001")) }, "tile/0/000"},
			"tile beyond the log":       {func(b *builder) { add(b, "tile/0/258.p/1", read("tile/0/000")[:32]) }, "tile/0/258.p/1"},
			"level beyond the log":      {func(b *builder) { add(b, "tile/3/000.p/1", read("tile/0/000")[:32]) }, "tile/3/000.p/1"},
			"narrower than it is":       {func(b *builder) { add(b, "tile/1/000.p/9", read("tile/1/000")[:9*32]) }, "tile/1/000.p/9"},
			"last bundle too narrow": {func(b *builder) {
				f := b.at(t, "tile/entries/257.p/208")
				f.path = dir + "tile/entries/257.p/207"
				f.set(read("tile/entries/257.p/207"))
				b.remove(t, "tile/0/257.p/208")
			}, "tile/entries/257.p/207"},
			"edge of leaves differs from the bundle": {func(b *builder) {
				body := read("tile/0/257.p/208")
				body[0] ^= 1
				b.at(t, "tile/0/257.p/208").set(body)
			}, "tile/0/257.p/208"},
			"bundle changed beside its tile": {func(b *builder) {
				f := b.at(t, "tile/entries/257.p/208")
				f.set(bytes.Replace(f.body(t), []byte("entry 65800"), []byte("entry 658oo"), 1))
			}, "tile/entries/257.p/208"},
			"edge under another number":   {func(b *builder) { add(b, "tile/0/003.p/208", read("tile/0/257.p/208")) }, "tile/0/003.p/208"},
			"bundle under another number": {func(b *builder) { add(b, "tile/entries/003.p/208", read("tile/entries/257.p/208")) }, "tile/entries/003.p/208"},
			"a number that overflows":     {func(b *builder) { add(b, overflow, read("tile/0/257.p/208")) }, overflow},
			"name with a needless group":  {func(b *builder) { b.at(t, "tile/entries/002").path = dir + "tile/entries/x000/002" }, "tile/entries/x000/002"},
			"name of no level":            {func(b *builder) { add(b, "tile/data/002", read("tile/entries/002")) }, "tile/data/002"},
			"name of a level that is not": {func(b *builder) { add(b, "tile/8/000", read("tile/1/000")) }, "tile/8/000"},
			"name with too much":          {func(b *builder) { add(b, "tile/entries/002.p/256", read("tile/entries/002")) }, "tile/entries/002.p/256"},
			"both forms": {func(b *builder) {
				add(b, "proofs/5.tlog-proof", []byte(single.Records[0].Proof))
				add(b, "entries/5.entry", single.Records[0].Entry)
			}, ""},
			"a collection's bundle left out": {func(b *builder) { b.remove(t, "tile/entries/002") }, "-"},
		}, map[string]tileCheat{
			"as built":                             {func(*builder) {}, ""},
			"a tile that is not needed, but right": {func(b *builder) { add(b, "tile/0/002", read("tile/0/002")) }, ""},
			"edge of leaves as its bundle alone":   {func(b *builder) { b.remove(t, "tile/0/257.p/208") }, ""},
		}
}

func TestTilesTampered(t *testing.T) {
	s := edSigner(t, 1)
	c, log := tiledContent(t)
	o := options(t, s)
	wrong, right := tileCheats(t, log)
	for name, tc := range wrong {
		t.Run(name, func(t *testing.T) {
			path := tiledDir + tc.path
			if tc.path == "-" {
				path = ""
			}
			wantFailure(t, verifyBytes(rebuild(t, c, s, tc.change), o), checkInclusion, path)
		})
	}
	for name, tc := range right {
		t.Run(name, func(t *testing.T) {
			if r := verifyBytes(rebuild(t, c, s, tc.change), o); r.Exit != 0 {
				t.Error(reportText(r))
			}
		})
	}
}

// TestTilesInNode holds the second verifier to the same packs of tiles.
func TestTilesInNode(t *testing.T) {
	m := newVectorMaker(t)
	c, log := tiledContent(t)
	wrong, right := tileCheats(t, log)
	var all []vector
	add := func(number, exit int, cheats map[string]tileCheat) {
		for name, tc := range cheats {
			v := vector{Case: number, Name: name, Anchors: m.anchors, Expect: expectation{Exit: exit, Verdict: VerdictOK}, pack: rebuild(t, c, m.vendor, tc.change)}
			if exit == 1 {
				v.Expect.Verdict, v.Expect.Check = VerdictFailed, checkInclusion
			}
			all = append(all, v)
		}
	}
	add(36, 1, wrong)
	add(99, 0, right)
	dir := t.TempDir()
	writeVectors(t, dir, all)
	reports := inNode(t, dir)
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			r := reports[v.file()]
			if v.Expect.Exit == 0 && r.Exit != 0 {
				t.Errorf("exit %d\n%s", r.Exit, reportText(r))
			}
			if v.Expect.Exit == 1 {
				if err := v.holds(r); err != nil {
					t.Errorf("%v\n%s", err, reportText(r))
				}
			}
		})
	}
}

// TestBundleWithheld: a bundle that is taken out takes its entries along, and
// nothing else; both verifiers say what was not checked for want of it.
func TestBundleWithheld(t *testing.T) {
	m := newVectorMaker(t)
	o := options(t, m.vendor)
	c, _ := tiledContent(t)
	control := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
	for n := range 600 {
		control.add(fmt.Appendf(nil, "control %d", n))
	}
	c.Logs[1] = control.tiled(0, 0, 1, 2)
	data := buildPack(t, c, m.vendor)
	var all []vector
	for n, tc := range []struct{ dir, bundle string }{
		{tiledDir, "tile/entries/002"}, {tiledDir, "tile/entries/257.p/208"},
		{vectorLog, "tile/entries/001"}, {vectorLog, "tile/entries/002.p/88"},
	} {
		short, _ := redacted(t, data, m.vendor, tc.dir+tc.bundle)
		r := verifyBytes(short, o)
		if r.Exit != 0 || !saysWithheld(r, tc.dir) {
			t.Errorf("%s: %s", tc.bundle, reportText(r))
		}
		all = append(all, vector{Case: n, Name: "bundle", What: tc.dir, Anchors: m.anchors, pack: short})
	}
	dir := t.TempDir()
	writeVectors(t, dir, all)
	for file, r := range inNode(t, dir) {
		for _, v := range all {
			if v.file() == file && (r.Exit != 0 || !saysWithheld(r, v.What)) {
				t.Errorf("in JavaScript, %s: %s", file, reportText(r))
			}
		}
	}
}

// saysWithheld reports whether the report names withheld bundles of the log.
func saysWithheld(r Report, dir string) bool {
	return slices.ContainsFunc(linesOf(r, checkInclusion, NotChecked), func(c Check) bool { return c.Path == dir+"tile/entries/" })
}

func TestBuildRefusesTiles(t *testing.T) {
	c, log := tiledContent(t)
	for name, tc := range map[string]struct {
		change func(e *ledger.Excerpt)
		want   string
	}{
		"a bundle twice":     {func(e *ledger.Excerpt) { e.Tiles.Bundles = []int64{2, 2} }, "sorted, each once"},
		"bundles unsorted":   {func(e *ledger.Excerpt) { e.Tiles.Bundles = []int64{257, 2} }, "sorted, each once"},
		"no such bundle":     {func(e *ledger.Excerpt) { e.Tiles.Bundles = []int64{258} }, "numbers of bundles of a log"},
		"evidence left out":  {func(e *ledger.Excerpt) { e.Tiles.Bundles = []int64{2} }, "no log excerpt holds"},
		"records as well":    {func(e *ledger.Excerpt) { e.Records = log.excerpt(300, 5).Records }, "both records and tiles"},
		"another log's tile": {func(e *ledger.Excerpt) { e.Tiles.Read = func(string) ([]byte, error) { return make([]byte, 32), nil } }, "tile/"},
		"unreadable": {func(e *ledger.Excerpt) {
			e.Tiles.Read = func(string) ([]byte, error) { return nil, errors.New("disk gone") }
		}, "disk gone"},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			c.Logs = slices.Clone(c.Logs)
			c.Logs[0] = log.tiled(300, 2, tiledSize/ledger.TileWidth)
			tc.change(&c.Logs[0])
			if _, err := Build(io.Discard, c, edSigner(t, 1)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestBundleOfTooMany: reading ends where there is more than a bundle has.
func TestBundleOfTooMany(t *testing.T) {
	if _, _, err := parseBundleOf(make([]byte, 1<<20), 256); err == nil || !strings.Contains(err.Error(), "more than 256") {
		t.Errorf("got %v", err)
	}
}

// FuzzTiles: whatever is taken for a tile or bundle is the log's.
func FuzzTiles(f *testing.F) {
	log := &testLog{t: f, origin: "ingest.example/x", seed: seed(7)}
	const size = 700
	for n := range size {
		log.add(fmt.Appendf(nil, "%d", n))
	}
	head, _ := log.checkpoint(size)
	for _, name := range []string{"tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/000", "tile/entries/002.p/188"} {
		data, err := log.readTile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, data)
	}
	f.Add("tile/x001/000", []byte{0, 1, 'x'})
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		at, err := ledger.ParseTilePath(name)
		if err != nil {
			return
		}
		if at.Path() != name {
			t.Errorf("%q is read as %+v, whose name is %q", name, at, at.Path())
		}
		tree := newTileTree(size, head.Root, func(at tile) ([]byte, error) { return log.readTile(at.Path()) }, func(at tile) bool { return at.Level >= 0 })
		if tree.check(at, data, func([]byte) {}) != nil {
			return
		}
		if want, err := log.readTile(name); err != nil || !bytes.Equal(want, data) {
			t.Errorf("%s: %d bytes were accepted that are not the log's", name, len(data))
		}
	})
}
