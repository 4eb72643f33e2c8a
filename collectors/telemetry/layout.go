package telemetry

import (
	"slices"
	"strings"

	"trustpack/evidence"
)

// layout is where each tenant's data is kept: its log, the folders of the
// ledger that hold it, and whose devices are named in the log's entries. The
// folders are the ingest's own word; the entries were read.
func (r *run) layout() part {
	p, _ := r.fromControl(KindLayout, func(e entry) bool { return e.Type == evidence.EntryTenantAdded })
	p.snapshot, p.basis = true, "reconciled"
	p.from(r.logsReply, "logs.json", "list of logs")
	p.from(r.tenantsReply, "tenants.json", "list of tenants")
	r.fromDevices(&p)
	r.needTenants(&p)
	r.reconcileTenants(&p)
	names, folders, origins := map[string]int{}, map[string][]string{}, map[string]int{}
	for _, v := range r.logs {
		names[v.name]++
		origins[v.origin]++
		for _, folder := range v.folders {
			folders[folder] = append(folders[folder], v.name)
		}
	}
	own := map[string]bool{} // device generations, which are a tenant's
	for _, d := range r.devs {
		own[deviceKey(d.Tenant, d.ID, d.Generation)] = true
	}
	for _, t := range r.listed {
		at := map[string]any{
			"tenant": t.ID, "logs": names[t.ID], "origin": "", "origin_shared": false, "folders": []any{}, "shared_folders": []any{},
			"devices": 0, "foreign": []any{},
		}
		if v := r.log(t.ID); v != nil {
			var shared []string
			for _, folder := range v.folders {
				if slices.ContainsFunc(folders[folder], func(name string) bool { return name != t.ID }) {
					shared = append(shared, folder)
				}
			}
			var foreign []string
			seen := 0
			for key := range r.senders {
				if !strings.HasPrefix(key, t.ID+"/") {
					continue
				}
				if seen++; !own[key] {
					foreign = append(foreign, strings.TrimPrefix(key, t.ID+"/"))
				}
			}
			slices.Sort(foreign)
			at["origin"], at["origin_shared"], at["folders"], at["shared_folders"] = v.origin, origins[v.origin] > 1, list(v.folders), list(shared)
			at["devices"], at["foreign"] = seen, list(foreign)
			if len(v.folders) == 0 && v.err == nil {
				p.gaps = append(p.gaps, evidence.Gap{What: "folders of " + t.ID, Reason: "the ingest does not say where it keeps the log"})
			}
		}
		p.add(t.ID, at)
	}
	return p
}

// readTenants asks for the tenants.
func (r *run) readTenants() {
	r.tenantsReply = r.get("/v1/admin/tenants")
	var listed struct {
		Tenants []evidence.Tenant `json:"tenants"`
	}
	r.tenantsReply.err = r.tenantsReply.decodeList("tenants", &listed)
	if r.tenantsReply.err == nil {
		r.tenantsReply.err = eachOnce(listed.Tenants, func(t evidence.Tenant) string { return t.ID })
	}
	if r.tenantsReply.err == nil {
		r.listed = listed.Tenants
	}
}
