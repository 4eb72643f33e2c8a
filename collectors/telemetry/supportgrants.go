package telemetry

import (
	"slices"
	"time"

	"trustpack/evidence"
)

// supportGrant is leave for somebody of support to do some things in one
// tenant for some time.
type supportGrant struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator"`
	Tenant   string    `json:"tenant"`
	Actions  []string  `json:"actions"`
	Minutes  int       `json:"minutes"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	Why      string    `json:"why"`

	asked, approved, ended entry
	acts, late, elsewhere  []any // entries of what was done under it
	beyond                 []any
	refused                int
}

// grantedBy names the action that a grant must hold for an entry of the type.
// What was read is told by the entry itself.
func grantedBy(e entry) (string, error) {
	if e.Type == evidence.EntrySupportRead {
		var d struct{ Action string }
		err := e.data(&d)
		return d.Action, err
	}
	return map[string]string{
		evidence.EntryQuarantined: "device.quarantine", evidence.EntryLetterReplayed: "deadletter.replay", evidence.EntryAlertAcked: "alert.acknowledge",
		evidence.EntryAlertResolved: "alert.resolve", evidence.EntryExportRequested: "export.request", evidence.EntryExport: "export.get",
	}[e.Type], nil
}

// supportGrants are the grants of support that were asked for or open in the
// period, each with what was done under it, folded from the control log.
func (r *run) supportGrants() part {
	steps := []string{evidence.EntryGrantRequested, evidence.EntryGrantApproved, evidence.EntryGrantDeclined, evidence.EntryGrantEnded}
	p, entries := r.fromControl(KindSupportGrants, func(e entry) bool {
		return e.Time.Before(r.period.To) && (e.Grant != "" || slices.Contains(steps, e.Type))
	})
	var grants []*supportGrant
	byID := map[string]*supportGrant{}
	for _, e := range entries {
		if !slices.Contains(steps, e.Type) {
			if g := byID[e.Grant]; g != nil {
				g.act(&p, e)
			}
			continue
		}
		if e.Result == "refused" {
			continue
		}
		var d supportGrant
		if err := e.data(&d); err != nil {
			p.gap("a grant", err)
			continue
		}
		if e.Type == evidence.EntryGrantRequested {
			d.asked = e
			grants, byID[d.ID] = append(grants, &d), &d
			continue
		}
		g := byID[d.ID]
		if g == nil {
			p.gap(e.id(), errNoRequest(d.ID, evidence.EntryGrantRequested))
			continue
		}
		switch e.Type {
		case evidence.EntryGrantApproved:
			g.approved, g.From, g.Until = e, d.From, d.Until
		case evidence.EntryGrantDeclined:
			g.ended, g.Why = e, "declined"
		case evidence.EntryGrantEnded:
			g.ended, g.Why = e, d.Why
		}
	}
	for _, g := range grants {
		if !r.period.Contains(g.asked.Time) && g.Until.Before(r.period.From) {
			continue
		}
		over := g.approved.Type == "" || g.Until.Before(r.endOfSight()) || !g.ended.Time.IsZero()
		p.add(g.ID, map[string]any{
			"operator": g.Operator, "tenant": g.Tenant, "actions": list(g.Actions), "minutes": g.Minutes, "requester": g.asked.actorName(),
			"requested_at": ts(g.asked.Time), "reason": g.asked.Reason, "ticket": g.asked.Ticket, "approver": g.approved.actorName(), "from": ts(g.From), "until": ts(g.Until),
			"approved": g.approved.Type != "", "over": over, "ended_at": ts(g.ended.Time), "ended_why": g.Why, "acts": list(g.acts), "refused": g.refused,
			"late": list(g.late), "elsewhere": list(g.elsewhere), "beyond": list(g.beyond),
		})
	}
	return p
}

// act notes what an entry says was done under the grant.
func (g *supportGrant) act(p *part, e entry) {
	if e.Result == "refused" {
		g.refused++
		return
	}
	action, err := grantedBy(e)
	if err != nil {
		p.gap("an act under a grant", err)
		return
	}
	g.acts = append(g.acts, e.id())
	closed := !g.ended.Time.IsZero() && g.ended.index < e.index
	if g.approved.Type == "" || e.Time.Before(g.From) || !e.Time.Before(g.Until) || closed {
		g.late = append(g.late, e.id())
	}
	if e.Tenant != g.Tenant {
		g.elsewhere = append(g.elsewhere, e.id())
	}
	if !slices.Contains(g.Actions, action) || e.actorName() != g.Operator {
		g.beyond = append(g.beyond, e.id())
	}
}
