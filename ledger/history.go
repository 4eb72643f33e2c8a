package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"trustpack/internal/durable"
)

const (
	checkpointFile = "checkpoint.json"
	historyFile    = "history.jsonl"

	// historyStep is how far published checkpoints that stay in the history
	// are apart.
	historyStep = time.Hour
)

// storedCheckpoint is the content of checkpointFile: the last checkpoint that
// was signed, and the key to check it with.
type storedCheckpoint struct {
	DatedCheckpoint
	VerifierKey string `json:"verifier_key"`
}

// checkpointStore keeps a log's signed checkpoints: the last one by itself,
// replaced in one step, and the history, to which lines are appended.
type checkpointStore struct {
	mu      sync.Mutex
	last    *storedCheckpoint
	head    Checkpoint // what last signed
	history []DatedCheckpoint

	// What an earlier process left can be read, and yet not be on the disk, if
	// a sync of its failed. settled: the directory was synced since. length:
	// of the history file as this process wrote it; 0 before it did.
	settled bool
	length  int64
}

// Checkpoint signs the tree of everything that is durable in the log now,
// stores the note, keeps it in the history for good, and returns it. While
// nothing is new it is the note of before. A log that has no entry yet has a
// checkpoint of size 0.
func (l *Ledger) Checkpoint(log string) ([]byte, error) { return l.checkpoint(log, true) }

// PublishCheckpoint is Checkpoint for a timer: of those it makes, the history
// keeps one an hour, and the last.
func (l *Ledger) PublishCheckpoint(log string) ([]byte, error) { return l.checkpoint(log, false) }

func (l *Ledger) checkpoint(log string, forHistory bool) ([]byte, error) {
	if err := l.enter(); err != nil {
		return nil, fmt.Errorf("making checkpoint of %s: %w", log, err)
	}
	defer l.inflight.Done()
	t, err := l.treeFor(log)
	if err != nil {
		return nil, fmt.Errorf("making checkpoint: %w", err)
	}
	t.await()
	s := &t.checkpoints
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := l.refresh(t, s); err != nil {
		return nil, fmt.Errorf("making checkpoint of %s: %w", log, err)
	}
	if err := l.remember(t, s, forHistory); err != nil {
		return nil, fmt.Errorf("keeping the history of %s: %w", log, l.lose("writing the history of log "+log, err))
	}
	return []byte(s.last.Note), nil
}

// refresh makes s.last a checkpoint of the tree as it stands. Nothing is
// signed that the last signed checkpoint is not a prefix of, and nothing is
// handed out before it is durable. The caller holds s.mu.
func (l *Ledger) refresh(t *tree, s *checkpointStore) error {
	size, root := t.head()
	c := Checkpoint{Origin: l.Origin(t.name), Size: size, Root: root, Extensions: l.options.Extensions}
	if s.last != nil {
		if s.head.Text() == c.Text() {
			return l.settle(t, s)
		}
		if err := t.agrees(s.head); err != nil {
			return err
		}
	}
	signed, err := SignCheckpoint(c, l.options.Seed)
	if err != nil {
		return err
	}
	vkey, err := VerifierKey(l.options.Seed, c.Origin)
	if err != nil {
		return err
	}
	next := &storedCheckpoint{DatedCheckpoint{l.now().UTC(), size, hashText(root), string(signed)}, vkey}
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	t.flushing.Lock()
	err = t.makeDir(l.fsys)
	t.flushing.Unlock()
	if err == nil {
		err = durable.WriteFileIn(l.fsys, filepath.Join(t.dir, checkpointFile), append(b, '\n'), 0o600)
	}
	if err != nil {
		return l.lose("storing the checkpoint of log "+t.name, err)
	}
	s.last, s.head, s.settled = next, c, true
	return nil
}

// settle makes sure that a checkpoint read at the start is durable before it
// is handed out. The caller holds s.mu.
func (l *Ledger) settle(t *tree, s *checkpointStore) error {
	if s.settled {
		return nil
	}
	if err := l.fsys.SyncDir(t.dir); err != nil {
		return l.lose("storing the checkpoint of log "+t.name, err)
	}
	s.settled = true
	return nil
}

// agrees holds a signed checkpoint to the tree.
func (t *tree) agrees(signed Checkpoint) error {
	size := t.size()
	contradiction := func(why string) error {
		return &ContradictionError{Log: t.name, Signed: signed.Size, Size: size, Reason: why}
	}
	if signed.Size > size {
		return contradiction("entries are missing")
	}
	root, err := t.rootAt(signed.Size)
	if err != nil {
		return err
	}
	if root != signed.Root {
		return contradiction(fmt.Sprintf("its first %d entries hash to %s, not to %s", signed.Size, hashText(root), hashText(signed.Root)))
	}
	return nil
}

// remember appends s.last to the history if it belongs there; the first time
// it writes the whole file anew. The caller holds s.mu.
func (l *Ledger) remember(t *tree, s *checkpointStore, forHistory bool) error {
	if n := len(s.history); n > 0 {
		kept := s.history[n-1]
		if kept.Note == s.last.Note || !forHistory && s.last.Time.Sub(kept.Time) < historyStep {
			return nil
		}
	}
	history := append(s.history, s.last.DatedCheckpoint)
	path := filepath.Join(t.dir, historyFile)
	if s.length == 0 {
		lines, err := historyLines(history)
		if err == nil {
			err = durable.WriteFileIn(l.fsys, path, lines, 0o600)
		}
		if err != nil {
			return err
		}
		s.history, s.length = history, int64(len(lines))
		return nil
	}
	line, err := historyLines(history[len(history)-1:])
	if err != nil {
		return err
	}
	f, err := l.fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(line, s.length)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.history, s.length = history, s.length+int64(len(line))
	return nil
}

func historyLines(history []DatedCheckpoint) ([]byte, error) {
	var lines []byte
	for _, d := range history {
		line, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines, nil
}

// Checkpoints is the history of the log's checkpoints, oldest first, ending
// with the last that was signed.
func (l *Ledger) Checkpoints(log string) ([]DatedCheckpoint, error) {
	t, err := l.find(log)
	if err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	}
	s := &t.checkpoints
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all(), nil
}

// all is the history with the last checkpoint. The caller holds mu.
func (s *checkpointStore) all() []DatedCheckpoint {
	out := slices.Clone(s.history)
	if s.last != nil && (len(out) == 0 || out[len(out)-1].Note != s.last.Note) {
		out = append(out, s.last.DatedCheckpoint)
	}
	return out
}

// LastCheckpoint is the last signed note of the log, without making one.
func (l *Ledger) LastCheckpoint(log string) ([]byte, error) {
	t, err := l.find(log)
	if err != nil {
		return nil, fmt.Errorf("reading checkpoint: %w", err)
	}
	s := &t.checkpoints
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil, fmt.Errorf("reading checkpoint: log %s has none yet: %w", log, ErrNotFound)
	}
	return []byte(s.last.Note), nil
}

// InstanceOf is the instance under whose name the ledger in dir was made, read
// from a stored checkpoint. Without a checkpoint yet it is ErrNotFound.
func InstanceOf(dir string) (string, error) {
	logs := filepath.Join(dir, logsDir)
	names, err := os.ReadDir(logs)
	if err != nil {
		return "", fmt.Errorf("reading the ledger's instance: %w", err)
	}
	for _, n := range names {
		if CheckLogName(n.Name()) != nil {
			continue
		}
		s, head, err := readCheckpoints(durable.Disk{}, filepath.Join(logs, n.Name()))
		if err != nil {
			return "", fmt.Errorf("reading the ledger's instance: %w", err)
		}
		if s.last != nil {
			return strings.TrimSuffix(head.Origin, "/"+n.Name()), nil
		}
	}
	return "", fmt.Errorf("reading the ledger's instance: no log in %s has a checkpoint yet: %w", dir, ErrNotFound)
}

// loadCheckpoints reads what is stored for each log and holds the last
// checkpoint to its tree.
func (l *Ledger) loadCheckpoints() error {
	dirs, err := l.fsys.ReadDir(filepath.Join(l.dir, logsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, d := range dirs {
		if CheckLogName(d.Name()) != nil {
			continue
		}
		s, head, err := readCheckpoints(l.fsys, filepath.Join(l.dir, logsDir, d.Name()))
		if err != nil {
			return err
		}
		if s.last == nil {
			continue
		}
		t, err := l.treeFor(d.Name())
		if err != nil {
			return err
		}
		if head.Origin != l.Origin(t.name) {
			return fmt.Errorf("the last checkpoint of log %s has origin %s, but the instance is %s: open the ledger under the instance name it was made with", t.name, head.Origin, l.options.Instance)
		}
		if l.options.Seed != nil {
			if err := l.ownKey(t.name, s.last); err != nil {
				return err
			}
		}
		if err := t.agrees(head); err != nil {
			return err
		}
		t.checkpoints.last, t.checkpoints.head = s.last, head
		t.checkpoints.history = s.history
	}
	return nil
}

// ownKey refuses a seed other than the one that signed before.
func (l *Ledger) ownKey(log string, last *storedCheckpoint) error {
	vkey, err := VerifierKey(l.options.Seed, l.Origin(log))
	if err != nil {
		return err
	}
	if _, err := OpenCheckpoint([]byte(last.Note), vkey); err != nil {
		return fmt.Errorf("the last checkpoint of log %s was not signed with this seed: %w", log, err)
	}
	return nil
}

// readCheckpoints reads a log directory's checkpoint and history. A torn last
// line of the history is left out; the checkpoint it was for is the last one.
// Signatures are not verified.
func readCheckpoints(fsys durable.FS, dir string) (storedCheckpoints, Checkpoint, error) {
	var s storedCheckpoints
	path := filepath.Join(dir, checkpointFile)
	b, err := durable.ReadFileIn(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, Checkpoint{}, nil
	}
	if err != nil {
		return s, Checkpoint{}, err
	}
	s.last = new(storedCheckpoint)
	if err := json.Unmarshal(b, s.last); err != nil {
		return s, Checkpoint{}, &DamageError{File: path, Offset: -1, Reason: err.Error()}
	}
	head, err := unverified(s.last.DatedCheckpoint)
	if err != nil {
		return s, Checkpoint{}, &DamageError{File: path, Offset: -1, Reason: err.Error()}
	}
	path = filepath.Join(dir, historyFile)
	b, err = durable.ReadFileIn(fsys, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, Checkpoint{}, err
	}
	for at := int64(0); ; {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return s, head, nil
		}
		var d DatedCheckpoint
		err := json.Unmarshal(line, &d)
		if err == nil {
			_, err = unverified(d)
		}
		if err != nil {
			return s, Checkpoint{}, &DamageError{File: path, Offset: at, Reason: err.Error()}
		}
		s.history = append(s.history, d)
		at += int64(len(line)) + 1
		b = rest
	}
}

// storedCheckpoints is what readCheckpoints found.
type storedCheckpoints struct {
	last    *storedCheckpoint
	history []DatedCheckpoint
}

// unverified reads the checkpoint in a dated one's note, which must say the
// same, without verifying signatures.
func unverified(d DatedCheckpoint) (Checkpoint, error) {
	_, err := note.Open([]byte(d.Note), note.VerifierList())
	var n *note.UnverifiedNoteError
	if !errors.As(err, &n) {
		return Checkpoint{}, fmt.Errorf("reading its note: %w", err)
	}
	c, err := ParseCheckpoint(n.Note.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Size != d.Size || hashText(c.Root) != d.Root {
		return Checkpoint{}, fmt.Errorf("it says size %d and root %s, but its note says %d and %s", d.Size, d.Root, c.Size, hashText(c.Root))
	}
	return c, nil
}
