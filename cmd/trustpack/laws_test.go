package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The four laws of the house: what a package must never reach. The verifier
// stays small and offline, judging stays repeatable, the vocabulary stays
// free of adapters, and nothing depends on the commands.
func TestImportLaws(t *testing.T) {
	deps := dependencies(t)
	if len(deps) < 10 {
		t.Fatalf("go list named %d packages of this module; the test looks at the wrong place", len(deps))
	}
	sdks := []string{"github.com/aws/", "github.com/google/go-github", "github.com/go-git/", "github.com/xuri/excelize", "cel.dev/cel-go"}
	laws := []struct {
		name    string
		applies func(pkg string) bool
		forbids func(dep string) bool
	}{
		{"pack never reaches the network, an SDK or the ingest", in("trustpack/pack"), func(dep string) bool {
			return dep == "net/http" || in("trustpack/ingest")(dep) || slices.ContainsFunc(sdks, func(s string) bool { return strings.HasPrefix(dep, s) })
		}},
		{"controls never reaches collectors", in("trustpack/controls"), in("trustpack/collectors")},
		{"evidence reaches the standard library alone", in("trustpack/evidence"), func(dep string) bool {
			return !in("trustpack/evidence")(dep) && strings.Contains(strings.SplitN(dep, "/", 2)[0], ".") || strings.HasPrefix(dep, "trustpack/") && !in("trustpack/evidence")(dep)
		}},
		{"nothing imports cmd", func(pkg string) bool { return !in("trustpack/cmd")(pkg) }, in("trustpack/cmd")},
	}
	for _, law := range laws {
		held := 0
		for pkg, reached := range deps {
			if !law.applies(pkg) {
				continue
			}
			held++
			for _, dep := range reached {
				if law.forbids(dep) {
					t.Errorf("%s: %s reaches %s", law.name, pkg, dep)
				}
			}
		}
		if held == 0 {
			t.Errorf("%s: no package was looked at", law.name)
		}
	}
}

func in(root string) func(string) bool {
	return func(pkg string) bool { return pkg == root || strings.HasPrefix(pkg, root+"/") }
}

// dependencies gives what each package of the module reaches, itself left out.
func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Deps " "}}`, "trustpack/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		pkg, reached, _ := strings.Cut(strings.TrimSpace(line), ":")
		deps[pkg] = strings.Fields(reached)
	}
	return deps
}
