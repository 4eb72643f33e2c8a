// Package locker keeps collected evidence. Bytes are stored by their SHA-256;
// each collection is appended to the `evidence` log of the locker's own
// ledger the moment it is made, which is what proves when it was known. The
// log is the index: what it does not name is not evidence.
//
// After a crash there may be blobs that no entry names; they are harmless and
// are found again by their digest. There is never an entry whose blobs were
// not durable before it.
package locker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/ledger"
)

// LogName is the log in which collections and packs are entered.
const LogName = "evidence"

// Types of the log's entries.
const (
	EntryCollected = "evidence.collected"
	EntryPackBuilt = "pack.built"
)

// Collected is the log entry of one collection. ID is the digest of the
// record, and so commits to the population and to every raw reply.
type Collected struct {
	Type         string                     `json:"type"`
	Time         time.Time                  `json:"time"` // when it was entered, which follows CollectedAt
	ID           string                     `json:"id"`
	Kind         evidence.Kind              `json:"kind"`
	Collector    string                     `json:"collector"`
	CollectedAt  time.Time                  `json:"collected_at"`
	Window       evidence.Period            `json:"window"`
	Items        int                        `json:"items"`
	Completeness evidence.CompletenessState `json:"completeness"`
	Origin       evidence.Origin            `json:"origin"`
	Clock        evidence.Clock             `json:"clock"`

	Index int64 `json:"-"` // in the evidence log
}

// PackBuilt is the log entry of a finished pack.
type PackBuilt struct {
	Type     string          `json:"type"`
	Time     time.Time       `json:"time"` // as of the evidence in it
	Period   evidence.Period `json:"period"`
	Sequence int             `json:"sequence"`
	Previous string          `json:"previous,omitempty"` // hex SHA-256 of the pack.json before
	PackJSON string          `json:"pack_json_sha256"`
	Logs     string          `json:"logs_sha256,omitempty"` // of the blob that holds the heads of the logs it cites
	SHA256   string          `json:"sha256"`                // of the archive

	Index int64 `json:"-"`
}

// Options say how a locker is opened.
type Options struct {
	Instance string           // the log's origin is Instance + "/evidence"
	Seed     []byte           // signs checkpoints; nil opens to read only
	Labels   []string         // signed extension lines of each checkpoint, see ledger.Options.Extensions
	Now      func() time.Time // time.Now where nil
}

// Locker is an open evidence store.
type Locker struct {
	dir    string
	ledger *ledger.Ledger
	now    func() time.Time
}

// Open opens the locker in dir, making it where there is none and Seed is
// given. Only one process may have it open to write.
func Open(dir string, o Options) (*Locker, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	lo := ledger.Options{Instance: o.Instance, Seed: o.Seed, Extensions: o.Labels, Now: o.Now}
	open := ledger.Open
	if o.Seed == nil {
		open = ledger.OpenReadOnly
	} else if err := durable.MkdirIn(durable.Disk{}, filepath.Join(dir, "blobs"), 0o700); err != nil {
		return nil, fmt.Errorf("making evidence locker: %w", err)
	}
	led, err := open(filepath.Join(dir, "ledger"), lo)
	if err != nil {
		return nil, fmt.Errorf("opening evidence locker %s: %w", dir, err)
	}
	return &Locker{dir: dir, ledger: led, now: o.Now}, nil
}

// Close lets the locker go.
func (l *Locker) Close() error { return l.ledger.Close() }

// Ledger is the ledger that holds the evidence log.
func (l *Locker) Ledger() *ledger.Ledger { return l.ledger }

// Put keeps one collection and enters it in the log. When it returns without
// an error, both are durable.
func (l *Locker) Put(ctx context.Context, e evidence.Evidence) (Collected, error) {
	_, record, id, err := evidence.RecordOf(e)
	if err != nil {
		return Collected{}, fmt.Errorf("keeping evidence: %w", err)
	}
	lines, err := e.Population.Lines()
	if err != nil {
		return Collected{}, fmt.Errorf("keeping evidence: %w", err)
	}
	blobs := [][]byte{record, lines}
	for _, r := range e.Raw {
		if r.Kept == nil {
			blobs = append(blobs, r.Body)
			continue
		}
		if info, err := os.Stat(l.path(r.Kept.SHA256)); err != nil {
			return Collected{}, fmt.Errorf("keeping evidence: reply %s, which was kept before: %w", r.Name, err)
		} else if info.Size() != r.Kept.Size {
			return Collected{}, fmt.Errorf("keeping evidence: reply %s has %d bytes, and had %d when it was kept", r.Name, info.Size(), r.Kept.Size)
		}
	}
	for _, b := range blobs {
		if _, err := l.Keep(b); err != nil {
			return Collected{}, err
		}
	}
	entry := Collected{
		Type: EntryCollected, Time: l.now().UTC(), ID: id, Kind: e.Kind, Collector: e.Collector,
		CollectedAt: e.CollectedAt.UTC(), Window: e.Window, Items: len(e.Population.Items),
		Completeness: e.Completeness.State, Origin: e.Provenance.Origin, Clock: e.Provenance.Clock,
	}
	entry.Index, err = l.enter(ctx, entry)
	return entry, err
}

// PutPack enters a finished pack in the log, with the heads of the logs that it
// cites, once: a pack that is built again to the same bytes is not entered
// again.
func (l *Locker) PutPack(ctx context.Context, p PackBuilt, heads []byte) (PackBuilt, error) {
	_, packs, err := l.Index()
	if err != nil {
		return PackBuilt{}, err
	}
	for _, old := range packs {
		if old.SHA256 == p.SHA256 {
			return old, nil
		}
	}
	if _, err := l.Keep(heads); err != nil {
		return PackBuilt{}, err
	}
	p.Type, p.Logs = EntryPackBuilt, evidence.SHA256Hex(heads)
	p.Index, err = l.enter(ctx, p)
	return p, err
}

func (l *Locker) enter(ctx context.Context, entry any) (int64, error) {
	data, err := evidence.CanonicalJSON(entry)
	if err != nil {
		return 0, fmt.Errorf("entering evidence in the log: %w", err)
	}
	at, err := l.ledger.Append(ctx, ledger.Entry{Log: LogName, Data: data})
	if err != nil {
		return 0, fmt.Errorf("entering evidence in the log: %w", err)
	}
	return at[0].Index, nil
}

// Index reads the log: every collection and every pack, in the order in which
// they were entered.
func (l *Locker) Index() ([]Collected, []PackBuilt, error) {
	var collected []Collected
	var packs []PackBuilt
	index := int64(-1)
	for data, err := range l.ledger.Entries(LogName, 0, l.ledger.Size(LogName)) {
		if err != nil {
			return nil, nil, fmt.Errorf("reading evidence log: %w", err)
		}
		index++
		var head struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(data, &head); err != nil {
			return nil, nil, fmt.Errorf("reading evidence log: entry %d: %w", index, err)
		}
		switch head.Type {
		case EntryCollected:
			var c Collected
			if err := json.Unmarshal(data, &c); err != nil {
				return nil, nil, fmt.Errorf("reading evidence log: entry %d: %w", index, err)
			}
			c.Index = index
			collected = append(collected, c)
		case EntryPackBuilt:
			var p PackBuilt
			if err := json.Unmarshal(data, &p); err != nil {
				return nil, nil, fmt.Errorf("reading evidence log: entry %d: %w", index, err)
			}
			p.Index = index
			packs = append(packs, p)
		}
	}
	return collected, packs, nil
}

// Get reads the evidence with this ID (the record's digest), without its raw
// replies, and checks its record and population against the digests that the
// ID commits to.
func (l *Locker) Get(id string) (evidence.Collected, error) {
	rec, err := l.Record(id)
	if err != nil {
		return evidence.Collected{}, err
	}
	lines, err := l.Read(rec.PopulationSHA256)
	if err != nil {
		return evidence.Collected{}, fmt.Errorf("reading evidence %s: population: %w", id, err)
	}
	e := rec.Evidence
	if e.Population, err = evidence.ParsePopulation(lines); err != nil {
		return evidence.Collected{}, fmt.Errorf("reading evidence %s: %w", id, err)
	}
	return evidence.Collected{ID: id, Evidence: e}, nil
}

// Record reads the record with this ID: it names the population and the raw
// replies that Open opens.
func (l *Locker) Record(id string) (evidence.Record, error) {
	data, err := l.Read(id)
	if err != nil {
		return evidence.Record{}, fmt.Errorf("reading evidence %s: %w", id, err)
	}
	var rec evidence.Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return evidence.Record{}, fmt.Errorf("reading evidence %s: %w", id, err)
	}
	return rec, nil
}

// Check reads every byte of the evidence with this ID, raw replies and all,
// and says what is missing or has changed.
func (l *Locker) Check(id string) error {
	rec, err := l.Record(id)
	if err != nil {
		return err
	}
	check := func(what, digest string) error {
		in, err := l.Open(digest)
		if err == nil {
			_, err = io.Copy(io.Discard, in)
			err = errors.Join(err, in.Close())
		}
		if err != nil {
			return fmt.Errorf("reading evidence %s: %s: %w", id, what, err)
		}
		return nil
	}
	failed := []error{check("population", rec.PopulationSHA256)}
	for _, f := range rec.RawFiles {
		failed = append(failed, check("reply "+f.Name, f.SHA256))
	}
	return errors.Join(failed...)
}

// ErrNotFound says that the locker has no such evidence.
var ErrNotFound = fmt.Errorf("not in the locker: %w", fs.ErrNotExist)

func (l *Locker) path(digest string) string {
	return filepath.Join(l.dir, "blobs", digest[:2], digest)
}

// Keep stores b durably and gives its digest. Until an entry names it, it is
// not evidence.
func (l *Locker) Keep(b []byte) (digest string, err error) {
	digest = evidence.SHA256Hex(b)
	return digest, l.putBlob(digest, b)
}

func (l *Locker) putBlob(digest string, b []byte) error {
	path := l.path(digest)
	// A blob that is there is kept only if it is whole: an earlier damage must
	// not be cited by a new entry.
	if have, err := os.ReadFile(path); err == nil && evidence.SHA256Hex(have) == digest {
		return durable.Disk{}.SyncDir(filepath.Dir(path)) // whoever wrote it may have died before this
	}
	if err := durable.MkdirIn(durable.Disk{}, filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keeping evidence: %w", err)
	}
	if err := durable.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("keeping evidence: %w", err)
	}
	return nil
}

// Open opens the bytes with this SHA-256 (hex). Reading them to their end gives
// an error instead of io.EOF where they have changed on disk.
func (l *Locker) Open(digest string) (io.ReadCloser, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("%q is no SHA-256 digest: %w", digest, ErrNotFound)
	}
	f, err := os.Open(l.path(digest))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &checked{File: f, digest: digest, sum: sha256.New()}, nil
}

// Read is what Open opens, whole.
func (l *Locker) Read(digest string) ([]byte, error) {
	in, err := l.Open(digest)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(in)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	return b, nil
}

func isDigest(s string) bool {
	if len(s) != sha256.Size*2 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// checked is a file whose digest is known.
type checked struct {
	*os.File
	digest string
	sum    hash.Hash
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.digest {
			return n, fmt.Errorf("its bytes have changed on disk: sha256 is %s", got)
		}
	}
	return n, err
}

// WriteTo keeps io.Copy from the file's own, which would read past the check.
func (c *checked) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}
