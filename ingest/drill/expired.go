package drill

import (
	"context"
	"fmt"
	"time"
)

// shortLife is how long the credential lives that a drill sees expire.
const shortLife = 5 * time.Second

// expired goes on with a certificate that the ingest issued after its dates are
// past. A device may ask for a shorter life than it would be given, so the
// canary's own credential becomes the expired one.
func expired() drill {
	return drill{
		id: "ID-02.expired-certificate", control: "ID-02",
		what:     "a device goes on sending when its certificate has expired, on its open connection and on a new one",
		expected: "the open connection is cut or answers 401 auth.expired-credential, a new one gets that or a TLS alert; nothing stored",
		prepare:  func(ctx context.Context, r *run) { r.expiring(ctx) },
		attack: func(ctx context.Context, r *run) outcome {
			c, err := r.expiring(ctx)
			if err != nil {
				return unable("", err)
			}
			until := c.certificate.Leaf.NotAfter
			sent := fmt.Sprintf("POST /v1/telemetry, 1 event each, by canary device %s after its certificate expired at %s", c.device, until.UTC().Format(time.RFC3339))
			open := c.open
			if open == nil {
				return unable(sent, fmt.Errorf("the connection opened before could not be kept"))
			}
			defer open.close()
			if err := r.pass(ctx, until.Sub(r.t.Now())+1500*time.Millisecond); err != nil {
				return unable(sent, err)
			}
			same := open.do(r.batch(c, 1))
			fresh := r.show(ctx, r.batch(c, 1), c.certificate)
			const code = "auth.expired-credential"
			o := outcome{sent: sent, got: fmt.Sprintf("open connection: %s; new connection: %s", same.verbose(), fresh.verbose()), latency: max(same.latency, fresh.latency)}
			onOpen, onNew := same.refusal(401, code), fresh.refusal(401, code)
			if same.closed || same.alert != "" {
				onOpen = Passed // cut; what the ingest thinks of the credential is told by the new connection
			}
			if fresh.alert != "" {
				onNew = Passed
			}
			o.verdict = join(onOpen, onNew)
			o.traces = []trace{caused(code, c)}
			o.stored = []stored{{TenantA, c.device, c.seq - 1, 0}, {TenantA, c.device, c.seq, 0}}
			return o
		},
	}
}

// expiring is a canary whose certificate expires soon, with a connection that
// was opened before.
func (r *run) expiring(ctx context.Context) (*canary, error) {
	fresh := r.canaries[TenantA+"/expiring"] == nil
	c, err := r.canaryWith(ctx, TenantA, "expiring", func(c *canary) { c.life = shortLife })
	if err == nil && fresh {
		open, failed := r.public.dial(ctx, r.public.with(c.certificate))
		if failed != nil {
			return nil, fmt.Errorf("opening the connection of canary device %s: %s", c.device, failed)
		}
		if receipt, err := open.do(r.batch(c, 1)).receipt(); err != nil || receipt.Accepted != 1 {
			open.close()
			return nil, fmt.Errorf("an event of canary device %s was not accepted while its certificate was good", c.device)
		}
		c.open = open
	}
	return c, err
}

// pass lets time go by on the ingest's clock.
func (r *run) pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if r.t.Wait != nil {
		return r.t.Wait(ctx, d)
	}
	before := r.t.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	if gone := r.t.Now().Sub(before); gone < d-time.Second {
		return fmt.Errorf("the ingest's clock went on by %v in %v: what needs time to pass cannot be seen", gone, d)
	}
	return nil
}
