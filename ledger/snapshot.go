package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

// A snapshot's file: magic "tpsnap01"; length of the header, u32; header, JSON;
// blob; HMAC-SHA-256 of all that under a key derived from the seed, so that
// nobody without it can give the process a state that the logs do not.
const (
	snapshotDir    = "snapshots"
	snapshotSuffix = ".snap"
	snapshotMagic  = "tpsnap01"
)

// ErrSnapshot is what LoadSnapshot answers for a snapshot that cannot be
// relied on: fold the logs instead.
var ErrSnapshot = errors.New("the snapshot is of no use")

// Snapshot is a state that was folded from the logs: what the entries up to
// the sizes made of it. It holds nothing that does not follow from them, so
// deleting it costs time and nothing else.
type Snapshot struct {
	Time  time.Time
	Sizes map[string]int64 // of the logs, by name
	Blob  []byte
}

type snapshotHeader struct {
	Name string                 `json:"name"`
	Time time.Time              `json:"time"`
	Logs map[string]snapshotLog `json:"logs"`
	Blob int64                  `json:"blob"` // bytes
}

type snapshotLog struct {
	Size int64  `json:"size"`
	Root string `json:"root"` // base64
}

// SaveSnapshot keeps blob as the snapshot of that name, which is written as a
// log's name is. It binds it to the roots that the logs have at the sizes; a
// log that is left out has none. That it fails does not end appending.
func (l *Ledger) SaveSnapshot(name string, sizes map[string]int64, blob []byte) error {
	if err := l.enter(); err != nil {
		return fmt.Errorf("saving snapshot: %w", err)
	}
	defer l.inflight.Done()
	if err := l.saveSnapshot(name, sizes, blob); err != nil {
		return fmt.Errorf("saving snapshot %s: %w", name, err)
	}
	return nil
}

func (l *Ledger) saveSnapshot(name string, sizes map[string]int64, blob []byte) error {
	if err := CheckLogName(name); err != nil {
		return err
	}
	h := snapshotHeader{name, l.now().UTC(), map[string]snapshotLog{}, int64(len(blob))}
	for log, size := range sizes {
		root, err := l.rootOf(log, size)
		if err != nil {
			return err
		}
		h.Logs[log] = snapshotLog{size, hashText(root)}
	}
	header, err := json.Marshal(h)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32([]byte(snapshotMagic), uint32(len(header)))
	b = append(append(b, header...), blob...)
	dir := filepath.Join(l.dir, snapshotDir)
	if err := durable.MkdirIn(l.fsys, dir, 0o700); err != nil {
		return err
	}
	return durable.WriteFileIn(l.fsys, filepath.Join(dir, name+snapshotSuffix), append(b, l.sealOf(b)...), 0o600)
}

func (l *Ledger) rootOf(log string, size int64) (tlog.Hash, error) {
	if size == 0 {
		return emptyRoot(), nil
	}
	t, err := l.find(log)
	if err != nil {
		return tlog.Hash{}, err
	}
	return t.rootAt(size)
}

// sealOf is the seal of a snapshot's bytes.
func (l *Ledger) sealOf(b []byte) []byte {
	derive := hmac.New(sha256.New, l.options.Seed)
	derive.Write([]byte("trustpack snapshot v1\n" + l.options.Instance))
	seal := hmac.New(sha256.New, derive.Sum(nil))
	seal.Write(b)
	return seal.Sum(nil)
}

// LoadSnapshot gives the snapshot of that name. There is none: ErrNotFound. It
// is damaged, or was sealed under another seed, or the logs have less than it
// says or other entries: ErrSnapshot. Either way the logs say it all.
func (l *Ledger) LoadSnapshot(name string) (Snapshot, error) {
	s, err := l.loadSnapshot(name)
	if err != nil {
		return Snapshot{}, fmt.Errorf("loading snapshot %q: %w", name, err)
	}
	return s, nil
}

func (l *Ledger) loadSnapshot(name string) (Snapshot, error) {
	if err := CheckLogName(name); err != nil {
		return Snapshot{}, err
	}
	b, err := durable.ReadFileIn(l.fsys, filepath.Join(l.dir, snapshotDir, name+snapshotSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, ErrNotFound
	}
	if err != nil {
		return Snapshot{}, err
	}
	h, blob, err := l.openSnapshot(b)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if h.Name != name {
		return Snapshot{}, fmt.Errorf("%w: it is snapshot %q under another name", ErrSnapshot, h.Name)
	}
	s := Snapshot{Time: h.Time, Sizes: map[string]int64{}, Blob: blob}
	for log, at := range h.Logs {
		root, err := l.rootOf(log, at.Size)
		if err == nil && hashText(root) != at.Root {
			err = fmt.Errorf("the first %d entries of log %s hash to %s, not to %s", at.Size, log, hashText(root), at.Root)
		}
		if err != nil {
			return Snapshot{}, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
		s.Sizes[log] = at.Size
	}
	return s, nil
}

func (l *Ledger) openSnapshot(b []byte) (snapshotHeader, []byte, error) {
	var h snapshotHeader
	at := len(snapshotMagic) + 4
	if len(b) < at+sha256.Size || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return h, nil, errors.New("it does not begin as a snapshot does, or is too short")
	}
	if l.options.Seed == nil {
		return h, nil, errors.New("the ledger was opened without the seed that its seal is made with")
	}
	body := b[:len(b)-sha256.Size]
	if !hmac.Equal(l.sealOf(body), b[len(body):]) {
		return h, nil, errors.New("it was changed, or sealed with another seed")
	}
	n := int64(binary.BigEndian.Uint32(body[len(snapshotMagic):]))
	if n > int64(len(body)-at) {
		return h, nil, errors.New("its header is cut off")
	}
	if err := json.Unmarshal(body[at:at+int(n)], &h); err != nil {
		return h, nil, fmt.Errorf("reading its header: %w", err)
	}
	blob := body[at+int(n):]
	if h.Blob != int64(len(blob)) {
		return h, nil, fmt.Errorf("it holds %d bytes of state, not %d", len(blob), h.Blob)
	}
	return h, blob, nil
}
