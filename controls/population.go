package controls

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// grace is how long after the period's end a snapshot still speaks for it.
const grace = 7 * 24 * time.Hour

// population is what is known of one kind over the period: the collections
// that speak for it, joined.
type population struct {
	kind  evidence.Kind
	items []evidence.Item      // sorted by ID, attributes plain, "id" among them
	used  []evidence.Collected // what was judged, by time and ID
	whole bool                 // complete evidence covers the period
	why   string               // where not whole: why, for people
	early bool                 // a snapshot among them was made before the period was over
}

// source is one place that evidence of a kind comes from. Each source must
// speak for the whole period; a later snapshot replaces one of its own source.
type source struct{ collector, system, account string }

func sourceOf(e evidence.Collected) source {
	return source{e.Collector, e.Provenance.System, e.Provenance.Account}
}

// populate joins the collections of one kind that speak for the period, over
// the period and so many days before it; leftOut is of any kind.
func populate(kind evidence.Kind, period evidence.Period, back int, all []evidence.Collected, leftOut []evidence.LeftOut) (*population, error) {
	p := &population{kind: kind}
	stretch := evidence.Period{From: period.From.AddDate(0, 0, -back), To: period.To}
	bySource := map[source][]evidence.Collected{}
	var sources []source
	outside := 0
	for _, e := range all {
		if !speaksFor(e, period) {
			outside++
			continue
		}
		if nameless(e, all) {
			continue
		}
		s := sourceOf(e)
		if bySource[s] == nil {
			sources = append(sources, s)
		}
		bySource[s] = append(bySource[s], e)
	}
	slices.SortFunc(sources, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.collector, b.collector), cmp.Compare(a.system, b.system), cmp.Compare(a.account, b.account))
	})
	silent := leftSilent(kind, bySource, leftOut)
	if len(sources) == 0 && len(silent) == 0 {
		p.why = fmt.Sprintf("%s was not collected", kind)
		if outside > 0 {
			p.why = fmt.Sprintf("%s was collected only for other times than %s", kind, period)
		}
		return p, nil
	}
	var whys []string
	for _, s := range sources {
		es := bySource[s]
		slices.SortFunc(es, func(a, b evidence.Collected) int {
			return cmp.Or(a.CollectedAt.Compare(b.CollectedAt), cmp.Compare(a.ID, b.ID))
		})
		if es[len(es)-1].Snapshot {
			es = es[len(es)-1:]
		} else {
			es = own(es, period)
		}
		p.used = append(p.used, es...)
		last := es[len(es)-1]
		p.early = p.early || last.Snapshot && last.CollectedAt.Before(period.To)
		if why := lacking(es, stretch); why != "" {
			whys = append(whys, why)
		}
	}
	whys = append(whys, silent...)
	p.whole = len(whys) == 0
	p.why = strings.Join(whys, "; ")
	return p, p.join(period, stretch)
}

// leftSilent says of each source that nothing speaks for, but what was left out,
// why: another source's evidence does not stand for it.
func leftSilent(kind evidence.Kind, bySource map[source][]evidence.Collected, leftOut []evidence.LeftOut) []string {
	last := map[source]evidence.LeftOut{}
	for _, l := range leftOut {
		s := source{l.Collector, l.System, l.Account}
		if l.Kind != kind || bySource[s] != nil || l.CollectedAt.Before(last[s].CollectedAt) {
			continue
		}
		failed := l.Account == "" && l.Completeness != evidence.Complete && l.Items == 0 // before it knew whose account it was in
		if failed && slices.ContainsFunc(slices.Collect(maps.Keys(bySource)), func(o source) bool { return o.collector == s.collector && o.system == s.system }) {
			continue
		}
		last[s] = l
	}
	var whys []string
	for s, l := range last {
		of := ""
		if s.account != "" {
			of = " of " + s.account
		}
		whys = append(whys, fmt.Sprintf("%s%s is left out: %s", kind, of, l.Why()))
	}
	slices.Sort(whys)
	return whys
}

// speaksFor tells whether e counts for the period: a snapshot by when it was
// made, events by their window.
func speaksFor(e evidence.Collected, period evidence.Period) bool {
	if e.Snapshot {
		return !e.CollectedAt.Before(period.From) && !e.CollectedAt.After(period.To.Add(grace))
	}
	return e.Window.From.Before(period.To) && period.From.Before(e.Window.To)
}

// nameless tells whether e is a run that failed before it knew whose account
// it was in, and was made good by a later complete one of the same collector.
func nameless(e evidence.Collected, all []evidence.Collected) bool {
	if e.Provenance.Account != "" || e.Completeness.State == evidence.Complete || len(e.Population.Items) > 0 {
		return false
	}
	return slices.ContainsFunc(all, func(later evidence.Collected) bool {
		return later.Completeness.State == evidence.Complete && later.CollectedAt.After(e.CollectedAt) &&
			later.Collector == e.Collector && later.Provenance.System == e.Provenance.System && later.Snapshot == e.Snapshot &&
			(e.Snapshot || !later.Window.From.After(e.Window.From) && !later.Window.To.Before(e.Window.To))
	})
}

// lacking says what keeps one source's evidence from speaking for the whole
// period; empty where nothing does. es is sorted by time.
func lacking(es []evidence.Collected, period evidence.Period) string {
	last := es[len(es)-1]
	if last.Snapshot {
		if why := incomplete(last); why != "" {
			return fmt.Sprintf("%s is incomplete: %s", last.Kind, why)
		}
		return ""
	}
	var spans []evidence.Period
	var faults []string
	for _, e := range es {
		if why := incomplete(e); why != "" {
			faults = append(faults, why)
			continue
		}
		to := e.Window.To
		if e.CollectedAt.Before(to) {
			to = e.CollectedAt // nobody can have read what had not happened yet
		}
		spans = append(spans, evidence.Period{From: e.Window.From, To: to})
	}
	open := uncovered(spans, period)
	if len(open) == 0 {
		return ""
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return fmt.Sprintf("%s is incomplete: %s", last.Kind, strings.Join(slices.Compact(faults), "; "))
	}
	return fmt.Sprintf("%s was not collected for %s", last.Kind, spanList(open))
}

// incomplete says why one collection is not whole; empty where it is.
func incomplete(e evidence.Collected) string {
	c := e.Completeness
	if c.State == evidence.Complete && len(c.Gaps) == 0 {
		if c.Expected != nil && *c.Expected != c.Got {
			return fmt.Sprintf("the source counts %d, %d were read", *c.Expected, c.Got)
		}
		return ""
	}
	var gaps []string
	for _, g := range c.Gaps {
		gaps = append(gaps, g.What+" ("+g.Reason+")")
	}
	switch {
	case len(gaps) > 0:
		return strings.Join(gaps, ", ")
	case c.Note != "":
		return c.Note
	}
	return "the collector does not vouch for it"
}

// uncovered gives the parts of the period that no span covers.
func uncovered(spans []evidence.Period, period evidence.Period) []evidence.Period {
	slices.SortFunc(spans, func(a, b evidence.Period) int { return a.From.Compare(b.From) })
	var open []evidence.Period
	at := period.From
	for _, s := range spans {
		if !s.From.Before(period.To) {
			break
		}
		if s.From.After(at) {
			open = append(open, evidence.Period{From: at, To: s.From})
		}
		if s.To.After(at) {
			at = s.To
		}
	}
	if at.Before(period.To) {
		open = append(open, evidence.Period{From: at, To: period.To})
	}
	return open
}

func spanList(spans []evidence.Period) string {
	var out []string
	for _, s := range spans {
		out = append(out, moment(s.From)+" to "+moment(s.To))
	}
	return strings.Join(out, ", ")
}

func moment(t time.Time) string {
	t = t.UTC()
	if t.Truncate(24 * time.Hour).Equal(t) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}

// join makes the union of the items: the latest collection wins for each ID,
// those made for a later period last.
func (p *population) join(period, stretch evidence.Period) error {
	latest := slices.Clone(p.used)
	slices.SortFunc(latest, func(a, b evidence.Collected) int {
		switch {
		case later(a, period) && !later(b, period):
			return 1
		case later(b, period) && !later(a, period):
			return -1
		}
		return cmp.Or(b.CollectedAt.Compare(a.CollectedAt), cmp.Compare(b.ID, a.ID))
	})
	seen := map[string]bool{}
	for _, e := range latest {
		inside := e.Snapshot || !e.Window.From.Before(stretch.From) && !e.Window.To.After(stretch.To)
		for _, it := range e.Population.Items {
			if seen[it.ID] || !inside && !happened(p.kind, it, stretch) {
				continue
			}
			seen[it.ID] = true
			attrs, err := plainMap(it.Attributes)
			if err != nil {
				return fmt.Errorf("reading %s: item %q: %w", p.kind, it.ID, err)
			}
			attrs["id"] = it.ID
			p.items = append(p.items, evidence.Item{ID: it.ID, Attributes: attrs})
		}
	}
	slices.SortFunc(p.items, func(a, b evidence.Item) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(p.used, func(a, b evidence.Collected) int {
		return cmp.Or(a.CollectedAt.Compare(b.CollectedAt), cmp.Compare(a.ID, b.ID))
	})
	return nil
}

// happened tells whether an event from a collection that reaches beyond the
// period belongs to it. What bears no time that can be read is kept.
func happened(kind evidence.Kind, it evidence.Item, period evidence.Period) bool {
	first, last := span(kind)
	from, ok := timeOf(it.Attributes[first])
	if first != "" && ok && !from.Before(period.To) {
		return false
	}
	to, ok := timeOf(it.Attributes[last])
	return last == "" || !ok || !to.Before(period.From)
}

// span names the fields which tell when an event of a kind began and ended;
// empty where a kind has none that is sure, and all its items are kept.
func span(kind evidence.Kind) (first, last string) {
	switch kind {
	case "telemetry.refusals", "telemetry.exports", "telemetry.purges", "telemetry.admin-actions", "telemetry.config-changes", "telemetry.gaps",
		"telemetry.clock", "telemetry.role-changes", "telemetry.transfers", "telemetry.rotations", "telemetry.break-glass", "telemetry.logins", "telemetry.export-files", "telemetry.export-spikes":
		return "time", "time"
	case "telemetry.drills":
		return "started_at", "time" // of its beginning and of its entry
	case "telemetry.deadletters":
		return "received", "received"
	case "telemetry.revocations":
		return "decided_at", "decided_at"
	case "telemetry.alerts":
		return "raised_at", "raised_at"
	case "telemetry.books", "derived.protection-days":
		return "day", "day"
	case "telemetry.silences":
		return "since", "until"
	case "git.commits", "github.changes":
		return "committed_at", "committed_at"
	case "github.pull-requests":
		return "created_at", "closed_at"
	case "github.pushes":
		return "at", "at"
	case "github.rule-suites":
		return "pushed_at", "pushed_at"
	case "github.deployments", "github.audit-log":
		return "created_at", "created_at"
	case "github.releases":
		return "created_at", "published_at"
	case "rollout.rollouts":
		return "started_at", "finished_at"
	}
	return "", ""
}

func timeOf(v any) (time.Time, bool) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
