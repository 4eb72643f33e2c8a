package drill

import (
	"context"
	"fmt"
	"time"
)

// revoked takes a canary's credential away while its connection is open.
func revoked() drill {
	return drill{
		id: "ID-05.revoked-device", control: "ID-05",
		what:     "a device goes on sending after it is revoked, on its open connection and on a new one",
		expected: "the open connection is cut or answers 403 auth.revoked, a new one gets 403 auth.revoked or a TLS alert; nothing stored after the decision",
		attack: func(ctx context.Context, r *run) outcome {
			return r.locked(ctx, "revoke", "auth.revoked")
		},
	}
}

// quarantined does the same by a quarantine.
func quarantined() drill {
	return drill{
		id: "ID-05.quarantined-device", control: "ID-05",
		what:     "a device goes on sending after it is quarantined, on its open connection and on a new one",
		expected: "the open connection is cut or answers 403 auth.quarantined, a new one gets 403 auth.quarantined; nothing stored after the decision",
		attack: func(ctx context.Context, r *run) outcome {
			return r.locked(ctx, "quarantine", "auth.quarantined")
		},
	}
}

// locked acts on a canary with an open connection and tries that connection
// and a new one. The latency is from the operator's request to the first
// refusal that the device saw.
func (r *run) locked(ctx context.Context, act, code string) outcome {
	c, err := r.canary(ctx, TenantA, act+"d")
	if err != nil {
		return unable("", err)
	}
	sent := fmt.Sprintf("POST /v1/telemetry, 1 event each, by canary device %s after POST %s", c.device, c.path(act))
	open, failed := r.public.dial(ctx, r.public.with(c.certificate))
	if failed != nil {
		return unable(sent, fmt.Errorf("opening the device's connection: %s", failed))
	}
	defer open.close()
	before := open.do(r.batch(c, 1))
	if receipt, err := before.receipt(); err != nil || receipt.Accepted != 1 {
		return unable(sent, fmt.Errorf("the device's event before the decision was not accepted: %s", before.verbose()))
	}
	began := time.Now()
	if err := r.act(ctx, c, act, "drill: "+act+" a canary device with an open connection"); err != nil {
		return unable(sent, err)
	}
	c.revoked = act == "revoke"
	same := open.do(r.batch(c, 1))
	first := time.Since(began)
	fresh := r.show(ctx, r.batch(c, 1), c.certificate)
	o := outcome{
		sent: sent, latency: first,
		got: fmt.Sprintf("open connection: %s, %.1f ms after the operator's request; new connection: %s", same.verbose(), milliseconds(first), fresh.verbose()),
	}
	onOpen := same.refusal(403, code)
	if same.closed || same.alert != "" {
		onOpen = Passed // cut; what the ingest thinks of the device is told by the new connection
	}
	onNew := fresh.refusal(403, code)
	if fresh.alert != "" && c.revoked {
		onNew = Passed
	}
	o.verdict = join(onOpen, onNew)
	o.traces = []trace{caused(code, c)}
	o.stored = []stored{{TenantA, c.device, c.seq - 1, 0}, {TenantA, c.device, c.seq, 0}}
	return o
}
