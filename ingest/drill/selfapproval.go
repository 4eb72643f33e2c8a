package drill

import (
	"context"
	"errors"
	"strings"

	"trustpack/evidence"
)

// selfApproval has the requester of a canary device approve it as well.
func selfApproval() drill {
	return drill{
		id: "ID-04.self-approval", control: "ID-04",
		what:     "a device approved by the operator who requested it",
		expected: "403; the device stays requested",
		attack: func(ctx context.Context, r *run) outcome {
			c := &canary{tenant: TenantA, device: r.id + "-selfapproved"}
			sent := "POST " + c.path("approve") + " by its own requester"
			if err := r.tenant(ctx, c.tenant); err != nil {
				return unable(sent, err)
			}
			if err := r.request(ctx, c); err != nil {
				return unable(sent, err)
			}
			config := r.admin.with(r.t.Requester)
			a := r.admin.once(ctx, config, request{method: "POST", path: c.path("approve")})
			o := outcome{sent: sent, got: a.verbose(), latency: a.latency, verdict: NotAvailable}
			if a.status != 0 && a.status < 500 {
				o.verdict = judged(a.status == 403)
			}
			o.traces = []trace{{log: controlLog, ours: true, match: func(rec record) bool {
				return rec.audit.Type == evidence.EntryAdminRefused &&
					(rec.audit.Device == c.device || strings.Contains(string(rec.audit.Data), c.device))
			}}}
			if err := r.act(ctx, c, "revoke", "drill finished"); err != nil {
				var refused *apiError // a request need not be revocable
				if !errors.As(err, &refused) {
					return unable(sent, err)
				}
			}
			return o
		},
	}
}
