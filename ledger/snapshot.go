package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

// A snapshot's file: magic "tpsnap02", then pieces, each of its length (u32),
// its bytes and a seal. The first is the header, JSON; those after it are the
// state; an empty one ends it, and nothing follows. A seal is the HMAC-SHA-256
// of the seal before, the length and the bytes, under a key derived from the
// seed: nobody without it can give the process a state that the logs do not,
// and no byte of the state is passed on before it was checked.
const (
	snapshotDir    = "snapshots"
	snapshotSuffix = ".snap"
	snapshotMagic  = "tpsnap02"
	snapshotPiece  = 1 << 20
)

// ErrSnapshot is what OpenSnapshot and reading answer for a snapshot that
// cannot be relied on: fold the logs instead.
var ErrSnapshot = errors.New("the snapshot is of no use")

// Snapshot is a state that was folded from the logs: what the entries up to
// the sizes made of it. It holds nothing that does not follow from them, so
// deleting it costs time and nothing else. Reading gives the state, and ends
// with io.EOF when all of it was checked, or with an ErrSnapshot: then what
// was read before is of no use either.
type Snapshot struct {
	Time  time.Time
	Sizes map[string]int64 // of the logs, by name

	file  durable.File
	in    io.Reader
	seal  sealer
	piece []byte // room for one
	left  []byte // of it, not yet read
	err   error
}

type snapshotHeader struct {
	Name string                 `json:"name"`
	Time time.Time              `json:"time"`
	Logs map[string]snapshotLog `json:"logs"`
}

type snapshotLog struct {
	Size int64  `json:"size"`
	Root string `json:"root"` // base64
}

// SaveSnapshot keeps what write writes as the snapshot of that name, which is
// written as a log's name is. It binds it to the roots that the logs have at
// the sizes; a log that is left out has none. Until it returns nil the
// snapshot before it stands. That it fails does not end appending.
func (l *Ledger) SaveSnapshot(name string, sizes map[string]int64, write func(io.Writer) error) error {
	if err := l.enter(); err != nil {
		return fmt.Errorf("saving snapshot: %w", err)
	}
	defer l.inflight.Done()
	if err := l.saveSnapshot(name, sizes, write); err != nil {
		return fmt.Errorf("saving snapshot %s: %w", name, err)
	}
	return nil
}

func (l *Ledger) saveSnapshot(name string, sizes map[string]int64, write func(io.Writer) error) error {
	if err := CheckLogName(name); err != nil {
		return err
	}
	h := snapshotHeader{name, l.now().UTC(), map[string]snapshotLog{}}
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
	dir := filepath.Join(l.dir, snapshotDir)
	if err := durable.MkdirIn(l.fsys, dir, 0o700); err != nil {
		return err
	}
	return durable.WriteIn(l.fsys, filepath.Join(dir, name+snapshotSuffix), 0o600, func(out io.Writer) error {
		p := &pieceWriter{out: out, seal: l.sealer(), b: append(make([]byte, 0, snapshotPiece+64), snapshotMagic...)}
		p.open()
		p.b = append(p.b, header...)
		if err := p.close(); err != nil {
			return err
		}
		if err := write(p); err != nil {
			return err
		}
		return p.end()
	})
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

// sealer makes one seal after the other.
type sealer struct {
	mac  hash.Hash
	last []byte
}

func (l *Ledger) sealer() sealer {
	derive := hmac.New(sha256.New, l.options.Seed)
	derive.Write([]byte("trustpack snapshot v2\n" + l.options.Instance))
	return sealer{hmac.New(sha256.New, derive.Sum(nil)), []byte(snapshotMagic)}
}

// next seals a piece with its length before it.
func (s *sealer) next(piece []byte) []byte {
	s.mac.Reset()
	s.mac.Write(s.last)
	s.mac.Write(piece)
	s.last = s.mac.Sum(s.last[:0])
	return s.last
}

// pieceWriter cuts what it is given into pieces.
type pieceWriter struct {
	out  io.Writer
	seal sealer
	b    []byte // not yet written, with the piece at its end
	at   int    // where the piece begins in b, with its length
}

func (p *pieceWriter) open() {
	p.at = len(p.b)
	p.b = append(p.b, 0, 0, 0, 0)
}

func (p *pieceWriter) close() error {
	piece := p.b[p.at:]
	binary.BigEndian.PutUint32(piece, uint32(len(piece)-4))
	p.b = append(p.b, p.seal.next(piece)...)
	_, err := p.out.Write(p.b)
	p.b = p.b[:0]
	p.open()
	return err
}

func (p *pieceWriter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), snapshotPiece-(len(p.b)-p.at-4))
		p.b, rest = append(p.b, rest[:n]...), rest[n:]
		if len(p.b)-p.at-4 == snapshotPiece {
			if err := p.close(); err != nil {
				return len(b) - len(rest), err
			}
		}
	}
	return len(b), nil
}

// end writes what is left, and the empty piece.
func (p *pieceWriter) end() error {
	if len(p.b)-p.at > 4 {
		if err := p.close(); err != nil {
			return err
		}
	}
	return p.close()
}

// OpenSnapshot opens the snapshot of that name; the caller closes it. There is
// none: ErrNotFound. It is damaged, or was sealed under another seed, or by
// another version, or the logs have less than it says or other entries:
// ErrSnapshot. Either way the logs say it all.
func (l *Ledger) OpenSnapshot(name string) (*Snapshot, error) {
	s, err := l.openSnapshot(name)
	if err != nil {
		return nil, fmt.Errorf("opening snapshot %q: %w", name, err)
	}
	return s, nil
}

func (l *Ledger) openSnapshot(name string) (*Snapshot, error) {
	if err := CheckLogName(name); err != nil {
		return nil, err
	}
	f, err := l.fsys.OpenFile(filepath.Join(l.dir, snapshotDir, name+snapshotSuffix), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	s := &Snapshot{file: f, seal: l.sealer(), Sizes: map[string]int64{}}
	if err := l.begin(s, name); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrSnapshot, err), f.Close())
	}
	return s, nil
}

// begin reads magic and header, and holds the latter to the logs.
func (l *Ledger) begin(s *Snapshot, name string) error {
	if l.options.Seed == nil {
		return errors.New("the ledger was opened without the seed that its seals are made with")
	}
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	s.in = io.NewSectionReader(s.file, 0, size)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(s.in, magic); err != nil || string(magic) != snapshotMagic {
		return errors.New("it does not begin as a snapshot of this version does")
	}
	header, err := s.next(size)
	if err != nil {
		return err
	}
	var h snapshotHeader
	if err := json.Unmarshal(header, &h); err != nil {
		return fmt.Errorf("reading its header: %w", err)
	}
	if h.Name != name {
		return fmt.Errorf("it is snapshot %q under another name", h.Name)
	}
	s.Time = h.Time
	for log, at := range h.Logs {
		root, err := l.rootOf(log, at.Size)
		if err == nil && hashText(root) != at.Root {
			err = fmt.Errorf("the first %d entries of log %s hash to %s, not to %s", at.Size, log, hashText(root), at.Root)
		}
		if err != nil {
			return err
		}
		s.Sizes[log] = at.Size
	}
	return nil
}

// next reads a piece of at most limit bytes and checks its seal. The bytes are
// good until it is called again.
func (s *Snapshot) next(limit int64) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(s.in, length[:]); err != nil {
		return nil, fmt.Errorf("it is cut off: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > limit {
		return nil, fmt.Errorf("a piece of it claims to have %d bytes", n)
	}
	piece := append(slices.Grow(s.piece[:0], 4+int(n)+sha256.Size), length[:]...)
	piece = piece[:4+n+sha256.Size]
	s.piece = piece
	if _, err := io.ReadFull(s.in, piece[4:]); err != nil {
		return nil, fmt.Errorf("it is cut off: %w", err)
	}
	if !hmac.Equal(s.seal.next(piece[:4+n]), piece[4+n:]) {
		return nil, errors.New("it was changed, or sealed with another seed")
	}
	return piece[4 : 4+n], nil
}

// Read reads on in the state.
func (s *Snapshot) Read(b []byte) (int, error) {
	if len(s.left) == 0 && s.err == nil {
		if s.left, s.err = s.next(snapshotPiece); s.err != nil {
			s.err = fmt.Errorf("reading a snapshot: %w: %w", ErrSnapshot, s.err)
		} else if len(s.left) == 0 {
			s.err = io.EOF
			if n, _ := s.in.Read(make([]byte, 1)); n > 0 {
				s.err = fmt.Errorf("reading a snapshot: %w: something follows its end", ErrSnapshot)
			}
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(b, s.left)
	s.left = s.left[n:]
	return n, nil
}

// Close lets go of the file.
func (s *Snapshot) Close() error { return s.file.Close() }
