package ingest

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// plain reads a string of ASCII without escapes, of which it makes no node. ok
// is false for anything else, of which it reads nothing.
func (s *scanner) plain() (text string, ok bool) {
	if !s.at('"') {
		return "", false
	}
	rest := s.b[s.i+1:]
	for i := range len(rest) {
		c := rest[i]
		if c == '"' {
			s.i += i + 2
			return rest[:i], true
		}
		if c < 0x20 || c == '\\' || c >= utf8.RuneSelf {
			return "", false
		}
	}
	return "", false
}

// str reads a string; the common one without escapes is only checked.
func (s *scanner) str() error {
	from, ascii := s.i+1, true
	if text, ok := s.plain(); ok {
		s.addText(from, from+len(text))
		return nil
	}
	s.i = from
	for i := from; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			if !ascii && !utf8.ValidString(s.b[from:i]) && !off(guardUTF8) {
				s.i = from
				return s.errorf("bad UTF-8")
			}
			s.addText(from, i)
			return nil
		case c == '\\':
			s.i = i
			return s.escaped(from)
		case c < 0x20:
			s.i = i
			return s.errorf("control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.i = len(s.b)
	return s.errorf("string without end")
}

// escaped reads the rest of a string that holds escapes.
func (s *scanner) escaped(from int) error {
	start := len(s.text)
	s.text = append(s.text, s.b[from:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			if !utf8.Valid(s.text[start:]) {
				return s.errorf("bad UTF-8")
			}
			s.addText(start, len(s.text))
			s.nodes[len(s.nodes)-1].escaped = true
			return nil
		case c < 0x20:
			return s.errorf("control character in a string")
		case c != '\\':
			s.text = append(s.text, c)
			continue
		}
		if s.i >= len(s.b) {
			break
		}
		c = s.b[s.i]
		s.i++
		switch c {
		case '"', '\\', '/':
			s.text = append(s.text, c)
		case 'b':
			s.text = append(s.text, '\b')
		case 'f':
			s.text = append(s.text, '\f')
		case 'n':
			s.text = append(s.text, '\n')
		case 'r':
			s.text = append(s.text, '\r')
		case 't':
			s.text = append(s.text, '\t')
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
				return s.errorf("bad \\u escape")
			}
			s.text = utf8.AppendRune(s.text, r)
		default:
			return s.errorf("bad escape")
		}
	}
	return s.errorf("string without end")
}

func (s *scanner) hex4() (rune, bool) {
	if len(s.b)-s.i < 4 {
		return 0, false
	}
	v, err := strconv.ParseUint(s.b[s.i:s.i+4], 16, 32)
	s.i += 4
	return rune(v), err == nil
}
