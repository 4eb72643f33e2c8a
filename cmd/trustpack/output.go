package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
)

// printJSON writes v indented.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// inJSON gives a command that prints JSON in any case the --json of all other
// reports.
func inJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool("json", true, "print as JSON, as it does in any case")
	return cmd
}

// table writes rows in columns, the first being the header.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = plainText(c)
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// plainText makes what came from outside harmless for a terminal: control
// characters, which could move the cursor or recolour a verdict, are shown as
// their escapes.
func plainText(s string) string {
	if !strings.ContainsFunc(s, notPlain) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if notPlain(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func notPlain(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// progress tells on err how far long work is.
func (a *app) progress(format string, args ...any) {
	fmt.Fprintf(a.err, "%s\n", plainText(fmt.Sprintf(format, args...)))
}
