package evidence

import (
	"strings"
	"testing"
	"time"
)

func TestParsePeriod(t *testing.T) {
	for in, want := range map[string]string{
		"2026-Q3":               "2026-07-01 2026-10-01 2026-Q3",
		"2026-Q4":               "2026-10-01 2027-01-01 2026-Q4",
		"2026-12":               "2026-12-01 2027-01-01 2026-12",
		"2026-07-01/2026-10-01": "2026-07-01 2026-10-01 2026-Q3",
		"2026-07-01/2026-07-03": "2026-07-01 2026-07-03 2026-07-01/2026-07-03",
	} {
		p, err := ParsePeriod(in)
		if err != nil {
			t.Errorf("ParsePeriod(%q): %v", in, err)
			continue
		}
		if got := p.From.Format(time.DateOnly) + " " + p.To.Format(time.DateOnly) + " " + p.String(); got != want {
			t.Errorf("ParsePeriod(%q) = %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "2026", "2026-Q5", "2026-13", "2026-10-01/2026-07-01", "2026-07-01/2026-07-01", "2026-02-30/2026-03-01", "Q3-2026"} {
		if p, err := ParsePeriod(in); err == nil {
			t.Errorf("ParsePeriod(%q) = %v, want an error", in, p)
		}
	}
}

func TestPeriodIsHalfOpen(t *testing.T) {
	p, err := ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Contains(p.From) || p.Contains(p.To) || !p.Contains(p.To.Add(-1)) {
		t.Error("the first instant must be in the period and the last must not")
	}
}

func TestCanonicalJSONSortsStructFields(t *testing.T) {
	got, err := CanonicalJSON(struct {
		B string         `json:"b"`
		A map[string]any `json:"a"`
	}{"<&>", map[string]any{"z": 1, "y": []any{true, nil, 1.5}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":{"y":[true,null,1.5],"z":1},"b":"<&>"}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPopulationLines(t *testing.T) {
	p := Population{Items: []Item{{"b", map[string]any{"n": 2}}, {"a", map[string]any{"n": 1}}}}
	lines, err := p.Lines()
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\"id\":\"a\",\"n\":1}\n{\"id\":\"b\",\"n\":2}\n"; string(lines) != want {
		t.Errorf("got %q, want %q", lines, want)
	}
	back, err := ParsePopulation(lines)
	if err != nil || len(back.Items) != 2 || back.Items[1].ID != "b" {
		t.Errorf("ParsePopulation = %v, %v", back, err)
	}
	for name, bad := range map[string][]Item{
		"twice":   {{"a", nil}, {"a", nil}},
		"no id":   {{"", nil}},
		"another": {{"a", map[string]any{"id": "b"}}},
	} {
		if _, err := (Population{Items: bad}).Lines(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that says so", name, err)
		}
	}
}

func TestRecordCommitsToEverything(t *testing.T) {
	base := func() Evidence {
		return Evidence{Kind: "x.y", Population: Population{[]Item{{"a", nil}}}, Raw: []RawReply{{Name: "r", Body: []byte("1")}}}
	}
	id := func(e Evidence) string {
		t.Helper()
		_, _, id, err := RecordOf(e)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := id(base())
	changed := map[string]func(*Evidence){
		"kind":       func(e *Evidence) { e.Kind = "x.z" },
		"population": func(e *Evidence) { e.Population.Items[0].Attributes = map[string]any{"k": 1} },
		"raw":        func(e *Evidence) { e.Raw[0].Body = []byte("2") },
		"request":    func(e *Evidence) { e.Provenance.Requests = []Request{{Method: "GET"}} },
		"gap":        func(e *Evidence) { e.Completeness.Gaps = []Gap{{"page 2", "500"}} },
	}
	for name, change := range changed {
		e := base()
		change(&e)
		if id(e) == first {
			t.Errorf("a change of the %s left the record's ID as it was", name)
		}
	}
	if id(base()) != first {
		t.Error("equal evidence has two IDs")
	}
}
