package drill

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// tooDeep nests an event's data one level deeper than the limit.
func tooDeep() drill {
	return drill{
		id: "TR-03.too-deep", control: "TR-03",
		what:     "an event nested deeper than the limit",
		expected: "dead-lettered or refused as event.too-deep; not stored as an event",
		attack: func(ctx context.Context, r *run) outcome {
			limit, err := r.config.limit("depth", r.config.Limits.Depth, 5000)
			if err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "main")
			if err != nil {
				return unable("", err)
			}
			c.seq++
			// The event itself is the first level.
			n := int(limit)
			line := r.line(c.seq, []byte(strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n)))
			a := r.public.once(ctx, r.public.with(c.certificate), upload(line))
			return lineRefused(a, c, line, fmt.Sprintf("POST /v1/telemetry, 1 event %d levels deep, by canary device %s", n+1, c.device), "event.too-deep")
		},
	}
}

// lineRefused is the outcome of a request whose first line must be dead-
// lettered, or the whole refused, with the code. The dead letter must hold the
// line as it was sent.
func lineRefused(a answer, c *canary, line []byte, sent, code string) outcome {
	o := outcome{sent: sent, got: a.verbose(), latency: a.latency, verdict: NotAvailable}
	switch receipt, err := a.receipt(); {
	case err == nil:
		l := receipt.line(1)
		o.verdict = judged(l.Code == code && (l.Status == "dead-lettered" || l.Status == "refused"))
	case a.status >= 400 && a.status < 500 && a.status != 429:
		o.verdict = judged(a.code == code)
	case a.status >= 500 && a.status != 503:
		o.verdict = Failed
	}
	kept := bytes.TrimSuffix(line, []byte("\n"))
	o.stored = []stored{{TenantA, c.device, c.seq, 0}}
	o.traces = []trace{{log: TenantA, ours: true, match: func(rec record) bool {
		return rec.tenant.T == "deadletter" && rec.tenant.Device == c.device &&
			bytes.Equal(bytes.TrimSuffix(rec.tenant.Bytes, []byte("\n")), kept)
	}}, caused(code, c)}
	return o
}
