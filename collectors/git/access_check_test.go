package git

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/evidence"
)

// Each clone or bundle has its row, which says why what is not there is not.
func TestCheckAccess(t *testing.T) {
	b := newRepo(t)
	b.commit(day(7, 1), "first", "a")
	torn := filepath.Join(t.TempDir(), "torn.bundle")
	if err := os.WriteFile(torn, []byte("# v2 git bundle\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	repos := []Repository{
		{Path: b.dir, Name: "clone"},
		{Path: b.dir, Name: "branch", Branch: "nowhere"},
		{Path: filepath.Join(b.dir, "no"), Name: "away"},
		{Path: torn, Name: "torn"},
	}
	want := []struct{ name, said string }{
		{"clone", ""}, {"branch", `no branch "nowhere"`}, {"away", "repository does not exist"}, {"torn", "cut off"},
	}
	if _, err := exec.LookPath("git"); err == nil {
		file := bundleOf(t, b, plainBundle, "main")
		repos = append(repos, Repository{Path: file, Name: "bundle"}, Repository{Path: file, Name: "other", Branch: "nowhere"})
		want = append(want, struct{ name, said string }{"bundle", "head alone was read"}, struct{ name, said string }{"other", `no branch "nowhere"`})
	}
	c, err := New(Config{Repositories: repos}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.CheckAccess(t.Context())
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	for i, w := range want {
		state := evidence.AccessLacking
		if w.name == "clone" || w.name == "bundle" {
			state = evidence.AccessGranted
		}
		if g := got[i]; g.Target != w.name || g.State != state || !strings.Contains(g.Said, w.said) || len(g.Kinds) != 3 || g.Source != "git" {
			t.Errorf("%s: %+v, want %s, %q", w.name, g, state, w.said)
		}
	}
}
