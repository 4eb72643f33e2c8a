package controls

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"trustpack/evidence"
)

const tiny = `
id: XX-01
title: Things are good
stage: processing
criteria: [CC8.1]
objective: Each thing is good.
kinds: [%s]
policy:
  wanted: {default: yes please, about: What a good thing says.}
attributes:
  - id: good
    title: The thing is good
    kind: %s
    test: item.good == policy.wanted
    message: 'thing {{item.id}} says {{item.good}}, version {{item.version}}'
`

func tinyCatalog(t testing.TB, kind string) *Catalog {
	t.Helper()
	return load(t, fmt.Sprintf(tiny, kind, kind))
}

func load(t testing.TB, body string) *Catalog {
	t.Helper()
	c, err := Load(fstest.MapFS{"XX-01.yaml": {Data: []byte(body)}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

var q3 = evidence.Period{From: day("2026-07-01"), To: day("2026-10-01")}

func item(id, good string, more ...any) evidence.Item {
	a := map[string]any{"good": good}
	for i := 0; i+1 < len(more); i += 2 {
		a[more[i].(string)] = more[i+1]
	}
	return evidence.Item{ID: id, Attributes: a}
}

// collected is a complete, live collection of events over [from, to).
func collected(kind, from, to string, items ...evidence.Item) evidence.Collected {
	return evidence.Collected{ID: kind + from + to, Evidence: evidence.Evidence{
		Kind: evidence.Kind(kind), Collector: "test", CollectedAt: day(to), Window: evidence.Period{From: day(from), To: day(to)},
		Provenance:   evidence.Provenance{System: "test", Account: "a", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
		Completeness: evidence.Completeness{State: evidence.Complete, Got: len(items)},
		Population:   evidence.Population{Items: items},
	}}
}

func snapshot(kind, at string, items ...evidence.Item) evidence.Collected {
	e := collected(kind, "2026-07-01", "2026-10-01", items...)
	e.ID, e.Snapshot, e.CollectedAt = kind+at, true, day(at)
	return e
}

func cut(e evidence.Collected, what string) evidence.Collected {
	e.Completeness.State = evidence.Incomplete
	e.Completeness.Gaps = []evidence.Gap{{What: what, Reason: "status 500"}}
	return e
}

func findingOf(t testing.TB, c *Catalog, in ...evidence.Collected) evidence.Finding {
	t.Helper()
	a, err := c.Assess(Input{Period: q3, Evidence: in})
	if err != nil {
		t.Fatal(err)
	}
	return a.Findings[0]
}

func wantOutcome(t *testing.T, f evidence.Finding, want evidence.Outcome, reason string) {
	t.Helper()
	if f.Outcome != want || !strings.Contains(f.Reason, reason) {
		t.Errorf("want %s with %q, got %s: %s", want, reason, f.Outcome, f.Reason)
	}
}

func TestEventsAreTheUnionOfCollections(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	early := collected("x.events", "2026-07-01", "2026-08-15", item("a", "no"), item("b", "yes please"))
	late := collected("x.events", "2026-08-01", "2026-10-01", item("a", "yes please"), item("c", "no", "version", 3))

	f := findingOf(t, c, late, early)
	wantOutcome(t, f, evidence.OutcomeException, "1 exception in 1 of 1 attribute: good (1)")
	if f.Population != 3 || len(f.Exceptions) != 1 || f.Exceptions[0].Detail != "thing c says no, version 3" {
		t.Errorf("want a of the later collection to win: %+v", f)
	}
	if len(f.Evidence) != 2 {
		t.Errorf("want both collections cited, got %+v", f.Evidence)
	}
}

func TestDaysWithoutCollectionAreNotMet(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	a := collected("x.events", "2026-07-01", "2026-08-01", item("a", "yes please"))
	b := collected("x.events", "2026-08-03", "2026-10-01", item("b", "yes please"))
	wantOutcome(t, findingOf(t, c, a, b), evidence.OutcomeNotAvailable, "x.events was not collected for 2026-08-01 to 2026-08-03")

	early := collected("x.events", "2026-07-01", "2026-10-01", item("a", "yes please"))
	early.CollectedAt = day("2026-09-01")
	wantOutcome(t, findingOf(t, c, early), evidence.OutcomeNotAvailable, "2026-09-01 to 2026-10-01")
	wantOutcome(t, findingOf(t, c), evidence.OutcomeNotAvailable, "x.events was not collected")
	before := collected("x.events", "2026-04-01", "2026-07-01", item("a", "yes please"))
	wantOutcome(t, findingOf(t, c, before), evidence.OutcomeNotAvailable, "only for other times than 2026-Q3")
}

func TestIncompleteIsNotAvailableWithTheExceptionsThatAreKnown(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	broken := cut(collected("x.events", "2026-07-01", "2026-10-01", item("a", "no"), item("b", "yes please")), "page 2")
	f := findingOf(t, c, broken)
	wantOutcome(t, f, evidence.OutcomeNotAvailable, "page 2 (status 500)")
	if len(f.Exceptions) != 1 || f.Exceptions[0].Item != "a" {
		t.Errorf("want the known exception listed, got %+v", f.Exceptions)
	}
	whole := collected("x.events", "2026-07-01", "2026-10-01", item("a", "yes please"), item("b", "yes please"))
	whole.CollectedAt = day("2026-10-02")
	wantOutcome(t, findingOf(t, c, broken, whole), evidence.OutcomeMet, "over 2 items")

	short := collected("x.events", "2026-07-01", "2026-10-01", item("a", "yes please"))
	five := 5
	short.Completeness.Expected = &five
	wantOutcome(t, findingOf(t, c, short), evidence.OutcomeNotAvailable, "the source counts 5, 1 were read")
}

func TestLatestSnapshotOfEachSourceCounts(t *testing.T) {
	c := tinyCatalog(t, "x.state")
	old, new := snapshot("x.state", "2026-07-10", item("a", "no")), snapshot("x.state", "2026-10-07", item("b", "yes please"))
	f := findingOf(t, c, new, old)
	wantOutcome(t, f, evidence.OutcomeMet, "over 1 item")
	if len(f.Evidence) != 1 || f.Evidence[0].ID != new.ID {
		t.Errorf("want the later snapshot alone cited: %+v", f.Evidence)
	}
	wantOutcome(t, findingOf(t, c, snapshot("x.state", "2026-10-09", item("b", "yes please"))), evidence.OutcomeNotAvailable, "only for other times")
	wantOutcome(t, findingOf(t, c, old, cut(new, "region eu-west-1")), evidence.OutcomeNotAvailable, "region eu-west-1")

	other := snapshot("x.state", "2026-09-01", item("c", "no"))
	other.Provenance.Account = "another"
	f = findingOf(t, c, new, other)
	wantOutcome(t, f, evidence.OutcomeException, "good (1)")
	if f.Population != 2 || len(f.Evidence) != 2 {
		t.Errorf("want both accounts judged: %+v", f)
	}
}

func TestRunThatFailedBeforeItKnewTheAccountIsMadeGoodByALaterOne(t *testing.T) {
	c := tinyCatalog(t, "x.state")
	failed := cut(snapshot("x.state", "2026-09-01"), "sign-in")
	failed.Provenance.Account = ""
	good := snapshot("x.state", "2026-09-02", item("a", "yes please"))
	wantOutcome(t, findingOf(t, c, failed, good), evidence.OutcomeMet, "")
	good.CollectedAt = day("2026-08-31")
	wantOutcome(t, findingOf(t, c, failed, good), evidence.OutcomeNotAvailable, "sign-in")
}

// One source's evidence must not stand for another's, of which there is only
// what was collected before its window began.
func TestASourceOfWhichAllIsLeftOutIsNotAvailable(t *testing.T) {
	for kind, good := range map[string]evidence.Collected{
		"x.state": snapshot("x.state", "2026-10-01", item("a", "yes please")), "x.events": collected("x.events", "2026-07-01", "2026-10-01", item("a", "yes please")),
	} {
		c := tinyCatalog(t, kind)
		left := evidence.LeftOut{
			Citation:  evidence.Citation{Kind: good.Kind, CollectedAt: day("2026-06-30"), Window: q3, Completeness: evidence.Complete, Items: 1},
			Collector: good.Collector, System: good.Provenance.System, Account: "another", LogEntry: 1,
		}
		judged := func(left evidence.LeftOut, in ...evidence.Collected) evidence.Finding {
			t.Helper()
			a, err := c.Assess(Input{Period: q3, Evidence: in, LeftOut: []evidence.LeftOut{left}})
			if err != nil || len(a.LeftOut) != 1 {
				t.Fatal(a, err)
			}
			return a.Findings[0]
		}
		const why = " of another is left out: it was collected at 2026-06-30T00:00:00Z, before its window 2026-Q3 began"
		wantOutcome(t, judged(left, good), evidence.OutcomeNotAvailable, kind+why)
		wantOutcome(t, judged(left), evidence.OutcomeNotAvailable, kind+why)

		same := left
		same.Account = good.Provenance.Account
		wantOutcome(t, judged(same, good), evidence.OutcomeMet, "")
		other := left
		other.Kind = "x.other"
		wantOutcome(t, judged(other, good), evidence.OutcomeMet, "")

		failed := left // before it knew the account
		failed.Account, failed.Completeness, failed.Items = "", evidence.Incomplete, 0
		wantOutcome(t, judged(failed, good), evidence.OutcomeMet, "")
		wantOutcome(t, judged(failed), evidence.OutcomeNotAvailable, kind+" is left out")
	}
}

func TestEventsOutsideThePeriodAreLeftOut(t *testing.T) {
	c := tinyCatalog(t, "telemetry.refusals")
	e := collected("telemetry.refusals", "2026-06-01", "2026-11-01",
		item("1", "no", "time", "2026-06-30T23:59:59Z"), item("2", "yes please", "time", "2026-07-01T00:00:00Z"),
		item("3", "no", "time", "2026-10-01T00:00:00Z"), item("4", "no", "time", "someday"))
	f := findingOf(t, c, e)
	if len(f.Exceptions) != 1 || f.Exceptions[0].Item != "4" || f.Population != 2 {
		t.Errorf("want 2 and 4 tested (a time that cannot be read keeps an item in), got %+v", f)
	}
}

func TestMissingFieldIsAnErrorNeverMet(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	f := findingOf(t, c, collected("x.events", "2026-07-01", "2026-10-01", evidence.Item{ID: "a", Attributes: map[string]any{}}))
	wantOutcome(t, f, evidence.OutcomeError, "good (1)")
	if len(f.Exceptions) != 1 || f.Exceptions[0].Outcome != evidence.OutcomeError || !strings.Contains(f.Exceptions[0].Detail, "no such key: good") {
		t.Errorf("want the error told: %+v", f.Exceptions)
	}
	wantOutcome(t, findingOf(t, c, collected("x.events", "2026-07-01", "2026-10-01")), evidence.OutcomeNotApplicable, "nothing to test")
}

func TestSampleAndSimulatedClockAreCarried(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	e := collected("x.events", "2026-07-01", "2026-10-01", item("a", "yes please"))
	if f := findingOf(t, c, e); f.Sample || f.Clock != "" {
		t.Errorf("live evidence is called %v %q", f.Sample, f.Clock)
	}
	e.Provenance.Origin, e.Provenance.Clock = evidence.OriginSample, evidence.ClockSimulated
	if f := findingOf(t, c, e); !f.Sample || f.Clock != evidence.ClockSimulated {
		t.Errorf("sample evidence is called %v %q", f.Sample, f.Clock)
	}
	e.Provenance.Origin, e.Provenance.Clock = "", ""
	if f := findingOf(t, c, e); !f.Sample || f.Clock != evidence.ClockSimulated {
		t.Errorf("evidence that does not vouch for itself is called %v %q", f.Sample, f.Clock)
	}
}

func TestSameInputSameAssessment(t *testing.T) {
	c := mustBuiltin(t)
	var in []evidence.Collected
	for _, ctl := range c.controls {
		items, err := ctl.caseItems(ctl.file.Cases[1])
		if err != nil {
			t.Fatal(err)
		}
		for kind, list := range items {
			e := caseEvidence(kind, q3, list, "")
			e.ID, e.Provenance.Account = ctl.ID+kind, ctl.ID
			in = append(in, e)
		}
	}
	slices.SortFunc(in, func(a, b evidence.Collected) int { return strings.Compare(a.ID, b.ID) })
	first := assessment(t, c, in)
	slices.Reverse(in)
	if second := assessment(t, c, in); !bytes.Equal(first, second) {
		t.Error("the order of the evidence changes the assessment")
	}
	// Read back from a pack, every number is a float64.
	for i := range in {
		lines, err := in[i].Population.Lines()
		if err != nil {
			t.Fatal(err)
		}
		if in[i].Population, err = evidence.ParsePopulation(lines); err != nil {
			t.Fatal(err)
		}
	}
	if second := assessment(t, c, in); !bytes.Equal(first, second) {
		t.Error("evidence read back from a pack is judged differently")
	}
}

func assessment(t *testing.T, c *Catalog, in []evidence.Collected) []byte {
	t.Helper()
	a, err := c.Assess(Input{Period: q3, Evidence: in})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAssessmentJSON(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	a, err := c.Assess(Input{Period: q3, Evidence: []evidence.Collected{collected("x.events", "2026-07-01", "2026-10-01", item("a", "fine"))}, Policy: map[string]any{"XX-01.wanted": "fine"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		CatalogSHA256 string         `json:"catalog_sha256"`
		Policy        map[string]any `json:"policy"`
		Controls      []struct {
			ID         string               `json:"id"`
			Outcome    string               `json:"outcome"`
			Population int                  `json:"population"`
			Exceptions []evidence.Exception `json:"exceptions"`
		} `json:"controls"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.CatalogSHA256 != c.SHA256() || len(got.Controls) != 1 || got.Controls[0].ID != "XX-01" || got.Controls[0].Outcome != "met" ||
		got.Controls[0].Population != 1 || got.Controls[0].Exceptions == nil || got.Policy["XX-01.wanted"] != "fine" {
		t.Errorf("%s", b)
	}
}

func TestPolicyOverrides(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	for policy, want := range map[string]string{
		"wantd":        `policy: "wantd" is no parameter of the catalog (did you mean "wanted"?)`,
		"XX-02.wanted": `policy: "XX-02.wanted" is no parameter`,
	} {
		_, err := c.Assess(Input{Period: q3, Policy: map[string]any{policy: "x"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", policy, err)
		}
	}
	_, err := c.Assess(Input{Period: q3, Policy: map[string]any{"wanted": 3}})
	if err == nil || !strings.Contains(err.Error(), "want text, got a number") {
		t.Errorf("%v", err)
	}
	got, err := c.policies(map[string]any{"XX-01.wanted": "particular", "wanted": "general"})
	if err != nil || got["XX-01"]["wanted"] != "particular" {
		t.Errorf("want the particular to win: %v %v", got, err)
	}
	if _, err := c.Assess(Input{}); err == nil || !strings.Contains(err.Error(), "the period is empty") {
		t.Errorf("%v", err)
	}
}

func TestLookupIntoIncompleteEvidenceIsUndecidedUnlessFound(t *testing.T) {
	c := load(t, `
id: XX-01
title: Things have partners
stage: processing
criteria: [CC8.1]
objective: Each thing has a partner.
kinds: [x.things, x.partners]
attributes:
  - id: by-lookup
    title: by look-up
    kind: x.things
    test: lookup("x.partners", item.id).?fit.orValue(false)
    message: no partner
  - id: by-search
    title: by search
    kind: x.things
    test: item.id == "a" || items("x.partners").exists(p, p.id == item.id)
    message: no partner
`)
	things := collected("x.things", "2026-07-01", "2026-10-01", item("a", ""), item("b", ""), item("c", ""))
	partners := cut(collected("x.partners", "2026-07-01", "2026-10-01", item("a", "", "fit", true), item("b", "", "fit", false)), "page 2")
	f := findingOf(t, c, things, partners)
	wantOutcome(t, f, evidence.OutcomeNotAvailable, "page 2")
	if len(f.Exceptions) != 1 || f.Exceptions[0].Item != "b" || f.Exceptions[0].Attribute != "by-lookup" {
		t.Errorf("want b alone as an exception, since c may be on page 2: %+v", f.Exceptions)
	}
	if f.Attributes[0].Tested != 2 || f.Attributes[0].Passed != 1 || f.Attributes[1].Tested != 1 {
		t.Errorf("want what stays unknown not counted: %+v", f.Attributes)
	}
}

func TestCostIsBounded(t *testing.T) {
	c := load(t, `
id: XX-01
title: Costly
stage: processing
criteria: [CC8.1]
objective: Compares everything with everything, three times over.
kinds: [x.events]
attributes:
  - id: costly
    title: costly
    kind: x.events
    test: items("x.events").all(a, items("x.events").all(b, items("x.events").all(d, a.id + b.id + d.id != item.id)))
    message: costly
`)
	var items []evidence.Item
	for i := range 40 {
		items = append(items, item(fmt.Sprintf("%04d", i), ""))
	}
	f := findingOf(t, c, collected("x.events", "2026-07-01", "2026-10-01", items...))
	wantOutcome(t, f, evidence.OutcomeError, "costly")
	if f.Attributes[0].Errors != 40 || !strings.Contains(f.Exceptions[0].Detail, "cost limit") {
		t.Errorf("%d errors, %s", f.Attributes[0].Errors, f.Exceptions[0].Detail)
	}
}

func TestAttributesOfOwnTypesAreRead(t *testing.T) {
	type limits map[string]int
	c := load(t, strings.Replace(fmt.Sprintf(tiny, "x.events", "x.events"), "item.good == policy.wanted", "item.limits.lines == 10 && policy.wanted != ''", 1))
	e := collected("x.events", "2026-07-01", "2026-10-01", item("a", "", "limits", limits{"lines": 10}))
	wantOutcome(t, findingOf(t, c, e), evidence.OutcomeMet, "")
	if reflect.DeepEqual(e.Population.Items[0].Attributes["limits"], map[string]any{"lines": 10.0}) {
		t.Error("assessing has changed the evidence")
	}
	bad := collected("x.events", "2026-07-01", "2026-10-01", item("a", "", "limits", func() {}))
	if _, err := c.Assess(Input{Period: q3, Evidence: []evidence.Collected{bad}}); err == nil || !strings.Contains(err.Error(), `item "a": limits`) {
		t.Errorf("want a clear error, got %v", err)
	}
}

// 100,000 items and 4 attributes, one of which joins.
func BenchmarkAssess(b *testing.B) {
	c := mustBuiltin(b)
	one := &Catalog{files: c.files}
	for _, ctl := range c.controls {
		if ctl.ID == "PR-07" {
			one.controls = append(one.controls, ctl)
		}
	}
	const n = 100_000
	commits, changes := make([]evidence.Item, n), make([]evidence.Item, n)
	for i := range n {
		id := fmt.Sprintf("%040x", i)
		commits[i] = evidence.Item{ID: id, Attributes: map[string]any{"author_name": "A", "subject": "s", "branch": "main"}}
		changes[i] = evidence.Item{ID: id, Attributes: map[string]any{"class": "approved", "why": "w", "pr": 1, "checks_green": true, "author": "a"}}
	}
	in := Input{Period: q3, Evidence: []evidence.Collected{
		collected("git.commits", "2026-07-01", "2026-10-01", commits...),
		collected("github.changes", "2026-07-01", "2026-10-01", changes...),
		snapshot("git.repository", "2026-09-30", evidence.Item{ID: "r", Attributes: map[string]any{"shallow": false}}),
	}}
	for b.Loop() {
		a, err := one.Assess(in)
		if err != nil || a.Findings[0].Outcome != evidence.OutcomeMet {
			b.Fatal(err, a.Findings[0].Reason)
		}
	}
	b.ReportMetric(float64(4*n*b.N)/b.Elapsed().Seconds(), "tests/s")
}
