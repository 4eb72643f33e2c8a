package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/ledger"
	"trustpack/pack"
)

// packGenerator makes packs of data that it makes up: replies of collections,
// and entries of an evidence log. No byte of a reply is ever stored.
type packGenerator struct {
	bytes   int64 // of all replies
	files   int
	entries int64 // of the evidence log; 0 for no log

	block   []byte           // what replies repeat
	replies map[[32]byte]int // number of a reply by its SHA-256
	blobs   string           // folder of records and populations
}

// repliesEach is how many replies a generated collection has.
const repliesEach = 100

func (g *packGenerator) check() error {
	switch {
	case g.files < 1 || g.files > 900_000:
		return fmt.Errorf("--files: %d is outside 1 to 900000", g.files)
	case g.entries < 0 || g.entries > 100_000_000:
		return fmt.Errorf("--log-entries: %d is outside 0 to 100000000", g.entries)
	case g.entries > 0 && g.entries < int64(g.collections()):
		return fmt.Errorf("--log-entries: %d, want 0 or one for each of the %d collections", g.entries, g.collections())
	case g.bytes/int64(g.files) >= 1<<32-1:
		return errors.New("--size: a file of a pack has less than 4 GiB: give more --files")
	}
	return nil
}

func (g *packGenerator) collections() int { return (g.files + repliesEach - 1) / repliesEach }

// replyReader gives a reply: its number, and the block over and over.
type replyReader struct {
	head  [8]byte
	block []byte
	at    int64
	size  int64
}

func (r *replyReader) Read(p []byte) (int, error) {
	if r.at == r.size {
		return 0, io.EOF
	}
	from := r.block[r.at%int64(len(r.block)):]
	if r.at < int64(len(r.head)) {
		from = r.head[r.at:]
	}
	n := copy(p[:min(int64(len(p)), r.size-r.at)], from)
	r.at += int64(n)
	return n, nil
}

func (g *packGenerator) reply(n int) io.Reader {
	each := g.bytes / int64(g.files)
	r := &replyReader{block: g.block, size: each}
	if n == g.files-1 {
		r.size += g.bytes % int64(g.files)
	}
	binary.BigEndian.PutUint64(r.head[:], uint64(n))
	return r
}

// open opens a reply, a record or a population.
func (g *packGenerator) open(digest string) (io.ReadCloser, error) {
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(digest)); err != nil {
		return nil, err
	}
	if n, ok := g.replies[sum]; ok {
		return io.NopCloser(g.reply(n)), nil
	}
	return os.Open(filepath.Join(g.blobs, digest))
}

func (g *packGenerator) keep(b []byte) (string, error) {
	digest := evidence.SHA256Hex(b)
	return digest, os.WriteFile(filepath.Join(g.blobs, digest), b, 0o600)
}

// build writes the pack to path and the vendor's public key to key, and gives
// the verifier key of its log.
func (g *packGenerator) build(ctx context.Context, dir, path, key string) (built pack.Built, vkey string, err error) {
	g.block, g.replies, g.blobs = make([]byte, 1<<20), map[[32]byte]int{}, filepath.Join(dir, "blobs")
	rand.Read(g.block) // never fails
	if err := os.Mkdir(g.blobs, 0o700); err != nil {
		return built, "", err
	}
	private, public, err := pack.GenerateKey(pack.Ed25519, "generated", rand.Reader)
	if err != nil {
		return built, "", err
	}
	signer, err := pack.LoadSigner(private, nil)
	if err != nil {
		return built, "", err
	}
	if err := os.WriteFile(key, public, 0o600); err != nil {
		return built, "", err
	}
	content, err := g.content()
	if err != nil {
		return built, "", err
	}
	if g.entries > 0 {
		seed, err := ledger.NewSeed()
		if err != nil {
			return built, "", err
		}
		led, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{Instance: "bench.example", Seed: seed, Extensions: []string{"sample=true"}})
		if err != nil {
			return built, "", err
		}
		defer func() { err = errors.Join(err, led.Close()) }()
		excerpt, err := g.log(ctx, led, content.Evidence)
		if err != nil {
			return built, "", err
		}
		content.Logs, vkey = []ledger.Excerpt{excerpt}, excerpt.VerifierKey
	}
	err = writeWhole(path, func(w io.Writer) error {
		built, err = pack.Build(w, content, signer)
		return err
	})
	return built, vkey, err
}

// content is everything but the log.
func (g *packGenerator) content() (pack.Content, error) {
	p := evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
	catalog, err := controls.Builtin()
	if err != nil {
		return pack.Content{}, err
	}
	c := pack.Content{
		Organisation: "Generated data", System: "trustpack bench verify", Tool: tool(), Period: p, Sequence: 1,
		Sample: true, Clock: evidence.ClockSimulated, CatalogSHA256: catalog.SHA256(), CatalogFiles: catalog.Files(),
		Controls: catalog.Controls(), Secret: bytes.Repeat([]byte("generated"), 4), Open: g.open,
	}
	for n := range g.collections() {
		e, err := g.collection(n, p)
		if err != nil {
			return pack.Content{}, err
		}
		c.Evidence = append(c.Evidence, e)
	}
	assessed, err := catalog.Assess(controls.Input{Period: p, Evidence: c.Evidence})
	if err != nil {
		return pack.Content{}, err
	}
	c.Findings = assessed.Findings
	view, err := viewOf(c)
	if err != nil {
		return pack.Content{}, err
	}
	if c.Extra, err = rendered(view); err != nil {
		return pack.Content{}, err
	}
	c.Extra = append(c.Extra, pack.File{Path: policyFile, MediaType: "application/json", Body: []byte("{}\n")})
	return c, nil
}

// collection makes up one collection.
func (g *packGenerator) collection(n int, p evidence.Period) (evidence.Collected, error) {
	e := evidence.Evidence{
		Kind: "bench.generated", Collector: "bench", CollectedAt: p.From.Add(time.Duration(n) * time.Second), Window: p,
		Provenance: evidence.Provenance{
			System: "none", Principal: "nobody", Tool: tool(), Origin: evidence.OriginSample, Clock: evidence.ClockSimulated, Requests: []evidence.Request{},
		},
		Completeness: evidence.Completeness{State: evidence.Complete, Basis: "read-to-end", Got: 1, Note: "generated data"},
		Population:   evidence.Population{Items: []evidence.Item{{ID: fmt.Sprintf("generated-%06d", n), Attributes: map[string]any{"n": float64(n)}}}},
	}
	lines, err := e.Population.Lines()
	if err != nil {
		return evidence.Collected{}, err
	}
	rec := evidence.Record{Evidence: e, Items: 1, RawFiles: []evidence.RawFile{}}
	if rec.PopulationSHA256, err = g.keep(lines); err != nil {
		return evidence.Collected{}, err
	}
	sum := sha256.New()
	for i := n * repliesEach; i < min((n+1)*repliesEach, g.files); i++ {
		sum.Reset()
		size, err := io.Copy(sum, g.reply(i))
		if err != nil {
			return evidence.Collected{}, err
		}
		digest := [32]byte(sum.Sum(nil))
		g.replies[digest] = i
		rec.RawFiles = append(rec.RawFiles, evidence.RawFile{Name: fmt.Sprintf("generated-%06d.bin", i), Size: size, SHA256: hex.EncodeToString(digest[:])})
	}
	canonical, err := evidence.CanonicalJSON(rec)
	if err != nil {
		return evidence.Collected{}, err
	}
	id, err := g.keep(canonical)
	e.Population.Items = []evidence.Item{{ID: e.Population.Items[0].ID, Attributes: map[string]any{"n": float64(n), "id": e.Population.Items[0].ID}}}
	return evidence.Collected{ID: id, Evidence: e}, err
}

// log makes up the evidence log: made-up entries, and at the end those of the
// collections. All of it is cited.
func (g *packGenerator) log(ctx context.Context, led *ledger.Ledger, collected []evidence.Collected) (ledger.Excerpt, error) {
	const name = "evidence"
	filler := benchEntries(1000)
	var positions []ledger.Position
	var batch []ledger.Entry
	flush := func() (err error) {
		positions, err = led.AppendTo(ctx, positions[:0], batch)
		batch = batch[:0]
		return err
	}
	for n := int64(0); n < g.entries; n++ {
		entry := ledger.Entry{Log: name, Data: filler[n%int64(len(filler))].Data}
		if i := n - (g.entries - int64(len(collected))); i >= 0 {
			data, err := evidence.CanonicalJSON(map[string]any{"type": "evidence.collected", "id": collected[i].ID, "kind": collected[i].Kind})
			if err != nil {
				return ledger.Excerpt{}, err
			}
			entry.Data = data
		}
		batch = append(batch, entry)
		if len(batch) == 1000 || n == g.entries-1 {
			if err := flush(); err != nil {
				return ledger.Excerpt{}, err
			}
		}
	}
	if _, err := led.Checkpoint(name); err != nil {
		return ledger.Excerpt{}, err
	}
	excerpt, err := led.Excerpt(name, 0, nil)
	if err != nil {
		return ledger.Excerpt{}, err
	}
	excerpt.Tiles = &ledger.Tiles{Read: func(path string) ([]byte, error) { return led.ReadTile(name, path) }}
	for n := int64(0); n <= (g.entries-1)/256; n++ {
		excerpt.Tiles.Bundles = append(excerpt.Tiles.Bundles, n)
	}
	return excerpt, nil
}
