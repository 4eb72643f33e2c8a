package ledger

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// DatedCheckpoint is a checkpoint of the history. Time is the log's own word
// for when it was signed, and not covered by the signature; Note is the signed
// note, of which Size and Root (base64) repeat the content.
type DatedCheckpoint struct {
	Time time.Time `json:"time"`
	Size int64     `json:"size"`
	Root string    `json:"root"`
	Note string    `json:"note"`
}

// HistoryStep is a checkpoint with the consistency proof (base64 hashes) from
// the one before it: the previous step, or Excerpt.Previous for the first.
// The first step of an excerpt without Previous carries none.
type HistoryStep struct {
	DatedCheckpoint
	Consistency []string `json:"consistency,omitempty"`
}

// RecordProof is an entry of the log with its c2sp.org/tlog-proof text, whose
// checkpoint is the excerpt's.
type RecordProof struct {
	Index int64  `json:"index"`
	Entry []byte `json:"entry"` // base64 in JSON
	Proof string `json:"proof"`
}

// Excerpt is what an outsider needs to check a log between two checkpoints:
// signed notes, the proofs that tie each to the one before, and the records
// that something else cites, with their inclusion proofs.
type Excerpt struct {
	Origin      string        `json:"origin"`
	VerifierKey string        `json:"verifier_key"`          // a convenience; trust comes from the key given to Verify
	Previous    string        `json:"previous,omitempty"`    // signed note
	Checkpoint  string        `json:"checkpoint"`            // signed note
	Consistency []string      `json:"consistency,omitempty"` // base64 hashes, from Previous to Checkpoint
	History     []HistoryStep `json:"history"`               // oldest first, after Previous, up to Checkpoint
	Records     []RecordProof `json:"records,omitempty"`

	// Tiles, where set, stands for Records: whole bundles of entries, for logs
	// of which too many records are cited to prove each alone. It is not in
	// the JSON, and Verify does not check it.
	Tiles *Tiles `json:"-"`
}

// Tiles gives entry bundles of a log, and the tiles that prove them.
type Tiles struct {
	Bundles []int64 // numbers of the bundles cited, each of 256 entries but for the last of the log; sorted, distinct
	// Read gives what c2sp.org/tlog-tiles has under a path, such as
	// "tile/entries/x001/234.p/5", as Ledger.ReadTile does.
	Read func(path string) ([]byte, error)
}

// Verify checks the excerpt under vkey: the signature and origin of each
// note, each consistency step, and the inclusion of each record. The error
// holds every check that failed and says of each what it was; errors.Join
// makes it.
func (e Excerpt) Verify(vkey string) error {
	fail := func(what string, err error) error { return fmt.Errorf("excerpt of %s: %s: %w", e.Origin, what, err) }
	if e.VerifierKey != vkey {
		return fail("verifier key", fmt.Errorf("the excerpt is for %q, not for %q", e.VerifierKey, vkey))
	}
	head, err := OpenCheckpoint([]byte(e.Checkpoint), vkey)
	if err != nil {
		return fail("checkpoint", err)
	}
	if head.Origin != e.Origin {
		return fail("origin", fmt.Errorf("the checkpoint's is %q", head.Origin))
	}
	var failed []error
	previous := Checkpoint{Origin: e.Origin, Root: emptyRoot()} // every log begins empty
	if e.Previous != "" {
		previous, err = OpenCheckpoint([]byte(e.Previous), vkey)
		if err != nil {
			return fail("previous checkpoint", err)
		}
	}
	if err := checkStep(previous, head, e.Consistency); err != nil {
		failed = append(failed, fail("consistency of previous checkpoint with checkpoint", err))
	}
	failed = append(failed, e.verifyHistory(vkey, previous, head, fail)...)
	for i, r := range e.Records {
		if err := e.verifyRecord(head, r); err != nil {
			failed = append(failed, fail(fmt.Sprintf("record %d (index %d)", i, r.Index), err))
		}
	}
	return errors.Join(failed...)
}

func (e Excerpt) verifyHistory(vkey string, previous, head Checkpoint, fail func(string, error) error) []error {
	var failed []error
	last := previous
	for i, step := range e.History {
		what := fmt.Sprintf("history step %d (size %d)", i, step.Size)
		c, err := OpenCheckpoint([]byte(step.Note), vkey)
		if err != nil {
			return append(failed, fail(what, err))
		}
		if c.Size != step.Size || hashText(c.Root) != step.Root {
			failed = append(failed, fail(what, fmt.Errorf("its note says size %d and root %s", c.Size, hashText(c.Root))))
		}
		if err := checkStep(last, c, step.Consistency); err != nil {
			failed = append(failed, fail(what, err))
		}
		last = c
	}
	if last.Size > head.Size || last.Size == head.Size && last.Root != head.Root {
		failed = append(failed, fail("history", fmt.Errorf("it ends at size %d, root %s, which the checkpoint (size %d, root %s) does not follow", last.Size, hashText(last.Root), head.Size, hashText(head.Root))))
	} else if len(e.History) > 0 && last.Size != head.Size {
		failed = append(failed, fail("history", fmt.Errorf("it ends at size %d, before the checkpoint's %d", last.Size, head.Size)))
	}
	return failed
}

// verifyRecord leans on the checkpoint's signature having been verified: the
// proof must carry the same note byte for byte.
func (e Excerpt) verifyRecord(head Checkpoint, r RecordProof) error {
	p, err := ParseProof([]byte(r.Proof))
	if err != nil {
		return err
	}
	if string(p.Checkpoint) != e.Checkpoint {
		return errors.New("its proof carries another checkpoint than the excerpt")
	}
	if p.Index != r.Index {
		return fmt.Errorf("its proof is for index %d", p.Index)
	}
	return checkInclusion(head, p, r.Entry)
}

func checkStep(older, newer Checkpoint, consistency []string) error {
	hashes, err := parseHashes(consistency)
	if err != nil {
		return err
	}
	return CheckConsistency(older, newer, tlog.TreeProof(hashes))
}
