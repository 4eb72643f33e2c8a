package github

import (
	"fmt"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

func TestLinkedIssues(t *testing.T) {
	for text, want := range map[string]string{
		"Fixes #12":                            "[acme/meter#12]",
		"closes: #3, resolved acme/ops#4":      "[acme/meter#3 acme/ops#4]",
		"FIX https://git.example/a/b/issues/7": "[a/b#7]",
		"Fixes #12, fixes #12":                 "[acme/meter#12]",
		"see #12; prefixes #3; fixes the #4":   "[]",
		"fixes #12abc":                         "[]",
		"":                                     "[]",
	} {
		if got := fmt.Sprint(linkedIssues("acme/meter", text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	b := newBench(t)
	b.server.Inject(httpreplay.Fault{Path: "/repos/acme/meter/pulls/1", Status: 200, Body: `{"number":1,"body":"Resolves #8","state":"closed","merged":true,"commits":2,` +
		`"user":{"login":"anna"},"created_at":"2026-08-01T00:00:00Z","merged_at":"2026-08-02T10:00:00Z","merge_commit_sha":"m1","head":{"sha":"h1b"},"base":{"ref":"main"}}`})
	if got := fmt.Sprint(item(t, b.collect()[KindPullRequests], "acme/meter#1")["linked_issues"]); got != "[acme/meter#8]" {
		t.Errorf("linked issues %s", got)
	}
}

// Who may bypass a ruleset is shown only to who may change it: where it is not
// shown, nothing says that nobody may.
func TestBypassThatIsNotShown(t *testing.T) {
	for body, shown := range map[string]bool{
		`{"id":11,"name":"main","enforcement":"active","rules":[],"bypass_actors":[]}`: true,
		`{"id":11,"name":"main","enforcement":"active","rules":[]}`:                    false,
	} {
		b := newBench(t)
		b.server.Inject(httpreplay.Fault{Path: "*/protection", Status: 404, Body: `{"message":"Branch not protected"}`})
		b.server.Inject(httpreplay.Fault{Path: "*/rulesets/11", Status: 200, Body: body})
		got := b.collect()
		for _, kind := range []evidence.Kind{KindProtection, KindRulesets} {
			if (got[kind].Completeness.State == evidence.Complete) != shown {
				t.Errorf("%s: %s, %s: %v", body, kind, got[kind].Completeness.State, got[kind].Completeness.Gaps)
			}
		}
		if admins := item(t, got[KindProtection], "acme/meter@main")["enforce_admins"]; admins != shown {
			t.Errorf("%s: administrators are included: %v", body, admins)
		}
	}
}
