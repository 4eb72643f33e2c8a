package drill

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	exportMost    = 10_000 // events that a drill stores so that there is something to export
	leaveMost     = 50_000 // rows that a drill lets leave at most, of canaries' events
	askMost       = 19     // exports that a drill asks for
	exportDevices = 8      // canaries that send what is exported
)

// export is what the ingest says of one.
type export struct {
	ID            string `json:"id"`
	Rows          int64  `json:"rows"`
	NeedsApproval bool   `json:"needs_approval"`
	State         string `json:"state"`
}

// unapproved asks for more than may leave without approval, in parts that are
// each small enough, and fetches what waits for approval.
func unapproved() drill {
	return drill{
		id: "ST-06.export-over-limit", control: "ST-06",
		what:     "an exporter takes out more rows than may leave without approval, in parts, fetches the one that waits for approval, and approves it himself",
		expected: "an export waits for approval before the limit is passed; 409 request.conflict for its file, 403 approval.self for approving it",
		attack: func(ctx context.Context, r *run) outcome {
			sent := "POST /v1/admin/exports of " + TenantA + " over and over, by a canary operator with the roles exporter and approver"
			o, err := r.exporting(ctx, "exporter", r.config.Exports.UnapprovedRows, askMost)
			if err != nil {
				return unable(sent, err)
			}
			limit, rows := r.config.Exports.UnapprovedRows, int64(0)
			out := outcome{sent: sent, recorded: true}
			for n := 1; n <= askMost; n++ {
				x, a := r.ask(ctx, o.certificate)
				out.latency = max(out.latency, a.latency)
				switch {
				case a.status != 201:
					out.got, out.verdict = fmt.Sprintf("%s for request %d, with %d rows let through before", a, n, rows), a.refusal(a.status, a.code)
					if rows <= limit {
						out.verdict = NotAvailable // something else came before the limit
					}
					return out
				case x.NeedsApproval:
					out.got = fmt.Sprintf("request %d waits for approval, with %d rows let through before and a limit of %d", n, rows, limit)
					file := r.actAs(ctx, o.certificate, "POST", "/v1/admin/exports/"+x.ID+"/file", nil)
					out.add("its file: ", file, join(judged(rows <= limit && x.State == "pending"), file.refusal(409, "request.conflict")))
					own := r.actAs(ctx, o.certificate, "POST", "/v1/admin/exports/"+x.ID+"/approve", nil)
					out.add("approving it: ", own, own.refusal(403, "approval.self"))
					out.traces = []trace{refusedAct(x.ID)}
					return out
				}
				if rows += x.Rows; rows > limit {
					out.got, out.verdict = fmt.Sprintf("%d rows let through without approval, where the limit is %d", rows, limit), Failed
					return out
				}
			}
			out.got, out.verdict = fmt.Sprintf("%d rows in %d requests are not above the limit of %d", rows, askMost, limit), NotAvailable
			return out
		},
	}
}

// refusedAct is the entry about an act on the target that was refused.
func refusedAct(target string) trace {
	return trace{log: controlLog, ours: true, match: func(rec record) bool {
		return rec.audit.Type == evidence.EntryAdminRefused && (rec.audit.Target == target || strings.Contains(string(rec.audit.Data), target))
	}}
}

// exporting makes an operator who may export and approve, and sees to it that
// so many exports of all that the canaries sent hold more than rows.
func (r *run) exporting(ctx context.Context, name string, rows int64, parts int64) (*canaryOperator, error) {
	if r.config.err != nil {
		return nil, r.config.err
	}
	if rows <= 0 {
		return nil, errors.New("the ingest's settings name no limit of exported rows")
	}
	want := rows/(parts-1) + 1
	if want > exportMost {
		return nil, fmt.Errorf("it would take %d events to pass the limit of %d rows; a drill stores no more than %d", want, rows, exportMost)
	}
	if err := r.store(ctx, want); err != nil {
		return nil, fmt.Errorf("storing events to export: %w", err)
	}
	return r.operator(ctx, name, "exporter", "approver")
}

// store has canaries of tenant A send events until that many are stored, as
// many canaries as their rates demand.
func (r *run) store(ctx context.Context, want int64) error {
	each := int64(r.config.Rates.Device.Burst*3/4) - 2
	if each < 1 || want > each*exportDevices {
		return fmt.Errorf("%d events are wanted, and the burst of a device is %.0f; a drill uses no more than %d devices for it", want, r.config.Rates.Device.Burst, exportDevices)
	}
	for n := 1; r.exportable < want; n++ {
		c, err := r.canary(ctx, TenantA, fmt.Sprintf("exported-%d", n))
		if err != nil {
			return err
		}
		for c.seq < each && r.exportable < want {
			size := min(each-c.seq, want-r.exportable, r.config.Limits.Lines, 500)
			a := r.public.once(ctx, r.public.with(c.certificate), r.batch(c, int(size)))
			if receipt, err := a.receipt(); err != nil || int64(receipt.Accepted) != size {
				return errors.New(a.brief())
			}
			r.exportable += size
		}
	}
	return nil
}

// ask requests an export of what the canaries of tenant A have sent in this
// run.
func (r *run) ask(ctx context.Context, as tls.Certificate) (x export, a answer) {
	a = r.actAs(ctx, as, "POST", "/v1/admin/exports", map[string]string{
		"tenant": TenantA, "from": r.began.Format(time.RFC3339), "format": "ndjson", "destination": "drill", "reason": "drill run " + r.id, "ticket": "DRILL-" + r.id,
	})
	if a.status == 201 {
		if err := json.Unmarshal(a.body, &x); err != nil {
			a.err = fmt.Errorf("reading the export: %w", err)
			a.status = 0
		}
	}
	return x, a
}

// spike lets many rows leave, all of them canaries', and waits for the alert.
func spike() drill {
	return drill{
		id: "ST-07.export-spike", control: "ST-07",
		what:     "an exporter fetches an export of canaries' events again and again",
		expected: "an alert export.spike once more rows have left than exports.canary_spike_rows",
		attack: func(ctx context.Context, r *run) outcome {
			limit := r.config.Exports.CanarySpikeRows
			sent := "POST /v1/admin/exports/{id}/file over and over, of events of " + TenantA + ", by a canary operator with the role exporter"
			if limit > leaveMost/2 {
				return unable(sent, fmt.Errorf("exports.canary_spike_rows is %d; a drill lets no more than %d rows leave", limit, leaveMost))
			}
			list, err := r.alerts(ctx)
			if err != nil {
				return unable(sent, err)
			}
			if i := slices.IndexFunc(list, func(al alert) bool {
				return al.Kind == "export.spike" && al.ResolvedAt.IsZero() && strings.HasPrefix(al.Tenant, evidence.CanaryPrefix)
			}); i >= 0 {
				return unable(sent, fmt.Errorf("the alert %s of an earlier run is open, and meanwhile no other is raised; resolve it", list[i].ID))
			}
			o, err := r.exporting(ctx, "fetcher", limit, 40)
			if err != nil {
				return unable(sent, err)
			}
			x, a := r.ask(ctx, o.certificate)
			if a.status != 201 || x.NeedsApproval && r.by(ctx, r.t.Approver, "POST", "/v1/admin/exports/"+x.ID+"/approve", struct{}{}, nil) != nil {
				return unable(sent, fmt.Errorf("no export to fetch: %s", a))
			}
			out := outcome{sent: sent, recorded: true, traces: []trace{raised("export.spike", func(al evidence.Alert, tenant string) bool {
				return tenant == TenantA || strings.Contains(al.Detail, o.name)
			})}}
			left := int64(0)
			for n := 0; left <= limit && n < 100; n++ {
				file := r.actAs(ctx, o.certificate, "POST", "/v1/admin/exports/"+x.ID+"/file", nil)
				if file.status != 200 {
					return unable(sent, fmt.Errorf("fetching the export: %s", file))
				}
				left, out.latency = left+x.Rows, max(out.latency, file.latency)
			}
			return r.alerted(ctx, out, fmt.Sprintf("%d rows left, where the limit is %d", left, limit), left > limit, "export.spike", func(al alert) bool {
				return al.Tenant == TenantA || strings.Contains(al.Detail, o.name)
			})
		},
	}
}

// alert is one as the admin API lists it.
type alert struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	Tenant     string    `json:"tenant"`
	Devices    []string  `json:"devices"`
	Detail     string    `json:"detail"`
	RaisedAt   time.Time `json:"raised_at"`
	ResolvedAt time.Time `json:"resolved_at"`
}

func (r *run) alerts(ctx context.Context) ([]alert, error) {
	var list struct {
		Alerts []alert `json:"alerts"`
	}
	err := r.either(ctx, "GET", "/v1/admin/alerts", nil, &list)
	return list.Alerts, err
}

// raised is the entry of an alert of the kind.
func raised(kind string, match func(al evidence.Alert, tenant string) bool) trace {
	return trace{log: controlLog, ours: true, match: func(rec record) bool {
		var al evidence.Alert
		return rec.audit.Type == evidence.EntryAlertRaised && json.Unmarshal(rec.audit.Data, &al) == nil && al.Kind == kind && match(al, rec.audit.Tenant)
	}}
}

// alerted waits for an alert of the kind, which the ingest raises in its own
// time, and judges.
func (r *run) alerted(ctx context.Context, o outcome, got string, caused bool, kind string, match func(alert) bool) outcome {
	o.got, o.verdict = got, NotAvailable
	if !caused {
		return o
	}
	began := time.Now()
	for time.Since(began) < patience {
		list, err := r.alerts(ctx)
		if err != nil {
			o.got += "; the alerts could not be read: " + err.Error()
			return o
		}
		if i := slices.IndexFunc(list, func(al alert) bool { return al.Kind == kind && match(al) }); i >= 0 {
			o.latency = time.Since(began)
			o.got += fmt.Sprintf("; alert %s after %.1f s", kind, o.latency.Seconds())
			o.verdict = Passed
			r.own[list[i].ID] = true
			return o
		}
		select {
		case <-ctx.Done():
			return unable(o.sent, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	o.got += fmt.Sprintf("; no alert %s within %v", kind, patience)
	o.verdict, o.recorded = Failed, false
	return o
}
