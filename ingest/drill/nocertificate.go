package drill

import "context"

// noCertificate sends events without saying who sends them.
func noCertificate() drill {
	return drill{
		id: "ID-02.no-certificate", control: "ID-02",
		what:     "events sent without a client certificate",
		expected: "401 auth.no-certificate or a TLS alert",
		attack: func(ctx context.Context, r *run) outcome {
			if _, err := r.canary(ctx, TenantA, "main"); err != nil { // somebody for whom nobody could be taken
				return unable("", err)
			}
			c := &canary{tenant: TenantA, device: r.id + "-nobody"}
			a := r.show(ctx, r.batch(c, 1))
			return turnedAway(a, "POST /v1/telemetry, 1 event, without a client certificate", 401, "auth.no-certificate", "")
		},
	}
}
