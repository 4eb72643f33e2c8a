package ledger

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// The entries file is zstd frames (RFC 8878) one after the other, each with
// its checksum: what it decompresses to is the log's entry bundles. A frame
// never reaches over the end of a bundle; a bundle is one frame, or several
// where the file was brought up to the journal while the bundle was growing.

// maxBundle is the length of the longest bundle.
const maxBundle = tileWidth * (2 + maxEntry)

// packer compresses and decompresses bundles. It may be used by many
// goroutines.
type packer struct {
	in  *zstd.Encoder
	out *zstd.Decoder
}

func newPacker() (*packer, error) {
	in, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("setting up compression: %w", err)
	}
	out, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBundle))
	if err != nil {
		return nil, fmt.Errorf("setting up decompression: %w", err)
	}
	return &packer{in, out}, nil
}

// pack appends the frame of a bundle, or of a part of one, to b.
func (p *packer) pack(b, bundle []byte) []byte { return p.in.EncodeAll(bundle, b) }

// unpack is what the frames hold.
func (p *packer) unpack(frames []byte) ([]byte, error) { return p.out.DecodeAll(frames, nil) }

// firstEntries is the first count entries of a bundle.
func firstEntries(bundle []byte, count int) ([]byte, error) {
	rest := bundle
	for range count {
		var err error
		if _, rest, err = cutEntry(rest); err != nil {
			return nil, err
		}
	}
	return bundle[:len(bundle)-len(rest)], nil
}

// leaves is the bundle of the given number as the tree hashes it and others
// read it: each entry with its commitment.
func (t *tree) leaves(number int64) ([]byte, error) {
	bundle, err := t.bundle(number)
	if err != nil {
		return nil, err
	}
	count, err := entriesIn(bundle)
	if err != nil || count == 0 {
		return bundle, err
	}
	commitments, err := t.readCommitments(number*tileWidth, count)
	if err != nil || commitments == nil {
		return bundle, err
	}
	out := make([]byte, 0, len(bundle)+count*(maxEntry-maxWithPayload))
	for i := range commitments {
		var data []byte
		data, bundle = nextEntry(bundle)
		at := len(out)
		out = appendLeaf(append(out, 0, 0), data, &commitments[i])
		size := len(out) - at - 2
		if size > maxEntry {
			return nil, &DamageError{File: t.payloads.commitments.name, Offset: -1, Reason: fmt.Sprintf("entry %d is too long to commit to a payload", number*tileWidth+int64(i))}
		}
		binary.BigEndian.PutUint16(out[at:], uint16(size))
	}
	return out, nil
}

// entriesIn counts the entries of a bundle.
func entriesIn(bundle []byte) (n int, err error) {
	for ; len(bundle) > 0; n++ {
		if _, bundle, err = cutEntry(bundle); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// read is a bundle kept after it was read.
type read struct {
	number int64
	bundle []byte
}

// bundle reads the bundle of the given number as far as the log has it now:
// at most 256 entries with their lengths before them.
func (t *tree) bundle(number int64) ([]byte, error) {
	if r := t.lastRead.Load(); r != nil && r.number == number {
		return r.bundle, nil
	}
	t.mu.RLock()
	stored, end := t.stored, t.entries.flushed
	var waiting []byte
	if i := number - stored/tileWidth; i >= 0 && i < int64(len(t.open)) {
		waiting = append(waiting, t.open[i]...)
	}
	t.mu.RUnlock()
	if number*tileWidth >= stored {
		return waiting, nil
	}
	isFull := (number+1)*tileWidth <= stored
	if isFull {
		var err error
		if end, err = t.bundleEnd(number); err != nil {
			return nil, err
		}
	}
	bundle, err := t.unpack(number, end)
	if err != nil {
		return nil, err
	}
	if isFull {
		t.lastRead.Store(&read{number, bundle})
	}
	return append(bundle, waiting...), nil
}

// unpack reads the frames of a bundle, which end where it is said.
func (t *tree) unpack(number, end int64) ([]byte, error) {
	start := int64(0)
	if number > 0 {
		var err error
		if start, err = t.bundleEnd(number - 1); err != nil {
			return nil, err
		}
	}
	t.mu.RLock()
	there := t.entries.flushed
	t.mu.RUnlock()
	if start < 0 || end <= start || end > there || end-start > 2*maxBundle {
		return nil, &DamageError{File: t.index.name, Offset: max(0, number-1) * 8, Reason: fmt.Sprintf("bundle %d cannot begin at %d and end at %d", number, start, end)}
	}
	frames := make([]byte, end-start)
	t.mu.RLock()
	rest, err := t.entries.readAt(frames, start)
	t.mu.RUnlock()
	if err := finish(rest, err); err != nil {
		return nil, err
	}
	bundle, err := t.packer.unpack(frames)
	if err != nil {
		return nil, &DamageError{File: t.entries.name, Offset: start, Reason: fmt.Sprintf("bundle %d, which ends at byte %d by %s, cannot be decompressed: %v", number, end, t.index.name, err)}
	}
	return bundle, nil
}
