package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

// rolesBy gives the operator whose roles an entry sets, and which they are from
// then on; ok is false where it sets none.
func rolesBy(e entry) (name string, roles []string, ok bool, err error) {
	if e.Result == "refused" {
		return "", nil, false, nil
	}
	switch e.Type {
	case evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved, evidence.EntryRoleApproved, evidence.EntryRoleChanged:
	default:
		return "", nil, false, nil
	}
	var o evidence.Operator
	if err := e.data(&o); err != nil {
		return "", nil, false, err
	}
	if e.Type == evidence.EntryOperatorRemoved {
		o.Roles = nil
	}
	return cmp.Or(o.Name, e.Target), o.Roles, true, nil
}

// roleAsk is a change of roles that waits for somebody else's consent.
type roleAsk struct {
	entry
	roles []string
}

// roleChanges are the grants and revocations of operators' roles in the period,
// folded from the control log: what each gained and lost, who asked, who
// consented, and how many others could have.
func (r *run) roleChanges() part {
	types := []string{
		evidence.EntryOperatorAdded, evidence.EntryOperatorRemoved, evidence.EntryRoleRequested, evidence.EntryRoleApproved, evidence.EntryRoleDeclined, evidence.EntryRoleChanged,
	}
	p, entries := r.fromControl(KindRoleChanges, func(e entry) bool { return r.upToEnd(types...)(e) && e.Result != "refused" })
	held := map[string][]string{} // roles by operator
	asked := map[string]roleAsk{} // by ID
	for _, e := range entries {
		var d struct {
			ID    string   `json:"id"`
			Name  string   `json:"name"`
			Roles []string `json:"roles"`
		}
		if err := e.data(&d); err != nil {
			p.gap("a change of roles", err)
			continue
		}
		ask := asked[d.ID]
		before, others := held[d.Name], othersWhoMayConsent(held, e.actorName(), d.Name)
		change := map[string]any{
			"operator": d.Name, "before": list(before), "actor": e.actorName(), "role": e.actorRole(), "requester": e.actorName(), "approver": "",
			"reason": e.Reason, "ticket": e.Ticket, "time": ts(e.Time), "canary": strings.HasPrefix(d.Name, evidence.CanaryPrefix),
			"first": len(held) == 0, "others": others, "entry": e.Type,
		}
		var after []string
		switch e.Type {
		case evidence.EntryRoleRequested:
			asked[d.ID] = roleAsk{e, d.Roles}
			continue
		case evidence.EntryRoleDeclined:
			delete(asked, d.ID)
			continue
		case evidence.EntryRoleApproved:
			if ask.Type == "" {
				p.gap(e.id(), errNoRequest(d.ID, evidence.EntryRoleRequested))
			}
			change["requester"], change["approver"] = ask.actorName(), e.actorName()
			change["others"] = othersWhoMayConsent(held, ask.actorName(), d.Name)
			if change["reason"] == "" {
				change["reason"] = ask.Reason
			}
			after = d.Roles
			if len(after) == 0 {
				after = ask.roles
			}
			delete(asked, d.ID)
		case evidence.EntryOperatorAdded, evidence.EntryRoleChanged:
			after = d.Roles
		}
		if held[d.Name] = after; len(after) == 0 {
			delete(held, d.Name)
		}
		gained, lost := without(after, before), without(before, after)
		if !r.period.Contains(e.Time) || len(gained)+len(lost) == 0 {
			continue // or a new credential alone
		}
		change["after"], change["gained"], change["lost"] = list(after), list(gained), list(lost)
		p.add(e.id(), change)
	}
	return p
}

// othersWhoMayConsent counts the operators beside the two who could consent to
// a change of roles.
func othersWhoMayConsent(held map[string][]string, requester, holder string) int {
	n := 0
	for name := range maps.Keys(held) {
		if name == requester || name == holder || strings.HasPrefix(name, evidence.CanaryPrefix) {
			continue
		}
		if slices.Contains(held[name], "admin") || slices.Contains(held[name], "approver") {
			n++
		}
	}
	return n
}

// without is what stands in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
}
