package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// maxLine is the longest line that is taken: its base64 must fit a log entry
// of 65,535 bytes with the rest of a dead letter around it.
const maxLine = 47 << 10

// event is one line as it was read. Where fault is set the line is no event
// that can be accepted, and the other fields hold what could be read.
type event struct {
	raw     []byte
	seq     int64
	boot    int64
	hasSeq  bool
	time    string // as sent; RFC 3339
	at      time.Time
	typ     string
	fw      string
	data    []byte // the value of "data" as sent
	value   any    // the same, decoded
	tenant  string // what "tenant" names where it stands there
	claimed bool
	device  string
	fault   Code
	detail  string
}

// scanEvent reads one line: {"seq","time","type","data"} and optionally
// "boot", "fw", "device" and "tenant". Any other key is a fault, since what
// is not kept must not be taken.
func scanEvent(line []byte, maxDepth int) event {
	e := event{raw: line}
	if len(line) > maxLine {
		e.fault, e.detail = CodeEventTooLarge, fmt.Sprintf("%d bytes; the limit is %d", len(line), maxLine)
		return e
	}
	s := &scanner{b: line, max: maxDepth}
	err := e.scan(s)
	if err == nil {
		s.space()
		if s.i != len(line) {
			err = s.errorf("something follows the object")
		}
	}
	if err != nil {
		e.hasSeq = false // what it says of itself means nothing; the number may come again, whole
	}
	switch {
	case err == nil:
	case errors.Is(err, errTooDeep):
		e.fault, e.detail = CodeEventTooDeep, fmt.Sprintf("nested deeper than %d", maxDepth)
	default:
		e.fault, e.detail = CodeEventMalformed, err.Error()
	}
	return e
}

// keys of an event, as bits, so that one that is missing or twice is seen.
const (
	fieldSeq = 1 << iota
	fieldTime
	fieldType
	fieldData
	fieldBoot
	fieldFW
	fieldDevice
	fieldTenant
)

func fieldBit(k string) int {
	switch k {
	case "seq":
		return fieldSeq
	case "time":
		return fieldTime
	case "type":
		return fieldType
	case "data":
		return fieldData
	case "boot":
		return fieldBoot
	case "fw":
		return fieldFW
	case "device":
		return fieldDevice
	case "tenant":
		return fieldTenant
	}
	return 0
}

func (e *event) scan(s *scanner) error {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != '{' {
		return s.errorf("expected an object")
	}
	have := 0
	err := s.object(func(key string) error {
		bit := fieldBit(key)
		if bit == 0 {
			return s.errorf("unknown key %q", clip(key))
		}
		if have&bit != 0 {
			return s.errorf("key %q stands twice", key)
		}
		have |= bit
		return e.member(s, bit, key)
	})
	if err != nil {
		return err
	}
	for _, k := range []string{"seq", "time", "type", "data"} {
		if have&fieldBit(k) == 0 {
			return s.errorf("key %q is missing", k)
		}
	}
	return nil
}

func (e *event) member(s *scanner, bit int, key string) (err error) {
	switch bit {
	case fieldSeq:
		e.seq, err = s.integer(key)
		e.hasSeq = err == nil
	case fieldBoot:
		e.boot, err = s.integer(key)
	case fieldTime:
		if e.time, err = e.text(s, key, 64); err == nil && e.at.UnmarshalText([]byte(e.time)) != nil {
			err = s.errorf("%q is no RFC 3339 time", key)
		}
	case fieldType:
		e.typ, err = e.text(s, key, 128)
	case fieldFW:
		e.fw, err = e.text(s, key, 128)
	case fieldDevice:
		e.device, err = e.text(s, key, 256)
	case fieldTenant:
		e.tenant, err = e.text(s, key, 256)
		e.claimed = true // whatever it is, it is a claim
	case fieldData:
		from := s.i
		if s.i >= len(s.b) || s.b[s.i] != '{' {
			return s.errorf("%q must be an object", key)
		}
		e.value, err = s.value()
		e.data = s.b[from:s.i]
	}
	return err
}

func (e *event) text(s *scanner, key string, limit int) (string, error) {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return "", s.errorf("%q must be a string", key)
	}
	v, err := s.str()
	if err == nil && (v == "" || len(v) > limit) {
		return "", s.errorf("%q must have 1 to %d bytes", key, limit)
	}
	return v, err
}

// splitLines cuts NDJSON into its lines; blank lines are none. It stops with
// ok false when there are more than limit, counting on.
func splitLines(body []byte, limit int) (lines [][]byte, count int, ok bool) {
	for len(body) > 0 {
		line := body
		if i := bytes.IndexByte(body, '\n'); i >= 0 {
			line, body = body[:i], body[i+1:]
		} else {
			body = nil
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if count++; count <= limit {
			lines = append(lines, line)
		}
	}
	return lines, count, count <= limit
}

// splitArray cuts a JSON array into its elements, as sent. A fault in the
// array itself is an error; one inside an element is judged with the element.
func splitArray(body []byte, limit int) (lines [][]byte, count int, ok bool, err error) {
	s := &scanner{b: body}
	s.space()
	if s.i >= len(body) || body[s.i] != '[' {
		return nil, 0, true, s.errorf("expected an array")
	}
	s.i++
	s.space()
	if s.i < len(body) && body[s.i] == ']' {
		s.i++
	} else {
		for {
			s.space()
			from := s.i
			if err := s.skip(); err != nil {
				return nil, count, true, err
			}
			if count++; count <= limit {
				lines = append(lines, bytes.TrimSpace(body[from:s.i]))
			}
			if s.i >= len(body) {
				return nil, count, true, s.errorf("array without end")
			}
			s.i++
			if body[s.i-1] == ']' {
				break
			}
		}
	}
	s.space()
	if s.i != len(body) {
		return nil, count, true, s.errorf("something follows the array")
	}
	return lines, count, count <= limit, nil
}

// skip moves over one element, to the comma or bracket that ends it, watching
// only strings and brackets: enough to tell elements apart.
func (s *scanner) skip() error {
	from, open := s.i, 0
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '"':
			for s.i++; s.i < len(s.b) && s.b[s.i] != '"'; s.i++ {
				if s.b[s.i] == '\\' {
					s.i++
				}
			}
		case '{', '[':
			open++
		case '}':
			open--
		case ']', ',':
			if open == 0 {
				if len(bytes.TrimSpace(s.b[from:s.i])) == 0 {
					return s.errorf("expected a value")
				}
				return nil
			}
			if s.b[s.i] == ']' {
				open--
			}
		}
		if open < 0 {
			return s.errorf("brackets do not match")
		}
	}
	return s.errorf("array without end")
}
