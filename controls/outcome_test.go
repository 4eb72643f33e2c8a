package controls

import (
	"fmt"
	"strings"
	"testing"

	"trustpack/evidence"
)

func TestGravestOutcomeOfTheAttributesIsTheControls(t *testing.T) {
	for outcomes, want := range map[string]evidence.Outcome{
		"error exception not-available met": evidence.OutcomeError,
		"met not-available exception":       evidence.OutcomeException,
		"met not-available not-applicable":  evidence.OutcomeNotAvailable,
		"not-applicable met":                evidence.OutcomeMet,
		"not-applicable not-applicable":     evidence.OutcomeNotApplicable,
	} {
		var as []evidence.AttributeFinding
		for _, o := range strings.Fields(outcomes) {
			as = append(as, evidence.AttributeFinding{Outcome: evidence.Outcome(o)})
		}
		if got := combine(as); got != want {
			t.Errorf("%s: want %s, got %s", outcomes, want, got)
		}
	}
}

// The population of a finding holds each tested item once, and none that no
// attribute tested.
func TestPopulationCountsEachTestedItemOnce(t *testing.T) {
	c := load(t, `
id: XX-01
title: Things
stage: processing
criteria: [CC8.1]
objective: Things.
kinds: [x.things, x.others]
attributes:
  - {id: later, title: later, kind: x.things, when: item.id > "a", test: 'true', message: m}
  - {id: last, title: last, kind: x.things, when: item.id > "b", test: 'true', message: m}
  - {id: other, title: other, kind: x.others, scope: population, test: 'size(items("x.others")) == 2', message: m}
`)
	things := collected("x.things", "2026-07-01", "2026-10-01", item("a", ""), item("b", ""), item("c", ""))
	others := collected("x.others", "2026-07-01", "2026-10-01", item("a", ""), item("b", ""))
	f := findingOf(t, c, things, others)
	wantOutcome(t, f, evidence.OutcomeMet, "All 3 attributes hold over 2 items.")
	if f.Population != 2 {
		t.Errorf("want b and c of things, and nothing for the test over all others, got %d", f.Population)
	}
}

func TestAnAttributeCannotCostWithoutEnd(t *testing.T) {
	c := load(t, `
id: XX-01
title: Costly
stage: processing
criteria: [CC8.1]
objective: Each test stays below its limit, all of them together do not.
kinds: [x.things, x.others]
attributes:
  - id: costly
    title: costly
    kind: x.things
    test: items("x.others").all(o, o.id != item.id)
    message: costly
`)
	var things, others []evidence.Item
	for i := range 1600 {
		things = append(things, item(fmt.Sprintf("t%05d", i), ""))
	}
	for i := range 6000 {
		others = append(others, item(fmt.Sprintf("o%05d", i), ""))
	}
	f := findingOf(t, c, collected("x.things", "2026-07-01", "2026-10-01", things...), collected("x.others", "2026-07-01", "2026-10-01", others...))
	wantOutcome(t, f, evidence.OutcomeError, "costly")
	a := f.Attributes[0]
	if a.Passed == 0 || a.Errors == 0 || !strings.Contains(f.Exceptions[0].Detail, "cost too much altogether") {
		t.Errorf("want the first to pass and the last to be cut off: %+v %s", a, f.Exceptions[0].Detail)
	}
}
