package templates

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"trustpack/evidence"
)

// maxSheetRows is what a sheet of the format can hold.
const maxSheetRows = 1_048_576

// Workbook writes the view as an XLSX workbook: Summary, Controls, Exceptions,
// Evidence index, and every population in full, one sheet for each kind (more
// where a population is longer than a sheet can be). All text is written as
// text cells in the text format, so that nothing is ever taken for a formula.
// Equal views give equal bytes.
func Workbook(w io.Writer, v View) error {
	if err := v.check(); err != nil {
		return fmt.Errorf("writing workbook: %w", err)
	}
	if err := writeWorkbook(w, v, maxSheetRows); err != nil {
		return fmt.Errorf("writing workbook: %w", err)
	}
	return nil
}

func writeWorkbook(w io.Writer, v View, maxRows int) error {
	return writeBook(w, v, "Evidence workbook", maxRows, func(b *book) error {
		controls := v.judgedControls()
		for _, t := range []table{summaryTable(v, controls), controlsTable(v, controls), exceptionsTable(v, controls), evidenceTable(v, controls)} {
			if err := b.add(t); err != nil {
				return fmt.Errorf("sheet %s: %w", t.name, err)
			}
		}
		return b.populations(v, controls)
	})
}

// writeBook writes a workbook whose sheets fill adds.
func writeBook(w io.Writer, v View, what string, maxRows int, fill func(*book) error) (err error) {
	f := excelize.NewFile()
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	f.SetZipWriter(func(out io.Writer) excelize.ZipWriter { return &sortedZip{out: out} })
	b := &book{file: f, used: map[string]bool{}, maxRows: maxRows, warning: v.banner().Short}
	if err := b.styles(); err != nil {
		return err
	}
	if err := fill(b); err != nil {
		return err
	}
	if err := setProperties(f, v, what); err != nil {
		return err
	}
	return f.Write(w)
}

// setProperties names the document; its times are those of the evidence.
func setProperties(f *excelize.File, v View, what string) error {
	when := v.AsOf
	if when.IsZero() {
		when = v.Period.To
	}
	at := when.UTC().Format(time.RFC3339)
	title := strings.TrimPrefix(v.banner().Short+": "+what+", "+v.System+", "+v.Period.String(), ": ")
	if err := f.SetDocProps(&excelize.DocProperties{Title: line(title), Creator: line(v.Tool), LastModifiedBy: line(v.Tool),
		Created: at, Modified: at, Language: "en", Category: line(v.banner().Short)}); err != nil {
		return fmt.Errorf("setting properties: %w", err)
	}
	return nil
}

// table is one sheet to be: a banner, a header and rows of cell values.
type table struct {
	name   string
	banner string
	header []string
	left   bool               // numbers stand left, as in a list of facts
	wide   map[string]float64 // column widths that the content alone would not give
	rows   func(yield func([]any) bool)
}

// fixed makes the rows of a small table.
func fixed(rows [][]any) func(func([]any) bool) {
	return func(yield func([]any) bool) {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}
}

// warning is the banner row of a sheet about the whole view.
func warning(v View) string {
	b := v.banner()
	if b.Short == "" {
		return ""
	}
	return b.Short + ": " + b.Brief
}

func summaryTable(v View, controls []judged) table {
	rows := [][]any{
		{"Organisation", v.Organisation}, {"System", v.System}, {"Period", v.Period.String()},
		{"Days covered (UTC)", span(v.Period)}, {"Evidence as of", stamp(v.AsOf)},
		{"Sample data", v.sampled()}, {"Simulated clock", v.simulated()},
		{"Made with", v.Tool}, {"Catalog SHA-256", v.CatalogSHA256}, {"Controls", len(controls)},
	}
	exceptions := 0
	for _, t := range tallies(controls) {
		rows = append(rows, []any{"Controls: " + strings.ToLower(outcomeWord(t.Outcome)), t.N})
	}
	for _, j := range controls {
		exceptions += len(j.Finding.Exceptions)
	}
	rows = append(rows, []any{"Exceptions in all", exceptions}, []any{"Collections of evidence", len(v.evidenceByID())},
		[]any{"Reading outcomes", "Only Met is a pass. Not available means that evidence is missing or incomplete; not applicable that complete evidence held nothing to test."},
		[]any{"Reading values", "An empty cell means that an item has no such field; null is a value that the source gave. Lists and objects are compact JSON. Hidden characters are shown by name, such as ␛."})
	return table{name: "Summary", banner: warning(v), header: []string{"What", "Value"}, rows: fixed(rows), left: true,
		wide: map[string]float64{"What": 28, "Value": 90}}
}

func controlsTable(v View, controls []judged) table {
	var rows [][]any
	for _, j := range controls {
		f := j.Finding
		base := []any{j.Stage.Title(), j.ID, j.Title, commas(j.Criteria), outcomeWord(f.Outcome), f.Reason}
		rows = append(rows, slices.Concat(base, []any{"whole control", "", outcomeWord(f.Outcome), nil, nil, nil, nil, len(f.Exceptions), f.Population, commas(j.Missing), j.Objective, j.Guidance}))
		for _, a := range f.Attributes {
			rows = append(rows, slices.Concat(base, []any{a.Title, string(a.Kind), outcomeWord(a.Outcome), a.Tested, a.Passed, a.Failed, a.Errors}))
		}
	}
	return table{name: "Controls", banner: warning(v), rows: fixed(rows), header: []string{"Stage", "Control", "Title", "Criteria", "Control outcome", "Control reason",
		"Test", "Population", "Outcome", "Tested", "Passed", "Failed", "Errors", "Exceptions", "Items tested in all", "Missing evidence", "Objective", "Guidance"}}
}

func exceptionsTable(v View, controls []judged) table {
	var rows [][]any
	for _, j := range controls {
		for _, x := range j.Finding.Exceptions {
			item := any(x.Item)
			if x.Item == "" {
				item = "(the whole population)"
			}
			rows = append(rows, []any{j.Stage.Title(), j.ID, j.Title, x.Attribute, string(x.Kind), item, outcomeWord(known(x.Outcome)), x.Detail, x.Waiver})
		}
	}
	return table{name: "Exceptions", banner: warning(v), rows: fixed(rows),
		header: []string{"Stage", "Control", "Title", "Test", "Population", "Item", "Outcome", "Detail", "Waiver"}}
}

func evidenceTable(v View, controls []judged) table {
	cited := citations(controls)
	var rows [][]any
	for _, e := range v.sortedEvidence() {
		var expected any
		if e.Completeness.Expected != nil {
			expected = *e.Completeness.Expected
		}
		var gaps []string
		for _, g := range e.Completeness.Gaps {
			gaps = append(gaps, g.What+": "+g.Reason)
		}
		failed := 0
		for _, q := range e.Provenance.Requests {
			if q.Error != "" {
				failed++
			}
		}
		p := e.Provenance
		rows = append(rows, []any{string(e.Kind), stamp(e.CollectedAt), e.Window.String(), e.Snapshot, len(e.Population.Items), string(wholeness(e.Completeness)),
			e.Completeness.Basis, expected, e.Completeness.Got, strings.Join(gaps, "; "), e.Completeness.Note, p.System, p.Account, p.Principal,
			string(p.Origin), string(p.Clock), len(p.Requests), failed, p.Tool, strings.Join(cited[e.ID], ", "), e.ID})
	}
	for _, l := range v.LeftOut {
		rows = append(rows, []any{string(l.Kind), stamp(l.CollectedAt), l.Window.String(), nil, l.Items, "left out", nil, nil, nil, nil,
			fmt.Sprintf("%s; entry %d of the evidence log", l.Why(), l.LogEntry), l.System, l.Account, nil, string(l.Origin), nil, nil, nil, nil, nil, l.ID})
	}
	return table{name: "Evidence index", banner: warning(v), rows: fixed(rows), header: []string{"Kind", "Collected at", "Window", "Snapshot", "Items", "Completeness",
		"Basis", "Expected", "Got", "Gaps", "Note", "System", "Account", "Principal", "Origin", "Clock", "Requests", "Failed requests", "Tool", "Cited by", "Evidence ID"}}
}

// commas joins IDs of any string type.
func commas[T ~string](ids []T) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return strings.Join(out, ", ")
}

// populationTable is every member of one kind, the columns being the union of
// their fields: id, then the others by name, then the evidence it came from.
func populationTable(v View, kind evidence.Kind, members []member, from []evidence.Collected) table {
	union := evidence.Item{Attributes: map[string]any{}}
	for _, m := range members {
		for k := range m.Attributes {
			union.Attributes[k] = nil
		}
	}
	names := fieldNames(union)
	header := append(append([]string{"id"}, names...), "(evidence ID)")
	rows := func(yield func([]any) bool) {
		for _, m := range members {
			row := make([]any, 0, len(header))
			row = append(row, m.ID)
			for _, n := range names {
				value, ok := m.Attributes[n]
				row = append(row, populationCell(value, ok))
			}
			if !yield(append(row, m.From)) {
				return
			}
		}
	}
	return table{name: string(kind), banner: populationWarning(v, from), header: header, rows: rows}
}

// populationCell keeps numbers and truth values as such and makes text of all
// else; nil, an empty cell, stands for a field that the item does not have.
func populationCell(value any, present bool) any {
	if !present {
		return nil
	}
	switch value.(type) {
	case bool, int, int64, float64, string:
		return value
	}
	return valueText(value)
}

// populationWarning says what of the population itself is not real; in a
// sample's workbook a live population is named as such.
func populationWarning(v View, from []evidence.Collected) string {
	own := View{Evidence: from}
	whole := v.banner()
	if whole.Short == "" {
		return ""
	}
	if text := warning(own); text != "" {
		return text
	}
	return whole.Short + " elsewhere in this workbook. This population was collected from a live source on the system's clock."
}

func (b *book) populations(v View, controls []judged) error {
	cited := map[string]bool{}
	for id := range citations(controls) {
		cited[id] = true
	}
	all := v.sortedEvidence()
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Kind == all[0].Kind {
			n++
		}
		members, from := population(all[:n], cited)
		if err := b.add(populationTable(v, all[0].Kind, members, from)); err != nil {
			return fmt.Errorf("sheet for %s: %w", all[0].Kind, err)
		}
		all = all[n:]
	}
	return nil
}
