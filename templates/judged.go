package templates

import (
	"cmp"
	"slices"
	"strings"

	"trustpack/evidence"
)

// judged is one control with its finding and the evidence that it rests on.
type judged struct {
	evidence.Control
	Finding evidence.Finding
	Rests   []resting
	Missing []evidence.Kind // kinds that the control asks for and no evidence of was judged
}

// resting is one piece of evidence under a finding. Known is false where the
// finding cites evidence that the view doesn't hold; then only Citation is set.
type resting struct {
	evidence.Citation
	Known  bool
	Record evidence.Collected
}

// State is what the record itself says of its completeness, or else what the
// citation does.
func (r resting) State() evidence.CompletenessState {
	if r.Known {
		return wholeness(r.Record.Completeness)
	}
	return r.Completeness
}

// Unmet are the tests that stand in the way of the control.
func (j judged) Unmet() []evidence.AttributeFinding {
	return slices.DeleteFunc(slices.Clone(j.Finding.Attributes), func(a evidence.AttributeFinding) bool {
		return a.Outcome == evidence.OutcomeMet || a.Outcome == evidence.OutcomeNotApplicable
	})
}

// wholeness is the state that a completeness record bears out: one that claims
// to be complete and yet lists gaps, or another number than the source's own,
// is not.
func wholeness(c evidence.Completeness) evidence.CompletenessState {
	if c.State == evidence.Complete && (len(c.Gaps) > 0 || c.Expected != nil && *c.Expected != c.Got) {
		return evidence.Incomplete
	}
	return c.State
}

// judgedControls joins catalog and findings, in the order of stages, then IDs.
// A control without a finding is not-available and says so; a finding without
// a control is kept, under the stage "".
func (v View) judgedControls() []judged {
	findings := map[string]evidence.Finding{}
	for _, f := range v.Findings {
		findings[f.Control] = f
	}
	byID := v.evidenceByID()
	var out []judged
	for _, c := range v.Controls {
		f, ok := findings[c.ID]
		if !ok {
			f = evidence.Finding{Control: c.ID, Period: v.Period, Outcome: evidence.OutcomeNotAvailable,
				Reason: "No finding was made for this control in this period."}
		}
		delete(findings, c.ID)
		out = append(out, joined(c, f, byID))
	}
	for id, f := range findings {
		c := evidence.Control{ID: id, Title: "Not in the catalog that this document was made with"}
		out = append(out, joined(c, f, byID))
	}
	slices.SortFunc(out, func(a, b judged) int {
		return cmp.Or(stageRank(a.Stage)-stageRank(b.Stage), naturally(a.ID, b.ID))
	})
	return out
}

func joined(c evidence.Control, f evidence.Finding, byID map[string]evidence.Collected) judged {
	f.Outcome = known(f.Outcome)
	f.Attributes = slices.Clone(f.Attributes)
	for i := range f.Attributes {
		f.Attributes[i].Outcome = known(f.Attributes[i].Outcome)
	}
	j := judged{Control: c, Finding: f}
	seen := map[evidence.Kind]bool{}
	for _, cite := range f.Evidence {
		rec, ok := byID[cite.ID]
		j.Rests = append(j.Rests, resting{cite, ok, rec})
		seen[cite.Kind] = true
	}
	slices.SortStableFunc(j.Rests, func(a, b resting) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.CollectedAt.Compare(b.CollectedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, k := range c.Kinds {
		if !seen[k] && !slices.Contains(j.Missing, k) {
			j.Missing = append(j.Missing, k)
		}
	}
	slices.Sort(j.Missing)
	return j
}

// stageRank orders the five stages; anything else comes last.
func stageRank(s evidence.Stage) int {
	if i := slices.Index(evidence.Stages(), s); i >= 0 {
		return i
	}
	return len(evidence.Stages())
}

func (v View) evidenceByID() map[string]evidence.Collected {
	m := make(map[string]evidence.Collected, len(v.Evidence))
	for _, e := range v.Evidence {
		m[e.ID] = e
	}
	return m
}

// sortedEvidence is the evidence by kind, then time, then ID, each ID once.
func (v View) sortedEvidence() []evidence.Collected {
	out := make([]evidence.Collected, 0, len(v.Evidence))
	for _, e := range v.evidenceByID() {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b evidence.Collected) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.CollectedAt.Compare(b.CollectedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// member is an item of a joined population and the evidence it was taken from.
type member struct {
	evidence.Item
	From string
}

// population joins the collections of one kind as they were judged: of
// evidence that a finding cites, or of all where none is cited, the latest
// collection wins for each ID; of uncited snapshots only the latest of each
// source counts.
// It returns the members sorted by ID and the evidence they come from.
func population(all []evidence.Collected, cited map[string]bool) ([]member, []evidence.Collected) {
	pick := slices.Clone(all)
	if slices.ContainsFunc(all, func(e evidence.Collected) bool { return cited[e.ID] }) {
		pick = slices.DeleteFunc(pick, func(e evidence.Collected) bool { return !cited[e.ID] })
	} else {
		newest := map[[3]string]string{} // by source, since all is in order of time
		for _, e := range all {
			newest[sourceOf(e)] = e.ID
		}
		pick = slices.DeleteFunc(pick, func(e evidence.Collected) bool { return e.Snapshot && newest[sourceOf(e)] != e.ID })
	}
	latest := map[string]member{}
	for _, e := range pick { // in order of time, so that a later one overwrites
		for _, it := range e.Population.Items {
			latest[it.ID] = member{it, e.ID}
		}
	}
	out := make([]member, 0, len(latest))
	for _, m := range latest {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.ID, b.ID) })
	return out, pick
}

// sourceOf is where evidence comes from: collector, system, account.
func sourceOf(e evidence.Collected) [3]string {
	return [3]string{e.Collector, e.Provenance.System, e.Provenance.Account}
}

// citations maps each evidence ID to the controls that rest on it, in order.
func citations(controls []judged) map[string][]string {
	m := map[string][]string{}
	for _, j := range controls {
		for _, r := range j.Rests {
			if !slices.Contains(m[r.ID], j.ID) {
				m[r.ID] = append(m[r.ID], j.ID)
			}
		}
	}
	return m
}

// criterion is one SOC 2 criterion and the controls mapped to it.
type criterion struct {
	ID       evidence.Criterion
	Controls []judged
}

// criteria inverts the mapping: common criteria first, then the categories.
func criteria(controls []judged) []criterion {
	m := map[evidence.Criterion][]judged{}
	for _, j := range controls {
		for _, c := range j.Criteria {
			m[c] = append(m[c], j)
		}
	}
	out := make([]criterion, 0, len(m))
	for id, js := range m {
		out = append(out, criterion{id, js})
	}
	rank := func(c evidence.Criterion) int {
		for i, p := range []string{"CC", "A", "C", "PI", "P"} {
			if n := len(p); len(c) > n && string(c[:n]) == p && digits(string(c[n:])) > 0 {
				return i
			}
		}
		return 9
	}
	slices.SortFunc(out, func(a, b criterion) int {
		return cmp.Or(rank(a.ID)-rank(b.ID), naturally(string(a.ID), string(b.ID)))
	})
	return out
}
