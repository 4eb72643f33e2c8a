package controls

import (
	"maps"
	"slices"
	"testing"

	"trustpack/evidence"
)

// Each way of breaking an attribute must turn a case red; otherwise the cases
// would also pass on a control that tests nothing.
func TestCasesBite(t *testing.T) {
	c := mustBuiltin(t)
	envs, err := newEnvironments()
	if err != nil {
		t.Fatal(err)
	}
	mutants := 0
	for _, ctl := range c.controls {
		for i, af := range ctl.file.Attributes {
			for how, broken := range mutations(af) {
				mutants++
				a, _, err := newAttribute(envs, ctl.file, broken)
				if err != nil {
					t.Errorf("%s: %s: %s: %v", ctl.ID, af.ID, how, err)
					continue
				}
				mutant := *ctl
				mutant.attrs = slices.Clone(ctl.attrs)
				mutant.attrs[i] = a
				if !slices.ContainsFunc(ctl.file.Cases, func(cf caseFile) bool { return mutant.try(cf) != "" }) {
					t.Errorf("%s: %s: no case notices that %s", ctl.ID, af.ID, how)
				}
			}
		}
	}
	if mutants < 3*len(c.controls) {
		t.Errorf("only %d mutants were tried", mutants)
	}
}

func mutations(af attributeFile) map[string]attributeFile {
	out := map[string]attributeFile{}
	add := func(how string, change func(*attributeFile)) {
		m := af
		change(&m)
		out[how] = m
	}
	add("the test is negated", func(m *attributeFile) { m.Test = "!(" + m.Test + ")" })
	add("the test is always true", func(m *attributeFile) { m.Test = "true" })
	if af.When != "" {
		add("`when` is gone", func(m *attributeFile) { m.When = "" })
		add("`when` lets nothing through", func(m *attributeFile) { m.When = "false" })
	}
	if af.Applies != "" {
		add("`applies` is gone", func(m *attributeFile) { m.Applies = "" })
		add("`applies` is negated", func(m *attributeFile) { m.Applies = "!(" + m.Applies + ")" })
	}
	if af.LooksBack != "" {
		add("looks_back is gone", func(m *attributeFile) { m.LooksBack = "" })
	}
	if af.MinItems > 0 {
		add("min_items is gone", func(m *attributeFile) { m.MinItems = 0 })
	}
	return out
}

// Every control has the cases that the catalog promises.
func TestEveryControlHasItsCases(t *testing.T) {
	for _, ctl := range mustBuiltin(t).controls {
		met, incomplete, missing := 0, 0, 0
		fails := map[string]int{}
		for _, cf := range ctl.file.Cases {
			if cf.Expect == string(evidence.OutcomeMet) {
				met++
			}
			if cf.Expect == string(evidence.OutcomeNotAvailable) && len(cf.Incomplete) > 0 {
				incomplete++
			}
			if cf.Expect == string(evidence.OutcomeNotAvailable) && len(cf.Missing) > 0 {
				missing++
			}
			if cf.Expect == string(evidence.OutcomeException) {
				for id := range maps.Keys(cf.Exceptions) {
					fails[id]++
				}
			}
		}
		if met == 0 || incomplete == 0 || missing == 0 {
			t.Errorf("%s: %d cases met, %d incomplete, %d missing; want one of each at least", ctl.ID, met, incomplete, missing)
		}
		for _, a := range ctl.attrs {
			if fails[a.ID] == 0 {
				t.Errorf("%s: %s: no case shows an exception", ctl.ID, a.ID)
			}
		}
	}
}

func mustBuiltin(t testing.TB) *Catalog {
	t.Helper()
	c, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
