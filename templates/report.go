package templates

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

//go:embed style.css
var styleSheet string

//go:embed report.html.tmpl
var reportTemplate string

// Limits of what the report spells out. Beyond them it counts, and says where
// the rest stands.
const (
	maxExceptions = 200 // rows of one control's exceptions
	maxRequests   = 25  // requests of one piece of evidence
	maxFields     = 40  // fields of one item
	maxValue      = 300 // characters of one field
)

// Report writes the report as one HTML file: no script, nothing fetched, and a
// content security policy that lets neither in.
func Report(w io.Writer, v View) error {
	if err := v.check(); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	if err := renderHTML(w, reportTemplate, v.banner(), newReport(v)); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// renderHTML executes one of our HTML templates. Every hidden character of the
// whole document is made visible here, at one place, so that no field can be
// forgotten; the templates' own line ends and tabs stay.
func renderHTML(w io.Writer, text string, warn banner, data any) error {
	style := styleSheet
	if warn.Short != "" { // a sample says so on every printed page
		style += fmt.Sprintf("@page { @top-center { content: %q; font: bold 9pt sans-serif; } }\n", warn.Short)
	}
	sum := sha256.Sum256([]byte(style))
	t, err := template.New("page").Funcs(template.FuncMap{
		"css":        func() template.CSS { return template.CSS(style) },
		"cssHash":    func() string { return base64.StdEncoding.EncodeToString(sum[:]) },
		"line":       func(s any) string { return line(fmt.Sprint(s)) },
		"paragraphs": paragraphs,
		"stamp":      stamp,
		"datetime":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"span":       span,
		"count":      count,
		"word":       func(o any) string { return outcomeWord(evidence.Outcome(fmt.Sprint(o))) },
		"mark":       func(o any) string { return outcomeMark(evidence.Outcome(fmt.Sprint(o))) },
		"wholeness":  wholeness,
		"short":      func(id string) string { return fmt.Sprintf("%.12s", id) },
		"add":        func(a, b int) int { return a + b },
		"join":       strings.Join,
		"anchor":     func(prefix string, s any) string { return anchor(prefix, fmt.Sprint(s)) },
	}).Parse(text)
	if err != nil {
		return fmt.Errorf("parsing template: %w", err)
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, data); err != nil {
		return err
	}
	_, err = io.WriteString(w, visible(buf.String(), "\n\t"))
	return err
}

// report is what report.html.tmpl shows.
type report struct {
	View
	Banner      banner
	Counts      []tally
	Total       int
	Exceptions  int // rows over all controls
	Stages      []stageView
	Attention   []card // exception, error, not available
	Index       []indexed
	Criteria    []criterion
	NotAssessed notAssessed
}

// tally is one outcome and how many controls have it. At is where it begins in
// the bar, in controls.
type tally struct {
	Outcome evidence.Outcome
	N, At   int
}

// stageView is one of the five stages with its controls.
type stageView struct {
	Anchor, Title, Question string
	Number                  int // 0 for controls outside the stages
	Cards                   []card
	Counts                  []tally
}

// card is one control as the report shows it.
type card struct {
	judged
	Shown  []exceptionRow
	Hidden int // exceptions beyond maxExceptions
}

// exceptionRow is an exception and the fields of the item it is about.
type exceptionRow struct {
	evidence.Exception
	Test   string // the attribute's title
	Fields []field
	More   int // fields beyond maxFields
}

// field is one field of an item, its value as text.
type field struct{ Name, Value string }

// indexed is one line of the evidence index.
type indexed struct {
	evidence.Collected
	CitedBy  []string
	Failed   int // requests without a usable reply
	Requests []evidence.Request
	More     int // requests beyond maxRequests
}

// State is the completeness that the record bears out.
func (x indexed) State() evidence.CompletenessState { return wholeness(x.Completeness) }

func newReport(v View) report {
	controls := v.judgedControls()
	r := report{View: v, Banner: v.banner(), Total: len(controls), Criteria: criteria(controls)}
	r.Counts = tallies(controls)
	items := v.itemsByKind(controls)
	byStage := map[int][]card{}
	for _, j := range controls {
		c := newCard(j, items)
		r.Exceptions += len(j.Finding.Exceptions)
		byStage[stageRank(j.Stage)] = append(byStage[stageRank(j.Stage)], c)
		switch j.Finding.Outcome {
		case evidence.OutcomeException, evidence.OutcomeError, evidence.OutcomeNotAvailable:
			r.Attention = append(r.Attention, c)
		}
	}
	for i, s := range evidence.Stages() {
		r.Stages = append(r.Stages, newStage(string(s), s.Title(), question(s), i+1, byStage[i]))
	}
	if rest := byStage[len(evidence.Stages())]; len(rest) > 0 {
		r.Stages = append(r.Stages, newStage("other", "Outside the five stages", "Findings whose control names no known stage.", 0, rest))
	}
	cited := citations(controls)
	for _, e := range v.sortedEvidence() {
		x := indexed{Collected: e, CitedBy: cited[e.ID], Requests: e.Provenance.Requests}
		for _, q := range x.Requests {
			if q.Error != "" {
				x.Failed++
			}
		}
		x.More = max(0, len(x.Requests)-maxRequests)
		x.Requests = x.Requests[:len(x.Requests)-x.More]
		r.Index = append(r.Index, x)
	}
	r.NotAssessed = findNotAssessed(controls, r.Index)
	r.NotAssessed.LeftOut = v.LeftOut
	return r
}

// question is what a stage answers.
func question(s evidence.Stage) string {
	switch s {
	case evidence.StageIdentity:
		return "Who or what sent this telemetry?"
	case evidence.StageTransport:
		return "Did it arrive the way it was sent?"
	case evidence.StageProcessing:
		return "Was it kept whole, unmixed and unaltered on its way through?"
	case evidence.StageStorage:
		return "Is it kept as long as promised, apart from others' data, and let go of on purpose?"
	case evidence.StageAuditability:
		return "Can every act be traced to a person, and did somebody look?"
	}
	return ""
}

func newStage(slug, title, question string, number int, cards []card) stageView {
	js := make([]judged, len(cards))
	for i, c := range cards {
		js[i] = c.judged
	}
	counts := slices.DeleteFunc(tallies(js), func(t tally) bool { return t.N == 0 })
	return stageView{"stage-" + slug, title, question, number, cards, counts}
}

func tallies(controls []judged) []tally {
	var out []tally
	at := 0
	for _, o := range outcomes() {
		t := tally{Outcome: o, At: at}
		for _, j := range controls {
			if j.Finding.Outcome == o {
				t.N++
			}
		}
		at += t.N
		out = append(out, t)
	}
	return out
}

// itemsByKind finds the items that exceptions are about.
func (v View) itemsByKind(controls []judged) map[evidence.Kind]map[string]evidence.Item {
	cited := map[string]bool{}
	wanted := map[evidence.Kind]bool{}
	for _, j := range controls {
		for _, r := range j.Rests {
			cited[r.ID] = true
		}
		for _, x := range j.Finding.Exceptions {
			wanted[x.Kind] = true
		}
	}
	groups := map[evidence.Kind][]evidence.Collected{}
	for _, e := range v.sortedEvidence() {
		if wanted[e.Kind] {
			groups[e.Kind] = append(groups[e.Kind], e)
		}
	}
	out := map[evidence.Kind]map[string]evidence.Item{}
	for kind, all := range groups {
		members, _ := population(all, cited)
		out[kind] = make(map[string]evidence.Item, len(members))
		for _, m := range members {
			out[kind][m.ID] = m.Item
		}
	}
	return out
}

func newCard(j judged, items map[evidence.Kind]map[string]evidence.Item) card {
	c := card{judged: j}
	titles := map[string]string{}
	for _, a := range j.Finding.Attributes {
		titles[a.ID] = a.Title
	}
	for _, x := range j.Finding.Exceptions {
		if len(c.Shown) == maxExceptions {
			break
		}
		row := exceptionRow{Exception: x, Test: titles[x.Attribute]}
		row.Outcome = known(row.Outcome)
		if row.Test == "" {
			row.Test = x.Attribute
		}
		if it, ok := items[x.Kind][x.Item]; ok {
			row.Fields = fieldsOf(it)
		}
		row.More = max(0, len(row.Fields)-maxFields)
		row.Fields = row.Fields[:len(row.Fields)-row.More]
		c.Shown = append(c.Shown, row)
	}
	c.Hidden = len(j.Finding.Exceptions) - len(c.Shown)
	return c
}

// fieldsOf lists an item's fields by name, long values cut and marked.
func fieldsOf(it evidence.Item) []field {
	var out []field
	for _, k := range fieldNames(it) {
		s := valueText(it.Attributes[k])
		if r := []rune(s); len(r) > maxValue {
			s = fmt.Sprintf("%s… (%d characters in all)", string(r[:maxValue]), len(r))
		}
		out = append(out, field{k, s})
	}
	return out
}

func fieldNames(it evidence.Item) []string {
	names := make([]string, 0, len(it.Attributes))
	for k := range it.Attributes {
		if k != "id" {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// valueText is a field's value as text: a string as it is, all else as compact
// canonical JSON, so that null, false and "" can be told apart.
func valueText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := evidence.CanonicalJSON(v)
	if err != nil {
		return "not representable: " + err.Error()
	}
	return string(b)
}
