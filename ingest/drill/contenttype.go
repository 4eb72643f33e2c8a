package drill

import (
	"context"
	"fmt"
)

// wrongContentType sends events as something else.
func wrongContentType() drill {
	return drill{
		id: "TR-05.wrong-content-type", control: "TR-05",
		what:     "a good event sent as text/xml",
		expected: "415 media.unsupported; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			c, err := r.canary(ctx, TenantA, "mislabelling")
			if err != nil {
				return unable("", err)
			}
			q := r.batch(c, 1)
			q.header.Set("Content-Type", "text/xml")
			a := r.public.once(ctx, r.public.with(c.certificate), q)
			return outcome{
				sent: fmt.Sprintf("POST /v1/telemetry, 1 event, Content-Type: text/xml, by canary device %s", c.device),
				got:  a.verbose(), latency: a.latency, verdict: a.refusal(415, "media.unsupported"),
				traces: []trace{caused("media.unsupported", c)},
				stored: []stored{{TenantA, c.device, c.seq, 0}},
			}
		},
	}
}
