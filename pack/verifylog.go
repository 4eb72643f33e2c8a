package pack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

// logBook is the logs of a pack while they are checked.
type logBook struct {
	open      []*openLog
	byDir     map[string]*openLog
	heads     int
	anchored  int // under keys that were given
	steps     int // of growth
	collected int // entries of collections that are proved
}

// openLogs checks each log's checkpoints and consistency. The checkpoints'
// signatures are checked only under keys that were given: one from inside the
// pack proves nothing. The mathematics is checked in any case, against roots
// that the vendor's signature covers.
func (v *verifier) openLogs() {
	heads, ok := v.readLogHeads()
	if ok {
		v.checkLogFiles(heads)
	}
	seen := map[string]bool{}
	v.logs = logBook{byDir: map[string]*openLog{}, heads: len(heads)}
	for _, h := range heads {
		seen[h.Origin] = true
		l := &openLog{v: v, head: h, dir: logPath(h.Origin), vkey: v.logKeys[h.Origin]}
		if !l.readHead() {
			continue
		}
		v.logs.open, v.logs.byDir[l.dir] = append(v.logs.open, l), l
		if l.vkey != "" {
			v.logs.anchored++
		} else {
			v.res.skip(checkCheckpoint, l.dir+checkpointFile, "no key of this log was given (--log-key): its size and root rest on the vendor's signature alone")
		}
		v.logs.steps += l.checkHistory()
	}
	for _, origin := range slices.Sorted(maps.Keys(v.logKeys)) {
		if !seen[origin] {
			v.res.fail(checkCheckpoint, logPath(origin), "the log "+origin+", for which a key was given", "the pack has no such log")
		}
	}
}

// concludeLogs says what the logs' checks came to, once every file has been
// read.
func (v *verifier) concludeLogs() {
	book := &v.logs
	if book.heads == 0 {
		for _, id := range []string{checkCheckpoint, checkConsistency, checkInclusion} {
			if len(v.res.failures[id]) == 0 {
				v.res.skip(id, "", "the pack carries no log")
			}
		}
		return
	}
	if book.anchored > 0 {
		v.res.pass(checkCheckpoint, fmt.Sprintf("%d signed by the keys given", book.anchored))
	}
	v.res.pass(checkConsistency, fmt.Sprintf("%d logs, %d steps", book.heads, book.steps))
	included := 0
	for _, l := range book.open {
		included += l.included
		if l.singles && l.tiled {
			v.res.fail(checkInclusion, l.dir, "proofs and entries, or tiles instead of them", "both")
		}
		if bundles := l.dir + tilesDir + "entries/"; l.tiled && v.c.withholds(bundles) {
			v.res.withhold(checkInclusion, bundles, "cited entries are withheld, in whole bundles")
		}
	}
	v.checkLogged(included)
}

// logOf finds the log in whose folder a file stands, the longest where one is
// in another's, and the rest of its name.
func (v *verifier) logOf(path string) (*openLog, string) { return inFolder(v.logs.byDir, path) }

// inFolder finds the longest of the folders of logs in which a file stands,
// and the rest of its name; the zero T where it is in none.
func inFolder[T any](folders map[string]T, path string) (of T, rest string) {
	for at := strings.LastIndexByte(path, '/'); at > len(logDir); at = strings.LastIndexByte(path[:at], '/') {
		if of, ok := folders[path[:at+1]]; ok {
			return of, path[at+1:]
		}
	}
	return of, ""
}

// checkLogFiles demands that data/log/ holds files of the logs and no others:
// what nothing proves must not stand beside what is proved.
func (v *verifier) checkLogFiles(heads []LogHead) {
	folders := map[string]bool{}
	for _, h := range heads {
		folders[logPath(h.Origin)] = true
	}
	for i := range v.c.a.files {
		f := &v.c.a.files[i]
		if !f.listed || !strings.HasPrefix(f.name, logDir) || f.name == logsName {
			continue
		}
		if known, rest := inFolder(folders, f.name); !known || !isLogFile(rest) {
			v.res.fail(checkSet, f.name, "only files of the logs that "+logsName+" lists", "another file")
		}
	}
}

// isLogFile reports whether a name is one that may stand in a log's folder.
// Which proofs, entries and tiles there may be is for those who read them.
func isLogFile(name string) bool {
	switch name {
	case checkpointFile, previousFile, consistencyFile, historyFile:
		return true
	}
	return strings.HasPrefix(name, proofsDir) && strings.HasSuffix(name, proofSuffix) ||
		strings.HasPrefix(name, entriesDir) && strings.HasSuffix(name, entrySuffix) || strings.HasPrefix(name, tilesDir)
}

// readLogHeads reads data/log/logs.jsonl and holds it to pack.json. It reports
// whether it could.
func (v *verifier) readLogHeads() ([]LogHead, bool) {
	want := len(v.c.root.Logs) + v.c.root.LogsOmitted
	if !v.c.Has(logsName) {
		if want > 0 {
			v.res.fail(checkCheckpoint, logsName, fmt.Sprintf("the %d logs of pack.json", want), "it is missing")
		}
		return nil, want == 0
	}
	data, err := v.c.Read(logsName)
	if err != nil {
		v.res.fail(checkCheckpoint, logsName, "a readable list of logs", err.Error())
		return nil, false
	}
	heads, err := parseLogHeads(data)
	if err != nil {
		v.res.fail(checkCheckpoint, logsName, "one strict JSON line for each log", err.Error())
		return nil, false
	}
	if len(heads) != want || len(v.c.root.Logs) > 0 && !slices.Equal(heads, v.c.root.Logs) {
		v.res.fail(checkCheckpoint, logsName, "the logs of pack.json", "others")
	}
	seen := map[string]bool{}
	for _, h := range heads {
		if seen[h.Origin] {
			v.res.fail(checkCheckpoint, logsName, "each log once", h.Origin+" twice")
		}
		seen[h.Origin] = true
	}
	return heads, true
}

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

// withholdsEvidenceEntries reports whether entries of an evidence log are
// withheld.
func (v *verifier) withholdsEvidenceEntries() bool {
	return slices.ContainsFunc(v.logs.open, func(l *openLog) bool {
		return strings.HasSuffix(l.head.Origin, evidenceLogSuffix) && (v.c.withholds(l.dir+entriesDir) || v.c.withholds(l.dir+tilesDir+"entries/"))
	})
}

// checkLogged demands that each collection is in the evidence log, where the
// pack carries one at all.
func (v *verifier) checkLogged(included int) {
	missing, withheld := 0, v.withholdsEvidenceEntries()
	for i := range v.c.collections {
		c := &v.c.collections[i]
		if at := v.collections[idBytes(c.line.SHA256)]; v.c.collections[at].logged {
			continue
		}
		missing++
		if withheld {
			v.res.withhold(checkInclusion, c.line.Path, "its entry in the evidence log may be among those withheld")
		} else if v.logs.collected > 0 {
			v.res.fail(checkInclusion, c.line.Path, "an entry of the evidence log, made when it was collected", "none is proved")
		}
	}
	if missing > 0 && v.logs.collected == 0 && !withheld {
		v.res.skip(checkInclusion, "", "the pack carries no entries of an evidence log: when its evidence was collected rests on the vendor's word")
	}
	v.res.pass(checkInclusion, fmt.Sprintf("%d entries, %d of them of collections", included, v.logs.collected))
}
