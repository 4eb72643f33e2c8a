package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// behindContentType names another tenant in the event, and hides it from a
// reader that looks at plain NDJSON only.
func behindContentType() drill {
	return drill{
		id: "PR-01.tenant-behind-content-type", control: "PR-01",
		what:     "a device names another tenant in the event, sent as a JSON array, compressed, with the key in escapes, and as UTF-16",
		expected: "403 tenant.mismatch each time, 415 media.unsupported for UTF-16; nothing stored in either tenant",
		attack: func(ctx context.Context, r *run) outcome {
			if err := r.tenant(ctx, TenantB); err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "disguising")
			if err != nil {
				return unable("", err)
			}
			o := outcome{sent: "POST /v1/telemetry, 1 event with \"tenant\":\"" + TenantB + "\" in 4 disguises, by canary device " + c.device + " of " + TenantA}
			for _, way := range []struct {
				name   string
				status int
				code   string
				hide   func(*request) error
			}{
				{"array", 403, "tenant.mismatch", func(q *request) error {
					q.header.Set("Content-Type", "application/json; charset=UTF-8")
					q.body = fmt.Appendf(nil, "[%s]", bytes.TrimSpace(q.body))
					return nil
				}},
				{"gzip", 403, "tenant.mismatch", func(q *request) (err error) {
					q.header.Set("Content-Encoding", "gzip")
					q.body, err = pack(q.body)
					return err
				}},
				{"escapes", 403, "tenant.mismatch", func(q *request) error {
					q.body = bytes.Replace(q.body, []byte(`"tenant"`), []byte(`"t\u0065nant"`), 1)
					return nil
				}},
				{"UTF-16", 415, "media.unsupported", func(q *request) error {
					q.header.Set("Content-Type", "application/x-ndjson; charset=utf-16")
					return nil
				}},
			} {
				c.seq++
				q := upload(r.line(c.seq, r.t.EventData, `"tenant":"`+TenantB+`",`))
				if err := way.hide(&q); err != nil {
					return unable(o.sent, err)
				}
				a := r.public.once(ctx, r.public.with(c.certificate), q)
				o.add(way.name+": ", a, a.refusal(way.status, way.code))
				o.stored = append(o.stored, stored{TenantA, c.device, c.seq, 0}, stored{TenantB, c.device, c.seq, 0})
			}
			o.traces, o.recorded = []trace{crossed(c)}, true
			return o
		},
	}
}

// tenantInStream names another tenant in an event of a stream.
func tenantInStream() drill {
	return drill{
		id: "PR-01.tenant-in-stream", control: "PR-01",
		what:     "a device of one tenant names another tenant in an event of a stream",
		expected: "tenant.mismatch, and the stream ends; recorded with both tenants; nothing stored in either",
		attack: func(ctx context.Context, r *run) outcome {
			if err := r.tenant(ctx, TenantB); err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "streaming")
			if err != nil {
				return unable("", err)
			}
			c.seq++
			q := upload(r.line(c.seq, r.t.EventData, `"tenant":"`+TenantB+`",`))
			q.path = "/v1/stream"
			a := r.public.once(ctx, r.public.with(c.certificate), q)
			o := outcome{
				sent: fmt.Sprintf("POST /v1/stream, 1 event with \"tenant\":%q, by canary device %s of %s", TenantB, c.device, TenantA),
				got:  a.String(), latency: a.latency, verdict: a.refusal(403, "tenant.mismatch"),
				stored: []stored{{TenantA, c.device, c.seq, 0}, {TenantB, c.device, c.seq, 0}}, traces: []trace{crossed(c)}, recorded: true,
			}
			if a.status == 200 {
				o.got, o.verdict = streamed(a.body)
			}
			return o
		},
	}
}

// streamed reads the answer of a stream whose one event must be refused.
func streamed(body []byte) (got, verdict string) {
	verdict = NotAvailable // no receipt
	for line := range strings.Lines(string(body)) {
		var l struct {
			Status, Code string
			Line         int64
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			return "200 with what is no receipt", Failed
		}
		if l.Line == 1 {
			got, verdict = fmt.Sprintf("200; line 1 %s %s", l.Status, l.Code), judged(l.Status == "refused" && l.Code == "tenant.mismatch")
		}
	}
	if got == "" {
		got = "200 without a receipt"
	}
	return got, verdict
}

// throughGateway speaks as a gateway would for a device of another tenant.
func throughGateway() drill {
	return drill{
		id: "PR-01.tenant-through-gateway", control: "PR-01",
		what:     "a device poses as a gateway and speaks for a device of another tenant",
		expected: "dead-lettered or refused as device.mismatch; not stored as an event in either tenant",
		attack: func(ctx context.Context, r *run) outcome {
			other, err := r.canary(ctx, TenantB, "spoken-for")
			if err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "posing")
			if err != nil {
				return unable("", err)
			}
			c.seq++
			line := r.line(c.seq, r.t.EventData, `"device":"`+other.device+`",`)
			a := r.public.once(ctx, r.public.with(c.certificate), upload(line))
			o := lineRefused(a, c, line, fmt.Sprintf("POST /v1/telemetry, 1 event with \"device\":%q of %s, by canary device %s of %s", other.device, TenantB, c.device, TenantA), "device.mismatch")
			o.stored = append(o.stored, stored{TenantA, other.device, c.seq, 0}, stored{TenantB, other.device, c.seq, 0})
			o.traces, o.recorded = o.traces[:1], true
			return o
		},
	}
}
