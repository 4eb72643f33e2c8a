package drill

import "context"

// tenantInHeader names another tenant in a header.
func tenantInHeader() drill {
	return drill{
		id: "PR-01.tenant-in-header", control: "PR-01",
		what:     "a device of one tenant names another tenant in a header",
		expected: "403 tenant.mismatch; recorded with both tenants; nothing stored in either",
		attack: func(ctx context.Context, r *run) outcome {
			return r.crossing(ctx, "header", "POST /v1/telemetry, 1 event, X-Tenant: "+TenantB, func(c *canary) request {
				q := r.batch(c, 1)
				q.header.Set("X-Tenant", TenantB)
				return q
			})
		},
	}
}
