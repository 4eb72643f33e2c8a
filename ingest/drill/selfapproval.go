package drill

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"

	"trustpack/evidence"
)

// selfApproval has the requester of a canary device approve it as well. It is
// a canary operator who holds both roles, so that nothing but the rule itself
// stands in the way.
func selfApproval() drill {
	return drill{
		id: "ID-04.self-approval", control: "ID-04",
		what:     "a device approved by the operator who requested it, who holds the roles for both",
		expected: "403 approval.self; the device stays requested",
		attack: func(ctx context.Context, r *run) outcome {
			c := &canary{tenant: TenantA, device: r.id + "-selfapproved"}
			sent := "POST " + c.path("approve") + " by its own requester"
			o, err := r.operator(ctx, "both", "provisioner", "approver")
			if err != nil {
				return unable(sent, err)
			}
			if err := r.tenant(ctx, c.tenant); err != nil {
				return unable(sent, err)
			}
			if err := r.request(ctx, o.certificate, c); err != nil {
				return unable(sent, err)
			}
			a := r.actAs(ctx, o.certificate, "POST", c.path("approve"), nil)
			out := outcome{sent: sent, got: a.verbose(), latency: a.latency, verdict: a.refusal(403, "approval.self")}
			out.traces = []trace{{log: controlLog, ours: true, match: func(rec record) bool {
				return rec.audit.Type == evidence.EntryAdminRefused &&
					(rec.audit.Device == c.device || strings.Contains(string(rec.audit.Data), c.device))
			}}}
			if err := r.act(ctx, c, "revoke", "drill finished"); err != nil {
				var refused *apiError // a request need not be revocable
				if !errors.As(err, &refused) {
					return unable(sent, err)
				}
			}
			return out
		},
	}
}

// actAs makes one call of the admin API with the credential, to see what it
// answers.
func (r *run) actAs(ctx context.Context, as tls.Certificate, method, path string, in any) answer {
	q, err := jsonRequest(method, path, in)
	if err != nil {
		return answer{err: err}
	}
	return r.admin.once(ctx, r.admin.with(as), q)
}
