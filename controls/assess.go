package controls

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"trustpack/evidence"
)

// Input is what a catalog judges.
type Input struct {
	Period   evidence.Period
	Evidence []evidence.Collected // in any order; kinds that no control asks for are passed over
	LeftOut  []evidence.LeftOut   // what else was collected for the period, and is evidence of nothing
	Policy   map[string]any       // overrides: parameter, or "CONTROL.parameter", to value
}

// Assessment is what came of it: one finding a control, in the catalog's
// order. The same input gives the same assessment.
type Assessment struct {
	Period        evidence.Period
	CatalogSHA256 string
	Policy        map[string]any // the overrides that were given; needed to judge again
	LeftOut       []evidence.LeftOut
	Findings      []evidence.Finding
}

// MarshalJSON writes {"period","catalog_sha256","policy","left_out","controls":[…]}, each
// control a finding with its "id" in place of "control".
func (a Assessment) MarshalJSON() ([]byte, error) {
	type control struct {
		ID         string                      `json:"id"`
		Outcome    evidence.Outcome            `json:"outcome"`
		Reason     string                      `json:"reason"`
		Population int                         `json:"population"`
		Attributes []evidence.AttributeFinding `json:"attributes"`
		Exceptions []evidence.Exception        `json:"exceptions"`
		Evidence   []evidence.Citation         `json:"evidence"`
		Sample     bool                        `json:"sample,omitempty"`
		Clock      evidence.Clock              `json:"clock,omitempty"`
	}
	out := struct {
		Period        evidence.Period    `json:"period"`
		CatalogSHA256 string             `json:"catalog_sha256"`
		Policy        map[string]any     `json:"policy,omitempty"`
		LeftOut       []evidence.LeftOut `json:"left_out,omitempty"`
		Controls      []control          `json:"controls"`
	}{a.Period, a.CatalogSHA256, a.Policy, a.LeftOut, []control{}}
	for _, f := range a.Findings {
		out.Controls = append(out.Controls, control{
			f.Control, f.Outcome, f.Reason, f.Population, f.Attributes, f.Exceptions, f.Evidence, f.Sample, f.Clock,
		})
	}
	return json.Marshal(out)
}

// Assess judges the evidence of a period.
//
// For events, the collections whose window touches the period are joined, the
// latest winning for each item; complete collections must cover the period
// between them. Those that begin in the period and end after it, as one for the
// next does that looks back, are taken only where the others do not cover it. For
// an attribute that looks back, they must cover the days before the period too.
// Of snapshots the latest of each source counts that was made in
// the period or within seven days after it. An attribute whose evidence, or
// evidence that it looks up, is missing or not whole is not-available, with
// the exceptions that are certain nevertheless; so it is where all that a source
// brought for the period was left out.
//
// The error is for an input that cannot be judged at all: no period, an
// unknown policy parameter, an item that is not plain JSON.
func (c *Catalog) Assess(in Input) (Assessment, error) {
	if in.Period.IsZero() || !in.Period.From.Before(in.Period.To) {
		return Assessment{}, errors.New("assessing: the period is empty")
	}
	policies, err := c.policies(in.Policy)
	if err != nil {
		return Assessment{}, fmt.Errorf("assessing: %w", err)
	}
	byKind := map[evidence.Kind][]evidence.Collected{}
	for _, e := range in.Evidence {
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	d := newData(in.Period)
	seen := &sight{data: d, period: in.Period, byKind: byKind, leftOut: in.LeftOut, back: map[int]*data{}}
	out := Assessment{Period: in.Period, CatalogSHA256: c.SHA256(), Policy: maps.Clone(in.Policy), LeftOut: in.LeftOut}
	for _, ctl := range c.controls {
		for _, k := range ctl.Kinds {
			if d.populations[k] != nil {
				continue
			}
			p, err := populate(k, in.Period, 0, byKind[k], in.LeftOut)
			if err != nil {
				return Assessment{}, fmt.Errorf("assessing: %w", err)
			}
			d.populations[k] = &view{population: p}
		}
		f, err := ctl.assess(seen, types.NewStringInterfaceMap(types.DefaultTypeAdapter, policies[ctl.ID]))
		if err != nil {
			return Assessment{}, fmt.Errorf("assessing: %w", err)
		}
		out.Findings = append(out.Findings, f)
	}
	return out, nil
}

func (c *control) assess(s *sight, policy ref.Val) (evidence.Finding, error) {
	f := evidence.Finding{Control: c.ID, Period: s.period, Exceptions: []evidence.Exception{}, Evidence: []evidence.Citation{}}
	tested := map[evidence.Kind]map[string]bool{}
	earlier := map[evidence.Kind][]evidence.Collected{} // that attributes which look back rest on
	for _, a := range c.attrs {
		days, err := a.daysBack(policy)
		if err != nil {
			return f, fmt.Errorf("%s: %s: %w", c.ID, a.ID, err)
		}
		d, err := s.of(a.looksAt, days)
		if err != nil {
			return f, err
		}
		if days > 0 {
			for _, k := range a.looksAt {
				earlier[k] = append(earlier[k], d.populations[k].used...)
			}
		}
		j := judge{attribute: a, data: d, act: &activation{data: d, policy: policy}, tested: tested}
		found := j.run()
		if days > 0 && (found.Outcome == evidence.OutcomeMet || found.Outcome == evidence.OutcomeException) {
			found.Reason += reachReason(s.period, days)
		}
		f.Attributes = append(f.Attributes, found)
		f.Exceptions = append(f.Exceptions, j.exceptions...)
	}
	for _, marks := range tested {
		f.Population += len(marks)
	}
	if f.Population == 0 { // whole populations alone were tested
		for _, a := range f.Attributes {
			f.Population += a.Tested
		}
	}
	for _, k := range slices.Sorted(slices.Values(c.Kinds)) {
		for _, e := range union(s.populations[k].used, earlier[k]) {
			f.Evidence = append(f.Evidence, cite(e))
			f.Sample = f.Sample || e.Provenance.Origin != evidence.OriginLive
			if e.Provenance.Clock != evidence.ClockSystem {
				f.Clock = evidence.ClockSimulated
			}
		}
	}
	f.Outcome = combine(f.Attributes)
	f.Reason = controlReason(f)
	return f, nil
}

func cite(e evidence.Collected) evidence.Citation {
	return evidence.Citation{
		ID: e.ID, Kind: e.Kind, CollectedAt: e.CollectedAt.UTC(), Window: e.Window,
		Completeness: e.Completeness.State, Items: len(e.Population.Items), Origin: e.Provenance.Origin,
	}
}

// combine gives a control's outcome: the gravest of its attributes'. It is met
// only where at least one is met and none is anything worse.
func combine(as []evidence.AttributeFinding) evidence.Outcome {
	for _, o := range []evidence.Outcome{
		evidence.OutcomeError, evidence.OutcomeException, evidence.OutcomeNotAvailable, evidence.OutcomeMet,
	} {
		if slices.ContainsFunc(as, func(a evidence.AttributeFinding) bool { return a.Outcome == o }) {
			return o
		}
	}
	return evidence.OutcomeNotApplicable
}

// judge tests one attribute.
type judge struct {
	attribute
	*data
	act        *activation
	tested     map[evidence.Kind]map[string]bool // items by ID
	cost       uint64
	unknown    int // items whose result hangs on evidence that is not there
	exceptions []evidence.Exception
	finding    evidence.AttributeFinding
}

// verdict is what one evaluation gave.
type verdict int

const (
	no verdict = iota
	yes
	undecided // it hangs on evidence that is missing
	broken    // it could not be evaluated; the error says why
)

func (j *judge) run() evidence.AttributeFinding {
	j.finding = evidence.AttributeFinding{ID: j.ID, Title: j.Title, Kind: j.Kind}
	if j.applies != nil {
		switch v, err := j.eval(j.applies); v {
		case yes:
		case no:
			j.finding.Outcome = evidence.OutcomeNotApplicable
			j.finding.Reason = "Left out by policy."
			return j.finding
		default:
			j.fail("", evidence.OutcomeError, "whether it applies could not be told: "+err.Error())
			return j.conclude(0)
		}
	}
	pop := j.populations[j.Kind]
	if j.Scope == scopePopulation {
		j.testOne("")
		return j.conclude(len(pop.population.items))
	}
	return j.conclude(j.testItems(pop))
}

// testItems tests each item that `when` lets through and gives their number.
func (j *judge) testItems(pop *view) int {
	n := 0
	values := pop.values()
	for i, it := range pop.population.items {
		j.act.item = values[i]
		if j.when != nil {
			v, err := j.eval(j.when)
			switch v {
			case no:
				continue
			case undecided:
				j.unknown++
				continue
			case broken:
				n++
				j.mark(it.ID)
				j.finding.Tested++
				j.fail(it.ID, evidence.OutcomeError, "whether it is to be tested could not be told: "+err.Error())
				continue
			}
		}
		n++
		j.mark(it.ID)
		j.testOne(it.ID)
	}
	j.act.item = nil
	if n < j.minItems && pop.whole && j.unknown == 0 {
		j.fail("", evidence.OutcomeException, fmt.Sprintf("at least %s must be there to test; there %s %d",
			count(j.minItems, "item"), isAre(n), n))
	}
	return n
}

func (j *judge) testOne(id string) {
	j.finding.Tested++
	switch v, err := j.eval(j.test); v {
	case yes:
		j.finding.Passed++
	case no:
		j.fail(id, evidence.OutcomeException, j.message.render(j.act))
	case undecided:
		j.finding.Tested--
		j.unknown++
	default:
		j.fail(id, evidence.OutcomeError, "could not be tested: "+err.Error())
	}
}

func (j *judge) fail(id string, o evidence.Outcome, detail string) {
	if o == evidence.OutcomeError {
		j.finding.Errors++
	} else {
		j.finding.Failed++
	}
	j.exceptions = append(j.exceptions, evidence.Exception{Attribute: j.ID, Kind: j.Kind, Item: id, Outcome: o, Detail: detail})
}

// mark notes that the item of the kind was tested.
func (j *judge) mark(id string) {
	if j.tested[j.Kind] == nil {
		j.tested[j.Kind] = map[string]bool{}
	}
	j.tested[j.Kind][id] = true
}

func (j *judge) eval(p *program) (verdict, error) {
	if j.cost > attributeCostLimit {
		return broken, errors.New("the tests of this attribute cost too much altogether")
	}
	v, details, err := p.run.Eval(j.act)
	if details != nil && details.ActualCost() != nil {
		j.cost += *details.ActualCost()
	}
	switch {
	case err != nil:
		return broken, err
	case types.IsUnknown(v):
		return undecided, errors.New("the evidence that it looks up is not complete")
	case v == types.True:
		return yes, nil
	case v == types.False:
		return no, nil
	}
	return broken, fmt.Errorf("it gives %v, not true or false", v.Type())
}

// conclude gives the attribute its outcome; n is how many items it is about.
func (j *judge) conclude(n int) evidence.AttributeFinding {
	var lacks []string
	for _, k := range j.looksAt {
		if p := j.populations[k]; !p.whole {
			lacks = append(lacks, p.why)
		}
	}
	f := &j.finding
	switch {
	case f.Errors > 0:
		f.Outcome = evidence.OutcomeError
	case len(lacks) > 0 || j.unknown > 0:
		f.Outcome = evidence.OutcomeNotAvailable
	case f.Failed > 0:
		f.Outcome = evidence.OutcomeException
	case n == 0:
		f.Outcome = evidence.OutcomeNotApplicable
	default:
		f.Outcome = evidence.OutcomeMet
	}
	f.Reason = attributeReason(*f, n, lacks)
	return *f
}

var _ cel.Activation = (*activation)(nil)
