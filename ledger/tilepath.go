package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The layout of c2sp.org/tlog-tiles.
const (
	TileHeight   = 8
	TileWidth    = 1 << TileHeight // hashes of a full tile, entries of a full bundle
	MaxLevel     = 7               // of tiles of any log: it has less than 2^63 entries
	EntryBundles = -1              // the level of bundles of entries
)

// MostRecords is how many entries of a log are proved each alone; where more
// are cited, whole bundles of the log are, with tiles, which are far smaller
// together.
const MostRecords = 256

// Tile names a tile of hashes of a log, or a bundle of its entries.
type Tile struct {
	Level int   // of hashes, 0 to 63; EntryBundles
	N     int64 // from 0, within the level
	Width int   // hashes or entries in it, 1 to TileWidth
}

// Path is "tile/<L>/<N>[.p/<W>]" or "tile/entries/<N>[.p/<W>]".
func (t Tile) Path() string {
	level := "entries"
	if t.Level != EntryBundles {
		level = strconv.Itoa(t.Level)
	}
	n := fmt.Sprintf("%03d", t.N%1000)
	for rest := t.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	if t.Width < TileWidth {
		return fmt.Sprintf("tile/%s/%s.p/%d", level, n, t.Width)
	}
	return "tile/" + level + "/" + n
}

// ParseTilePath reads what Path writes, and nothing else.
func ParseTilePath(path string) (Tile, error) {
	bad := fmt.Errorf("%q is not the path of a tile or bundle", path)
	level, rest, ok := strings.Cut(strings.TrimPrefix(path, "tile/"), "/")
	if !ok {
		return Tile{}, bad
	}
	t := Tile{Level: EntryBundles, Width: TileWidth}
	var err error
	if level != "entries" {
		if t.Level, err = strconv.Atoi(level); err != nil || t.Level < 0 || t.Level > 63 {
			return Tile{}, bad
		}
	}
	if number, width, ok := strings.Cut(rest, ".p/"); ok {
		if t.Width, err = strconv.Atoi(width); err != nil || t.Width < 1 || t.Width >= TileWidth {
			return Tile{}, bad
		}
		rest = number
	}
	groups := strings.Split(rest, "/")
	if len(groups) > 6 {
		return Tile{}, bad
	}
	for _, g := range groups {
		n, err := strconv.Atoi(strings.TrimPrefix(g, "x"))
		if err != nil || n < 0 || n > 999 {
			return Tile{}, bad
		}
		t.N = t.N*1000 + int64(n)
	}
	if t.Path() != path {
		return Tile{}, bad
	}
	return t, nil
}

// WidthAt is the width that tile n of a level has in a log of that size; 0
// where there is none.
func WidthAt(size int64, level int, n int64) int {
	there := size >> (TileHeight * max(level, 0))
	if n > there>>TileHeight {
		return 0
	}
	return int(min(TileWidth, there-n<<TileHeight))
}

// BundlesOf gives the numbers of the bundles that hold the entries of these
// indexes, sorted, each once.
func BundlesOf(indexes []int64) []int64 {
	var out []int64
	for _, i := range indexes {
		out = append(out, i>>TileHeight)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TilesFor lists bundles of a log of that size, of which the sorted numbers
// are given, and what proves them: the tiles above them and the right edge,
// that of the leaves too: a bundle of the right edge can then be withheld
// without the others being unproved.
func TilesFor(size int64, bundles []int64) ([]Tile, error) {
	seen := map[Tile]bool{}
	var out []Tile
	add := func(t Tile) bool {
		if seen[t] {
			return false
		}
		seen[t] = true
		out = append(out, t)
		return true
	}
	for i, n := range bundles {
		width := WidthAt(size, EntryBundles, n)
		if n < 0 || width == 0 || i > 0 && n <= bundles[i-1] {
			return nil, fmt.Errorf("bundle %d: want numbers of bundles of a log of %d entries, sorted, each once", n, size)
		}
		add(Tile{EntryBundles, n, width})
		for level, n := 1, n>>TileHeight; WidthAt(size, level, n) == TileWidth; level, n = level+1, n>>TileHeight {
			if !add(Tile{level, n, TileWidth}) {
				break
			}
		}
	}
	for level := 0; level <= MaxLevel; level++ {
		n := size >> (TileHeight * (level + 1))
		width := WidthAt(size, level, n)
		if width > 0 {
			add(Tile{level, n, width})
		}
	}
	return out, nil
}
