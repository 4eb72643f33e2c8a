package ledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trustpack/internal/durable"
)

// purgesFile holds every purge that stands in a log, and whether it was done.
const purgesFile = "purges.jsonl"

// erase does what the purges noted ask for and was not done. By then the
// entries that say so are durable. The order is such that whatever a crash
// leaves, the next Open finds the purge, in the journal or in purgesFile, and
// needs nothing that is gone:
//
//  1. the purge is written to purgesFile,
//  2. the journal goes on in a file of zeros, the logs' files are brought up to
//     there, and all segments before are removed: nothing will be replayed that
//     needs a key,
//  3. keys are overwritten and removed, and payloads removed,
//  4. that this was done is written to purgesFile.
func (l *Ledger) erase(ctx context.Context) error {
	if err := l.keepPurges(); err != nil {
		return l.lose("writing "+purgesFile, err)
	}
	if err := l.clearJournal(ctx); err != nil {
		return err
	}
	return l.eraseFiles()
}

func (l *Ledger) keepPurges() error {
	var bodies []any
	for _, r := range l.purges {
		bodies = append(bodies, r)
	}
	file := recordFile{fsys: l.fsys, dir: l.dir, name: purgesFile}
	err := errors.Join(file.replace(bodies...), file.close())
	if err == nil {
		l.unkept.Store(false)
	}
	return err
}

// eraseFiles is the last two steps.
func (l *Ledger) eraseFiles() error {
	for i := range l.purges {
		r := &l.purges[i]
		if r.Erased {
			continue
		}
		t, err := l.treeFor(r.Log)
		if err == nil {
			err = t.erase(l.fsys)
		}
		if err != nil {
			return l.lose("erasing payloads of log "+r.Log, err)
		}
		r.Erased = true
	}
	if err := l.keepPurges(); err != nil {
		return l.lose("writing "+purgesFile, err)
	}
	return nil
}

// erase removes the files of purged days.
func (t *tree) erase(fsys durable.FS) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	s := &t.payloads
	for _, d := range s.gone {
		if err := errors.Join(d.data.close(), d.times.close()); err != nil {
			return err
		}
	}
	s.gone = nil
	for _, suffix := range []string{timesSuffix, payloadSuffix, keySuffix} { // without an index, no payloads are looked for
		days, err := s.list(fsys, suffix)
		if err != nil {
			return err
		}
		for _, day := range days {
			if day > s.purgedDay {
				continue
			}
			path := filepath.Join(s.ledger, payloadName(s.log, day, suffix))
			if suffix == keySuffix {
				if err := overwrite(fsys, path); err != nil {
					return err
				}
			}
			if err := fsys.Remove(path); err != nil {
				return err
			}
		}
	}
	if err := fsys.SyncDir(s.dir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// overwrite makes a small file one of zeros before it is removed, which is of
// use where the file system writes in place.
func overwrite(fsys durable.FS, path string) error {
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		_, err = f.WriteAt(make([]byte, size), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// clearJournal leaves nothing in the journal that was in it before.
func (l *Ledger) clearJournal(ctx context.Context) error {
	l.spares.bar(true)
	defer l.spares.bar(false)
	r := l.pool.get()
	r.clear = make(chan error, 1)
	cleared := r.clear
	if _, err := l.submit(ctx, r, nil); err != nil {
		return err
	}
	return <-cleared
}

// readPurges reads purgesFile, before anything else is. A purge that was not
// done waits until it is known that its entry is in the log.
func (l *Ledger) readPurges() error {
	file := recordFile{fsys: l.fsys, dir: l.dir, name: purgesFile}
	return file.read(func(body []byte) error {
		var r purgeRecord
		if err := json.Unmarshal(body, &r); err != nil {
			return err
		}
		if err := r.check(); err != nil {
			return err
		}
		t, err := l.treeFor(r.Log)
		if err != nil {
			return err
		}
		if r.Erased {
			l.notePurge(r)
			return nil
		}
		t.payloads.perhapsDay = max(t.payloads.perhapsDay, r.lastDay())
		l.begun = append(l.begun, r)
		return nil
	})
}

// settlePurges takes the purges that were begun, by purgesFile or the journal,
// and drops those whose entry is not in the log: a crash came before that was
// durable, and so before anything was erased.
func (l *Ledger) settlePurges() error {
	for _, r := range l.begun {
		switch stands, err := l.standsInLog(r); {
		case err != nil:
			return err
		case stands:
			l.notePurge(r)
		}
	}
	l.begun = nil
	for _, t := range l.trees() {
		if s := &t.payloads; s.unread != nil && s.perhapsDay > s.purgedDay {
			return s.unread
		}
	}
	return nil
}

// standsInLog reports whether the entry of a purge is where it should be.
func (l *Ledger) standsInLog(r purgeRecord) (bool, error) {
	t, err := l.find(r.At.Log)
	if errors.Is(err, ErrNotFound) || err == nil && (r.At.Index < 0 || r.At.Index >= t.size()) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	leaf, err := t.leaf(r.At.Index)
	if err != nil {
		return false, err
	}
	return r.saidBy(leaf), nil
}

func (p Purge) check() error {
	day, err := parseDay(p.Before)
	if err != nil {
		return err
	}
	if err := CheckLogName(p.Log); err != nil {
		return err
	}
	if day < 1 || p.First < 0 || p.End <= p.First || p.Count < 0 || p.Count > p.End-p.First {
		return errors.New("a purge says what cannot be")
	}
	return nil
}

// appendPurgeRun appends to a group's body what tells recovery of a purge.
func appendPurgeRun(body, plan []byte) ([]byte, error) {
	if len(plan) > maxEntry {
		return body, fmt.Errorf("a purge takes %d bytes to say, at most %d can be", len(plan), maxEntry)
	}
	body = append(body, runPurge)
	body = binary.BigEndian.AppendUint16(body, uint16(len(plan)))
	return append(body, plan...), nil
}

func parsePurgeRun(body []byte) (run, []byte, error) {
	plan, rest, err := cutEntry(body[1:])
	if err != nil {
		return run{}, nil, err
	}
	p := &Purge{}
	if err := json.Unmarshal(plan, p); err != nil {
		return run{}, nil, err
	}
	return run{log: p.Log, purge: p}, rest, p.check()
}

func (l *Ledger) purgesDue() bool {
	return slices.ContainsFunc(l.purges, func(r purgeRecord) bool { return !r.Erased })
}

// fence has what is committed to the log from here on be of that time or
// later, and returns when all before is acknowledged.
func (l *Ledger) fence(ctx context.Context, t *tree, at time.Time) error {
	r := l.pool.get()
	r.fence, r.fenceAt = t, at.UnixNano()
	_, err := l.submit(ctx, r, nil)
	return err
}
