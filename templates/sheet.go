package templates

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// Limits of the format and of what is comfortable to read.
const (
	maxCellUnits = 32_767 // UTF-16 units of one cell
	maxSheetName = 31
	minWidth     = 9.0
	maxWidth     = 60.0
	measuredRows = 200 // rows that column widths are taken from
	lineHeight   = 15.0
	maxLines     = 12 // a taller cell is cut on the sheet; its whole text is still in it
)

// book writes tables as sheets, in the order in which they are added.
type book struct {
	file    *excelize.File
	used    map[string]bool // lower-case names of sheets
	sheets  int
	maxRows int
	warning string // printed on every page; one of our own words, so without the & of a header's codes

	text, number, left, head, alarm int // style IDs
}

// textFormat is the built-in number format "@": what stands in the cell is
// text, and stays text when somebody edits it.
const textFormat = 49

func (b *book) styles() (err error) {
	style := func(s excelize.Style) int {
		if err != nil {
			return 0
		}
		var id int
		id, err = b.file.NewStyle(&s)
		return id
	}
	top := &excelize.Alignment{Vertical: "top", WrapText: true}
	b.text = style(excelize.Style{NumFmt: textFormat, Alignment: top})
	b.number = style(excelize.Style{Alignment: &excelize.Alignment{Vertical: "top", Horizontal: "right"}})
	b.left = style(excelize.Style{Alignment: &excelize.Alignment{Vertical: "top", Horizontal: "left"}})
	b.head = style(excelize.Style{NumFmt: textFormat, Alignment: top, Font: &excelize.Font{Bold: true, Color: "FFFFFF", Family: "Calibri", Size: 11},
		Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"24404F"}}})
	b.alarm = style(excelize.Style{NumFmt: textFormat, Alignment: &excelize.Alignment{Vertical: "center"}, Font: &excelize.Font{Bold: true, Color: "1A1500", Family: "Calibri", Size: 11},
		Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"FFD83D"}}})
	if err != nil {
		return fmt.Errorf("making styles: %w", err)
	}
	return nil
}

// add writes t, on as many sheets as its rows need. Every one of them has the
// banner, the header, the filter and the frozen rows.
func (b *book) add(t table) error {
	var s *sheet
	var err error
	part := 0
	next := func() error {
		if s != nil {
			if err := s.close(); err != nil {
				return err
			}
		}
		part++
		s, err = b.open(t, part)
		return err
	}
	if err := next(); err != nil {
		return err
	}
	for row := range t.rows {
		if s.row == b.maxRows {
			if err := next(); err != nil {
				return err
			}
		}
		if err := s.write(row); err != nil {
			return err
		}
	}
	return s.close()
}

// sheet is one sheet being written.
type sheet struct {
	*book
	name   string
	stream *excelize.StreamWriter
	header int // row of the header
	cols   int
	row    int // last row written
	widths []float64
	number int // style of numbers
}

func (b *book) open(t table, part int) (*sheet, error) {
	name := b.name(t.name, part)
	if b.sheets == 0 {
		if err := b.file.SetSheetName("Sheet1", name); err != nil {
			return nil, err
		}
	} else if _, err := b.file.NewSheet(name); err != nil {
		return nil, err
	}
	b.sheets++
	if err := b.page(name); err != nil {
		return nil, err
	}
	stream, err := b.file.NewStreamWriter(name)
	if err != nil {
		return nil, err
	}
	s := &sheet{book: b, name: name, stream: stream, header: 1, cols: len(t.header), number: b.number}
	if t.left {
		s.number = b.left
	}
	if t.banner != "" {
		s.header = 2
	}
	s.widths = widths(t)
	for i, w := range s.widths {
		if err := stream.SetColWidth(i+1, i+1, w); err != nil {
			return nil, err
		}
	}
	below, err := excelize.CoordinatesToCellName(1, s.header+1)
	if err != nil {
		return nil, err
	}
	if err := stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: s.header, TopLeftCell: below, ActivePane: "bottomLeft"}); err != nil {
		return nil, err
	}
	if t.banner != "" {
		if err := s.banner(t.banner); err != nil {
			return nil, err
		}
	}
	head := make([]any, len(t.header))
	for i, h := range t.header {
		head[i] = excelize.Cell{StyleID: b.head, Value: cellText(h)}
	}
	return s, s.put(head)
}

// page sets how a sheet is printed: landscape, as wide as the paper, with the
// warning, the sheet's name and the page on every page. It comes before the
// stream, which writes the sheet's properties when it begins.
func (b *book) page(name string) error {
	landscape, wide, high, fit := "landscape", 1, 0, true
	if err := b.file.SetSheetProps(name, &excelize.SheetPropsOptions{FitToPage: &fit}); err != nil {
		return err
	}
	if err := b.file.SetPageLayout(name, &excelize.PageLayoutOptions{Orientation: &landscape, FitToWidth: &wide, FitToHeight: &high}); err != nil {
		return err
	}
	return b.file.SetHeaderFooter(name, &excelize.HeaderFooterOptions{OddHeader: "&L&A&C&B" + b.warning, OddFooter: "&C&P of &N"})
}

// banner fills the first row. It isn't merged, so that sorting and filtering
// of the columns below it still work; the text runs on over empty cells.
func (s *sheet) banner(text string) error {
	row := make([]any, max(s.cols, 8))
	for i := range row {
		row[i] = excelize.Cell{StyleID: s.alarm}
	}
	row[0] = excelize.Cell{StyleID: s.alarm, Value: cellText(text)}
	return s.put(row, excelize.RowOpts{Height: 24})
}

func (s *sheet) write(values []any) error {
	cells := make([]any, len(values))
	lines := 1
	for i, v := range values {
		switch v := v.(type) {
		case nil:
		case string:
			v = cellText(v)
			cells[i] = excelize.Cell{StyleID: s.text, Value: v}
			lines = max(lines, int(math.Ceil(float64(utf8.RuneCountInString(v))/(s.widths[i]-1))))
		case bool:
			cells[i] = excelize.Cell{StyleID: s.number, Value: v}
		case float64:
			if math.IsInf(v, 0) || math.IsNaN(v) || math.Abs(v) >= 1e15 {
				cells[i] = excelize.Cell{StyleID: s.text, Value: valueText(v)} // beyond what a number cell keeps exactly
				break
			}
			cells[i] = excelize.Cell{StyleID: s.number, Value: v}
		case int, int64:
			cells[i] = excelize.Cell{StyleID: s.number, Value: v}
			if n := fmt.Sprint(v); len(n) > 15 {
				cells[i] = excelize.Cell{StyleID: s.text, Value: n}
			}
		default:
			return fmt.Errorf("row %d, column %d: a cell can't hold a %T", s.row+1, i+1, v)
		}
	}
	if lines == 1 {
		return s.put(cells)
	}
	// Said, since not every program measures wrapped text when it opens a file.
	return s.put(cells, excelize.RowOpts{Height: lineHeight * float64(min(lines, maxLines))})
}

func (s *sheet) put(cells []any, opts ...excelize.RowOpts) error {
	s.row++
	at, err := excelize.CoordinatesToCellName(1, s.row)
	if err != nil {
		return err
	}
	return s.stream.SetRow(at, cells, opts...)
}

func (s *sheet) close() error {
	last, err := excelize.CoordinatesToCellName(s.cols, s.row)
	if err != nil {
		return err
	}
	if err := s.file.AutoFilter(s.name, fmt.Sprintf("A%d:%s", s.header, last), nil); err != nil {
		return err
	}
	return s.stream.Flush()
}

// name makes a sheet name that the format allows and no other sheet has; case
// does not tell two sheets apart.
func (b *book) name(want string, part int) string {
	base := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:\/?*[]`, r) {
			return '-'
		}
		return r
	}, line(want))
	base = strings.Trim(base, "' ")
	if base == "" || strings.EqualFold(base, "history") { // reserved by the format
		base = "sheet " + base
	}
	for n := part; ; n++ {
		suffix := ""
		if n > 1 {
			suffix = fmt.Sprintf(" (%d)", n)
		}
		name := strings.TrimRight(clip(base, maxSheetName-len(suffix)), "' ") + suffix
		if key := strings.ToLower(name); !b.used[key] {
			b.used[key] = true
			return name
		}
	}
}

// cellText is s as a cell may hold it: nothing hidden, and cut, with a word
// about it, where it is longer than a cell can be.
func cellText(s string) string {
	s = line(s)
	if units(s) <= maxCellUnits {
		return s
	}
	note := fmt.Sprintf(" … cut here: %d characters in all, which the pack holds", utf8.RuneCountInString(s))
	return clip(s, maxCellUnits-units(note)) + note
}

// units is the length of s in UTF-16, in which the format counts.
func units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// clip cuts s to at most n UTF-16 units, between characters.
func clip(s string, n int) string {
	for i, r := range s {
		if n--; r > 0xffff {
			n--
		}
		if n < 0 {
			return s[:i]
		}
	}
	return s
}

// widths takes the width of each column from its header and its first rows.
func widths(t table) []float64 {
	out := make([]float64, len(t.header))
	for i, h := range t.header {
		out[i] = max(minWidth, float64(utf8.RuneCountInString(h))+4) // room for the filter's button
	}
	n := 0
	for row := range t.rows {
		for i, v := range row {
			if s := fmt.Sprint(v); v != nil && i < len(out) {
				out[i] = max(out[i], float64(utf8.RuneCountInString(s))*1.05+1)
			}
		}
		if n++; n == measuredRows {
			break
		}
	}
	for i, h := range t.header {
		out[i] = min(out[i], maxWidth)
		if w, ok := t.wide[h]; ok {
			out[i] = w
		}
	}
	return out
}
