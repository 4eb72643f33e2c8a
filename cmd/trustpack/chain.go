package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"trustpack/evidence"
	"trustpack/internal/locker"
	"trustpack/ledger"
	"trustpack/pack"
)

// place is where a pack stands in the vendor's chain of packs.
type place struct {
	sequence int
	previous string             // hex SHA-256 of the pack.json before; empty for the first
	logs     []pack.AcceptedLog // heads of the logs in the pack before
}

// places lists where a pack of the period may stand, the last one for a new
// pack; again names the pack.json that stands there already, for those before
// it. A pack that is built again to the same bytes is that pack. To other bytes,
// as after a later collection, it follows the last pack that was built, so that
// no two packs that differ have one number.
func places(lock *locker.Locker, p evidence.Period) (at []place, again []string, err error) {
	_, packs, err := lock.Index()
	if err != nil {
		return nil, nil, err
	}
	after := func(old *locker.PackBuilt) (place, error) {
		if old == nil {
			return place{sequence: 1}, nil
		}
		logs, err := headsOf(lock, *old)
		return place{old.Sequence + 1, old.PackJSON, logs}, err
	}
	var last *locker.PackBuilt
	for i, old := range packs {
		if old.Period == p && !slices.Contains(again, old.PackJSON) {
			before := slices.IndexFunc(packs, func(b locker.PackBuilt) bool { return b.PackJSON == old.Previous })
			var previous *locker.PackBuilt
			if before >= 0 {
				previous = &packs[before]
			}
			there, err := after(previous)
			if err != nil {
				return nil, nil, err
			}
			at, again = append(at, there), append(again, old.PackJSON)
		}
		if last == nil || old.Sequence >= last.Sequence {
			last = &packs[i]
		}
	}
	if last != nil && p.From.Before(last.Period.From) {
		return at, again, nil
	}
	next, err := after(last)
	return append(at, next), again, err
}

// errEarlier is of a pack that could only follow one of a later period.
func errEarlier(p evidence.Period) error {
	return hint(fmt.Errorf("a pack of %s cannot be built any more: one of a period that begins later has been built, and each pack follows the one before it", p),
		"what changed since belongs into the next pack; packs that were built can be built again from what they were made of")
}

// headsOf gives the heads of the logs that a pack cites; none for one of
// before they were kept.
func headsOf(lock *locker.Locker, p locker.PackBuilt) ([]pack.AcceptedLog, error) {
	if p.Logs == "" {
		return nil, nil
	}
	data, err := lock.Read(p.Logs)
	if err != nil {
		return nil, fmt.Errorf("reading the logs that pack %d cites: %w", p.Sequence, err)
	}
	var logs []pack.AcceptedLog
	if err := json.Unmarshal(data, &logs); err != nil {
		return nil, fmt.Errorf("reading the logs that pack %d cites: %w", p.Sequence, err)
	}
	return logs, nil
}

// lastHeads gives the sizes of the logs, by origin, that the last built pack
// cites.
func lastHeads(lock *locker.Locker) (map[string]int64, error) {
	_, packs, err := lock.Index()
	if err != nil || len(packs) == 0 {
		return nil, err
	}
	last := slices.MaxFunc(packs, func(a, b locker.PackBuilt) int { return a.Sequence - b.Sequence })
	logs, err := headsOf(lock, last)
	return sizes(logs), err
}

func sizes(logs []pack.AcceptedLog) map[string]int64 {
	out := map[string]int64{}
	for _, l := range logs {
		out[l.Origin] = l.Size
	}
	return out
}

// encodeHeads gives the heads of the logs that a pack cites, as they are kept
// for the next.
func encodeHeads(logs []ledger.Excerpt) ([]byte, error) {
	heads := []pack.AcceptedLog{}
	for _, e := range logs {
		h, err := pack.HeadOf(e)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	return evidence.CanonicalJSON(heads)
}

// follow says which of the logs are not proved to have grown from the heads
// that the previous pack cites.
func follow(logs []ledger.Excerpt, from place) error {
	var broken []error
	for _, kept := range from.logs {
		if err := pack.GrownFrom(logs, kept); err != nil {
			broken = append(broken, err)
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return hint(fmt.Errorf("the pack would not follow pack %d: %w", from.sequence-1, errors.Join(broken...)),
		"run 'trustpack collect telemetry' for the period again; if a log is gone for good, build with --break-chain: whoever keeps a state of the pack before will refuse the new one")
}
