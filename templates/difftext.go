package templates

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:embed diff.html.tmpl
var diffTemplate string

// maxListed is how many lines of one list the text and the page show; JSON has
// them all.
const maxListed = 40

// listed is the part of a list that is shown, and how many are left out.
type listed[T any] struct {
	Shown []T
	More  int
}

func cut[T any](all []T) listed[T] {
	n := min(len(all), maxListed)
	return listed[T]{all[:n], len(all) - n}
}

// WriteText writes the changes for people at a terminal. All text of the packs
// is on one line, with nothing hidden.
func (c Changes) WriteText(w io.Writer) error {
	var b strings.Builder
	say := func(format string, args ...any) {
		for i, a := range args {
			if s, ok := a.(string); ok {
				args[i] = line(s)
			}
		}
		fmt.Fprintf(&b, format, args...)
	}
	if short := c.view.banner().Short; short != "" {
		say("%s\n", short)
	}
	say("from %s: pack %d, %s\nto   %s: pack %d, %s\n", c.From.Name, c.From.Sequence, c.From.Period.String(), c.To.Name, c.To.Sequence, c.To.Period.String())
	for _, note := range c.notes() {
		say("note: %s\n", note)
	}
	heading := func(title string, n int) { say("\n%s: %d\n", title, n) }
	more := func(n int) {
		if n > 0 {
			say("  … %d more\n", n)
		}
	}
	heading("controls that changed", len(c.Controls))
	for _, x := range c.Controls {
		say("  %-8s %-9s %s -> %s  %s\n", x.ID, x.Change, outcomeOr(x.From), outcomeOr(x.To), x.Title)
	}
	for _, list := range []struct {
		title string
		of    []ExceptionChange
	}{{"new exceptions", c.Exceptions.New}, {"exceptions closed", c.Exceptions.Closed}, {"exceptions still open", c.Exceptions.Open}} {
		heading(list.title, len(list.of))
		shown := cut(list.of)
		for _, x := range shown.Shown {
			say("  %-8s %-10s %s %s: %s\n", x.Control, x.How, string(x.Kind), itemOr(x.Item), x.Detail)
		}
		more(shown.More)
	}
	heading("settings changed", len(c.Policy)+len(c.Settings))
	settings := cut(append(c.Policy[:len(c.Policy):len(c.Policy)], c.Settings...))
	for _, x := range settings.Shown {
		say("  %s %s %s: %s -> %s\n", whatOr(string(x.Kind)), x.Item, x.Attribute, clip(x.From, maxValue), clip(x.To, maxValue))
	}
	more(settings.More)
	heading("populations that changed", len(c.Populations))
	for _, p := range c.Populations {
		say("  %s: %d -> %d items, %d new, %d gone\n", string(p.Kind), p.FromItems, p.ToItems, len(p.New), len(p.Gone))
		if p.Note != "" {
			say("    %s\n", p.Note)
		}
		for _, list := range []struct {
			sign string
			ids  []string
		}{{"+", p.New}, {"-", p.Gone}} {
			shown := cut(list.ids)
			for _, id := range shown.Shown {
				say("    %s %s\n", list.sign, id)
			}
			more(shown.More)
		}
	}
	say("\nNeither pack has been verified by this: use trustpack verify.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// notes says what keeps two packs from being compared like with like.
func (c Changes) notes() []string {
	var out []string
	if !c.Follows {
		out = append(out, "the later pack does not name the earlier one as the pack before it")
	}
	if c.Catalog {
		out = append(out, "they were judged by different catalogs: an outcome may have changed because its control did")
	}
	return out
}

func outcomeOr[T ~string](o T) string {
	if o == "" {
		return "no finding"
	}
	return string(o)
}

func itemOr(item string) string {
	if item == "" {
		return "(the whole population)"
	}
	return item
}

func whatOr(kind string) string {
	if kind == "" {
		return "policy"
	}
	return kind
}

// diffPage is what diff.html.tmpl shows.
type diffPage struct {
	Changes
	Banner              banner
	Notes               []string
	New, Closed, Open   listed[ExceptionChange]
	SettingRows         listed[SettingChange]
	PopulationRows      []populationRow
	Organisation, Title string
}

type populationRow struct {
	PopulationChange
	New, Gone listed[string]
}

// WriteHTML writes the changes as one page, without script and with nothing
// fetched.
func (c Changes) WriteHTML(w io.Writer) error {
	p := diffPage{
		Changes: c, Banner: c.view.banner(), Notes: c.notes(), Organisation: c.view.Organisation,
		Title: fmt.Sprintf("%s: what changed from %s to %s", c.view.System, c.From.Period, c.To.Period),
		New:   cut(c.Exceptions.New), Closed: cut(c.Exceptions.Closed), Open: cut(c.Exceptions.Open),
		SettingRows: cut(append(c.Policy[:len(c.Policy):len(c.Policy)], c.Settings...)),
	}
	for _, x := range c.Populations {
		p.PopulationRows = append(p.PopulationRows, populationRow{x, cut(x.New), cut(x.Gone)})
	}
	if err := renderHTML(w, diffTemplate, p.Banner, p); err != nil {
		return fmt.Errorf("writing changes: %w", err)
	}
	return nil
}
