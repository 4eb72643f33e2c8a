package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight // hashes of a full tile, entries of a full bundle
	maxLevel   = 7               // of tiles: a log has less than 2^63 entries
	bundles    = -1              // level of bundles of entries
)

// tile names a tile of hashes of a log, or a bundle of entries, in the layout
// of c2sp.org/tlog-tiles.
type tile struct {
	level int   // of hashes; bundles
	n     int64 // from 0, within the level
	width int   // hashes or entries in it, 1 to 256
}

// name is "tile/<L>/<N>[.p/<W>]", with "entries" as the level of bundles.
func (t tile) name() string {
	level := "entries"
	if t.level != bundles {
		level = strconv.Itoa(t.level)
	}
	n := fmt.Sprintf("%03d", t.n%1000)
	for rest := t.n / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	if t.width < tileWidth {
		return fmt.Sprintf("%s%s/%s.p/%d", tilesDir, level, n, t.width)
	}
	return tilesDir + level + "/" + n
}

// parseTileName reads what name writes.
func parseTileName(name string) (tile, error) {
	bad := errors.New("its name is not that of a tile or bundle")
	level, rest, ok := strings.Cut(strings.TrimPrefix(name, tilesDir), "/")
	if !ok {
		return tile{}, bad
	}
	t := tile{level: bundles, width: tileWidth}
	var err error
	if level != "entries" {
		if t.level, err = strconv.Atoi(level); err != nil || t.level < 0 || t.level > maxLevel {
			return tile{}, bad
		}
	}
	if number, width, ok := strings.Cut(rest, ".p/"); ok {
		if t.width, err = strconv.Atoi(width); err != nil || t.width < 1 || t.width >= tileWidth {
			return tile{}, bad
		}
		rest = number
	}
	groups := strings.Split(rest, "/")
	if len(groups) > 6 {
		return tile{}, bad
	}
	for _, g := range groups {
		n, err := strconv.Atoi(strings.TrimPrefix(g, "x"))
		if err != nil || n < 0 || n > 999 {
			return tile{}, bad
		}
		t.n = t.n*1000 + int64(n)
	}
	if t.name() != name {
		return tile{}, bad
	}
	return t, nil
}

// widthAt is the width that tile n of a level has in a tree of that size; 0
// where there is none.
func widthAt(size int64, level int, n int64) int {
	there := size >> (tileHeight * max(level, 0))
	if n > there>>tileHeight {
		return 0
	}
	return int(min(tileWidth, there-n<<tileHeight))
}

// tileTree proves tiles and bundles of a log from the root of its checkpoint
// down. It holds the tiles of the right edge and the last one of each level.
type tileTree struct {
	size int64
	root tlog.Hash
	read func(tile) ([]byte, error)
	has  func(tile) bool

	edge   [maxLevel + 1][]tlog.Hash // of each level's tile that is not full
	last   [maxLevel + 1]fullTile
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
	if want := widthAt(t.size, at.level, at.n); want != at.width {
		if want == 0 {
			return fmt.Errorf("a log of %d entries has none there", t.size)
		}
		return fmt.Errorf("in a log of %d entries it is %d wide", t.size, want)
	}
	if err := t.proveEdge(); err != nil {
		return err
	}
	if at.level == bundles {
		entries, hashes, err := parseBundleOf(data, at.width)
		if err != nil {
			return err
		}
		if err := t.compare(tile{0, at.n, at.width}, hashes); err != nil {
			return err
		}
		for _, e := range entries {
			take(e)
		}
		return nil
	}
	hashes, err := parseTile(data, at.width)
	if err != nil {
		return err
	}
	return t.compare(at, hashes)
}

// compare holds the hashes of a tile to what the tree says of them.
func (t *tileTree) compare(at tile, hashes []tlog.Hash) error {
	if at.width < tileWidth {
		if !slices.Equal(hashes, t.edge[at.level]) {
			return errors.New("it differs from the right edge that gives the checkpoint's root")
		}
		return nil
	}
	want, err := t.hash(at.level+1, at.n)
	if err != nil {
		return err
	}
	if rootOf(hashes) != want {
		return errors.New("it does not give the hash that the tile above it has")
	}
	t.last[at.level] = fullTile{at.n, hashes}
	return nil
}

// hash is the proved hash of that number at a level of tiles.
func (t *tileTree) hash(level int, number int64) (tlog.Hash, error) {
	n, i := number>>tileHeight, number&(tileWidth-1)
	width := widthAt(t.size, level, n)
	if width < tileWidth {
		return t.edge[level][i], nil
	}
	if have := t.last[level]; have.hashes != nil && have.n == n {
		return have.hashes[i], nil
	}
	above := tile{level, n, width}
	data, err := t.read(above)
	if err != nil {
		return tlog.Hash{}, err
	}
	hashes, err := parseTile(data, width)
	if err == nil {
		err = t.compare(above, hashes)
	}
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("%s: %w", above.name(), err)
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
	for level := 0; t.size>>(tileHeight*level) > 0 && level <= maxLevel; level++ {
		n := t.size >> (tileHeight * (level + 1))
		at := tile{level, n, widthAt(t.size, level, n)}
		if at.width == 0 {
			continue
		}
		hashes, err := t.readEdge(at)
		if err != nil {
			t.err = fmt.Errorf("%s, of the right edge: %w", at.name(), err)
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
	bundle := tile{bundles, at.n, at.width}
	if at.level > 0 || t.has(at) || !t.has(bundle) {
		data, err := t.read(at)
		if err != nil {
			return nil, err
		}
		return parseTile(data, at.width)
	}
	data, err := t.read(bundle)
	if err != nil {
		return nil, err
	}
	_, hashes, err := parseBundleOf(data, at.width)
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

// tilesFor lists the bundles and what proves them: the tiles above them and
// the right edge, that of the leaves too: a bundle of the right edge can then
// be withheld without the others being unproved.
func tilesFor(size int64, cited []int64) ([]tile, error) {
	seen := map[tile]bool{}
	var out []tile
	add := func(t tile) bool {
		if seen[t] {
			return false
		}
		seen[t] = true
		out = append(out, t)
		return true
	}
	for i, n := range cited {
		width := widthAt(size, bundles, n)
		if n < 0 || width == 0 || i > 0 && n <= cited[i-1] {
			return nil, fmt.Errorf("bundle %d: want numbers of bundles of a log of %d entries, sorted, each once", n, size)
		}
		add(tile{bundles, n, width})
		for level, n := 1, n>>tileHeight; widthAt(size, level, n) == tileWidth; level, n = level+1, n>>tileHeight {
			if !add(tile{level, n, tileWidth}) {
				break
			}
		}
	}
	for level := 0; level <= maxLevel; level++ {
		n := size >> (tileHeight * (level + 1))
		width := widthAt(size, level, n)
		if width > 0 {
			add(tile{level, n, width})
		}
	}
	return out, nil
}
