package git

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// ownerFiles are the CODEOWNERS that were read, by blob: most commits share one.
type ownerFiles map[plumbing.Hash][]ownerRule

// ownerRule gives the paths that it matches to its owners; none where the line
// names nobody, which takes ownership away. The last rule that matches counts.
type ownerRule struct {
	globs  []glob
	owners []string
}

// ownerPlaces are where GitHub looks for the file, the first that is there
// counting.
func ownerPlaces() []string { return []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"} }

// owned adds to a commit's attributes who owns what it changes, by the
// CODEOWNERS that stood before it: a change is not the judge of itself. For a
// merge that is its first parent's.
func owned(commit *object.Commit, files ownerFiles, paths []string, attrs map[string]any) error {
	attrs["code_owners"], attrs["owned_paths"] = []any{}, []any{}
	if len(commit.ParentHashes) == 0 {
		return nil
	}
	parent, err := commit.Parent(0)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil // a shallow clone, which is a gap already
	}
	if err != nil {
		return fmt.Errorf("reading CODEOWNERS: %w", err)
	}
	rules, err := files.at(parent)
	if err != nil {
		return fmt.Errorf("reading CODEOWNERS: %w", err)
	}
	var owners, covered []string
	for _, p := range paths {
		if of := ownersOf(rules, p); len(of) > 0 {
			owners, covered = append(owners, of...), append(covered, p)
		}
	}
	slices.Sort(owners)
	attrs["code_owners"], attrs["owned_paths"] = plain(slices.Compact(owners)), plain(covered)
	return nil
}

// ownersOf gives the owners of a path: those of the last rule that matches.
func ownersOf(rules []ownerRule, path string) []string {
	for _, r := range slices.Backward(rules) {
		if len(matching(r.globs, []string{path})) > 0 {
			return r.owners
		}
	}
	return nil
}

func (f ownerFiles) at(commit *object.Commit) ([]ownerRule, error) {
	tree, err := commit.Tree()
	if err != nil {
		return nil, err
	}
	for _, place := range ownerPlaces() {
		file, err := tree.File(place)
		if errors.Is(err, object.ErrFileNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if rules, known := f[file.Hash]; known {
			return rules, nil
		}
		text, err := file.Contents()
		if err != nil {
			return nil, err
		}
		f[file.Hash] = parseOwners(text)
		return f[file.Hash], nil
	}
	return nil, nil
}

// parseOwners reads a CODEOWNERS file. A line that GitHub would pass over (a
// negation, a character range, no pattern) is passed over here.
// https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
func parseOwners(text string) []ownerRule {
	var out []ownerRule
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), " #")
		fields := strings.Fields(strings.ReplaceAll(line, `\ `, "\x00"))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], "!") || strings.ContainsAny(fields[0], "[]") {
			continue
		}
		globs, err := compileGlobs(ownerPatterns(strings.ReplaceAll(fields[0], "\x00", " ")))
		if err != nil {
			continue
		}
		out = append(out, ownerRule{globs, fields[1:]})
	}
	return out
}

// ownerPatterns turns a CODEOWNERS pattern into ours. As in .gitignore a pattern
// without a slash, or with one at its end alone, matches at any depth, and a
// name matches a file or a folder with all in it; but "docs/*" is not
// "docs/a/b".
func ownerPatterns(p string) []string {
	start := "/"
	if !strings.Contains(strings.TrimSuffix(p, "/"), "/") {
		start = "**/"
	}
	p = start + strings.TrimPrefix(p, "/")
	last := p[strings.LastIndex(p, "/")+1:]
	switch {
	case last == "":
		return []string{p + "**"}
	case last == "*" || last == "**":
		return []string{p}
	}
	return []string{p, p + "/**"}
}
