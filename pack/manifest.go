package pack

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	maxManifestLine = 64 << 10
	saltSize        = 16
)

// Line is one line of manifest.jsonl: a file of the pack and where it belongs.
// Its fields stand in the order of their JSON keys, so that encoding a Line is
// canonical as it is.
type Line struct {
	CollectedAt *time.Time       `json:"collected_at,omitempty"` // of the evidence it belongs to
	Controls    []string         `json:"controls,omitempty"`     // that cite it, sorted
	DerivedFrom []string         `json:"derived_from,omitempty"` // paths it was made from, sorted
	Kind        string           `json:"kind,omitempty"`         // evidence kind, or what sort of file it is
	MediaType   string           `json:"media_type"`
	Path        string           `json:"path"`
	Provenance  string           `json:"provenance,omitempty"` // hex SHA-256 of the evidence.json that says where it came from
	Salt        string           `json:"salt"`                 // 16 bytes, hex; hides the line behind its leaf hash
	SHA256      string           `json:"sha256"`               // hex
	Size        int64            `json:"size"`
	Stage       evidence.Stage   `json:"stage,omitempty"`
	Window      *evidence.Period `json:"window,omitempty"`

	leaf string // hex; of a redacted line, of which nothing else is known
}

// encode gives the line without its newline: the data of one tree leaf.
func (l Line) encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("encoding the manifest line of %s: %w", l.Path, err)
	}
	line := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(line) > maxManifestLine {
		return nil, fmt.Errorf("encoding the manifest line of %s: %d bytes, more than %d", l.Path, len(line), maxManifestLine)
	}
	return line, nil
}

// parseLine reads one line strictly.
func parseLine(data []byte) (Line, error) {
	if l, ok := scanLine(data); ok {
		return l, l.check()
	}
	l, err := decodeLine(data)
	if err != nil {
		return Line{}, err
	}
	return l, l.check()
}

// decodeLine reads one line of any form that is canonical.
func decodeLine(data []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(data, &l); err != nil {
		return Line{}, fmt.Errorf("it is not JSON of this format: %w", err)
	}
	again, err := l.encode()
	if err != nil {
		return Line{}, err
	}
	if !bytes.Equal(again, data) {
		return Line{}, errNotCanonical
	}
	return l, nil
}

// check says what in the line has no meaning.
func (l Line) check() error {
	switch {
	case !inManifest(l.Path):
		return fmt.Errorf("path %q does not belong in the manifest", l.Path)
	case checkName(l.Path) != nil:
		return fmt.Errorf("path %q: %w", l.Path, checkName(l.Path))
	case !isHex(l.SHA256, sha256.Size):
		return errors.New("sha256 is not 64 lower-case hex digits")
	case !isHex(l.Salt, saltSize):
		return errors.New("salt is not 32 lower-case hex digits")
	case l.Size < 0 || l.Size > maxFileSize:
		return fmt.Errorf("size %d is out of range", l.Size)
	case l.MediaType == "":
		return errors.New("media_type is empty")
	case l.Provenance != "" && !isHex(l.Provenance, sha256.Size):
		return errors.New("provenance is not 64 lower-case hex digits")
	case l.Stage != "" && l.Stage.Dir() == "":
		return fmt.Errorf("stage %q is none", l.Stage)
	case l.CollectedAt != nil && !isUTC(*l.CollectedAt):
		return errors.New("collected_at is not in UTC")
	case !isSet(l.Controls):
		return errors.New("controls are not sorted, each once")
	case !isSet(l.DerivedFrom):
		return errors.New("derived_from is not sorted, each once")
	}
	return nil
}

func isUTC(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}

// isSet reports whether texts are sorted and distinct.
func isSet(texts []string) bool {
	for i := 1; i < len(texts); i++ {
		if texts[i-1] >= texts[i] {
			return false
		}
	}
	return true
}

// salt keeps anyone who knows a redacted line's leaf hash from guessing the
// line. It is derived from the pack's secret, so that building again gives the
// same bytes.
func salt(secret []byte, path string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(path))
	return hex.EncodeToString(mac.Sum(nil)[:saltSize])
}

// lineError is what is wrong with line N (from 1) of a manifest.
type lineError struct {
	N   int
	Err error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.N, e.Err) }
func (e *lineError) Unwrap() error { return e.Err }

// readManifest reads manifest.jsonl and calls each for every line, with the
// bytes that are its leaf, unless it is redacted and Line.leaf is that; a line that cannot be read comes with its error and
// reading goes on. The returned error is one that ended reading early.
func readManifest(r io.Reader, each func(n int, raw []byte, l Line, err error)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 8<<10), maxManifestLine+2)
	ended := true
	sc.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			ended = false
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	last, n := "", 0
	for sc.Scan() {
		n++
		raw := sc.Bytes()
		if leaf, ok := leafOf(raw); ok {
			each(n, raw, Line{leaf: leaf}, nil)
			continue
		}
		l, err := parseLine(raw)
		if err == nil && n > 1 && strings.Compare(last, l.Path) >= 0 {
			err = fmt.Errorf("%q does not come after %q: lines are sorted by path, each path once", l.Path, last)
		}
		if l.Path != "" {
			last = l.Path
		}
		if err != nil {
			err = &lineError{n, err}
		}
		each(n, raw, l, err)
	}
	if err := sc.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return &lineError{n + 1, fmt.Errorf("longer than %d bytes", maxManifestLine)}
		}
		return err
	}
	if !ended {
		return &lineError{n, errors.New("the last line has no newline")}
	}
	return nil
}
