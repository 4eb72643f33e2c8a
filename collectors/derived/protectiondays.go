package derived

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// calendar is what is known of one branch by day, "2026-07-03".
type calendar struct {
	branch
	read   map[string]*state
	failed map[string]string // days on which the rules were asked for and not read: why
	merged map[string][]any  // what reached the branch
}

// protectionDays lays the readings of the rules side by side, a day each, with
// what reached the branch on it. Days on which nobody read them are named too:
// of those nothing is known.
func (d *drawing) protectionDays() error {
	calendars := map[branch]*calendar{}
	of := func(b branch) *calendar {
		if calendars[b] == nil {
			calendars[b] = &calendar{b, map[string]*state{}, map[string]string{}, map[string][]any{}}
		}
		return calendars[b]
	}
	if len(d.of(kindProtection)) == 0 {
		d.gap(string(kindProtection), "it was not collected, so that nothing is known of any day")
	}
	failed := map[string]string{}
	if err := d.snapshots(kindProtection, func(e evidence.Collected) {
		day := e.CollectedAt.UTC().Format(time.DateOnly)
		if e.Completeness.State != evidence.Complete {
			failed[day] = why(e)
		}
		for _, it := range e.Population.Items {
			of(branch{text(it, "repo"), text(it, "branch")}).reading(day, stateOf(it))
		}
	}); err != nil {
		return err
	}
	if err := d.snapshots(kindRulesets, func(e evidence.Collected) {
		day := e.CollectedAt.UTC().Format(time.DateOnly)
		for _, c := range calendars {
			if s := c.read[day]; s != nil {
				s.unenforced = union(s.unenforced, unenforced(e, c.repo))
			}
		}
	}); err != nil {
		return err
	}
	if _, err := d.events(kindChanges, func(it evidence.Item) {
		if c := calendars[branch{text(it, "repo"), text(it, "branch")}]; c != nil {
			c.arrived(it, d.period)
		}
	}); err != nil {
		return err
	}
	for _, c := range calendars {
		c.failed = failed
		d.enterDays(c)
	}
	d.note = "each day is UTC; of several readings on one day the weakest counts; what reached the branch is dated by the code host's time of the push, " +
		"else of the merge, else by its committer; of a day on which the rules were not read nothing is known"
	return nil
}

func why(e evidence.Collected) string {
	var out []string
	for _, g := range e.Completeness.Gaps {
		out = append(out, g.What+": "+g.Reason)
	}
	return cmp.Or(strings.Join(out, "; "), "it was not read whole")
}

func (c *calendar) reading(day string, s state) {
	if c.read[day] == nil {
		c.read[day] = &s
		return
	}
	c.read[day].weaken(s)
}

// arrived notes a commit on the day on which it reached the branch.
func (c *calendar) arrived(it evidence.Item, p evidence.Period) {
	when := cmp.Or(text(it, "pushed_at"), text(it, "merged_at"), text(it, "committed_at"))
	at := moment(when)
	if !p.Contains(at) {
		return
	}
	day := at.UTC().Format(time.DateOnly)
	c.merged[day] = append(c.merged[day], map[string]any{
		"commit": it.ID, "pr": number(it.Attributes["pr"]), "class": text(it, "class"), "at": when, "by": cmp.Or(text(it, "merged_by"), text(it, "pushed_by"), text(it, "committer")),
	})
}

// enterDays makes the items of one branch: each day of the period as far as it
// has gone, and those soon after it on which the rules were read.
func (d *drawing) enterDays(c *calendar) {
	var before *state
	unread := 0
	end := d.period.To
	if d.now.Before(end) {
		end = d.now
	}
	last := d.period.To.Add(grace)
	for day := d.period.From.UTC().Truncate(24 * time.Hour); !day.After(last); day = day.AddDate(0, 0, 1) {
		name := day.Format(time.DateOnly)
		s, inPeriod := c.read[name], day.Before(d.period.To)
		if s == nil && !day.Before(end) {
			continue
		}
		next := c.read[day.AddDate(0, 0, 1).Format(time.DateOnly)]
		attrs := map[string]any{
			"repo": c.repo, "branch": c.name, "day": name, "in_period": inPeriod, "collected": s != nil, "collections": 0, "why": "", "unread_days": 0, "unread_ends": false,
			"required_reviews": nil, "required_checks": []any{}, "bypass": []any{}, "rulesets_not_enforced": []any{}, "off": []any{}, "changed": []any{}, "merged": arrivals(c.merged[name]),
		}
		for rule := range switches() {
			attrs[rule] = nil
		}
		if s == nil {
			unread++
			attrs["unread_days"] = unread
			attrs["unread_ends"] = next != nil || !day.AddDate(0, 0, 1).Before(end)
			attrs["why"] = cmp.Or(c.failed[name], "the rules were not collected on this day")
		} else {
			unread = 0
			attrs["collections"], attrs["required_reviews"] = s.collections, s.reviews
			for rule, on := range s.switches {
				attrs[rule] = on
			}
			attrs["required_checks"], attrs["bypass"] = list(s.checks), list(s.bypass)
			attrs["rulesets_not_enforced"], attrs["off"] = list(s.unenforced), list(s.off())
			if before != nil {
				attrs["changed"] = list(s.differs(before))
			}
			before = s
		}
		d.items = append(d.items, evidence.Item{ID: c.branch.String() + " " + name, Attributes: attrs})
	}
}

// arrivals puts them in the order in which they came.
func arrivals(in []any) []any {
	key := func(v any) string { m := v.(map[string]any); return fmt.Sprint(m["at"], m["commit"]) }
	out := append([]any{}, in...)
	slices.SortFunc(out, func(a, b any) int { return strings.Compare(key(a), key(b)) })
	return out
}
