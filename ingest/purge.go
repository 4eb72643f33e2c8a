package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// PurgeRecord is a purge of what a tenant's devices sent, and what became of
// it.
type PurgeRecord struct {
	ID          string    `json:"id"`
	Tenant      string    `json:"tenant"`
	Asked       time.Time `json:"asked"`  // before which time was asked for
	Before      string    `json:"before"` // the first UTC day that stays: that time's own, or today
	State       string    `json:"state"`  // "pending" (waits for an approver) or "done"
	Requester   string    `json:"requester"`
	RequestedAt time.Time `json:"requested_at"`
	Reason      string    `json:"reason"`
	Approver    string    `json:"approver,omitempty"`
	DoneAt      time.Time `json:"done_at,omitzero"`
	Index       int64     `json:"index"` // of the entry that asks for it, then of that which records it

	// Purge is what is to be erased as it stood when it was asked for, and what
	// was erased once it is done.
	Purge ledger.Purge `json:"purge"`
}

// States of a purge.
const (
	PurgePending = "pending"
	PurgeDone    = "done"
)

// NotPurged says what a purge cannot erase.
const NotPurged = "not erased: copies that a file system, a disk or a backup kept, files of exports, evidence that was collected, and what was forwarded; " +
	"entries, proofs and commitments stay"

// purgeData is the data of the entries of a purge.
type purgeData struct {
	ID        string       `json:"id"`
	Asked     time.Time    `json:"asked"`
	Requester string       `json:"requester,omitempty"`
	Approver  string       `json:"approver,omitempty"`
	Purge     ledger.Purge `json:"purge,omitzero"`  // as it was planned, in the request
	Erased    ledger.Purge `json:"erased,omitzero"` // in the entry of the purge itself: ledger.Purge tells one from the other by this
}

func (st *state) applyPurge(index int64, e *evidence.AuditEntry) error {
	var d purgeData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == evidence.EntryPurgeRequested {
		st.purges[d.ID] = &PurgeRecord{
			ID: d.ID, Tenant: e.Tenant, Asked: d.Asked, Before: d.Purge.Before, State: PurgePending, Requester: actorName(e.Actor), RequestedAt: e.Time, Reason: e.Reason,
			Index: index, Purge: d.Purge,
		}
		return nil
	}
	x := st.purges[d.ID]
	if x == nil {
		return fmt.Errorf("%s of a purge that was never requested, %s", e.Type, clip(d.ID))
	}
	done := *x // a snapshot may be at the one before
	done.State, done.Approver, done.DoneAt, done.Index, done.Purge = PurgeDone, actorName(e.Actor), e.Time, index, d.Erased
	st.purges[d.ID] = &done
	return nil
}

// purge is a copy of the record of id, nil where there is none.
func (st *state) purge(id string) *PurgeRecord {
	st.mu.RLock()
	defer st.mu.RUnlock()
	x := st.purges[id]
	if x == nil {
		return nil
	}
	c := *x
	return &c
}

func (s *Server) listPurges(*adminCall) (any, *Problem) {
	s.st.mu.RLock()
	out := []PurgeRecord{}
	for _, x := range s.st.purges {
		out = append(out, *x)
	}
	s.st.mu.RUnlock()
	slices.SortFunc(out, func(a, b PurgeRecord) int {
		return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(a.ID, b.ID))
	})
	return map[string]any{"purges": out}, nil
}

// requestPurge asks for the payloads of a tenant that are older than a time to
// be erased, in whole UTC days. Nothing is, until somebody else approves.
func (s *Server) requestPurge(a *adminCall) (any, *Problem) {
	var in struct {
		Tenant string `json:"tenant"`
		Before string `json:"before"`
		Reason string `json:"reason"`
		Ticket string `json:"ticket"`
	}
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	a.tenant = clip(in.Tenant)
	before, p := moment("before", in.Before, time.Time{})
	if p != nil {
		return nil, p
	}
	switch {
	case before.IsZero():
		return nil, problem(CodeInvalid, "before: say up to which day, such as 2026-07-01, or time")
	case strings.TrimSpace(in.Reason) == "":
		return nil, problem(CodeInvalid, "reason: say why it is to be erased")
	case s.st.tenant(in.Tenant) == nil:
		return nil, problem(CodeNotFound, "there is no tenant "+clip(in.Tenant))
	}
	if err := a.takeTime(); err != nil {
		return nil, s.failure(err)
	}
	plan, err := s.led.PlanPurge(a.r.Context(), in.Tenant, before)
	if err != nil {
		return nil, s.purgeFailure(in.Tenant, before, err)
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	d := purgeData{ID: "purge-" + a.id, Asked: before, Purge: plan}
	if p := a.done(evidence.EntryPurgeRequested, evidence.AuditEntry{Tenant: in.Tenant, Target: d.ID, Reason: in.Reason, Ticket: in.Ticket, Data: raw(d)}); p != nil {
		return nil, p
	}
	a.status = http.StatusCreated
	return s.st.purge(d.ID), nil
}

func (s *Server) purgeFailure(tenantID string, before time.Time, err error) *Problem {
	if errors.Is(err, ledger.ErrNothingToPurge) || errors.Is(err, ledger.ErrNotFound) {
		return problem(CodeConflict, fmt.Sprintf("%s has no payloads of days before %s", tenantID, s.led.PurgeDay(before).Format(time.DateOnly)))
	}
	return s.failure(err)
}

// approvePurge carries a purge out that somebody else asked for. The entry
// says who asked, who approved, and what is erased; it is durable before
// anything is, and all is erased before the answer.
func (s *Server) approvePurge(a *adminCall) (any, *Problem) {
	in, p := a.decision()
	if p != nil {
		return nil, p
	}
	if len(in.Reason) > 2000 || len(in.Ticket) > 500 {
		return nil, problem(CodeInvalid, "reason takes at most 2000 bytes and ticket 500")
	}
	a.target = clip(a.r.PathValue("id"))
	s.decide.Lock()
	defer s.decide.Unlock()
	x := s.st.purge(a.r.PathValue("id"))
	if x == nil {
		return nil, problem(CodeNotFound, "there is no such purge")
	}
	a.tenant = x.Tenant
	if p := a.still(x.Tenant); p != nil {
		return nil, p
	}
	switch {
	case x.State != PurgePending:
		return nil, problem(CodeConflict, "the purge was done before, approved by "+x.Approver)
	case x.Requester == a.op.Name:
		return nil, problem(CodeApprovalSelf, "the purge was requested by the same operator")
	}
	before, p := moment("before", x.Before, time.Time{})
	if p != nil {
		return nil, p
	}
	if err := a.takeTime(); err != nil {
		return nil, s.failure(err)
	}
	if err := s.purge(a, x, before, in.Reason, in.Ticket); err != nil {
		return nil, s.purgeFailure(x.Tenant, before, err)
	}
	return s.st.purge(x.ID), nil
}

// purge erases, and notes it. The caller holds s.decide.
func (s *Server) purge(a *adminCall, x *PurgeRecord, before time.Time, reason, ticket string) error {
	if err := s.durable(); err != nil {
		return err
	}
	change := s.snapshots.begin()
	defer change.end()
	var e evidence.AuditEntry
	_, at, err := s.led.Purge(a.r.Context(), x.Tenant, before, func(p ledger.Purge) (ledger.Entry, error) {
		e = s.entry(evidence.EntryPurged, evidence.AuditEntry{
			Actor: a.actor(), RequestID: a.id, Grant: a.grant, Tenant: x.Tenant, Target: x.ID, Result: "done", Reason: cmp.Or(reason, x.Reason), Ticket: ticket,
			Data: raw(purgeData{x.ID, x.Asked, x.Requester, a.op.Name, ledger.Purge{}, p}), Before: raw(map[string]string{"state": x.State}), After: raw(map[string]string{"state": PurgeDone}),
		})
		data, err := evidence.CanonicalJSON(&e)
		return ledger.Entry{Log: controlLog, Data: data}, err
	})
	if err != nil {
		if s.led.Err() != nil {
			s.lose(err)
		}
		return err
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if err := s.st.apply(at.Index, &e); err != nil {
		s.snapshots.unsound.Store(true)
		return err
	}
	return nil
}
