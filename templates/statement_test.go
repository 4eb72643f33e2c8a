package templates

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"trustpack/evidence"
)

func TestScopeStatement(t *testing.T) {
	text := written(t, ScopeStatement, exampleView(t))
	for _, want := range []string{
		"SAMPLE DATA · SIMULATED CLOCK", "Lindenau Metering GmbH", "2026-Q3 (2026-07-01 to 2026-09-30, UTC)", "**8 of 14 controls are not met",
		"`https://0.0.0.0:8443`", "`stadtwerk-nord`: 20 devices", "`lindenau/gridpulse-pipeline`", "`111122223333`", "`111122223333/gridpulse-archive`: eu-central-1, encryption aws:kms, versioning Enabled, Object Lock on",
		"aws.log-groups: region eu-west-1. AccessDeniedException", "No evidence of aws.trails was collected.",
		"| Do devices authenticate to the cloud? | **Yes** | telemetry.devices: 40 devices hold credentials (canary devices of drills left out). |", "**Not observable**",
		"### 1. Identity", "### 2. Transport", "### 3. Processing", "### 4. Storage & Retention", "### 5. Auditability",
		"- ✓ **Holds.** Every device has an identity of its own",
		"- ✕ **Does not hold in this period.** The claim was: “Every change to the pipeline", "(PR-07: exception. 3 of 4 changes did not pass",
		"TR-03: not available. This control was not assessed. TR-04: not available. No drill",
		"- ! **Not shown: a test could not be evaluated.**",
		"| Physical access |", "PR-07 **exception**, PR-11 **exception**", "TR-03 **not assessed**",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the statement doesn't say %q", want)
		}
	}
	doc := parsed(t, written(t, ScopeStatementHTML, exampleView(t)))
	claims := map[string]int{}
	for _, li := range all(doc, "li") {
		if c, ok := strings.CutPrefix(attribute(li, "class"), "claim "); ok {
			claims[c]++
		}
	}
	if claims["met"] != 6 || claims["exception"] != 4 || claims["error"] != 1 || claims["not-available"] != 6 {
		t.Errorf("claims by outcome: %v", claims)
	}
	if got := written(t, ScopeStatement, realView(t)); strings.Contains(got, "SAMPLE") || strings.Contains(got, "SIMULATED") {
		t.Error("the statement of the real thing carries a banner")
	}
}

// TestClaimHoldsOnlyIfEverythingIsMet goes through every outcome.
func TestClaimHoldsOnlyIfEverythingIsMet(t *testing.T) {
	v := View{Period: exampleView(t).Period}
	for _, o := range outcomes() {
		v.Controls = append(v.Controls, evidence.Control{ID: string(o)})
		v.Findings = append(v.Findings, evidence.Finding{Control: string(o), Outcome: o, Reason: "why " + string(o)})
	}
	s := newStatement(v)
	for _, c := range []struct {
		ids  []string
		want string
	}{
		{[]string{"met"}, "✓ **Holds.** T"}, {[]string{"met", "met"}, "✓ **Holds.** T"},
		{[]string{"met", "not-applicable"}, "– **Not put to the test"}, {[]string{"not-applicable", "not-available"}, "? **Not shown"},
		{[]string{"met", "unheard-of"}, "? **Not shown"}, {[]string{"not-available", "error"}, "! **Not shown"},
		{[]string{"exception", "met"}, "✕ **Does not hold"}, {[]string{"error", "exception"}, "✕ **Does not hold"},
	} {
		got, err := s.claim("T", c.ids...)
		if err != nil || !strings.HasPrefix(got, "- "+c.want) {
			t.Errorf("claim resting on %v: %q, %v, want %q", c.ids, got, err, c.want)
		}
		for _, id := range c.ids {
			if id != "met" && id != "unheard-of" && !strings.Contains(got, "why "+id) {
				t.Errorf("claim resting on %v doesn't give the reason of %s: %q", c.ids, id, got)
			}
		}
	}
	if _, err := s.claim("T"); err == nil {
		t.Error("a claim that names no control was let through")
	}
}

// TestStatementsNameControls reads the statements as data: each claim names
// controls by IDs of the catalog's form.
func TestStatementsNameControls(t *testing.T) {
	files, err := fs.Glob(statementFiles, "statements/*.md.tmpl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no statements: %v", err)
	}
	action := regexp.MustCompile(`\{\{(claim|standing)( "[^"]*")+\}\}`)
	id := regexp.MustCompile(`"((?:ID|TR|PR|ST|AU)-\d\d)"`)
	for _, f := range files {
		body, err := statementFiles.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found := action.FindAllString(string(body), -1)
		if len(found) == 0 || len(found) != strings.Count(string(body), "{{claim")+strings.Count(string(body), "{{standing") {
			t.Errorf("%s: %d claims are of the form that names controls", f, len(found))
		}
		for _, c := range found {
			if !id.MatchString(c) {
				t.Errorf("%s: no control is named in %s", f, c)
			}
		}
	}
}

func TestHostileStatementMarkdown(t *testing.T) {
	text := written(t, ScopeStatement, hostileView(t))
	if at := lookHidden(text); at != "" {
		t.Errorf("the statement holds a character that nobody can see: %s", at)
	}
	for l := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(l, "# forged") || strings.HasPrefix(l, "- ✓ **Holds.** forged") {
			t.Errorf("evidence has forged the line %q", l)
		}
		// Outside of our own code spans no angle bracket may stand unescaped.
		if i := strings.Index(l, "<script"); i >= 0 && l[i-1] != '\\' {
			t.Errorf("markup in %q", l)
		}
	}
}

func TestMarkdown(t *testing.T) {
	for in, want := range map[string]string{
		"# A *b*\n":                "<h1>A *b*</h1>\n",
		"one\ntwo\n\nthree":        "<p>one two</p>\n<p>three</p>\n",
		"- a **b** `c<d`\n- e":     "<ul>\n<li>a <strong>b</strong> <code>c&lt;d</code></li>\n<li>e</li>\n</ul>\n",
		`\<b\> \*\*x\*\* <i>`:      "<p>&lt;b&gt; **x** &lt;i&gt;</p>\n",
		"> q":                      "<blockquote>\n<p>q</p>\n</blockquote>\n",
		"- ✕ **Does not hold.** x": "<ul>\n<li class=\"claim exception\">✕ <strong>Does not hold.</strong> x</li>\n</ul>\n",
		"## T\n\n| a | b |\n|---|---|\n| c\\|d | e |": "<h2>T</h2>\n<div class=\"scroll\" role=\"region\" aria-label=\"Table: T\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">a</th><th scope=\"col\">b</th></tr></thead>\n<tbody>\n<tr><th scope=\"row\">c|d</th><td>e</td></tr>\n</tbody></table></div>\n",
	} {
		if got := markdownHTML(in); got != want {
			t.Errorf("markdownHTML(%q) = %q, want %q", in, got, want)
		}
	}
	for _, s := range []string{hostileText, "plain", "`", "a|b", `\`, "**", " led"} {
		for name, make := range map[string]func(string) string{"md": escapeMarkdown, "code": codeMarkdown} {
			doc := parsed(t, markdownHTML("x "+make(s)+" y"))
			if got, want := textOf(doc), strings.Join(strings.Fields("x "+line(s)+" y"), " "); got != want {
				t.Errorf("%s(%q) reads %q, want %q", name, s, got, want)
			}
			if n := len(all(doc, "strong")) + len(all(doc, "script")); n > 0 {
				t.Errorf("%s(%q) made elements", name, s)
			}
		}
	}
}
