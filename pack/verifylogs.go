package pack

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
