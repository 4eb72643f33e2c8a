package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

// FsckOptions say what to check a ledger against. The zero value checks all
// that can be checked without keys from elsewhere.
type FsckOptions struct {
	Instance     string            // the origins must begin with it; empty takes them as they are stored
	Seed         []byte            // checkpoints must be signed under it
	VerifierKeys map[string]string // or, by log name, under these keys
	Progress     func(entries int64)

	fsys durable.FS
}

// Report is what Fsck found.
type Report struct {
	Dir              string      `json:"dir"`
	Logs             []LogReport `json:"logs"`
	Entries          int64       `json:"entries"`
	Bytes            int64       `json:"bytes"`    // of entries
	Payloads         int64       `json:"payloads"` // held against what their entries commit to
	Seconds          float64     `json:"seconds"`
	EntriesPerSecond float64     `json:"entries_per_second"`
	TornBytes        int64       `json:"torn_bytes,omitempty"` // at the journal's end, never acknowledged; the next Open cuts them off
	Problems         []Problem   `json:"problems"`             // never nil in JSON
}

// LogReport is one log as re-derived.
type LogReport struct {
	Log         string `json:"log"`
	Origin      string `json:"origin,omitempty"` // empty without a checkpoint
	Size        int64  `json:"size"`
	Root        string `json:"root"` // base64
	Checkpoints int    `json:"checkpoints"`
	// Key is where the key came from that verified the checkpoints: "given",
	// "stored" beside the checkpoint (which shows that nothing was garbled, not
	// who signed), or "none" where there is no checkpoint.
	Key string `json:"key"`
}

// Problem is one thing that is not as it must be.
type Problem struct {
	Log   string `json:"log,omitempty"`
	Index int64  `json:"index"` // entry, or -1
	File  string `json:"file"`  // within the ledger's directory
	What  string `json:"what"`
}

func (p Problem) String() string {
	s := p.File
	if p.Log != "" {
		s = "log " + p.Log + ", " + s
	}
	if p.Index >= 0 {
		s += fmt.Sprintf(", entry %d", p.Index)
	}
	return s + ": " + p.What
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// Fsck re-derives the ledger in dir, which no process may be writing to, and
// writes nothing: every leaf hash from its entry, every tile from the leaves,
// the root at each signed checkpoint, the signatures, the order of the
// history, the journal's checksums and chain, what the journal still has of
// entries that the logs' files hold, each payload against what its entry
// commits to, and the purges against the entries that speak of them. What is
// wrong is in the report; the error is for a directory that could not be read
// at all.
func Fsck(dir string, o FsckOptions) (Report, error) {
	report := Report{Dir: dir, Logs: []LogReport{}, Problems: []Problem{}}
	l, err := newLedger(dir, Options{Instance: cmp.Or(o.Instance, "fsck"), fsys: o.fsys})
	if err != nil {
		return report, err
	}
	l.readOnly = true
	if l.isDisk() {
		if l.lock, err = durable.LockDirShared(dir); err != nil {
			return report, fmt.Errorf("checking ledger: %w", err)
		}
	}
	f := &fsck{l: l, o: o, report: &report, started: time.Now()}
	err = f.run()
	report.Seconds = time.Since(f.started).Seconds()
	if report.Seconds > 0 {
		report.EntriesPerSecond = float64(report.Entries) / report.Seconds
	}
	if err = errors.Join(err, l.release()); err != nil {
		return report, fmt.Errorf("checking ledger %s: %w", dir, err)
	}
	return report, nil
}

type fsck struct {
	l       *Ledger
	o       FsckOptions
	report  *Report
	started time.Time
	signed  map[string]lastSigned
	history map[string][]DatedCheckpoint
	mu      sync.Mutex    // guards report's problems and counts, and erased
	erased  []purgeRecord // that entries speak of
}

func (f *fsck) count(entries, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Entries += entries
	f.report.Bytes += bytes
	if f.o.Progress != nil {
		f.o.Progress(f.report.Entries)
	}
}

func (f *fsck) problem(log string, index int64, file, what string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Problems = append(f.report.Problems, Problem{log, index, file, fmt.Sprintf(what, args...)})
}

// run checks everything. Damage becomes a problem, anything else an error.
func (f *fsck) run() error {
	if _, err := f.l.fsys.ReadDir(filepath.Join(f.l.dir, journalDir)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no ledger: %w", f.l.dir, os.ErrNotExist)
	}
	f.l.seen = f.compareRun
	_, err := f.l.loadTrees()
	f.report.TornBytes = f.l.recovery.Cut
	if err != nil {
		return f.damage("", err)
	}
	if f.signed, err = readSigned(f.l.fsys, f.l.dir); err != nil {
		if err := f.damage("", err); err != nil {
			return err
		}
	}
	if f.history, err = readHistory(f.l.fsys, f.l.dir); err != nil {
		if err := f.damage("", err); err != nil {
			return err
		}
	}
	logs, err := f.logNames()
	if err != nil {
		return err
	}
	for _, name := range logs {
		if err := f.checkLog(name); err != nil {
			return err
		}
	}
	if err := f.unrecorded(); err != nil {
		return err
	}
	slices.SortStableFunc(f.report.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.Index, b.Index))
	})
	return nil
}

func (f *fsck) damage(log string, err error) error {
	var d *DamageError
	if !errors.As(err, &d) {
		return err
	}
	what := d.Reason
	if d.Offset >= 0 {
		what = fmt.Sprintf("damaged at byte %d: %s", d.Offset, d.Reason)
	}
	f.problem(log, -1, d.File, "%s", what)
	return nil
}

// logNames lists the logs with entries and those with nothing but a directory
// or a checkpoint.
func (f *fsck) logNames() ([]string, error) {
	var names []string
	for _, t := range f.l.trees() {
		names = append(names, t.name)
	}
	dirs, err := f.l.fsys.ReadDir(filepath.Join(f.l.dir, logsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range dirs {
		if CheckLogName(d.Name()) == nil && !slices.Contains(names, d.Name()) {
			names = append(names, d.Name())
		}
	}
	for name := range f.history {
		if CheckLogName(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for name := range f.signed {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// compareRun holds a run that the logs' files should hold to their leaf
// hashes; the entries are held to those later, and the payloads to their
// commitments.
func (f *fsck) compareRun(r run) error {
	t, err := f.l.find(r.log)
	if err != nil {
		return err
	}
	hashes, err := t.readLevel(0, r.first, r.count)
	if err != nil {
		return err
	}
	commitments := make([]commitment, r.count)
	if r.payloads != nil {
		if kept, err := t.readCommitments(r.first, r.count); err != nil {
			return err
		} else if kept != nil {
			commitments = kept
		}
	}
	var leaf []byte
	for i, rest := 0, r.entries; len(rest) > 0; i++ {
		var data []byte
		data, rest = nextEntry(rest)
		leaf = appendLeaf(leaf[:0], data, &commitments[i])
		if LeafHash(leaf) != tlog.Hash(hashes[i*tlog.HashSize:(i+1)*tlog.HashSize]) {
			f.problem(r.log, r.first+int64(i), t.level(0).name, "the journal's entry hashes to %s, which is not what stands here", hashText(LeafHash(leaf)))
		}
	}
	return nil
}

// checkLog re-derives one log.
func (f *fsck) checkLog(name string) error {
	t, err := f.l.treeFor(name)
	if err != nil {
		return err
	}
	r := LogReport{Log: name, Size: t.size(), Key: "none"}
	heads := f.checkNotes(t, &r, f.signed[name].last, f.history[name])
	root, err := f.rederive(t, heads)
	if err != nil {
		return f.damage(name, err)
	}
	if err := f.payloads(t); err != nil {
		if err := f.damage(name, err); err != nil {
			return err
		}
	}
	r.Root = hashText(root)
	f.report.Logs = append(f.report.Logs, r)
	return nil
}

// checkNotes verifies the signatures and the order of a log's checkpoints,
// and gives what they sign, by size.
func (f *fsck) checkNotes(t *tree, r *LogReport, last *storedCheckpoint, history []DatedCheckpoint) []signedHead {
	if why := lacks(last, history); why != "" {
		f.problem(t.name, -1, signedFile, "%s", why)
	}
	if last == nil {
		return nil
	}
	vkey := f.keyFor(t.name, r, last)
	var heads []signedHead
	open := func(d DatedCheckpoint, file string) {
		r.Checkpoints++
		c, err := OpenCheckpoint([]byte(d.Note), vkey)
		if err != nil {
			f.problem(t.name, -1, file, "checkpoint of size %d: %v", d.Size, err)
			return
		}
		if r.Origin = c.Origin; f.o.Instance != "" && c.Origin != f.l.Origin(t.name) {
			f.problem(t.name, -1, file, "checkpoint of size %d: its origin is %s, not %s", d.Size, c.Origin, f.l.Origin(t.name))
		}
		if n := len(heads); n > 0 && heads[n-1].Size > c.Size {
			f.problem(t.name, -1, file, "a checkpoint of size %d comes after one of size %d", c.Size, heads[n-1].Size)
		}
		heads = append(heads, signedHead{c, file})
	}
	for _, d := range history {
		open(d, historyFile)
	}
	if n := len(history); n == 0 || history[n-1].Note != last.Note {
		open(last.DatedCheckpoint, signedFile)
	}
	slices.SortStableFunc(heads, func(a, b signedHead) int { return cmp.Compare(a.Size, b.Size) })
	return heads
}

// keyFor picks the key for a log's checkpoints and says where it is from.
func (f *fsck) keyFor(log string, r *LogReport, last *storedCheckpoint) string {
	r.Key = "given"
	if vkey, ok := f.o.VerifierKeys[log]; ok {
		return vkey
	}
	if f.o.Seed != nil {
		// An origin that cannot be read or used has no key: it fails below.
		if head, err := unverified(last.DatedCheckpoint); err == nil {
			if vkey, err := VerifierKey(f.o.Seed, head.Origin); err == nil {
				return vkey
			}
		}
	}
	r.Key = "stored"
	return last.VerifierKey
}
