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
	if len(entries) > fewRecords {
		excerpt.Tiles = &ledger.Tiles{Bundles: bundles, Read: func(path string) ([]byte, error) { return l.ledger.ReadTile(LogName, path) }}
	}
	return excerpt, excerpt.Verify(excerpt.VerifierKey)
}
