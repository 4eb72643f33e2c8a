package pack

import (
	"strings"
	"time"

	"trustpack/evidence"
)

// scanLine reads a line of the manifest that is written in the plainest way,
// as nearly all are: canonical, in ASCII, with nothing escaped. What it reads
// decodeLine reads the same; what it does not read, decodeLine may still.
func scanLine(data []byte) (Line, bool) {
	if len(data) > maxManifestLine {
		return Line{}, false
	}
	s := lineScanner{rest: string(data)}
	var l Line
	s.begin()
	if s.key("collected_at") {
		t := s.time()
		l.CollectedAt = &t
	}
	if s.key("controls") {
		l.Controls = s.texts()
	}
	if s.key("derived_from") {
		l.DerivedFrom = s.texts()
	}
	if s.key("kind") {
		l.Kind = s.text()
	}
	l.MediaType = s.needed("media_type")
	l.Path = s.needed("path")
	if s.key("provenance") {
		l.Provenance = s.text()
	}
	l.Salt = s.needed("salt")
	l.SHA256 = s.needed("sha256")
	s.fail(!s.key("size"))
	l.Size = s.number()
	if s.key("stage") {
		l.Stage = evidence.Stage(s.text())
	}
	if s.key("window") {
		s.begin()
		s.fail(!s.key("from"))
		from := s.time()
		s.fail(!s.key("to"))
		l.Window = &evidence.Period{From: from, To: s.time()}
		s.end()
	}
	s.end()
	return l, !s.bad && s.rest == ""
}

// lineScanner takes one value after another off what is left of a line.
type lineScanner struct {
	rest  string
	first bool // no member of the object was read
	bad   bool
}

func (s *lineScanner) fail(wrong bool) { s.bad = s.bad || wrong }

func (s *lineScanner) take(text string) bool {
	rest, ok := strings.CutPrefix(s.rest, text)
	s.rest = rest
	return ok
}

func (s *lineScanner) begin() {
	s.fail(!s.take("{"))
	s.first = true
}

func (s *lineScanner) end() { s.fail(!s.take("}")) }

// key takes the key, if that is the next.
func (s *lineScanner) key(name string) bool {
	rest := s.rest
	ok := (s.first || s.take(",")) && s.take(`"`) && s.take(name) && s.take(`":`)
	if !ok {
		s.rest = rest
		return false
	}
	s.first = false
	return true
}

func (s *lineScanner) needed(key string) string {
	s.fail(!s.key(key))
	return s.text()
}

// text takes a text that is not empty.
func (s *lineScanner) text() string {
	s.fail(!s.take(`"`))
	for i := range len(s.rest) {
		switch c := s.rest[i]; {
		case c == '"':
			text := s.rest[:i]
			s.rest = s.rest[i+1:]
			s.fail(i == 0)
			return text
		case c < ' ' || c >= 0x7f || c == '\\':
			s.bad = true
			return ""
		}
	}
	s.bad = true
	return ""
}

func (s *lineScanner) texts() []string {
	var out []string
	s.fail(!s.take("["))
	for !s.bad {
		out = append(out, s.text())
		if s.take("]") {
			return out
		}
		s.fail(!s.take(","))
	}
	return nil
}

func (s *lineScanner) number() (n int64) {
	digits := 0
	for digits < len(s.rest) && s.rest[digits] >= '0' && s.rest[digits] <= '9' {
		n = n*10 + int64(s.rest[digits]-'0')
		digits++
	}
	s.fail(digits == 0 || digits > 15 || digits > 1 && s.rest[0] == '0')
	s.rest = s.rest[min(digits, len(s.rest)):]
	return n
}

func (s *lineScanner) time() time.Time {
	text := s.text()
	t, err := time.Parse(time.RFC3339Nano, text)
	if s.fail(err != nil || !strings.HasSuffix(text, "Z")); s.bad {
		return time.Time{}
	}
	var again [40]byte
	s.fail(string(t.AppendFormat(again[:0], time.RFC3339Nano)) != text)
	return t
}
