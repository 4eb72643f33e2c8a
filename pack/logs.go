package pack

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

const (
	checkpointFile  = "checkpoint"
	previousFile    = "checkpoint.prev"
	consistencyFile = "consistency.json"
	historyFile     = "checkpoints.jsonl"
	proofsDir       = "proofs/"
	proofSuffix     = ".tlog-proof"
	entriesDir      = "entries/"
	entrySuffix     = ".entry"
	tilesDir        = "tile/"

	sampleExtension    = "sample=true"
	simulatedExtension = "clock=simulated"
)

func hashText(h tlog.Hash) string { return base64.StdEncoding.EncodeToString(h[:]) }

// parseHashes reads the base64 hashes of a consistency proof.
func parseHashes(texts []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(texts))
	for i, s := range texts {
		b, err := strictBase64(s)
		if err != nil || len(b) != tlog.HashSize {
			return nil, fmt.Errorf("hash %d is not 32 bytes in canonical base64", i)
		}
		copy(out[i][:], b)
	}
	return out, nil
}

// unverifiedCheckpoint reads the checkpoint of a signed note without asking
// who signed it.
func unverifiedCheckpoint(signed []byte) (ledger.Checkpoint, error) {
	_, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return ledger.Checkpoint{}, fmt.Errorf("reading checkpoint: it is no signed note: %w", err)
	}
	return ledger.ParseCheckpoint(unverified.Note.Text)
}

// labels reports whether a checkpoint's signed extension lines call the log
// sample data, or its times simulated.
func labels(c ledger.Checkpoint) (sample, simulated bool) {
	for _, line := range c.Extensions {
		for word := range strings.FieldsSeq(line) {
			sample = sample || word == sampleExtension
			simulated = simulated || word == simulatedExtension
		}
	}
	return sample, simulated
}

// logHeads gives the head of each log, in the order of Logs.
func (c Content) logHeads() ([]LogHead, error) {
	var out []LogHead
	for _, e := range c.Logs {
		head, err := unverifiedCheckpoint([]byte(e.Checkpoint))
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", e.Origin, err)
		}
		var previous *ledger.Checkpoint
		if e.Previous != "" {
			p, err := unverifiedCheckpoint([]byte(e.Previous))
			if err != nil {
				return nil, fmt.Errorf("log %s: %w", e.Origin, err)
			}
			previous = &p
		}
		out = append(out, headOf(head, previous))
	}
	return out, nil
}

// parseLogHeads reads data/log/logs.jsonl.
func parseLogHeads(data []byte) ([]LogHead, error) {
	var heads []LogHead
	for line := range bytes.Lines(data) {
		var h LogHead
		err := decodeLineStrict(line, &h)
		if err == nil {
			err = h.check()
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: line %d: %w", logsName, len(heads)+1, err)
		}
		heads = append(heads, h)
	}
	return heads, nil
}

// collectedID gives the evidence ID that an entry of an evidence log records,
// or false where the entry records something else.
func collectedID(entry []byte) (id [32]byte, ok bool) {
	if !bytes.Contains(entry, []byte(collectedEntry)) && bytes.IndexByte(entry, '\\') < 0 {
		return id, false // JSON can hold that text in no other way
	}
	var v map[string]any // whose keys are told apart by case
	if json.Unmarshal(entry, &v) != nil || v["type"] != collectedEntry {
		return id, false
	}
	text, _ := v["id"].(string)
	if checkID(text) != nil {
		return id, false
	}
	return idBytes(text), true
}

// loggedEvidence says of each collection whether its entry is among those
// proved, and whether any collection's is.
type loggedEvidence struct {
	logged map[[32]byte]bool
	any    bool
}

func (l *loggedEvidence) take(entry []byte) {
	id, ok := collectedID(entry)
	if !ok {
		return
	}
	l.any = true
	if _, ok := l.logged[id]; ok {
		l.logged[id] = true
	}
}

// addLogs adds each excerpt, having verified it under the key it names.
func (b *builder) addLogs() error {
	heads, err := b.c.logHeads()
	if err != nil {
		return err
	}
	var lines []byte
	for i, e := range b.c.Logs {
		if err := e.Verify(e.VerifierKey); err != nil {
			return err
		}
		head, err := unverifiedCheckpoint([]byte(e.Checkpoint))
		if err != nil {
			return err
		}
		if err := b.checkLabels(e); err != nil {
			return fmt.Errorf("log %s: %w", e.Origin, err)
		}
		taking := func([]byte) {}
		if strings.HasSuffix(e.Origin, evidenceLogSuffix) {
			taking = b.logged.take
		}
		if err := b.addLog(e, head, taking); err != nil {
			return fmt.Errorf("log %s: %w", e.Origin, err)
		}
		line, err := evidence.CanonicalJSON(heads[i])
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	if len(b.c.Logs) == 0 {
		return nil
	}
	return b.add(Line{Path: logsName, MediaType: typeJSONL, Kind: kindLog}, lines)
}

// checkLabels demands that the pack says what the log's checkpoints say.
func (b *builder) checkLabels(e ledger.Excerpt) error {
	notes := []string{e.Checkpoint}
	if e.Previous != "" {
		notes = append(notes, e.Previous)
	}
	for _, step := range e.History {
		notes = append(notes, step.Note)
	}
	for _, signed := range notes {
		c, err := unverifiedCheckpoint([]byte(signed))
		if err != nil {
			return err
		}
		if sample, simulated := labels(c); sample && !b.c.Sample || simulated && b.c.Clock != evidence.ClockSimulated {
			return fmt.Errorf("its checkpoint of %d entries says %q, but the pack does not", c.Size, c.Extensions)
		}
	}
	return nil
}

// addLog adds the files of one log, and gives take each entry that they prove.
func (b *builder) addLog(e ledger.Excerpt, head ledger.Checkpoint, take func([]byte)) error {
	dir := logPath(e.Origin)
	add := func(name, media string, body []byte) error {
		return b.add(Line{Path: dir + name, MediaType: media, Kind: kindLog}, body)
	}
	if e.Previous != "" {
		if err := add(previousFile, typeText, []byte(e.Previous)); err != nil {
			return err
		}
	}
	if err := add(checkpointFile, typeText, []byte(e.Checkpoint)); err != nil {
		return err
	}
	consistency := e.Consistency
	if consistency == nil {
		consistency = []string{}
	}
	if err := b.addJSON(Line{Path: dir + consistencyFile, Kind: kindLog}, consistency); err != nil {
		return err
	}
	var history []byte
	for _, step := range e.History {
		line, err := evidence.CanonicalJSON(step)
		if err != nil {
			return err
		}
		history = append(append(history, line...), '\n')
	}
	if err := add(historyFile, typeJSONL, history); err != nil {
		return err
	}
	for _, r := range e.Records {
		index := strconv.FormatInt(r.Index, 10)
		if err := add(proofsDir+index+proofSuffix, typeText, []byte(r.Proof)); err != nil {
			return err
		}
		if err := add(entriesDir+index+entrySuffix, typeBinary, r.Entry); err != nil {
			return err
		}
		take(r.Entry)
	}
	return b.addTiles(e, head, take)
}

// addTiles adds the bundles of entries that the excerpt cites, and the tiles
// that lead from the checkpoint's root to them, each checked as the verifier
// will.
func (b *builder) addTiles(e ledger.Excerpt, head ledger.Checkpoint, take func([]byte)) error {
	if e.Tiles == nil {
		return nil
	}
	if len(e.Records) > 0 {
		return errors.New("it has both records and tiles: want one of them")
	}
	tiles, err := ledger.TilesFor(head.Size, e.Tiles.Bundles)
	if err != nil {
		return err
	}
	there := map[tile]bool{}
	for _, t := range tiles {
		there[t] = true
	}
	tree := newTileTree(head.Size, head.Root, func(t tile) ([]byte, error) { return e.Tiles.Read(t.Path()) }, func(t tile) bool { return there[t] })
	about := &Line{Kind: kindLog}
	for _, t := range tiles {
		data, err := e.Tiles.Read(t.Path())
		if err != nil {
			return err
		}
		if err := tree.check(t, data, take); err != nil {
			return fmt.Errorf("%s: %w", t.Path(), err)
		}
		open := func() (io.ReadCloser, error) {
			data, err := e.Tiles.Read(t.Path())
			return io.NopCloser(bytes.NewReader(data)), err
		}
		b.sum.Reset()
		b.sum.Write(data)
		if err := b.addSummed(builtFile{logPath(e.Origin) + t.Path(), typeBinary, about, b.sum.sums(), open}); err != nil {
			return err
		}
	}
	return nil
}
