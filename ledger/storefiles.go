package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trustpack/internal/durable"
)

// flushedPayloads is how far the files of a log's payloads were durable. Those
// of days before are whole; what is there of later ones is in the journal too.
type flushedPayloads struct {
	From     int64  `json:"from"`     // index of the first entry with a payload
	Received int64  `json:"received"` // the latest of all, Unix time in nanoseconds
	Back     int64  `json:"back"`     // by how much the clock went back behind that at most
	Day      utcDay `json:"day"`      // the last, as days since 1970-01-01
	Bytes    int64  `json:"bytes"`    // length of the day's payloads
	Times    int64  `json:"times"`    // and of its time index
}

func (p *flushedPayloads) check() error {
	if p != nil && (p.From < 0 || p.Received < 0 || p.Back < 0 || p.Day < 0 || p.Day > maxDay || p.Bytes < 0 || p.Times < 0 || p.Times%timeRecord != 0) {
		return fmt.Errorf("it says of payloads what cannot be: %+v", *p)
	}
	return nil
}

// point says how far the files go. The caller holds flushing, and mu shared.
func (s *payloadStore) point() *flushedPayloads {
	if s.from < 0 {
		return nil
	}
	p := &flushedPayloads{From: s.from, Received: s.received, Back: s.back}
	if n := len(s.days); n > 0 {
		d := s.days[n-1]
		p.Day, p.Bytes, p.Times = d.day, d.data.flushed, d.times.flushed
	}
	return p
}

// sync makes the files durable and closes those that are not written to any
// more. The caller holds flushing.
func (s *payloadStore) sync(fsys durable.FS, days []*payloadDay) error {
	for i, d := range days {
		for _, p := range []*pack{&d.data, &d.times} {
			if p.dirty {
				if err := p.file.Sync(); err != nil {
					return fmt.Errorf("syncing %s: %w", p.name, err)
				}
				p.dirty = false
			}
			if i < len(days)-1 {
				if err := p.close(); err != nil {
					return err
				}
			}
		}
	}
	if s.newFiles {
		if err := fsys.SyncDir(s.dir()); err != nil {
			return fmt.Errorf("syncing %s: %w", s.dir(), err)
		}
		s.newFiles = false
	}
	return nil
}

func (s *payloadStore) dir() string { return filepath.Join(s.ledger, payloadsDir, s.log) }

func (s *payloadStore) close() error {
	var errs []error
	for _, d := range slices.Concat(s.days, s.gone) {
		errs = append(errs, d.data.close(), d.times.close())
	}
	return errors.Join(errs...)
}

// restore takes the store of a log of length entries to where its files were
// durable.
func (s *payloadStore) restore(fsys durable.FS, length int64, p *flushedPayloads) error {
	if p == nil {
		return nil
	}
	s.from, s.received, s.back = p.From, max(s.received, p.Received), p.Back
	s.commitments.flushed = max(0, length-p.From) * int64(len(commitment{}))
	days, err := s.list(fsys, timesSuffix)
	if err != nil {
		return err
	}
	if p.Times > 0 && p.Day > s.purgedDay && !slices.Contains(days, p.Day) {
		err := &DamageError{File: payloadName(s.log, p.Day, timesSuffix), Offset: 0, Reason: fmt.Sprintf("it is missing, and should hold %d bytes", p.Times)}
		if p.Day > s.perhapsDay {
			return err
		}
		s.unread = err
	}
	for _, day := range days {
		if day > p.Day || p.Times == 0 {
			break // not known to be durable, and in the journal
		}
		if day <= s.purgedDay {
			continue
		}
		d := s.dayFor(day)
		if day == p.Day {
			d.data.flushed, d.times.flushed = p.Bytes, p.Times
		}
		if err := d.look(fsys, day == p.Day); err != nil && day <= s.perhapsDay {
			s.unread = err
			continue
		} else if err != nil {
			return err
		}
		s.days = append(s.days, d)
	}
	return nil
}

// look reads from a day's time index how far its files go; known says that
// this is known, and they may be longer.
func (d *payloadDay) look(fsys durable.FS, known bool) (err error) {
	file, err := readFile(fsys, &pack{dir: d.times.dir, name: d.times.name, flushed: max(1, d.times.flushed)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if !known {
		if d.times.flushed, err = file.Size(); err != nil {
			return err
		}
	}
	damaged := func(at int64, why string) error { return &DamageError{File: d.times.name, Offset: at, Reason: why} }
	if d.times.flushed < timeRecord || d.times.flushed%timeRecord != 0 {
		return damaged(d.times.flushed, "it does not end with a record")
	}
	b := make([]byte, timeRecord)
	var last timeEntry
	for i, at := range []int64{0, d.times.flushed - timeRecord} {
		if _, err := file.ReadAt(b, at); err != nil {
			return fmt.Errorf("reading %s: %w", d.times.name, err)
		}
		if last, err = parseTimeEntry(b); err != nil {
			return damaged(at, err.Error())
		}
		if i == 0 {
			d.begin = last
		}
	}
	if known && last.end != d.data.flushed {
		return damaged(d.times.flushed-timeRecord, fmt.Sprintf("it ends at byte %d of the payloads, which were durable up to %d", last.end, d.data.flushed))
	}
	d.data.flushed = last.end
	data, err := readFile(fsys, &d.data)
	if err != nil {
		return err
	}
	return data.Close()
}

// list gives the days of which there is a file with the suffix, ascending.
func (s *payloadStore) list(fsys durable.FS, suffix string) ([]utcDay, error) {
	entries, err := fsys.ReadDir(s.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var days []utcDay
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		day, err := parseDay(name)
		if err != nil {
			return nil, &DamageError{File: filepath.Join(payloadsDir, s.log, e.Name()), Offset: -1, Reason: err.Error()}
		}
		days = append(days, day)
	}
	return days, nil
}

// take makes what restore found all that the files hold: anything behind came
// from the journal and is in it still. Keys stay.
func (s *payloadStore) take(fsys durable.FS) error {
	if _, err := fsys.ReadDir(s.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, suffix := range []string{timesSuffix, payloadSuffix} {
		days, err := s.list(fsys, suffix)
		if err != nil {
			return err
		}
		for _, day := range days {
			if day <= s.purgedDay || slices.ContainsFunc(s.days, func(d *payloadDay) bool { return d.day == day }) {
				continue
			}
			if err := fsys.Remove(filepath.Join(s.ledger, payloadName(s.log, day, suffix))); err != nil {
				return err
			}
		}
	}
	if n := len(s.days); n > 0 {
		for _, p := range []*pack{&s.days[n-1].data, &s.days[n-1].times} {
			if err := p.open(fsys, os.O_RDWR); err != nil {
				return err
			}
			if err := p.file.Truncate(p.flushed); err != nil {
				return fmt.Errorf("cutting %s: %w", p.name, err)
			}
		}
	}
	return nil
}

// settleKeys makes the keys that can be read durable: one may be there whose
// name a failed sync did not make so.
func (l *Ledger) settleKeys() error {
	dir := filepath.Join(l.dir, payloadsDir)
	logs, err := l.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, log := range logs {
		path := filepath.Join(dir, log.Name())
		if !log.IsDir() {
			continue
		}
		if err := durable.RemoveTempsIn(l.fsys, path); err != nil {
			return err
		}
		if err := l.fsys.SyncDir(path); err != nil {
			return err
		}
	}
	return nil
}
