package git

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Between any two trees the paths are those that go-git's own comparison
// finds: folders that become files, modes that change, and nothing at all.
func TestChangedPathsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	s := memory.NewStorage()
	save := func(kind plumbing.ObjectType, encode func(plumbing.EncodedObject) error) plumbing.Hash {
		o := s.NewEncodedObject()
		o.SetType(kind)
		if err := encode(o); err != nil {
			t.Fatal(err)
		}
		h, err := s.SetEncodedObject(o)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	var tree func(depth int) plumbing.Hash
	tree = func(depth int) plumbing.Hash {
		var out object.Tree
		for i := range 4 {
			e := object.TreeEntry{Name: string(rune('a' + i)), Mode: []filemode.FileMode{filemode.Regular, filemode.Executable, filemode.Symlink}[rng.IntN(3)]}
			switch n := rng.IntN(6); {
			case n == 0:
				continue
			case n < 3 && depth > 0:
				e.Mode, e.Hash = filemode.Dir, tree(depth-1)
			default:
				text := fmt.Sprint("text ", rng.IntN(2))
				e.Hash = save(plumbing.BlobObject, func(o plumbing.EncodedObject) error {
					w, err := o.Writer()
					if err != nil {
						return err
					}
					if _, err := w.Write([]byte(text)); err != nil {
						return err
					}
					return w.Close()
				})
			}
			out.Entries = append(out.Entries, e)
		}
		slices.SortFunc(out.Entries, func(a, b object.TreeEntry) int { // as git sorts: a folder as if with a slash
			if object.TreeEntrySorter([]object.TreeEntry{a, b}).Less(0, 1) {
				return -1
			}
			return 1
		})
		return save(plumbing.TreeObject, out.Encode)
	}
	commit := func(tree plumbing.Hash, parents ...plumbing.Hash) *object.Commit {
		c := &object.Commit{TreeHash: tree, ParentHashes: parents, Message: "m"}
		h := save(plumbing.CommitObject, c.Encode)
		c, err := object.GetCommit(s, h)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	some := 0
	for range 300 {
		parent := commit(tree(2))
		child := commit(tree(2), parent.Hash)
		for _, pair := range [][2]*object.Commit{{nil, parent}, {parent, child}} {
			got, _, err := changedPaths(s, pair[1])
			if err != nil {
				t.Fatal(err)
			}
			want := theirPaths(t, pair[0], pair[1])
			some += len(want)
			if !slices.Equal(got, want) {
				t.Fatalf("paths %v, want %v", got, want)
			}
		}
	}
	if some < 1000 {
		t.Errorf("only %d paths were compared", some)
	}
}

func theirPaths(t *testing.T, before, after *object.Commit) []string {
	t.Helper()
	var from *object.Tree
	if before != nil {
		var err error
		if from, err = before.Tree(); err != nil {
			t.Fatal(err)
		}
	}
	to, err := after.Tree()
	if err != nil {
		t.Fatal(err)
	}
	changes, err := object.DiffTree(from, to)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range changes {
		for _, name := range []string{c.From.Name, c.To.Name} {
			if name != "" {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
