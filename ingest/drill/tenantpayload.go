package drill

import "context"

// tenantInPayload names another tenant in the event.
func tenantInPayload() drill {
	return drill{
		id: "PR-01.tenant-in-payload", control: "PR-01",
		what:     "a device of one tenant names another tenant in the event",
		expected: "403 tenant.mismatch; recorded with both tenants; nothing stored in either",
		attack: func(ctx context.Context, r *run) outcome {
			return r.crossing(ctx, "payload", `POST /v1/telemetry, 1 event with "tenant":"`+TenantB+`"`, func(c *canary) request {
				c.seq++
				return upload(r.line(c.seq, r.t.EventData, `"tenant":"`+TenantB+`",`))
			})
		},
	}
}
