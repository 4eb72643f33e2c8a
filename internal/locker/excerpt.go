package locker

import (
	"errors"
	"fmt"
	"slices"

	"trustpack/evidence"
	"trustpack/ledger"
)

// fewRecords is how many entries are proved each alone; where more are cited,
// whole bundles of the log are, with tiles, which are far smaller together.
const fewRecords = 256

// Excerpt cuts out of the evidence log what proves the given collections: it
// ends at the first kept checkpoint that covers them all, so that later
// entries (such as the pack's own) change nothing in it. Its Previous is the
// last checkpoint that was dated before the period, if there is one.
func (l *Locker) Excerpt(entries []Collected, p evidence.Period) (ledger.Excerpt, error) {
	if len(entries) == 0 {
		return ledger.Excerpt{}, errors.New("cutting an excerpt of the evidence log: there is nothing to prove")
	}
	history, err := l.ledger.Checkpoints(LogName)
	if err != nil {
		return ledger.Excerpt{}, fmt.Errorf("cutting an excerpt of the evidence log: %w", err)
	}
	var covers int64
	var records, bundles []int64
	for _, e := range entries {
		covers = max(covers, e.Index+1)
		records, bundles = append(records, e.Index), append(bundles, e.Index/256)
	}
	slices.Sort(bundles)
	bundles = slices.Compact(bundles)
	if len(entries) > fewRecords {
		records = nil
	}
	var since, to int64
	for _, c := range history {
		if c.Time.Before(p.From) {
			since = c.Size
		}
		if c.Size >= covers {
			to = c.Size
			break
		}
	}
	if to == 0 {
		return ledger.Excerpt{}, fmt.Errorf("cutting an excerpt of the evidence log: no signed checkpoint covers entry %d; the collection was cut off before it was signed: collect again", covers-1)
	}
	excerpt, err := l.ledger.ExcerptTo(LogName, min(since, to), to, records)
	if err != nil {
		return ledger.Excerpt{}, err
	}
	if len(entries) > fewRecords {
		excerpt.Tiles = &ledger.Tiles{Bundles: bundles, Read: func(path string) ([]byte, error) { return l.ledger.ReadTile(LogName, path) }}
	}
	return excerpt, excerpt.Verify(excerpt.VerifierKey)
}
