package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/ledger"
)

// tile names a tile of hashes of a log, or a bundle of its entries.
type tile = ledger.Tile

// tileTree proves tiles and bundles of a log from the root of its checkpoint
// down. It holds the tiles of the right edge and the last one of each level.
type tileTree struct {
	size int64
	root tlog.Hash
	read func(tile) ([]byte, error)
	has  func(tile) bool

	edge   [ledger.MaxLevel + 1][]tlog.Hash // of each level's tile that is not full
	last   [ledger.MaxLevel + 1]fullTile
	proved bool
	err    error // why the edge does not give the root
}

// fullTile is a full tile that was proved.
type fullTile struct {
	n      int64
	hashes []tlog.Hash // nil before the first
}

func newTileTree(size int64, root tlog.Hash, read func(tile) ([]byte, error), has func(tile) bool) *tileTree {
	return &tileTree{size: size, root: root, read: read, has: has}
}

// check proves that data is the tile or bundle t of the log, and gives take
// each entry of a bundle.
func (t *tileTree) check(at tile, data []byte, take func(entry []byte)) error {
	if want := ledger.WidthAt(t.size, at.Level, at.N); want != at.Width {
		if want == 0 {
			return fmt.Errorf("a log of %d entries has none there", t.size)
		}
		return fmt.Errorf("in a log of %d entries it is %d wide", t.size, want)
	}
	if err := t.proveEdge(); err != nil {
		return err
	}
	if at.Level == ledger.EntryBundles {
		entries, hashes, err := parseBundleOf(data, at.Width)
		if err != nil {
			return err
		}
		if err := t.compare(tile{N: at.N, Width: at.Width}, hashes); err != nil {
			return err
		}
		for _, e := range entries {
			take(e)
		}
		return nil
	}
	hashes, err := parseTile(data, at.Width)
	if err != nil {
		return err
	}
	return t.compare(at, hashes)
}

// compare holds the hashes of a tile to what the tree says of them.
func (t *tileTree) compare(at tile, hashes []tlog.Hash) error {
	if at.Width < ledger.TileWidth {
		if !slices.Equal(hashes, t.edge[at.Level]) {
			return errors.New("it differs from the right edge that gives the checkpoint's root")
		}
		return nil
	}
	want, err := t.hash(at.Level+1, at.N)
	if err != nil {
		return err
	}
	if rootOf(hashes) != want {
		return errors.New("it does not give the hash that the tile above it has")
	}
	t.last[at.Level] = fullTile{at.N, hashes}
	return nil
}

// hash is the proved hash of that number at a level of tiles.
func (t *tileTree) hash(level int, number int64) (tlog.Hash, error) {
	n, i := number>>ledger.TileHeight, number&(ledger.TileWidth-1)
	width := ledger.WidthAt(t.size, level, n)
	if width < ledger.TileWidth {
		return t.edge[level][i], nil
	}
	if have := t.last[level]; have.hashes != nil && have.n == n {
		return have.hashes[i], nil
	}
	above := tile{Level: level, N: n, Width: width}
	data, err := t.read(above)
	if err != nil {
		return tlog.Hash{}, err
	}
	hashes, err := parseTile(data, width)
	if err == nil {
		err = t.compare(above, hashes)
	}
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("%s: %w", above.Path(), err)
	}
	return hashes[i], nil
}

// proveEdge reads the tiles that are not full, which together give the root.
func (t *tileTree) proveEdge() error {
	if t.proved {
		return t.err
	}
	t.proved = true
	var peaks []tlog.Hash // smallest subtree first
	for level := 0; t.size>>(ledger.TileHeight*level) > 0 && level <= ledger.MaxLevel; level++ {
		n := t.size >> (ledger.TileHeight * (level + 1))
		at := tile{Level: level, N: n, Width: ledger.WidthAt(t.size, level, n)}
		if at.Width == 0 {
			continue
		}
		hashes, err := t.readEdge(at)
		if err != nil {
			t.err = fmt.Errorf("%s, of the right edge: %w", at.Path(), err)
			return t.err
		}
		t.edge[level] = hashes
		below := peaksOf(hashes)
		slices.Reverse(below)
		peaks = append(peaks, below...)
	}
	root := (&treeBuilder{}).root()
	if len(peaks) > 0 {
		root = peaks[0]
		for _, p := range peaks[1:] {
			root = tlog.NodeHash(p, root)
		}
	}
	if root != t.root {
		t.err = errors.New("the tiles of the right edge do not give the checkpoint's root")
	}
	return t.err
}

// readEdge reads a tile that is not full; that of the leaves may be there as
// the bundle of its entries.
func (t *tileTree) readEdge(at tile) ([]tlog.Hash, error) {
	bundle := tile{Level: ledger.EntryBundles, N: at.N, Width: at.Width}
	if at.Level > 0 || t.has(at) || !t.has(bundle) {
		data, err := t.read(at)
		if err != nil {
			return nil, err
		}
		return parseTile(data, at.Width)
	}
	data, err := t.read(bundle)
	if err != nil {
		return nil, err
	}
	_, hashes, err := parseBundleOf(data, at.Width)
	return hashes, err
}

// parseTile reads a tile of hashes.
func parseTile(data []byte, width int) ([]tlog.Hash, error) {
	if len(data) != width*tlog.HashSize {
		return nil, fmt.Errorf("%d bytes, want %d hashes of %d", len(data), width, tlog.HashSize)
	}
	out := make([]tlog.Hash, width)
	for i := range out {
		copy(out[i][:], data[i*tlog.HashSize:])
	}
	return out, nil
}

// parseBundleOf reads a bundle of that many entries, each with its length in
// two bytes before it, and hashes them as leaves.
func parseBundleOf(data []byte, width int) ([][]byte, []tlog.Hash, error) {
	entries, hashes := make([][]byte, 0, width), make([]tlog.Hash, 0, width)
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, nil, errors.New("its last entry is cut off")
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		if len(entries) == width {
			return nil, nil, fmt.Errorf("it has more than %d entries", width)
		}
		entries, hashes = append(entries, data[2:end]), append(hashes, tlog.RecordHash(data[2:end]))
		data = data[end:]
	}
	if len(entries) != width {
		return nil, nil, fmt.Errorf("it has %d entries, want %d", len(entries), width)
	}
	return entries, hashes, nil
}

// peaksOf gives the roots of the full subtrees over hashes, largest first.
func peaksOf(hashes []tlog.Hash) []tlog.Hash {
	var t treeBuilder
	for _, h := range hashes {
		t.addHash(h)
	}
	return t.peaks
}

// rootOf is the root over the hashes of a full tile.
func rootOf(hashes []tlog.Hash) tlog.Hash { return peaksOf(hashes)[0] }
