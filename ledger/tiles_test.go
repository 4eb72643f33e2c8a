package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

func TestTilePaths(t *testing.T) {
	for path, want := range map[string]Tile{
		"tile/0/000":               {Level: 0, N: 0, Width: 256},
		"tile/entries/999":         {Level: -1, N: 999, Width: 256},
		"tile/entries/x001/000":    {Level: -1, N: 1000, Width: 256},
		"tile/1/x001/x234/067.p/8": {Level: 1, N: 1234067, Width: 8},
		"tile/entries/000.p/255":   {Level: -1, N: 0, Width: 255},
		"tile/63/000.p/1":          {Level: 63, N: 0, Width: 1},
	} {
		got, err := ParseTilePath(path)
		if err != nil || got != want || got.Path() != path {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	for _, path := range []string{"", "tile", "tile/0", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/data/000", "tile/0/001/000",
		"tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p", "tile/0/000/..", "0/000", "tile//000", "tile/0/x999/x999/x999/x999/x999/x999/x999/999"} {
		if got, err := ParseTilePath(path); err == nil {
			t.Errorf("%s: read as %+v", path, got)
		}
	}
}

func TestReadTileServesEveryWidth(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	fill(t, l, "a", 300)
	if _, err := l.ReadTile("a", "checkpoint"); !errors.Is(err, ErrNotFound) {
		t.Errorf("checkpoint before there is one: %v", err)
	}
	signed, err := l.Checkpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := l.ReadTile("a", "checkpoint"); err != nil || !bytes.Equal(b, signed) {
		t.Errorf("checkpoint: %q, %v", b, err)
	}
	full, err := l.ReadTile("a", "tile/0/000")
	if err != nil || len(full) != 8192 {
		t.Fatalf("full tile: %d bytes, %v", len(full), err)
	}
	part, err := l.ReadTile("a", "tile/0/000.p/3")
	if err != nil || !bytes.Equal(part, full[:96]) {
		t.Errorf("partial tile is no prefix of the full one: %v", err)
	}
	bundle, err := l.ReadTile("a", "tile/entries/001.p/44")
	if err != nil || !bytes.HasPrefix(bundle, []byte("\x00\x0ba entry 256\x00\x0ba entry 257")) {
		t.Errorf("bundle: %.40q, %v", bundle, err)
	}
	for _, path := range []string{"tile/0/001", "tile/0/001.p/45", "tile/entries/001.p/45", "tile/entries/002.p/1", "tile/1/000.p/2", "tile/2/000.p/1", "tile/8/000.p/1", "nonsense", "tile/0/x999/x999/x999/x999/x999/999"} {
		if _, err := l.ReadTile("a", path); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", path, err)
		}
	}
	if _, err := l.ReadTile("b", "tile/0/000"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a log that is not there: %v", err)
	}
}

// TestExportPassesTessera runs tessera's fsck where TESSERA_FSCK names it.
func TestExportPassesTessera(t *testing.T) {
	program := os.Getenv("TESSERA_FSCK")
	if program == "" {
		t.Skip("TESSERA_FSCK does not name tessera's fsck v1.0.4")
	}
	for _, size := range []int{1, 255, 256, 257, 70_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, filepath.Join(dir, "ledger"), testOptions())
			if size > 1 {
				fill(t, l, "a", size/2)
			}
			fillPayloads(t, l, "a", size-size/2, 20)
			if _, err := l.Checkpoint("a"); err != nil {
				t.Fatal(err)
			}
			fill(t, l, "a", 100) // beyond the checkpoint
			out := filepath.Join(dir, "export")
			if err := l.Export("a", out); err != nil {
				t.Fatal(err)
			}
			if err := l.Export("a", out); err == nil || !strings.Contains(err.Error(), "not empty") {
				t.Errorf("a second export to one place: %v", err)
			}
			vkey, err := l.VerifierKey("a")
			if err != nil {
				t.Fatal(err)
			}
			keyFile := filepath.Join(dir, "vkey")
			if err := os.WriteFile(keyFile, []byte(vkey), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			said, err := exec.CommandContext(ctx, program, "-N", "8", "--storage_url=file://"+out+"/", "--public_key="+keyFile, "--ui=false").CombinedOutput()
			if err != nil || !strings.Contains(string(said), "Successfully fsck'd") {
				t.Errorf("%v: %s", err, said)
			}
		})
	}
}

// TestTesseraTestLog reads a log that another implementation wrote.
func TestTesseraTestLog(t *testing.T) {
	root := filepath.Join("..", "..", "shared", "data", "tlog", "tessera-testdata-log")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("the recorded log is not there: %v", err)
	}
	const vkey = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var edge frontier
	var hashes []byte
	bundle := read("tile/entries/000.p/15")
	before := Checkpoint{Origin: "example.com/log/testdata", Root: emptyRoot()}
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, x := range indexes {
			level, n := tlog.SplitStoredHashIndex(x)
			var part frontier
			for i := range int64(1) << level {
				at := (n<<level + i) * tlog.HashSize
				part.push(i, tlog.Hash(hashes[at:at+tlog.HashSize]), func(int, tlog.Hash) {})
			}
			out = append(out, part.root())
		}
		return out, nil
	})
	for n := int64(0); n <= 15; n++ {
		signed := read(fmt.Sprintf("checkpoint.%d", n))
		c, err := OpenCheckpoint(signed, vkey)
		if err != nil || c.Size != n || c.Root != edge.root() {
			t.Fatalf("checkpoint %d: %+v, %v; the entries hash to %s", n, c, err, hashText(edge.root()))
		}
		var proof tlog.TreeProof
		if before.Size > 0 && before.Size < n {
			if proof, err = tlog.ProveTree(n, before.Size, reader); err != nil {
				t.Fatal(err)
			}
		}
		if err := CheckConsistency(before, c, proof); err != nil {
			t.Errorf("from %d to %d: %v", before.Size, n, err)
		}
		before = c
		if n == 15 {
			break
		}
		entry, rest, err := cutEntry(bundle)
		if err != nil {
			t.Fatal(err)
		}
		bundle = rest
		hashes = append(hashes, make([]byte, tlog.HashSize)...)
		leaf := LeafHash(entry)
		copy(hashes[n*tlog.HashSize:], leaf[:])
		edge.push(n, leaf, func(int, tlog.Hash) {})
		if n > 0 {
			if tile := read(fmt.Sprintf("tile/0/000.p/%d", n+1)); !bytes.Equal(tile, hashes) {
				t.Errorf("tile of %d hashes differs", n+1)
			}
		}
		p, err := tlog.ProveRecord(n+1, n, reader)
		if err != nil {
			t.Fatal(err)
		}
		next := read(fmt.Sprintf("checkpoint.%d", n+1))
		if _, index, err := VerifyProof(MarshalProof(n, p, next), vkey, entry); err != nil || index != n {
			t.Errorf("entry %d: %v", n, err)
		}
	}
}
