package drill

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// wrongTime are the drills with events of another time than that at which they
// are sent.
func wrongTime() []drill {
	return []drill{
		{
			id: "PR-14.future-time", control: "PR-14",
			what:     "an event from further in the future than the policy takes",
			expected: "dead-lettered as time.future; not stored as an event",
			attack: func(ctx context.Context, r *run) outcome {
				return r.atTime(ctx, "hurrying", "future", r.config.Time.Future, 1, "time.future")
			},
		},
		{
			id: "PR-14.ancient-time", control: "PR-14",
			what:     "an event that is older than the policy takes",
			expected: "dead-lettered as time.too-old; not stored as an event",
			attack: func(ctx context.Context, r *run) outcome {
				return r.atTime(ctx, "lagging", "past", r.config.Time.Past, -1, "time.too-old")
			},
		},
	}
}

func (r *run) atTime(ctx context.Context, role, setting, limit string, direction time.Duration, code string) outcome {
	if r.config.err != nil {
		return unable("", r.config.err)
	}
	span, err := time.ParseDuration(limit)
	if err != nil || span <= 0 {
		return unable("", errors.New("the ingest's settings name no time."+setting))
	}
	c, err := r.canary(ctx, TenantA, role)
	if err != nil {
		return unable("", err)
	}
	c.seq++
	at := r.t.Now().Add(direction * (span + time.Hour)).UTC()
	line := fmt.Appendf(nil, `{"seq":%d,"time":"%s","type":%q,"data":%s}`+"\n", c.seq, at.Format(time.RFC3339), r.t.EventType, r.t.EventData)
	a := r.public.once(ctx, r.public.with(c.certificate), upload(line))
	o := lineRefused(a, c, line, fmt.Sprintf("POST /v1/telemetry, 1 event of %s, by canary device %s", at.Format(time.RFC3339), c.device), code)
	o.traces, o.recorded = o.traces[:1], true
	return o
}
