package templates

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"trustpack/evidence"
)

func drawnPulls(t *testing.T, v View) Sampled {
	t.Helper()
	s := Sampled{Kind: "telemetry.provisioning", Population: 2, Root: strings.Repeat("ab", 32), Seed: "2026", Size: "by the size of the population", Method: "as drawn"}
	for _, e := range v.Evidence {
		if e.Kind == s.Kind {
			for i, it := range e.Population.Items {
				s.Rows = append(s.Rows, SampledItem{Number: i + 1, Stratum: "=1+1", Item: it})
			}
		}
	}
	if len(s.Rows) != 2 {
		t.Fatalf("%d rows", len(s.Rows))
	}
	return s
}

func worksheet(t *testing.T, v View, s Sampled) ([]byte, *excelize.File) {
	t.Helper()
	var b bytes.Buffer
	if err := Worksheet(&b, v, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), reopened(t, b.Bytes())
}

// TestWorksheetHasACellForEachTest: each drawn item has its fields, what the
// pack found under each test of its kind, and an empty cell for the auditor.
func TestWorksheetHasACellForEachTest(t *testing.T) {
	v := exampleView(t)
	s := drawnPulls(t, v)
	var tests, ids []string
	for i, f := range v.Findings {
		if slices.ContainsFunc(f.Attributes, func(a evidence.AttributeFinding) bool { return a.Kind == s.Kind }) {
			f.Attributes = append(slices.Clone(f.Attributes), evidence.AttributeFinding{ID: "another", Title: "Another test", Kind: s.Kind, Outcome: evidence.OutcomeException})
			v.Findings[i].Attributes = f.Attributes
		}
		for _, a := range f.Attributes {
			if a.Kind == s.Kind {
				tests, ids = append(tests, f.Control+": "+a.Title), append(ids, a.ID)
				v.Findings[i].Exceptions = append(v.Findings[i].Exceptions, evidence.Exception{Attribute: a.ID, Kind: s.Kind, Item: s.Rows[1].Item.ID, Outcome: evidence.OutcomeException, Detail: "=HYPERLINK(1) " + a.ID})
			}
		}
	}
	if len(tests) == 0 {
		t.Fatal("the example tests no provisioning")
	}
	_, f := worksheet(t, v, s)
	rows := rowsOf(t, f, string(s.Kind))
	if len(rows) != 4 || !strings.Contains(rows[0][0], "SIMULATED CLOCK") {
		t.Fatalf("%d rows, the first %q", len(rows), rows[0])
	}
	head := rows[1]
	for i, test := range tests {
		at := slices.Index(head, test+" (the pack found)")
		if at < 0 || head[at+1] != test+" (auditor)" {
			t.Fatalf("no columns for %q in %q", test, head)
		}
		if rows[3][at] != "exception: =HYPERLINK(1) "+ids[i] || rows[2][at] == rows[3][at] || rows[2][at] == "" {
			t.Errorf("%s: found %q and %q", test, rows[2][at], rows[3][at])
		}
		if len(rows[3]) > at+1 && rows[3][at+1] != "" {
			t.Errorf("%s: the auditor's cell holds %q", test, rows[3][at+1])
		}
	}
	for i, want := range []string{"1", "1", "=1+1", s.Rows[0].Item.ID} {
		if rows[2][i] != want {
			t.Errorf("column %s is %q, want %q", head[i], rows[2][i], want)
		}
	}
	for _, sheet := range f.GetSheetList() {
		for r, row := range rowsOf(t, f, sheet) {
			for c := range row {
				cell, err := excelize.CoordinatesToCellName(c+1, r+1)
				if err != nil {
					t.Fatal(err)
				}
				if formula, err := f.GetCellFormula(sheet, cell); err != nil || formula != "" {
					t.Errorf("%s %s is a formula: %q, %v", sheet, cell, formula, err)
				}
			}
		}
	}
	how := rowsOf(t, f, "Sample")
	for what, want := range map[string]string{"Seed (auditor's digits)": "2026", "Root of the pack's tree": s.Root, "Items in the population": "2", "Items drawn": "2", "Population": string(s.Kind)} {
		if !slices.ContainsFunc(how, func(r []string) bool { return len(r) > 1 && r[0] == what && r[1] == want }) {
			t.Errorf("the sheet Sample does not say %s: %s", what, want)
		}
	}
}

func TestWorksheetTwiceIsTheSame(t *testing.T) {
	v := exampleView(t)
	s := drawnPulls(t, v)
	one, _ := worksheet(t, v, s)
	two, _ := worksheet(t, v, s)
	if !bytes.Equal(one, two) {
		t.Error("two worksheets of the same sample differ")
	}
}
