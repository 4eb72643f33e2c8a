package ledger

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// payloads holds each payload of a log to what its entry commits to, and each
// entry that commits to one to a payload.
func (f *fsck) payloads(t *tree) error {
	if t.payloads.from < 0 {
		return nil
	}
	frames, err := t.allFrames(f)
	if err != nil {
		return err
	}
	next, err := f.purged(t)
	if err != nil {
		return err
	}
	for _, fr := range frames {
		if fr.first < next {
			return &DamageError{File: payloadName(t.name, fr.day, timesSuffix), Offset: -1, Reason: fmt.Sprintf("a frame begins with entry %d, which another one holds", fr.first)}
		}
		if err := f.missing(t, next, fr.first); err != nil {
			return err
		}
		next = fr.first + fr.count
	}
	if next > t.size() {
		return &DamageError{File: t.payloads.dir(), Offset: -1, Reason: fmt.Sprintf("there are payloads up to entry %d, and the log has %d", next-1, t.size())}
	}
	if err := f.missing(t, next, t.size()); err != nil {
		return err
	}
	var workers sync.WaitGroup
	var taken atomic.Int64
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		workers.Go(func() {
			for errs[w] == nil {
				n := int(taken.Add(1)) - 1
				if n >= len(frames) {
					return
				}
				if errs[w] = f.frame(t, frames[n]); errs[w] != nil {
					errs[w] = f.damage(t.name, errs[w])
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// purged holds the purges of a log to the entries that record them and to what
// was committed to, and gives the index behind the last.
func (f *fsck) purged(t *tree) (next int64, err error) {
	for _, r := range f.l.purgesFor(t.name) {
		wrong := func(what string, args ...any) {
			f.problem(t.name, -1, purgesFile, "the purge of what came before "+r.Before+" (entry %d of %s): %s", r.At.Index, r.At.Log, fmt.Sprintf(what, args...))
		}
		stands, err := f.l.standsInLog(r)
		if err != nil {
			return 0, err
		}
		if !stands {
			wrong("no such entry is in the log")
		}
		if r.First < next || r.End > t.size() {
			wrong("it cannot be of entries %d to %d", r.First, r.End-1)
			continue
		}
		if err := f.missing(t, next, r.First); err != nil {
			return 0, err
		}
		count, hash, err := t.digest(r.First, r.End)
		if err != nil {
			return 0, err
		}
		if count != r.Count || hash != r.Commitments {
			wrong("its entries commit to %d payloads with digest %s, not to %d with %s", count, hash, r.Count, r.Commitments)
		}
		next = r.End
		if !r.Erased {
			continue // the next opening does that
		}
		for _, suffix := range []string{keySuffix, payloadSuffix, timesSuffix} {
			days, err := t.payloads.list(f.l.fsys, suffix)
			if err != nil {
				return 0, err
			}
			for _, day := range days {
				if day <= r.lastDay() {
					wrong("%s is there still", payloadName(t.name, day, suffix))
				}
			}
		}
	}
	return next, nil
}

// unrecorded reports the entries that say what a purge erased of which
// purgesFile knows nothing: payloads may be back that the log says are gone. An
// entry is believed to be a purge's only where the digest in it is that of what
// the entries commit to, which those who send them cannot know.
func (f *fsck) unrecorded() error {
	for _, r := range f.erased {
		if slices.ContainsFunc(f.l.purges, func(known purgeRecord) bool { return known.At == r.At }) {
			continue
		}
		t, err := f.l.find(r.Log)
		if errors.Is(err, ErrNotFound) || err == nil && r.End > t.size() {
			continue
		}
		if err != nil {
			return err
		}
		count, hash, err := t.digest(r.First, r.End)
		if err != nil {
			if err := f.damage(r.Log, err); err != nil {
				return err
			}
			continue
		}
		if count > 0 && count == r.Count && hash == r.Commitments {
			f.problem(r.At.Log, r.At.Index, purgesFile, "the entry says that %d payloads of log %s from before %s were erased, and no purge is recorded here: they may be there again", r.Count, r.Log, r.Before)
		}
	}
	return nil
}

// missing reports the entries of a span without payloads that commit to one.
func (f *fsck) missing(t *tree, from, to int64) error {
	const step = 1 << 16
	for ; from < to; from += step {
		commitments, err := t.readCommitments(from, int(min(step, to-from)))
		if err != nil {
			return err
		}
		for i, c := range commitments {
			if c != (commitment{}) {
				n := 1
				for _, c := range commitments[i+1:] {
					if c != (commitment{}) {
						n++
					}
				}
				f.problem(t.name, from+int64(i), t.payloads.dir(), "the payload is missing, as are those of %d entries in all up to %d, and no purge erased them", n, min(to, from+step)-1)
				break
			}
		}
	}
	return nil
}

// frame holds the payloads of a frame to the entries.
func (f *fsck) frame(t *tree, fr frame) error {
	r, err := t.readFrame(f.l, fr)
	if err != nil {
		return err
	}
	key, err := t.keyFor(f.l, fr.day)
	if err != nil {
		return err
	}
	commitments, err := t.readCommitments(fr.first, int(fr.count))
	if err != nil {
		return err
	}
	if commitments == nil {
		commitments = make([]commitment, fr.count)
	}
	s := key.salts.Get().(*salter)
	defer key.salts.Put(s)
	held, rest := int64(0), r.payloads
	for i := range commitments {
		var payload []byte
		payload, rest = nextEntry(rest)
		var c commitment
		if len(payload) > 0 {
			c = s.commit(fr.first+int64(i), payload)
			held++
		}
		if c != commitments[i] {
			f.problem(t.name, fr.first+int64(i), payloadName(t.name, fr.day, payloadSuffix), "the payload is not what the entry commits to")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Payloads += held
	return nil
}

// allFrames lists the frames of a log, those in memory last.
func (t *tree) allFrames(f *fsck) ([]frame, error) {
	var out []frame
	for _, d := range t.payloads.days {
		more, err := d.frames(f)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	for _, p := range t.payloads.parts {
		out = append(out, frame{timeEntry: p.timeEntry, day: p.day, waiting: slices.Clone(p.payloads)})
	}
	return out, nil
}

func (d *payloadDay) frames(f *fsck) (out []frame, err error) {
	file, err := readFile(f.l.fsys, &d.times)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b := make([]byte, d.times.flushed)
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.times.name, err)
	}
	last := timeEntry{received: 0}
	for at := 0; at < len(b); at += timeRecord {
		e, err := parseTimeEntry(b[at : at+timeRecord])
		if err == nil && (e.end <= last.end || e.received < last.received || e.first < last.first+last.count || e.first > 1<<62) {
			err = errors.New("a record does not follow the one before")
		}
		if err != nil {
			return nil, &DamageError{File: d.times.name, Offset: int64(at), Reason: err.Error()}
		}
		out = append(out, frame{timeEntry: e, start: last.end, day: d.day})
		last = e
	}
	return out, nil
}
