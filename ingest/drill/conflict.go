package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// replayConflict sends another event under a number that is already used.
func replayConflict() drill {
	return drill{
		id: "TR-02.replay-with-other-content", control: "TR-02",
		what:     "an event is sent under a number that the device has already used for another one",
		expected: "refused with replay.conflict; the first event stands alone",
		attack: func(ctx context.Context, r *run) outcome {
			c, err := r.canary(ctx, TenantA, "conflicting")
			if err != nil {
				return unable("", err)
			}
			sent := fmt.Sprintf("POST /v1/telemetry, two different events with the same number, by canary device %s", c.device)
			q := r.batch(c, 1)
			first := r.public.once(ctx, r.public.with(c.certificate), q)
			if receipt, err := first.receipt(); err != nil || receipt.Accepted != 1 {
				return unable(sent, fmt.Errorf("the event was not accepted the first time: %s", first.verbose()))
			}
			// The same but for its time, a minute earlier, so that nothing else is wrong with it.
			at := []byte(`"time":"` + r.t.Now().Add(-time.Minute).UTC().Format(time.RFC3339) + `"`)
			begin := bytes.Index(q.body, []byte(`"time":"`))
			end := begin + len(at)
			other := upload(slices.Concat(q.body[:begin], at, q.body[end:]))
			a := r.public.once(ctx, r.public.with(c.certificate), other)
			o := outcome{sent: sent, got: a.verbose(), latency: a.latency, verdict: a.refusal(409, "replay.conflict")}
			if receipt, err := a.receipt(); err == nil {
				o.verdict = judged(receipt.Accepted == 0 && receipt.line(1).Code == "replay.conflict")
			}
			o.stored = []stored{{TenantA, c.device, c.seq, 1}}
			o.traces = []trace{caused("replay.conflict", c), {log: controlLog, ours: true, match: func(rec record) bool {
				var alert evidence.Alert
				return rec.audit.Type == evidence.EntryAlertRaised && json.Unmarshal(rec.audit.Data, &alert) == nil &&
					alert.Kind == "replay.conflict" && (rec.audit.Device == c.device || slices.ContainsFunc(alert.Devices, c.is))
			}}, {log: TenantA, ours: true, match: func(rec record) bool {
				return rec.tenant.T == "tally" && rec.tenant.Device == c.device && rec.tenant.Refused == 1
			}}}
			return o
		},
	}
}

// is reports whether a device's name, with or without tenant and generation,
// is the canary's.
func (c *canary) is(name string) bool {
	return slices.Contains(strings.Split(name, "/"), c.device)
}
