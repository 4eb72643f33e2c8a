package ingest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// whoFold is the part of the state that says who may do what, on its way
// through the control log, with the entries that each part of it comes from.
type whoFold struct {
	q   WhoQuery
	out WhoCould
	st  *state

	roles map[string][]int64 // entries that gave an operator the roles that he holds, by name
	creds map[string]int64   // entry that made a credential, by fingerprint
	asked map[string]int64   // entry that asked for a role change, a grant; by ID
	given map[string][]int64 // entries of a grant or break-glass that is, or was, open; by ID

	at    time.Time        // that was looked at last; zero: the span has not begun
	ways  map[string]*Able // that are there now
	all   []*Able          // that were there at any moment of the span
	moved time.Time        // of the last entry
}

func newWhoFold(q WhoQuery) *whoFold {
	return &whoFold{
		q: q, out: WhoCould{From: q.From, To: q.To, Actions: q.Actions, Able: []Able{}}, st: newState(0),
		roles: map[string][]int64{}, creds: map[string]int64{}, asked: map[string]int64{}, given: map[string][]int64{}, ways: map[string]*Able{},
	}
}

// entry goes on to the time of an entry, and takes it.
func (f *whoFold) entry(index int64, e *evidence.AuditEntry) error {
	if e.Type == evidence.EntryIngestStarted {
		var d struct {
			Version string `json:"version"`
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return err
		}
		f.out.Program = d.Version
	}
	if !governs(e.Type) {
		return nil
	}
	at := e.Time
	if at.Before(f.moved) {
		at = f.moved // the clock went back; order counts
	}
	f.moved = at
	if at.After(f.q.From) {
		f.pass(at)
	}
	if err := f.note(index, e); err != nil {
		return err
	}
	if at.After(f.q.From) {
		f.look(at, &index)
	}
	return nil
}

// note takes the entry into the state, and keeps which it was.
func (f *whoFold) note(index int64, e *evidence.AuditEntry) error {
	var d struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	switch e.Type {
	case evidence.EntryRoleRequested, evidence.EntryGrantRequested:
		f.asked[d.ID] = index
	case evidence.EntryRoleApproved:
		f.roles[d.Name] = []int64{f.asked[d.ID], index}
	case evidence.EntryRoleChanged, evidence.EntryOperatorAdded:
		f.roles[d.Name] = []int64{index}
	case evidence.EntryGrantApproved:
		f.given[d.ID] = []int64{f.asked[d.ID], index}
	case evidence.EntryBreakGlassOpened:
		f.given[d.ID] = []int64{index}
	}
	if d.Fingerprint != "" {
		switch e.Type {
		case evidence.EntryOperatorAdded, evidence.EntryOperatorIssued, evidence.EntryOperatorLogin:
			f.creds[d.Fingerprint] = index
		}
	}
	return f.st.apply(index, e)
}

// pass looks at what begins or ends by itself up to a time, which is not
// looked at.
func (f *whoFold) pass(to time.Time) {
	if f.at.IsZero() {
		f.look(f.q.From, nil)
	}
	var moments []time.Time
	add := func(times ...time.Time) {
		for _, t := range times {
			if t.After(f.at) && t.Before(to) {
				moments = append(moments, t)
			}
		}
	}
	for _, o := range f.st.operators {
		for _, c := range o.credentials {
			add(c.NotBefore, c.NotAfter)
		}
	}
	for _, g := range f.st.grants {
		add(g.From, g.Until)
	}
	for _, b := range f.st.breaks {
		add(b.Until)
	}
	slices.SortFunc(moments, time.Time.Compare)
	for _, t := range slices.CompactFunc(moments, time.Time.Equal) {
		f.look(t, nil)
	}
}

// look notes which ways there are at a time, by whom they end that are none any
// more, and since when those that are new.
func (f *whoFold) look(at time.Time, by *int64) {
	first := f.at.IsZero()
	f.at = at
	now := map[string]*Able{}
	for _, o := range f.st.operators {
		for _, c := range o.credentials {
			if o.removed || c.ended(at) || at.Before(c.NotBefore) {
				continue
			}
			for _, a := range f.by(o, c, at) {
				slices.Sort(a.Entries)
				a.Entries = slices.Compact(a.Entries)
				now[fmt.Sprint(a.Operator, a.By, a.Role, a.ID, a.Credential.Fingerprint, a.Entries)] = &a
			}
		}
	}
	for key, a := range f.ways {
		if now[key] == nil {
			a.Until, a.EndedBy = at, by
			delete(f.ways, key)
		}
	}
	for key, a := range now {
		if was := f.ways[key]; was != nil {
			was.Credential = a.Credential // its end may have come nearer
		} else {
			if !first {
				a.From = at
			}
			f.ways[key] = a
			f.all = append(f.all, a)
		}
	}
}

// by are the ways that the credential opens to the operator at the time, as
// authorize would find them.
func (f *whoFold) by(o *operator, c OperatorCredential, at time.Time) []Able {
	var out []Able
	way := func(by, role, id, tenant string, may func(action string) bool, entries ...int64) {
		a := Able{Operator: o.Name, By: by, Role: role, ID: id, Tenant: tenant, Credential: c, Entries: append(entries, f.creds[c.Fingerprint])}
		for _, action := range f.q.Actions {
			if may(action) {
				a.Actions = append(a.Actions, action)
			}
		}
		if len(a.Actions) > 0 {
			out = append(out, a)
		}
	}
	as := func(role string) func(string) bool {
		return func(action string) bool {
			_, ok := allowed(&operator{Operator: evidence.Operator{Roles: []string{role}}}, action)
			return ok
		}
	}
	for _, role := range o.by(c).Roles {
		if c.Method == MethodOIDC {
			way(BySession, role, sessionID(c.Fingerprint), "", as(role))
		} else {
			way(ByRole, role, "", "", as(role), f.roles[o.Name]...)
		}
		switch role {
		case RoleAdmin:
			for _, b := range f.st.breaks {
				if b.Operator == o.Name && b.open(at) {
					way(ByBreakGlass, b.Role, b.ID, "", as(b.Role), slices.Concat(f.roles[o.Name], f.given[b.ID])...)
				}
			}
		case RoleSupport:
			for _, g := range f.st.grants {
				if g.Operator == o.Name && g.open(at) {
					way(ByGrant, role, g.ID, g.Tenant, func(action string) bool { return slices.Contains(g.Actions, action) }, slices.Concat(f.roles[o.Name], f.given[g.ID])...)
				}
			}
		}
	}
	return out
}
