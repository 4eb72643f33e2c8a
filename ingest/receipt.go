package ingest

import "strconv"

// Receipt answers a batch, line by line where not every line was accepted.
// Lines count from 1. It is given after the entries are durable.
type Receipt struct {
	Log          string        `json:"log"` // origin of the tenant's log
	Tenant       string        `json:"tenant"`
	FirstIndex   int64         `json:"first_index"` // of the entries that this request made; -1 where it made none
	Count        int64         `json:"count"`       // of those entries
	Accepted     int64         `json:"accepted"`
	Duplicate    int64         `json:"duplicate"`
	DeadLettered int64         `json:"dead_lettered"`
	Refused      int64         `json:"refused"`
	Lines        []LineReceipt `json:"lines,omitempty"`
}

// LineReceipt is what became of one line. Index is that of the entry that
// holds it: a duplicate's is its first one's, where that is still known.
type LineReceipt struct {
	Line   int    `json:"line"`
	Status string `json:"status"` // "accepted", "duplicate", "dead-lettered" or "refused"
	Index  *int64 `json:"index,omitempty"`
	Code   Code   `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
}

const (
	lineAccepted     = "accepted"
	lineDuplicate    = "duplicate"
	lineDeadLettered = "dead-lettered"
	lineRefused      = "refused"
)

// receipt encodes the answer; with all it lists every line.
func (b *batch) receipt(all bool) []byte {
	first := int64(-1)
	if len(b.made) > 0 {
		first = b.first
	}
	out := append(b.out[:0], `{"log":`...)
	out = append(out, b.s.originBegins...) // a tenant's ID needs no escapes
	out = append(append(out, b.t.ID...), '"')
	out = append(out, `,"tenant":`...)
	out = appendString(out, b.t.ID)
	for _, f := range []struct {
		key string
		n   int64
	}{
		{"first_index", first}, {"count", int64(len(b.made))}, {"accepted", b.n.accepted}, {"duplicate", b.n.duplicate},
		{"dead_lettered", b.n.deadLettered}, {"refused", b.n.refused},
	} {
		out = append(out, `,"`...)
		out = append(out, f.key...)
		out = append(out, `":`...)
		out = strconv.AppendInt(out, f.n, 10)
	}
	if all || b.n.accepted != b.n.received {
		for k, i := range b.made {
			index := b.first + int64(k)
			b.lines[i].Index = &index
		}
		out = append(out, `,"lines":`...)
		out = append(out, raw(b.lines)...)
	}
	b.out = append(out, "}\n"...)
	return b.out
}
