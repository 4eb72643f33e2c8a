package templates

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	texttemplate "text/template"

	"trustpack/evidence"
)

// The statements are data: each is one Markdown template in statements/, whose
// claims name the controls that bear them out.
//
//go:embed statements/*.md.tmpl
var statementFiles embed.FS

//go:embed statement.html.tmpl
var statementPage string

// ScopeStatement writes the scope and trust statement in Markdown: what the
// system is made of as the collectors saw it, what was checked in each of the
// five stages, the four triggers that decide scope, and who is responsible for
// what. A claim whose controls are not met says so in its own place.
func ScopeStatement(w io.Writer, v View) error {
	return writeStatement(w, "scope", v)
}

// ScopeStatementHTML writes the same statement as one HTML file, under the same
// rules as Report.
func ScopeStatementHTML(w io.Writer, v View) error {
	return writeStatementHTML(w, "scope", v)
}

func writeStatement(w io.Writer, name string, v View) error {
	text, err := statementText(name, v)
	if err != nil {
		return fmt.Errorf("writing statement %s: %w", name, err)
	}
	_, err = io.WriteString(w, text)
	return err
}

func writeStatementHTML(w io.Writer, name string, v View) error {
	text, err := statementText(name, v)
	if err != nil {
		return fmt.Errorf("writing statement %s: %w", name, err)
	}
	title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
	data := struct {
		Title  string
		Banner banner
		Body   template.HTML
	}{unescapeMarkdown(title), v.banner(), template.HTML(markdownHTML(text))}
	if err := renderHTML(w, statementPage, data.Banner, data); err != nil {
		return fmt.Errorf("writing statement %s: %w", name, err)
	}
	return nil
}

// statementText executes a statement's template. All text that isn't the
// template's own goes through md or code.
func statementText(name string, v View) (string, error) {
	if err := v.check(); err != nil {
		return "", err
	}
	file := "statements/" + name + ".md.tmpl"
	body, err := statementFiles.ReadFile(file)
	if err != nil {
		return "", err
	}
	s := newStatement(v)
	t, err := texttemplate.New(file).Funcs(texttemplate.FuncMap{
		"md":       func(x any) string { return escapeMarkdown(fmt.Sprint(x)) },
		"code":     func(x any) string { return codeMarkdown(fmt.Sprint(x)) },
		"claim":    s.claim,
		"standing": s.standing,
		"span":     span,
		"stamp":    stamp,
		"count":    count,
	}).Parse(string(body))
	if err != nil {
		return "", fmt.Errorf("parsing template: %w", err)
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, s); err != nil {
		return "", err
	}
	return buf.String(), nil
}

// statement is what a statement's template may show.
type statement struct {
	View
	Banner   banner
	Boundary []part
	Triggers []trigger
	controls map[string]judged
}

func newStatement(v View) statement {
	s := statement{View: v, Banner: v.banner(), controls: map[string]judged{}}
	controls := v.judgedControls()
	for _, j := range controls {
		s.controls[j.ID] = j
	}
	seen := newSeen(v, controls)
	s.Boundary = seen.boundary()
	s.Triggers = seen.triggers()
	return s
}

// Unmet counts the controls that are not met, for the statement's own summary.
func (s statement) Unmet() int {
	n := 0
	for _, j := range s.controls {
		if j.Finding.Outcome != evidence.OutcomeMet {
			n++
		}
	}
	return n
}

// Total counts the controls of the view.
func (s statement) Total() int { return len(s.controls) }

// claim renders one claim as a list entry that begins with what became of it.
// It holds only where every named control is met; a control that was never
// assessed, or that nothing could be tested for, doesn't bear a claim out.
func (s statement) claim(text string, ids ...string) (string, error) {
	if len(ids) == 0 {
		return "", fmt.Errorf("the claim %q names no control", text)
	}
	worst := evidence.OutcomeMet
	rank := []evidence.Outcome{evidence.OutcomeMet, evidence.OutcomeNotApplicable, evidence.OutcomeNotAvailable, evidence.OutcomeError, evidence.OutcomeException}
	var why []string
	for _, id := range ids {
		j, ok := s.controls[id]
		if !ok {
			j.Finding = evidence.Finding{Outcome: evidence.OutcomeNotAvailable, Reason: "This control was not assessed."}
		}
		f := j.Finding
		if slices.Index(rank, f.Outcome) > slices.Index(rank, worst) {
			worst = f.Outcome
		}
		note := fmt.Sprintf("%s: %s.", id, strings.ToLower(outcomeWord(f.Outcome)))
		if f.Outcome != evidence.OutcomeMet {
			note += " " + escapeMarkdown(f.Reason)
		}
		why = append(why, note)
	}
	verdict := map[evidence.Outcome]string{
		evidence.OutcomeMet:           "✓ **Holds.** " + text,
		evidence.OutcomeNotApplicable: "– **Not put to the test: nothing to test in this period.** The claim was: “" + text + "”",
		evidence.OutcomeNotAvailable:  "? **Not shown: evidence is missing or incomplete.** The claim would be: “" + text + "”",
		evidence.OutcomeError:         "! **Not shown: a test could not be evaluated.** The claim would be: “" + text + "”",
		evidence.OutcomeException:     "✕ **Does not hold in this period.** The claim was: “" + text + "”",
	}[worst]
	return "- " + verdict + " (" + strings.Join(why, " ") + ")", nil
}

// standing names controls with their outcomes, all but met in bold.
func (s statement) standing(ids ...string) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		j, ok := s.controls[id]
		switch {
		case !ok:
			out[i] = id + " **not assessed**"
		case j.Finding.Outcome == evidence.OutcomeMet:
			out[i] = id + " met"
		default:
			out[i] = id + " **" + strings.ToLower(outcomeWord(j.Finding.Outcome)) + "**"
		}
	}
	return strings.Join(out, ", ")
}
