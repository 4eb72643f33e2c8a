package telemetry

import (
	"errors"
	"fmt"

	"trustpack/evidence"
	"trustpack/ledger"
)

// purges are the payloads that were erased in the period: whose, up to which
// day, who asked and who approved. That the log names who asked and approved is
// held against the request in it, and against who entered the purge.
func (r *run) purges() part {
	p, entries := r.fromControl(KindPurges, r.upToEnd(evidence.EntryPurged, evidence.EntryPurgeRequested))
	p.note = join(p.note, "that nothing of the payloads is left on the ingest's disk is not seen from here")
	type plan struct {
		tenant, log, before string
	}
	asked := map[string]plan{} // "<purge> <operator>"
	for _, e := range entries {
		if e.Type == evidence.EntryPurgeRequested {
			var x struct{ Purge ledger.Purge }
			if err := e.data(&x); err != nil {
				p.gap("a request for a purge", err)
			} else if e.Result != "refused" {
				asked[e.Target+" "+e.actorName()] = plan{e.Tenant, x.Purge.Log, x.Purge.Before}
			}
			continue
		}
		if !r.period.Contains(e.Time) {
			continue
		}
		var x struct {
			ID, Requester, Approver string
			Erased                  ledger.Purge
		}
		if err := e.data(&x); err != nil {
			p.gap("a purge", err)
			continue
		}
		switch was, ok := asked[x.ID+" "+x.Requester]; {
		case !ok || x.ID != e.Target:
			p.gap(e.id(), fmt.Errorf("it names %s, and the control log holds no %s of %s by them before it", x.Requester, evidence.EntryPurgeRequested, x.ID))
		case was != plan{e.Tenant, x.Erased.Log, x.Erased.Before}:
			p.gap(e.id(), fmt.Errorf("it erased payloads of %s of before %s, and what was asked for is %s of before %s", x.Erased.Log, x.Erased.Before, was.log, was.before))
		}
		if x.Approver != e.actorName() {
			p.gap(e.id(), errors.New("it names another approver than who entered it"))
		}
		p.add(e.id(), map[string]any{
			"purge": x.ID, "tenant": e.Tenant, "requester": x.Requester, "approver": x.Approver, "reason": e.Reason, "before": x.Erased.Before,
			"first_day": x.Erased.FirstDay, "last_day": x.Erased.LastDay, "days": x.Erased.Days, "first": x.Erased.First, "end": x.Erased.End,
			"payloads": x.Erased.Count, "bytes": x.Erased.Bytes, "commitments_sha256": x.Erased.Commitments, "time": ts(e.Time),
		})
	}
	return p
}
