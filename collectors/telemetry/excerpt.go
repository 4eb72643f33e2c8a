package telemetry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

// ExcerptFile is the name under which a log's excerpt is kept in the raw
// replies of KindCheckpoints: a ledger.Excerpt as JSON, with "bundles" where
// whole bundles of entries are cited. Those, as the ingest served them, and the
// tiles that prove them are then kept beside it, each under tileFile.
func ExcerptFile(log string) string { return excerptPrefix + log + excerptSuffix }

const excerptPrefix, excerptSuffix = "excerpt-", ".json"

// tileFile is the name of a tile or bundle among the raw replies.
func tileFile(log, path string) string { return "log-" + log + "/" + path }

// keptExcerpt is what ExcerptFile names.
type keptExcerpt struct {
	ledger.Excerpt
	Bundles []int64 `json:"bundles,omitempty"` // numbers of those that stand for records
}

// citing is the log's excerpt with the entries that items of this run cite: of
// the control log, each with its inclusion proof or, where they are more than
// ledger.MostRecords, the bundles that hold them. A tenant's dead letters are
// asked of the ingest.
func (r *run) citing(v *logView) ([]evidence.RawReply, error) {
	kept := keptExcerpt{Excerpt: v.excerpt}
	kept.Records = nil
	var cited []entry
	var indexes []int64
	for _, e := range r.control {
		if v.name == controlLog && e.index < v.head.Size && r.cited(e) {
			cited, indexes = append(cited, e), append(indexes, e.index)
		}
	}
	var tiles []evidence.RawReply
	var err error
	if len(cited) > ledger.MostRecords {
		kept.Bundles = ledger.BundlesOf(indexes)
		tiles, err = v.tiles(kept.Bundles)
	} else {
		kept.Records, err = v.proveEach(cited)
	}
	if err == nil {
		err = kept.Verify(v.key)
	}
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(kept)
	return append([]evidence.RawReply{{Name: ExcerptFile(v.name), Body: body}}, tiles...), err
}

// proveEach gives the entries with proofs made from the hashes that were read.
func (v *logView) proveEach(cited []entry) ([]ledger.RecordProof, error) {
	var out []ledger.RecordProof
	for _, e := range cited {
		proof, err := tlog.ProveRecord(v.head.Size, e.index, hashSlice(v.hashes))
		if err != nil {
			return nil, fmt.Errorf("proving control entry %d: %w", e.index, err)
		}
		out = append(out, ledger.RecordProof{Index: e.index, Entry: e.raw, Proof: string(ledger.MarshalProof(e.index, proof, []byte(v.excerpt.Checkpoint)))})
	}
	return out, nil
}

// cited says which control entries of the period are proved: decisions,
// refusals after them, drills, alerts, configuration and books.
func (r *run) cited(e entry) bool {
	return r.period.Contains(e.Time) && !slices.Contains([]string{evidence.EntryCredentialSeen, evidence.EntryDeviceActivated, evidence.EntryIngestStarted, evidence.EntryIngestStopped, evidence.EntryClockChecked}, e.Type)
}

// tiles are bundles of the log as they were read and the tiles that lead from
// the checkpoint's root to them, and are held to do so.
func (v *logView) tiles(bundles []int64) ([]evidence.RawReply, error) {
	list, err := ledger.TilesFor(v.head.Size, bundles)
	if err != nil {
		return nil, err
	}
	var out []evidence.RawReply
	kept := keptTiles{}
	for _, t := range list {
		data := []byte(nil)
		if t.Level == ledger.EntryBundles {
			data = v.bundles[t.N]
		} else if data, err = tlog.ReadTileData(tlogTile(t), hashSlice(v.hashes)); err != nil {
			return nil, fmt.Errorf("making %s: %w", t.Path(), err)
		}
		kept[t] = data
		out = append(out, evidence.RawReply{Name: tileFile(v.name, t.Path()), Body: data})
	}
	hashes := tlog.TileHashReader(tlog.Tree{N: v.head.Size, Hash: v.head.Root}, kept)
	for _, n := range bundles {
		var leaves []int64
		for i := range int64(ledger.WidthAt(v.head.Size, ledger.EntryBundles, n)) {
			leaves = append(leaves, tlog.StoredHashIndex(0, n<<ledger.TileHeight+i))
		}
		if _, err := hashes.ReadHashes(leaves); err != nil {
			return nil, fmt.Errorf("proving bundle %d: %w", n, err)
		}
	}
	return out, nil
}

func tlogTile(t ledger.Tile) tlog.Tile {
	return tlog.Tile{H: ledger.TileHeight, L: t.Level, N: t.N, W: t.Width}
}

// keptTiles is the tlog.TileReader of what is kept: the hashes of a bundle's
// entries are those of the entries, whether their tile is kept or not.
type keptTiles map[ledger.Tile][]byte

func (k keptTiles) Height() int { return ledger.TileHeight }

func (k keptTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (k keptTiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, w := range want {
		t := ledger.Tile{Level: w.L, N: w.N, Width: w.W}
		data, ok := k[t]
		if bundle, there := k[ledger.Tile{Level: ledger.EntryBundles, N: w.N, Width: w.W}]; w.L == 0 && there {
			data, ok = nil, true
			if err := readBundle(bundle, int64(w.W), func(_ int64, e []byte) error {
				leaf := tlog.RecordHash(e)
				data = append(data, leaf[:]...)
				return nil
			}); err != nil {
				return nil, err
			}
		}
		if !ok {
			return nil, fmt.Errorf("%s is not among the tiles kept", t.Path())
		}
		out = append(out, data)
	}
	return out, nil
}

// Excerpts reads the excerpts out of the raw replies of a collection of
// KindCheckpoints, of which the names are given. Where one cites bundles, its
// Tiles read them, and what proves them, from the replies too: it is an error
// where one of these is missing, or one is there that the excerpt does not
// cite.
func Excerpts(names []string, read func(name string) ([]byte, error)) ([]ledger.Excerpt, error) {
	var out []ledger.Excerpt
	for _, name := range names {
		log, isExcerpt := strings.CutPrefix(name, excerptPrefix)
		log, isJSON := strings.CutSuffix(log, excerptSuffix)
		if !isExcerpt || !isJSON {
			continue
		}
		e, err := openExcerpt(log, names, read)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func openExcerpt(log string, names []string, read func(name string) ([]byte, error)) (ledger.Excerpt, error) {
	body, err := read(ExcerptFile(log))
	if err != nil {
		return ledger.Excerpt{}, err
	}
	var kept keptExcerpt
	if err := json.Unmarshal(body, &kept); err != nil {
		return ledger.Excerpt{}, err
	}
	e := kept.Excerpt
	there := map[string]bool{}
	for _, name := range names {
		if strings.HasPrefix(name, tileFile(log, "")) {
			there[name] = true
		}
	}
	if len(kept.Bundles) == 0 {
		if len(there) > 0 {
			return ledger.Excerpt{}, fmt.Errorf("it cites no bundles, and tiles of log %s were kept beside it: collect again", log)
		}
		return e, nil
	}
	head, err := ledger.OpenCheckpoint([]byte(e.Checkpoint), e.VerifierKey)
	if err != nil {
		return ledger.Excerpt{}, err
	}
	cited, err := ledger.TilesFor(head.Size, kept.Bundles)
	if err != nil {
		return ledger.Excerpt{}, err
	}
	for _, t := range cited {
		name := tileFile(log, t.Path())
		if !there[name] {
			return ledger.Excerpt{}, fmt.Errorf("the bundles that it cites need %s, which was not kept: collect again", name)
		}
		delete(there, name)
	}
	if len(there) > 0 {
		return ledger.Excerpt{}, fmt.Errorf("tiles of log %s were kept beside it that it does not cite: collect again", log)
	}
	e.Tiles = &ledger.Tiles{Bundles: kept.Bundles, Read: func(path string) ([]byte, error) { return read(tileFile(log, path)) }}
	return e, nil
}
