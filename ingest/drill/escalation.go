package drill

import (
	"context"

	"trustpack/evidence"
)

// escalation has an operator with a small role help himself to a larger one.
func escalation() drill {
	return drill{
		id: "AU-03.role-escalation", control: "AU-03",
		what:     "an operator who may only read makes himself an admin, makes another admin, and asks for a device",
		expected: "403 auth.forbidden or approval.self each time; the role stays",
		attack: func(ctx context.Context, r *run) outcome {
			const sent = "POST /v1/admin/operators with the role admin for himself and for a new name, and POST /v1/admin/devices, by a canary operator with the role auditor"
			o, err := r.operator(ctx, "climbing", "auditor")
			if err != nil {
				return unable(sent, err)
			}
			out := outcome{sent: sent}
			for _, name := range []string{o.name, o.name + "-two"} {
				_, csr, err := newKey(o.certificate.Leaf.Subject)
				if err != nil {
					return unable(sent, err)
				}
				label := "himself: "
				if name != o.name {
					label = "another: "
				}
				a := r.actAs(ctx, o.certificate, "POST", "/v1/admin/operators", map[string]any{"name": name, "roles": []string{"admin"}, "csr": csr, "reason": "drill: role escalation"})
				out.add(label, a, a.refusal(403, "auth.forbidden", "approval.self"))
				if a.status >= 200 && a.status < 300 && name != o.name {
					r.operators["climbed"] = &canaryOperator{name: name} // to be removed
				}
			}
			device := r.id + "-climbing"
			a := r.actAs(ctx, o.certificate, "POST", "/v1/admin/devices", map[string]string{"tenant": TenantA, "device": device, "type": r.t.DeviceType, "reason": reasonOf(r.id)})
			out.add("a device: ", a, a.refusal(403, "auth.forbidden"))
			if a.status == 201 {
				c := &canary{tenant: TenantA, device: device, requested: true}
				r.canaries[TenantA+"/climbing"] = c
			}
			out.recorded = true
			out.traces = []trace{refusedTo(o)}
			return out
		},
	}
}

// refusedTo is the entry about an act that was refused to the canary operator.
func refusedTo(o *canaryOperator) trace {
	return trace{log: controlLog, ours: true, match: func(rec record) bool {
		return rec.audit.Type == evidence.EntryAdminRefused && rec.audit.Actor != nil && rec.audit.Actor.Name == o.name
	}}
}
