package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"trustpack/internal/durable"
)

const (
	signedFile  = "signed.jsonl"
	historyFile = "history.jsonl"

	// historyStep is how far published checkpoints that stay in the history
	// are apart.
	historyStep = time.Hour

	// signedBytes is how long the file of last checkpoints grows by records
	// that newer ones have made idle before it is written anew.
	signedBytes = 4 << 20
)

// storedCheckpoint is the last checkpoint of a log that was signed, and the
// key to check it with. A record of signedFile is those that were signed at
// one time, of as many logs; the last one of a log counts.
type storedCheckpoint struct {
	Log string `json:"log"`
	DatedCheckpoint
	VerifierKey string `json:"verifier_key"`
}

// pastCheckpoint is one of the history of a log; a record of historyFile is a
// list of them. One of the same tree as the one before it replaces it: it has
// more signatures.
type pastCheckpoint struct {
	Log string `json:"log"`
	DatedCheckpoint
}

// checkpointStore is a log's signed checkpoints. Who holds the ledger's
// signing lock writes them, under mu.
type checkpointStore struct {
	mu      sync.Mutex
	last    *storedCheckpoint
	head    Checkpoint // what last signed
	history []DatedCheckpoint
	// cosigned is the size that each witness, by key ID, cosigned last, as far
	// as this process knows.
	cosigned map[uint32]int64

	signer note.Signer // made once; the signing lock guards it, as vkey
	vkey   string
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
	if err := l.sign([]*tree{t}, forHistory); err != nil {
		return nil, fmt.Errorf("making checkpoint: %w", err)
	}
	return l.LastCheckpoint(log)
}

// PublishCheckpoints is PublishCheckpoint for all logs together that hold an
// entry or have a checkpoint. However many have news, it costs one write and
// one sync. What is wrong with one log does not keep the others from theirs.
func (l *Ledger) PublishCheckpoints() error {
	if err := l.enter(); err != nil {
		return fmt.Errorf("making checkpoints: %w", err)
	}
	defer l.inflight.Done()
	var trees []*tree
	for _, name := range l.Logs() {
		t, err := l.treeFor(name)
		if err != nil {
			return fmt.Errorf("making checkpoints: %w", err)
		}
		trees = append(trees, t)
	}
	if err := l.sign(trees, false); err != nil {
		return fmt.Errorf("making checkpoints: %w", err)
	}
	return nil
}

// sign makes the last checkpoint of each of the logs one of its tree as it
// stands. Nothing is signed that the last signed checkpoint is not a prefix
// of, and nothing can be read before it is durable.
func (l *Ledger) sign(trees []*tree, forHistory bool) error {
	for _, t := range trees {
		t.await()
	}
	l.signing.Lock()
	defer l.signing.Unlock()
	var news []storedCheckpoint
	var heads []Checkpoint
	var refused []error
	for _, t := range trees {
		next, head, err := l.propose(t)
		if err != nil {
			refused = append(refused, fmt.Errorf("log %s: %w", t.name, err))
		} else if next != nil {
			news, heads = append(news, *next), append(heads, head)
		}
	}
	if err := l.store(news, heads); err != nil {
		return err
	}
	if err := l.remember(trees, forHistory); err != nil {
		return err
	}
	return errors.Join(refused...)
}

// propose signs the tree as it stands, or gives nil where nothing is new.
func (l *Ledger) propose(t *tree) (*storedCheckpoint, Checkpoint, error) {
	s := &t.checkpoints
	size, root := t.head()
	c := Checkpoint{Origin: l.Origin(t.name), Size: size, Root: root, Extensions: l.options.Extensions}
	if s.last != nil {
		if s.head.Text() == c.Text() {
			return nil, c, nil
		}
		if err := t.agrees(s.head); err != nil {
			return nil, c, err
		}
	}
	if s.signer == nil {
		signer, err := SignerFor(l.options.Seed, c.Origin)
		if err != nil {
			return nil, c, err
		}
		if s.vkey, err = VerifierKey(l.options.Seed, c.Origin); err != nil {
			return nil, c, err
		}
		s.signer = signer
	}
	signed, err := signCheckpoint(c, s.signer)
	if err != nil {
		return nil, c, err
	}
	return &storedCheckpoint{t.name, DatedCheckpoint{l.now().UTC(), size, hashText(root), string(signed)}, s.vkey}, c, nil
}

// store makes checkpoints durable and then the last ones of their logs. The
// caller holds signing.
func (l *Ledger) store(news []storedCheckpoint, heads []Checkpoint) error {
	if len(news) == 0 {
		return nil
	}
	var err error
	if l.signed.file == nil || l.signed.length > l.signed.whole+signedBytes {
		err = l.signed.replace(l.lastCheckpoints(news))
	} else {
		err = l.signed.add(news)
	}
	if err != nil {
		return l.lose("storing checkpoints", err)
	}
	for i := range news {
		t, err := l.treeFor(news[i].Log)
		if err != nil {
			return err
		}
		t.checkpoints.mu.Lock()
		t.checkpoints.last, t.checkpoints.head = &news[i], heads[i]
		t.checkpoints.mu.Unlock()
	}
	return nil
}

// lastCheckpoints is the last checkpoint of each log once news are stored.
func (l *Ledger) lastCheckpoints(news []storedCheckpoint) []storedCheckpoint {
	all := slices.Clone(news)
	for _, t := range l.trees() {
		same := func(c storedCheckpoint) bool { return c.Log == t.name }
		if last := t.checkpoints.last; last != nil && !slices.ContainsFunc(news, same) {
			all = append(all, *last)
		}
	}
	return all
}

// settleCheckpoints writes anew what was read: what an earlier process left
// can be read, and yet not be on the disk, if a sync of its failed.
func (l *Ledger) settleCheckpoints() error {
	if all := l.lastCheckpoints(nil); len(all) > 0 {
		return l.signed.replace(all)
	}
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

// remember appends the last checkpoints to the history that belong there; the
// first time it writes the whole history anew. The caller holds signing.
func (l *Ledger) remember(trees []*tree, forHistory bool) error {
	var more []pastCheckpoint
	for _, t := range trees {
		if s := &t.checkpoints; s.last != nil && s.belongs(forHistory) {
			more = append(more, pastCheckpoint{t.name, s.last.DatedCheckpoint})
		}
	}
	if len(more) == 0 {
		return nil
	}
	var err error
	if l.history.file == nil {
		err = l.history.replace(l.wholeHistory(more)...)
	} else {
		err = l.history.add(more)
	}
	if err != nil {
		return l.lose("writing the history of checkpoints", err)
	}
	for _, c := range more {
		t, err := l.treeFor(c.Log)
		if err != nil {
			return err
		}
		t.checkpoints.mu.Lock()
		t.checkpoints.history = addPast(t.checkpoints.history, c.DatedCheckpoint)
		t.checkpoints.mu.Unlock()
	}
	return nil
}

// belongs reports whether last has a place in the history that it does not
// have yet.
func (s *checkpointStore) belongs(forHistory bool) bool {
	n := len(s.history)
	if n == 0 {
		return true
	}
	kept := s.history[n-1]
	if kept.Note == s.last.Note {
		return false
	}
	return forHistory || sameTree(kept, s.last.DatedCheckpoint) || s.last.Time.Sub(kept.Time) >= historyStep
}

// wholeHistory is the history with more at its end, a record for each log.
func (l *Ledger) wholeHistory(more []pastCheckpoint) []any {
	var bodies []any
	for _, t := range l.trees() {
		var past []pastCheckpoint
		for _, d := range t.checkpoints.history {
			past = append(past, pastCheckpoint{t.name, d})
		}
		if past != nil {
			bodies = append(bodies, past)
		}
	}
	return append(bodies, more)
}

// addPast appends to a history; a checkpoint of the same tree is replaced.
func addPast(history []DatedCheckpoint, d DatedCheckpoint) []DatedCheckpoint {
	if n := len(history); n > 0 && sameTree(history[n-1], d) {
		return append(history[:n-1:n-1], d)
	}
	return append(history, d)
}

// sameTree reports whether two checkpoints differ in their signatures at most.
func sameTree(a, b DatedCheckpoint) bool {
	textOf := func(note string) string { text, _, _ := strings.Cut(note, "\n\n"); return text }
	return textOf(a.Note) == textOf(b.Note)
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
	out := slices.Clone(s.history)
	if s.last != nil {
		out = addPast(out, s.last.DatedCheckpoint)
	}
	return out, nil
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
	stored, err := readSigned(durable.Disk{}, dir)
	if err != nil {
		return "", fmt.Errorf("reading the ledger's instance: %w", err)
	}
	for log, s := range stored {
		return strings.TrimSuffix(s.head.Origin, "/"+log), nil
	}
	return "", fmt.Errorf("reading the ledger's instance: no log in %s has a checkpoint yet: %w", filepath.Join(dir, logsDir), ErrNotFound)
}
