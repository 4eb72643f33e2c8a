package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trustpack/internal/durable"
)

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
	tile, err := ParseTilePath(path)
	if err != nil {
		return nil, fmt.Errorf("reading tile: %w: %w", err, ErrNotFound)
	}
	b, err := t.readTile(tile)
	if err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", path, log, err)
	}
	return b, nil
}

func (t *tree) readTile(tile Tile) ([]byte, error) {
	size := t.size()
	level := max(tile.Level, 0)
	if level*tileHeight > 62 {
		return nil, ErrNotFound
	}
	there := size>>(level*tileHeight) - tile.N*tileWidth
	if tile.N > size || there < int64(tile.Width) {
		return nil, ErrNotFound
	}
	if tile.Level != EntryBundles {
		return t.readLevel(tile.Level, tile.N*tileWidth, tile.Width)
	}
	bundle, err := t.leaves(tile.N)
	if err != nil {
		return nil, err
	}
	return firstEntries(bundle, tile.Width)
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
		path := filepath.Join(dir, filepath.FromSlash(tile.Path()))
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
func tilesOf(size int64) []Tile {
	var out []Tile
	for level := EntryBundles; level <= MaxLevel; level++ {
		for n := int64(0); WidthAt(size, level, n) > 0; n++ {
			out = append(out, Tile{level, n, WidthAt(size, level, n)})
		}
	}
	return out
}
