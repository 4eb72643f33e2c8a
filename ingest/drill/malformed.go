package drill

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

// malformed are the drills that send one bad line before a good one: the bad
// one must be kept apart, and the good one must not suffer for it.
func malformed() []drill {
	replace := func(old, new string) func([]byte) []byte {
		return func(line []byte) []byte { return bytes.Replace(line, []byte(old), []byte(new), 1) }
	}
	bad := []struct {
		name, what string
		spoil      func(line []byte) []byte
	}{
		{"truncated-json", "an event cut off before its last brace, which a reader that mends what it reads would take", func(line []byte) []byte {
			return append(slices.Clone(line[:len(line)-2]), '\n')
		}},
		{"bad-utf8", "an event with bytes that are not UTF-8", replace(`"type":`, "\"fw\":\"\xff\xc3(\",\"type\":")},
		{"duplicate-keys", "an event that says its type twice", replace(`"type":`, `"type":"other","type":`)},
		{"not-a-number", "an event with NaN for a number", replace(`"type":`, `"boot":NaN,"type":`)},
		{"huge-number", "an event whose number is beyond any range", replace(`"seq":`, `"seq":1`+strings.Repeat("0", 400))},
	}
	drills := make([]drill, len(bad))
	for i, b := range bad {
		drills[i] = drill{
			id: "TR-05." + b.name, control: "TR-05",
			what:     b.what + ", before a good one",
			expected: "202; the bad line a dead letter event.malformed with its bytes, the good line accepted",
			attack: func(ctx context.Context, r *run) outcome {
				return r.spoiled(ctx, b.name, b.spoil)
			},
		}
	}
	return drills
}

func (r *run) spoiled(ctx context.Context, name string, spoil func([]byte) []byte) outcome {
	c, err := r.canary(ctx, TenantA, "main")
	if err != nil {
		return unable("", err)
	}
	c.seq++
	line := spoil(r.line(c.seq, r.t.EventData))
	good := r.batch(c, 1).body
	a := r.public.once(ctx, r.public.with(c.certificate), upload(slices.Concat(line, good)))
	o := lineRefused(a, c, line, fmt.Sprintf("POST /v1/telemetry, a line with %s and a good one, by canary device %s", name, c.device), "event.malformed")
	if o.verdict == Passed {
		receipt, err := a.receipt()
		o.verdict = judged(err == nil && receipt.Accepted == 1 && receipt.DeadLettered == 1)
	}
	o.stored = []stored{{TenantA, c.device, c.seq - 1, 0}, {TenantA, c.device, c.seq, 1}}
	o.traces, o.recorded = o.traces[:1], true // the dead letter
	return o
}
