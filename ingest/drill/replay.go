package drill

import (
	"context"
	"fmt"
)

// replayedBatch sends a captured batch a second time, byte for byte.
func replayedBatch() drill {
	return drill{
		id: "TR-02.replayed-batch", control: "TR-02",
		what:     "a captured batch is sent again, byte for byte",
		expected: "absorbed as duplicates: none accepted, each event stored once, the replay recorded",
		attack: func(ctx context.Context, r *run) outcome {
			c, err := r.canary(ctx, TenantA, "replaying")
			if err != nil {
				return unable("", err)
			}
			const n = 5
			sent := fmt.Sprintf("POST /v1/telemetry, the same %d events twice, by canary device %s", n, c.device)
			q := r.batch(c, n)
			first := r.public.once(ctx, r.public.with(c.certificate), q)
			if receipt, err := first.receipt(); err != nil || receipt.Accepted != n {
				return unable(sent, fmt.Errorf("the batch was not accepted the first time: %s", first.verbose()))
			}
			again := r.public.once(ctx, r.public.with(c.certificate), q)
			o := outcome{sent: sent, got: "second time: " + again.verbose(), latency: again.latency, verdict: again.refusal(202, "")}
			if o.verdict == Passed {
				receipt, err := again.receipt()
				o.verdict = judged(err == nil && receipt.Accepted == 0 && receipt.Duplicate == n)
			}
			for seq := c.seq - n + 1; seq <= c.seq; seq++ {
				o.stored = append(o.stored, stored{TenantA, c.device, seq, 1})
			}
			o.recorded = true
			o.traces = []trace{{log: TenantA, ours: true, match: func(rec record) bool {
				return rec.tenant.T == "tally" && rec.tenant.Device == c.device && rec.tenant.Duplicate == n
			}}}
			return o
		},
	}
}
