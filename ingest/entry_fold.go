package ingest

import (
	"encoding/json"
	"fmt"
	"time"
)

// foldedEntry is what the state takes from an entry of a tenant's log.
type foldedEntry struct {
	kind     entryKind
	received time.Time
	device   []byte // may be a part of the entry, as fw may
	gen      int
	boot     int64
	seq      int64
	hasSeq   bool

	// Of an event.
	at       time.Time
	fw       []byte
	replays  int64 // the dead letter that it was, where isReplay is set
	isReplay bool

	tally counts // of a tally, with received all its lines
}

type entryKind uint8

const (
	kindEvent entryKind = iota + 1
	kindDeadLetter
	kindTally
)

// readFolded reads an entry. Nearly all are in the form in which this program
// writes them, and scanned; for any other encoding/json has the word.
func readFolded(data []byte) (foldedEntry, error) {
	var e foldedEntry
	if e.scan(data) {
		return e, nil
	}
	return decodeFolded(data)
}

// decodeFolded reads an entry of any form.
func decodeFolded(data []byte) (foldedEntry, error) {
	var in tenantEntry
	if err := json.Unmarshal(data, &in); err != nil {
		return foldedEntry{}, err
	}
	e := foldedEntry{
		received: in.Received, device: []byte(in.Device), gen: in.Gen, boot: in.Boot, fw: []byte(in.FW),
		tally: counts{received: in.ReceivedLines, accepted: in.Accepted, duplicate: in.Duplicate, deadLettered: in.DeadLettered, refused: in.Refused},
	}
	if in.Seq != nil {
		e.seq, e.hasSeq = *in.Seq, true
	}
	if in.Replays != nil {
		e.replays, e.isReplay = *in.Replays, true
	}
	switch in.T {
	case "event":
		if e.kind = kindEvent; !e.hasSeq {
			return e, fmt.Errorf("event without seq")
		}
		if err := e.at.UnmarshalText([]byte(in.Time)); err != nil {
			return e, err
		}
	case "deadletter":
		e.kind = kindDeadLetter
	case "tally":
		e.kind = kindTally
	default:
		return e, fmt.Errorf("it is of the unknown kind %q; was it written by a newer trustpack?", clip(in.T))
	}
	return e, nil
}

// scan reads an entry that is an object without spaces whose keys are known,
// with plain values. It is false for any other, of which nothing
// is said.
func (e *foldedEntry) scan(data []byte) bool {
	s := entryScanner{b: data}
	if !s.next('{') {
		return false
	}
	var at []byte
	for more := true; more; {
		key, ok := s.text()
		if !ok || !s.next(':') {
			return false
		}
		switch string(key) {
		case "boot":
			e.boot, ok = s.number()
		case "seq":
			e.seq, ok = s.number()
			e.hasSeq = true
		case "gen":
			var n int64
			n, ok = s.number()
			e.gen = int(n)
		case "replays":
			e.replays, ok = s.number()
			e.isReplay = true
		case "accepted":
			e.tally.accepted, ok = s.number()
		case "dead_lettered":
			e.tally.deadLettered, ok = s.number()
		case "duplicate":
			e.tally.duplicate, ok = s.number()
		case "refused":
			e.tally.refused, ok = s.number()
		case "received_lines":
			e.tally.received, ok = s.number()
		case "device":
			e.device, ok = s.text()
		case "fw":
			e.fw, ok = s.text()
		case "received":
			var text []byte
			if text, ok = s.text(); ok {
				e.received, ok = plainTime(text)
			}
		case "time":
			at, ok = s.text()
		case "t":
			var text []byte
			text, ok = s.text()
			e.kind = kindOf(text)
		case "detail", "payload", "reason", "rules", "type":
			_, ok = s.text()
		case "flags":
			ok = s.texts()
		default:
			ok = false
		}
		if !ok {
			return false
		}
		if more = s.next(','); !more && !s.next('}') {
			return false
		}
	}
	if s.i != len(data) || e.kind == 0 || e.received.IsZero() {
		return false
	}
	return e.kind != kindEvent || e.hasSeq && e.time(at)
}

func kindOf(text []byte) entryKind {
	switch string(text) {
	case "event":
		return kindEvent
	case "deadletter":
		return kindDeadLetter
	case "tally":
		return kindTally
	}
	return 0
}

// time reads the device's time, in any form that it may have.
func (e *foldedEntry) time(text []byte) bool {
	var ok bool
	if e.at, ok = plainTime(text); ok {
		return true
	}
	return e.at.UnmarshalText(text) == nil
}

// entryScanner reads the plain values of which an entry is made.
type entryScanner struct {
	b []byte
	i int
}

func (s *entryScanner) next(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// text reads a string of printable ASCII without escapes.
func (s *entryScanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	from := s.i
	for i := from; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return s.b[from:i:i], true
		case c == '\\' || c < 0x20 || c >= 0x7f:
			return nil, false
		}
	}
	return nil, false
}

// texts reads an array of one or more strings.
func (s *entryScanner) texts() bool {
	if !s.next('[') {
		return false
	}
	for {
		if _, ok := s.text(); !ok {
			return false
		}
		if !s.next(',') {
			return s.next(']')
		}
	}
}

// number reads a whole number of at most 18 digits.
func (s *entryScanner) number() (int64, bool) {
	negative := s.next('-')
	from, n := s.i, int64(0)
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		n = n*10 + int64(s.b[s.i]-'0')
		s.i++
	}
	digits := s.i - from
	if digits == 0 || digits > 18 || digits > 1 && s.b[from] == '0' {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

// plainTime reads 2026-07-01T10:00:00.123456789Z, with or without a fraction.
func plainTime(b []byte) (time.Time, bool) {
	if len(b) < 20 || len(b) > 30 || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[len(b)-1] != 'Z' {
		return time.Time{}, false
	}
	year, ok1 := digits(b[:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	hour, ok4 := digits(b[11:13])
	minute, ok5 := digits(b[14:16])
	second, ok6 := digits(b[17:19])
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	nanos := 0
	if rest := b[19 : len(b)-1]; len(rest) > 0 {
		var ok bool
		if nanos, ok = digits(rest[1:]); !ok || rest[0] != '.' || len(rest) == 1 {
			return time.Time{}, false
		}
		for range 10 - len(rest) {
			nanos *= 10
		}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	return t, t.Day() == day
}

func digits(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
