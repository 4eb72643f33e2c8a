package ingest

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// errTooDeep is the scanner's word for nesting over the limit.
var errTooDeep = errors.New("nested too deep")

// scanner reads one JSON text (RFC 8259) strictly and in one pass: it refuses
// a key that stands twice in an object, bad UTF-8, lone surrogates, numbers
// beyond float64, and nesting over max. Errors name the byte offset.
type scanner struct {
	b     []byte
	i     int
	depth int
	max   int
}

func (s *scanner) errorf(format string, a ...any) error {
	return fmt.Errorf("at byte %d: %s", s.i, fmt.Sprintf(format, a...))
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// enter and leave keep the depth of objects and arrays.
func (s *scanner) enter() error {
	if s.depth++; s.depth > s.max {
		return errTooDeep
	}
	s.i++
	return nil
}

func (s *scanner) leave() {
	s.depth--
	s.i++
}

// value reads any value. Numbers become float64.
func (s *scanner) value() (any, error) {
	s.space()
	if s.i >= len(s.b) {
		return nil, s.errorf("unexpected end")
	}
	switch c := s.b[s.i]; {
	case c == '{':
		m := map[string]any{}
		err := s.object(func(key string) error {
			if _, twice := m[key]; twice {
				return s.errorf("key %q stands twice", clip(key))
			}
			v, err := s.value()
			m[key] = v
			return err
		})
		return m, err
	case c == '[':
		return s.array()
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return true, s.word("true")
	case c == 'f':
		return false, s.word("false")
	case c == 'n':
		return nil, s.word("null")
	default:
		return nil, s.errorf("unexpected character %q", c)
	}
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.errorf("unexpected word")
	}
	s.i += len(w)
	return nil
}

// object reads an object and calls member after each key and colon, which
// reads the value.
func (s *scanner) object(member func(key string) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.leave()
		return nil
	}
	for {
		s.space()
		if s.i >= len(s.b) || s.b[s.i] != '"' {
			return s.errorf("expected a key")
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		s.space()
		if s.i >= len(s.b) || s.b[s.i] != ':' {
			return s.errorf("expected ':'")
		}
		s.i++
		s.space()
		if err := member(key); err != nil {
			return err
		}
		s.space()
		switch {
		case s.i < len(s.b) && s.b[s.i] == ',':
			s.i++
		case s.i < len(s.b) && s.b[s.i] == '}':
			s.leave()
			return nil
		default:
			return s.errorf("expected ',' or '}'")
		}
	}
}

func (s *scanner) array() (any, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	out := []any{}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == ']' {
		s.leave()
		return out, nil
	}
	for {
		v, err := s.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		s.space()
		switch {
		case s.i < len(s.b) && s.b[s.i] == ',':
			s.i++
		case s.i < len(s.b) && s.b[s.i] == ']':
			s.leave()
			return out, nil
		default:
			return nil, s.errorf("expected ',' or ']'")
		}
	}
}

// number reads a number by the grammar and refuses what float64 cannot hold.
func (s *scanner) number() (any, error) {
	from := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	switch {
	case s.i < len(s.b) && s.b[s.i] == '0':
		s.i++
	case s.digits() == 0:
		return nil, s.errorf("expected a digit")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return nil, s.errorf("expected a digit after '.'")
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return nil, s.errorf("expected a digit in the exponent")
		}
	}
	f, err := strconv.ParseFloat(string(s.b[from:s.i]), 64)
	if err != nil {
		s.i = from
		return nil, s.errorf("number out of range")
	}
	return f, nil
}

func (s *scanner) digits() int {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i - from
}

// integer reads a whole number from 0 to 2^53 without fraction or exponent.
func (s *scanner) integer(name string) (int64, error) {
	from := s.i
	if n := s.digits(); n == 0 || n > 16 || n > 1 && s.b[from] == '0' {
		s.i = from
		return 0, s.errorf("%q must be a whole number from 0 to 2^53", name)
	}
	if s.i < len(s.b) && (s.b[s.i] == '.' || s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		return 0, s.errorf("%q must be a whole number from 0 to 2^53", name)
	}
	v, err := strconv.ParseInt(string(s.b[from:s.i]), 10, 64)
	if err != nil || v > 1<<53 {
		s.i = from
		return 0, s.errorf("%q must be a whole number from 0 to 2^53", name)
	}
	return v, nil
}

// str reads a string; the common one without escapes is only checked.
func (s *scanner) str() (string, error) {
	s.i++
	from, ascii := s.i, true
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			raw := s.b[from:s.i]
			s.i++
			if !ascii && !utf8.Valid(raw) {
				s.i = from
				return "", s.errorf("bad UTF-8")
			}
			return string(raw), nil
		case c == '\\':
			return s.escaped(from)
		case c < 0x20:
			return "", s.errorf("control character in a string")
		case c >= 0x80:
			ascii = false
		}
		s.i++
	}
	return "", s.errorf("string without end")
}

// escaped reads the rest of a string that holds escapes.
func (s *scanner) escaped(from int) (string, error) {
	out := append([]byte(nil), s.b[from:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return "", s.errorf("bad UTF-8")
			}
			return string(out), nil
		case c < 0x20:
			return "", s.errorf("control character in a string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		if s.i >= len(s.b) {
			break
		}
		c = s.b[s.i]
		s.i++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := s.hex4()
			if ok && utf16.IsSurrogate(r) {
				low := rune(-1)
				if s.i+1 < len(s.b) && s.b[s.i] == '\\' && s.b[s.i+1] == 'u' {
					s.i += 2
					low, ok = s.hex4()
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					ok = false
				}
			}
			if !ok {
				return "", s.errorf("bad \\u escape")
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", s.errorf("bad escape")
		}
	}
	return "", s.errorf("string without end")
}

func (s *scanner) hex4() (rune, bool) {
	if len(s.b)-s.i < 4 {
		return 0, false
	}
	v, err := strconv.ParseUint(string(s.b[s.i:s.i+4]), 16, 32)
	s.i += 4
	return rune(v), err == nil
}

// clip shortens text from outside for a message.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	cut := 80
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
