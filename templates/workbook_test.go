package templates

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"trustpack/evidence"
)

func opened(t *testing.T, v View, maxRows int) (*excelize.File, []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := writeWorkbook(&b, v, maxRows); err != nil {
		t.Fatal(err)
	}
	return reopened(t, b.Bytes()), b.Bytes()
}

// reopened is a workbook as another program reads it.
func reopened(t *testing.T, raw []byte) *excelize.File {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func rowsOf(t *testing.T, f *excelize.File, sheet string) [][]string {
	t.Helper()
	rows, err := f.GetRows(sheet)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestWorkbookSheets(t *testing.T) {
	v := exampleView(t)
	f, _ := opened(t, v, maxSheetRows)
	sheets := f.GetSheetList()
	if got := strings.Join(sheets[:4], ","); got != "Summary,Controls,Exceptions,Evidence index" {
		t.Errorf("first sheets are %s", got)
	}
	for _, e := range v.Evidence {
		rows := rowsOf(t, f, string(e.Kind))
		if got, want := len(rows), len(e.Population.Items)+2; got != want {
			t.Errorf("%s has %d rows, want %d: banner, header, items", e.Kind, got, want)
		}
		if !strings.Contains(rows[0][0], "SIMULATED CLOCK") {
			t.Errorf("%s: the first row is no banner: %q", e.Kind, rows[0][0])
		}
		if rows[1][0] != "id" || !slices.IsSorted(rows[1][1:len(rows[1])-1]) || rows[1][len(rows[1])-1] != "(evidence ID)" {
			t.Errorf("%s: header is %q", e.Kind, rows[1])
		}
		if page, err := f.GetPageLayout(string(e.Kind)); err != nil || page.Orientation == nil || *page.Orientation != "landscape" || page.FitToHeight == nil || *page.FitToHeight != 0 {
			t.Errorf("%s: page layout is %+v, %v", e.Kind, page, err)
		}
		if printed, err := f.GetHeaderFooter(string(e.Kind)); err != nil || !strings.Contains(printed.OddHeader, "SAMPLE DATA") {
			t.Errorf("%s: the printed page doesn't warn: %+v, %v", e.Kind, printed, err)
		}
		panes, err := f.GetPanes(string(e.Kind))
		if err != nil || !panes.Freeze || panes.YSplit != 2 {
			t.Errorf("%s: the header isn't frozen: %+v, %v", e.Kind, panes, err)
		}
	}
	filters := 0
	for _, d := range f.GetDefinedName() {
		if d.Name == "_xlnm._FilterDatabase" {
			filters++
		}
	}
	if filters != len(sheets) {
		t.Errorf("%d of %d sheets have a filter", filters, len(sheets))
	}
	var details []string
	for _, r := range rowsOf(t, f, "Exceptions")[2:] {
		details = append(details, r[1]+" "+r[5]+" "+r[7])
	}
	for _, x := range v.Findings {
		for _, e := range x.Exceptions {
			if !slices.Contains(details, x.Control+" "+e.Item+" "+e.Detail) {
				t.Errorf("exception %s of %s isn't on its sheet", e.Item, x.Control)
			}
		}
	}
}

func TestWorkbookCells(t *testing.T) {
	f, _ := opened(t, exampleView(t), maxSheetRows)
	rows := rowsOf(t, f, "aws.log-groups")
	column := slices.Index(rows[1], "retention_days")
	if got := rows[3][column]; got != "null" {
		t.Errorf("a group that never expires shows %q, want null", got)
	}
	cell, err := excelize.CoordinatesToCellName(column+1, 3)
	if err != nil {
		t.Fatal(err)
	}
	kind, err := f.GetCellType("aws.log-groups", cell)
	if err != nil || (kind != excelize.CellTypeUnset && kind != excelize.CellTypeNumber) || rows[2][column] != "30" {
		t.Errorf("a number is kept as type %v, %q, %v", kind, rows[2][column], err)
	}
	rows = rowsOf(t, f, "rollout.rollouts")
	if got, want := rows[2][slices.Index(rows[1], "stages")], `[{"devices":16,"name":"canary","percent_of_fleet":40}]`; got != want {
		t.Errorf("a list shows %s, want %s", got, want)
	}
}

func TestWorkbookBanner(t *testing.T) {
	f, _ := opened(t, realView(t), maxSheetRows)
	for _, s := range f.GetSheetList() {
		for _, r := range rowsOf(t, f, s) {
			for _, c := range r {
				if strings.Contains(c, "SAMPLE") || strings.Contains(c, "SIMULATED") {
					t.Errorf("the real thing says %q on sheet %s", c, s)
				}
			}
		}
	}
	v := realView(t)
	for i := range v.Evidence {
		if v.Evidence[i].Kind == "aws.users" {
			v.Evidence[i].Provenance.Origin = evidence.OriginSample
		}
	}
	f, _ = opened(t, v, maxSheetRows)
	for _, s := range f.GetSheetList() {
		got := rowsOf(t, f, s)[0][0]
		live := strings.Contains(s, ".") && s != "aws.users" // the sheets of the other populations
		if !strings.HasPrefix(got, "SAMPLE DATA") || live != strings.Contains(got, "live source on the system's clock") {
			t.Errorf("sheet %s begins with %q", s, got)
		}
	}
}

// TestWorkbookTakesNothingForFormula looks into the parts themselves: no cell
// may hold a formula, and every text must be a text cell in the text format.
func TestWorkbookTakesNothingForFormula(t *testing.T) {
	v := hostileView(t)
	v.Evidence = append(v.Evidence, evidence.Collected{ID: "x", Evidence: evidence.Evidence{Kind: "lead.ing", Population: evidence.Population{Items: []evidence.Item{
		{ID: "=1+1", Attributes: map[string]any{"a": "+1", "b": "-1", "c": "@SUM(1)", "d": "\t=1", "=e": "\r=1"}}}}}})
	f, raw := opened(t, v, maxSheetRows)
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range z.File {
		r, err := p.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(body, []byte("<f>")) || bytes.Contains(body, []byte(`t="str"`)) || bytes.Contains(body, []byte("<hyperlink")) {
			t.Errorf("%s holds a formula or a link", p.Name)
		}
		if at := lookHidden(string(body)); at != "" {
			t.Errorf("%s holds a character that nobody can see: %s", p.Name, at)
		}
	}
	rows := rowsOf(t, f, "lead.ing")
	last := len(rows)
	for i, want := range []string{"=1+1", "␍=1", "+1", "-1", "@SUM(1)", "␉=1"} {
		cell, err := excelize.CoordinatesToCellName(i+1, last)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.GetCellValue("lead.ing", cell)
		if err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", cell, got, err, want)
		}
		if kind, err := f.GetCellType("lead.ing", cell); err != nil || kind != excelize.CellTypeInlineString {
			t.Errorf("%s has type %v, %v", cell, kind, err)
		}
		id, err := f.GetCellStyle("lead.ing", cell)
		if err != nil {
			t.Fatal(err)
		}
		style, err := f.GetStyle(id)
		if err != nil || style.NumFmt != textFormat {
			t.Errorf("%s isn't in the text format, so editing it would make it a formula: %+v, %v", cell, style, err)
		}
	}
	for _, s := range f.GetSheetList() {
		if units(s) > 31 || strings.ContainsAny(s, `:\/?*[]`) {
			t.Errorf("sheet name %q", s)
		}
	}
}

func TestWorkbookSplitsLongPopulations(t *testing.T) {
	v := realView(t)
	f, _ := opened(t, v, 15) // header and 14 items a sheet
	total := 0
	for _, s := range []string{"telemetry.devices", "telemetry.devices (2)", "telemetry.devices (3)"} {
		rows := rowsOf(t, f, s)
		if rows[0][0] != "id" || len(rows) > 15 {
			t.Errorf("sheet %s: %d rows under %q", s, len(rows), rows[0])
		}
		total += len(rows) - 1
	}
	if total != 40 {
		t.Errorf("%d devices on all sheets, want 40", total)
	}
}

func TestWorkbookIsStoredSortedAndDated(t *testing.T) {
	v := exampleView(t)
	f, raw := opened(t, v, maxSheetRows)
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range z.File {
		names = append(names, p.Name)
		if p.Method != zip.Store || p.Modified.UTC().Year() != 1980 {
			t.Errorf("%s: method %d, time %s", p.Name, p.Method, p.Modified)
		}
	}
	if names[0] != contentTypes || !slices.IsSorted(names[1:]) {
		t.Errorf("parts are in the order %q", names)
	}
	props, err := f.GetDocProps()
	if err != nil || props.Created != v.AsOf.Format(time.RFC3339) || props.Modified != props.Created || !strings.HasPrefix(props.Title, "SAMPLE DATA") {
		t.Errorf("properties are %+v, %v", props, err)
	}
}

func TestCellText(t *testing.T) {
	long := strings.Repeat("😀", 20_000) // two units each
	got := cellText(long)
	if units(got) > maxCellUnits || !strings.Contains(got, "20000 characters in all") || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("a long text became %d units ending %q", units(got), got[len(got)-80:])
	}
	if got := cellText("short"); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestSheetNames(t *testing.T) {
	b := &book{used: map[string]bool{}}
	seen := map[string]bool{}
	for _, want := range []string{"History", "", "'quoted'", "a/b:c?d*e[f]g", "telemetry.a-kind-with-a-very-long-name", "telemetry.a-kind-with-a-very-long-name-too", "TELEMETRY.A-KIND-WITH-A-VERY-LONG-NAME", "\x1b", strings.Repeat("😀", 40)} {
		for part := range 3 {
			name := b.name(want, part+1)
			key := strings.ToLower(name)
			if seen[key] || units(name) > 31 || name == "" || strings.HasPrefix(name, "'") || strings.HasSuffix(name, "'") || strings.ContainsAny(name, `:\/?*[]`) {
				t.Errorf("name(%q, %d) = %q", want, part+1, name)
			}
			seen[key] = true
		}
	}
	if !seen["sheet history"] {
		t.Error("a reserved name was used")
	}
}

func TestPopulationJoin(t *testing.T) {
	record := func(id string, snapshot bool, day int, ids ...string) evidence.Collected {
		c := evidence.Collected{ID: id, Evidence: evidence.Evidence{Kind: "x.y", Snapshot: snapshot, CollectedAt: time.Date(2026, 8, day, 0, 0, 0, 0, time.UTC)}}
		for _, i := range ids {
			c.Population.Items = append(c.Population.Items, evidence.Item{ID: i})
		}
		return c
	}
	other := record("other", true, 1, "c") // of another account
	other.Provenance.Account = "222233334444"
	show := func(all []evidence.Collected, cited ...string) string {
		m := map[string]bool{}
		for _, c := range cited {
			m[c] = true
		}
		members, _ := population(all, m)
		var out []string
		for _, x := range members {
			out = append(out, fmt.Sprintf("%s<%s", x.ID, x.From))
		}
		return strings.Join(out, " ")
	}
	events := []evidence.Collected{record("one", false, 1, "a", "b"), record("two", false, 2, "b", "c"), record("three", false, 3, "d")}
	states := []evidence.Collected{record("one", true, 1, "a", "b"), record("two", true, 2, "b")}
	for _, c := range []struct{ name, got, want string }{
		{"events join and the latest wins", show(events), "a<one b<two c<two d<three"},
		{"only what was judged counts", show(events, "one", "two"), "a<one b<two c<two"},
		{"a later state replaces an earlier one", show(states), "b<two"},
		{"but not one of another source", show(append([]evidence.Collected{other}, states...)), "b<two c<other"},
		{"but the state that was judged counts", show(states, "one"), "a<one b<one"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, c.got, c.want)
		}
	}
}
