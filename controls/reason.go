package controls

import (
	"fmt"
	"strings"

	"trustpack/evidence"
)

// attributeReason is one sentence on an attribute's outcome; n is how many
// items it is about, lacks what evidence is missing.
func attributeReason(f evidence.AttributeFinding, n int, lacks []string) string {
	switch f.Outcome {
	case evidence.OutcomeError:
		return fmt.Sprintf("%s could not be tested.", count(f.Errors, "item"))
	case evidence.OutcomeNotAvailable:
		s := strings.Join(lacks, "; ")
		if s == "" {
			s = "evidence that it looks up is not complete, or was read before the period was over"
		}
		if f.Failed > 0 {
			s += fmt.Sprintf("; of what was read, %s %s not conform", count(f.Failed, "item"), doDoes(f.Failed))
		}
		return sentence(s)
	case evidence.OutcomeException:
		if f.Tested <= 1 && n != 1 {
			return "The population as a whole does not conform."
		}
		return fmt.Sprintf("%d of %s %s not conform.", f.Failed, count(f.Tested, "item"), doDoes(f.Failed))
	case evidence.OutcomeNotApplicable:
		return "There was nothing to test: the complete population holds no such item."
	}
	if f.Tested <= 1 && n != 1 {
		return fmt.Sprintf("It holds for the population of %s.", count(n, "item"))
	}
	return fmt.Sprintf("It holds for %s.", all(f.Tested))
}

// controlReason is one sentence on a control's outcome.
func controlReason(f evidence.Finding) string {
	by := map[evidence.Outcome][]evidence.AttributeFinding{}
	for _, a := range f.Attributes {
		by[a.Outcome] = append(by[a.Outcome], a)
	}
	switch f.Outcome {
	case evidence.OutcomeError:
		return sentence(fmt.Sprintf("%s could not be tested: %s", count(len(by[f.Outcome]), "attribute"), names(by[f.Outcome])))
	case evidence.OutcomeException:
		n := 0
		for _, a := range by[f.Outcome] {
			n += a.Failed
		}
		s := fmt.Sprintf("%s in %d of %s: %s", count(n, "exception"), len(by[f.Outcome]), count(len(f.Attributes), "attribute"), names(by[f.Outcome]))
		if lacking := by[evidence.OutcomeNotAvailable]; len(lacking) > 0 {
			s += fmt.Sprintf("; no judgement on %s for want of evidence", names(lacking))
		}
		return sentence(s)
	case evidence.OutcomeNotAvailable:
		first := by[f.Outcome][0]
		s := fmt.Sprintf("no judgement on %d of %s: %s", len(by[f.Outcome]), count(len(f.Attributes), "attribute"), strings.TrimSuffix(lower(first.Reason), "."))
		return sentence(s)
	case evidence.OutcomeNotApplicable:
		return "There was nothing to test in the period."
	}
	met, out := len(by[evidence.OutcomeMet]), len(by[evidence.OutcomeNotApplicable])
	s := fmt.Sprintf("%s over %s", holds(met), count(f.Population, "item"))
	if out > 0 {
		s += fmt.Sprintf("; %s had nothing to test", count(out, "other"))
	}
	return sentence(s)
}

// names lists attributes with their numbers of failures: "approved (3)".
func names(as []evidence.AttributeFinding) string {
	var parts []string
	for _, a := range as {
		if n := a.Failed + a.Errors; n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", a.ID, n))
		} else {
			parts = append(parts, a.ID)
		}
	}
	return strings.Join(parts, ", ")
}

func holds(n int) string {
	switch n {
	case 1:
		return "the one attribute that could be tested holds"
	case 2:
		return "both attributes hold"
	}
	return fmt.Sprintf("all %d attributes hold", n)
}

func all(n int) string {
	switch n {
	case 1:
		return "the one item there is"
	case 2:
		return "both items"
	}
	return fmt.Sprintf("all %d items", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func doDoes(n int) string {
	if n == 1 {
		return "does"
	}
	return "do"
}

func lower(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func sentence(s string) string {
	s = strings.TrimSuffix(s, ".")
	if s != "" && s[0] >= 'a' && s[0] <= 'z' && !strings.HasPrefix(s, "telemetry.") && !kindForm.MatchString(strings.SplitN(s, " ", 2)[0]) {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return s + "."
}
