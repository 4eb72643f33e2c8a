package ingest

import (
	"bytes"
	"fmt"
	"strconv"
)

// ProblemTable is Problems as Markdown: PROBLEMS.md.
func ProblemTable() []byte {
	var b bytes.Buffer
	b.WriteString(`# Problem codes of the ingest

Every refusal has a stable code: in the problem+json answer (RFC 9457, type
"urn:trustpack:problem:" and the code), in the lines of a receipt, in refusal
entries of the control log, and as the reason of a dead letter. This table is
made from Problems in problem.go.

The first refusal of a kind is in the log before its answer; those like it that
follow within a second are counted into one entry. Refused events are always in
the log, and so in the books, before their answer. Of requests that were
refused before their events were counted (too large, too fast, unreadable), a
killed process may lose the count of its last second.

`)
	for _, part := range []struct{ scope, title, about string }{
		{"connection", "Connections", "Refused before there is a request. Without a status no answer in HTTP is given."},
		{"request", "Requests", "The answer to a whole request, on the device port or the admin port."},
		{"line", "Lines", "What became of one event of a batch, which is answered with 202 and a receipt."},
	} {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n| code | status | meaning |\n|---|---|---|\n", part.title, part.about)
		for _, p := range Problems() {
			if p.Scope != part.scope {
				continue
			}
			status := ""
			if p.Status != 0 {
				status = strconv.Itoa(p.Status)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Code, status, p.Meaning)
		}
		b.WriteByte('\n')
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}
