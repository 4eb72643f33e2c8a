package collectors

import (
	"slices"
	"testing"
	"time"

	"trustpack/collectors/aws"
	"trustpack/collectors/documents"
	"trustpack/collectors/git"
	"trustpack/collectors/github"
	"trustpack/collectors/rollout"
	"trustpack/collectors/telemetry"
	"trustpack/evidence"
)

func everything() Config {
	return Config{
		Telemetry: &telemetry.Config{URL: "https://127.0.0.1:1", Cert: "c", Key: "k", CA: "r", LogKeys: []string{"v"}},
		Git:       &git.Config{Repositories: []git.Repository{{Path: "repo"}}, Signers: git.Signers{AllowedSigners: "signers", OpenPGP: []string{"pgp"}}},
		GitHub:    &github.Config{Organization: "o", Repositories: []github.Repository{{Name: "o/r"}}},
		AWS:       &aws.Config{Account: "111122223333", Regions: []string{"eu-central-1"}},
		Rollout:   &rollout.Config{Folder: "rollouts"},
		Documents: &documents.Config{Folder: "documents"},
	}
}

func TestResolveReachesEveryPath(t *testing.T) {
	c := everything()
	var seen []string
	c.Resolve(func(p string) string { seen = append(seen, p); return "/base/" + p })
	slices.Sort(seen)
	if want := []string{"c", "documents", "k", "pgp", "r", "repo", "rollouts", "signers", "v"}; !slices.Equal(seen, want) {
		t.Errorf("resolved %q, want %q", seen, want)
	}
	if c.Git.Repositories[0].Path != "/base/repo" || c.Telemetry.LogKeys[0] != "/base/v" {
		t.Errorf("the paths were not replaced: %+v", c)
	}
	none := Config{}
	none.Resolve(func(string) string { t.Error("a section that is left out has a path"); return "" })
}

func TestAllHasALineForEverySection(t *testing.T) {
	c := everything()
	c.Telemetry, c.Git.Signers = nil, git.Signers{} // the one wants certificates, the other key files
	got, err := All(c, Deps{Tool: "test", Now: time.Now, Clock: evidence.ClockSystem, Getenv: func(string) string { return "x" },
		Kept: func(evidence.Period) ([]evidence.Citation, error) { return nil, nil }, Get: func(string) (evidence.Collected, error) { return evidence.Collected{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[evidence.Kind]string{}
	var names []string
	for _, col := range got {
		names = append(names, col.Name())
		for _, k := range col.Kinds() {
			if other, ok := kinds[k]; ok {
				t.Errorf("%s is brought by %s and by %s", k, other, col.Name())
			}
			kinds[k] = col.Name()
		}
	}
	if want := []string{"git", "github", "aws", "rollout", "documents", "derived"}; !slices.Equal(names, want) {
		t.Errorf("collectors are %q, want %q", names, want)
	}
	if got, err := All(Config{}, Deps{}); err != nil || len(got) != 0 {
		t.Errorf("without a section there are %d collectors (%v)", len(got), err)
	}
}
