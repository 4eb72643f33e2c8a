package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trustpack/internal/durable"
)

// recordFile is a file of JSON records, a line each, to which one goroutine at
// a time appends. A torn last line is left out when it is read: nobody was
// told of it. It lacks its end, or holds zeros, which a file system gives for
// what was never written and JSON never has; any other line that cannot be
// read is damage.
type recordFile struct {
	fsys   durable.FS
	dir    string // the ledger's
	name   string
	file   durable.File // nil before replace
	length int64
	whole  int64 // length as replace wrote it
}

// sealed is a record as it stands in its line: what a flaw of the disk changed
// must not pass for something else.
type sealed struct {
	CRC32C string `json:"crc32c"` // of the bytes of Body, lower-case hex
	// Lines is in the first record the number of those that were written in
	// one step, none of which can be torn.
	Lines int             `json:"lines,omitempty"`
	Body  json.RawMessage `json:"body"`
}

func sealRecord(body any, lines int) ([]byte, error) {
	inner, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(sealed{fmt.Sprintf("%08x", castagnoli(inner)), lines, inner})
	return append(line, '\n'), err
}

func openRecord(line []byte) (sealed, error) {
	var s sealed
	if err := json.Unmarshal(line, &s); err != nil {
		return s, err
	}
	if fmt.Sprintf("%08x", castagnoli(s.Body)) != s.CRC32C {
		return s, errors.New("its checksum is wrong")
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, bytes.TrimSuffix(line, []byte("\n"))) {
		return s, errors.New("it is written otherwise than this program writes")
	}
	return s, nil
}

// read calls each for every record. A file that is not there has none.
func (r *recordFile) read(each func(body []byte) error) error {
	b, err := durable.ReadFileIn(r.fsys, filepath.Join(r.dir, r.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	untorn := 1 // how many lines cannot be torn
	at := int64(0)
	for n := 0; len(b) > 0 || n < untorn; n++ {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		s, err := openRecord(line)
		if !ended {
			err = errors.New("the line does not end")
		}
		if err != nil && n >= untorn && tearable(line, ended) && !anyRecord(b[1:]) {
			return nil
		}
		if err == nil {
			err = each(s.Body)
		}
		if err != nil {
			return &DamageError{File: r.name, Offset: at, Reason: err.Error()}
		}
		if n == 0 {
			untorn = s.Lines
		}
		at += int64(len(line)) + 1
		b = rest
	}
	return nil
}

// tearable reports whether a last line that cannot be read can be what a write
// cut short left.
func tearable(line []byte, ended bool) bool {
	if bytes.IndexByte(line, 0) >= 0 {
		return true
	}
	if ended || len(line) == 0 {
		return false
	}
	_, err := openRecord(line[:len(line)-1]) // no more than its newline is another
	return err != nil
}

// anyRecord reports whether a record stands in b, be it within a line.
func anyRecord(b []byte) bool {
	const begin = `{"crc32c":`
	for i := bytes.Index(b, []byte(begin)); i >= 0; i = bytes.Index(b, []byte(begin)) {
		line, _, _ := bytes.Cut(b[i:], []byte("\n"))
		if _, err := openRecord(line); err == nil {
			return true
		}
		b = b[i+1:]
	}
	return false
}

// replace makes the bodies all that the file holds, in one step, and goes on
// from there.
func (r *recordFile) replace(bodies ...any) error {
	var b []byte
	for i, body := range bodies {
		lines := 0
		if i == 0 {
			lines = len(bodies)
		}
		line, err := sealRecord(body, lines)
		if err != nil {
			return fmt.Errorf("writing %s: %w", r.name, err)
		}
		b = append(b, line...)
	}
	path := filepath.Join(r.dir, r.name)
	if err := errors.Join(r.close(), durable.WriteFileIn(r.fsys, path, b, 0o600)); err != nil {
		return err
	}
	file, err := r.fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	r.file, r.length, r.whole = file, int64(len(b)), int64(len(b))
	return nil
}

// add appends a record durably.
func (r *recordFile) add(body any) error {
	line, err := sealRecord(body, 0)
	if err != nil {
		return fmt.Errorf("writing %s: %w", r.name, err)
	}
	if _, err = r.file.WriteAt(line, r.length); err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", r.name, err)
	}
	r.length += int64(len(line))
	return nil
}

func (r *recordFile) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}
