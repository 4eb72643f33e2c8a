package locker

import (
	"errors"
	"fmt"

	"trustpack/evidence"
	"trustpack/ledger"
)

// Excerpt cuts out of the evidence log what proves the given collections: it
// ends at the first kept checkpoint that covers them all, so that later
// entries (such as the pack's own) change nothing in it. Its Previous is the
// checkpoint of the size that the pack before ended at, which it never ends
// below. For a first pack (after is 0) it is the last checkpoint that was dated
// before the period, if there is one.
func (l *Locker) Excerpt(entries []Collected, p evidence.Period, after int64) (ledger.Excerpt, error) {
	if len(entries) == 0 {
		return ledger.Excerpt{}, errors.New("cutting an excerpt of the evidence log: there is nothing to prove")
	}
	history, err := l.ledger.Checkpoints(LogName)
	if err != nil {
		return ledger.Excerpt{}, fmt.Errorf("cutting an excerpt of the evidence log: %w", err)
	}
	covers := after
	var records []int64
	for _, e := range entries {
		covers = max(covers, e.Index+1)
		records = append(records, e.Index)
	}
	bundles := ledger.BundlesOf(records)
	if len(entries) > ledger.MostRecords {
		records = nil
	}
	since, to := after, int64(0)
	for _, c := range history {
		if after == 0 && c.Time.Before(p.From) {
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
	if len(entries) > ledger.MostRecords {
		excerpt.Tiles = &ledger.Tiles{Bundles: bundles, Read: func(path string) ([]byte, error) { return l.ledger.ReadTile(LogName, path) }}
	}
	return excerpt, excerpt.Verify(excerpt.VerifierKey)
}
