package controls

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"trustpack/evidence"
)

// maxLookBack is the most days that an attribute may look back.
const maxLookBack = 3660

// LooksBack tells, under the given overrides of policy (see Input), how long
// before a period the evidence of a kind must begin, so that what began then
// and falls due in the period can be judged: whole days, as collectors are to
// read it. Kinds of which nothing earlier is asked are not in it.
func (c *Catalog) LooksBack(overrides map[string]any) (map[evidence.Kind]time.Duration, error) {
	policies, err := c.policies(overrides)
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	out := map[evidence.Kind]time.Duration{}
	for _, ctl := range c.controls {
		policy := types.NewStringInterfaceMap(types.DefaultTypeAdapter, policies[ctl.ID])
		for _, a := range ctl.attrs {
			days, err := a.daysBack(policy)
			if err != nil {
				return nil, fmt.Errorf("reading policy: %s: %s: %w", ctl.ID, a.ID, err)
			}
			for _, k := range a.looksAt {
				if back := time.Duration(days) * 24 * time.Hour; back > out[k] {
					out[k] = back
				}
			}
		}
	}
	return out, nil
}

// daysBack is how many days before the period the attribute's items begin,
// rounded up; 0 where it looks at the period alone.
func (a attribute) daysBack(policy ref.Val) (int, error) {
	if a.looksBack == nil {
		return 0, nil
	}
	v, _, err := a.looksBack.run.Eval(&activation{data: &data{}, policy: policy})
	if err != nil {
		return 0, fmt.Errorf("looks_back: %w", err)
	}
	n, ok := v.(types.Double)
	if days := math.Ceil(float64(n)); ok && days >= 0 && days <= maxLookBack {
		return int(days), nil
	}
	return 0, fmt.Errorf("looks_back: it gives %v; want 0 to %d days", v.Value(), maxLookBack)
}

// sight is the evidence of a period and, for attributes that look back, of so
// many days before it too.
type sight struct {
	*data
	period  evidence.Period
	byKind  map[evidence.Kind][]evidence.Collected
	leftOut []evidence.LeftOut
	back    map[int]*data
}

// of gives the evidence from so many days before the period on. The period that
// expressions see stays the same.
func (s *sight) of(kinds []evidence.Kind, days int) (*data, error) {
	if days == 0 {
		return s.data, nil
	}
	d := s.back[days]
	if d == nil {
		d = newData(s.period)
		s.back[days] = d
	}
	for _, k := range kinds {
		if d.populations[k] != nil {
			continue
		}
		p, err := populate(k, s.period, days, s.byKind[k], s.leftOut)
		if err != nil {
			return nil, err
		}
		d.populations[k] = &view{population: p}
	}
	return d, nil
}

// later tells whether e was made for a later period, which looks back into this
// one: it begins within and ends after it.
func later(e evidence.Collected, period evidence.Period) bool {
	return !e.Snapshot && e.Window.From.After(period.From) && e.Window.To.After(period.To)
}

// own leaves out what was made for a later period, where the others cover this.
func own(es []evidence.Collected, period evidence.Period) []evidence.Collected {
	var mine []evidence.Collected
	for _, e := range es {
		if !later(e, period) {
			mine = append(mine, e)
		}
	}
	if len(mine) == 0 || lacking(mine, period) != "" {
		return es
	}
	return mine
}

// Own leaves out of what was collected the collections that Assess passes over
// since they were made for a later period, which looks back into this one.
func Own(all []evidence.Collected, period evidence.Period) []evidence.Collected {
	type group struct {
		evidence.Kind
		source
	}
	events := map[group][]evidence.Collected{}
	for _, e := range all {
		if !e.Snapshot && speaksFor(e, period) {
			g := group{e.Kind, sourceOf(e)}
			events[g] = append(events[g], e)
		}
	}
	for g, es := range events {
		slices.SortFunc(es, byTime)
		events[g] = own(es, period)
	}
	return slices.DeleteFunc(slices.Clone(all), func(e evidence.Collected) bool {
		mine, grouped := events[group{e.Kind, sourceOf(e)}]
		return grouped && !e.Snapshot && speaksFor(e, period) && !slices.ContainsFunc(mine, func(o evidence.Collected) bool { return o.ID == e.ID })
	})
}

func byTime(a, b evidence.Collected) int {
	return cmp.Or(a.CollectedAt.Compare(b.CollectedAt), cmp.Compare(a.ID, b.ID))
}

// union is a with what else is in b, by time and ID.
func union(a, b []evidence.Collected) []evidence.Collected {
	out := slices.Clone(a)
	for _, e := range b {
		if !slices.ContainsFunc(out, func(o evidence.Collected) bool { return o.ID == e.ID }) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, byTime)
	return out
}

// reachReason says from when on items were looked at.
func reachReason(period evidence.Period, days int) string {
	return fmt.Sprintf(" What happened from %s on was looked at, and what of it falls due in the period was tested.", moment(period.From.AddDate(0, 0, -days)))
}
