package ledger

import (
	"fmt"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

// journalEnd is where the journal goes on.
type journalEnd struct {
	last    chain
	segment uint64 // the highest there is; 0 for a new ledger
}

// load reads the ledger into memory and holds each log to its last checkpoint.
// It writes nothing.
func (l *Ledger) load() (journalEnd, error) {
	end, err := l.loadTrees()
	if err != nil {
		return journalEnd{}, err
	}
	return end, l.loadCheckpoints()
}

// loadTrees reads each log as its files durably hold it, then what the journal
// has beyond that.
func (l *Ledger) loadTrees() (journalEnd, error) {
	if err := l.readPurges(); err != nil {
		return journalEnd{}, err
	}
	point, err := readPoint(l.fsys, l.dir)
	if err != nil {
		return journalEnd{}, err
	}
	for name, at := range point.Logs {
		t, err := l.treeFor(name)
		if err != nil {
			return journalEnd{}, err
		}
		if err := t.restore(l.fsys, at); err != nil {
			return journalEnd{}, err
		}
	}
	end, err := l.replay(point)
	if err != nil {
		return journalEnd{}, err
	}
	return end, l.settlePurges()
}

// replay reads the journal's segments from the flush point's on and takes in
// what the logs' files do not hold.
func (l *Ledger) replay(point flushPoint) (journalEnd, error) {
	numbers, err := listSegments(l.fsys, l.dir)
	if err != nil {
		return journalEnd{}, err
	}
	for len(numbers) > 0 && numbers[0] < point.Segment {
		numbers = numbers[1:] // not needed any more
	}
	if len(numbers) == 0 && point.Segment == 0 {
		return journalEnd{}, nil
	}
	end := journalEnd{last: chain{point.Group, point.CRC}}
	want := max(point.Segment, 1)
	var torn *segmentScan
	var tornAt uint64
	for _, n := range numbers {
		if n != want {
			return journalEnd{}, &DamageError{File: segmentName(want), Offset: -1, Reason: "the segment is missing"}
		}
		s, err := l.replaySegment(n, end.last, torn, tornAt)
		if err != nil {
			return journalEnd{}, err
		}
		if s.groups > 0 {
			torn = nil // an earlier recovery cut it, and went on here
		}
		if s.bad != "" {
			torn, tornAt = &s, n
		}
		end = journalEnd{s.last, n}
		want++
	}
	if end.segment == 0 {
		return journalEnd{}, &DamageError{File: segmentName(want), Offset: -1, Reason: "the segment is missing"}
	}
	if end.last.number < point.Reached {
		return journalEnd{}, &DamageError{File: segmentName(end.segment), Offset: -1, Reason: fmt.Sprintf("the journal ends with group %d, but group %d was made durable", end.last.number, point.Reached)}
	}
	if torn != nil {
		l.recovery.CutFile, l.recovery.CutAt, l.recovery.Cut = segmentName(tornAt), torn.end, torn.torn
	}
	l.reached.Store(end.last.number)
	return end, nil
}

// replaySegment takes in the groups of a segment, which go on from last. A
// bad group that was made durable is damage, and so is a good one that does not
// follow: then, if an earlier segment is torn, that is where.
func (l *Ledger) replaySegment(number uint64, last chain, torn *segmentScan, tornAt uint64) (segmentScan, error) {
	name := segmentName(number)
	b, err := durable.ReadFileIn(l.fsys, filepath.Join(l.dir, name))
	if err != nil {
		return segmentScan{}, err
	}
	s, err := scanSegment(b, last, func(g group) error {
		before := l.recovery.Entries
		err := parseRuns(g.body, l.replayRun)
		if l.recovery.Entries > before {
			l.recovery.Groups++
		}
		return err
	})
	switch {
	case err != nil:
		return s, &DamageError{File: name, Offset: s.end, Reason: err.Error()}
	case s.header.number != number:
		return s, &DamageError{File: name, Offset: 0, Reason: fmt.Sprintf("it is segment %d under another name", s.header.number)}
	case s.laterGood > s.end:
		return s, &DamageError{File: name, Offset: s.end, Reason: fmt.Sprintf("%s, and a good group follows at byte %d", s.bad, s.laterGood)}
	case s.durable != "":
		return s, &DamageError{File: name, Offset: s.end, Reason: fmt.Sprintf("%s, and it was made durable: %s", s.bad, s.durable)}
	case s.laterGood == s.end && torn != nil:
		return s, &DamageError{File: segmentName(tornAt), Offset: torn.end, Reason: fmt.Sprintf("%s, but the journal goes on in %s (%s)", torn.bad, name, s.bad)}
	case s.laterGood == s.end:
		return s, &DamageError{File: name, Offset: s.end, Reason: s.bad}
	}
	return s, nil
}

// replayRun takes in a run, unless the log's files have it already.
func (l *Ledger) replayRun(r run) error {
	if r.purge != nil {
		l.begun = append(l.begun, purgeRecord{Purge: *r.purge, At: l.passed})
		return nil
	}
	t, err := l.treeFor(r.log)
	if err != nil {
		return err
	}
	l.passed = Position{r.log, r.first + int64(r.count) - 1}
	if r.first+int64(r.count) <= t.syncedTo.Size {
		if l.seen == nil {
			return nil
		}
		return l.seen(r)
	}
	if r.first != t.size() {
		return fmt.Errorf("log %s goes on with entry %d, but has %d", r.log, r.first, t.size())
	}
	more := addition{entries: r.entries, leaves: make([]tlog.Hash, 0, r.count)}
	for rest := r.entries; len(rest) > 0; {
		var entry []byte
		entry, rest = nextEntry(rest)
		more.leaves = append(more.leaves, LeafHash(entry))
	}
	if r.payloads != nil {
		if more.key, err = t.keyFor(l, r.day); err != nil {
			return err
		}
		more.payloads, more.received = r.payloads, r.received
		more.commitments = make([]commitment, r.count)
		more.key.derive(r.first, r.entries, r.payloads, more.leaves, more.commitments)
	}
	t.add(more)
	t.received = t.payloads.received
	t.next = t.size()
	t.durable.Store(t.next)
	l.recovery.Entries += int64(r.count)
	return nil
}

// takeOver makes what load found the durable state and begins a new segment.
// Replayed entries are written anew, since a segment that could be read back
// after a failed sync need not be on the disk. Up to the moment at which the
// new flush point is recorded, the old one and its segments stay in place.
func (l *Ledger) takeOver(end journalEnd) error {
	for _, d := range []string{l.dir, filepath.Join(l.dir, journalDir), filepath.Join(l.dir, logsDir), filepath.Join(l.dir, payloadsDir)} {
		if err := durable.MkdirIn(l.fsys, d, 0o700); err != nil {
			return err
		}
		if err := durable.RemoveTempsIn(l.fsys, d); err != nil {
			return err
		}
		// It may be there since before a crash that came before its sync.
		if err := l.fsys.SyncDir(d); err != nil {
			return err
		}
	}
	snapshots := filepath.Join(l.dir, snapshotDir)
	if _, err := l.fsys.ReadDir(snapshots); err == nil {
		if err := durable.RemoveTempsIn(l.fsys, snapshots); err != nil {
			return err
		}
	}
	for _, t := range l.trees() {
		if err := t.take(l.fsys); err != nil {
			return err
		}
	}
	if err := l.settleKeys(); err != nil {
		return err
	}
	if end.segment == 0 {
		if err := durable.SyncAboveIn(l.fsys, l.dir); err != nil {
			return err
		}
	}
	if err := l.settleCheckpoints(); err != nil {
		return err
	}
	first, err := l.spares.make(end.segment+1, l.spares.first)
	if err != nil {
		return err
	}
	l.journal.last = end.last
	if err := l.journal.begin(first); err != nil {
		return err
	}
	now := place{before: end.last, segment: end.segment + 1}
	if !l.purgesDue() {
		return l.flushTo(now, keptSpares)
	}
	// A purge broke off: the steps of erase.
	if err := l.keepPurges(); err != nil {
		return err
	}
	if err := l.flushTo(now, 0); err != nil {
		return err
	}
	return l.eraseFiles()
}
