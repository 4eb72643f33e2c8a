package git

import (
	"regexp"
	"strings"
)

// trailer is one "Key: value" line at the end of a commit message.
type trailer struct{ key, value string }

type trailers []trailer

var trailerLine = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9-]*)\s*:\s*(.*)$`)

// parseTrailers reads the last paragraph of a message, which holds trailers
// where every line of it is one or continues one, or, as git has it, where
// git itself made one of them and a quarter of the lines are trailers.
func parseTrailers(message string) trailers {
	message = strings.TrimRight(strings.ReplaceAll(message, "\r\n", "\n"), " \t\n")
	at := strings.LastIndex(message, "\n\n")
	if at < 0 {
		return nil // the subject alone
	}
	var out trailers
	other, gits := 0, 0
	for _, line := range strings.Split(message[at+2:], "\n") {
		m := trailerLine.FindStringSubmatch(line)
		switch {
		case m != nil:
			out = append(out, trailer{m[1], strings.TrimSpace(m[2])})
			if strings.EqualFold(m[1], "Signed-off-by") {
				gits++
			}
		case len(out) > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")):
			last := &out[len(out)-1]
			last.value = strings.TrimSpace(last.value + " " + strings.TrimSpace(line))
		case strings.HasPrefix(line, "(cherry picked from commit "):
			gits++
		default:
			other++
		}
	}
	if other > 0 && (gits == 0 || 3*(len(out)+gits) < other) {
		return nil
	}
	return out
}

// plain gives each key, as first written, the list of its values.
func (ts trailers) plain() map[string]any {
	out := map[string]any{}
	spelt := map[string]string{}
	for _, t := range ts {
		low := strings.ToLower(t.key)
		if spelt[low] == "" {
			spelt[low] = t.key
		}
		list, _ := out[spelt[low]].([]any)
		out[spelt[low]] = append(list, t.value)
	}
	return out
}

// coAuthors lists the addresses of Co-authored-by trailers, each once.
func coAuthors(ts trailers) []string {
	var out []string
	seen := map[string]bool{}
	for _, t := range ts {
		if !strings.EqualFold(t.key, "Co-authored-by") {
			continue
		}
		address := t.value
		if i, j := strings.LastIndex(address, "<"), strings.LastIndex(address, ">"); i >= 0 && j > i {
			address = address[i+1 : j]
		}
		if address = strings.TrimSpace(address); address != "" && !seen[strings.ToLower(address)] {
			seen[strings.ToLower(address)] = true
			out = append(out, address)
		}
	}
	return out
}
