package telemetry

import (
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// listedExport is an export as GET /v1/admin/exports lists it.
type listedExport struct {
	evidence.Export
	Requester string `json:"requester"`
	Files     []struct {
		Time   time.Time `json:"time"`
		Rows   int64     `json:"rows"`
		Bytes  int64     `json:"bytes"`
		SHA256 string    `json:"sha256"`
	} `json:"files"`
}

// exportFiles are the times in the period that a file left, as the ingest's own
// list of exports and as its control log have it, joined by export, moment and
// digest. Either may know what the other does not; what both know is one item.
func (r *run) exportFiles() part {
	p, entries := r.fromControl(KindExportFiles, r.upToEnd(evidence.EntryExport, evidence.EntryExportRequested, evidence.EntryExportApproved))
	p.basis = "reconciled"
	p.from(r.exportsReply, "exports.json", "list of exports")
	if r.exportsReply.err != nil || !r.controlHolds() {
		return p
	}
	left := map[string]map[string]any{}
	steps := map[string]string{} // entry of a request or approval, by "<type> <export>"
	for _, e := range entries {
		if e.Type != evidence.EntryExport {
			if e.Result != "refused" {
				steps[e.Type+" "+e.Target] = e.id()
			}
			continue
		}
		var x struct {
			ID, SHA256, Requester string
			Rows, Bytes           int64
		}
		if err := e.data(&x); err != nil {
			p.gap("an export", err)
			continue
		}
		if r.period.Contains(e.Time) {
			left[x.ID+"/"+ts(e.Time)+"/"+x.SHA256] = map[string]any{
				"export": x.ID, "tenant": e.Tenant, "requester": x.Requester, "rows": x.Rows, "bytes": x.Bytes, "sha256": x.SHA256, "time": ts(e.Time),
				"entry": e.id(), "request_entry": steps[evidence.EntryExportRequested+" "+x.ID], "approval_entry": steps[evidence.EntryExportApproved+" "+x.ID],
				"listed": false, "needs_approval": false,
			}
		}
	}
	for _, x := range r.exported {
		for _, f := range x.Files {
			if !r.period.Contains(f.Time) {
				continue
			}
			id := x.ID + "/" + ts(f.Time) + "/" + f.SHA256
			if left[id] == nil {
				left[id] = map[string]any{
					"export": x.ID, "tenant": x.Tenant, "requester": x.Requester, "rows": f.Rows, "bytes": f.Bytes, "sha256": f.SHA256, "time": ts(f.Time),
					"entry": "", "request_entry": steps[evidence.EntryExportRequested+" "+x.ID], "approval_entry": steps[evidence.EntryExportApproved+" "+x.ID],
				}
			}
			left[id]["listed"], left[id]["needs_approval"] = true, x.NeedsApproval
		}
	}
	for id, at := range left {
		p.add(id, at)
	}
	return p
}

// exportSpikes are found in the control log: each time in the period that the
// rows that had left of customers' events within 24 hours came above the limit
// of that time. Whether an alert was raised for it is then looked up.
func (r *run) exportSpikes() part {
	p, entries := r.fromControl(KindExportSpikes, func(e entry) bool {
		return e.Time.Before(r.period.To) && (e.Type == evidence.EntryExport || alertTypes(e))
	})
	p.needs(r.configReply, "configuration (how many exported rows are a spike)")
	p.basis = "reconciled"
	alerts := slices.DeleteFunc(r.foldAlerts(&p, entries), func(a *alert) bool { return a.Kind != "export.spike" })
	type out struct {
		entry
		rows int64
	}
	var left []out
	var last *alert // of the spike before
	for _, e := range entries {
		if e.Type != evidence.EntryExport || canary(e.Tenant) {
			continue
		}
		var x struct{ Rows int64 }
		if err := e.data(&x); err != nil {
			p.gap("an export", err)
			continue
		}
		left = append(left, out{e, x.Rows})
		limit := r.settingsAt(e.Time).spikeRows()
		rows, since := int64(0), e.Time
		for _, o := range slices.Backward(left) {
			if !o.Time.After(e.Time.Add(-24 * time.Hour)) {
				break
			}
			rows, since = rows+o.rows, o.Time
		}
		if limit == 0 || rows <= limit || openAt(last, e) {
			continue
		}
		at := map[string]any{
			"rows": rows, "limit": limit, "since": ts(since), "time": ts(e.Time), "requester": e.actorName(),
			"alert_id": "", "alert_raised_at": "", "alert_delay_s": nil,
		}
		last = nil
		for _, a := range alerts {
			if openAt(a, e) || a.raised.index > e.index {
				last = a
				at["alert_id"], at["alert_raised_at"], at["alert_delay_s"] = a.ID, ts(a.raised.Time), max(0, a.raised.Time.Sub(e.Time).Seconds())
				break
			}
		}
		if r.period.Contains(e.Time) {
			p.add(e.id(), at)
		}
	}
	return p
}

// openAt tells whether the alert had been raised and not resolved when entry e
// was made.
func openAt(a *alert, e entry) bool {
	return a != nil && a.raised.index < e.index && (a.resolved.Time.IsZero() || a.resolved.index > e.index)
}

// readExports asks for the exports that the ingest knows.
func (r *run) readExports() {
	r.exportsReply = r.get("/v1/admin/exports")
	var listed struct {
		Exports []listedExport `json:"exports"`
	}
	r.exportsReply.err = r.exportsReply.decodeList("exports", &listed)
	r.exported = listed.Exports
	for _, x := range r.exported {
		if r.exportsReply.err == nil && x.ID == "" {
			r.exportsReply.err = fmt.Errorf("an export without an ID is listed")
		}
	}
}
