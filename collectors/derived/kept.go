package derived

import (
	"fmt"
	"slices"
	"time"

	"trustpack/evidence"
)

// grace is how long after the period's end a snapshot still speaks for it, as
// controls are judged.
const grace = 7 * 24 * time.Hour

// drawing is one conclusion under way.
type drawing struct {
	period evidence.Period
	now    time.Time
	index  []evidence.Citation // oldest first
	get    func(string) (evidence.Collected, error)

	items    []evidence.Item
	gaps     []evidence.Gap
	requests []evidence.Request
	sample   bool
	note     string
}

func (d *drawing) gap(what, format string, args ...any) {
	g := evidence.Gap{What: what, Reason: fmt.Sprintf(format, args...)}
	if !slices.Contains(d.gaps, g) {
		d.gaps = append(d.gaps, g)
	}
}

// read reads one collection and notes that the conclusion rests on it.
func (d *drawing) read(c evidence.Citation) (evidence.Collected, error) {
	req := evidence.Request{Method: "read", Target: "evidence " + string(c.Kind), StartedAt: d.now, EndedAt: d.now, Parameters: map[string]string{
		"id": c.ID, "collected_at": c.CollectedAt.UTC().Format(time.RFC3339), "window": c.Window.String()}}
	e, err := d.get(c.ID)
	if err != nil {
		return evidence.Collected{}, fmt.Errorf("reading %s of %s: %w", c.Kind, c.CollectedAt.UTC().Format(time.RFC3339), err)
	}
	d.requests = append(d.requests, req)
	d.sample = d.sample || e.Provenance.Origin != evidence.OriginLive
	return e, nil
}

func (d *drawing) of(k evidence.Kind) []evidence.Citation {
	var out []evidence.Citation
	for _, c := range d.index {
		if c.Kind == k {
			out = append(out, c)
		}
	}
	return out
}

// due is until when sources must have been read: to the period's end where
// that is past, else to a day ago, since daily is how often they are read.
func (d *drawing) due() time.Time {
	if !d.now.Before(d.period.To) {
		return d.period.To
	}
	if at := d.now.Add(-24 * time.Hour); at.After(d.period.From) {
		return at
	}
	return d.period.From
}

// events gives the items of a kind as they were collected last, newest
// collection first, and names what of the period none of them covers. The
// second result is when the newest of them was made.
func (d *drawing) events(k evidence.Kind, keep func(evidence.Item)) (time.Time, error) {
	listed := d.of(k)
	if len(listed) == 0 {
		d.gap(string(k), "it was not collected, so there is nothing to compare with")
		return time.Time{}, nil
	}
	var covered []evidence.Period
	var faults []evidence.Gap
	seen := map[string]bool{}
	for _, c := range slices.Backward(listed) {
		span := evidence.Period{From: c.Window.From, To: c.Window.To}
		if c.CollectedAt.Before(span.To) {
			span.To = c.CollectedAt // nobody can have read what had not happened yet
		}
		if clipped, some := clip(span, d.period); !some || len(uncovered(covered, clipped)) == 0 {
			continue
		}
		e, err := d.read(c)
		if err != nil {
			return time.Time{}, err
		}
		if e.Completeness.State == evidence.Complete && len(e.Completeness.Gaps) == 0 {
			covered = append(covered, span)
		} else {
			faults = append(faults, e.Completeness.Gaps...)
		}
		for _, it := range e.Population.Items {
			if !seen[it.ID] {
				seen[it.ID] = true
				keep(it)
			}
		}
	}
	for _, open := range uncovered(covered, evidence.Period{From: d.period.From, To: d.due()}) {
		d.gap(string(k), "it was not read whole for %s", open)
		for _, g := range faults {
			d.gap(string(k)+": "+g.What, "%s", g.Reason)
		}
	}
	return listed[len(listed)-1].CollectedAt, nil
}

// snapshots reads all that were made in the period, or soon after it, oldest
// first.
func (d *drawing) snapshots(k evidence.Kind, each func(evidence.Collected)) error {
	for _, c := range d.of(k) {
		if c.CollectedAt.Before(d.period.From) || c.CollectedAt.After(d.period.To.Add(grace)) {
			continue
		}
		e, err := d.read(c)
		if err != nil {
			return err
		}
		each(e)
	}
	return nil
}

// latest reads the newest snapshot that is whole, and before it those that came
// later and are not.
func (d *drawing) latest(k evidence.Kind, each func(evidence.Item)) error {
	for _, c := range slices.Backward(d.of(k)) {
		if c.CollectedAt.Before(d.period.From) || c.CollectedAt.After(d.period.To.Add(grace)) {
			continue
		}
		e, err := d.read(c)
		if err != nil {
			return err
		}
		for _, it := range e.Population.Items {
			each(it)
		}
		if e.Completeness.State == evidence.Complete {
			return nil
		}
	}
	return nil
}

func clip(s, to evidence.Period) (evidence.Period, bool) {
	if s.From.Before(to.From) {
		s.From = to.From
	}
	if s.To.After(to.To) {
		s.To = to.To
	}
	return s, s.From.Before(s.To)
}

// uncovered gives the parts of the period that no span covers.
func uncovered(spans []evidence.Period, period evidence.Period) []evidence.Period {
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(a, b evidence.Period) int { return a.From.Compare(b.From) })
	var open []evidence.Period
	at := period.From
	for _, s := range sorted {
		if s.From.After(at) && at.Before(period.To) {
			open = append(open, evidence.Period{From: at, To: earlier(s.From, period.To)})
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

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func text(it evidence.Item, key string) string {
	s, _ := it.Attributes[key].(string)
	return s
}

// number reads a whole number, as a collector gives it or as JSON does.
func number(v any) int {
	switch n := v.(type) {
	case int:
		return n
	case float64:
		return int(n)
	}
	return 0
}

func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{} // not known
	}
	return t
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
