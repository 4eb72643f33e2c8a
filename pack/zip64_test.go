package pack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// sparseFile is a file that keeps only what is not zero.
type sparseFile struct {
	size   int64
	starts []int64
	pieces [][]byte
}

func (s *sparseFile) Write(p []byte) (int, error) {
	if slices.ContainsFunc(p, func(b byte) bool { return b != 0 }) {
		s.starts, s.pieces = append(s.starts, s.size), append(s.pieces, bytes.Clone(p))
	}
	s.size += int64(len(p))
	return len(p), nil
}

func (s *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), s.size-off)))
	clear(p[:n])
	first, _ := slices.BinarySearch(s.starts, off)
	for i := max(0, first-1); i < len(s.starts) && s.starts[i] < off+int64(n); i++ {
		from := max(off, s.starts[i])
		if rest := from - s.starts[i]; rest < int64(len(s.pieces[i])) {
			copy(p[from-off:n], s.pieces[i][rest:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestPackPast4GiB builds and verifies a pack whose last entries and directory
// begin beyond what 32 bits hold.
func TestPackPast4GiB(t *testing.T) {
	if testing.Short() {
		t.Skip("it hashes 9 GB")
	}
	s, c := edSigner(t, 1), content(t)
	for n, size := range []int64{maxFileSize, 64 << 20} {
		c.Extra = append(c.Extra, File{Path: fmt.Sprintf("data/z/%d.bin", n), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(&zeros{size: size}), nil
		}})
	}
	out := &sparseFile{}
	built, err := Build(out, c, s)
	if err != nil {
		t.Fatal(err)
	}
	if out.size != built.Bytes || out.size <= math.MaxUint32 || len(out.starts) > 1000 {
		t.Fatalf("%d bytes in %d pieces, %d were said", out.size, len(out.starts), built.Bytes)
	}
	a, err := scan(out, out.size, Limits{}, func(p scanProblem) { t.Errorf("%+v", p) })
	if err != nil {
		t.Fatal(err)
	}
	if last := a.files[len(a.files)-1]; last.offset <= math.MaxUint32 || a.dirOffset <= math.MaxUint32 {
		t.Errorf("the last entry begins at byte %d, the directory at %d", last.offset, a.dirOffset)
	}
	r := Verify(out, out.size, options(t, s))
	if r.Exit != 0 {
		t.Fatal(reportText(r))
	}
	if err := new(builder).addSummed(builtFile{path: "data/z/2.bin", sums: sums{size: maxFileSize + 1}}); err == nil || !strings.Contains(err.Error(), "more than a pack's file may have") {
		t.Errorf("a file of 4 GiB less a byte: %v", err)
	}
}

// TestPackOfManyEntries builds and verifies packs just below and at the number
// of entries that needs zip64.
func TestPackOfManyEntries(t *testing.T) {
	s := edSigner(t, 1)
	c := content(t)
	base := len(entriesOf(t, buildPack(t, c, s)))
	for n := range math.MaxUint16 - 1 - base {
		c.Extra = append(c.Extra, File{Path: fmt.Sprintf("data/z/%05d", n), Body: []byte{byte(n)}})
	}
	for _, want := range []int{math.MaxUint16 - 1, math.MaxUint16, math.MaxUint16 + 1} {
		data := buildPack(t, c, s)
		if r := verifyBytes(data, options(t, s)); r.Exit != 0 {
			t.Fatal(reportText(r))
		}
		has := bytes.Equal(data[len(data)-endSize-locator64Size:][:4], []byte("PK\x06\x07"))
		if got := binary.LittleEndian.Uint16(data[len(data)-endSize+8:]); int(got) != min(want, math.MaxUint16) || has != (want >= math.MaxUint16) {
			t.Errorf("%d entries: the end record says %d, zip64 %v", want, got, has)
		}
		c.Extra = append(c.Extra, File{Path: fmt.Sprintf("data/z/%d", want)})
	}
}

// TestZip64Forms: there is one form for each archive, and no other passes.
func TestZip64Forms(t *testing.T) {
	refused := func(t *testing.T, r io.ReaderAt, size int64) {
		t.Helper()
		problems := 0
		a, err := scan(r, size, Limits{}, func(scanProblem) { problems++ })
		if err != nil {
			return
		}
		k := a.walk()
		for i := range a.files {
			k.checkHeader(&a.files[i], func(scanProblem) { problems++ })
		}
		if problems == 0 {
			t.Error("it was accepted")
		}
	}
	accepted := func(t *testing.T, r io.ReaderAt, size int64) {
		t.Helper()
		a, err := scan(r, size, Limits{}, func(p scanProblem) { t.Errorf("%+v", p) })
		if err != nil {
			t.Fatal(err)
		}
		k := a.walk()
		for i := range a.files {
			k.checkHeader(&a.files[i], func(p scanProblem) { t.Errorf("%+v", p) })
		}
	}

	var many bytes.Buffer
	z := &zipWriter{w: &many}
	for n := range math.MaxUint16 {
		if err := z.add(fmt.Sprintf("data/%05d", n), 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.close(); err != nil {
		t.Fatal(err)
	}
	good := many.Bytes()
	accepted(t, bytes.NewReader(good), int64(len(good)))
	tail := len(good) - endSize - locator64Size - end64Size
	for name, at := range map[string]int{ // bytes of the three records, from the first
		"zip64 signature": 0, "zip64 length": 4, "made by": 12, "version needed": 14, "disk": 16, "directory's disk": 20,
		"entries on this disk": 24, "entries": 32, "directory size": 40, "directory offset": 48,
		"locator signature": 56, "locator's disk": 60, "locator's offset": 64, "disks": 72,
		"end disk": 80, "end directory's disk": 82, "end entries on this disk": 84, "end entries": 86, "end directory size": 88, "end directory offset": 92, "comment length": 96,
	} {
		t.Run(name, func(t *testing.T) {
			for _, change := range []byte{1, 0x80} {
				bad := bytes.Clone(good)
				bad[tail+at] ^= change
				refused(t, bytes.NewReader(bad), int64(len(bad)))
			}
		})
	}
	for name, bad := range map[string][]byte{
		"zip64 records left out":       slices.Concat(good[:tail], good[len(good)-endSize:]),
		"locator left out":             slices.Concat(good[:tail+end64Size], good[len(good)-endSize:]),
		"zip64 record left out":        slices.Concat(good[:tail], good[tail+end64Size:]),
		"zip64 records twice":          slices.Concat(good[:tail+end64Size+locator64Size], good[tail:]),
		"zip64 record of version 2":    slices.Concat(good[:tail+end64Size], make([]byte, 28), good[tail+end64Size:]),
		"the last entry left out":      func() []byte { b := bytes.Clone(good); b[tail+24]--; b[tail+32]--; return b }(),
		"a number that overflows":      func() []byte { b := bytes.Clone(good); b[tail+31], b[tail+39] = 0x80, 0x80; return b }(),
		"a directory beyond the file":  func() []byte { b := bytes.Clone(good); b[tail+54] = 1; return b }(),
		"a directory too small for it": func() []byte { b := bytes.Clone(good); copy(b[tail+40:], make([]byte, 8)); return b }(),
	} {
		t.Run(name, func(t *testing.T) { refused(t, bytes.NewReader(bad), int64(len(bad))) })
	}

	t.Run("zip64 records without need", func(t *testing.T) {
		small := zipOf(t, []stored{{"README.txt", []byte("x")}, {"pack.json", []byte("y")}})
		accepted(t, bytes.NewReader(small), int64(len(small)))
		end := len(small) - endSize
		offset, size := binary.LittleEndian.Uint32(small[end+16:]), binary.LittleEndian.Uint32(small[end+12:])
		records := u64(u32(nil, end64Signature), end64Size-12)
		records = u16(records, madeByUnix&^0xff|zipVersion64, zipVersion64)
		records = u64(u32(records, 0, 0), 2, 2, uint64(size), uint64(offset))
		records = u32(u64(u32(records, locator64, 0), uint64(end)), 1)
		ones := bytes.Clone(small[end:])
		for name, last := range map[string][]byte{
			"beside plain figures": small[end:],
			"all ones":             append(append(ones[:8:8], bytes.Repeat([]byte{0xff}, 12)...), 0, 0),
			"entries all ones":     append(append(ones[:8:8], 0xff, 0xff, 0xff, 0xff), ones[12:]...),
			"offset all ones":      append(append(ones[:16:16], 0xff, 0xff, 0xff, 0xff), 0, 0),
		} {
			bad := slices.Concat(small[:end], records, last)
			t.Run(name, func(t *testing.T) { refused(t, bytes.NewReader(bad), int64(len(bad))) })
		}
	})

	// An entry far out, of which only the headers exist.
	far := func(change func(central []byte) []byte) (*sparse, int64) {
		s := &sparse{pieces: map[int64][]byte{}}
		at, dir := int64(0), []byte(nil)
		for i, name := range []string{"README.txt", "pack.json"} {
			e := entry{name: name, offset: at}
			if i == 0 {
				e.size = math.MaxUint32 - localHeaderSize - int64(len(name)) // the next begins at 0xFFFFFFFF
			}
			s.pieces[at] = e.localHeader()
			central := e.centralHeader()
			if i == 1 {
				central = change(central)
			}
			dir, at = append(dir, central...), e.end()
		}
		s.pieces[at] = append(dir, endRecords(2, at, int64(len(dir)))...)
		s.size = at + int64(len(s.pieces[at]))
		return s, s.size
	}
	s, size := far(func(c []byte) []byte { return c })
	accepted(t, s, size)
	const nameEnd = centralHeaderSize + len("pack.json")
	for name, change := range map[string]func(c []byte) []byte{
		"extra left out":           func(c []byte) []byte { c[30] = 0; return c[:nameEnd] },
		"extra of another ID":      func(c []byte) []byte { c[nameEnd] = 2; return c },
		"extra of another length":  func(c []byte) []byte { c[nameEnd+2] = 16; return c },
		"extra with sizes as well": func(c []byte) []byte { c[30] = 28; c[nameEnd+2] = 24; return append(c, make([]byte, 16)...) },
		"extra with another after": func(c []byte) []byte { c[30] = 16; return append(c, 9, 9, 0, 0) },
		"another offset":           func(c []byte) []byte { c[nameEnd+4]++; return c },
		"a negative offset":        func(c []byte) []byte { c[nameEnd+11] = 0x80; return c },
		"offset field not ones":    func(c []byte) []byte { c[42] = 0; return c },
		"version 2.0":              func(c []byte) []byte { c[6] = 20; return c },
	} {
		t.Run(name, func(t *testing.T) {
			s, size := far(change)
			refused(t, s, size)
		})
	}
	t.Run("extra without need", func(t *testing.T) {
		e := entry{name: "README.txt"}
		central := e.centralHeader()
		central[6], central[30] = zipVersion64, 12
		copy(central[42:], []byte{0xff, 0xff, 0xff, 0xff})
		central = u64(u16(central, 1, 8), 0)
		bad := slices.Concat(e.localHeader(), central, endRecords(1, e.end(), int64(len(central))))
		refused(t, bytes.NewReader(bad), int64(len(bad)))
	})
}
