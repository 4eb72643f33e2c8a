package ledger

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"trustpack/internal/durable"
)

// flushBytes is how much of a log waits in memory before it is moved to its
// files. Nothing is at risk meanwhile: the journal has it.
const flushBytes = 256 << 10

// flushedFile records how far the logs' own files have caught up with the
// journal. Segments before the one it names are not needed any more.
const flushedFile = "flushed.json"

// flushPoint is the content of flushedFile. Each log's files durably held what
// is said here, which is at least what the journal's segments before Segment
// hold. Recovery cuts the files to that and replays the journal from there on.
type flushPoint struct {
	Segment uint64                `json:"segment"`
	Group   uint64                `json:"group"`   // the last before that segment
	CRC     uint32                `json:"crc"`     // of that group
	Reached uint64                `json:"reached"` // no entry in the files is of a later group
	Logs    map[string]flushedLog `json:"logs"`
}

// place is where a segment begins.
type place struct {
	before  chain
	segment uint64
	clear   chan error // where set, nothing is to be left of what was before, and this is told
}

type flushedLog struct {
	Size       int64            `json:"size"`        // entries
	EntryBytes int64            `json:"entry_bytes"` // length of the file of entries; those of the others follow from Size
	Payloads   *flushedPayloads `json:"payloads,omitempty"`
}

// keep is the keeper: it makes the files catch up with the journal, so that
// segments can be let go. It runs in the background of committing.
func (l *Ledger) keep() {
	defer close(l.kept)
	behind, lag := 0, cmp.Or(l.options.flushLag, defaultLag)
	for p := range l.flushes {
		behind++
		if l.unkept.Load() && p.clear == nil {
			continue // a purge stands in the journal alone, which must keep it
		}
		if l.lost.Load() == nil && (behind >= lag || p.clear != nil) {
			behind = 0
			spares := keptSpares
			if p.clear != nil {
				spares = 0
			}
			if err := l.flushTo(p, spares); err != nil {
				l.lose("bringing the logs' files up to the journal", err)
			}
		}
		if p.clear != nil {
			p.clear <- l.Err()
		}
	}
}

// flushTo makes the files of all logs durable at least as far as the segments
// before p go, records that, and lets go of those segments, save for some to
// be used again. A crash between these leaves files that are too long, or
// segments too many; recovery takes no notice of the first and drops the
// second.
func (l *Ledger) flushTo(p place, spares int) error {
	point := flushPoint{Segment: p.segment, Group: p.before.number, CRC: p.before.crc, Logs: map[string]flushedLog{}}
	if err := l.bringUpAll(point.Logs); err != nil {
		return err
	}
	point.Reached = l.reached.Load()
	if err := writePoint(l.fsys, l.dir, point); err != nil {
		return err
	}
	return l.spares.release(p.segment, spares)
}

// bringUp makes the files durable at least as far as the log goes now, and
// says how far that is, which is to the end of a run.
func (t *tree) bringUp(fsys durable.FS) (flushedLog, error) {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	if err := t.flushLocked(fsys, true); err != nil {
		return flushedLog{}, err
	}
	if err := t.sync(fsys); err != nil {
		return flushedLog{}, err
	}
	return t.syncedTo, nil
}

// flush moves what waits in memory to the files, without syncing them: the
// full bundles, and where whole is set what there is of the last one too.
func (t *tree) flush(fsys durable.FS, whole bool) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	return t.flushLocked(fsys, whole)
}

func (t *tree) flushLocked(fsys durable.FS, whole bool) error {
	if err := t.makeDir(fsys); err != nil {
		return err
	}
	c := t.cut(whole)
	if err := t.flushEntries(fsys, c); err != nil {
		return err
	}
	if err := t.flushPayloads(fsys, c.payloads); err != nil {
		return err
	}
	t.mu.RLock()
	packs := t.packs()[1:]
	t.mu.RUnlock()
	for _, p := range packs {
		t.mu.RLock()
		waiting, at := p.tail, p.flushed
		t.mu.RUnlock()
		if len(waiting) == 0 {
			continue
		}
		if err := t.write(fsys, p, waiting, at); err != nil {
			return err
		}
		t.mu.Lock()
		p.flushed += int64(len(waiting))
		p.tail = append(p.tail[:0], p.tail[len(waiting):]...)
		t.mu.Unlock()
	}
	return nil
}

// cut is what is to go to the files: with whole, the entries up to one of them
// and the payloads of exactly these.
type cut struct {
	at       int64    // where in the file of entries
	bundles  [][]byte // full ones
	part     []byte   // of the last bundle
	stored   int64    // entries that the file will hold
	payloads []*payloadPart
}

func (t *tree) cut(whole bool) cut {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := len(t.open)
	if t.length.Load()%tileWidth != 0 && full > 0 {
		full--
	}
	c := cut{at: t.entries.flushed, bundles: slices.Clone(t.open[:full]), stored: (t.stored/tileWidth + int64(full)) * tileWidth, payloads: t.payloads.cut(whole)}
	if whole && full < len(t.open) {
		c.part, c.stored = t.open[full], t.length.Load()
	}
	return c
}

// flushEntries compresses bundles and writes them. The caller holds flushing.
func (t *tree) flushEntries(fsys durable.FS, c cut) error {
	full := len(c.bundles)
	if full == 0 && c.part == nil {
		return nil
	}
	frames := t.frames[:0]
	var ends []byte
	for _, b := range c.bundles {
		frames = t.packer.pack(frames, b)
		ends = binary.BigEndian.AppendUint64(ends, uint64(c.at)+uint64(len(frames)))
	}
	if c.part != nil {
		frames = t.packer.pack(frames, c.part)
	}
	if cap(frames) <= maxKeptBuffer {
		t.frames = frames
	}
	if err := t.write(fsys, &t.entries, frames, c.at); err != nil {
		return err
	}
	t.mu.Lock()
	t.stored, t.entries.flushed = c.stored, c.at+int64(len(frames))
	t.index.tail = append(t.index.tail, ends...)
	if c.part != nil {
		t.open[full] = t.open[full][len(c.part):]
		if len(t.open[full]) == 0 {
			full++
		}
	}
	for _, b := range c.bundles {
		t.waiting -= len(b)
	}
	t.waiting -= len(c.part)
	t.open = slices.Delete(t.open, 0, full)
	t.mu.Unlock()
	for _, b := range c.bundles { // readers copied what they wanted under the lock
		t.buffers.put(b)
	}
	return nil
}

// write writes behind what a file holds. The caller holds flushing.
func (t *tree) write(fsys durable.FS, p *pack, b []byte, at int64) error {
	if p.file == nil { // it is set by who holds flushing alone
		f, err := p.made(fsys) // not under mu, which would keep the log's integrator waiting for a directory
		if err != nil {
			return err
		}
		t.mu.Lock()
		p.file = f
		t.mu.Unlock()
		t.newFiles = true
	}
	if _, err := p.file.WriteAt(b, at); err != nil {
		return fmt.Errorf("writing %s: %w", p.name, err)
	}
	p.dirty = true
	return nil
}

// bufferPool keeps the memory of bundles for the next ones.
type bufferPool chan []byte

func (p bufferPool) get() []byte {
	select {
	case b := <-p:
		return b
	default:
		return make([]byte, 0, 1<<16)
	}
}

func (p bufferPool) put(b []byte) {
	if cap(b) > maxKeptBuffer {
		return
	}
	select {
	case p <- b[:0]:
	default:
	}
}

// makeDir makes the log's directory once. The caller holds flushing.
func (t *tree) makeDir(fsys durable.FS) error {
	if t.hasDir {
		return nil
	}
	if err := durable.MkdirIn(fsys, t.dir, 0o700); err != nil {
		return err
	}
	t.hasDir = true
	return nil
}

// sync makes durable what flush wrote. The caller holds flushing.
func (t *tree) sync(fsys durable.FS) error {
	t.mu.RLock()
	// Purged ones too: until the purge is kept, a crash could bring them back.
	packs, days := t.packs(), slices.Concat(t.payloads.gone, t.payloads.days)
	at := flushedLog{Size: t.stored, EntryBytes: t.entries.flushed, Payloads: t.payloads.point()}
	t.mu.RUnlock()
	for _, p := range packs {
		if !p.dirty {
			continue
		}
		if err := p.file.Sync(); err != nil {
			return fmt.Errorf("syncing %s: %w", p.name, err)
		}
		p.dirty = false
	}
	if err := t.payloads.sync(fsys, days); err != nil {
		return err
	}
	if t.newFiles {
		if err := fsys.SyncDir(t.dir); err != nil {
			return fmt.Errorf("syncing %s: %w", t.dir, err)
		}
	}
	t.newFiles, t.syncedTo = false, at
	return nil
}

func writePoint(fsys durable.FS, dir string, p flushPoint) error {
	record, err := sealRecord(p, 0)
	if err != nil {
		return fmt.Errorf("writing %s: %w", flushedFile, err)
	}
	return durable.WriteFileIn(fsys, filepath.Join(dir, flushedFile), record, 0o600)
}

// readPoint reads the flush point, or an empty one where there is none yet.
func readPoint(fsys durable.FS, dir string) (flushPoint, error) {
	damaged := func(why string) (flushPoint, error) {
		return flushPoint{}, &DamageError{File: flushedFile, Offset: -1, Reason: why}
	}
	b, err := durable.ReadFileIn(fsys, filepath.Join(dir, flushedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return flushPoint{}, nil
	}
	if err != nil {
		return flushPoint{}, err
	}
	s, err := openRecord(b)
	if err != nil {
		return damaged(err.Error())
	}
	var p flushPoint
	if err := json.Unmarshal(s.Body, &p); err != nil {
		return damaged(err.Error())
	}
	for name, at := range p.Logs {
		if err := CheckLogName(name); err != nil {
			return damaged(err.Error())
		}
		if at.Size < 1 || at.EntryBytes < 1 {
			return damaged(fmt.Sprintf("log %s cannot have %d entries in %d bytes", name, at.Size, at.EntryBytes))
		}
		if err := at.Payloads.check(); err != nil {
			return damaged(fmt.Sprintf("log %s: %v", name, err))
		}
	}
	return p, nil
}

// take opens the log's files for writing and cuts them to what is known to be
// durable: anything behind that came from the journal and is in it still.
func (t *tree) take(fsys durable.FS) error {
	if err := t.payloads.take(fsys); err != nil {
		return err
	}
	entries, err := fsys.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	t.hasDir, t.newFiles = true, true // some may not have been synced before a crash
	if err := durable.RemoveTempsIn(fsys, t.dir); err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range entries {
		there[filepath.Join(logsDir, t.name, e.Name())] = true
	}
	for _, p := range t.packs() {
		if !there[p.name] {
			continue
		}
		if err := p.close(); err != nil {
			return err
		}
		if err := p.open(fsys, os.O_RDWR); err != nil {
			return err
		}
		if err := p.file.Truncate(p.flushed); err != nil {
			return fmt.Errorf("cutting %s: %w", p.name, err)
		}
	}
	return nil
}
