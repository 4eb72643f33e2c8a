package telemetry

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// tenantStatus is what GET /v1/status/{tenant} tells a customer.
type tenantStatus struct {
	Tenant  string    `json:"tenant"`
	AsOf    time.Time `json:"as_of"`
	Silent  int       `json:"silent"`
	Devices []struct {
		Device string `json:"device"`
	} `json:"devices"`
	Silences []struct {
		Alert string `json:"alert"`
	} `json:"silences"`
}

// statusDays is how far back a status page shows silences that have ended.
const statusDays = 7

// statusPages are the pages on which customers see how their telemetry fares,
// read by the operator as whom this collector asks. What a page must show is
// taken from the registry and from the alerts in the control log. That nobody
// else reaches it is shown by drills and not from here.
func (r *run) statusPages() part {
	p, entries := r.fromControl(KindStatusPages, alertTypes)
	p.snapshot, p.basis = true, "reconciled"
	p.needs(r.tenantsReply, "list of tenants")
	p.needs(r.devicesReply, "device registry")
	r.reconcileDevices(&p)
	r.reconcileTenants(&p)
	alerts := r.foldAlerts(&p, entries)
	for _, t := range r.listed {
		r.statusPage(&p, t.ID, alerts)
	}
	return p
}

func (r *run) statusPage(p *part, tenant string, alerts []*alert) {
	rep := r.get("/v1/status/" + url.PathEscape(tenant))
	var s tenantStatus
	rep.err = rep.decode(&s)
	p.from(rep, "status-"+tenant+".json", "status of "+tenant)
	page := r.get("/status/" + url.PathEscape(tenant))
	p.from(page, "status-"+tenant+".html", "status page of "+tenant)
	if rep.err != nil || page.err != nil {
		return
	}
	if s.Tenant != tenant {
		p.gap("status of "+tenant, fmt.Errorf("the ingest answers with that of %q", s.Tenant))
		return
	}
	own, shown := map[string]bool{}, map[string]bool{}
	for _, d := range r.devs {
		own[d.ID] = own[d.ID] || d.Tenant == tenant
	}
	var foreign, missing, unshown []string
	for _, d := range s.Devices {
		if shown[d.Device] = true; !own[d.Device] {
			foreign = append(foreign, d.Device)
		}
	}
	for id, mine := range own {
		if mine && !shown[id] {
			missing = append(missing, id)
		}
	}
	for _, a := range alerts {
		if a.raised.Tenant != tenant || !strings.HasSuffix(a.Kind, ".silent") || a.raised.Time.After(s.AsOf) {
			continue
		}
		gone := !a.resolved.Time.IsZero() && a.resolved.Time.Before(s.AsOf.AddDate(0, 0, 1-statusDays))
		onPage := slices.ContainsFunc(s.Silences, func(x struct {
			Alert string `json:"alert"`
		}) bool {
			return x.Alert == a.ID
		})
		if !gone && !onPage {
			unshown = append(unshown, a.ID)
		}
	}
	slices.Sort(foreign)
	slices.Sort(missing)
	p.add(tenant, map[string]any{
		"tenant": tenant, "as_of": ts(s.AsOf), "page": bytes.HasPrefix(bytes.TrimSpace(page.body), []byte("<!doctype html>")),
		"devices": len(s.Devices), "silent": s.Silent, "silences": len(s.Silences),
		"foreign_devices": list(foreign), "missing_devices": list(missing), "missing_silences": list(unshown),
	})
}

// reconcileTenants compares the tenants that the ingest lists with those that
// the control log added, both ways.
func (r *run) reconcileTenants(p *part) {
	if r.tenantsReply.err != nil || !r.controlHolds() {
		return
	}
	added, listed := map[string]bool{}, map[string]bool{}
	for _, t := range r.listed {
		listed[t.ID] = true
	}
	for _, e := range r.control {
		if e.Type != evidence.EntryTenantAdded || e.Result == "refused" {
			continue
		}
		var t evidence.Tenant
		if err := e.data(&t); err != nil {
			p.gap("a tenant", err)
			continue
		}
		added[t.ID] = true
		if !listed[t.ID] && !e.Time.After(r.at) {
			p.gap("tenant "+t.ID, fmt.Errorf("control entry %d added it and the ingest does not list it", e.index))
		}
	}
	for _, t := range r.listed {
		if !added[t.ID] {
			p.gap("tenant "+t.ID, fmt.Errorf("the ingest lists it and the control log never added it"))
		}
	}
	sortGaps(p)
}
