package drill

import (
	"context"
	"fmt"
)

// tooManyLines sends more events than a request may hold, the same ones over
// and over, so that an ingest without the limit stores few.
func tooManyLines() drill {
	return drill{
		id: "TR-03.too-many-lines", control: "TR-03",
		what:     "more events in one request than the limit",
		expected: "413 body.too-many-lines; nothing stored",
		attack: func(ctx context.Context, r *run) outcome {
			limit, err := r.config.limit("lines", r.config.Limits.Lines, 1_000_000)
			if err != nil {
				return unable("", err)
			}
			c, err := r.canary(ctx, TenantA, "crowding")
			if err != nil {
				return unable("", err)
			}
			// Short lines, so that the body stays within its own limit.
			c.seq++
			body := r.line(c.seq, r.t.EventData)
			for range limit {
				body = append(body, "{}\n"...)
			}
			sent := fmt.Sprintf("POST /v1/telemetry, %d lines, %d bytes, by canary device %s", limit+1, len(body), c.device)
			if most, err := r.config.limit("body_bytes", r.config.Limits.BodyBytes, mostBytes); err != nil || int64(len(body)) > most {
				return unable(sent, fmt.Errorf("so many lines do not fit into limits.body_bytes, %d: that limit is met first", most))
			}
			a := r.public.once(ctx, r.public.with(c.certificate), upload(body))
			return outcome{
				sent: sent, got: a.brief(), latency: a.latency, verdict: a.refusal(413, "body.too-many-lines"),
				traces: []trace{caused("body.too-many-lines", c)}, stored: []stored{{TenantA, c.device, c.seq, 0}},
			}
		},
	}
}

// brief is verbose without the lines.
func (a answer) brief() string {
	if r, err := a.receipt(); err == nil {
		r.Lines = nil
		return fmt.Sprintf("202 accepted %d, duplicate %d, dead-lettered %d, refused %d", r.Accepted, r.Duplicate, r.DeadLettered, r.Refused)
	}
	return a.String()
}
