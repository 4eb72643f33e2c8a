package templates

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trustpack/evidence"
)

// visible makes every character of s one that a reader can see: control
// characters become their pictures (␛ for escape), characters that are
// invisible or change the direction of reading become their code point in
// angle brackets, and bytes that are no UTF-8 their value. What keep names
// stays as it is.
func visible(s, keep string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "⟨0x%02X⟩", s[i])
		case !hidden(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r < 0x20:
			b.WriteRune(0x2400 + r)
		case r == 0x7f:
			b.WriteRune('␡')
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
		i += size
	}
	return b.String()
}

// hidden reports whether r has no shape of its own. RuneError is taken for
// hidden, since a byte that is no UTF-8 decodes to it.
func hidden(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) ||
		unicode.Is(unicode.Variation_Selector, r) && r != 0xfe0f
}

// line is s on one line with nothing hidden.
func line(s string) string { return visible(s, "") }

// stamp is a time for people, always UTC; "not stated" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "not stated"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// span is a period for people, with the bounds said in words.
func span(p evidence.Period) string {
	if p.IsZero() {
		return "not stated"
	}
	const day = 24 * time.Hour
	from, to := p.From.UTC(), p.To.UTC()
	if from.Truncate(day).Equal(from) && to.Truncate(day).Equal(to) {
		last := to.AddDate(0, 0, -1)
		if last.Equal(from) {
			return from.Format(time.DateOnly)
		}
		return from.Format(time.DateOnly) + " to " + last.Format(time.DateOnly)
	}
	return stamp(from) + " to " + stamp(to)
}

// count is n with its noun: "1 item", "3 items".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// paragraphs splits prose of the catalog at blank lines and folds the rest.
func paragraphs(s string) []string {
	var out []string
	for p := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// naturally compares IDs so that CC6.2 stands before CC6.10: runs of digits by
// their value, all else by bytes. Only equal strings compare as equal.
func naturally(a, b string) int { return cmp.Or(byRuns(a, b), strings.Compare(a, b)) }

func byRuns(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da > 0 && db > 0 {
			na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if len(na) != len(nb) {
				return len(na) - len(nb)
			}
			if c := strings.Compare(na, nb); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// digits is the length of the run of digits at the start of s.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// anchor makes an HTML id out of any text; texts that differ get ids that do.
func anchor(prefix, s string) string {
	slug := strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.' || r == '-' || r == '_') {
			return r
		}
		return '-'
	}, s)
	if slug != s || s == "" {
		slug = fmt.Sprintf("%.40s-%.12s", slug, evidence.SHA256Hex([]byte(s)))
	}
	return prefix + slug
}
