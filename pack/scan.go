package pack

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Limits bound what reading a pack may cost. Zero means the default.
type Limits struct {
	MaxEntries int   // default 1,000,000
	MaxBytes   int64 // of the archive; default 64 GiB
	MaxRead    int64 // of a file that is read whole (records, populations, bundles of log entries, JSON); default 256 MiB
}

const (
	defaultMaxEntries = 1_000_000
	defaultMaxBytes   = 64 << 30
	defaultMaxRead    = 256 << 20
)

func (l Limits) orDefault() Limits {
	if l.MaxEntries <= 0 {
		l.MaxEntries = defaultMaxEntries
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = defaultMaxBytes
	}
	if l.MaxRead <= 0 {
		l.MaxRead = defaultMaxRead
	}
	return l
}

// file is an entry as the reader found it, with what the manifest says of it.
type file struct {
	entry
	at     int64    // where its body begins
	packed int64    // bytes that the body takes
	want   [32]byte // SHA-256 by the manifest
	method uint16   // anything but 0 (store) has failed already
	listed bool     // in the manifest
}

// archive is what scan found. Its files can be read for diagnosis even where
// their headers are not what they must be.
type archive struct {
	r         io.ReaderAt
	size      int64
	dirOffset int64
	limits    Limits
	files     []file
	sorted    bool           // files are in the format's order
	names     map[string]int // by name, the first of that name; where they are not sorted
}

// find gives the place of an entry in files.
func (a *archive) find(name string) (int, bool) {
	if !a.sorted {
		i, ok := a.names[name]
		return i, ok
	}
	i, ok := slices.BinarySearchFunc(a.files, name, func(f file, name string) int { return compareNames(f.name, name) })
	return i, ok
}

// arena keeps names together, with less memory than each alone takes.
type arena struct{ b strings.Builder }

func (a *arena) keep(p []byte) string {
	if a.b.Cap()-a.b.Len() < len(p) {
		a.b = strings.Builder{}
		a.b.Grow(max(64<<10, len(p)))
	}
	at := a.b.Len()
	a.b.Write(p)
	return a.b.String()[at:]
}

// scanProblem is one thing that is wrong with the archive's structure.
type scanProblem struct {
	check    string // checkLayout or checkNames
	path     string
	expected string
	actual   string
}

// scan reads the structure of the archive from its directory. It goes on after
// a problem where there is something left to read; an error means that there
// is not. The headers before the bodies are left to walk, but for those that
// do not stand where they must.
func scan(r io.ReaderAt, size int64, limits Limits, problem func(scanProblem)) (*archive, error) {
	limits = limits.orDefault()
	if size > limits.MaxBytes {
		return nil, fmt.Errorf("%d bytes, more than the limit of %d", size, limits.MaxBytes)
	}
	count, dirOffset, dirSize, err := readEnd(r, size)
	if err != nil {
		return nil, err
	}
	if count > int64(limits.MaxEntries) {
		return nil, fmt.Errorf("%d entries, more than the limit of %d", count, limits.MaxEntries)
	}
	if dirSize < count*centralHeaderSize {
		return nil, fmt.Errorf("%d entries in a directory of %d bytes: it cannot hold them", count, dirSize)
	}
	a := &archive{r: r, size: size, dirOffset: dirOffset, limits: limits, files: make([]file, 0, count)}
	if err := a.readDirectory(count, dirOffset, dirSize, problem); err != nil {
		return nil, err
	}
	if err := a.checkBodies(problem); err != nil {
		return nil, err
	}
	a.checkNames(problem)
	return a, nil
}

// readEnd finds the central directory through the records that must be the
// very last bytes.
func readEnd(r io.ReaderAt, size int64) (count, dirOffset, dirSize int64, err error) {
	fail := func(format string, args ...any) (int64, int64, int64, error) {
		return 0, 0, 0, fmt.Errorf(format, args...)
	}
	tail := make([]byte, min(size, endSize+locator64Size+end64Size))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, 0, fmt.Errorf("reading the archive's end: %w", err)
	}
	if len(tail) < endSize {
		return fail("%d bytes, too short for a zip archive", size)
	}
	end := tail[len(tail)-endSize:]
	le := binary.LittleEndian
	if le.Uint32(end) != endSignature {
		return fail("no end record in the last %d bytes: the archive is cut off, is no zip, or something follows it", endSize)
	}
	count, dirSize, dirOffset = int64(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	if count == math.MaxUint16 || dirSize == math.MaxUint32 || dirOffset == math.MaxUint32 {
		if len(tail) < endSize+locator64Size+end64Size || le.Uint32(tail) != end64Signature {
			return fail("the end record points to zip64 records that do not stand before it")
		}
		c, s, o := le.Uint64(tail[32:]), le.Uint64(tail[40:]), le.Uint64(tail[48:])
		if c > math.MaxInt32 || s > uint64(size) || o > uint64(size) {
			return fail("the zip64 end record gives %d entries, directory of %d bytes at %d, in an archive of %d bytes", c, s, o, size)
		}
		count, dirSize, dirOffset = int64(c), int64(s), int64(o)
	}
	want := endRecords(count, dirOffset, dirSize)
	if len(want) > len(tail) || !bytes.Equal(want, tail[len(tail)-len(want):]) {
		return fail("the end record is not the one form it can have: a comment, a split archive, or figures that disagree")
	}
	if got := dirOffset + dirSize + int64(len(want)); got != size {
		return fail("the archive says it is %d bytes long, it is %d: something stands before it, in it or after it", got, size)
	}
	return count, dirOffset, dirSize, nil
}

// readDirectory reads the central directory, which must fill its place exactly.
func (a *archive) readDirectory(count, offset, size int64, problem func(scanProblem)) error {
	in := bufio.NewReaderSize(io.NewSectionReader(a.r, offset, size), 64<<10)
	le := binary.LittleEndian
	var left = size
	var buf, want []byte
	var names arena
	for n := range count {
		buf = slices.Grow(buf[:0], centralHeaderSize)[:centralHeaderSize]
		if _, err := io.ReadFull(in, buf); err != nil {
			return fmt.Errorf("reading the archive's directory: entry %d of %d: %w", n+1, count, cutOff(err))
		}
		if le.Uint32(buf) != centralSignature {
			return fmt.Errorf("reading the archive's directory: entry %d of %d is none", n+1, count)
		}
		nameLen, extraLen, commentLen := int(le.Uint16(buf[28:])), int(le.Uint16(buf[30:])), int(le.Uint16(buf[32:]))
		buf = slices.Grow(buf, nameLen+extraLen+commentLen)[:centralHeaderSize+nameLen+extraLen+commentLen]
		if _, err := io.ReadFull(in, buf[centralHeaderSize:]); err != nil {
			return fmt.Errorf("reading the archive's directory: entry %d of %d: %w", n+1, count, cutOff(err))
		}
		left -= int64(len(buf))
		f := file{
			entry: entry{
				name: names.keep(buf[centralHeaderSize : centralHeaderSize+nameLen]),
				crc:  le.Uint32(buf[16:]), size: int64(le.Uint32(buf[24:])), offset: int64(le.Uint32(buf[42:])),
			},
			packed: int64(le.Uint32(buf[20:])), method: le.Uint16(buf[10:]),
		}
		if extra := buf[centralHeaderSize+nameLen:][:extraLen]; f.offset == math.MaxUint32 && extraLen == 12 {
			if o := le.Uint64(extra[4:]); o < math.MaxInt64/2 {
				f.offset = int64(o)
			}
		}
		if want = f.appendCentral(want[:0]); !bytes.Equal(want, buf) {
			problem(scanProblem{checkLayout, f.name, "the one form a directory entry can have", describeHeader("directory entry", centralFields(), want, buf)})
		}
		a.files = append(a.files, f)
	}
	if left != 0 {
		return fmt.Errorf("reading the archive's directory: %d bytes are left after its %d entries", left, count)
	}
	return nil
}

// checkBodies demands that each entry begins where the one before it ended,
// and the directory where the last ended.
func (a *archive) checkBodies(problem func(scanProblem)) error {
	at, total := int64(0), int64(0)
	for i := range a.files {
		f := &a.files[i]
		if f.offset+localHeaderSize > a.dirOffset {
			return fmt.Errorf("%q lies at byte %d, in or after the directory", f.name, f.offset)
		}
		f.at = f.bodyOffset()
		if f.offset != at {
			problem(scanProblem{checkLayout, f.name, fmt.Sprintf("at byte %d, where the entry before it ends", at), fmt.Sprintf("at byte %d: a gap with something hidden, an overlap, or another order", f.offset)})
			if err := a.readHeader(f); err != nil {
				return err
			}
		}
		at = f.at + f.packed
		if at > a.dirOffset {
			return fmt.Errorf("%q reaches to byte %d, past the directory at %d", f.name, at, a.dirOffset)
		}
		if total += max(f.size, f.packed); total > a.limits.MaxBytes || f.method == 0 && total > a.size && f.size > f.packed {
			return fmt.Errorf("the entries hold more than the archive: %q and others overlap or unpack to %d bytes", f.name, total)
		}
	}
	if at != a.dirOffset {
		problem(scanProblem{checkLayout, "", fmt.Sprintf("directory at byte %d, where the last entry ends", at), fmt.Sprintf("directory at byte %d", a.dirOffset)})
	}
	return nil
}

// readHeader finds the body of a file that does not stand where it must.
func (a *archive) readHeader(f *file) error {
	var got [localHeaderSize]byte
	if _, err := a.r.ReadAt(got[:], f.offset); err != nil {
		return fmt.Errorf("reading the header of %q: %w", f.name, cutOff(err))
	}
	f.at = f.offset + localHeaderSize + int64(binary.LittleEndian.Uint16(got[26:])) + int64(binary.LittleEndian.Uint16(got[28:]))
	return nil
}

func (a *archive) checkNames(problem func(scanProblem)) {
	a.sorted = true
	twins := newTwins()
	suspect := false
	for i := range a.files {
		name := a.files[i].name
		if err := checkName(name); err != nil {
			problem(scanProblem{checkNames, name, "a plain relative name", err.Error()})
		}
		suspect = twins.add(name) || suspect
		if i > 0 && compareNames(a.files[i-1].name, name) >= 0 {
			a.sorted = false
			problem(scanProblem{checkNames, name, "entries in the format's order", fmt.Sprintf("it stands after %q", a.files[i-1].name)})
		}
	}
	if !a.sorted {
		a.names = make(map[string]int, len(a.files))
		for i := len(a.files) - 1; i >= 0; i-- {
			a.names[a.files[i].name] = i
		}
	}
	if !suspect {
		return
	}
	set := newNameSet()
	for _, f := range a.files {
		if err := set.add(f.name); err != nil {
			problem(scanProblem{checkNames, f.name, "a name that no other entry has in any spelling", err.Error()})
		}
	}
}

// body opens the content of f. A compressed body, which is refused anyway, is
// still read to say whether the content was changed as well.
func (a *archive) body(f *file) (io.Reader, error) {
	section := io.NewSectionReader(a.r, f.at, f.packed)
	switch f.method {
	case 0:
		return section, nil
	case 8:
		return io.LimitReader(flate.NewReader(section), f.size+1), nil
	}
	return nil, fmt.Errorf("compression method %d", f.method)
}

// read gives the content of a small file.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	i, ok := a.find(name)
	if !ok {
		return nil, errors.New("it is missing")
	}
	f := &a.files[i]
	switch {
	case f.size > limit:
		return nil, fmt.Errorf("%d bytes, more than %d", f.size, limit)
	case f.method != 0 || f.size != f.packed:
		return nil, errors.New("it is compressed")
	}
	data := make([]byte, f.size)
	if n, err := a.r.ReadAt(data, f.at); n < len(data) {
		return nil, fmt.Errorf("reading it: %w", cutOff(err))
	}
	return data, nil
}

// cutOff turns an end of file in the middle into words.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the archive is cut off")
	}
	return err
}

// headerField names a field of a zip header by its first byte.
type headerField struct {
	at   int
	name string
}

func localFields() []headerField {
	return []headerField{{0, "signature"}, {4, "version needed"}, {6, "flags"}, {8, "compression method"}, {10, "time and date"},
		{14, "CRC-32"}, {18, "compressed size"}, {22, "size"}, {26, "name length"}, {28, "extra field length"}, {30, "name"}}
}

func centralFields() []headerField {
	return []headerField{{0, "signature"}, {4, "version made by"}, {6, "version needed"}, {8, "flags"}, {10, "compression method"},
		{12, "time and date"}, {16, "CRC-32"}, {20, "compressed size"}, {24, "size"}, {28, "name length"}, {30, "extra field length"},
		{32, "comment length"}, {34, "disk number"}, {36, "attributes"}, {42, "offset"}, {46, "name or extra field"}}
}

// describeHeader names the first field in which a header differs.
func describeHeader(what string, fields []headerField, want, got []byte) string {
	at := 0
	for at < len(want) && at < len(got) && want[at] == got[at] {
		at++
	}
	name := fields[0].name
	for _, f := range fields {
		if f.at <= at {
			name = f.name
		}
	}
	return fmt.Sprintf("the %s's %s differs", what, name)
}
