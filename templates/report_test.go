package templates

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"trustpack/evidence"
)

func written(t *testing.T, write func(io.Writer, View) error, v View) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func parsed(t *testing.T, doc string) *html.Node {
	t.Helper()
	n, err := html.Parse(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// all gives the elements of a name under n, or every element for "".
func all(n *html.Node, name string) []*html.Node {
	var out []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && (name == "" || d.Data == name) {
			out = append(out, d)
		}
	}
	return out
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// textOf is the text under n, white space folded; the style sheet is no text.
func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && (d.Parent == nil || d.Parent.Data != "style") {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func byID(t *testing.T, doc *html.Node, id string) *html.Node {
	t.Helper()
	for _, n := range all(doc, "") {
		if attribute(n, "id") == id {
			return n
		}
	}
	t.Fatalf("no element has the id %q", id)
	return nil
}

// article is the control's card: the element that its heading stands in.
func article(t *testing.T, doc *html.Node, control string) *html.Node {
	t.Helper()
	n := byID(t, doc, anchor("control-", control))
	for n.Data != "article" {
		n = n.Parent
	}
	return n
}

func has(t *testing.T, where, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s doesn't say %q", where, w)
		}
	}
}

func TestReportShowsEverything(t *testing.T) {
	v := exampleView(t)
	doc := parsed(t, written(t, Report, v))
	attention := textOf(byID(t, doc, "attention").Parent)
	for _, c := range v.Controls {
		text := textOf(article(t, doc, c.ID))
		has(t, c.ID, text, c.ID, c.Title, c.Objective)
		for _, cr := range c.Criteria {
			has(t, c.ID, text, string(cr))
		}
		for p := range strings.SplitSeq(c.Guidance, "\n\n") {
			has(t, c.ID, text, p)
		}
		for _, f := range v.Findings {
			if f.Control != c.ID {
				continue
			}
			has(t, c.ID, text, f.Reason, outcomeWord(f.Outcome))
			for _, a := range f.Attributes {
				has(t, c.ID, text, a.Title, a.Reason)
				if told := strings.Contains(attention, a.Title+"."); told != (a.Outcome != evidence.OutcomeMet && a.Outcome != evidence.OutcomeNotApplicable) {
					t.Errorf("%s: what needs attention tells of %q, which is %s: %v", c.ID, a.Title, a.Outcome, told)
				}
			}
			for _, x := range f.Exceptions {
				has(t, c.ID, text, x.Item, x.Detail, x.Waiver)
			}
			for _, e := range f.Evidence {
				has(t, c.ID, text, string(e.Kind), e.ID[:12], stamp(e.CollectedAt))
			}
		}
	}
	has(t, "ST-03", textOf(article(t, doc, "ST-03")), "no evidence of aws.trails was judged", "INCOMPLETE", "region eu-west-1", "AccessDeniedException", "RECORDED SAMPLE", "SIMULATED CLOCK", "user/gridpulse-evidence", "111122223333", "retention_days", "null")
	whole := textOf(doc)
	for _, e := range v.Evidence {
		has(t, "the evidence index", whole, e.ID)
	}
	tiles := textOf(byID(t, doc, "summary").Parent)
	has(t, "the summary", tiles, "6 ✓ Met", "4 ✕ Exception", "2 ? Not available", "1 – Not applicable", "1 ! Error", "7 exceptions")
	var order []string
	for _, th := range all(byID(t, doc, "criteria").Parent, "th") {
		if strings.HasPrefix(attribute(th, "id"), "criterion-") {
			order = append(order, textOf(th))
		}
	}
	if got, want := strings.Join(order, " "), "CC6.1 CC6.2 CC6.3 CC6.6 CC6.7 CC7.2 CC7.3 CC7.4 CC8.1 A1.1 A1.2 C1.2 PI1.2 PI1.3 PI1.4"; got != want {
		t.Errorf("criteria are in the order %s, want %s", got, want)
	}
	rest := textOf(byID(t, doc, "not-assessed").Parent)
	has(t, "what was not assessed", rest, "TR-04", "AU-05", "AU-08", "PR-03", "The trail is logging", "telemetry.throttling", "documents.access-reviews", "region eu-west-1", "aws.buckets")
}

func TestReportBanner(t *testing.T) {
	const shout = "SAMPLE DATA · SIMULATED CLOCK"
	if got := textOf(parsed(t, written(t, Report, exampleView(t)))); strings.Count(got, shout) < 3 {
		t.Error("the report of a sample doesn't carry its banner")
	}
	if got := written(t, Report, realView(t)); strings.Contains(got, "SAMPLE") || strings.Contains(got, "SIMULATED") || strings.Contains(got, `class="banner"`) {
		t.Error("the report of the real thing carries a banner")
	}
	// One piece of sample evidence is enough, also where the view didn't say so.
	v := realView(t)
	v.Evidence[3].Provenance.Origin = evidence.OriginSample
	if got := textOf(parsed(t, written(t, Report, v))); !strings.Contains(got, "SAMPLE DATA") || strings.Contains(got, "SIMULATED") {
		t.Error("one piece of sample evidence must bring the banner of a sample, and that alone")
	}
	v = realView(t)
	v.Findings[2].Clock = evidence.ClockSimulated
	if got := textOf(parsed(t, written(t, Report, v))); !strings.Contains(got, "SIMULATED CLOCK") || strings.Contains(got, "SAMPLE DATA") {
		t.Error("one finding on simulated time must bring that banner alone")
	}
}

// structure checks what holds for every HTML document that we write.
func structure(t *testing.T, name, raw string) *html.Node {
	t.Helper()
	if at := lookHidden(raw); at != "" {
		t.Errorf("%s holds a character that nobody can see: %s", name, at)
	}
	doc := parsed(t, raw)
	ids := map[string]bool{}
	level := 0
	for _, n := range all(doc, "") {
		switch n.Data {
		case "script", "img", "iframe", "object", "embed", "link", "form", "input", "base", "audio", "video":
			t.Errorf("%s: <%s> must not be there", name, n.Data)
		case "h1", "h2", "h3", "h4", "h5", "h6":
			now := int(n.Data[1] - '0')
			if now > level+1 || (now == 1 && level != 0) {
				t.Errorf("%s: <%s> %q follows a heading of level %d", name, n.Data, textOf(n), level)
			}
			level = now
		case "th":
			if attribute(n, "scope") == "" {
				t.Errorf("%s: table header %q has no scope", name, textOf(n))
			}
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "href" && !strings.HasPrefix(a.Val, "#"), a.Key == "src", a.Key == "srcset", a.Key == "style", strings.HasPrefix(a.Key, "on"):
				t.Errorf("%s: <%s %s=%q> must not be there", name, n.Data, a.Key, a.Val)
			case a.Key == "id":
				if ids[a.Val] {
					t.Errorf("%s: two elements have the id %q", name, a.Val)
				}
				ids[a.Val] = true
			}
		}
	}
	for _, n := range all(doc, "") {
		if to := strings.TrimPrefix(attribute(n, "href"), "#"); to != "" && !ids[to] {
			t.Errorf("%s: a link leads to %q, which isn't there", name, to)
		}
		if to := attribute(n, "aria-labelledby"); to != "" && !ids[to] {
			t.Errorf("%s: %q is to be a label and isn't there", name, to)
		}
	}
	for _, l := range []string{"main", "h1", "title"} {
		if got := len(all(doc, l)); got != 1 {
			t.Errorf("%s has %d <%s>", name, got, l)
		}
	}
	policy(t, name, doc)
	return doc
}

// policy checks that the page's own security policy lets its one style sheet
// in, by hash, and nothing else.
func policy(t *testing.T, name string, doc *html.Node) {
	t.Helper()
	styles := all(doc, "style")
	if len(styles) != 1 || styles[0].FirstChild == nil {
		t.Fatalf("%s: want one style sheet", name)
	}
	sum := sha256.Sum256([]byte(styles[0].FirstChild.Data))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	for _, m := range all(doc, "meta") {
		if attribute(m, "http-equiv") == "Content-Security-Policy" {
			if got := attribute(m, "content"); got != want {
				t.Errorf("%s: policy is %q, want %q", name, got, want)
			}
			return
		}
	}
	t.Errorf("%s has no security policy", name)
}

func TestHTMLStructure(t *testing.T) {
	for name, write := range map[string]func(io.Writer, View) error{"report": Report, "statement": ScopeStatementHTML} {
		structure(t, name, written(t, write, exampleView(t)))
		structure(t, name+" of nothing", written(t, write, View{Period: exampleView(t).Period}))
		doc := structure(t, "hostile "+name, written(t, write, hostileView(t)))
		// The forged claim may stand there as text, never as an entry of its own.
		for _, li := range all(doc, "li") {
			if strings.HasPrefix(textOf(li), "✓ Holds. forged") {
				t.Errorf("%s: evidence has forged a claim: %q", name, textOf(li))
			}
		}
		for _, h := range all(doc, "h1") {
			if strings.HasPrefix(textOf(h), "forged") {
				t.Errorf("%s: evidence has forged a heading", name)
			}
		}
		has(t, "hostile "+name, textOf(doc), "<script>alert(1)</script>", "␛[31m", "⟨U+202E⟩", "⟨0xFF⟩")
	}
}

func TestReportCountsLongLists(t *testing.T) {
	v := exampleView(t)
	for i := range v.Findings {
		if v.Findings[i].Control == "PR-07" {
			for n := range 254 {
				v.Findings[i].Exceptions = append(v.Findings[i].Exceptions, evidence.Exception{Attribute: "approved", Kind: "github.changes", Item: fmt.Sprintf("extra-%03d", n), Outcome: evidence.OutcomeException, Detail: "direct-push"})
			}
		}
	}
	doc := parsed(t, written(t, Report, v))
	if got := textOf(article(t, doc, "PR-08")); strings.Contains(got, "not shown here") {
		t.Error("a short list says that some of it isn't shown")
	}
	card := article(t, doc, "PR-07")
	rows := 0
	for _, table := range all(card, "table") {
		if attribute(table, "class") == "exceptions" {
			rows = len(all(all(table, "tbody")[0], "tr"))
		}
	}
	if rows != 200 {
		t.Errorf("%d exceptions are shown, want 200", rows)
	}
	has(t, "PR-07", textOf(card), "57 more exceptions are not shown here", "All 257", "workbook", "findings.json")
}

func TestReportNeverPassesWhatIsAbsent(t *testing.T) {
	v := exampleView(t)
	v.Findings = slices.DeleteFunc(v.Findings, func(f evidence.Finding) bool { return f.Control == "ID-01" })
	v.Findings[0].Outcome = "passed" // no word of the vocabulary
	v.Findings = append(v.Findings, evidence.Finding{Control: "XX-99", Outcome: evidence.OutcomeException, Reason: "of another catalog"})
	v.Evidence = slices.DeleteFunc(v.Evidence, func(e evidence.Collected) bool { return e.Kind == "telemetry.books" })
	doc := parsed(t, written(t, Report, v))
	has(t, "ID-01", textOf(article(t, doc, "ID-01")), "Not available", "No finding was made", "rests on no evidence")
	has(t, "an unknown outcome", textOf(article(t, doc, v.Findings[0].Control)), "Error.")
	has(t, "the summary", textOf(byID(t, doc, "summary").Parent), "2 ! Error", "4 ✓ Met")
	has(t, "a finding without a control", textOf(article(t, doc, "XX-99")), "of another catalog", "Not in the catalog")
	has(t, "a citation without a record", textOf(article(t, doc, "PR-06")), "its record is not part of this document")
}

// TestReportDoubtsCompleteness takes a record at its numbers, not at its word.
func TestReportDoubtsCompleteness(t *testing.T) {
	for name, change := range map[string]func(*evidence.Completeness){
		"another total": func(c *evidence.Completeness) { n := c.Got + 1; c.Expected = &n },
		"a gap":         func(c *evidence.Completeness) { c.Gaps = []evidence.Gap{{What: "page 2", Reason: "500"}} },
	} {
		v := exampleView(t)
		for i := range v.Evidence {
			if v.Evidence[i].Kind == "telemetry.books" {
				change(&v.Evidence[i].Completeness)
			}
		}
		doc := parsed(t, written(t, Report, v))
		has(t, name+": PR-06", textOf(article(t, doc, "PR-06")), "INCOMPLETE")
		has(t, name+": the matrix", textOf(byID(t, doc, "matrix").Parent), "telemetry.books incomplete")
		has(t, name+": what was not assessed", textOf(byID(t, doc, "not-assessed").Parent), "telemetry.books of")
	}
}

func TestViewsThatAreRefused(t *testing.T) {
	twice := exampleView(t)
	twice.Findings = append(twice.Findings, twice.Findings[0])
	controls := exampleView(t)
	controls.Controls = append(controls.Controls, controls.Controls[0])
	for want, v := range map[string]View{"no period": {}, "two findings": twice, "stands twice": controls} {
		for name, write := range map[string]func(io.Writer, View) error{"report": Report, "workbook": Workbook, "statement": ScopeStatement, "statement page": ScopeStatementHTML} {
			var b bytes.Buffer
			if err := write(&b, v); err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
				t.Errorf("%s: got %v and %d bytes, want an error about %q and nothing written", name, err, b.Len(), want)
			}
		}
	}
}

// TestSameBytes turns the view's lists around: the order in which things were
// found must not show in any document.
func TestSameBytes(t *testing.T) {
	for name, write := range map[string]func(io.Writer, View) error{"report": Report, "workbook": Workbook, "statement": ScopeStatement, "statement page": ScopeStatementHTML} {
		first := written(t, write, exampleView(t))
		for range 5 {
			v := exampleView(t)
			slices.Reverse(v.Controls)
			slices.Reverse(v.Findings)
			slices.Reverse(v.Evidence)
			if written(t, write, v) != first {
				t.Errorf("%s: equal views gave different bytes", name)
				break
			}
		}
	}
}
