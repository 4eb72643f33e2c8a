package git

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestOwnersOfPaths follows the examples and the exceptions that GitHub's own
// description of the file gives.
func TestOwnersOfPaths(t *testing.T) {
	rules := parseOwners(`
# all that nothing below matches
*       @all
*.js    @js # with a remark
/build/logs/ @doctor
docs/*  @writers
apps/   @octo
/scripts/ @doctor @js
**/logs @logs
/apps/github
with\ space.txt @space
!negated @nobody
[a-z]range @nobody
/top @top
`)
	for path, want := range map[string]string{
		"README":                    "[@all]",
		"src/deep/x.js":             "[@js]",
		"build/logs/a/b":            "[@logs]", // the later rule
		"docs/getting-started.md":   "[@writers]",
		"docs/build-app/trouble.md": "[@all]",
		"apps/x":                    "[@octo]",
		"lib/apps/x":                "[@octo]",
		"scripts/a":                 "[@doctor @js]",
		"deeply/nested/logs/x":      "[@logs]",
		"apps/github":               "[]",
		"apps/github/x/y":           "[]",
		"with space.txt":            "[@space]",
		"top":                       "[@top]",
		"sub/top":                   "[@all]",
		"arange":                    "[@all]",
	} {
		if got := fmt.Sprint(ownersOf(rules, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// The file that stood before a commit says who owns what the commit changes.
func TestOwnersAtEachCommit(t *testing.T) {
	b := newRepo(t)
	b.commit(day(7, 1), "none yet", "a.go")
	set := b.commit(day(7, 2), "* @anna\n", ".github/CODEOWNERS")
	owned := b.commit(day(7, 3), "x", "a.go")
	moved := b.commit(day(7, 4), "* @ben\n", ".github/CODEOWNERS")
	after := b.commit(day(7, 5), "y", "a.go")
	b.commit(day(7, 6), "* @cora\n"+strings.Repeat("#", maxOwnersFile), ".github/CODEOWNERS")
	long := b.commit(day(7, 7), "z", "a.go")
	commits, _ := b.collect(Config{})
	for _, c := range []struct {
		name   string
		attrs  map[string]any
		owners []any
	}{
		{"the commit that sets the first", byID(t, commits, set), []any{}},
		{"one after it", byID(t, commits, owned), []any{"@anna"}},
		{"the one that changes the owner", byID(t, commits, moved), []any{"@anna"}},
		{"one after that", byID(t, commits, after), []any{"@ben"}},
		{"one after a file that GitHub does not load", byID(t, commits, long), []any{}},
	} {
		if !reflect.DeepEqual(c.attrs["code_owners"], c.owners) || len(c.owners) != len(c.attrs["owned_paths"].([]any)) {
			t.Errorf("%s: owners %v of %v, want %v", c.name, c.attrs["code_owners"], c.attrs["owned_paths"], c.owners)
		}
	}
}

func TestLongLinesOfOwners(t *testing.T) {
	if rules := parseOwners("a @a\n" + strings.Repeat("x", 1<<20) + " @x\nb @b\n"); len(rules) != 3 {
		t.Errorf("%d rules", len(rules))
	}
}

// A CODEOWNERS that is named and not in the clone is a gap, and none of the
// other places is taken for it; what only looks like its folder is none.
func TestOwnersThatAreNotInTheClone(t *testing.T) {
	b := newRepo(t)
	b.commit(day(6, 1), "no folder", ".github")
	before := b.commit(day(6, 2), "* @docs\n", "docs/CODEOWNERS")
	read := b.commit(day(7, 1), "x", "a.go")
	set := b.commit(day(7, 2), "* @top\n", "CODEOWNERS")
	after := b.commit(day(7, 3), "y", "a.go")
	c, err := b.repo.CommitObject(set)
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.File("CODEOWNERS")
	if err != nil {
		t.Fatal(err)
	}
	remove(t, b, file.Hash)
	commits, _ := b.collect(Config{})
	if owners := byID(t, commits, read)["code_owners"]; !reflect.DeepEqual(owners, []any{"@docs"}) {
		t.Errorf("after %s: %v", before, owners)
	}
	said := fmt.Sprint(commits.Completeness.Gaps)
	if len(commits.Completeness.Gaps) != 1 || !strings.Contains(said, after.String()) || !strings.Contains(said, "reading CODEOWNERS") {
		t.Errorf("the gaps are %s; want one, of %s", said, after)
	}
}
