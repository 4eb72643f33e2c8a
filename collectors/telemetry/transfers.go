package telemetry

import (
	"cmp"
	"fmt"

	"trustpack/evidence"
)

// transferred is the data of a transfer's steps.
type transferred struct {
	ID         string `json:"id"`
	ToTenant   string `json:"to_tenant"`
	Generation int    `json:"to_generation"`
	Type       string `json:"type"`
	Site       string `json:"site"`
	Fleet      string `json:"fleet"`
}

// transfers are the moves of devices from one tenant to another that took
// effect in the period: who asked, who consented, and whether the binding
// before is kept and shut.
func (r *run) transfers() part {
	p, entries := r.fromControl(KindTransfers, func(e entry) bool {
		return r.upToEnd(evidence.EntryTransferAsked, evidence.EntryTransferConsent, evidence.EntryTransferRefused, evidence.EntryTransferred)(e) && e.Result != "refused"
	})
	r.needTenants(&p)
	p.needs(r.devicesReply, "device registry")
	state := map[string]string{}
	for _, d := range r.devs {
		state[deviceKey(d.Tenant, d.ID, d.Generation)] = string(d.State)
	}
	asked := map[string]entry{} // by ID
	consents := map[string][]any{}
	for _, e := range entries {
		var t transferred
		if err := e.data(&t); err != nil {
			p.gap("a transfer", err)
			continue
		}
		switch e.Type {
		case evidence.EntryTransferAsked:
			asked[t.ID] = e
			continue
		case evidence.EntryTransferConsent:
			consents[t.ID] = append(consents[t.ID], map[string]any{"actor": e.actorName(), "time": ts(e.Time)})
			continue
		case evidence.EntryTransferRefused:
			delete(asked, t.ID)
			continue
		}
		request, ok := asked[t.ID]
		if !ok {
			p.gap(e.id(), errNoRequest(t.ID, evidence.EntryTransferAsked))
		}
		if !r.period.Contains(e.Time) {
			continue
		}
		from, to := deviceKey(e.Tenant, e.Device, e.Generation), deviceKey(t.ToTenant, e.Device, t.Generation)
		for _, key := range []string{from, to} {
			if state[key] == "" && r.devicesReply.err == nil && !e.Time.After(r.at) {
				p.gap(key, fmt.Errorf("control entry %d moves it and the registry that the ingest lists lacks it", e.index))
			}
		}
		after := 0
		if a := r.activity[from]; a != nil {
			for _, ev := range a.at {
				if ev.time.After(e.Time) {
					after++
				}
			}
		}
		p.add(e.id(), map[string]any{
			"transfer": t.ID, "device": e.Device, "from_tenant": e.Tenant, "from": from, "from_state": state[from],
			"to_tenant": t.ToTenant, "to": to, "to_state": state[to], "to_site": t.Site,
			"requester": request.actorName(), "requested_at": ts(request.Time), "reason": cmp.Or(request.Reason, e.Reason), "ticket": cmp.Or(request.Ticket, e.Ticket),
			"approvals": append(list(consents[t.ID]), map[string]any{"actor": e.actorName(), "time": ts(e.Time)}),
			"time":      ts(e.Time), "accepted_after": after,
		})
	}
	return p
}
