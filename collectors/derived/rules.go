package derived

import (
	"fmt"
	"maps"
	"slices"

	"trustpack/evidence"
)

// switches are the rules of a branch that are either on or off, with what each
// must be; reviews and checks are on where any is required.
func switches() map[string]bool {
	return map[string]bool{"dismiss_stale": true, "enforce_admins": true, "allow_force_pushes": false, "allow_deletions": false}
}

// state is what the rules of a branch were, at the weakest, on one day.
type state struct {
	collections int
	reviews     int
	switches    map[string]bool
	checks      []string // required each time
	bypass      []string // who could, at any time
	unenforced  []string // rulesets that were there and did not hold
}

// weaken makes s what it and another reading of the same day have in common.
func (s *state) weaken(o state) {
	s.collections++
	s.reviews = min(s.reviews, o.reviews)
	for name, want := range switches() {
		if o.switches[name] != want {
			s.switches[name] = !want
		}
	}
	s.checks = slices.DeleteFunc(s.checks, func(c string) bool { return !slices.Contains(o.checks, c) })
	s.bypass = union(s.bypass, o.bypass)
}

// off names the rules that did not hold.
func (s *state) off() []string {
	var out []string
	if s.reviews == 0 {
		out = append(out, "required_reviews")
	}
	if len(s.checks) == 0 {
		out = append(out, "required_checks")
	}
	for name, want := range switches() {
		if s.switches[name] != want {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// differs says what changed since an earlier day.
func (s *state) differs(before *state) []string {
	var out []string
	say := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			out = append(out, fmt.Sprintf("%s: %s, now %s", what, x, y))
		}
	}
	say("required_reviews", before.reviews, s.reviews)
	for _, name := range slices.Sorted(maps.Keys(switches())) {
		say(name, before.switches[name], s.switches[name])
	}
	say("required_checks", before.checks, s.checks)
	say("bypass", before.bypass, s.bypass)
	say("rulesets_not_enforced", before.unenforced, s.unenforced)
	return out
}

func stateOf(it evidence.Item) state {
	s := state{collections: 1, reviews: number(it.Attributes["required_reviews"]), switches: map[string]bool{},
		checks: texts(it.Attributes["required_checks"]), bypass: texts(it.Attributes["bypass"])}
	for name, want := range switches() {
		on, known := it.Attributes[name].(bool)
		s.switches[name] = known && on || !known && !want // what is not known does not count as kept
	}
	return s
}

// unenforced names the rulesets of a repository that were not in force.
func unenforced(e evidence.Collected, repo string) []string {
	var out []string
	for _, it := range e.Population.Items {
		if how := text(it, "enforcement"); text(it, "repo") == repo && how != "active" {
			out = append(out, fmt.Sprintf("%s (%s)", text(it, "name"), how))
		}
	}
	return out
}

func texts(v any) []string {
	var out []string
	for _, x := range anys(v) {
		out = append(out, fmt.Sprint(x))
	}
	slices.Sort(out)
	return out
}

func anys(v any) []any { l, _ := v.([]any); return l }

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func list(in []string) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}
