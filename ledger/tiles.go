package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

// entriesLevel is the level of entry bundles in a tlog.Tile.
const entriesLevel = -1

// parseTilePath reads a c2sp.org/tlog-tiles path, "tile/<L>/<N>[.p/<W>]" or
// "tile/entries/<N>[.p/<W>]". Height is 8.
func parseTilePath(path string) (tlog.Tile, error) {
	bad := fmt.Errorf("%q is no tile path", path)
	level, rest, ok := strings.Cut(strings.TrimPrefix(path, "tile/"), "/")
	if !ok || !strings.HasPrefix(path, "tile/") || level == "data" {
		return tlog.Tile{}, bad
	}
	if level == "entries" {
		level = "data"
	}
	tile, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s/%s", tileHeight, level, rest))
	if err != nil || tile.L > 63 {
		return tlog.Tile{}, bad
	}
	return tile, nil
}

// tilePath is the path that parseTilePath reads.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if rest, ok := strings.CutPrefix(path, "data/"); ok {
		path = "entries/" + rest
	}
	return "tile/" + path
}

// ReadTile reads a resource of the log in the layout of c2sp.org/tlog-tiles:
// "checkpoint", which is the last one signed, "tile/0/x001/234",
// "tile/0/000.p/3", "tile/entries/000.p/3". Any width that the log has reached
// can be read, so partial tiles of old checkpoints stay. What is not there,
// or no such path, is an ErrNotFound.
func (l *Ledger) ReadTile(log, path string) ([]byte, error) {
	if path == "checkpoint" {
		return l.LastCheckpoint(log)
	}
	t, err := l.find(log)
	if err != nil {
		return nil, fmt.Errorf("reading tile: %w", err)
	}
	tile, err := parseTilePath(path)
	if err != nil {
		return nil, fmt.Errorf("reading tile: %w: %w", err, ErrNotFound)
	}
	b, err := t.readTile(tile)
	if err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", path, log, err)
	}
	return b, nil
}

func (t *tree) readTile(tile tlog.Tile) ([]byte, error) {
	size := t.size()
	level := max(tile.L, 0)
	if level*tileHeight > 62 {
		return nil, ErrNotFound
	}
	there := size>>(level*tileHeight) - tile.N*tileWidth
	if tile.N > size || there < int64(tile.W) {
		return nil, ErrNotFound
	}
	if tile.L != entriesLevel {
		return t.readLevel(tile.L, tile.N*tileWidth, tile.W)
	}
	bundle, err := t.leaves(tile.N)
	if err != nil {
		return nil, err
	}
	return firstEntries(bundle, tile.W)
}

// Export writes the log as files in the layout of c2sp.org/tlog-tiles: the
// last signed checkpoint, and the full and partial tiles and entry bundles of
// its size. dir must be empty or not exist. The checkpoint is written last,
// so a directory without one is not a whole export.
func (l *Ledger) Export(log, dir string) error {
	if err := l.export(log, dir); err != nil {
		return fmt.Errorf("exporting log %s: %w", log, err)
	}
	return nil
}

func (l *Ledger) export(log, dir string) error {
	signed, err := l.LastCheckpoint(log)
	if err != nil {
		return err
	}
	vkey, err := l.VerifierKey(log)
	if err != nil {
		return err
	}
	head, err := OpenCheckpoint(signed, vkey)
	if err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty: give a new directory", dir)
	}
	t, err := l.find(log)
	if err != nil {
		return err
	}
	for _, tile := range tilesOf(head.Size) {
		b, err := t.readTile(tile)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(tilePath(tile)))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, "checkpoint"), signed, 0o644)
}

// tilesOf lists the tiles and entry bundles of a tree of that size.
func tilesOf(size int64) []tlog.Tile {
	tiles := tlog.NewTiles(tileHeight, 0, size)
	for _, tile := range tiles {
		if tile.L == 0 {
			tile.L = entriesLevel
			tiles = append(tiles, tile)
		}
	}
	return tiles
}
