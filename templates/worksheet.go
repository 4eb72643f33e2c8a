package templates

import (
	"fmt"
	"io"
	"strings"

	"trustpack/evidence"
)

// Sampled is a drawn sample as its worksheet shows it.
type Sampled struct {
	Kind       evidence.Kind
	Population int    // items it was drawn from
	Root       string // of the pack's tree, hex
	Seed       string // the auditor's digits
	Size       string // as asked for, in words
	Stratify   string // attribute, or empty
	Method     string
	Rows       []SampledItem
}

// SampledItem is one item in the order drawn.
type SampledItem struct {
	Number  int // in its stratum
	Stratum string
	Item    evidence.Item
}

// Worksheet writes the paper that an auditor tests a sample on: what was drawn
// and how, then a row for each item with its fields, what the pack found, and
// for each test of a control over this kind a cell to fill in. Equal input
// gives equal bytes.
func Worksheet(w io.Writer, v View, s Sampled) error {
	if err := v.check(); err != nil {
		return fmt.Errorf("writing worksheet: %w", err)
	}
	if err := writeWorksheet(w, v, s); err != nil {
		return fmt.Errorf("writing worksheet: %w", err)
	}
	return nil
}

func writeWorksheet(w io.Writer, v View, s Sampled) error {
	return writeBook(w, v, "Worksheet of a sample of "+string(s.Kind), maxSheetRows, func(b *book) error {
		for _, t := range []table{drawnTable(v, s), sampleTable(v, s)} {
			if err := b.add(t); err != nil {
				return fmt.Errorf("sheet %s: %w", t.name, err)
			}
		}
		return nil
	})
}

// drawnTable says how the sample was drawn, so that a reader can draw it again.
func drawnTable(v View, s Sampled) table {
	rows := [][]any{
		{"Organisation", v.Organisation}, {"System", v.System}, {"Period", v.Period.String()},
		{"Population", string(s.Kind)}, {"Items in the population", s.Population}, {"Items drawn", len(s.Rows)},
		{"Size asked for", s.Size}, {"Stratified by", s.Stratify}, {"Seed (auditor's digits)", s.Seed},
		{"Root of the pack's tree", s.Root}, {"Method", s.Method},
		{"Filling in", "For each item and test: pass, fail or not applicable, with what was looked at under Note. What the pack found stands beside, and is no test of yours."},
	}
	return table{name: "Sample", banner: warning(v), header: []string{"What", "Value"}, rows: fixed(rows), left: true,
		wide: map[string]float64{"What": 28, "Value": 90}}
}

// sampleTest is a test of a control that a sampled kind is put to.
type sampleTest struct {
	column     string
	exceptions map[string][]string // by item
	outcome    evidence.Outcome
}

func sampleTests(v View, kind evidence.Kind) []sampleTest {
	var out []sampleTest
	for _, j := range v.judgedControls() {
		for _, a := range j.Finding.Attributes {
			if a.Kind != kind {
				continue
			}
			t := sampleTest{column: j.ID + ": " + a.Title, exceptions: map[string][]string{}, outcome: a.Outcome}
			for _, x := range j.Finding.Exceptions {
				if x.Attribute == a.ID && x.Kind == kind {
					t.exceptions[x.Item] = append(t.exceptions[x.Item], string(known(x.Outcome))+": "+x.Detail)
				}
			}
			out = append(out, t)
		}
	}
	return out
}

// found is what the pack says of an item under the test.
func (t sampleTest) found(item string) string {
	if texts := t.exceptions[item]; len(texts) > 0 {
		return strings.Join(texts, "; ")
	}
	switch t.outcome {
	case evidence.OutcomeMet, evidence.OutcomeException:
		return "no exception"
	}
	return outcomeWord(t.outcome)
}

func sampleTable(v View, s Sampled) table {
	union := evidence.Item{Attributes: map[string]any{}}
	for _, r := range s.Rows {
		for k := range r.Item.Attributes {
			union.Attributes[k] = nil
		}
	}
	names := fieldNames(union)
	tests := sampleTests(v, s.Kind)
	header := append([]string{"Draw", "Number", "Stratum", "id"}, names...)
	for _, t := range tests {
		header = append(header, t.column+" (the pack found)", t.column+" (auditor)")
	}
	header = append(header, "Tested by", "Date", "Note")
	rows := func(yield func([]any) bool) {
		for i, r := range s.Rows {
			row := []any{i + 1, r.Number, r.Stratum, r.Item.ID}
			for _, n := range names {
				value, ok := r.Item.Attributes[n]
				row = append(row, populationCell(value, ok))
			}
			for _, t := range tests {
				row = append(row, t.found(r.Item.ID), nil)
			}
			if !yield(append(row, nil, nil, nil)) {
				return
			}
		}
	}
	return table{name: string(s.Kind), banner: warning(v), header: header, rows: rows}
}
