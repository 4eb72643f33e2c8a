package pack

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

// openLog is one log of the pack while it is checked.
type openLog struct {
	v          *verifier
	head       LogHead
	dir        string
	vkey       string // empty where none was given
	note       []byte
	checkpoint ledger.Checkpoint
	previous   ledger.Checkpoint // of size 0 where the pack begins with the log

	singles, tiled bool // has proofs of single entries; has tiles
	tiles          *tileTree
	included       int // entries that were proved
}

// open reads a checkpoint of a file in the log's folder, under the log's key
// where one was given, and holds pack.json to the labels that it bears.
func (l *openLog) open(note []byte, name string) (ledger.Checkpoint, error) {
	var c ledger.Checkpoint
	var err error
	if l.vkey != "" {
		c, err = ledger.OpenCheckpoint(note, l.vkey)
	} else if c, err = unverifiedCheckpoint(note); err == nil && c.Origin != l.head.Origin {
		err = fmt.Errorf("its origin is %q, want %q", c.Origin, l.head.Origin)
	}
	if err != nil {
		return c, err
	}
	sample, simulated := labels(c)
	if sample && !l.v.c.root.Sample || simulated && l.v.c.root.Clock != evidence.ClockSimulated {
		l.v.res.fail(checkLabels, l.dir+name, "a pack that says what its logs say", fmt.Sprintf("a checkpoint of %d entries says %q, pack.json does not", c.Size, c.Extensions))
	}
	return c, nil
}

// readHead reads the log's two checkpoints and holds them to pack.json.
func (l *openLog) readHead() bool {
	fail := func(name string, err error) bool {
		l.v.res.fail(checkCheckpoint, l.dir+name, "a checkpoint of "+l.head.Origin, err.Error())
		return false
	}
	var err error
	if l.note, err = l.v.c.Read(l.dir + checkpointFile); err != nil {
		return fail(checkpointFile, err)
	}
	if l.checkpoint, err = l.open(l.note, checkpointFile); err != nil {
		return fail(checkpointFile, err)
	}
	l.previous = ledger.Checkpoint{Origin: l.head.Origin, Root: (&treeBuilder{}).root()}
	var previous *ledger.Checkpoint
	if l.v.c.Has(l.dir + previousFile) {
		note, err := l.v.c.Read(l.dir + previousFile)
		if err != nil {
			return fail(previousFile, err)
		}
		if l.previous, err = l.open(note, previousFile); err != nil {
			return fail(previousFile, err)
		}
		previous = &l.previous
	}
	if got := headOf(l.checkpoint, previous); got != l.head {
		l.v.res.fail(checkCheckpoint, l.dir+checkpointFile, fmt.Sprintf("the head that %s gives, %+v", logsName, l.head), fmt.Sprintf("%+v", got))
	}
	return true
}

// checkHistory checks that the log only ever grew, from the previous
// checkpoint through each of the history to the last, and counts the steps.
func (l *openLog) checkHistory() int {
	fail := func(name string, err error) {
		l.v.res.fail(checkConsistency, l.dir+name, "a log that only grew", err.Error())
	}
	var proof []string
	if err := l.v.c.readJSON(l.dir+consistencyFile, &proof); err != nil {
		fail(consistencyFile, err)
	} else if err := checkStep(l.previous, l.checkpoint, proof); err != nil {
		fail(consistencyFile, err)
	}
	history, err := l.v.c.Read(l.dir + historyFile)
	if err != nil {
		fail(historyFile, err)
		return 1
	}
	last, steps := l.previous, 1
	for line := range bytes.Lines(history) {
		var step ledger.HistoryStep
		if err := decodeLineStrict(line, &step); err != nil {
			fail(historyFile, fmt.Errorf("step %d: %w", steps, err))
			return steps
		}
		c, err := l.open([]byte(step.Note), historyFile)
		if err == nil && (c.Size != step.Size || hashText(c.Root) != step.Root) {
			err = fmt.Errorf("its note says size %d and root %s", c.Size, hashText(c.Root))
		}
		if err == nil {
			err = checkStep(last, c, step.Consistency)
		}
		if err != nil {
			fail(historyFile, fmt.Errorf("step %d, size %d: %w", steps, step.Size, err))
			return steps
		}
		last, steps = c, steps+1
	}
	if steps > 1 && (last.Size != l.checkpoint.Size || last.Root != l.checkpoint.Root) {
		fail(historyFile, fmt.Errorf("it ends at size %d, the checkpoint is of size %d", last.Size, l.checkpoint.Size))
	}
	return steps
}

func checkStep(older, newer ledger.Checkpoint, proof []string) error {
	hashes, err := parseHashes(proof)
	if err != nil {
		return err
	}
	return ledger.CheckConsistency(older, newer, tlog.TreeProof(hashes))
}

// readFile checks a file that proves entries; rest is its name in the log's
// folder. err says why its bytes cannot be gone by.
func (l *openLog) readFile(f *file, rest string, data []byte, err error) {
	fail := func(expected string, err error) { l.v.res.fail(checkInclusion, f.name, expected, err.Error()) }
	switch {
	case !isLogFile(rest): // said by file.set
	case strings.HasPrefix(rest, entriesDir):
		l.singles = true
		name := strings.TrimSuffix(strings.TrimPrefix(rest, entriesDir), entrySuffix)
		if !l.v.c.Has(l.dir + proofsDir + name + proofSuffix) {
			fail("a proof of the entry", errors.New("there is none"))
		}
	case strings.HasPrefix(rest, proofsDir):
		l.singles = true
		if err == nil {
			err = l.checkProof(strings.TrimPrefix(rest, proofsDir), data)
		}
		var withheld *WithheldError
		if errors.As(err, &withheld) {
			l.v.res.withhold(checkInclusion, withheld.Path, withheld.Error())
			return
		}
		if err != nil {
			fail("a proof that the entry is in "+l.head.Origin, err)
		}
	case strings.HasPrefix(rest, tilesDir):
		l.tiled = true
		if err == nil {
			err = l.checkTile(rest, data)
		}
		if err != nil {
			fail("a tile or bundle that is proved to be of "+l.head.Origin, err)
		}
	}
}

// take counts a proved entry and notes the collection that it records.
func (l *openLog) take(entry []byte) {
	l.included++
	if !strings.HasSuffix(l.head.Origin, evidenceLogSuffix) {
		return
	}
	id, ok := collectedID(entry)
	if !ok {
		return
	}
	l.v.logs.collected++
	if at, ok := l.v.collections[id]; ok {
		l.v.c.collections[at].logged = true
	}
}

func (l *openLog) checkProof(name string, text []byte) error {
	index, err := strconv.ParseInt(strings.TrimSuffix(name, proofSuffix), 10, 64)
	if err != nil || strconv.FormatInt(index, 10)+proofSuffix != name {
		return errors.New("its name is not <index>" + proofSuffix)
	}
	entry, err := l.v.c.Read(l.dir + entriesDir + strconv.FormatInt(index, 10) + entrySuffix)
	if err != nil {
		return err
	}
	p, err := ledger.ParseProof(text)
	if err != nil {
		return err
	}
	if p.Index != index {
		return fmt.Errorf("it is for index %d", p.Index)
	}
	if !bytes.Equal(p.Checkpoint, l.note) {
		return errors.New("it carries another checkpoint than the pack's")
	}
	if index >= l.checkpoint.Size {
		return fmt.Errorf("the log has %d entries", l.checkpoint.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, l.checkpoint.Size, l.checkpoint.Root, index, ledger.LeafHash(entry)); err != nil {
		return errors.New("the proof does not lead from this entry to the checkpoint's root")
	}
	l.take(entry)
	return nil
}

// checkTile checks a tile of hashes or a bundle of entries.
func (l *openLog) checkTile(name string, data []byte) error {
	t, err := ledger.ParseTilePath(name)
	if err != nil {
		return err
	}
	if l.v.tiles != l {
		if l.v.tiles != nil {
			l.v.tiles.tiles = nil // which is done with; the hashes of one log are in memory
		}
		l.v.tiles = l
	}
	if l.tiles == nil {
		l.tiles = newTileTree(l.checkpoint.Size, l.checkpoint.Root, func(t tile) ([]byte, error) { return l.v.c.Read(l.dir + t.Path()) },
			func(t tile) bool { return l.v.c.Has(l.dir + t.Path()) })
	}
	return l.tiles.check(t, data, l.take)
}
