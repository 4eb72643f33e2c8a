package documents

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"trustpack/evidence"
)

// review is the section of an access review's front matter. Decisions stand in
// it or in a CSV file beside it, whose first line is
//
//	system,principal,decision,reviewer,decided_at,reason
//
// A principal without a decision is left out of the list; the control finds it
// by comparing with the principals that the other collectors saw.
type review struct {
	Period    reviewPeriod `yaml:"period"` // the period that is reviewed, "2026-Q3"
	File      string       `yaml:"file"`   // CSV file, relative to the document
	Decisions []entry      `yaml:"decisions"`
}

// entry is one decision as written.
type entry struct {
	System    string `yaml:"system"` // aws, github or ingest
	Principal string `yaml:"principal"`
	Decision  string `yaml:"decision"` // keep, remove or change
	Reviewer  string `yaml:"reviewer"` // default: the document's reviewer
	DecidedAt moment `yaml:"decided_at"`
	Reason    string `yaml:"reason"`

	line int
}

// UnmarshalYAML keeps the line of the entry. The keys were checked before.
func (e *entry) UnmarshalYAML(n *yaml.Node) error {
	known := []string{"system", "principal", "decision", "reviewer", "decided_at", "reason"}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i].Value; !slices.Contains(known, k) {
				return fmt.Errorf("unknown key %q (known here: %s)", k, strings.Join(known, ", "))
			}
		}
	}
	type plain entry
	if err := n.Decode((*plain)(e)); err != nil {
		return err
	}
	e.line = n.Line
	return nil
}

// moment is a day or an RFC 3339 time.
type moment struct{ time.Time }

// UnmarshalYAML reads 2026-09-24 or 2026-09-24T14:00:00Z.
func (m *moment) UnmarshalYAML(n *yaml.Node) error {
	t, err := parseMoment(n.Value)
	m.Time = t
	return err
}

func parseMoment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("want a day such as 2026-09-24 or a time such as 2026-09-24T14:00:00Z, got %q", s)
}

type reviewPeriod struct {
	evidence.Period
	text string
}

// UnmarshalYAML reads what evidence.ParsePeriod reads.
func (p *reviewPeriod) UnmarshalYAML(n *yaml.Node) error {
	parsed, err := evidence.ParsePeriod(n.Value)
	p.Period, p.text = parsed, n.Value
	return err
}

// decision is one principal's, with the document that it was made in.
type decision struct {
	entry
	document string
	period   reviewPeriod
}

func (d decision) id() string { return d.document + "#" + d.System + "/" + d.Principal }

// touches says whether the decision belongs to p: it reviews a period that
// overlaps p, or it was made in p.
func (d decision) touches(p evidence.Period) bool {
	if p.IsZero() {
		return true
	}
	overlaps := d.period.From.Before(p.To) && p.From.Before(d.period.To)
	return overlaps || p.Contains(d.DecidedAt.Time)
}

func (d decision) item() evidence.Item {
	return evidence.Item{ID: d.id(), Attributes: map[string]any{
		"system": d.System, "principal": d.Principal, "decision": d.Decision,
		"reviewer": d.Reviewer, "decided_at": d.DecidedAt.Format(time.RFC3339),
		"reason": d.Reason, "review_period": d.period.text, "document": d.document,
	}}
}

// review takes the decisions of an access review. Each one that cannot be used
// is a gap of its own; the others stand.
func (r *reading) review(doc document) {
	rv := doc.front.Review
	if rv.Period.IsZero() {
		r.reviews.gap(doc.name, doc.name+":1: review.period is missing: say which period is reviewed, such as 2026-Q3")
		return
	}
	where := doc.name
	entries := rv.Decisions
	if rv.File != "" {
		if len(entries) > 0 {
			r.reviews.gap(doc.name, doc.name+":1: review has both file and decisions: keep one of them")
			return
		}
		var ok bool
		if where, entries, ok = r.table(doc, rv.File); !ok {
			return
		}
	}
	for _, e := range entries {
		if e.Reviewer == "" {
			e.Reviewer = doc.front.Reviewer
		}
		d := decision{e, doc.name, rv.Period}
		at := fmt.Sprintf("%s:%d", where, e.line)
		if err := e.check(); err != nil {
			r.reviews.gap(at, fmt.Sprintf("%s: %v", at, err))
			continue
		}
		if first, twice := r.decided[d.id()]; twice {
			r.reviews.gap(at, fmt.Sprintf("%s: %s/%s was decided before, at %s", at, e.System, e.Principal, first))
			continue
		}
		r.decided[d.id()] = at
		r.decisions = append(r.decisions, d)
	}
}

func (e entry) check() error {
	switch {
	case !slices.Contains([]string{"aws", "github", "ingest"}, e.System):
		return fmt.Errorf("system %q is not known: want aws, github or ingest", e.System)
	case e.Principal == "":
		return errors.New("principal is missing")
	case e.Decision == "":
		return fmt.Errorf("%s/%s has no decision: want keep, remove or change", e.System, e.Principal)
	case !slices.Contains([]string{"keep", "remove", "change"}, e.Decision):
		return fmt.Errorf("decision %q is not known: want keep, remove or change", e.Decision)
	case e.DecidedAt.IsZero():
		return fmt.Errorf("%s/%s has no decided_at", e.System, e.Principal)
	}
	return nil
}

// table reads the CSV file of a review. It must lie in the folder.
func (r *reading) table(doc document, file string) (where string, entries []entry, ok bool) {
	name := path.Join(path.Dir(doc.name), file)
	if path.IsAbs(file) || strings.Contains(file, `\`) || !fs.ValidPath(name) {
		r.reviews.gap(doc.name, fmt.Sprintf("%s:1: review.file %q leads out of the documents folder", doc.name, file))
		return "", nil, false
	}
	body, req, err := r.bytes(name)
	r.reviews.keep(name, body, req)
	if err != nil {
		r.reviews.gap(name, fmt.Sprintf("%s: %v", name, err))
		return "", nil, false
	}
	entries, gaps := parseTable(name, body)
	r.reviews.gaps = append(r.reviews.gaps, gaps...)
	return name, entries, true
}

func parseTable(name string, body []byte) (entries []entry, gaps []evidence.Gap) {
	header := []string{"system", "principal", "decision", "reviewer", "decided_at", "reason"}
	rd := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	rd.FieldsPerRecord = -1
	first, err := rd.Read()
	if err != nil || !slices.Equal(first, header) {
		at := name + ":1"
		return nil, []evidence.Gap{{What: at, Reason: at + ": the first line must be " + strings.Join(header, ",")}}
	}
	for {
		row, err := rd.Read()
		if errors.Is(err, io.EOF) {
			return entries, gaps
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) { // after a broken quote no row can be trusted
			at := fmt.Sprintf("%s:%d", name, bad.Line)
			return entries, append(gaps, evidence.Gap{What: at, Reason: at + ": " + bad.Err.Error() + "; the rows from here on were not read"})
		}
		line, _ := rd.FieldPos(0)
		at := fmt.Sprintf("%s:%d", name, line)
		if len(row) != len(header) {
			gaps = append(gaps, evidence.Gap{What: at, Reason: fmt.Sprintf("%s: want %d fields, got %d", at, len(header), len(row))})
			continue
		}
		e := entry{System: row[0], Principal: row[1], Decision: row[2], Reviewer: row[3], Reason: row[5], line: line}
		if row[4] != "" {
			if e.DecidedAt.Time, err = parseMoment(row[4]); err != nil {
				gaps = append(gaps, evidence.Gap{What: at, Reason: fmt.Sprintf("%s: decided_at: %v", at, err)})
				continue
			}
		}
		entries = append(entries, e)
	}
}
