// Package templates makes everything a person reads: the report, the workbook
// and the statements. It judges nothing. It shows findings and evidence as they
// were handed over, says loudly what is missing, and writes the same bytes for
// the same View.
//
// Text of evidence is hostile until shown otherwise: it is escaped for the
// format it goes into, and characters that a reader could not see, or that
// would reorder what they read, are made visible (see visible).
package templates

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// View is what a document is made from. Nothing else is read: no clock, no
// file, no environment.
type View struct {
	Organisation  string
	System        string
	Tool          string // "trustpack 0.1.0"
	Period        evidence.Period
	Sample        bool           // some evidence is recorded sample data
	Clock         evidence.Clock // evidence.ClockSimulated where times are not real
	AsOf          time.Time      // latest CollectedAt; dates the documents
	CatalogSHA256 string         // hex digest of the catalog that judged
	Controls      []evidence.Control
	Findings      []evidence.Finding
	Evidence      []evidence.Collected
	LeftOut       []evidence.LeftOut // collected for the period, and evidence of nothing in it
}

// check refuses a view that no honest document can be made from.
func (v View) check() error {
	if v.Period.IsZero() {
		return fmt.Errorf("the view has no period; a document must say which time it covers")
	}
	controls := map[string]bool{}
	for _, c := range v.Controls {
		if controls[c.ID] {
			return fmt.Errorf("control %q stands twice in the catalog", c.ID)
		}
		controls[c.ID] = true
	}
	findings := map[string]bool{}
	for _, f := range v.Findings {
		if findings[f.Control] {
			return fmt.Errorf("control %q has two findings; a document shows one verdict for each", f.Control)
		}
		findings[f.Control] = true
	}
	return nil
}

// sampled reports whether any of what is shown is recorded sample data, also
// where the view itself forgot to say so.
func (v View) sampled() bool {
	return v.Sample ||
		slices.ContainsFunc(v.Findings, func(f evidence.Finding) bool { return f.Sample }) ||
		slices.ContainsFunc(v.Evidence, func(e evidence.Collected) bool { return e.Provenance.Origin == evidence.OriginSample })
}

// simulated reports whether any time shown comes from a simulated clock.
func (v View) simulated() bool {
	const sim = evidence.ClockSimulated
	return v.Clock == sim ||
		slices.ContainsFunc(v.Findings, func(f evidence.Finding) bool { return f.Clock == sim }) ||
		slices.ContainsFunc(v.Evidence, func(e evidence.Collected) bool { return e.Provenance.Clock == sim })
}

// banner is the warning that a sample carries, empty for the real thing.
type banner struct {
	Short string   // "SAMPLE DATA · SIMULATED CLOCK"
	Brief string   // what that means, in a few words
	Lines []string // one sentence for each reason
}

func (v View) banner() banner {
	var b banner
	var words []string
	if v.sampled() {
		words = append(words, "SAMPLE DATA")
		b.Lines = append(b.Lines, "Some of the evidence is recorded sample data, not replies of a live source. This document proves nothing about a real system.")
	}
	if v.simulated() {
		words = append(words, "SIMULATED CLOCK")
		b.Lines = append(b.Lines, "Times come from a simulated clock. They show the order of events, not when anything happened.")
	}
	b.Short = strings.Join(words, " · ")
	switch {
	case len(words) == 2:
		b.Brief = "this is no evidence of a real system, and times are not real"
	case v.sampled():
		b.Brief = "this is no evidence of a real system"
	case v.simulated():
		b.Brief = "times are not real"
	}
	return b
}

// outcomes lists the outcomes in the order in which they are counted.
func outcomes() []evidence.Outcome {
	return []evidence.Outcome{evidence.OutcomeMet, evidence.OutcomeException, evidence.OutcomeNotAvailable,
		evidence.OutcomeNotApplicable, evidence.OutcomeError}
}

// known turns an outcome that is not in the vocabulary into an error, so that
// it can neither be counted as met nor fall out of the counts.
func known(o evidence.Outcome) evidence.Outcome {
	if slices.Contains(outcomes(), o) {
		return o
	}
	return evidence.OutcomeError
}

// outcomeWord is the outcome for people.
func outcomeWord(o evidence.Outcome) string {
	switch o {
	case evidence.OutcomeMet:
		return "Met"
	case evidence.OutcomeException:
		return "Exception"
	case evidence.OutcomeNotAvailable:
		return "Not available"
	case evidence.OutcomeNotApplicable:
		return "Not applicable"
	}
	return "Error"
}

// outcomeMark stands beside the word, so that colour is never the only sign.
func outcomeMark(o evidence.Outcome) string {
	switch o {
	case evidence.OutcomeMet:
		return "✓"
	case evidence.OutcomeException:
		return "✕"
	case evidence.OutcomeNotAvailable:
		return "?"
	case evidence.OutcomeNotApplicable:
		return "–"
	}
	return "!"
}
