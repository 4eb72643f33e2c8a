package git

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// maxOwnersFile is how long a CODEOWNERS may be: GitHub documents that it loads
// none that is longer than 3 MB, so nobody owns anything by it.
const maxOwnersFile = 3 << 20

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
		entry, err := fileAt(tree, place)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		if entry == nil {
			continue
		}
		if rules, known := f[entry.Hash]; known {
			return rules, nil
		}
		file, err := tree.TreeEntryFile(entry)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		if file.Size > maxOwnersFile {
			return nil, nil
		}
		text, err := file.Contents()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		f[entry.Hash] = parseOwners(text)
		return f[entry.Hash], nil
	}
	return nil, nil
}

// fileAt finds a file at the top or in a folder there; nil is that the tree
// holds none. A folder that the tree names and the clone lacks is an error,
// unlike with go-git's Tree.File.
func fileAt(tree *object.Tree, name string) (*object.TreeEntry, error) {
	if folder, _, in := strings.Cut(name, "/"); in {
		if at, err := tree.FindEntry(folder); err != nil || at.Mode != filemode.Dir {
			return nil, absent(err)
		}
	}
	at, err := tree.FindEntry(name)
	if err != nil || !at.Mode.IsFile() {
		return nil, absent(err)
	}
	return at, nil
}

// absent makes nothing of the error that a tree has no such entry.
func absent(err error) error {
	if errors.Is(err, object.ErrEntryNotFound) {
		return nil
	}
	return err
}

// parseOwners reads a CODEOWNERS file. A line that GitHub would pass over (a
// negation, a character range, no pattern) is passed over here.
// https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
func parseOwners(text string) []ownerRule {
	var out []ownerRule
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, " #")
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
