package templates

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"
)

// sortedZip holds back the parts of a workbook and writes them sorted by name,
// with one fixed time and stored rather than compressed, so that its bytes
// depend on nothing but the parts: neither the order of a map, nor the clock,
// nor the compressor of the Go release that built the program.
type sortedZip struct {
	out   io.Writer
	parts map[string]*bytes.Buffer
}

// contentTypes comes first: readers that look at the start of the file to see
// what it is expect it there (ECMA-376 part 2).
const contentTypes = "[Content_Types].xml"

// Create makes a part, in place of an earlier one of that name.
func (z *sortedZip) Create(name string) (io.Writer, error) {
	if z.parts == nil {
		z.parts = map[string]*bytes.Buffer{}
	}
	z.parts[name] = new(bytes.Buffer)
	return z.parts[name], nil
}

// AddFS is part of excelize's interface; writing a workbook doesn't use it.
func (z *sortedZip) AddFS(fs.FS) error {
	return errors.New("adding a file system to a workbook: not supported")
}

// Close writes the archive.
func (z *sortedZip) Close() error {
	zw := zip.NewWriter(z.out)
	names := slices.SortedFunc(maps.Keys(z.parts), func(a, b string) int {
		if a == contentTypes || b == contentTypes {
			return boolRank(b == contentTypes) - boolRank(a == contentTypes)
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	for _, name := range names {
		w, err := zw.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			return err
		}
		if _, err := z.parts[name].WriteTo(w); err != nil {
			return err
		}
	}
	return zw.Close()
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}
