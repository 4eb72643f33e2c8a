package github

import (
	"cmp"
	"slices"
	"time"

	"trustpack/evidence"
)

// perSlice is how many items one Evidence of events holds. The window of a kind
// that has more is cut into several, each with its own requests and gaps, so that no
// record and no population grows beyond what a reader has memory for.
const perSlice = 1000

// eventTimes names the attributes that say when an event happened, of each kind
// of events; a kind of snapshots has none.
func eventTimes(k evidence.Kind) []string {
	switch k {
	case KindPullRequests:
		return []string{"created_at", "closed_at", "merged_at"}
	case KindChanges:
		return []string{"committed_at"}
	case KindRuleSuites:
		return []string{"pushed_at"}
	case KindPushes:
		return []string{"at"}
	case KindDeployments, KindAuditLog:
		return []string{"created_at"}
	case KindReleases:
		return []string{"created_at", "published_at"}
	}
	return nil
}

// timesOf are an item's times within the window, in Unix seconds, the first
// first.
func (r *run) timesOf(k evidence.Kind, a map[string]any) []int64 {
	var out []int64
	for _, field := range eventTimes(k) {
		s, _ := a[field].(string)
		if at, err := time.Parse(time.RFC3339, s); err == nil && r.windowOf(k).Contains(at) && !slices.Contains(out, at.Unix()) {
			out = append(out, at.Unix())
		}
	}
	slices.Sort(out)
	return out
}

// windows cuts the collection's window so that of a kind's items about perSlice
// began in each. More of one second stay together.
func (r *run) windows(k evidence.Kind) []evidence.Period {
	items, perSlice, window := r.out[k].items, r.c.perSlice, r.windowOf(k)
	if len(items) <= perSlice || eventTimes(k) == nil {
		return []evidence.Period{window}
	}
	var began []int64
	for _, m := range items {
		if len(m.times) > 0 {
			began = append(began, m.times[0])
		}
	}
	slices.Sort(began)
	var out []evidence.Period
	from := window.From
	for i := perSlice; i < len(began); i += perSlice {
		if cut := time.Unix(began[i], 0).UTC(); cut.After(from) && cut.Before(window.To) {
			out = append(out, evidence.Period{From: from, To: cut})
			from = cut
		}
	}
	return append(out, evidence.Period{From: from, To: window.To})
}

// within tells whether an item belongs to a slice: something of it happened
// then. One without any time in the window is in the first slice.
func (m *member) within(p evidence.Period, first bool) bool {
	if len(m.times) == 0 {
		return first
	}
	return slices.ContainsFunc(m.times, func(at int64) bool { return p.Contains(time.Unix(at, 0)) })
}

// slice is what was found of a kind in a part of the window: its items, and of
// the requests and gaps those about one of them, and those about no item of the
// kind, which may be missing anywhere.
func (r *run) slice(k evidence.Kind, p evidence.Period, first bool) evidence.Evidence {
	g := r.out[k]
	mine, placed := make([]bool, r.subjects+1), make([]bool, r.subjects+1)
	var members []*member
	for i := range g.items {
		m := &g.items[i]
		in := m.within(p, first)
		if in {
			members = append(members, m)
		}
		for _, s := range m.about {
			placed[s] = true
			mine[s] = mine[s] || in
		}
	}
	belongs := func(s subject) bool { return mine[s] || !placed[s] } // 0 is never placed
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	e := evidence.Evidence{
		Kind: k, Collector: r.c.Name(), CollectedAt: r.started, Window: p, Snapshot: slices.Contains(snapshots(), k),
		Provenance: evidence.Provenance{
			System: "github", Account: r.account(k), Principal: r.principal, Tool: r.c.deps.Tool,
			Origin: evidence.OriginLive, Clock: r.c.deps.Clock, Requests: []evidence.Request{},
		},
		Completeness: evidence.Completeness{State: evidence.Complete, Basis: "read-to-end", Got: len(members)},
	}
	for _, m := range members {
		var a attributes
		r.spool.get(m.ref, &a)
		e.Population.Items = append(e.Population.Items, evidence.Item{ID: m.id, Attributes: a})
	}
	for _, n := range g.exchanges {
		if x := r.exchanges[n]; belongs(x.about) {
			r.recall(&e, x)
		}
	}
	slices.SortStableFunc(g.gaps, func(a, b mention) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Reason, b.Reason)) })
	for _, gap := range g.gaps {
		if belongs(gap.about) {
			e.Completeness.Gaps = append(e.Completeness.Gaps, gap.Gap)
			e.Completeness.State = evidence.Incomplete
		}
	}
	return e
}
