package ledger

import (
	"fmt"
	"os"
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
	point, err := readPoint(l.fsys, l.dir)
	if err != nil {
		return journalEnd{}, err
	}
	for name, at := range point.Logs {
		t, err := l.treeFor(name)
		if err != nil {
			return journalEnd{}, err
		}
		open := func(p *pack) error { return p.open(l.fsys, os.O_RDONLY) }
		if err := t.restore(at.Size, at.EntryBytes, open); err != nil {
			return journalEnd{}, err
		}
	}
	return l.replay(point)
}

// replay reads the journal's segments from the flush point's on and takes in
// the groups after it.
func (l *Ledger) replay(point flushPoint) (journalEnd, error) {
	numbers, err := listSegments(l.fsys, l.dir)
	if err != nil {
		return journalEnd{}, err
	}
	for len(numbers) > 0 && numbers[0] < point.Segment {
		numbers = numbers[1:] // left by a crash before they were dropped
	}
	want := max(point.Segment, 1)
	if len(numbers) == 0 && point.Segment == 0 {
		return journalEnd{}, nil
	}
	end := journalEnd{}
	var torn *segmentScan
	for i, n := range numbers {
		if n != want {
			break
		}
		s, err := l.replaySegment(n, point.Group)
		if err != nil {
			return journalEnd{}, err
		}
		if err := follows(end, torn, s, i == 0, point); err != nil {
			return journalEnd{}, err
		}
		end, torn = journalEnd{s.last, n}, nil
		if s.bad != "" {
			torn = &s
		}
		want++
	}
	if end.segment == 0 || end.segment != numbers[len(numbers)-1] {
		return journalEnd{}, &DamageError{File: segmentName(want), Offset: -1, Reason: "the segment is missing"}
	}
	if end.last.number < point.Group {
		return journalEnd{}, &DamageError{File: segmentName(end.segment), Offset: -1, Reason: fmt.Sprintf("the journal ends with group %d, but group %d was made durable", end.last.number, point.Group)}
	}
	if torn != nil {
		l.recovery.CutFile, l.recovery.CutAt, l.recovery.Cut = segmentName(end.segment), torn.end, torn.size-torn.end
	}
	return end, nil
}

// follows holds a segment to the one before it. A torn end of that one is
// fine when the segment says itself that the journal went on from before the
// tear: an earlier recovery cut it there.
func follows(end journalEnd, torn *segmentScan, s segmentScan, isFirst bool, point flushPoint) error {
	name := segmentName(s.header.number)
	if isFirst {
		if s.header.first > point.Group+1 {
			return &DamageError{File: name, Offset: -1, Reason: fmt.Sprintf("it begins with group %d, but the logs' files end with group %d", s.header.first, point.Group)}
		}
		return nil
	}
	if s.header.first == end.last.number+1 && s.header.prevCRC == end.last.crc {
		return nil
	}
	if torn != nil {
		return &DamageError{File: segmentName(end.segment), Offset: torn.end, Reason: fmt.Sprintf("%s, and %s goes on with group %d", torn.bad, name, s.header.first)}
	}
	return &DamageError{File: name, Offset: -1, Reason: fmt.Sprintf("it begins with group %d, but the segment before it ends with group %d", s.header.first, end.last.number)}
}

// replaySegment takes in the groups of a segment that come after the given
// one. A bad group with a good one behind it is damage.
func (l *Ledger) replaySegment(number, after uint64) (segmentScan, error) {
	name := segmentName(number)
	b, err := durable.ReadFileIn(l.fsys, filepath.Join(l.dir, name))
	if err != nil {
		return segmentScan{}, err
	}
	s, err := scanSegment(b, func(g group) error {
		if g.number <= after {
			if l.seen == nil {
				return nil
			}
			return parseRuns(g.body, l.seen)
		}
		l.recovery.Groups++
		return parseRuns(g.body, l.replayRun)
	})
	switch {
	case err != nil:
		return s, &DamageError{File: name, Offset: s.end, Reason: err.Error()}
	case s.header.number != number:
		return s, &DamageError{File: name, Offset: 0, Reason: fmt.Sprintf("it is segment %d under another name", s.header.number)}
	case s.bad != "" && s.laterGood >= 0:
		return s, &DamageError{File: name, Offset: s.end, Reason: fmt.Sprintf("%s, and a good group follows at byte %d", s.bad, s.laterGood)}
	}
	return s, nil
}

func (l *Ledger) replayRun(r run) error {
	t, err := l.treeFor(r.log)
	if err != nil {
		return err
	}
	if r.first != t.size() {
		return fmt.Errorf("log %s goes on with entry %d, but has %d", r.log, r.first, t.size())
	}
	leaves := make([]tlog.Hash, 0, r.count)
	for rest := r.entries; len(rest) > 0; {
		entry, after, err := cutEntry(rest)
		if err != nil {
			return err
		}
		leaves, rest = append(leaves, LeafHash(entry)), after
	}
	t.add(r.entries, leaves)
	t.next = t.size()
	l.recovery.Entries += int64(r.count)
	return nil
}

// takeOver makes what load found the durable state and begins a new segment.
// Replayed entries are written anew, since a segment that could be read back
// after a failed sync need not be on the disk. Up to the moment at which the
// new flush point is recorded, the old one and its segments stay in place.
func (l *Ledger) takeOver(end journalEnd) error {
	for _, d := range []string{l.dir, filepath.Join(l.dir, journalDir), filepath.Join(l.dir, logsDir)} {
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
	for _, t := range l.trees() {
		if err := t.take(l.fsys); err != nil {
			return err
		}
	}
	if end.segment == 0 {
		if err := durable.SyncAboveIn(l.fsys, l.dir); err != nil {
			return err
		}
	}
	l.journal = journal{fsys: l.fsys, dir: l.dir, last: end.last}
	if err := l.journal.begin(end.segment + 1); err != nil {
		return err
	}
	return l.flushTo(l.pointAt(end.last, end.segment+1))
}
