package telemetry

import (
	"fmt"
	"time"

	"trustpack/evidence"
)

// config is the configuration that the ingest says it runs with.
func (r *run) config() part {
	p := part{kind: KindConfig, snapshot: true, basis: "source-total"}
	p.from(r.configReply, "config.json", "configuration")
	if r.configReply.err != nil {
		return p
	}
	s, set := r.setup, r.setup.settings
	var listeners, schemas []any
	for _, l := range s.Listeners {
		listeners = append(listeners, map[string]any{
			"name": l.Name, "addr": l.Addr, "scheme": l.Scheme, "tls_min": l.TLSMin, "client_auth": l.ClientAuth, "loopback": l.Loopback,
		})
	}
	for _, sc := range s.Schemas {
		schemas = append(schemas, map[string]any{
			"type": sc.Type, "sha256": sc.SHA256, "required": list(sc.Required),
			"numeric_fields": list(sc.NumericFields), "ranged_fields": list(sc.RangedFields),
		})
	}
	p.add("ingest", map[string]any{
		"version": s.Version, "sha256": s.SHA256, "listeners": list(listeners), "schemas": list(schemas),
		"limits": set.Limits, "replay": set.Replay,
		"rates": map[string]any{
			"device_per_second": set.Rates.Device.PerSecond, "device_burst": set.Rates.Device.Burst,
			"tenant_per_second": set.Rates.Tenant.PerSecond, "tenant_burst": set.Rates.Tenant.Burst,
		},
		"time": map[string]any{
			"flag_s": set.Time.Flag.seconds(), "future_s": set.Time.Future.seconds(), "past_s": set.Time.Past.seconds(),
		},
		"heartbeat": map[string]any{
			"default_interval_s": set.Heartbeat.DefaultInterval.seconds(), "missed": set.Heartbeat.Missed,
		},
		"dead_letters": set.DeadLetters, "exports": set.Exports,
		"critical_fleets": list(set.Approvals.CriticalFleets),
		"ledger": map[string]any{
			"checkpoint_copy": set.Ledger.CheckpointCopy != "", "quorum": set.Ledger.Quorum, "witnesses": list(set.witnessNames()),
		},
	})
	return p
}

// configChanges are the versions that took effect in the period or after it,
// and the one that was in force when it began; in_period tells them apart.
func (r *run) configChanges() part {
	p, entries := r.fromControl(KindConfigChanges, func(e entry) bool { return e.Type == evidence.EntryConfigApplied && e.Result != "refused" })
	for i, e := range entries {
		if i+1 < len(entries) && entries[i+1].Time.Before(r.period.From) {
			continue // another version followed before the period
		}
		var c evidence.ConfigApplied
		if err := e.data(&c); err != nil {
			p.gap("a version of the configuration", err)
			continue
		}
		p.add(e.id(), map[string]any{
			"version": c.Version, "sha256": c.SHA256, "actor": e.actorName(), "reason": e.Reason,
			"ticket": e.Ticket, "diff": list(c.Diff), "time": ts(e.Time), "in_period": r.period.Contains(e.Time),
		})
	}
	return p
}

// adminActions are the acts of operators in the period, refused ones too.
func (r *run) adminActions() part {
	p, entries := r.fromControl(KindAdminActions, func(e entry) bool {
		return e.Actor != nil && e.Type != evidence.EntryDrill && r.period.Contains(e.Time)
	})
	for _, e := range entries {
		p.add(e.id(), map[string]any{
			"type": e.Type, "actor": e.actorName(), "role": e.actorRole(), "target": target(e),
			"tenant": e.Tenant, "device": e.Device, "reason": e.Reason, "ticket": e.Ticket,
			"result": e.Result, "request_id": e.RequestID, "grant": e.Grant, "time": ts(e.Time),
		})
	}
	return p
}

func target(e entry) string {
	switch {
	case e.Target != "":
		return e.Target
	case e.Device != "":
		return deviceKey(e.Tenant, e.Device, e.Generation)
	}
	return e.Tenant
}

// exports are the files that left in the period.
func (r *run) exports() part {
	p, entries := r.fromControl(KindExports, r.upToEnd(evidence.EntryExport, evidence.EntryExportRequested, evidence.EntryExportApproved))
	p.note = join(p.note, "what operators read over the admin API, dead letters and logs among it, is not counted as an export")
	acted := map[string]bool{} // "<type> <export> <operator>"
	for _, e := range entries {
		acted[e.Type+" "+e.Target+" "+e.actorName()] = e.Result != "refused"
		if e.Type != evidence.EntryExport || !r.period.Contains(e.Time) {
			continue
		}
		var x struct {
			ID, Format                                      string
			Requester, Approver, Scope, SHA256, Destination string
			Rows, Bytes                                     int64
		}
		if err := e.data(&x); err != nil {
			p.gap("an export", err)
			continue
		}
		for typ, who := range map[string]string{evidence.EntryExportRequested: x.Requester, evidence.EntryExportApproved: x.Approver} {
			if who != "" && x.ID != "" && !acted[typ+" "+x.ID+" "+who] {
				p.gap(e.id(), fmt.Errorf("it names %s, and the control log holds no %s of %s by them before it", who, typ, x.ID))
			}
		}
		p.add(e.id(), map[string]any{
			"export": x.ID, "format": x.Format, "requester": x.Requester, "approver": x.Approver, "scope": x.Scope, "rows": x.Rows,
			"bytes": x.Bytes, "sha256": x.SHA256, "destination": x.Destination, "tenant": e.Tenant, "time": ts(e.Time),
		})
	}
	return p
}

// drills are the attacks that were run in the period, or so long before it as
// was asked, and what became of each. Nothing can have been run before log_since.
func (r *run) drills() part {
	p, entries := r.fromControl(KindDrills, func(e entry) bool { return e.Type == evidence.EntryDrill && r.reach(KindDrills).Contains(e.Time) })
	for _, e := range entries {
		var d evidence.DrillResult
		if err := e.data(&d); err != nil {
			p.gap("a drill", err)
			continue
		}
		p.add(e.id(), map[string]any{
			"drill": d.ID, "control": d.Control, "what": d.What, "sent": d.Sent, "expected": d.Expected, "got": d.Got,
			"verdict": d.Verdict, "started_at": ts(d.StartedAt), "latency_ms": d.LatencyMS, "log_entry": d.LogEntry, "time": ts(e.Time), "log_since": ts(r.control[0].Time),
		})
	}
	return p
}

// refusals are the requests that were turned away in the period.
func (r *run) refusals() part {
	p, entries := r.fromControl(KindRefusals, r.inWindow(evidence.EntryRefusal))
	for _, e := range entries {
		var f evidence.Refusal
		if err := e.data(&f); err != nil {
			p.gap("a refusal", err)
			continue
		}
		p.add(e.id(), map[string]any{
			"code": f.Code, "status": f.Status, "count": f.Count, "tenant": e.Tenant, "device": e.Device,
			"claimed_tenant": f.ClaimedTenant, "path": f.Path, "fingerprint": f.Fingerprint, "source": f.Source,
			"detail": f.Detail, "time": ts(e.Time),
		})
	}
	return p
}

// gaps are the sequence numbers that never came.
func (r *run) gaps() part {
	p, entries := r.fromControl(KindGaps, r.inWindow(evidence.EntryGap))
	for _, e := range entries {
		var g struct {
			Boot    json64 `json:"boot"`
			FromSeq int64  `json:"from_seq"`
			ToSeq   int64  `json:"to_seq"`
		}
		if err := e.data(&g); err != nil {
			p.gap("a gap in sequence numbers", err)
			continue
		}
		p.add(e.id(), map[string]any{
			"tenant": e.Tenant, "device": e.Device, "generation": e.Generation, "boot": string(g.Boot),
			"from_seq": g.FromSeq, "to_seq": g.ToSeq, "missing": g.ToSeq - g.FromSeq + 1, "time": ts(e.Time),
		})
	}
	return p
}

// json64 is a boot epoch, which is text or a number.
type json64 string

func (j *json64) UnmarshalJSON(b []byte) error {
	*j = json64(trimQuotes(b))
	return nil
}

func trimQuotes(b []byte) []byte {
	if len(b) >= 2 && b[0] == '"' {
		return b[1 : len(b)-1]
	}
	return b
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
