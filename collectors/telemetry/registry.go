package telemetry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"trustpack/evidence"
)

// devices is the registry as it stands, with what the control log says of
// where each credential was seen.
func (r *run) devices() part {
	// The place of the first contact stands in the activation, others follow.
	p, seen := r.fromControl(KindDevices, r.upToEnd(evidence.EntryDeviceActivated, evidence.EntryCredentialSeen))
	p.snapshot, p.basis = true, "reconciled"
	r.fromDevices(&p)
	r.reconcileDevices(&p)
	sources := map[string][]any{} // by device
	known := map[string]bool{}
	for _, e := range seen {
		var s struct{ Fingerprint, Source string }
		if err := e.data(&s); err != nil {
			p.gap("where a credential was seen", err)
			continue
		}
		key := deviceKey(e.Tenant, e.Device, e.Generation)
		place := key + " " + s.Fingerprint + " " + s.Source
		if s.Source == "" || known[place] {
			continue
		}
		known[place] = true
		sources[key] = append(sources[key], map[string]any{"fingerprint": s.Fingerprint, "source": s.Source})
	}
	holders := map[string][]string{} // devices by fingerprint
	for _, d := range r.devs {
		for _, c := range d.Credentials {
			key := deviceKey(d.Tenant, d.ID, d.Generation)
			holders[c.Fingerprint] = append(holders[c.Fingerprint], key)
		}
	}
	for _, d := range r.devs {
		key := deviceKey(d.Tenant, d.ID, d.Generation)
		var prints, shared []string
		var credentials []any
		for _, c := range d.Credentials {
			prints = append(prints, c.Fingerprint)
			credentials = append(credentials, map[string]any{
				"fingerprint": c.Fingerprint, "method": c.Method, "key_type": c.KeyType,
				"not_before": ts(c.NotBefore), "not_after": ts(c.NotAfter), "ends": ts(c.Ends), "retired": c.Retired,
			})
			for _, other := range holders[c.Fingerprint] {
				if other != key {
					shared = append(shared, other)
				}
			}
		}
		slices.Sort(shared)
		p.add(key, map[string]any{
			"tenant": d.Tenant, "device": d.ID, "generation": d.Generation, "type": d.Type, "site": d.Site, "fleet": d.Fleet,
			"state": string(d.State), "firmware": d.Firmware, "fingerprints": list(prints), "credentials": list(credentials),
			"sources": list(sources[key]), "last_seen": ts(d.LastSeen), "accepted": d.Accepted, "shared_with": list(shared),
			"as_of": ts(r.at),
		})
	}
	return p
}

// operators are the people who may act on the ingest.
func (r *run) operators() part {
	p, added := r.fromControl(KindOperators, r.upToEnd(evidence.EntryOperatorAdded, evidence.EntryRoleApproved, evidence.EntryRoleChanged))
	p.snapshot, p.basis = true, "reconciled"
	p.from(r.operatorsReply, "operators.json", "operators")
	r.reconcileOperators(&p)
	by := map[string]entry{}
	for _, e := range added {
		if e.Type == evidence.EntryOperatorAdded {
			by[e.Target] = e
		}
	}
	for _, o := range r.opers {
		e := by[o.Name]
		p.add(o.Name, map[string]any{
			"roles": list(o.Roles), "fingerprint": o.Fingerprint, "added_by": e.actorName(), "added_at": ts(e.Time), "as_of": ts(r.at),
		})
	}
	return p
}

// provisioning is the way of each device generation that was asked for or
// issued in the period, folded from the log.
func (r *run) provisioning() part {
	type record struct {
		requested, issued, activated entry
		has                          bool
		approvals                    []any
		critical                     bool
		state                        evidence.DeviceState
		device                       evidence.Device
	}
	types := []string{
		evidence.EntryDeviceRequested, evidence.EntryDeviceApproved, evidence.EntryDeviceIssued, evidence.EntryTokenIssued, evidence.EntryDeviceActivated,
		evidence.EntryQuarantined, evidence.EntryReleased, evidence.EntryRevoked, evidence.EntryDeviceRetired, evidence.EntryRequestExpired, evidence.EntryDeviceDeclined,
		evidence.EntryTransferAsked, evidence.EntryTransferConsent, evidence.EntryTransferred,
	}
	p, entries := r.fromControl(KindProvisioning, func(e entry) bool { return r.upToEnd(types...)(e) && e.Result != "refused" })
	p.needs(r.configReply, "configuration (which fleets are critical)")
	records := map[string]*record{}
	approval := func(e entry) map[string]any {
		return map[string]any{
			"actor": e.actorName(), "role": e.actorRole(), "time": ts(e.Time), "held_role": r.heldRole(e.actorName(), "approver", e),
		}
	}
	moves := map[string]*record{} // that wait, by the device's key
	for _, e := range entries {
		key := deviceKey(e.Tenant, e.Device, e.Generation)
		// A transfer is asked for and approved at the old binding, and is the
		// request and the approval of the new one.
		switch e.Type {
		case evidence.EntryTransferAsked:
			moves[key] = &record{requested: e, has: true}
			continue
		case evidence.EntryTransferConsent:
			if m := moves[key]; m != nil {
				m.approvals = append(m.approvals, approval(e))
			}
			continue
		case evidence.EntryTransferred:
			var t transferred
			if err := e.data(&t); err != nil {
				p.gap("a transfer", err)
				continue
			}
			if old := records[key]; old != nil {
				old.state = evidence.DeviceRetired
			}
			rec := cmp.Or(moves[key], &record{})
			delete(moves, key)
			rec.requested.Tenant, rec.requested.Generation = t.ToTenant, t.Generation
			rec.approvals, rec.state = append(rec.approvals, approval(e)), evidence.DeviceApproved
			rec.device = evidence.Device{Type: t.Type, Fleet: t.Fleet}
			rec.critical = slices.Contains(r.settingsAt(e.Time).Approvals.CriticalFleets, t.Fleet)
			records[deviceKey(t.ToTenant, e.Device, t.Generation)] = rec
			continue
		}
		rec := records[key]
		if rec == nil {
			rec = &record{}
			records[key] = rec
		}
		if e.Type == evidence.EntryDeviceRequested {
			if err := e.data(&rec.device); err != nil {
				p.gap("a device request", err)
			}
		}
		switch e.Type {
		case evidence.EntryDeviceRequested, evidence.EntryDeviceApproved, evidence.EntryDeviceIssued, evidence.EntryTokenIssued:
			// A fleet that was critical at any step stays so for this device.
			rec.critical = rec.critical || slices.Contains(r.settingsAt(e.Time).Approvals.CriticalFleets, rec.device.Fleet)
		}
		switch e.Type {
		case evidence.EntryDeviceRequested:
			rec.requested, rec.has, rec.state = e, true, evidence.DeviceRequested
		case evidence.EntryDeviceApproved:
			rec.approvals = append(rec.approvals, approval(e))
			var a struct {
				Code string `json:"enrolment_code_sha256"` // stands in the last approval that is needed
			}
			if err := e.data(&a); err != nil {
				p.gap("an approval", err)
			} else if a.Code != "" {
				rec.state = evidence.DeviceApproved
			}
		case evidence.EntryDeviceIssued, evidence.EntryTokenIssued:
			if rec.issued.Type == "" { // what follows is no provisioning
				rec.issued, rec.state = e, evidence.DeviceIssued
			}
		case evidence.EntryDeviceActivated:
			rec.activated, rec.state = e, evidence.DeviceActive
		case evidence.EntryQuarantined:
			rec.state = evidence.DeviceQuarantined
		case evidence.EntryReleased:
			rec.state = evidence.DeviceActive
		case evidence.EntryRevoked:
			rec.state = evidence.DeviceRevoked
		case evidence.EntryDeviceRetired:
			rec.state = evidence.DeviceRetired
		case evidence.EntryRequestExpired:
			rec.state = evidence.DeviceExpired
		case evidence.EntryDeviceDeclined:
			rec.state = evidence.DeviceDeclined
		}
	}
	for _, key := range slices.Sorted(maps.Keys(records)) {
		rec := records[key]
		if !r.period.Contains(rec.requested.Time) && !r.period.Contains(rec.issued.Time) {
			continue
		}
		e := rec.requested
		if !rec.has {
			p.gap(key, fmt.Errorf("the log holds its later steps and no request"))
			e = rec.issued
		}
		p.add(key, map[string]any{
			"tenant": e.Tenant, "device": e.Device, "generation": e.Generation, "fleet": rec.device.Fleet, "type": rec.device.Type,
			"critical":  rec.critical,
			"requester": rec.requested.actorName(), "requested_at": ts(rec.requested.Time), "reason": rec.requested.Reason,
			"approvals": list(rec.approvals), "issued_at": ts(rec.issued.Time), "activated_at": ts(rec.activated.Time), "state": string(rec.state),
		})
	}
	return p
}

// heldRole tells from the log whether the operator held the role when entry at
// was made: by the roles of the session in which it was made, or by their own.
func (r *run) heldRole(name, role string, at entry) bool {
	if session, held := r.inSession(role, at); session {
		return held
	}
	held := false
	for _, e := range r.control {
		if e.index >= at.index {
			break
		}
		who, roles, ok, err := rolesBy(e)
		if err != nil {
			return false
		}
		if ok && who == name {
			held = slices.Contains(roles, role)
		}
	}
	return held
}

// decidedDevices are the generations that were ever revoked, quarantined or
// moved to another tenant.
func (r *run) decidedDevices() map[string]bool {
	out := map[string]bool{}
	for _, e := range r.control {
		if e.Type == evidence.EntryRevoked || e.Type == evidence.EntryQuarantined || e.Type == evidence.EntryTransferred {
			out[deviceKey(e.Tenant, e.Device, e.Generation)] = true
		}
	}
	return out
}

// revocations are the decisions of the period to shut a device out, each with
// the cut of its sessions, the first refusal after it, and the number of
// events that its tenant's log accepted in spite of it.
func (r *run) revocations() part {
	types := []string{evidence.EntryRevoked, evidence.EntryQuarantined, evidence.EntryReleased, evidence.EntrySessionsCut}
	p, entries := r.fromControl(KindRevocations, func(e entry) bool {
		return r.upToEnd(types...)(e) || e.Type == evidence.EntryRefusal && e.Device != "" && e.Time.Before(r.period.To)
	})
	r.needTenants(&p)
	for i, e := range entries {
		if e.Result == "refused" || (e.Type != evidence.EntryRevoked && e.Type != evidence.EntryQuarantined) || !r.period.Contains(e.Time) {
			continue
		}
		action := "revoke"
		if e.Type == evidence.EntryQuarantined {
			action = "quarantine"
		}
		key := deviceKey(e.Tenant, e.Device, e.Generation)
		at := map[string]any{
			"tenant": e.Tenant, "device": e.Device, "generation": e.Generation, "action": action, "actor": e.actorName(),
			"reason": e.Reason, "ticket": e.Ticket, "decided_at": ts(e.Time), "sessions_cut": nil, "cut_ms": nil,
			"first_refused_at": "", "first_refused_index": nil, "released_at": "",
		}
		until := time.Time{}
		for _, later := range entries[i+1:] {
			if deviceKey(later.Tenant, later.Device, later.Generation) != key {
				continue
			}
			done := false
			switch later.Type {
			case evidence.EntrySessionsCut:
				var cut struct {
					DecisionIndex int64   `json:"decision_index"`
					Connections   int     `json:"connections"`
					ElapsedMS     float64 `json:"elapsed_ms"`
				}
				if err := later.data(&cut); err != nil {
					p.gap("a cut of sessions", err)
				} else if cut.DecisionIndex == e.index {
					at["sessions_cut"], at["cut_ms"] = cut.Connections, cut.ElapsedMS
				}
			case evidence.EntryRefusal:
				if at["first_refused_index"] == nil {
					at["first_refused_at"], at["first_refused_index"] = ts(later.Time), later.index
				}
			case evidence.EntryReleased:
				at["released_at"], until, done = ts(later.Time), later.Time, true
			}
			if done {
				break
			}
		}
		after := 0
		if a := r.activity[key]; a != nil {
			for _, ev := range a.at {
				if ev.time.After(e.Time) && (until.IsZero() || ev.time.Before(until)) {
					after++
				}
			}
		}
		at["accepted_after"] = after
		p.add(e.id(), at)
	}
	return p
}

// needTenants names as gaps the tenants' logs that could not be read, for a
// part that counts in them.
func (r *run) needTenants(p *part) {
	for _, v := range r.logs {
		if v.name == controlLog {
			continue
		}
		p.requests = append(p.requests, v.requests...)
		if v.err != nil {
			p.gap("log "+v.name, v.err)
			continue
		}
		p.note = join(p.note, v.note())
	}
}

// refusedEvents counts, by "tenant/day", the events of requests that were
// refused whole, which stand in the control log and not in the tenant's.
func (r *run) refusedEvents(p *part, entries []entry) map[string]int64 {
	out := map[string]int64{}
	for _, e := range entries {
		if e.Type != evidence.EntryRefusal {
			continue
		}
		var f evidence.Refusal
		if err := e.data(&f); err != nil {
			p.gap("a refusal", err)
			continue
		}
		out[e.Tenant+"/"+f.Last.UTC().Format(time.DateOnly)] += f.Events
	}
	return out
}

// books are the accounts of the period's closed days, with every column but
// the first counted again from the logs.
func (r *run) books() part {
	p, entries := r.fromControl(KindBooks, func(e entry) bool {
		return e.Type == evidence.EntryBooksClosed || e.Type == evidence.EntryRefusal && e.Tenant != ""
	})
	r.needTenants(&p)
	p.basis = "reconciled"
	refused := r.refusedEvents(&p, entries)
	used := map[string]bool{}
	for _, e := range entries {
		if e.Type != evidence.EntryBooksClosed {
			continue
		}
		var b evidence.Books
		if err := e.data(&b); err != nil {
			p.gap("a day's books", err)
			continue
		}
		day, err := time.Parse(time.DateOnly, b.Day)
		if err != nil || !r.period.Contains(day) {
			continue
		}
		key := b.Tenant + "/" + b.Day
		c := *cmp.Or(r.counts[key], &counts{})
		c.refused += refused[key]
		used[key] = true
		p.add(key, map[string]any{
			"tenant": b.Tenant, "day": b.Day, "received": b.Received, "accepted": b.Accepted, "duplicate": b.Duplicate,
			"dead_lettered": b.DeadLettered, "refused": b.Refused,
			"balanced":              b.Received == b.Accepted+b.Duplicate+b.DeadLettered+b.Refused,
			"recounted_accepted":    c.accepted,
			"recounted_dead_letter": c.deadLettered,
			"recounted_duplicate":   c.duplicate,
			"recounted_refused":     c.refused,
			"recounted":             counts{b.Accepted, b.DeadLettered, b.Duplicate, b.Refused} == c,
			"closed_at":             ts(e.Time),
		})
	}
	for key := range r.counts {
		if !used[key] {
			p.gap(key, fmt.Errorf("the tenant's log has events of that day and the control log has not closed its books"))
		}
	}
	sortGaps(&p)
	return p
}
