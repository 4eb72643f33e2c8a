package pack

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func reportSchema(t testing.TB) (*jsonschema.Schema, any) {
	t.Helper()
	raw, err := os.ReadFile("report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("report.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s, doc
}

// asJSON is v as a program reads it.
func asJSON(t testing.TB, v any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return doc.(map[string]any)
}

// TestReportsFitTheSchema holds the documented JSON to what is printed: for
// every vector, for a stamped pack, for one that cannot be read, for bad
// options.
func TestReportsFitTheSchema(t *testing.T) {
	s, _ := reportSchema(t)
	stamped, o := stampedPack(t, newTestTSA(t, false))
	reports := []Report{verifyBytes(stamped, o), verifyBytes(nil, o), verifyBytes(stamped, VerifyOptions{RequireRoles: []string{"king"}})}
	if len(reports[0].Timestamps) != 1 || reports[0].Exit != 0 || reports[2].Exit != 2 {
		t.Fatalf("exits %d and %d", reports[0].Exit, reports[2].Exit)
	}
	for _, v := range vectors(t) {
		reports = append(reports, verifyBytes(v.pack, v.options(t)))
	}
	withheld := false
	for _, r := range reports {
		withheld = withheld || len(r.Withheld) > 0
		if err := s.Validate(asJSON(t, r)); err != nil {
			t.Errorf("%s: %v", r.Pack, err)
		}
	}
	if !withheld {
		t.Error("no report of a redacted pack is among them")
	}
}

// TestSchemaRefuses: it would tell a report of another form.
func TestSchemaRefuses(t *testing.T) {
	s, doc := reportSchema(t)
	check := doc.(map[string]any)["properties"].(map[string]any)["checks"].(map[string]any)["items"].(map[string]any)["properties"].(map[string]any)["id"].(map[string]any)
	var ids []string
	for _, id := range check["enum"].([]any) {
		ids = append(ids, id.(string))
	}
	if !slices.Equal(ids, CheckIDs()) {
		t.Errorf("the schema's checks are %q, ours %q", ids, CheckIDs())
	}
	signer := edSigner(t, 1)
	good := verifyBytes(buildPack(t, content(t), signer), options(t, signer))
	for name, change := range map[string]func(map[string]any){
		"an exit that is not the verdict's": func(m map[string]any) { m["exit"] = 1 },
		"a member that is not documented":   func(m map[string]any) { m["more"] = true },
		"a member missing":                  func(m map[string]any) { delete(m, "checks") },
		"a status that is none":             func(m map[string]any) { m["checks"].([]any)[0].(map[string]any)["status"] = "fine" },
	} {
		doc := asJSON(t, good)
		change(doc)
		if s.Validate(doc) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
