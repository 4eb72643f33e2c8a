package locker

import (
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

// Excerpt cuts out of the evidence log what proves the given collections: it
// stands at the first kept checkpoint that covers them all, so that later
// entries (such as the pack's own) change nothing in it. Its Previous is the
// last checkpoint that was dated before the period, if there is one.
func (l *Locker) Excerpt(entries []Collected, p evidence.Period) (ledger.Excerpt, error) {
	excerpt, err := l.excerpt(entries, p)
	if err != nil {
		return ledger.Excerpt{}, fmt.Errorf("cutting an excerpt of the evidence log: %w", err)
	}
	return excerpt, nil
}

func (l *Locker) excerpt(entries []Collected, p evidence.Period) (ledger.Excerpt, error) {
	if len(entries) == 0 {
		return ledger.Excerpt{}, errors.New("there is nothing to prove")
	}
	key, err := l.ledger.VerifierKey(LogName)
	if err != nil {
		return ledger.Excerpt{}, err
	}
	history, err := l.ledger.Checkpoints(LogName)
	if err != nil {
		return ledger.Excerpt{}, err
	}
	var covers int64
	for _, e := range entries {
		covers = max(covers, e.Index+1)
	}
	out := ledger.Excerpt{Origin: l.ledger.Origin(LogName), VerifierKey: key, History: []ledger.HistoryStep{}}
	var before int64 // size of the step before; 0 is the empty log
	var size int64
	for _, c := range history {
		if c.Time.Before(p.From) {
			out.Previous, before = c.Note, c.Size
			continue
		}
		step := ledger.HistoryStep{DatedCheckpoint: c}
		if step.Consistency, err = l.consistency(before, c.Size); err != nil {
			return ledger.Excerpt{}, err
		}
		out.History = append(out.History, step)
		before = c.Size
		if c.Size >= covers {
			out.Checkpoint, size = c.Note, c.Size
			break
		}
	}
	if out.Checkpoint == "" {
		return ledger.Excerpt{}, fmt.Errorf("no signed checkpoint covers entry %d; the collection was cut off before it was signed: collect again", covers-1)
	}
	if out.Previous != "" {
		first, err := ledger.OpenCheckpoint([]byte(out.Previous), key)
		if err != nil {
			return ledger.Excerpt{}, err
		}
		if out.Consistency, err = l.consistency(first.Size, size); err != nil {
			return ledger.Excerpt{}, err
		}
	}
	for _, e := range entries {
		record, err := l.record(e.Index, size, out.Checkpoint)
		if err != nil {
			return ledger.Excerpt{}, err
		}
		out.Records = append(out.Records, record)
	}
	return out, out.Verify(key)
}

// consistency is the proof from old to size in base64; there is none from the
// empty log.
func (l *Locker) consistency(old, size int64) ([]string, error) {
	if old == 0 {
		return nil, nil
	}
	proof, err := l.ledger.ConsistencyProof(LogName, old, size)
	if err != nil {
		return nil, err
	}
	return base64Hashes(proof), nil
}

func base64Hashes(hashes []tlog.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	return out
}

func (l *Locker) record(index, size int64, checkpoint string) (ledger.RecordProof, error) {
	data, err := l.ledger.Entry(LogName, index)
	if err != nil {
		return ledger.RecordProof{}, err
	}
	proof, err := l.ledger.InclusionProof(LogName, index, size)
	if err != nil {
		return ledger.RecordProof{}, err
	}
	return ledger.RecordProof{Index: index, Entry: data, Proof: string(ledger.MarshalProof(index, proof, []byte(checkpoint)))}, nil
}
