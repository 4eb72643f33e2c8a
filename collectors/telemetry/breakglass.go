package telemetry

import (
	"time"

	"trustpack/evidence"
)

// breakGlass are the roles that admins took in an emergency in the period, or so
// long before it as was asked, each with its end, the alert that told of it, and
// what was done under it.
func (r *run) breakGlass() part {
	p, entries := r.fromControl(KindBreakGlass, func(e entry) bool {
		return e.Time.Before(r.period.To) && (e.Grant != "" || e.Type == evidence.EntryBreakGlassOpened || e.Type == evidence.EntryBreakGlassClosed || alertTypes(e))
	})
	alerts := r.foldAlerts(&p, entries)
	type taken struct {
		at    map[string]any
		until time.Time
		acts  []any
		late  []any
	}
	var all []*taken
	byID := map[string]*taken{}
	for _, e := range entries {
		if t := byID[e.Grant]; t != nil && e.Result != "refused" {
			t.acts = append(t.acts, e.id())
			if !e.Time.Before(t.until) || t.at["closed_at"] != "" {
				t.late = append(t.late, e.id())
			}
		}
		if e.Type != evidence.EntryBreakGlassOpened && e.Type != evidence.EntryBreakGlassClosed || e.Result == "refused" {
			continue
		}
		var d struct {
			ID, Operator, Role, Why string
			Until                   time.Time
		}
		if err := e.data(&d); err != nil {
			p.gap("a break-glass", err)
			continue
		}
		if e.Type == evidence.EntryBreakGlassClosed {
			if t := byID[d.ID]; t != nil {
				t.at["closed_at"], t.at["why"] = ts(e.Time), d.Why
			} else {
				p.gap(e.id(), errNoRequest(d.ID, evidence.EntryBreakGlassOpened))
			}
			continue
		}
		t := &taken{until: d.Until, at: map[string]any{
			"break_glass": d.ID, "operator": d.Operator, "role": d.Role, "reason": e.Reason, "ticket": e.Ticket, "time": ts(e.Time), "until": ts(d.Until),
			"minutes": d.Until.Sub(e.Time).Minutes(), "over": d.Until.Before(r.endOfSight()), "closed_at": "", "why": "", "alert_id": "",
		}}
		for _, a := range alerts {
			if a.Kind == "operator.break-glass" && !a.raised.Time.After(e.Time) && !a.raised.Time.Before(e.Time.Add(-time.Minute)) {
				t.at["alert_id"] = a.ID
			}
		}
		byID[d.ID] = t
		if r.reach(KindBreakGlass).Contains(e.Time) {
			all = append(all, t)
		}
	}
	for _, t := range all {
		t.at["acts"], t.at["late"] = list(t.acts), list(t.late)
		id, _ := t.at["break_glass"].(string)
		p.add(id, t.at)
	}
	return p
}
