package controls

import "testing"

func TestBuiltinCases(t *testing.T) {
	c := mustBuiltin(t)
	perControl := map[string]int{}
	for _, r := range c.Test() {
		perControl[r.Control]++
		if !r.Passed {
			t.Errorf("%s: %s: %s", r.Control, r.Case, r.Detail)
		}
	}
	for _, ctl := range c.Controls() {
		if perControl[ctl.ID] == 0 {
			t.Errorf("%s: no case was run", ctl.ID)
		}
	}
}
