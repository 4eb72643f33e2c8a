package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// Excerpt cuts out of the log what an outsider needs: the last signed
// checkpoint (call Checkpoint first to have one of now), the history since
// the checkpoint of size since (0 for from the beginning, without a previous
// checkpoint), and the records of the given indexes, with all proofs.
func (l *Ledger) Excerpt(log string, since int64, records []int64) (Excerpt, error) {
	return l.ExcerptTo(log, since, 0, records)
}

// ExcerptTo is Excerpt that ends at the checkpoint of size to, which the
// history must hold, rather than at the last one; 0 is the last.
func (l *Ledger) ExcerptTo(log string, since, to int64, records []int64) (Excerpt, error) {
	e, err := l.excerpt(log, since, to, records)
	if err != nil {
		return Excerpt{}, fmt.Errorf("cutting an excerpt out of log %s: %w", log, err)
	}
	return e, nil
}

func (l *Ledger) excerpt(log string, since, to int64, records []int64) (Excerpt, error) {
	vkey, err := l.VerifierKey(log)
	if err != nil {
		return Excerpt{}, err
	}
	history, err := l.Checkpoints(log)
	if err != nil {
		return Excerpt{}, err
	}
	if len(history) == 0 {
		return Excerpt{}, fmt.Errorf("it has no checkpoint yet: %w", ErrNotFound)
	}
	if to != 0 {
		at := slices.IndexFunc(history, func(d DatedCheckpoint) bool { return d.Size == to })
		if at < 0 {
			return Excerpt{}, fmt.Errorf("the history has no checkpoint of size %d, but those of %s: %w", to, sizesOf(history), ErrNotFound)
		}
		history = history[:at+1]
	}
	last := history[len(history)-1]
	e := Excerpt{Origin: l.Origin(log), VerifierKey: vkey, Checkpoint: last.Note, History: []HistoryStep{}}
	if since != 0 {
		at := slices.IndexFunc(history, func(d DatedCheckpoint) bool { return d.Size == since })
		if at < 0 {
			return Excerpt{}, fmt.Errorf("the history has no checkpoint of size %d, but those of %s: %w", since, sizesOf(history), ErrNotFound)
		}
		e.Previous, history = history[at].Note, history[at+1:]
	}
	if e.Consistency, err = l.consistency(log, since, last.Size); err != nil {
		return Excerpt{}, err
	}
	before := since
	for _, d := range history {
		proof, err := l.consistency(log, before, d.Size)
		if err != nil {
			return Excerpt{}, err
		}
		e.History = append(e.History, HistoryStep{d, proof})
		before = d.Size
	}
	for _, index := range records {
		entry, err := l.Entry(log, index)
		if err != nil {
			return Excerpt{}, err
		}
		proof, err := l.InclusionProof(log, index, last.Size)
		if err != nil {
			return Excerpt{}, err
		}
		e.Records = append(e.Records, RecordProof{index, entry, string(MarshalProof(index, proof, []byte(last.Note)))})
	}
	return e, nil
}

func (l *Ledger) consistency(log string, old, size int64) ([]string, error) {
	p, err := l.ConsistencyProof(log, old, size)
	if err != nil || len(p) == 0 {
		return nil, err
	}
	return hashTexts(p), nil
}

// sizesOf lists the sizes in a history, the middle left out of a long one.
func sizesOf(history []DatedCheckpoint) string {
	const most = 20
	var texts []string
	for i, d := range history {
		if i == most/2 && len(history) > most {
			texts = append(texts, "…")
		}
		if i < most/2 || i >= len(history)-most/2 {
			texts = append(texts, fmt.Sprint(d.Size))
		}
	}
	return strings.Join(texts, ", ")
}
