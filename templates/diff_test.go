package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// change is the example a quarter later: one control came out otherwise, one
// went, one came; exceptions were mended, went with their items, or were not
// tested again.
func later(t *testing.T) (before, after Version) {
	t.Helper()
	q3, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	q4, err := evidence.ParsePeriod("2026-Q4")
	if err != nil {
		t.Fatal(err)
	}
	side := func(p evidence.Period, sequence int, change func(*Version)) Version {
		v := Version{View: View{Organisation: "Lindenau", System: "GridPulse", Tool: "t", Period: p, CatalogSHA256: "aa", Clock: evidence.ClockSystem}, Name: p.String(), Sequence: sequence, PackJSONSHA256: strings.Repeat(fmt.Sprint(sequence), 64)}
		attribute := evidence.AttributeFinding{ID: "mfa", Kind: "aws.users", Title: "has MFA", Outcome: evidence.OutcomeException, Tested: 4}
		v.Controls = []evidence.Control{{ID: "ID-05", Title: "MFA", Stage: evidence.StageIdentity, Kinds: []evidence.Kind{"aws.users"}}, {ID: "ST-01", Title: "Retention", Stage: evidence.StageStorage}}
		exception := func(item string) evidence.Exception {
			return evidence.Exception{Attribute: "mfa", Kind: "aws.users", Item: item, Outcome: evidence.OutcomeException, Detail: "no MFA for \x1b[31m" + item}
		}
		v.Findings = []evidence.Finding{{Control: "ID-05", Period: p, Outcome: evidence.OutcomeException, Reason: "some lack it", Attributes: []evidence.AttributeFinding{attribute},
			Exceptions: []evidence.Exception{exception("ann"), exception("bob"), exception("cy")}}, {Control: "ST-01", Period: p, Outcome: evidence.OutcomeMet, Exceptions: []evidence.Exception{}}}
		v.Evidence = []evidence.Collected{collected(t, "aws.users", "1", func(e *evidence.Evidence) {
			e.Snapshot, e.Provenance.Origin, e.Provenance.Clock = true, evidence.OriginLive, evidence.ClockSystem
		},
			items(attrs{"id": "ann", "mfa": false}, attrs{"id": "bob", "mfa": false}, attrs{"id": "cy", "mfa": false}, attrs{"id": "dora", "mfa": true, "age": 3.0})...)}
		v.Findings[0].Evidence = []evidence.Citation{{ID: v.Evidence[0].ID, Kind: "aws.users"}}
		if change != nil {
			change(&v)
		}
		return v
	}
	before = side(q3, 1, nil)
	after = side(q4, 2, func(v *Version) {
		v.Previous = before.PackJSONSHA256
		v.Policy = map[string]any{"max_key_age_days": 90.0}
		v.Evidence[0] = collected(t, "aws.users", "1", func(e *evidence.Evidence) {
			e.Snapshot, e.Provenance.Origin, e.Provenance.Clock = true, evidence.OriginLive, evidence.ClockSystem
		},
			items(attrs{"id": "ann", "mfa": true}, attrs{"id": "cy", "mfa": false}, attrs{"id": "dora", "mfa": true, "age": 4.0}, attrs{"id": "<b>eve", "mfa": false})...)
		f := &v.Findings[0]
		f.Evidence = []evidence.Citation{{ID: v.Evidence[0].ID, Kind: "aws.users"}}
		f.Exceptions = []evidence.Exception{f.Exceptions[2], {Attribute: "mfa", Kind: "aws.users", Item: "<b>eve", Outcome: evidence.OutcomeException, Detail: "no MFA"}}
		v.Controls[1] = evidence.Control{ID: "ST-03", Title: "Backups", Stage: evidence.StageStorage}
		v.Findings[1] = evidence.Finding{Control: "ST-03", Period: q4, Outcome: evidence.OutcomeNotAvailable, Reason: "nothing was collected", Exceptions: []evidence.Exception{}}
		v.Findings[0].Outcome = evidence.OutcomeError
	})
	return before, after
}

func closedHow(c Changes, item string) string {
	for _, x := range c.Exceptions.Closed {
		if x.Item == item {
			return x.How
		}
	}
	return ""
}

func TestCompareTwoPacks(t *testing.T) {
	a, b := later(t)
	c := Compare(a, b)
	if !c.Follows || c.Catalog {
		t.Errorf("follows %v, catalog changed %v", c.Follows, c.Catalog)
	}
	var controls []string
	for _, x := range c.Controls {
		controls = append(controls, fmt.Sprintf("%s %s %s %s", x.ID, x.Change, x.From, x.To))
	}
	if want := []string{"ID-05 outcome exception error", "ST-03 new  not-available", "ST-01 gone met "}; !slices.Equal(controls, want) {
		t.Errorf("controls %q, want %q", controls, want)
	}
	x := c.Exceptions
	if len(x.New) != 1 || x.New[0].Item != "<b>eve" || len(x.Open) != 1 || x.Open[0].Item != "cy" || len(x.Closed) != 2 {
		t.Errorf("exceptions %+v", x)
	}
	if closedHow(c, "ann") != closedFixed || closedHow(c, "bob") != closedGone {
		t.Errorf("ann is closed as %q, bob as %q", closedHow(c, "ann"), closedHow(c, "bob"))
	}
	if want := []PopulationChange{{Kind: "aws.users", FromItems: 4, ToItems: 4, New: []string{"<b>eve"}, Gone: []string{"bob"}}}; len(c.Populations) != 1 || fmt.Sprint(c.Populations) != fmt.Sprint(want) {
		t.Errorf("populations %+v", c.Populations)
	}
	var settings []string
	for _, s := range append(c.Policy, c.Settings...) {
		settings = append(settings, fmt.Sprintf("%s/%s/%s %s %s", s.Kind, s.Item, s.Attribute, s.From, s.To))
	}
	if want := []string{"//max_key_age_days (absent) 90", "aws.users/ann/mfa false true", "aws.users/dora/age 3 4"}; !slices.Equal(settings, want) {
		t.Errorf("settings %q, want %q", settings, want)
	}
}

// TestNothingIsClosedByNotLooking: an exception that is merely absent from the
// later pack is not called mended.
func TestNothingIsClosedByNotLooking(t *testing.T) {
	for name, change := range map[string]func(*Version){
		"not available": func(v *Version) { v.Findings[0].Attributes[0].Outcome = evidence.OutcomeNotAvailable },
		"no finding":    func(v *Version) { v.Findings = v.Findings[1:] },
		"other test":    func(v *Version) { v.Findings[0].Attributes[0].ID = "other" },
	} {
		a, b := later(t)
		change(&b)
		if c := Compare(a, b); closedHow(c, "ann") != closedNotTested {
			t.Errorf("%s: ann is closed as %q", name, closedHow(c, "ann"))
		}
	}
	a, b := later(t)
	b.Evidence[0].Completeness.State = evidence.Incomplete
	c := Compare(a, b)
	if closedHow(c, "bob") != closedNotTested || len(c.Populations) != 1 || c.Populations[0].Note == "" {
		t.Errorf("bob is closed as %q; %+v", closedHow(c, "bob"), c.Populations)
	}
	a, b = later(t)
	b.Evidence, b.Findings[0].Evidence = nil, nil
	c = Compare(a, b)
	if closedHow(c, "bob") != closedNotTested || len(c.Populations) != 1 || len(c.Populations[0].Gone) != 0 || c.Populations[0].Note == "" {
		t.Errorf("without evidence bob is closed as %q; %+v", closedHow(c, "bob"), c.Populations)
	}
}

func TestComparedWithItselfNothingChanged(t *testing.T) {
	a, _ := later(t)
	c := Compare(a, a)
	if len(c.Controls)+len(c.Exceptions.New)+len(c.Exceptions.Closed)+len(c.Populations)+len(c.Settings)+len(c.Policy) != 0 || len(c.Exceptions.Open) != 3 || c.Follows {
		t.Errorf("%+v", c)
	}
}

// TestChangesAreShown: text, JSON and page say the same, escape what they do
// not own, and say what cannot be compared.
func TestChangesAreShown(t *testing.T) {
	a, b := later(t)
	a.Sample, b.Previous, b.CatalogSHA256 = true, "", "bb"
	c := Compare(a, b)
	var text, page bytes.Buffer
	if err := c.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SAMPLE DATA", "does not name the earlier one", "different catalogs", "ID-05", "fixed", "gone", "max_key_age_days", "bob"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(page.String(), want) {
			t.Errorf("%q is missing: in the text %v, on the page %v", want, strings.Contains(text.String(), want), strings.Contains(page.String(), want))
		}
	}
	if strings.Contains(text.String(), "\x1b") || strings.Contains(page.String(), "\x1b") || strings.Contains(page.String(), "<b>eve") || !strings.Contains(page.String(), "&lt;b&gt;eve") {
		t.Error("text of the packs is not escaped")
	}
	var again Changes
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &again); err != nil || again.Exceptions.Closed[0].How != c.Exceptions.Closed[0].How || again.Exceptions.Closed[0].Item == "" {
		t.Errorf("JSON loses: %v, %s", err, raw)
	}
}

// TestLongListsAreCutAndCounted: what is not shown is counted.
func TestLongListsAreCutAndCounted(t *testing.T) {
	a, b := later(t)
	var many []evidence.Item
	for i := range 100 {
		many = append(many, items(attrs{"id": fmt.Sprintf("user-%03d", i)})...)
	}
	b.Evidence[0].Population.Items = many
	c := Compare(a, b)
	var text, page bytes.Buffer
	if err := c.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "… 60 more") || strings.Contains(text.String(), "user-040") || !strings.Contains(page.String(), "and 60 more") {
		t.Errorf("a list of 100 is not cut and counted:\n%s", text.String())
	}
	if len(c.Populations[0].New) != 100 {
		t.Errorf("%d of 100 in the JSON", len(c.Populations[0].New))
	}
}
