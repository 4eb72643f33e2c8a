package templates

import (
	"slices"

	"trustpack/evidence"
)

// notAssessed gathers everything that the verdicts do not cover.
type notAssessed struct {
	Controls []judged      // without a verdict of met or exception
	Tests    []untested    // inside controls that do have one
	Kinds    []missingKind // asked for by a control, none judged
	Gaps     []indexed     // incomplete evidence
	Unused   []indexed     // collected, cited by no finding
	LeftOut  []evidence.LeftOut
}

// untested is one test that was not judged in a control that was.
type untested struct {
	Control judged
	evidence.AttributeFinding
}

// missingKind is a kind of evidence that controls asked for in vain.
type missingKind struct {
	Kind     evidence.Kind
	Controls []string
}

// Empty reports whether there is nothing to say.
func (n notAssessed) Empty() bool {
	return len(n.Controls)+len(n.Tests)+len(n.Kinds)+len(n.Gaps)+len(n.Unused)+len(n.LeftOut) == 0
}

func findNotAssessed(controls []judged, index []indexed) notAssessed {
	var n notAssessed
	missing := map[evidence.Kind][]string{}
	for _, j := range controls {
		for _, k := range j.Missing {
			missing[k] = append(missing[k], j.ID)
		}
		if o := j.Finding.Outcome; o != evidence.OutcomeMet && o != evidence.OutcomeException {
			n.Controls = append(n.Controls, j)
			continue
		}
		for _, a := range j.Finding.Attributes {
			if a.Outcome != evidence.OutcomeMet && a.Outcome != evidence.OutcomeException {
				n.Tests = append(n.Tests, untested{j, a})
			}
		}
	}
	for k, ids := range missing {
		n.Kinds = append(n.Kinds, missingKind{k, ids})
	}
	slices.SortFunc(n.Kinds, func(a, b missingKind) int { return naturally(string(a.Kind), string(b.Kind)) })
	for _, x := range index {
		if x.State() != evidence.Complete {
			n.Gaps = append(n.Gaps, x)
		}
		if len(x.CitedBy) == 0 {
			n.Unused = append(n.Unused, x)
		}
	}
	return n
}
