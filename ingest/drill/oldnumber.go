package drill

import (
	"context"
	"errors"
	"fmt"
)

// oldNumber sends an event under a number from before the replay window.
func oldNumber() drill {
	return drill{
		id: "TR-02.number-before-the-window", control: "TR-02",
		what:     "an event under a number from before the replay window, which cannot be told from a replay",
		expected: "refused with replay.stale; not stored",
		attack: func(ctx context.Context, r *run) outcome {
			window := r.config.Replay.Window
			switch {
			case r.config.err != nil:
				return unable("", r.config.err)
			case window <= 0:
				return unable("", errors.New("the ingest's settings name no replay.window"))
			}
			c, err := r.canary(ctx, TenantA, "aging")
			if err != nil {
				return unable("", err)
			}
			old := c.seq + 1
			c.seq += window + 100
			sent := fmt.Sprintf("POST /v1/telemetry, event %d after event %d, where the window is %d, by canary device %s", old, c.seq+1, window, c.device)
			ahead := r.public.once(ctx, r.public.with(c.certificate), r.batch(c, 1))
			if receipt, err := ahead.receipt(); err != nil || receipt.Accepted != 1 {
				return unable(sent, fmt.Errorf("the event ahead was not accepted: %s", ahead.verbose()))
			}
			a := r.public.once(ctx, r.public.with(c.certificate), upload(r.line(old, r.t.EventData)))
			o := outcome{sent: sent, got: a.verbose(), latency: a.latency, verdict: a.refusal(409, "replay.stale")}
			if receipt, err := a.receipt(); err == nil {
				o.verdict = judged(receipt.Accepted == 0 && receipt.line(1).Status == "refused" && receipt.line(1).Code == "replay.stale")
			}
			o.stored = []stored{{TenantA, c.device, old, 0}}
			o.traces, o.recorded = []trace{caused("replay.stale", c)}, true
			return o
		},
	}
}
