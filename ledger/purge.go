package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// Purge is what a purge of a log erases: the payloads of whole UTC days, and
// the days' keys. The entries stay, and with them every proof.
type Purge struct {
	Log      string `json:"log"`
	Before   string `json:"before"`    // the first day that stays, such as "2026-07-01"
	FirstDay string `json:"first_day"` // that has payloads
	LastDay  string `json:"last_day"`
	Days     int    `json:"days"`  // that have any
	First    int64  `json:"first"` // all payloads of entries from this index
	End      int64  `json:"end"`   // up to, not including, this one
	Count    int64  `json:"count"` // payloads
	Bytes    int64  `json:"bytes"` // of their files
	// Commitments is the hex of SHA-256 over what the entries commit to, 32
	// bytes each, in the order of the log.
	Commitments string `json:"commitments_sha256"`
}

// canonical is the form in which the entry of a purge must hold it.
func (p Purge) canonical() ([]byte, error) { return evidence.CanonicalJSON(p) }

// saidBy reports whether an entry is that of the purge. A plan alone is no
// such entry: whoever asks for a purge writes one down too.
func (p Purge) saidBy(entry []byte) bool {
	plan, err := p.canonical()
	return err == nil && bytes.Contains(entry, append([]byte(erasedMember), plan...))
}

// erasedMember begins what saidBy looks for.
const erasedMember = `"erased":`

// erasedIn gives the purge that an entry is of, as saidBy tells it.
func erasedIn(entry []byte) (Purge, bool) {
	_, plan, ok := bytes.Cut(entry, []byte(erasedMember))
	if !ok {
		return Purge{}, false
	}
	var p Purge
	if json.NewDecoder(bytes.NewReader(plan)).Decode(&p) != nil || p.check() != nil {
		return Purge{}, false
	}
	return p, p.saidBy(entry)
}

// ErrNothingToPurge is what PlanPurge and Purge answer where no payload is of a
// day before the one given.
var ErrNothingToPurge = errors.New("there are no payloads to purge")

// errPurgePlan says that what is to be purged is not what was planned.
var errPurgePlan = errors.New("what is to be purged is not what was planned")

// purgeRecord is a purge with where it stands in the log.
type purgeRecord struct {
	Purge
	At     Position `json:"at"`
	Erased bool     `json:"erased"` // all of it; otherwise that has to be done
}

// lastDay is the last day that is erased.
func (p Purge) lastDay() utcDay {
	d, err := parseDay(p.Before)
	if err != nil { // checked where it was read
		return -1
	}
	return d - 1
}

// PurgeDay is the first day that a purge of what came before a time leaves: the
// time's own UTC day, or today where that is earlier.
func (l *Ledger) PurgeDay(before time.Time) time.Time {
	return min(dayOf(before), dayOf(l.now())).begin()
}

// PlanPurge says what a purge of the log would erase now: the payloads of all
// days before PurgeDay(before).
func (l *Ledger) PlanPurge(ctx context.Context, log string, before time.Time) (Purge, error) {
	p, err := l.planPurge(ctx, log, before)
	if err != nil {
		return Purge{}, fmt.Errorf("planning a purge of %s: %w", log, err)
	}
	return p, nil
}

func (l *Ledger) planPurge(ctx context.Context, log string, before time.Time) (Purge, error) {
	t, err := l.find(log)
	if err != nil {
		return Purge{}, err
	}
	first := min(dayOf(before), dayOf(l.now())) // that stays
	// What is committed from here on is of that day or later, also where the
	// clock goes back, and what was before is in the tree.
	if err := l.fence(ctx, t, first.begin()); err != nil {
		return Purge{}, err
	}
	t.await()
	if err := t.flush(l.fsys, true); err != nil {
		return Purge{}, l.lose("writing the files of log "+log, err)
	}
	t.mu.RLock()
	var days []payloadDay
	for _, d := range t.payloads.days {
		if d.day < first {
			days = append(days, d.written())
		}
	}
	t.mu.RUnlock()
	if len(days) == 0 {
		return Purge{}, ErrNothingToPurge
	}
	p := Purge{Log: log, Before: first.String(), FirstDay: days[0].day.String(), LastDay: days[len(days)-1].day.String(), Days: len(days), First: days[0].begin.first}
	for _, d := range days {
		p.Bytes += d.data.flushed + d.times.flushed
	}
	last, err := days[len(days)-1].lastWhere(l.fsys, func(timeEntry) bool { return true })
	if err != nil {
		return Purge{}, err
	}
	p.End = last.first + last.count
	p.Count, p.Commitments, err = t.digest(p.First, p.End)
	return p, err
}

// digest counts the entries of a span that commit to a payload, and hashes
// what they commit to.
func (t *tree) digest(from, to int64) (count int64, hash string, err error) {
	const step = 1 << 14
	h := sha256.New()
	for ; from < to; from += step {
		commitments, err := t.readCommitments(from, int(min(step, to-from)))
		if err != nil {
			return 0, "", err
		}
		for i := range commitments {
			if commitments[i] != (commitment{}) {
				h.Write(commitments[i][:])
				count++
			}
		}
	}
	return count, hex.EncodeToString(h.Sum(nil)), nil
}

// Purge erases the payloads of the log of all days before PurgeDay(before), and
// the days' keys, for good: from the files, from the journal and from memory.
// What was copied elsewhere it cannot reach.
//
// entry is asked for the entry that says so, given what is erased; its Data
// must have that as a member "erased", as evidence.CanonicalJSON, which no entry
// about a purge that is merely asked for may have. Once that entry is durable,
// and no sooner, the purge takes place, whether ctx ends or not, and if it
// breaks off then the next Open does the rest. An error that is not an
// ErrJournalLost means that nothing was erased.
func (l *Ledger) Purge(ctx context.Context, log string, before time.Time, entry func(Purge) (Entry, error)) (Purge, Position, error) {
	if err := l.enter(); err != nil {
		return Purge{}, Position{}, fmt.Errorf("purging %s: %w", log, err)
	}
	defer l.inflight.Done()
	l.purging.Lock()
	defer l.purging.Unlock()
	p, at, err := l.purge(ctx, log, before, entry)
	if err != nil {
		return Purge{}, Position{}, fmt.Errorf("purging %s: %w", log, err)
	}
	return p, at, nil
}

func (l *Ledger) purge(ctx context.Context, log string, before time.Time, entry func(Purge) (Entry, error)) (p Purge, at Position, err error) {
	if p, err = l.planPurge(ctx, log, before); err != nil {
		return p, at, err
	}
	plan, err := p.canonical()
	if err != nil {
		return p, at, err
	}
	e, err := entry(p)
	if err != nil {
		return p, at, err
	}
	if !p.saidBy(e.Data) {
		return p, at, fmt.Errorf("the entry does not say what is erased: %w", errPurgePlan)
	}
	r := l.pool.get()
	if err = l.encode(r, []Entry{e}); err == nil {
		r.body, err = appendPurgeRun(r.body, plan)
	}
	if err != nil {
		l.pool.put(r)
		return p, at, err
	}
	l.unkept.Store(true)
	positions, err := l.submit(ctx, r, nil)
	if err != nil {
		l.unkept.Store(false) // it is not in the journal, or that is lost
		return p, at, err
	}
	at = positions[0]
	record := purgeRecord{Purge: p, At: at}
	l.notePurge(record)
	if err := l.erase(context.WithoutCancel(ctx)); err != nil {
		return p, at, err
	}
	return p, at, nil
}

// notePurge takes a purge that stands in the log: from here on its payloads are
// not read any more.
func (l *Ledger) notePurge(r purgeRecord) {
	if slices.ContainsFunc(l.purges, func(known purgeRecord) bool { return known.At == r.At }) {
		return
	}
	l.purges = append(l.purges, r)
	if t, err := l.treeFor(r.Log); err == nil { // the name was checked
		t.purge(r.Purge)
	}
}

// purge forgets the payloads of a purge.
func (t *tree) purge(p Purge) {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.payloads
	s.purgedDay, s.purgedTo = max(s.purgedDay, p.lastDay()), max(s.purgedTo, p.End)
	s.received = max(s.received, (s.purgedDay + 1).begin().UnixNano())
	s.days = slices.DeleteFunc(s.days, func(d *payloadDay) bool {
		if d.day > s.purgedDay {
			return false
		}
		s.gone = append(s.gone, d)
		return true
	})
	s.parts = slices.DeleteFunc(s.parts, func(p *payloadPart) bool { return p.day <= s.purgedDay })
	s.lastFrame.Store(nil)
	s.lastKey.Store(nil)
}

// purgesFor is the purges of a log, in order.
func (l *Ledger) purgesFor(log string) []purgeRecord {
	var out []purgeRecord
	for _, r := range l.purges {
		if r.Log == log {
			out = append(out, r)
		}
	}
	return out
}
