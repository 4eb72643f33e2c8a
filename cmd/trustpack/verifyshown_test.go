package main

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/pack"
)

// TestWhatIsShownIsWhatJudged: a vendor signs a pack whose control.json or whose
// pack.json speak of another catalog than the one in it, by which its findings
// are judged again; nothing that a reader sees would tell.
func TestWhatIsShownIsWhatJudged(t *testing.T) {
	signer, err := pack.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := controls.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	period, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		t.Fatal(err)
	}
	assessed, err := catalog.Assess(controls.Input{Period: period})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*pack.Content)
		fails  string
	}{
		"honest": {func(*pack.Content) {}, ""},
		"a stricter test shown": {func(c *pack.Content) {
			c.Controls = slices.Clone(c.Controls)
			c.Controls[0].Attributes = slices.Clone(c.Controls[0].Attributes)
			c.Controls[0].Attributes[0].Test = "item.approvals >= 10"
		}, "its control.json is not what the catalog in the pack says"},
		"a better objective shown": {func(c *pack.Content) {
			c.Controls = slices.Clone(c.Controls)
			c.Controls[0].Objective = "All is well."
		}, "its control.json is not what the catalog in the pack says"},
		"a control that never judged": {func(c *pack.Content) {
			c.Controls = append(slices.Clone(c.Controls), evidence.Control{ID: "ZZ-99", Title: "All is well", Stage: evidence.StageIdentity})
		}, "its control.json is not what the catalog in the pack says"},
		"another catalog named": {func(c *pack.Content) { c.CatalogSHA256 = strings.Repeat("ab", 32) }, "pack.json names the catalog abab"},
		"no catalog named":      {func(c *pack.Content) { c.CatalogSHA256 = "" }, "pack.json names the catalog none"},
	} {
		c := pack.Content{
			Organisation: "Example", System: "Meters", Tool: "another tool", Period: period, Sequence: 1,
			CatalogSHA256: catalog.SHA256(), CatalogFiles: catalog.Files(), Controls: catalog.Controls(), Findings: assessed.Findings,
			Secret: bytes.Repeat([]byte{9}, 32), Extra: []pack.File{{Path: policyFile, MediaType: "application/json", Body: []byte("{}\n")}},
		}
		tc.change(&c)
		var out bytes.Buffer
		if _, err := pack.Build(&out, c, signer); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := pack.Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), verifyOptions("x", []pack.PublicKey{signer.Public()}, nil))
		i := slices.IndexFunc(r.Checks, func(c pack.Check) bool { return c.ID == "findings.reevaluated" })
		switch got := r.Checks[i]; {
		case tc.fails == "" && (r.Exit != 0 || got.Status != pack.Passed):
			t.Errorf("%s: exit %d, %+v", name, r.Exit, got)
		case tc.fails != "" && (r.Exit != 1 || got.Status != pack.Failed || !strings.Contains(got.Actual, tc.fails)):
			t.Errorf("%s: exit %d, %+v; want %q", name, r.Exit, got, tc.fails)
		}
	}
}
