package telemetry

import (
	"slices"
	"time"

	"trustpack/evidence"
)

// binding is a device generation's tie to its tenant and site, as the control
// log made it.
type binding struct {
	tenant, site string
	made         entry
	ended        time.Time
	why          string // it ended
}

// bindings are the devices with the tenant and site that each is bound to: as
// the registry has them now, and as the control log made them. Of each
// credential, every tenant is named to whose devices the log ever gave it.
func (r *run) bindings() part {
	given := []string{evidence.EntryDeviceIssued, evidence.EntryTokenIssued, evidence.EntryDeviceRotated}
	ends := map[string]string{evidence.EntryRevoked: "revoked", evidence.EntryDeviceRetired: "retired", evidence.EntryTransferred: "transferred"}
	p, entries := r.fromControl(KindBindings, func(e entry) bool {
		_, end := ends[e.Type]
		return e.Result != "refused" && (e.Type == evidence.EntryDeviceRequested || end || slices.Contains(given, e.Type))
	})
	p.snapshot, p.basis = true, "reconciled"
	r.fromDevices(&p)
	r.reconcileDevices(&p)
	made := map[string]*binding{}
	tenantsOf := map[string][]string{} // by fingerprint
	for _, e := range entries {
		key := deviceKey(e.Tenant, e.Device, e.Generation)
		switch {
		case e.Type == evidence.EntryDeviceRequested:
			var d evidence.Device
			if err := e.data(&d); err != nil {
				p.gap("a device request", err)
				continue
			}
			made[key] = &binding{tenant: e.Tenant, site: d.Site, made: e}
		case slices.Contains(given, e.Type):
			var c struct {
				evidence.Credential
				New evidence.Credential `json:"credential"`
			}
			if err := e.data(&c); err != nil {
				p.gap("a credential", err)
				continue
			}
			for _, print := range []string{c.Fingerprint, c.New.Fingerprint} {
				if print != "" && !slices.Contains(tenantsOf[print], e.Tenant) {
					tenantsOf[print] = append(tenantsOf[print], e.Tenant)
				}
			}
		case made[key] != nil:
			made[key].ended, made[key].why = e.Time, ends[e.Type]
		}
		if e.Type == evidence.EntryTransferred {
			var t transferred
			if err := e.data(&t); err != nil {
				p.gap("a transfer", err)
				continue
			}
			made[deviceKey(t.ToTenant, e.Device, t.Generation)] = &binding{tenant: t.ToTenant, site: t.Site, made: e}
		}
	}
	for _, d := range r.devs {
		key := deviceKey(d.Tenant, d.ID, d.Generation)
		b := made[key]
		if b == nil {
			b = &binding{} // a gap already
		}
		tenants := []string{}
		for _, c := range d.Credentials {
			tenants = append(tenants, tenantsOf[c.Fingerprint]...)
		}
		slices.Sort(tenants)
		p.add(key, map[string]any{
			"tenant": d.Tenant, "device": d.ID, "generation": d.Generation, "site": d.Site, "state": string(d.State),
			"bound_tenant": b.tenant, "bound_site": b.site, "bound_at": ts(b.made.Time), "bound_by": b.made.actorName(), "reason": b.made.Reason,
			"ended_at": ts(b.ended), "ended_why": b.why, "credential_tenants": list(slices.Compact(tenants)),
		})
	}
	return p
}
