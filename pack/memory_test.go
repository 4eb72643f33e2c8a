package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// virtual is evidence whose raw replies exist only while they are read.
type virtual struct {
	files  int
	each   int64
	number map[string]int // of a reply by its SHA-256
	blobs  blobs          // records and populations
}

// zeros gives a number and then zeros.
type zeros struct {
	head [8]byte
	at   int64
	size int64
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.at == z.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.size-z.at))
	clear(p[:n])
	if z.at < int64(len(z.head)) {
		copy(p[:n], z.head[z.at:])
	}
	z.at += int64(n)
	return n, nil
}

func (v *virtual) reply(n int) io.Reader {
	z := &zeros{size: v.each}
	binary.BigEndian.PutUint64(z.head[:], uint64(n)+1)
	return z
}

func (v *virtual) open(digest string) (io.ReadCloser, error) {
	if n, ok := v.number[digest]; ok {
		return io.NopCloser(v.reply(n)), nil
	}
	return v.blobs.open(digest)
}

// content is the usual content's controls over virtual evidence, a hundred
// replies a collection.
func (v *virtual) content(t testing.TB) Content {
	t.Helper()
	c := content(t)
	v.number, v.blobs = map[string]int{}, blobs{}
	c.Evidence, c.Findings, c.Logs, c.Open = nil, nil, nil, v.open
	for at := 0; at < v.files; at += 100 {
		e := collected(t, "git.commits", day(at/100%90), 1).Evidence
		e.Completeness.Note = fmt.Sprint(at)
		lines, err := e.Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		rec := evidence.Record{Evidence: e, Items: 1, PopulationSHA256: evidence.SHA256Hex(lines), RawFiles: []evidence.RawFile{}}
		for n := at; n < min(at+100, v.files); n++ {
			sum := sha256.New()
			if _, err := io.Copy(sum, v.reply(n)); err != nil {
				t.Fatal(err)
			}
			digest := fmt.Sprintf("%x", sum.Sum(nil))
			v.number[digest] = n
			rec.RawFiles = append(rec.RawFiles, evidence.RawFile{Name: fmt.Sprintf("page-%06d.json", n), Size: v.each, SHA256: digest})
		}
		id := evidence.SHA256Hex([]byte(canonical(t, rec)))
		v.blobs[id], v.blobs[rec.PopulationSHA256] = []byte(canonical(t, rec)), lines
		e.Population.Items = nil
		c.Evidence = append(c.Evidence, evidence.Collected{ID: id, Evidence: e})
	}
	return c
}

// heapWatch looks at the live heap now and then, over what there was before.
type heapWatch struct {
	before, peak uint64
	every, calls int
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (h *heapWatch) look() {
	if h.calls++; h.calls%h.every == 0 {
		h.peak = max(h.peak, liveHeap())
	}
}

func (h *heapWatch) grown() int64 { return int64(h.peak) - int64(h.before) }

type watchedWriter struct {
	w io.Writer
	h *heapWatch
}

func (w watchedWriter) Write(p []byte) (int, error) {
	w.h.look()
	return w.w.Write(p)
}

type watchedReader struct {
	r io.ReaderAt
	h *heapWatch
}

func (r watchedReader) ReadAt(p []byte, off int64) (int, error) {
	r.h.look()
	return r.r.ReadAt(p, off)
}

// memoryOf builds a pack into a file and verifies it, and gives how much the
// live heap grew in each.
func memoryOf(t *testing.T, c Content, looks int) (build, verify int64) {
	t.Helper()
	s := edSigner(t, 1)
	f, err := os.Create(filepath.Join(t.TempDir(), "p.epack.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	open, calls := c.Open, 0
	h := &heapWatch{before: liveHeap(), every: 1}
	if open != nil {
		c.Open = func(digest string) (io.ReadCloser, error) {
			if calls++; calls%max(1, 2*len(c.Evidence)*100/looks) == 0 {
				h.look()
			}
			return open(digest)
		}
	}
	h.look()
	built, err := Build(watchedWriter{f, h}, c, s)
	if err != nil {
		t.Fatal(err)
	}
	writes := int(built.Bytes/copyBuffer) + 1
	v := &heapWatch{before: liveHeap(), every: max(1, writes/looks)}
	r := Verify(watchedReader{f, v}, built.Bytes, VerifyOptions{Keys: []PublicKey{s.Public()}})
	if r.Exit != 0 {
		t.Fatal(reportText(r))
	}
	if h.peak == 0 || v.peak == 0 {
		t.Fatal("nobody looked at the heap")
	}
	return h.grown(), v.grown()
}

// TestMemoryDoesNotGrowWithContents: 128 MB more in the same files.
func TestMemoryDoesNotGrowWithContents(t *testing.T) {
	b1, v1 := memoryOf(t, (&virtual{files: 64, each: 4 << 10}).content(t), 20)
	b2, v2 := memoryOf(t, (&virtual{files: 64, each: 2 << 20}).content(t), 20)
	t.Logf("build %d and %d bytes, verify %d and %d", b1, b2, v1, v2)
	const room = 2 << 20
	if b2 > b1+room || v2 > v1+room {
		t.Errorf("128 MB more of contents take %d bytes more to build and %d to verify", b2-b1, v2-v1)
	}
}

// TestMemoryOfManyFiles: what a file more takes is its name, size and digests.
func TestMemoryOfManyFiles(t *testing.T) {
	few, many := 2_000, 12_000
	b1, v1 := memoryOf(t, (&virtual{files: few, each: 64}).content(t), 10)
	b2, v2 := memoryOf(t, (&virtual{files: many, each: 64}).content(t), 10)
	build, verify := (b2-b1)/int64(many-few), (v2-v1)/int64(many-few)
	t.Logf("%d bytes a file to build, %d to verify", build, verify)
	if build > 500 || verify > 400 {
		t.Errorf("a file takes %d bytes to build and %d to verify, want 500 and 400 at most", build, verify)
	}
}

// TestMemoryOfManyEntries: what an entry of a log more takes is next to
// nothing.
func TestMemoryOfManyEntries(t *testing.T) {
	log := &testLog{t: t, origin: "ingest.example/evidence", seed: seed(7)}
	var grown [2][2]int64
	for i, size := range []int{5_000, 60_000} {
		c := content(t)
		for n := len(log.entries); n < size; n++ {
			entry := fmt.Appendf(nil, `{"entry":%d,"type":"other"}`, n)
			if left := size - n; left <= len(c.Evidence) {
				entry = []byte(canonical(t, map[string]string{"type": collectedEntry, "id": c.Evidence[left-1].ID}))
			}
			log.add(entry)
		}
		e := log.excerpt(0)
		e.Tiles = &ledger.Tiles{Read: log.readTile}
		for n := range int64((size + ledger.TileWidth - 1) / ledger.TileWidth) {
			e.Tiles.Bundles = append(e.Tiles.Bundles, n)
		}
		c.Logs = []ledger.Excerpt{e}
		grown[i][0], grown[i][1] = memoryOf(t, c, 20)
	}
	build, verify := float64(grown[1][0]-grown[0][0])/55_000, float64(grown[1][1]-grown[0][1])/55_000
	t.Logf("%.1f bytes an entry to build, %.1f to verify", build, verify)
	if build > 12 || verify > 12 {
		t.Errorf("an entry takes %.1f bytes to build and %.1f to verify, want 12 at most", build, verify)
	}
}

// TestEachByteIsReadOnce: beside the archive itself the verifier reads little
// more than its directory.
func TestEachByteIsReadOnce(t *testing.T) {
	s := edSigner(t, 1)
	for _, v := range []*virtual{{files: 40, each: 400_000}, {files: 4000, each: 900}} {
		data := buildPack(t, v.content(t), s)
		in := &meteredReader{r: bytes.NewReader(data)}
		if r := Verify(in, int64(len(data)), VerifyOptions{Keys: []PublicKey{s.Public()}}); r.Exit != 0 {
			t.Fatal(reportText(r))
		}
		// The directory is read after its end, manifest.jsonl before the rest.
		a, err := scan(bytes.NewReader(data), int64(len(data)), Limits{}, func(p scanProblem) { t.Errorf("%+v", p) })
		if err != nil {
			t.Fatal(err)
		}
		if more := in.read - int64(len(data)); more < 0 || more > 600<<10 {
			t.Errorf("of %d bytes with a directory of %d, %d were read: %d more than once", len(data), int64(len(data))-a.dirOffset, in.read, more)
		}
	}
}
