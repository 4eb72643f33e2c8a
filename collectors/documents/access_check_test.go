package documents

import (
	"path/filepath"
	"strings"
	"testing"

	"trustpack/evidence"
)

// What Collect could not use is said of each kind.
func TestCheckAccess(t *testing.T) {
	broken := strings.Replace(accessReview, "decision: keep", "decision: perhaps", 1)
	for name, c := range map[string]struct {
		dir              string
		docs, reviews    evidence.AccessState
		docSaid, revSaid string
	}{
		"whole":   {write(t, map[string]string{"a.md": runbook, "b.md": accessReview}), evidence.AccessGranted, evidence.AccessGranted, "", ""},
		"missing": {filepath.Join(t.TempDir(), "no"), evidence.AccessLacking, evidence.AccessLacking, "cannot be opened", "cannot be opened"},
		"row":     {write(t, map[string]string{"b.md": broken}), evidence.AccessGranted, evidence.AccessLacking, "", "perhaps"},
		"torn":    {write(t, map[string]string{"a.md": "---\ntitle: [\n---\n"}), evidence.AccessLacking, evidence.AccessLacking, "a.md: ", "a.md: "},
	} {
		made, err := New(Config{Folder: c.dir}, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := made.(evidence.AccessChecker).CheckAccess(t.Context())
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		for i, want := range []struct {
			state evidence.AccessState
			said  string
		}{{c.docs, c.docSaid}, {c.reviews, c.revSaid}} {
			if g := got[i]; g.State != want.state || !strings.Contains(g.Said, want.said) || (g.Said == "") != (want.said == "") || g.Principal != "" || g.Kinds[0] != made.Kinds()[i] {
				t.Errorf("%s: %+v, want %s, %q", name, g, want.state, want.said)
			}
		}
	}
}
