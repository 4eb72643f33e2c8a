package drill

import (
	"context"
	"fmt"
)

// reading are the drills in which a device of one tenant asks for another
// tenant's data, at each place where an operator could have it.
func reading() []drill {
	drills := []drill{{
		id: "ST-02.status-of-another-tenant", control: "ST-02",
		what:     "a device of one tenant asks for another tenant's status",
		expected: "403 tenant.mismatch; recorded with both tenants",
		attack: func(ctx context.Context, r *run) outcome {
			c, err := r.besideNeighbour(ctx, "looking")
			if err != nil {
				return unable("", err)
			}
			path := "/v1/status/" + TenantB
			a := r.public.once(ctx, r.public.with(c.certificate), request{method: "GET", path: path})
			o := outcome{
				sent: fmt.Sprintf("GET %s by canary device %s of %s", path, c.device, TenantA), got: a.String(), latency: a.latency,
				verdict: a.refusal(403, "tenant.mismatch"),
			}
			o.traces, o.recorded = []trace{crossed(c)}, true
			return o
		},
	}}
	for _, d := range []struct {
		name, what, method, path string
		in                       any
	}{
		{"export-by-device", "an export of another tenant's events", "POST", "/v1/admin/exports", map[string]string{
			"tenant": TenantB, "format": "ndjson", "destination": "drill", "reason": "drill: a device asks for what only an exporter may",
		}},
		{"dead-letters-by-device", "another tenant's dead letters", "GET", "/v1/admin/deadletters?tenant=" + TenantB, nil},
		{"log-by-device", "another tenant's log", "GET", "/log/" + TenantB + "/checkpoint", nil},
	} {
		drills = append(drills, drill{
			id: "ST-02." + d.name, control: "ST-02",
			what:     "a device of one tenant asks for " + d.what + ", on both ports",
			expected: "the admin port answers 401 or 403 or a TLS alert, the device port 403 or 404; nothing given",
			attack: func(ctx context.Context, r *run) outcome {
				return r.asDevice(ctx, d.name, d.method, d.path, d.in)
			},
		})
	}
	return drills
}

// besideNeighbour is a canary of tenant A, where tenant B has something to be
// read.
func (r *run) besideNeighbour(ctx context.Context, role string) (*canary, error) {
	if _, err := r.canary(ctx, TenantB, "neighbour"); err != nil {
		return nil, err
	}
	return r.canary(ctx, TenantA, role)
}

// asDevice makes a call of the admin API with a device's certificate, at the
// admin port and at the device port.
func (r *run) asDevice(ctx context.Context, role, method, path string, in any) outcome {
	c, err := r.besideNeighbour(ctx, role)
	if err != nil {
		return unable("", err)
	}
	q, err := jsonRequest(method, path, in)
	if err != nil {
		return unable("", err)
	}
	o := outcome{sent: fmt.Sprintf("%s %s by canary device %s of %s", method, path, c.device, TenantA)}
	admin := r.admin.once(ctx, r.admin.with(c.certificate), q)
	verdict := join(admin.refusal(admin.status, admin.code), judged(admin.status == 401 || admin.status == 403))
	if admin.alert != "" {
		verdict = Passed
	}
	o.add("admin port: ", admin, verdict)
	public := r.public.once(ctx, r.public.with(c.certificate), q)
	o.add("device port: ", public, join(public.refusal(public.status, public.code), judged(public.status == 403 || public.status == 404)))
	o.traces = []trace{caused("auth.forbidden", c), caused("auth.unknown-credential", c), caused("request.not-found", c)}
	return o
}

// crossed is the entry about a canary of tenant A that reached for tenant B.
func crossed(c *canary) trace {
	t := caused("tenant.mismatch", c)
	return trace{log: t.log, ours: true, match: func(rec record) bool {
		return t.match(rec) && rec.refusal.ClaimedTenant == TenantB && rec.audit.Tenant == TenantA
	}}
}
