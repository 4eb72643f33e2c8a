package pack

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// The archive is the plainest zip there is (PKWARE APPNOTE 6.3.10): stored
// entries, one fixed time, no extra fields but zip64 where an offset needs
// it, no comments, no data descriptors. Writer and reader share the encoders
// below: the reader demands the very bytes that the writer would have written.
const (
	localSignature    = 0x04034b50
	centralSignature  = 0x02014b50
	endSignature      = 0x06054b50
	end64Signature    = 0x06064b50
	locator64         = 0x07064b50
	localHeaderSize   = 30
	centralHeaderSize = 46
	endSize           = 22
	end64Size         = 56
	locator64Size     = 20
	zipVersion        = 20
	zipVersion64      = 45
	madeByUnix        = 3<<8 | zipVersion
	fixedDate         = 1<<5 | 1 // 1980-01-01; the time is 0
	regularFile       = 0o100644 << 16
	maxFileSize       = math.MaxUint32 - 1
)

// entry is one stored file of the archive.
type entry struct {
	name   string
	crc    uint32
	size   int64
	offset int64 // of the local header
}

func (e entry) bodyOffset() int64 { return e.offset + localHeaderSize + int64(len(e.name)) }
func (e entry) end() int64        { return e.bodyOffset() + e.size }

func u16(b []byte, values ...uint16) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

func u32(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func u64(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func (e entry) localHeader() []byte { return e.appendLocal(nil) }

// appendLocal appends the header before the entry's body.
func (e entry) appendLocal(b []byte) []byte {
	b = u32(b, localSignature)
	b = u16(b, zipVersion, 0, 0, 0, fixedDate) // flags, method: store, time
	b = u32(b, e.crc, uint32(e.size), uint32(e.size))
	b = u16(b, uint16(len(e.name)), 0)
	return append(b, e.name...)
}

func (e entry) centralHeader() []byte { return e.appendCentral(nil) }

// appendCentral appends the entry's header in the directory.
func (e entry) appendCentral(b []byte) []byte {
	version, offset, extra := uint16(zipVersion), uint32(math.MaxUint32), uint16(0)
	if e.offset >= math.MaxUint32 {
		version, extra = zipVersion64, 12
	} else {
		offset = uint32(e.offset)
	}
	b = u32(b, centralSignature)
	b = u16(b, madeByUnix, version, 0, 0, 0, fixedDate)
	b = u32(b, e.crc, uint32(e.size), uint32(e.size))
	b = u16(b, uint16(len(e.name)), extra, 0, 0, 0)
	b = u32(b, regularFile, offset)
	b = append(b, e.name...)
	if extra > 0 {
		b = u64(u16(b, 1, 8), uint64(e.offset))
	}
	return b
}

// endRecords gives what follows the central directory: the end record, with
// the zip64 records before it where a figure does not fit.
func endRecords(count, dirOffset, dirSize int64) []byte {
	var b []byte
	if count >= math.MaxUint16 || dirOffset >= math.MaxUint32 || dirSize >= math.MaxUint32 {
		b = u64(u32(b, end64Signature), end64Size-12)
		b = u16(b, madeByUnix&^0xff|zipVersion64, zipVersion64)
		b = u64(u32(b, 0, 0), uint64(count), uint64(count), uint64(dirSize), uint64(dirOffset))
		b = u32(u64(u32(b, locator64, 0), uint64(dirOffset+dirSize)), 1)
	}
	n := uint16(min(count, math.MaxUint16))
	b = u16(u32(b, endSignature), 0, 0, n, n)
	return u16(u32(b, uint32(min(dirSize, math.MaxUint32)), uint32(min(dirOffset, math.MaxUint32))), 0)
}

// zipWriter writes entries in the order they are given. It keeps no body.
type zipWriter struct {
	w       io.Writer
	offset  int64
	entries []entry
}

func (z *zipWriter) write(b []byte) error {
	n, err := z.w.Write(b)
	z.offset += int64(n)
	return err
}

// add writes one file whose CRC-32 is crc.
func (z *zipWriter) add(name string, crc uint32, body []byte) error {
	return z.addFrom(name, sums{size: int64(len(body)), crc: crc}, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
}

// addFrom writes one file that write writes, of the size and CRC-32 that were
// seen before. What write wrote otherwise it cannot take back: the archive is
// none then.
func (z *zipWriter) addFrom(name string, seen sums, write func(io.Writer) error) error {
	if seen.size > maxFileSize {
		return fmt.Errorf("writing %s: %d bytes, more than a pack's file may have", name, seen.size)
	}
	e := entry{name: name, crc: seen.crc, size: seen.size, offset: z.offset}
	if err := z.write(e.localHeader()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	body := &zipBody{z: z}
	if err := write(body); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if z.offset != e.end() || body.crc != e.crc {
		return fmt.Errorf("writing %s: %d bytes with CRC-32 %08x, before it were %d with %08x: it changed while the pack was built", name, z.offset-e.bodyOffset(), body.crc, e.size, e.crc)
	}
	z.entries = append(z.entries, e)
	return nil
}

// zipBody takes the bytes of a file.
type zipBody struct {
	z   *zipWriter
	crc uint32
}

func (b *zipBody) Write(p []byte) (int, error) {
	b.crc = crc32.Update(b.crc, crc32.IEEETable, p)
	return len(p), b.z.write(p)
}

// close writes the central directory and the end records.
func (z *zipWriter) close() error {
	start := z.offset
	for _, e := range z.entries {
		if err := z.write(e.centralHeader()); err != nil {
			return fmt.Errorf("writing the archive's directory: %w", err)
		}
	}
	if err := z.write(endRecords(int64(len(z.entries)), start, z.offset-start)); err != nil {
		return fmt.Errorf("writing the archive's end: %w", err)
	}
	return nil
}
