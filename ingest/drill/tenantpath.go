package drill

import (
	"context"
	"fmt"
)

// tenantInPath names another tenant in the URL.
func tenantInPath() drill {
	return drill{
		id: "PR-01.tenant-in-path", control: "PR-01",
		what:     "a device of one tenant writes to another tenant's path",
		expected: "403 tenant.mismatch; recorded with both tenants; nothing stored in either",
		attack: func(ctx context.Context, r *run) outcome {
			return r.crossing(ctx, "path", "POST /v1/tenants/"+TenantB+"/telemetry, 1 event", func(c *canary) request {
				q := r.batch(c, 1)
				q.path = "/v1/tenants/" + TenantB + "/telemetry"
				return q
			})
		},
	}
}

// crossing sends an event of a canary of tenant A that names tenant B. Each
// such drill has a device of its own, so that its refusal can be told apart.
func (r *run) crossing(ctx context.Context, way, sent string, make func(*canary) request) outcome {
	if err := r.tenant(ctx, TenantB); err != nil {
		return unable(sent, err)
	}
	c, err := r.canary(ctx, TenantA, "crossing-"+way)
	if err != nil {
		return unable(sent, err)
	}
	q := make(c)
	a := r.public.once(ctx, r.public.with(c.certificate), q)
	o := outcome{
		sent: fmt.Sprintf("%s, by canary device %s of %s", sent, c.device, TenantA),
		got:  a.verbose(), latency: a.latency, verdict: a.refusal(403, "tenant.mismatch"),
		stored: []stored{{TenantA, c.device, c.seq, 0}, {TenantB, c.device, c.seq, 0}},
	}
	o.recorded = true
	o.traces = []trace{crossed(c)}
	return o
}
