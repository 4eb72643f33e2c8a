package ingest

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"trustpack/evidence"
)

// tenantEntry is an entry of a tenant's log, as one canonical JSON object.
// T says which: "event", "deadletter" or "tally". The append functions below
// write it without reflection; this type reads it.
//
// What a device sent is the entry's payload, which a purge can erase: an
// event's data as sent, a dead letter's whole line. The log adds a last member
// "payload" that commits to it (see ledger.Entry). Logs written before there
// were payloads have "data" and "bytes" in the entry itself.
type tenantEntry struct {
	T        string          `json:"t"`
	Received time.Time       `json:"received"`
	Device   string          `json:"device"`
	Gen      int             `json:"gen"`
	Boot     int64           `json:"boot"`
	Seq      *int64          `json:"seq"` // always in an event; in a dead letter where it could be read
	Time     string          `json:"time"`
	Type     string          `json:"type"`
	Flags    []string        `json:"flags"`
	FW       string          `json:"fw"`
	Rules    string          `json:"rules"`
	Payload  string          `json:"payload"`
	Data     json.RawMessage `json:"data"`

	Replays *int64 `json:"replays"` // in an event: the dead letter that it is replayed from

	Reason Code   `json:"reason"`
	Detail string `json:"detail"`
	Bytes  []byte `json:"bytes"`

	// A tally stands after the events and dead letters of a request that held
	// duplicates or refused lines too, and accounts for all its lines.
	Accepted      int64 `json:"accepted"`
	DeadLettered  int64 `json:"dead_lettered"`
	Duplicate     int64 `json:"duplicate"`
	Refused       int64 `json:"refused"`
	ReceivedLines int64 `json:"received_lines"`
}

// sender is what each entry of one request says alike.
type sender struct {
	device   string
	gen      int
	received time.Time
	rules    string
	room     []byte // for the two texts below
	named    string // the device as an event has it, once stamp has been called
	stamped  string // and its generation, time of receipt and rules
}

// stamp sets the time of receipt.
func (f *sender) stamp(received time.Time) {
	f.received = received
	f.room = f.appendDevice(f.room[:0])
	named := len(f.room)
	f.room = f.appendRules(f.appendGen(f.room))
	f.named, f.stamped = textOver(f.room[:named]), textOver(f.room[named:])
}

// Keys stand in sorted order, as canonical JSON wants them.

func (f *sender) appendEvent(b []byte, e *event, flags []string) []byte {
	b = append(b, `{"boot":`...)
	b = strconv.AppendInt(b, e.boot, 10)
	if f.named != "" {
		b = append(b, f.named...)
	} else {
		b = f.appendDevice(b)
	}
	if len(flags) > 0 {
		b = append(b, `,"flags":[`...)
		for i, flag := range flags {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, flag)
		}
		b = append(b, ']')
	}
	if e.fw != "" {
		b = append(b, `,"fw":`...)
		b = appendString(b, e.fw)
	}
	if f.stamped != "" {
		b = append(b, f.stamped...)
	} else {
		b = f.appendRules(f.appendGen(b))
	}
	b = append(b, `,"seq":`...)
	b = strconv.AppendInt(b, e.seq, 10)
	b = append(b, `,"t":"event","time":`...)
	b = appendString(b, e.time)
	b = append(b, `,"type":`...)
	b = appendString(b, e.typ)
	return append(b, '}')
}

func (f *sender) appendDeadLetter(b []byte, e *event, reason Code, detail string) []byte {
	b = append(b, '{')
	if e.hasSeq {
		b = append(b, `"boot":`...)
		b = strconv.AppendInt(b, e.boot, 10)
		b = append(b, ',')
	}
	b = append(b, `"detail":`...)
	b = appendString(b, detail)
	b = append(b, `,"device":`...)
	b = appendString(b, f.device)
	b = append(b, `,"gen":`...)
	b = strconv.AppendInt(b, int64(f.gen), 10)
	b = append(b, `,"reason":"`...)
	b = append(b, reason...)
	b = append(b, '"')
	b = f.appendRules(f.appendReceived(b))
	if e.hasSeq {
		b = append(b, `,"seq":`...)
		b = strconv.AppendInt(b, e.seq, 10)
	}
	return append(b, `,"t":"deadletter"}`...)
}

func (f *sender) appendTally(b []byte, n counts) []byte {
	b = append(b, `{"accepted":`...)
	b = strconv.AppendInt(b, n.accepted, 10)
	b = append(b, `,"dead_lettered":`...)
	b = strconv.AppendInt(b, n.deadLettered, 10)
	b = append(b, `,"device":`...)
	b = appendString(b, f.device)
	b = append(b, `,"duplicate":`...)
	b = strconv.AppendInt(b, n.duplicate, 10)
	b = f.appendGen(b)
	b = append(b, `,"received_lines":`...)
	b = strconv.AppendInt(b, n.received, 10)
	b = append(b, `,"refused":`...)
	b = strconv.AppendInt(b, n.refused, 10)
	return append(b, `,"t":"tally"}`...)
}

func (f *sender) appendDevice(b []byte) []byte {
	return appendString(append(b, `,"device":`...), f.device)
}

// appendGen writes gen and received, which stand side by side in events and
// tallies.
func (f *sender) appendGen(b []byte) []byte {
	b = append(b, `,"gen":`...)
	return f.appendReceived(strconv.AppendInt(b, int64(f.gen), 10))
}

func (f *sender) appendRules(b []byte) []byte {
	b = append(b, `,"rules":"`...)
	b = append(b, f.rules...)
	return append(b, '"')
}

func (f *sender) appendReceived(b []byte) []byte {
	b = append(b, `,"received":"`...)
	b = f.received.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendString writes s as a JSON string the way evidence.CanonicalJSON does.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := evidence.CanonicalJSON(s)
			if err != nil { // a string always encodes
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
