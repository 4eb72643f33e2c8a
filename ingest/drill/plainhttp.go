package drill

import (
	"context"
	"fmt"
)

// plainHTTP speaks to the device port without TLS.
func plainHTTP() drill {
	return drill{
		id: "TR-01.plain-http", control: "TR-01",
		what:     "events sent without TLS",
		expected: "400, an alert or the connection closed; never taken",
		attack: func(ctx context.Context, r *run) outcome {
			c := &canary{tenant: TenantA, device: r.id + "-plain"}
			a := r.public.once(ctx, nil, r.batch(c, 1))
			o := outcome{sent: "POST /v1/telemetry, 1 event, over plain HTTP", got: a.verbose(), latency: a.latency, verdict: NotAvailable}
			switch {
			case a.closed, a.alert != "", a.status == 400, a.status == 426:
				o.verdict = r.alive(ctx, &o)
			case a.status != 0:
				o.verdict = Failed
			}
			o.traces = []trace{refusedFor(a, "tls.plaintext", "")}
			return o
		},
	}
}

// alive makes sure that a refusal without words was one: passed only where the
// same port takes a proper handshake.
func (r *run) alive(ctx context.Context, o *outcome) string {
	c, failed := r.public.dial(ctx, r.public.with())
	if failed != nil {
		o.got += fmt.Sprintf("; but neither does the port take a proper handshake: %s", failed)
		return NotAvailable
	}
	c.close()
	return Passed
}
