package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// The journal's bytes, without the stamps that end each sector of the file (see
// sector.go). All integers are big-endian.
//
// A segment is a header and the groups after it; a group is what one fsync
// made durable; its body is runs, each the entries that go to one log in
// order. The bytes of a run's entries are those of a c2sp.org/tlog-tiles entry
// bundle, so they are copied to the log's entries file as they stand.
//
//	segment header, 64 bytes:
//	   0  magic "tpledger"     8  version, u32         12  zeros
//	  16  segment number, u64  24  marker, 8 random bytes
//	  32  zeros                60  CRC-32C of bytes 0 to 60, u32
//	group, 28 bytes and a body:
//	   0  the segment's marker  8  group number, u64   16  body length, u32
//	  20  CRC of the group before, u32                 24  CRC-32C of bytes 0 to 24 and body, u32
//	run:
//	   0  name length, u8; name; index of the first entry, u64; entries, u32; bytes, u32;
//	      each entry: length, u16; data
//	run of which an entry has a payload: to the name length 128 is added, and there are
//	      behind the bytes:       UTC day, u32; time of the commit, Unix nanoseconds, u64; bytes, u32
//	      behind the last entry:  for each entry, length of its payload or 0, u16; payload
//	run that says what the entry before it purges:
//	   0  64, u8; length, u16; a Purge in canonical JSON
//
// A segment is made at its full length before it is needed, of zeros or out of
// one that is not needed any more, because a sync is cheap where no block and
// no length is new. So what stands behind its last group is of no meaning, but
// for the stamps. The
// marker is drawn anew for each segment, so that no entry's data and no
// earlier use of the same disk space can pass for a group. Where a segment
// begins in the chain is said by its first group.
const (
	segmentMagic      = "tpledger"
	segmentVersion    = 5
	withoutPayloads   = 3 // the version that knew none is read; 4, whose salts were others, is not
	segmentHeaderSize = 64
	groupHeaderSize   = 28
	markerSize        = 8
	maxGroupBody      = 1 << 28
	maxEntry          = 1<<16 - 1
	runHeaderSize     = 16
	payloadHeaderSize = 16
	runPayloads       = 0x80
	runPurge          = 0x40
)

type marker [markerSize]byte

// segmentHeader is how a segment begins.
type segmentHeader struct {
	number uint64
	marker marker
}

// The Castagnoli table is the standard library's, which makes it once.
func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func (h segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderSize)
	copy(b, segmentMagic)
	binary.BigEndian.PutUint32(b[8:], segmentVersion)
	binary.BigEndian.PutUint64(b[16:], h.number)
	copy(b[24:], h.marker[:])
	binary.BigEndian.PutUint32(b[60:], castagnoli(b[:60]))
	return b
}

func parseSegmentHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	if len(b) < segmentHeaderSize {
		return h, fmt.Errorf("%d bytes are too few for a segment's header", len(b))
	}
	if string(b[:8]) != segmentMagic {
		return h, errors.New("it does not begin as a journal segment does")
	}
	if castagnoli(b[:60]) != binary.BigEndian.Uint32(b[60:]) {
		return h, errors.New("the checksum of its header is wrong")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != segmentVersion && v != withoutPayloads {
		return h, fmt.Errorf("it has format version %d; this program reads versions %d and %d", v, withoutPayloads, segmentVersion)
	}
	h.number = binary.BigEndian.Uint64(b[16:])
	copy(h.marker[:], b[24:])
	if h.number == 0 {
		return h, errors.New("its header counts from 0")
	}
	return h, nil
}

// sealGroup fills in the header of a group whose body is the parts one after
// the other, and gives the group's CRC.
func sealGroup(header []byte, m marker, number uint64, prevCRC uint32, body ...[]byte) uint32 {
	size := 0
	for _, part := range body {
		size += len(part)
	}
	copy(header, m[:])
	binary.BigEndian.PutUint64(header[8:], number)
	binary.BigEndian.PutUint32(header[16:], uint32(size))
	binary.BigEndian.PutUint32(header[20:], prevCRC)
	crc := groupCRC(header, body...)
	binary.BigEndian.PutUint32(header[24:], crc)
	return crc
}

func groupCRC(header []byte, body ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Checksum(header[:24], table)
	for _, part := range body {
		crc = crc32.Update(crc, table, part)
	}
	return crc
}

// group is a parsed group; body is a part of the bytes it was read from.
type group struct {
	number  uint64
	prevCRC uint32
	crc     uint32
	body    []byte
}

// parseGroup reads the group at the beginning of b and gives its length. It
// holds the group's own checksum, not its place in the chain.
func parseGroup(b []byte, m marker) (group, int, error) {
	if len(b) < groupHeaderSize {
		return group{}, 0, fmt.Errorf("%d bytes are too few for a group's header", len(b))
	}
	if !bytes.Equal(b[:markerSize], m[:]) {
		return group{}, 0, errors.New("no group begins here")
	}
	size := int64(binary.BigEndian.Uint32(b[16:]))
	if size > maxGroupBody || size > int64(len(b)-groupHeaderSize) {
		return group{}, 0, fmt.Errorf("group of %d bytes is cut off", size)
	}
	whole := b[:groupHeaderSize+int(size)]
	g := group{
		number:  binary.BigEndian.Uint64(b[8:]),
		prevCRC: binary.BigEndian.Uint32(b[20:]),
		crc:     binary.BigEndian.Uint32(b[24:]),
		body:    whole[groupHeaderSize:],
	}
	if groupCRC(whole, g.body) != g.crc {
		return group{}, 0, errors.New("checksum of a group is wrong")
	}
	return g, len(whole), nil
}

// run is the entries of a group that go to one log one after the other.
type run struct {
	log     string
	first   int64
	count   int
	entries []byte // an entry bundle: u16 length and data of each

	payloads []byte // as many, as a bundle; nil where no entry has one
	day      utcDay
	received int64 // Unix time in nanoseconds

	purge *Purge // where it is no run of entries, but what the one before erases
}

// parseRuns reads a group's body and calls each for every run in order.
func parseRuns(body []byte, each func(run) error) error {
	for len(body) > 0 {
		r, rest, err := parseRun(body)
		if err != nil {
			return err
		}
		if err := each(r); err != nil {
			return err
		}
		body = rest
	}
	return nil
}

// parseRun takes the first run off a group's body.
func parseRun(body []byte) (r run, rest []byte, err error) {
	if body[0] == runPurge {
		return parsePurgeRun(body)
	}
	withPayload, nameLen, header := body[0]&runPayloads != 0, int(body[0]&^runPayloads), runHeaderSize
	if withPayload {
		header += payloadHeaderSize
	}
	if len(body) < 1+nameLen+header {
		return r, nil, errors.New("run is cut off")
	}
	r.log = string(body[1 : 1+nameLen])
	if err := CheckLogName(r.log); err != nil {
		return r, nil, err
	}
	h := body[1+nameLen : 1+nameLen+header]
	body = body[1+nameLen+header:]
	first := binary.BigEndian.Uint64(h)
	count, size := binary.BigEndian.Uint32(h[8:]), binary.BigEndian.Uint32(h[12:])
	if first > 1<<62 || count == 0 || int64(size) > int64(len(body)) {
		return r, nil, errors.New("run has an impossible index, count or size")
	}
	r.first, r.count, r.entries, body = int64(first), int(count), body[:size], body[size:]
	if err := checkBundle(r.entries, r.count, 1); err != nil || !withPayload {
		return r, body, err
	}
	h = h[runHeaderSize:]
	day, received := binary.BigEndian.Uint32(h), binary.BigEndian.Uint64(h[4:])
	size = binary.BigEndian.Uint32(h[12:])
	if day > maxDay || received > math.MaxInt64 || int64(size) > int64(len(body)) {
		return r, nil, errors.New("run has payloads of an impossible day, time or size")
	}
	r.day, r.received, r.payloads, body = utcDay(day), int64(received), body[:size:size], body[size:]
	if err := checkBundle(r.payloads, r.count, 0); err != nil {
		return r, nil, err
	}
	for entries, payloads := r.entries, r.payloads; len(entries) > 0; {
		var data, payload []byte
		data, entries = nextEntry(entries)
		payload, payloads = nextEntry(payloads)
		if len(payload) == 0 {
			continue
		}
		if err := checkPayload(data, payload); err != nil {
			return r, nil, fmt.Errorf("entry with a payload: %w", err)
		}
	}
	return r, body, nil
}

// checkBundle holds a bundle to its count of entries of at least that size.
func checkBundle(bundle []byte, count, least int) error {
	n := 0
	for ; len(bundle) > 0; n++ {
		entry, rest, err := cutEntry(bundle)
		if err != nil {
			return err
		}
		if len(entry) < least {
			return errors.New("run holds an empty entry")
		}
		bundle = rest
	}
	if n != count {
		return fmt.Errorf("run of %d entries says it holds %d", n, count)
	}
	return nil
}

// cutEntry takes the first entry off an entry bundle.
func cutEntry(bundle []byte) (entry, rest []byte, err error) {
	if len(bundle) < 2 {
		return nil, nil, errors.New("entry bundle ends within a length")
	}
	size := int(binary.BigEndian.Uint16(bundle))
	if len(bundle) < 2+size {
		return nil, nil, errors.New("entry bundle ends within an entry")
	}
	return bundle[2 : 2+size : 2+size], bundle[2+size:], nil
}
