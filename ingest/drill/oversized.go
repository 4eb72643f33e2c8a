package drill

import (
	"bytes"
	"context"
	"fmt"
)

// mostBytes is the largest body that a drill sends.
const mostBytes = 64 << 20

// oversizedBody sends one good event in a body beyond the limit, once with the
// length declared and once without.
func oversizedBody() drill {
	return drill{
		id: "TR-03.oversized-body", control: "TR-03",
		what:     "a body larger than the limit, once with its length declared and once in chunks",
		expected: "413 body.too-large both times; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			limit, err := r.config.limit("body_bytes", r.config.Limits.BodyBytes, mostBytes)
			if err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "oversizing")
			if err != nil {
				return unable("", err)
			}
			o := outcome{sent: fmt.Sprintf("POST /v1/telemetry, 1 event and white space, %d bytes, by canary device %s", limit+1024, c.device)}
			for _, way := range []string{"declared", "chunked"} {
				q := r.batch(c, 1)
				q.body = padded(q.body, int(limit)+1024)
				q.chunked = way == "chunked"
				a := r.public.once(ctx, r.public.with(c.certificate), q)
				o.add(way+": ", a, a.refusal(413, "body.too-large"))
				o.stored = append(o.stored, stored{TenantA, c.device, c.seq, 0})
			}
			o.traces = []trace{caused("body.too-large", c)}
			return o
		},
	}
}

// padded puts white space between the event and its line feed.
func padded(line []byte, size int) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return append(append(line, bytes.Repeat([]byte(" "), max(0, size-len(line)-1))...), '\n')
}

// add joins one more answer to the outcome; the latency is that of the slowest.
func (o *outcome) add(label string, a answer, verdict string) {
	if o.got != "" {
		o.got += "; "
	}
	o.got += label + a.verbose()
	o.latency = max(o.latency, a.latency)
	if o.verdict != "" {
		verdict = join(o.verdict, verdict)
	}
	o.verdict = verdict
}
