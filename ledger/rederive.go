package ledger

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// rederive hashes the entries anew, holds each kept hash and offset to that,
// and each signed head to the root at its size.
func (f *fsck) rederive(t *tree, heads []signedHead) (tlog.Hash, error) {
	size := t.size()
	d := derivation{f: f, t: t}
	entryBytes := int64(0)
	for ; len(heads) > 0 && heads[0].Size == 0; heads = heads[1:] {
		f.checkHead(t, heads[0], emptyRoot())
	}
	entries := bufio.NewReaderSize(&entryReader{t: t}, 1<<16)
	for n := int64(1); n <= size; n++ {
		entry, err := readEntry(entries)
		if errors.Is(err, errBadEntry) {
			f.problem(t.name, n-1, t.entries.name, "damaged at byte %d: %v", entryBytes, err)
			return tlog.Hash{}, nil
		}
		if err != nil {
			return tlog.Hash{}, err
		}
		entryBytes += int64(2 + len(entry))
		f.report.Entries++
		f.report.Bytes += int64(len(entry))
		d.next = n - 1
		d.edge.push(n-1, LeafHash(entry), d.compare)
		if d.err != nil {
			return tlog.Hash{}, d.err
		}
		for ; len(heads) > 0 && heads[0].Size == n; heads = heads[1:] {
			f.checkHead(t, heads[0], d.edge.root())
		}
		if n%tileWidth != 0 {
			continue
		}
		end, err := t.bundleEnd(n/tileWidth - 1)
		if err != nil {
			return tlog.Hash{}, err
		}
		if end != entryBytes {
			f.problem(t.name, n-1, t.index.name, "the bundle ends at byte %d, but the index says %d", entryBytes, end)
		}
		if f.o.Progress != nil {
			f.o.Progress(f.report.Entries)
		}
	}
	for _, h := range heads {
		f.problem(t.name, -1, h.file, "a checkpoint of size %d is signed, but the log holds %d entries", h.Size, size)
	}
	return d.edge.root(), nil
}

// entryReader reads the entries file from its beginning, without the index.
type entryReader struct {
	t  *tree
	at int64
}

func (r *entryReader) Read(b []byte) (int, error) {
	r.t.mu.RLock()
	n := min(int64(len(b)), r.t.entries.size()-r.at)
	if n <= 0 {
		r.t.mu.RUnlock()
		return 0, io.EOF
	}
	rest, err := r.t.entries.readAt(b[:n], r.at)
	r.t.mu.RUnlock()
	r.at += n
	return int(n), finish(rest, err)
}

var errBadEntry = errors.New("no entry stands here")

func readEntry(r io.Reader) ([]byte, error) {
	var size [2]byte
	_, err := io.ReadFull(r, size[:])
	if err == nil {
		entry := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err = io.ReadFull(r, entry); err == nil && len(entry) > 0 {
			return entry, nil
		}
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errBadEntry
	}
	return nil, err
}

// derivation compares a tree's hashes, as they are derived anew, with those
// kept, a tile at a time.
type derivation struct {
	f     *fsck
	t     *tree
	edge  frontier
	next  int64 // index of the leaf being pushed
	rows  [8][]byte
	count [8]int64 // hashes derived at each tile level
	err   error
}

func (d *derivation) compare(level int, h tlog.Hash) {
	if d.err != nil {
		return
	}
	n := d.count[level]
	d.count[level]++
	if n%tileWidth == 0 {
		width := min(tileWidth, d.t.size()>>(level*tileHeight)-n)
		if d.rows[level], d.err = d.t.readLevel(level, n, int(width)); d.err != nil {
			return
		}
	}
	at := n % tileWidth * tlog.HashSize
	if kept := tlog.Hash(d.rows[level][at : at+tlog.HashSize]); kept != h {
		d.f.problem(d.t.name, d.next, d.t.level(level).name, "hash %d (byte %d) is %s, but what %s holds hashes to %s", n, n*tlog.HashSize, hashText(kept), d.t.entries.name, hashText(h))
	}
}

// signedHead is a signed checkpoint and the file it stands in.
type signedHead struct {
	Checkpoint
	file string
}

func (f *fsck) checkHead(t *tree, h signedHead, root tlog.Hash) {
	if h.Root != root {
		f.problem(t.name, -1, h.file, "the checkpoint of size %d has root %s, but the entries hash to %s", h.Size, hashText(h.Root), hashText(root))
	}
}
