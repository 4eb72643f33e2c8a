package git

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// changedPaths lists what differs from the first parent's tree, sorted; for a
// merge that is what the merge brought onto the branch. A renamed file is two
// paths. With them comes the fingerprint of the change.
func changedPaths(s storer.EncodedObjectStorer, commit *object.Commit) ([]string, fingerprint, error) {
	before := plumbing.ZeroHash
	if len(commit.ParentHashes) > 0 {
		parent, err := commit.Parent(0)
		if err != nil {
			return nil, fingerprint{}, fmt.Errorf("its parent: %w", err)
		}
		before = parent.TreeHash
	}
	d := differ{objects: s}
	if err := d.trees("", before, commit.TreeHash); err != nil {
		return nil, fingerprint{}, err
	}
	slices.Sort(d.paths)
	return slices.Compact(d.paths), d.fingerprint(), nil
}

// differ walks two trees side by side and goes only into what differs.
type differ struct {
	objects storer.EncodedObjectStorer
	paths   []string
	edits   []string // each path with what stood there before and after
}

func (d *differ) trees(under string, a, b plumbing.Hash) error {
	if a == b {
		return nil
	}
	before, err := d.entries(a)
	if err != nil {
		return err
	}
	after, err := d.entries(b)
	if err != nil {
		return err
	}
	for name, x := range before {
		y := after[name]
		delete(after, name)
		if err := d.entry(under+name, x, y); err != nil {
			return err
		}
	}
	for name, y := range after {
		if err := d.entry(under+name, object.TreeEntry{}, y); err != nil {
			return err
		}
	}
	return nil
}

// entry compares what stands at a path before and after; the zero entry is
// nothing.
func (d *differ) entry(path string, x, y object.TreeEntry) error {
	if x.Hash == y.Hash && x.Mode == y.Mode {
		return nil
	}
	folder := func(e object.TreeEntry) plumbing.Hash {
		if e.Mode == filemode.Dir {
			return e.Hash
		}
		return plumbing.ZeroHash
	}
	for _, e := range []object.TreeEntry{x, y} {
		if e.Mode != filemode.Dir && !e.Hash.IsZero() {
			d.paths = append(d.paths, path)
		}
	}
	if x.Mode != filemode.Dir || y.Mode != filemode.Dir {
		d.edits = append(d.edits, fmt.Sprintf("%q %v %s %v %s\n", path, x.Mode, x.Hash, y.Mode, y.Hash))
	}
	return d.trees(path+"/", folder(x), folder(y))
}

func (d *differ) entries(tree plumbing.Hash) (map[string]object.TreeEntry, error) {
	if tree.IsZero() {
		return map[string]object.TreeEntry{}, nil
	}
	t, err := object.GetTree(d.objects, tree)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", tree, err)
	}
	out := make(map[string]object.TreeEntry, len(t.Entries))
	for _, e := range t.Entries {
		if e.Name == "" || strings.Contains(e.Name, "/") {
			return nil, fmt.Errorf("tree %s has an entry %q", tree, e.Name)
		}
		out[e.Name] = e
	}
	return out, nil
}
