package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// WhoQuery asks who could do any of the actions at some moment from From on
// and before To.
type WhoQuery struct {
	From    time.Time
	To      time.Time
	Actions []string // of Permissions; the same action may be named once
}

// WhoCould is the answer, from the control log alone.
type WhoCould struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Actions []string  `json:"actions"`
	Entries int64     `json:"entries"`           // of the control log that were folded: those before To
	Program string    `json:"program,omitempty"` // version of the ingest that ran at the end; its table of permissions may have been another
	Able    []Able    `json:"able"`
	// Disorder are entries about operators that say a time before To and stand
	// behind one that says a later one, as after a clock that went back. They
	// were not folded.
	Disorder []int64 `json:"disorder,omitempty"`
}

// Ways in which an operator could.
const (
	ByRole       = "role"
	BySession    = "session"
	ByGrant      = "grant"
	ByBreakGlass = "break-glass"
)

// Able is one way in which an operator could do something, with one credential.
type Able struct {
	Operator   string             `json:"operator"`
	Actions    []string           `json:"actions"` // of those that were asked for
	By         string             `json:"by"`      // "role", "session", "grant" or "break-glass"
	Role       string             `json:"role"`    // as which; under a grant "support"
	ID         string             `json:"id,omitempty"`
	Tenant     string             `json:"tenant,omitempty"` // in which alone
	Credential OperatorCredential `json:"credential"`
	From       time.Time          `json:"from,omitzero"`  // since when; none: before the span began
	Until      time.Time          `json:"until,omitzero"` // until when; none: beyond its end
	Entries    []int64            `json:"entries"`        // of the control log, that say so
	EndedBy    *int64             `json:"ended_by,omitempty"`
}

func (q *WhoQuery) check() error {
	if !q.From.Before(q.To) {
		return errors.New("the span that is asked for ends before it begins")
	}
	if len(q.Actions) == 0 {
		return errors.New("name at least one action")
	}
	for _, action := range q.Actions {
		if !slices.ContainsFunc(Permissions(), func(p Permission) bool { return p.Action == action }) {
			return fmt.Errorf("there is no action %s; ROLES.md lists them", clip(action))
		}
	}
	return nil
}

// Provisioning are the actions that bring a device into the registry.
func Provisioning() []string { return []string{"device.request", "device.approve"} }

// WhoCouldIn answers from the ledger in dir, or a copy of one, to which no
// process may be writing.
func WhoCouldIn(dir string, q WhoQuery) (out *WhoCould, err error) {
	led, err := openLogs(dir, ledger.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, led.Close()) }()
	if _, ok := led.Sizes()[controlLog]; !ok {
		return nil, fmt.Errorf("%s: %w", filepath.Clean(dir), ErrNoIngest)
	}
	return whoCould(led, q)
}

// whoCould folds the control log as far as it is before q.To, and looks at
// each moment of the span at which something may have changed: at its entries
// and where a credential, a grant or a break-glass begins or ends by itself.
func whoCould(led *ledger.Ledger, q WhoQuery) (*WhoCould, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	f := newWhoFold(q)
	read := func(from, to int64) iter.Seq2[[]byte, error] { return led.Entries(controlLog, from, to) }
	past := false
	for c := range parsed(read, 0, led.Size(controlLog), readAudit) {
		if c.err != nil {
			return nil, fmt.Errorf("reading the control log: %w", c.err)
		}
		for i := range c.entries {
			e, index := &c.entries[i], c.from+int64(i)
			switch past = past || !e.Time.Before(q.To); {
			case !past:
				f.out.Entries = index + 1
				if err := f.entry(index, e); err != nil {
					return nil, fmt.Errorf("folding the control log: entry %d: %w", index, err)
				}
			case e.Time.Before(q.To) && governs(e.Type):
				f.out.Disorder = append(f.out.Disorder, index)
			}
		}
	}
	f.pass(q.To)
	slices.SortStableFunc(f.all, func(a, b *Able) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), a.From.Compare(b.From), cmp.Compare(a.By, b.By), cmp.Compare(a.Credential.Fingerprint, b.Credential.Fingerprint))
	})
	for _, a := range f.all {
		f.out.Able = append(f.out.Able, *a)
	}
	return &f.out, nil
}

// showWhoCould answers GET /v1/admin/who-could?from=&to=&action=.
func (s *Server) showWhoCould(a *adminCall) (any, *Problem) {
	in := a.r.URL.Query()
	q := WhoQuery{Actions: in["action"]}
	for name, into := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		t, err := time.Parse(time.RFC3339Nano, in.Get(name))
		if err != nil {
			return nil, problem(CodeInvalid, name+": want a time as of RFC 3339")
		}
		*into = t.UTC()
	}
	if err := q.check(); err != nil {
		return nil, problem(CodeInvalid, err.Error())
	}
	out, err := whoCould(s.led, q)
	if err != nil {
		return nil, s.failure(err)
	}
	a.status = http.StatusOK
	return out, nil
}

// governs reports whether entries of the type say who may do what.
func governs(typ string) bool {
	switch typ {
	case evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved, evidence.EntryOperatorIssued, evidence.EntryOperatorLogin, evidence.EntryOperatorLogout,
		evidence.EntryRoleRequested, evidence.EntryRoleApproved, evidence.EntryRoleDeclined, evidence.EntryRoleChanged,
		evidence.EntryGrantRequested, evidence.EntryGrantApproved, evidence.EntryGrantDeclined, evidence.EntryGrantEnded,
		evidence.EntryBreakGlassOpened, evidence.EntryBreakGlassClosed:
		return true
	}
	return false
}
