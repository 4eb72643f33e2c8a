package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errTooDeep is the scanner's word for nesting over the limit.
var errTooDeep = errors.New("nested too deep")

// scanner reads one JSON text (RFC 8259) strictly and in one pass: it refuses
// a key that stands twice in an object, bad UTF-8, lone surrogates, numbers
// beyond float64, and nesting over max. Errors name the byte offset. What it
// read stands in nodes (see node.go); reused, it reads without allocating.
type scanner struct {
	b     string
	i     int
	depth int
	max   int
	nodes []node
	text  []byte  // of the strings that held escapes
	keys  []int32 // room to sort the keys of a large object
}

// reset makes the scanner ready for another text.
func (s *scanner) reset(text string, maxDepth int) {
	s.b, s.i, s.depth, s.max = text, 0, 0, maxDepth
	s.nodes, s.text = s.nodes[:0], s.text[:0]
}

func (s *scanner) errorf(format string, a ...any) error {
	return fmt.Errorf("at byte %d: %s", s.i, fmt.Sprintf(format, a...))
}

func (s *scanner) space() {
	for s.i < len(s.b) && s.b[s.i] <= ' ' {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// at reports whether the scanner stands at c.
func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

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

// value reads any value and appends its nodes.
func (s *scanner) value() error {
	s.space()
	if s.i >= len(s.b) {
		return s.errorf("unexpected end")
	}
	switch c := s.b[s.i]; {
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true", nodeTrue)
	case c == 'f':
		return s.word("false", nodeFalse)
	case c == 'n':
		return s.word("null", nodeNull)
	default:
		return s.errorf("unexpected character %q", c)
	}
}

// add appends a node that has none below it, and gives it to be filled in. It
// is written field by field: a whole one would be made elsewhere and read back
// before its parts have arrived, which costs more than all the rest of a node.
func (s *scanner) add(kind nodeKind) *node {
	k := len(s.nodes)
	if k == cap(s.nodes) {
		s.nodes = append(s.nodes, node{})
	}
	s.nodes = s.nodes[:k+1]
	n := &s.nodes[k]
	n.kind, n.escaped, n.next, n.count = kind, false, int32(k+1), 0
	return n
}

// addText appends the node of a string whose text is b[from:to].
func (s *scanner) addText(from, to int) {
	n := s.add(nodeString)
	n.from, n.to = int32(from), int32(to)
}

func (s *scanner) word(w string, kind nodeKind) error {
	if !strings.HasPrefix(s.b[s.i:], w) {
		return s.errorf("unexpected word")
	}
	s.i += len(w)
	s.add(kind)
	return nil
}

// key reads a key and the colon after it, up to the value.
func (s *scanner) key() error {
	s.space()
	if !s.at('"') {
		return s.errorf("expected a key")
	}
	if err := s.str(); err != nil {
		return err
	}
	return s.colon()
}

// colon moves over the colon after a key, up to the value.
func (s *scanner) colon() error {
	if !s.at(':') {
		if s.space(); !s.at(':') {
			return s.errorf("expected ':'")
		}
	}
	s.i++
	s.space()
	return nil
}

// more moves over a comma, or over the end of an object or array: then it is
// false.
func (s *scanner) more(end byte) (bool, error) {
	s.space()
	switch {
	case s.at(','):
		s.i++
		return true, nil
	case s.at(end):
		s.leave()
		return false, nil
	case off(guardUnfinished) && s.i == len(s.b):
		s.depth--
		return false, nil
	}
	return false, s.errorf("expected ',' or %q", end)
}

// fewKeys is how many keys of an object are compared one by one; those of a
// larger one are sorted.
const fewKeys = 16

func (s *scanner) object() error {
	top := len(s.nodes)
	s.add(nodeObject)
	if err := s.enter(); err != nil {
		return err
	}
	if s.space(); s.at('}') {
		s.leave()
		return nil
	}
	count, seen := 0, uint64(0)
	for more := true; more; {
		s.space()
		from := s.i + 1
		key, ok := s.plain()
		err := error(nil)
		if ok {
			s.addText(from, from+len(key))
			err = s.colon()
		} else {
			at := len(s.nodes)
			if err = s.key(); err == nil {
				key = s.textOf(at)
			}
		}
		if err != nil {
			return err
		}
		bit := uint64(1) << mark(key)
		if count < fewKeys && seen&bit != 0 && s.member(top, count, key) >= 0 {
			return s.errorf("a key stands twice")
		}
		seen |= bit
		count++
		if err := s.value(); err != nil {
			return err
		}
		if more, err = s.more('}'); err != nil {
			return err
		}
	}
	s.nodes[top].next, s.nodes[top].count = int32(len(s.nodes)), int32(count)
	if count > fewKeys {
		return s.distinct(top)
	}
	return nil
}

// mark gives one of 64 values for a key: keys whose marks differ differ.
func mark(k string) uint {
	h := uint64(len(k))
	if len(k) > 0 {
		h += uint64(k[0])<<8 + uint64(k[len(k)-1])<<16 + uint64(k[len(k)/2])<<24
	}
	return uint(h * 0x9e3779b97f4a7c15 >> 58)
}

// distinct refuses an object with a key that stands twice.
func (s *scanner) distinct(top int) error {
	s.keys = s.keys[:0]
	for i := top + 1; i < int(s.nodes[top].next); i = int(s.nodes[i+1].next) {
		s.keys = append(s.keys, int32(i))
	}
	slices.SortFunc(s.keys, func(a, b int32) int { return strings.Compare(s.textOf(int(a)), s.textOf(int(b))) })
	for i := 1; i < len(s.keys); i++ {
		if k := s.textOf(int(s.keys[i])); k == s.textOf(int(s.keys[i-1])) {
			return s.errorf("a key stands twice in the object that ends here")
		}
	}
	return nil
}

func (s *scanner) array() error {
	top := len(s.nodes)
	s.add(nodeArray)
	if err := s.enter(); err != nil {
		return err
	}
	if s.space(); s.at(']') {
		s.leave()
		return nil
	}
	count := int32(0)
	for more := true; more; count++ {
		err := s.value()
		if err != nil {
			return err
		}
		if more, err = s.more(']'); err != nil {
			return err
		}
	}
	s.nodes[top].next, s.nodes[top].count = int32(len(s.nodes)), count
	return nil
}
