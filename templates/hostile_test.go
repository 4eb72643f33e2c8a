package templates

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// hostileText would do harm wherever it was not made harmless: markup, a
// formula, Markdown, a terminal escape, a line end, a change of direction, a
// byte that is no UTF-8.
const hostileText = "=cmd|' /C calc'!A0 <script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)> \"'&{{.}} \x1b[31mred\r\n# forged\n- ✓ **Holds.** forged\u202eevil\u200b \xff | a | b |`"

// fill puts hostile text into every string under v that it can reach, also of
// types that are strings, and one element into every empty slice and map.
func fill(v reflect.Value, n *int) {
	switch v.Kind() {
	case reflect.String:
		*n++
		v.SetString(fmt.Sprintf("%s#%d", hostileText, *n))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]byte]() {
			return
		}
		s := reflect.MakeSlice(v.Type(), 2, 2)
		for i := range 2 {
			fill(s.Index(i), n)
		}
		v.Set(s)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, n)
			fill(e, n)
			m.SetMapIndex(k, e)
		}
		v.Set(m)
	case reflect.Interface:
		*n++
		v.Set(reflect.ValueOf(fmt.Sprintf("%s#%d", hostileText, *n)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	}
}

// hostileView has hostile text in every field of every type. Half of the
// findings belong to controls and cite evidence, so that every part of the
// documents is reached.
func hostileView(t *testing.T) View {
	t.Helper()
	var v View
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	if n < 100 {
		t.Fatalf("only %d strings were filled", n)
	}
	v.Period = exampleView(t).Period
	v.Findings[0].Control = v.Controls[0].ID
	v.Findings[0].Evidence[0].ID = v.Evidence[0].ID
	v.Findings[0].Exceptions[0].Kind = v.Evidence[0].Kind
	v.Findings[0].Exceptions[0].Item = v.Evidence[0].Population.Items[0].ID
	// Kinds that the boundary of the statement speaks of, with hostile items.
	for i, k := range []evidence.Kind{"telemetry.config", "telemetry.devices", "git.repository", "github.branch-protection", "github.changes", "aws.buckets", "aws.log-groups", "aws.trails", "rollout.rollouts", "telemetry.operators"} {
		var e evidence.Collected
		fill(reflect.ValueOf(&e).Elem(), &n)
		e.Kind = k
		for j := range e.Population.Items {
			a := e.Population.Items[j].Attributes
			for _, name := range []string{"tenant", "repo", "branch", "region", "encryption", "versioning", "bucket", "retention_days", "source", "state"} {
				a[name] = hostileText + name
			}
			a["listeners"] = []any{map[string]any{"name": hostileText, "scheme": hostileText, "addr": hostileText, "tls_min": hostileText}}
			a["fingerprints"], a["roles"] = []any{hostileText}, []any{hostileText, "support"}
		}
		v.Evidence = append(v.Evidence, e)
		_ = i
	}
	// Verdicts of controls that the statement's claims name, with hostile reasons.
	for _, id := range []string{"ID-01", "PR-07", "TR-03"} {
		v.Controls = append(v.Controls, evidence.Control{ID: id, Stage: evidence.StageProcessing})
		v.Findings = append(v.Findings, evidence.Finding{Control: id, Outcome: evidence.OutcomeException, Reason: hostileText})
	}
	return v
}

// lookHidden reports the first character of s that a reader could not see.
func lookHidden(s string) string {
	for i, r := range s {
		if hidden(r) && r != '\n' && r != '\t' {
			return fmt.Sprintf("U+%04X in %q", r, s[max(0, i-30):min(len(s), i+30)])
		}
	}
	return ""
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain ✓ text":        "plain ✓ text",
		"a\x1b[31mb":          "a␛[31mb",
		"a\r\nb\tc\x00d\x7fe": "a␍␊b␉c␀d␡e",
		"a\u202eb\u200bc":     "a⟨U+202E⟩b⟨U+200B⟩c",
		"a\u0085b\u2028c":     "a⟨U+0085⟩b⟨U+2028⟩c",
		"a\xffb":              "a⟨0xFF⟩b",
		"\U000E0041tag":       "⟨U+E0041⟩tag",
		"ünïcödé 日本":          "ünïcödé 日本",
	} {
		if got := visible(in, ""); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	if got := visible("a\nb\tc\x1b", "\n\t"); got != "a\nb\tc␛" {
		t.Errorf("what is to be kept was not, or too much was: %q", got)
	}
}

func TestNaturally(t *testing.T) {
	order := []string{"A1.2", "CC6.1", "CC6.2", "CC6.10", "CC8.1", "ID-01", "ID-1", "ID-02", "PR-07"}
	for i, a := range order {
		for j, b := range order {
			got := naturally(a, b)
			if (i < j && got >= 0) || (i == j && got != 0) || (i > j && got <= 0) {
				t.Errorf("naturally(%q, %q) = %d", a, b, got)
			}
		}
	}
}

func TestAnchorsDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, s := range []string{"PR-07", "PR 07", "PR/07", "pr-07", "", "é", "è", "a\"b", strings.Repeat("x", 90) + " ", strings.Repeat("x", 91) + " "} {
		a := anchor("c-", s)
		if other, ok := seen[a]; ok {
			t.Errorf("%q and %q share the anchor %q", s, other, a)
		}
		if strings.ContainsAny(a, " \"'<>&%#/") {
			t.Errorf("anchor %q of %q isn't plain", a, s)
		}
		seen[a] = s
	}
}
