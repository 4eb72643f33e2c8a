package pack

import (
	"bytes"
	"encoding/json"
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

// checkLogs checks each log's checkpoints, consistency and proofs. The
// checkpoints' signatures are checked only under keys that were given: one
// from inside the pack proves nothing. The mathematics is checked in any case,
// against roots that the vendor's signature covers.
func (v *verifier) checkLogs() {
	heads := v.readLogHeads()
	seen := map[string]bool{}
	anchored, consistent, included := 0, 0, 0
	logged := map[string]bool{}
	for _, h := range heads {
		seen[h.Origin] = true
		l := openLog{v: v, head: h, dir: logPath(h.Origin), vkey: v.logKeys[h.Origin]}
		if !l.readHead() {
			continue
		}
		if l.vkey != "" {
			anchored++
		} else {
			v.res.skip(checkCheckpoint, l.dir+checkpointFile, "no key of this log was given (--log-key): its size and root rest on the vendor's signature alone")
		}
		consistent += l.checkHistory()
		included += l.checkRecords(logged)
	}
	for _, origin := range slices.Sorted(maps.Keys(v.logKeys)) {
		if !seen[origin] {
			v.res.fail(checkCheckpoint, logPath(origin), "the log "+origin+", for which a key was given", "the pack has no such log")
		}
	}
	if len(heads) == 0 {
		for _, id := range []string{checkCheckpoint, checkConsistency, checkInclusion} {
			if len(v.res.failures[id]) == 0 {
				v.res.skip(id, "", "the pack carries no log")
			}
		}
		return
	}
	if anchored > 0 {
		v.res.pass(checkCheckpoint, fmt.Sprintf("%d signed by the keys given", anchored))
	}
	v.res.pass(checkConsistency, fmt.Sprintf("%d logs, %d steps", len(heads), consistent))
	v.checkLogged(logged, included)
}

// readLogHeads reads data/log/logs.jsonl and holds it to pack.json.
func (v *verifier) readLogHeads() []LogHead {
	want := len(v.c.root.Logs) + v.c.root.LogsOmitted
	if _, ok := v.c.a.index[logsName]; !ok {
		if want > 0 {
			v.res.fail(checkCheckpoint, logsName, fmt.Sprintf("the %d logs of pack.json", want), "it is missing")
		}
		return nil
	}
	data, err := v.c.Read(logsName)
	if err != nil {
		v.res.fail(checkCheckpoint, logsName, "a readable list of logs", err.Error())
		return nil
	}
	heads, err := parseLogHeads(data)
	if err != nil {
		v.res.fail(checkCheckpoint, logsName, "one strict JSON line for each log", err.Error())
		return nil
	}
	if len(heads) != want || len(v.c.root.Logs) > 0 && !slices.Equal(heads, v.c.root.Logs) {
		v.res.fail(checkCheckpoint, logsName, "the logs of pack.json", "others")
	}
	return heads
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
}

// open reads a checkpoint, under the log's key where one was given.
func (l *openLog) open(note []byte) (ledger.Checkpoint, error) {
	if l.vkey != "" {
		return ledger.OpenCheckpoint(note, l.vkey)
	}
	c, err := unverifiedCheckpoint(note)
	if err == nil && c.Origin != l.head.Origin {
		err = fmt.Errorf("its origin is %q, want %q", c.Origin, l.head.Origin)
	}
	return c, err
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
	if l.checkpoint, err = l.open(l.note); err != nil {
		return fail(checkpointFile, err)
	}
	l.previous = ledger.Checkpoint{Origin: l.head.Origin, Root: (&treeBuilder{}).root()}
	var previous *ledger.Checkpoint
	if _, ok := l.v.c.a.index[l.dir+previousFile]; ok {
		note, err := l.v.c.Read(l.dir + previousFile)
		if err != nil {
			return fail(previousFile, err)
		}
		if l.previous, err = l.open(note); err != nil {
			return fail(previousFile, err)
		}
		previous = &l.previous
	}
	if got := headOf(l.checkpoint, previous); got != l.head {
		l.v.res.fail(checkCheckpoint, l.dir+checkpointFile, fmt.Sprintf("the head that %s gives, %+v", logsName, l.head), fmt.Sprintf("%+v", got))
	}
	sample, simulated := labels(l.checkpoint)
	if sample && !l.v.c.root.Sample || simulated && l.v.c.root.Clock != evidence.ClockSimulated {
		l.v.res.fail(checkLabels, l.dir+checkpointFile, "a pack that says what its logs say", fmt.Sprintf("the checkpoint says %q, pack.json does not", l.checkpoint.Extensions))
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
		if err := json.Unmarshal(line, &step); err != nil {
			fail(historyFile, fmt.Errorf("step %d: %w", steps, err))
			return steps
		}
		c, err := l.open([]byte(step.Note))
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

// checkRecords checks the inclusion of each cited entry, notes the evidence
// that those of an evidence log record, and counts them.
func (l *openLog) checkRecords(logged map[string]bool) int {
	n := 0
	proofs := l.dir + proofsDir
	for _, f := range l.v.c.a.files {
		name, ok := strings.CutPrefix(f.name, proofs)
		if !ok {
			if rest, ok := strings.CutPrefix(f.name, l.dir+entriesDir); ok {
				if _, ok := l.v.c.a.index[proofs+strings.TrimSuffix(rest, entrySuffix)+proofSuffix]; !ok {
					l.v.res.fail(checkInclusion, f.name, "a proof of the entry", "there is none")
				}
			}
			continue
		}
		n++
		entry, err := l.checkProof(f.name, name)
		if err != nil {
			l.v.res.fail(checkInclusion, f.name, "a proof that the entry is in "+l.head.Origin, err.Error())
			continue
		}
		if id := collectedID(entry); id != "" && strings.HasSuffix(l.head.Origin, evidenceLogSuffix) {
			logged[id] = true
		}
	}
	return n
}

func (l *openLog) checkProof(path, name string) ([]byte, error) {
	index, err := strconv.ParseInt(strings.TrimSuffix(name, proofSuffix), 10, 64)
	if err != nil || strconv.FormatInt(index, 10)+proofSuffix != name {
		return nil, errors.New("its name is not <index>" + proofSuffix)
	}
	text, err := l.v.c.Read(path)
	if err != nil {
		return nil, err
	}
	entry, err := l.v.c.Read(l.dir + entriesDir + strconv.FormatInt(index, 10) + entrySuffix)
	if err != nil {
		return nil, err
	}
	p, err := ledger.ParseProof(text)
	if err != nil {
		return nil, err
	}
	if p.Index != index {
		return nil, fmt.Errorf("it is for index %d", p.Index)
	}
	if !bytes.Equal(p.Checkpoint, l.note) {
		return nil, errors.New("it carries another checkpoint than the pack's")
	}
	if index >= l.checkpoint.Size {
		return nil, fmt.Errorf("the log has %d entries", l.checkpoint.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, l.checkpoint.Size, l.checkpoint.Root, index, ledger.LeafHash(entry)); err != nil {
		return nil, errors.New("the proof does not lead from this entry to the checkpoint's root")
	}
	return entry, nil
}

// checkLogged demands that each collection is in the evidence log, where the
// pack carries one at all.
func (v *verifier) checkLogged(logged map[string]bool, included int) {
	missing := 0
	for _, c := range v.c.collections {
		if !logged[c.line.SHA256] {
			missing++
			if len(logged) > 0 {
				v.res.fail(checkInclusion, c.line.Path, "an entry of the evidence log, made when it was collected", "none is proved")
			}
		}
	}
	if missing > 0 && len(logged) == 0 {
		v.res.skip(checkInclusion, "", "the pack carries no entries of an evidence log: when its evidence was collected rests on the vendor's word")
	}
	v.res.pass(checkInclusion, fmt.Sprintf("%d entries, %d of them of collections", included, len(logged)))
}
