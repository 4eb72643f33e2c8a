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
	asked := map[string]bool{} // "<purge> <operator>"
	for _, e := range entries {
		if e.Type == evidence.EntryPurgeRequested {
			asked[e.Target+" "+e.actorName()] = e.Result != "refused"
			continue
		}
		if !r.period.Contains(e.Time) {
			continue
		}
		var x struct {
			ID, Requester, Approver string
			Purge                   ledger.Purge
		}
		if err := e.data(&x); err != nil {
			p.gap("a purge", err)
			continue
		}
		if !asked[x.ID+" "+x.Requester] {
			p.gap(e.id(), fmt.Errorf("it names %s, and the control log holds no %s of %s by them before it", x.Requester, evidence.EntryPurgeRequested, x.ID))
		}
		if x.Approver != e.actorName() {
			p.gap(e.id(), errors.New("it names another approver than who entered it"))
		}
		p.add(e.id(), map[string]any{
			"purge": x.ID, "tenant": e.Tenant, "requester": x.Requester, "approver": x.Approver, "reason": e.Reason, "before": x.Purge.Before,
			"first_day": x.Purge.FirstDay, "last_day": x.Purge.LastDay, "days": x.Purge.Days, "first": x.Purge.First, "end": x.Purge.End,
			"payloads": x.Purge.Count, "bytes": x.Purge.Bytes, "commitments_sha256": x.Purge.Commitments, "time": ts(e.Time),
		})
	}
	return p
}
