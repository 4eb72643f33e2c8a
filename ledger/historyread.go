package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"trustpack/internal/durable"
)

// loadCheckpoints reads what is stored and holds the newest checkpoint of each
// log to its tree.
func (l *Ledger) loadCheckpoints() error {
	stored, err := readSigned(l.fsys, l.dir)
	if err != nil {
		return err
	}
	history, err := readHistory(l.fsys, l.dir)
	if err != nil {
		return err
	}
	for log, past := range history {
		t, err := l.treeFor(log)
		if err != nil {
			return err
		}
		t.checkpoints.history = past
		// What was signed binds also where signedFile was lost or taken back.
		if lacks(stored[log].last, past) == "" {
			continue
		}
		head, err := unverified(newest(past))
		if err != nil {
			return err
		}
		if err := t.agrees(head); err != nil {
			return err
		}
	}
	for log, s := range stored {
		t, err := l.treeFor(log)
		if err != nil {
			return err
		}
		if s.head.Origin != l.Origin(log) {
			return fmt.Errorf("the last checkpoint of log %s has origin %s, but the instance is %s: open the ledger under the instance name it was made with", log, s.head.Origin, l.options.Instance)
		}
		if l.options.Seed != nil {
			if err := l.ownKey(log, s.last); err != nil {
				return err
			}
		}
		if err := t.agrees(s.head); err != nil {
			return err
		}
		t.checkpoints.last, t.checkpoints.head = s.last, s.head
	}
	return nil
}

// lacks says what the last checkpoint of a log lacks of its history, into
// which nothing goes that was not the last before; empty where that is nothing.
func lacks(last *storedCheckpoint, past []DatedCheckpoint) string {
	switch {
	case len(past) == 0:
		return ""
	case last == nil:
		return fmt.Sprintf("it has no last checkpoint, and %s has one of size %d", historyFile, newest(past).Size)
	case last.Size < newest(past).Size:
		return fmt.Sprintf("its last checkpoint is of size %d, and %s has one of size %d", last.Size, historyFile, newest(past).Size)
	}
	return ""
}

func newest(past []DatedCheckpoint) DatedCheckpoint {
	return slices.MaxFunc(past, func(a, b DatedCheckpoint) int { return cmp.Compare(a.Size, b.Size) })
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

// lastSigned is what readSigned found of a log.
type lastSigned struct {
	last *storedCheckpoint
	head Checkpoint
}

// readSigned reads the last checkpoint of each log in the ledger in dir.
// Signatures are not verified.
func readSigned(fsys durable.FS, dir string) (map[string]lastSigned, error) {
	out := map[string]lastSigned{}
	file := recordFile{fsys: fsys, dir: dir, name: signedFile}
	err := file.read(func(body []byte) error {
		var news []storedCheckpoint
		if err := json.Unmarshal(body, &news); err != nil {
			return err
		}
		for i := range news {
			if err := CheckLogName(news[i].Log); err != nil {
				return err
			}
			head, err := unverified(news[i].DatedCheckpoint)
			if err != nil {
				return fmt.Errorf("log %s: %w", news[i].Log, err)
			}
			out[news[i].Log] = lastSigned{&news[i], head}
		}
		return nil
	})
	return out, err
}

// readHistory reads the history of each log. It lacks the last checkpoint if
// a crash came before that was written.
func readHistory(fsys durable.FS, dir string) (map[string][]DatedCheckpoint, error) {
	out := map[string][]DatedCheckpoint{}
	file := recordFile{fsys: fsys, dir: dir, name: historyFile}
	err := file.read(func(body []byte) error {
		var more []pastCheckpoint
		if err := json.Unmarshal(body, &more); err != nil {
			return err
		}
		for _, c := range more {
			if _, err := unverified(c.DatedCheckpoint); err != nil {
				return fmt.Errorf("log %s: %w", c.Log, err)
			}
			out[c.Log] = addPast(out[c.Log], c.DatedCheckpoint)
		}
		return nil
	})
	return out, err
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
