package templates

import (
	"html"
	"strings"
)

// special are the characters that mean something inside a line of Markdown.
const special = "\\`*_[]<>&|#!~"

// escapeMarkdown makes s plain text on one line of Markdown.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for _, r := range line(s) {
		if strings.ContainsRune(special, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unescapeMarkdown(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(special, s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// codeMarkdown is s as a code span, or escaped where it holds what would end
// the span or a table's cell.
func codeMarkdown(s string) string {
	s = line(s)
	if s == "" || strings.ContainsAny(s, "`|\\") || strings.TrimSpace(s) != s {
		return escapeMarkdown(s)
	}
	return "`" + s + "`"
}

// markdownHTML renders the Markdown that statements are written in: headings,
// paragraphs, flat lists, quotes, tables with a header row, strong, code, and
// backslash escapes. Everything else is text; there is no way to HTML.
func markdownHTML(text string) string {
	var b strings.Builder
	lines := strings.Split(text, "\n")
	heading := ""
	for i := 0; i < len(lines); {
		prefix := blockPrefix(lines[i])
		n := 1
		for prefix != "" && !strings.HasPrefix(prefix, "#") && i+n < len(lines) && blockPrefix(lines[i+n]) == prefix {
			n++
		}
		block := lines[i : i+n]
		i += n
		switch prefix {
		case "":
		case "- ":
			b.WriteString("<ul>\n")
			for _, l := range block {
				b.WriteString("<li" + verdictClass(l[2:]) + ">" + inlineHTML(l[2:]) + "</li>\n")
			}
			b.WriteString("</ul>\n")
		case "> ":
			b.WriteString("<blockquote>\n")
			for _, l := range block {
				b.WriteString("<p>" + inlineHTML(strings.TrimPrefix(l, "> ")) + "</p>\n")
			}
			b.WriteString("</blockquote>\n")
		case "|":
			tableHTML(&b, heading, block)
		case "p":
			b.WriteString("<p>" + inlineHTML(strings.Join(block, " ")) + "</p>\n")
		default:
			level := string(rune('0' + len(prefix) - 1))
			heading = unescapeMarkdown(block[0][len(prefix):])
			b.WriteString("<h" + level + ">" + inlineHTML(block[0][len(prefix):]) + "</h" + level + ">\n")
		}
	}
	return b.String()
}

// verdictClass is the class of a list entry that begins with the mark of an
// outcome, as claims do.
func verdictClass(entry string) string {
	for _, o := range outcomes() {
		if strings.HasPrefix(entry, outcomeMark(o)+" **") {
			return ` class="claim ` + string(o) + `"`
		}
	}
	return ""
}

// blockPrefix tells what kind of block a line belongs to: "", "# " to "### ",
// "- ", "> ", "|", or "p" for a paragraph.
func blockPrefix(l string) string {
	if strings.TrimSpace(l) == "" {
		return ""
	}
	for _, p := range []string{"# ", "## ", "### ", "- ", "> ", "|"} {
		if strings.HasPrefix(l, p) {
			return p
		}
	}
	return "p"
}

// tableHTML renders a table whose second row is the ruler, named after the
// heading that it stands under.
func tableHTML(b *strings.Builder, heading string, rows []string) {
	b.WriteString(`<div class="scroll" role="region" aria-label="Table: ` + html.EscapeString(heading) + `" tabindex="0"><table>` + "\n")
	for i, r := range rows {
		if i == 1 {
			continue
		}
		if i == 0 {
			b.WriteString("<thead>")
		}
		b.WriteString("<tr>")
		for j, c := range cellsOf(r) {
			open, end := "<td>", "</td>"
			if i == 0 {
				open, end = `<th scope="col">`, "</th>"
			} else if j == 0 {
				open, end = `<th scope="row">`, "</th>"
			}
			b.WriteString(open + inlineHTML(c) + end)
		}
		b.WriteString("</tr>")
		if i == 0 {
			b.WriteString("</thead>\n<tbody>")
		}
		b.WriteString("\n")
	}
	b.WriteString("</tbody></table></div>\n")
}

// cellsOf splits a row at bars that are not escaped.
func cellsOf(row string) []string {
	var out []string
	var cell strings.Builder
	row = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(row), "|"), "|")
	for i := 0; i < len(row); i++ {
		switch {
		case row[i] == '\\' && i+1 < len(row):
			cell.WriteString(row[i : i+2])
			i++
		case row[i] == '|':
			out = append(out, strings.TrimSpace(cell.String()))
			cell.Reset()
		default:
			cell.WriteByte(row[i])
		}
	}
	return append(out, strings.TrimSpace(cell.String()))
}

// inlineHTML renders strong, code and escapes.
func inlineHTML(s string) string {
	var b, plain strings.Builder
	flush := func() { b.WriteString(html.EscapeString(plain.String())); plain.Reset() }
	strong := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(special, s[i+1]) >= 0:
			i++
			plain.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "**"):
			flush()
			if strong = !strong; strong {
				b.WriteString("<strong>")
			} else {
				b.WriteString("</strong>")
			}
			i++
		case s[i] == '`' && strings.IndexByte(s[i+1:], '`') >= 0:
			flush()
			end := i + 1 + strings.IndexByte(s[i+1:], '`')
			b.WriteString("<code>" + html.EscapeString(s[i+1:end]) + "</code>")
			i = end
		default:
			plain.WriteByte(s[i])
		}
	}
	flush()
	if strong {
		b.WriteString("</strong>")
	}
	return b.String()
}
