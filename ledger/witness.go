package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrRollback says that somebody else has seen more of a log than it holds,
// or another log: the ledger was taken back to an older copy.
var ErrRollback = errors.New("the ledger was rolled back")

// RollbackError is an ErrRollback with what was seen.
type RollbackError struct {
	Log  string
	By   string // who saw it
	Seen int64  // size of the tree seen
	Size int64  // entries the log holds
	What string
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("%v: log %s holds %d entries, but %s %s of size %d (restore the newer copy; nothing more is written or signed)", ErrRollback, e.Log, e.Size, e.By, e.What, e.Seen)
}

// Unwrap gives ErrRollback.
func (e *RollbackError) Unwrap() error { return ErrRollback }

// Witness is where a witness takes checkpoints, and its key.
type Witness struct {
	URL string // submission prefix (c2sp.org/tlog-witness), such as https://witness.example/w1
	Key string // verifier key of its cosignatures, algorithm 0x04 (c2sp.org/tlog-cosignature)
	// Accepted, where set, says whether somebody has knowingly accepted that
	// the log was taken back: that rollback is an error, and ends no writing.
	Accepted func(*RollbackError) bool
}

// Post sends body by HTTP POST and gives the reply's body and status. It
// should bound the reply's length; what the ledger expects is below 64 KiB.
type Post func(ctx context.Context, url string, body []byte) (reply []byte, status int, err error)

// witnessRequest is the body of an add-checkpoint call.
func witnessRequest(old int64, proof tlog.TreeProof, signed []byte) []byte {
	b := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range proof {
		b = append(append(b, hashText(h)...), '\n')
	}
	return append(append(b, '\n'), signed...)
}

// Cosign has the witness cosign the log's last checkpoint, and stores the
// cosignature with it once it is verified. It signs no checkpoint, unless the
// witness knows a larger tree than the last one signed. If it knows more than
// the log holds, or another log, the error is a *RollbackError, and the ledger
// writes and signs nothing any more: call it after Open for what a restored
// copy of the disk has forgotten.
func (l *Ledger) Cosign(ctx context.Context, log string, w Witness, post Post) error {
	if err := l.enter(); err != nil {
		return fmt.Errorf("having %s cosigned: %w", log, err)
	}
	defer l.inflight.Done()
	verifier, err := newWitnessVerifier(w.Key)
	if err != nil {
		return fmt.Errorf("having %s cosigned: %w", log, err)
	}
	if err := l.cosign(ctx, log, w, verifier, post); err != nil {
		var r *RollbackError
		if errors.As(err, &r) && (w.Accepted == nil || !w.Accepted(r)) {
			err = l.lose("asking witness "+verifier.name, err)
		}
		return fmt.Errorf("having %s cosigned by %s: %w", log, verifier.name, err)
	}
	return nil
}

func (l *Ledger) cosign(ctx context.Context, log string, w Witness, v *witnessVerifier, post Post) error {
	t, err := l.find(log)
	if err != nil {
		return err
	}
	old := l.cosignedSize(t, v)
	for range 4 { // the witness may know another size than we think, twice if others ask it too
		signed, head := t.checkpoints.get()
		if signed == nil {
			return fmt.Errorf("log %s has no checkpoint yet: %w", log, ErrNotFound)
		}
		proof, err := l.ConsistencyProof(log, old, head.Size)
		if err != nil {
			return err
		}
		reply, status, err := post(ctx, strings.TrimSuffix(w.URL, "/")+"/add-checkpoint", witnessRequest(old, proof, signed))
		if err != nil {
			return err
		}
		switch status {
		case 200:
			lines, err := v.lines(signed, reply)
			if err != nil {
				return err
			}
			return l.storeCosigned(t, v, head, lines)
		case 409:
			seen, err := parseDecimal(strings.TrimSuffix(string(reply), "\n"))
			if err != nil {
				return fmt.Errorf("reading what size it knows: %w", err)
			}
			if seen > t.size() || seen == old {
				return &RollbackError{log, "witness " + v.name, seen, t.size(), "has cosigned another tree"}
			}
			if seen > head.Size { // signed once, and forgotten since
				if err := l.sign([]*tree{t}, false); err != nil {
					return err
				}
			}
			old = seen
		case 422:
			return &RollbackError{log, "witness " + v.name, old, t.size(), "does not find it to continue the tree"}
		default:
			return fmt.Errorf("it answered %d: %.200q (%s)", status, reply, witnessHint(status))
		}
	}
	return errors.New("it knows another size each time it is asked")
}

func witnessHint(status int) string {
	switch status {
	case 403:
		return "the witness is configured with another key of this log"
	case 404:
		return "the witness does not know this log: have it configured there"
	}
	return "want 200, 409 or 422"
}

// get is the last checkpoint and what it signs; nil if there is none.
func (s *checkpointStore) get() ([]byte, Checkpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil, Checkpoint{}
	}
	return []byte(s.last.Note), s.head
}

// cosignedSize is the size of the last checkpoint that is known to be
// cosigned by the witness.
func (l *Ledger) cosignedSize(t *tree, v *witnessVerifier) int64 {
	s := &t.checkpoints
	s.mu.Lock()
	defer s.mu.Unlock()
	if size, ok := s.cosigned[v.hash]; ok {
		return size
	}
	past := s.history
	if s.last != nil {
		past = addPast(past[:len(past):len(past)], s.last.DatedCheckpoint)
	}
	for i := len(past) - 1; i >= 0; i-- {
		text, sigs, _ := strings.Cut(past[i].Note, "\n\n")
		if lines, err := v.lines([]byte(text+"\n\n"), []byte(sigs)); err == nil && len(lines) > 0 {
			return past[i].Size
		}
	}
	return 0
}

// lines picks the witness's good signature lines out of a reply. There must be
// one; lines by other keys are left out.
func (v *witnessVerifier) lines(signed, reply []byte) ([]byte, error) {
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	text = append(bytes.Clone(text), '\n')
	for line := range bytes.Lines(reply) {
		name, encoded, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(string(line), "— "), "\n"), " ")
		sig, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || name != v.name || len(sig) < 4 || binary.BigEndian.Uint32(sig) != v.hash {
			continue
		}
		if !v.Verify(text, sig[4:]) {
			return nil, errors.New("its cosignature does not verify")
		}
		return fmt.Appendf(nil, "— %s %s\n", name, base64.StdEncoding.EncodeToString(sig)), nil
	}
	return nil, errors.New("its answer holds no cosignature under its key")
}

// storeCosigned puts a signature line to the checkpoint of that head, if that
// is still the last one. Otherwise the next will be cosigned.
func (l *Ledger) storeCosigned(t *tree, v *witnessVerifier, head Checkpoint, line []byte) error {
	l.signing.Lock()
	defer l.signing.Unlock()
	s := &t.checkpoints
	s.mu.Lock()
	if s.cosigned == nil {
		s.cosigned = map[uint32]int64{}
	}
	s.cosigned[v.hash] = head.Size
	s.mu.Unlock()
	if s.head.Text() != head.Text() {
		return nil
	}
	next := *s.last
	next.Note = withLine(next.Note, string(line))
	if err := l.store([]storedCheckpoint{next}, []Checkpoint{head}); err != nil {
		return err
	}
	return l.remember([]*tree{t}, false)
}

// withLine appends a signature line; an older one by the same key goes.
func withLine(note, line string) string {
	text, sigs, _ := strings.Cut(note, "\n\n")
	var b strings.Builder
	b.WriteString(text + "\n\n")
	for old := range strings.Lines(sigs) {
		if signerOf(old) != signerOf(line) {
			b.WriteString(old)
		}
	}
	b.WriteString(line)
	return b.String()
}

// signerOf is a signature line's key name and key ID.
func signerOf(line string) string {
	i := strings.LastIndexByte(line, ' ')
	return line[:min(len(line), i+1+5)] // 5 characters of base64 are not yet past the ID
}

// HoldTo holds the log to a checkpoint of it that was kept elsewhere. If the
// log holds less, or another tree, the error is a *RollbackError and the
// ledger writes and signs nothing any more.
func (l *Ledger) HoldTo(log string, noteBytes []byte, where string) error {
	err := l.Compare(log, noteBytes, where)
	if l.readOnly || !errors.Is(err, ErrRollback) {
		return err
	}
	return l.lose("comparing with "+where, err)
}

// Compare is HoldTo that ends no writing.
func (l *Ledger) Compare(log string, noteBytes []byte, where string) error {
	vkey, err := l.VerifierKey(log)
	if err != nil {
		return err
	}
	seen, err := OpenCheckpoint(noteBytes, vkey)
	if err != nil {
		return fmt.Errorf("holding %s to the checkpoint in %s: %w", log, where, err)
	}
	t, err := l.treeFor(log)
	if err != nil {
		return err
	}
	t.await()
	err = t.agrees(seen)
	var c *ContradictionError
	if !errors.As(err, &c) {
		return err
	}
	return &RollbackError{log, where, seen.Size, t.size(), "has a checkpoint that it contradicts,"}
}
