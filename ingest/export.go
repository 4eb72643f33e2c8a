package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// ExportRecord is an export and what became of it.
type ExportRecord struct {
	evidence.Export
	State       string       `json:"state"` // "pending" (waits for an approver), "ready" or "declined"
	Requester   string       `json:"requester"`
	RequestedAt time.Time    `json:"requested_at"`
	Reason      string       `json:"reason"`
	Approver    string       `json:"approver,omitempty"`
	ReadyAt     time.Time    `json:"ready_at,omitzero"`
	Decliner    string       `json:"decliner,omitempty"`
	DeclinedAt  time.Time    `json:"declined_at,omitzero"`
	Why         string       `json:"why,omitempty"`   // it was declined
	Files       []ExportFile `json:"files,omitempty"` // each time that it left
}

// ExportFile is a file that left.
type ExportFile struct {
	Time   time.Time `json:"time"`
	Rows   int64     `json:"rows"`
	Bytes  int64     `json:"bytes"`
	SHA256 string    `json:"sha256"`
}

// States of an export.
const (
	ExportPending  = "pending"
	ExportReady    = "ready"
	ExportDeclined = "declined"
)

// scope says in one line what is in an export.
func scope(x evidence.Export) string {
	out := fmt.Sprintf("events of %s received from %s to %s", x.Tenant, x.From.Format(time.RFC3339), x.To.Format(time.RFC3339))
	if x.EventType != "" {
		out += ", type " + x.EventType
	}
	if x.Device != "" {
		out += ", device " + x.Device
	}
	return out
}

func (st *state) applyExport(e *evidence.AuditEntry) error {
	var d struct {
		evidence.Export
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == evidence.EntryExportRequested {
		x := &ExportRecord{Export: d.Export, State: ExportPending, Requester: actorName(e.Actor), RequestedAt: e.Time, Reason: e.Reason}
		if !d.NeedsApproval {
			x.State, x.ReadyAt = ExportReady, e.Time
		}
		st.exports[d.ID] = x
		return nil
	}
	x := st.exports[d.ID]
	if x == nil {
		return fmt.Errorf("%s of an export that was never requested, %s", e.Type, clip(d.ID))
	}
	changed := *x // a capture may hold the one before
	x = &changed
	st.exports[d.ID] = x
	switch e.Type {
	case evidence.EntryExportApproved:
		x.State, x.Approver, x.ReadyAt = ExportReady, actorName(e.Actor), e.Time
		return nil
	case evidence.EntryExportDeclined:
		x.State, x.Decliner, x.DeclinedAt, x.Why = ExportDeclined, actorName(e.Actor), e.Time, e.Reason
		return nil
	}
	x.Files = append(x.Files, ExportFile{e.Time, d.Rows, d.Bytes, d.SHA256})
	return nil
}

// export is a copy of the record of id, nil where there is none.
func (st *state) export(id string) *ExportRecord {
	st.mu.RLock()
	defer st.mu.RUnlock()
	x := st.exports[id]
	if x == nil {
		return nil
	}
	c := *x
	c.Files = slices.Clone(x.Files)
	return &c
}

func (s *Server) listExports(a *adminCall) (any, *Problem) {
	only, p := a.onlyTenant(a.r.URL.Query().Get("tenant"))
	if p != nil {
		return nil, p
	}
	s.st.mu.RLock()
	out := []ExportRecord{}
	for _, x := range s.st.exports {
		if only != "" && x.Tenant != only {
			continue
		}
		c := *x
		c.Files = slices.Clone(x.Files)
		out = append(out, c)
	}
	s.st.mu.RUnlock()
	slices.SortFunc(out, func(a, b ExportRecord) int {
		return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(a.ID, b.ID))
	})
	return map[string]any{"exports": out}, nil
}

// lately counts what the operator asked for in the 24 hours before now, the
// rows of it that needed no approval, and when the first of it was.
func (st *state) lately(operator string, now time.Time) (requests int, rows int64, first time.Time) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, x := range st.exports {
		if x.Requester != operator || !x.RequestedAt.After(now.Add(-day)) {
			continue
		}
		if requests++; first.IsZero() || x.RequestedAt.Before(first) {
			first = x.RequestedAt
		}
		if !x.NeedsApproval {
			rows += x.Rows
		}
	}
	return requests, rows, first
}

// moment reads a day, which is its beginning, or an RFC 3339 time.
func moment(key, text string, otherwise time.Time) (time.Time, *Problem) {
	if text == "" {
		return otherwise, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, problem(CodeInvalid, key+": want a day such as 2026-07-01 or a time such as 2026-07-01T12:00:00Z")
}

// requestExport counts what would leave and either lets it be fetched, or has
// it wait for an approver: above exports.unapproved_rows, in which the
// operator's other unapproved exports of 24 hours count, so that nothing is
// gained by asking for it in parts.
func (s *Server) requestExport(a *adminCall) (any, *Problem) {
	var in struct {
		Tenant      string `json:"tenant"`
		From        string `json:"from"`
		To          string `json:"to"`
		Device      string `json:"device"`
		EventType   string `json:"event_type"`
		Format      string `json:"format"`
		Destination string `json:"destination"`
		Reason      string `json:"reason"`
		Ticket      string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.tenant = clip(in.Tenant)
	now, policy := s.now(), s.cfg().Exports
	from, p := moment("from", in.From, time.Unix(0, 0).UTC())
	if p != nil {
		return nil, p
	}
	to, p := moment("to", in.To, now.Add(1)) // what came at this moment is in it
	if p != nil {
		return nil, p
	}
	switch {
	case in.Format != "ndjson" && in.Format != "csv":
		return nil, problem(CodeInvalid, "format: want ndjson or csv")
	case !from.Before(to):
		return nil, problem(CodeInvalid, "from: must lie before to")
	case strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say why the data is wanted")
	case strings.TrimSpace(in.Destination) == "" || len(in.Destination) > 500:
		return nil, problem(CodeInvalid, "destination: say in 1 to 500 bytes where the file goes")
	case len(in.Device) > 128 || len(in.EventType) > 128:
		return nil, problem(CodeInvalid, "device and event_type: at most 128 bytes each")
	case s.st.tenant(in.Tenant) == nil:
		return nil, problem(CodeNotFound, "there is no tenant "+clip(in.Tenant))
	}
	if p := a.within(in.Tenant); p != nil {
		return nil, p
	}
	if p := s.exportRate(a, policy, now); p != nil { // before the log is read for it
		return nil, p
	}
	x := evidence.Export{
		ID: "export-" + a.id, Tenant: in.Tenant, From: from, To: to, Until: s.led.Size(in.Tenant), Device: in.Device, EventType: in.EventType,
		Format: in.Format, Destination: in.Destination,
	}
	if err := a.takeTime(); err != nil {
		return nil, s.failure(err)
	}
	err := s.exported(a.r.Context(), x, func(int64, []byte, *tenantEntry) error { x.Rows++; return nil })
	if err != nil {
		return nil, s.failure(err)
	}
	if x.Rows > policy.MaxRows {
		return nil, problem(CodeInvalid, fmt.Sprintf("it has %d rows; one export takes at most %d: ask for a shorter time", x.Rows, policy.MaxRows))
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	if p := s.exportRate(a, policy, now); p != nil {
		return nil, p
	}
	_, unapproved, _ := s.st.lately(a.op.Name, now)
	x.NeedsApproval = unapproved+x.Rows > policy.UnapprovedRows && !off(guardExportApproval)
	if p := a.done(evidence.EntryExportRequested, evidence.AuditEntry{Tenant: x.Tenant, Target: x.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(x)}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return s.st.export(x.ID), nil
}

func (s *Server) exportRate(a *adminCall, policy ExportPolicy, now time.Time) *Problem {
	n, _, first := s.st.lately(a.op.Name, now)
	if n < policy.PerDay {
		return nil
	}
	p := problem(CodeRateExport, fmt.Sprintf("%d in the last 24 hours; the limit is %d", n, policy.PerDay))
	p.retryAfter = retrySeconds(first.Add(day).Sub(now))
	return p
}

func (s *Server) approveExport(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	x, p := s.namedExport(a)
	if p != nil {
		return nil, p
	}
	switch {
	case x.State != ExportPending:
		return nil, problem(CodeConflict, "the export waits for no approval")
	case x.Requester == a.op.Name && !off(guardSelfApproval):
		return nil, problem(CodeApprovalSelf, "the export was requested by the same operator")
	}
	if p := a.done(evidence.EntryExportApproved, evidence.AuditEntry{
		Tenant: x.Tenant, Target: x.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(map[string]string{"id": x.ID}),
		Before: raw(map[string]string{"state": x.State}), After: raw(map[string]string{"state": ExportReady}),
	}); p != nil {
		return nil, p
	}
	return s.st.export(x.ID), nil
}

// declineExport refuses an export that waits. It stays refused: whoever wants
// the data after all asks anew.
func (s *Server) declineExport(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	x, p := s.namedExport(a)
	if p != nil {
		return nil, p
	}
	switch {
	case x.State != ExportPending:
		return nil, problem(CodeConflict, "the export waits for no approval")
	case strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say why it may not leave")
	}
	if p := a.done(evidence.EntryExportDeclined, evidence.AuditEntry{
		Tenant: x.Tenant, Target: x.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(map[string]string{"id": x.ID}),
		Before: raw(map[string]string{"state": x.State}), After: raw(map[string]string{"state": ExportDeclined}),
	}); p != nil {
		return nil, p
	}
	return s.st.export(x.ID), nil
}

// namedExport finds the export of the path, unless its time has run out.
func (s *Server) namedExport(a *adminCall) (*ExportRecord, *Problem) {
	a.target = clip(a.r.PathValue("id"))
	x := s.st.export(a.r.PathValue("id"))
	if x == nil || !a.covers(x.Tenant) {
		return nil, problem(CodeNotFound, "there is no such export")
	}
	a.tenant = x.Tenant
	if x.State == ExportReady && s.now().Sub(x.ReadyAt) > s.cfg().Exports.Valid {
		return nil, problem(CodeConflict, fmt.Sprintf("the export was ready on %s and could be fetched for %v; request it again", x.ReadyAt.Format(time.RFC3339), s.cfg().Exports.Valid))
	}
	return x, nil
}

// exportSpike raises an alert where more rows have left within 24 hours than
// exports.spike_rows; one, until that is resolved. What left of canary tenants
// is counted apart, so that drills neither cause nor hide an alert about the
// others. tenant is that of the last export. The caller holds s.decide.
func (s *Server) exportSpike(tenant string) error {
	canary := strings.HasPrefix(tenant, evidence.CanaryPrefix)
	now, policy, rows := s.now(), s.cfg().Exports, int64(0)
	limit, key, about := policy.SpikeRows, "", ""
	if canary {
		limit, key, about = cmp.Or(policy.CanarySpikeRows, policy.SpikeRows), "canary", tenant
	}
	var who []string
	s.st.mu.RLock()
	for _, x := range s.st.exports {
		if strings.HasPrefix(x.Tenant, evidence.CanaryPrefix) != canary {
			continue
		}
		for _, f := range x.Files {
			if f.Time.After(now.Add(-day)) {
				rows += f.Rows
				who = append(who, x.Requester)
			}
		}
	}
	s.st.mu.RUnlock()
	same := func(a *AlertRecord) bool { return strings.HasPrefix(a.Tenant, evidence.CanaryPrefix) == canary }
	if rows <= limit || off(guardExportSpike) || s.openAlert(AlertExportSpike, same) != nil {
		return nil
	}
	slices.Sort(who)
	e := s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Tenant: about})
	al := evidence.Alert{
		ID: alertID(AlertExportSpike, e.Time, key), Kind: AlertExportSpike, Since: e.Time,
		Detail: fmt.Sprintf("%d rows left in 24 hours, above %d; by %s", rows, limit, strings.Join(slices.Compact(who), ", ")),
	}
	e.Target, e.Data = al.ID, raw(al)
	_, err := s.record(e)
	return err
}
