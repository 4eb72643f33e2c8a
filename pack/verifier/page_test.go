package verifier

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestPage: everything stands in the one file, and its policy names nothing
// that could be reached.
func TestPage(t *testing.T) {
	page, err := Page()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	if strings.Contains(text, "{{") {
		t.Error("the page has a place that was not filled")
	}
	for _, word := range []string{"unsafe-inline", "unsafe-eval", "http:", "https://fonts", "src=", "innerHTML", "eval("} {
		if strings.Contains(text, word) {
			t.Errorf("the page holds %q", word)
		}
	}
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)
	if policy == nil || !regexp.MustCompile(`^default-src &#39;none&#39;; script-src &#39;sha256-[A-Za-z0-9+/]{43}=&#39;; style-src &#39;sha256-[A-Za-z0-9+/]{43}=&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;$`).MatchString(policy[1]) {
		t.Errorf("policy %q", policy)
	}
	entries, err := sources.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".mjs") && name != "cli.mjs" && !strings.Contains(text, "// ---- "+name+" ----\n") {
			t.Errorf("%s is not in the page", name)
		}
	}
}

// TestUnitsInNode runs the unit tests of the modules in Node.
func TestUnitsInNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node: the unit tests of the JavaScript verifier did not run")
	}
	if _, err := os.Stat("testdata/unit.test.mjs"); err != nil { // and so that a change of it is not taken from the cache
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "testdata/unit.test.mjs").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if m := regexp.MustCompile(`(?m)^# pass ([0-9]+)$`).FindSubmatch(out); m == nil || string(m[1]) == "0" {
		t.Errorf("no unit test ran\n%s", out)
	}
}
