package ingest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxLine is the longest line that is taken, which fits a payload of 65,535
// bytes, and as base64 an answer to who lists dead letters.
const maxLine = 47 << 10

// event is one line as it was read; its texts are parts of the line. Where
// fault is set the line is no event that can be accepted, and the other fields
// hold what could be read.
type event struct {
	raw     string
	seq     int64
	boot    int64
	hasSeq  bool
	claimed bool   // "tenant" stands there
	time    string // as sent; RFC 3339
	at      time.Time
	typ     string
	fw      string
	data    string // the value of "data" as sent
	root    int    // the scanner's node of the same, until it reads another line
	tenant  string // what "tenant" names where it stands there
	device  string
	fault   Code
	detail  string
}

// event reads one line: {"seq","time","type","data"} and optionally "boot",
// "fw", "device" and "tenant". Any other key is a fault, since what is not
// kept must not be taken.
func (s *scanner) event(e *event, line string, maxDepth int) {
	*e = event{}
	e.raw = line
	if len(line) > maxLine {
		e.fault, e.detail = CodeEventTooLarge, fmt.Sprintf("%d bytes; the limit is %d", len(line), maxLine)
		return
	}
	s.reset(line, maxDepth)
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

	fieldsWanted = fieldSeq | fieldTime | fieldType | fieldData
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
	if s.space(); !s.at('{') {
		return s.errorf("expected an object")
	}
	if err := s.enter(); err != nil {
		return err
	}
	have := 0
	s.space()
	if s.at('}') {
		s.leave()
	} else {
		for more := true; more; {
			err := e.member(s, &have)
			if err != nil {
				return err
			}
			if more, err = s.more('}'); err != nil {
				return err
			}
		}
	}
	if have&fieldsWanted != fieldsWanted {
		for _, k := range []string{"seq", "time", "type", "data"} {
			if have&fieldBit(k) == 0 {
				return s.errorf("key %q is missing", k)
			}
		}
	}
	return nil
}

// member reads one key of the event and its value. have are those before it.
func (e *event) member(s *scanner, have *int) error {
	s.space()
	key, ok := s.plain()
	if ok {
		if err := s.colon(); err != nil {
			return err
		}
	} else {
		at := len(s.nodes)
		if err := s.key(); err != nil {
			return err
		}
		key = s.textOf(at)
	}
	bit := fieldBit(key)
	if bit == 0 {
		return s.errorf("a key that no event has")
	}
	if *have&bit != 0 && !off(guardDuplicateKeys) {
		return s.errorf("key %q stands twice", key)
	}
	*have |= bit
	return e.field(s, bit, key)
}

func (e *event) field(s *scanner, bit int, key string) (err error) {
	switch bit {
	case fieldSeq:
		if off(guardNumbers) {
			e.seq, e.hasSeq = s.anyInteger(), true
			return nil
		}
		e.seq, err = s.integer(key)
		e.hasSeq = err == nil
	case fieldBoot:
		if off(guardNumbers) {
			e.boot = s.anyInteger()
			return nil
		}
		e.boot, err = s.integer(key)
	case fieldTime:
		if e.time, err = s.fieldText(key, 64); err == nil && e.at.UnmarshalText([]byte(e.time)) != nil {
			err = s.errorf("%q is no RFC 3339 time", key)
		}
	case fieldType:
		e.typ, err = s.fieldText(key, 128)
	case fieldFW:
		e.fw, err = s.fieldText(key, 128)
	case fieldDevice:
		e.device, err = s.fieldText(key, 256)
	case fieldTenant:
		e.claimed = true // whatever it is, it is a claim
		e.tenant, err = s.fieldText(key, 256)
	case fieldData:
		from := s.i
		if !s.at('{') {
			return s.errorf("%q must be an object", key)
		}
		e.root = len(s.nodes)
		err = s.value()
		e.data = s.b[from:s.i]
	}
	return err
}

// fieldText reads a string of an event.
func (s *scanner) fieldText(key string, limit int) (string, error) {
	if !s.at('"') {
		return "", s.errorf("%q must be a string", key)
	}
	v, ok := s.plain()
	if !ok {
		at := len(s.nodes)
		if err := s.str(); err != nil {
			return "", err
		}
		v = s.textOf(at)
	}
	if v == "" || len(v) > limit {
		return "", s.errorf("%q must have 1 to %d bytes", key, limit)
	}
	return v, nil
}

// splitLines cuts NDJSON into its lines, behind those it is given; blank lines
// are none. It stops with ok false when there are more than limit, counting on.
func splitLines(lines []string, body string, limit int) (_ []string, count int, ok bool) {
	for len(body) > 0 {
		var line string
		line, body, _ = strings.Cut(body, "\n")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if count++; count <= limit {
			lines = append(lines, line)
		}
	}
	return lines, count, count <= limit
}

// splitArray cuts a JSON array into its elements, as sent, behind those it is
// given. A fault in the array itself is an error; one inside an element is
// judged with the element.
func splitArray(lines []string, body string, limit int) (_ []string, count int, ok bool, err error) {
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
				lines = append(lines, strings.TrimSpace(body[from:s.i]))
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
				if strings.TrimSpace(s.b[from:s.i]) == "" {
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
