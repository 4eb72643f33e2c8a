package controls

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

// caseFile is one case: the example of its control with changes, and what must
// come of it.
type caseFile struct {
	Name   string         `yaml:"name"`
	Period string         `yaml:"period"` // 2026-Q3 where empty
	Policy map[string]any `yaml:"policy"`

	Change     map[string]map[string]map[string]any `yaml:"change"`     // kind, item, field: new value
	Without    map[string]map[string][]string       `yaml:"without"`    // kind, item: fields taken out
	Add        map[string][]map[string]any          `yaml:"add"`        // kind: further items
	Remove     map[string][]string                  `yaml:"remove"`     // kind: items taken out
	Empty      []string                             `yaml:"empty"`      // kinds collected in full, with nothing in them
	Incomplete map[string]string                    `yaml:"incomplete"` // kind: what could not be read
	Early      []string                             `yaml:"early"`      // kinds of which the state was read a week before the period's end
	Missing    []string                             `yaml:"missing"`    // kinds that were never collected
	Bare       []string                             `yaml:"bare"`       // kinds collected for the period alone, without the days before it

	Expect     string              `yaml:"expect"`
	Exceptions map[string][]string `yaml:"exceptions"` // attribute: items, "" for the whole population
	Errors     map[string][]string `yaml:"errors"`     // the same for what could not be tested
	Outcomes   map[string]string   `yaml:"outcomes"`   // attribute: outcome
}

const casePeriod = "2026-Q3"

// CaseResult is what came of one case.
type CaseResult struct {
	Control string `json:"control"`
	Case    string `json:"case"`
	Passed  bool   `json:"passed"`
	Detail  string `json:"detail,omitempty"` // what differs, where it did not pass
}

// Test runs the cases of every control, in order. A control without cases
// gives one result that did not pass.
func (c *Catalog) Test() []CaseResult {
	var out []CaseResult
	for _, ctl := range c.controls {
		if len(ctl.file.Cases) == 0 {
			out = append(out, CaseResult{Control: ctl.ID, Detail: "the control has no cases"})
		}
		for _, cf := range ctl.file.Cases {
			r := CaseResult{Control: ctl.ID, Case: cf.Name}
			if detail := ctl.try(cf); detail != "" {
				r.Detail = detail
			} else {
				r.Passed = true
			}
			out = append(out, r)
		}
	}
	return out
}

// try runs one case and says what differs from what it expects.
func (c *control) try(cf caseFile) string {
	f, err := c.judgeCase(cf)
	if err != nil {
		return err.Error()
	}
	var diffs []string
	if string(f.Outcome) != cf.Expect {
		diffs = append(diffs, fmt.Sprintf("outcome: want %s, got %s (%s)", cf.Expect, f.Outcome, f.Reason))
	}
	got := map[evidence.Outcome]map[string][]string{evidence.OutcomeException: {}, evidence.OutcomeError: {}}
	details := map[string]string{}
	for _, e := range f.Exceptions {
		got[e.Outcome][e.Attribute] = append(got[e.Outcome][e.Attribute], e.Item)
		details[e.Attribute] = e.Detail
	}
	for _, a := range c.attrs {
		for what, pair := range map[string][2][]string{
			"exceptions": {cf.Exceptions[a.ID], got[evidence.OutcomeException][a.ID]},
			"errors":     {cf.Errors[a.ID], got[evidence.OutcomeError][a.ID]},
		} {
			want, have := slices.Sorted(slices.Values(pair[0])), slices.Sorted(slices.Values(pair[1]))
			if !slices.Equal(want, have) {
				diffs = append(diffs, fmt.Sprintf("%s of %s: want %q, got %q (%s)", what, a.ID, want, have, details[a.ID]))
			}
		}
	}
	for _, a := range f.Attributes {
		if want, ok := cf.Outcomes[a.ID]; ok && want != string(a.Outcome) {
			diffs = append(diffs, fmt.Sprintf("%s: want %s, got %s (%s)", a.ID, want, a.Outcome, a.Reason))
		}
	}
	slices.Sort(diffs)
	return strings.Join(diffs, "; ")
}

// judgeCase judges the evidence of a case by its control alone.
func (c *control) judgeCase(cf caseFile) (evidence.Finding, error) {
	name := cf.Period
	if name == "" {
		name = casePeriod
	}
	period, err := evidence.ParsePeriod(name)
	if err != nil {
		return evidence.Finding{}, err
	}
	items, err := c.caseItems(cf)
	if err != nil {
		return evidence.Finding{}, err
	}
	in := Input{Period: period, Policy: cf.Policy}
	for _, kind := range slices.Sorted(maps.Keys(items)) {
		if slices.Contains(cf.Missing, kind) {
			continue
		}
		window := c.caseWindow(kind, period)
		if slices.Contains(cf.Bare, kind) {
			window = period
		}
		in.Evidence = append(in.Evidence, caseEvidence(kind, window, items[kind], cf.Incomplete[kind]))
		if last := &in.Evidence[len(in.Evidence)-1]; slices.Contains(cf.Early, kind) {
			last.Snapshot, last.CollectedAt = true, period.To.AddDate(0, 0, -7)
		}
	}
	a, err := (&Catalog{controls: []*control{c}}).Assess(in)
	if err != nil {
		return evidence.Finding{}, err
	}
	return a.Findings[0], nil
}

// caseWindow is the time over which a case has evidence of a kind: the period,
// and a year before it where an attribute looks back.
func (c *control) caseWindow(kind string, period evidence.Period) evidence.Period {
	for i, a := range c.file.Attributes {
		if a.LooksBack != "" && slices.Contains(c.attrs[i].looksAt, evidence.Kind(kind)) {
			return evidence.Period{From: period.From.AddDate(-1, 0, 0), To: period.To}
		}
	}
	return period
}

func caseEvidence(kind string, period evidence.Period, items []evidence.Item, gap string) evidence.Collected {
	e := evidence.Evidence{
		Kind: evidence.Kind(kind), Collector: strings.SplitN(kind, ".", 2)[0], CollectedAt: period.To, Window: period,
		Provenance:   evidence.Provenance{Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
		Completeness: evidence.Completeness{State: evidence.Complete, Got: len(items)},
		Population:   evidence.Population{Items: items},
	}
	if gap != "" {
		e.Completeness.State = evidence.Incomplete
		e.Completeness.Gaps = []evidence.Gap{{What: gap, Reason: "as the case says"}}
	}
	return evidence.Collected{ID: kind, Evidence: e}
}

// caseItems is the example with the changes of the case. Every declared kind
// is there, empty where the example has none of it.
func (c *control) caseItems(cf caseFile) (map[string][]evidence.Item, error) {
	out := map[string][]evidence.Item{}
	for _, kind := range c.file.Kinds {
		out[kind] = []evidence.Item{}
		if slices.Contains(cf.Empty, kind) {
			continue
		}
		for _, attrs := range slices.Concat(c.file.Example[kind], cf.Add[kind]) {
			plain, err := plainMap(attrs)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			id, ok := plain["id"].(string)
			if !ok || id == "" {
				return nil, fmt.Errorf("%s: an item has no id", kind)
			}
			if slices.Contains(cf.Remove[kind], id) {
				continue
			}
			for field, v := range cf.Change[kind][id] {
				if plain[field], err = plainValue(v); err != nil {
					return nil, fmt.Errorf("%s: %s: %s: %w", kind, id, field, err)
				}
			}
			for _, field := range cf.Without[kind][id] {
				if _, ok := plain[field]; !ok {
					return nil, fmt.Errorf("without: %s: %s has no field %s to take out", kind, id, field)
				}
				delete(plain, field)
			}
			out[kind] = append(out[kind], evidence.Item{ID: id, Attributes: plain})
		}
	}
	return out, nil
}

// checkCases refuses a case that names what is not there, since it would then
// test something else than its author meant.
func (c *control) checkCases(name string) error {
	for kind := range c.file.Example {
		if !slices.Contains(c.file.Kinds, kind) {
			return fmt.Errorf("reading control: %s: example: kind %q is not among the control's kinds", name, kind)
		}
	}
	seen := map[string]bool{}
	for i, cf := range c.file.Cases {
		err := c.checkCase(cf)
		if err == nil && seen[cf.Name] {
			err = errors.New("its name stands twice")
		}
		if err != nil {
			return fmt.Errorf("reading control: %s: cases[%d] %q: %w", name, i, cf.Name, err)
		}
		seen[cf.Name] = true
	}
	return nil
}

func (c *control) checkCase(cf caseFile) error {
	outcomes := []string{
		string(evidence.OutcomeMet), string(evidence.OutcomeException), string(evidence.OutcomeNotAvailable),
		string(evidence.OutcomeNotApplicable), string(evidence.OutcomeError),
	}
	if cf.Name == "" {
		return errors.New("name is missing")
	}
	if !slices.Contains(outcomes, cf.Expect) {
		return fmt.Errorf("expect %q: want one of %s", cf.Expect, strings.Join(outcomes, ", "))
	}
	for attr, outcome := range cf.Outcomes {
		if !slices.Contains(outcomes, outcome) {
			return fmt.Errorf("outcomes: %s: %q: want one of %s", attr, outcome, strings.Join(outcomes, ", "))
		}
	}
	kinds := slices.Concat(cf.Missing, cf.Empty, cf.Early, cf.Bare, slices.Collect(maps.Keys(cf.Incomplete)), slices.Collect(maps.Keys(cf.Change)),
		slices.Collect(maps.Keys(cf.Without)), slices.Collect(maps.Keys(cf.Add)), slices.Collect(maps.Keys(cf.Remove)))
	for _, k := range kinds {
		if !slices.Contains(c.file.Kinds, k) {
			return fmt.Errorf("kind %q is not among the control's kinds", k)
		}
	}
	attrs := slices.Concat(slices.Collect(maps.Keys(cf.Exceptions)), slices.Collect(maps.Keys(cf.Errors)), slices.Collect(maps.Keys(cf.Outcomes)))
	for _, a := range attrs {
		if !slices.ContainsFunc(c.attrs, func(x attribute) bool { return x.ID == a }) {
			return fmt.Errorf("there is no attribute %q", a)
		}
	}
	return c.checkCaseItems(cf)
}

// checkCaseItems checks that each item that a case changes exists.
func (c *control) checkCaseItems(cf caseFile) error {
	items, err := c.caseItems(caseFile{Add: cf.Add})
	if err != nil {
		return err
	}
	has := func(kind, id string) bool {
		return slices.ContainsFunc(items[kind], func(it evidence.Item) bool { return it.ID == id })
	}
	for kind, list := range items {
		seen := map[string]bool{}
		for _, it := range list {
			if seen[it.ID] {
				return fmt.Errorf("%s: id %q stands twice", kind, it.ID)
			}
			seen[it.ID] = true
		}
		ids := slices.Concat(slices.Collect(maps.Keys(cf.Change[kind])), slices.Collect(maps.Keys(cf.Without[kind])), cf.Remove[kind])
		for _, id := range ids {
			if !has(kind, id) {
				return fmt.Errorf("%s: there is no item %q to change or remove", kind, id)
			}
		}
	}
	if cf.Period != "" {
		if _, err := evidence.ParsePeriod(cf.Period); err != nil {
			return err
		}
	}
	return nil
}
