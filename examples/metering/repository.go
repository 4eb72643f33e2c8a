package metering

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// BuildRepository makes the vendor's git repository in dir, which must be
// empty or absent, as a bare clone with the branch main. It gives the hash of
// each commit by its label in github/history.yaml; "prN" is what the merge of
// pull request N made. The hashes are the same on each run.
func BuildRepository(dir string) (map[string]string, error) {
	h, err := loadHistory()
	if err != nil {
		return nil, err
	}
	repo, err := gogit.PlainInitWithOptions(dir, &gogit.PlainInitOptions{Bare: true,
		InitOptions: gogit.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(h.Branch)}})
	if err != nil {
		return nil, fmt.Errorf("making the example's repository: %w", err)
	}
	b := repoBuilder{h: h, repo: repo, shas: map[string]string{}}
	if err := b.build(); err != nil {
		return nil, fmt.Errorf("making the example's repository: %w", err)
	}
	return b.shas, nil
}

type repoBuilder struct {
	h    *history
	repo *gogit.Repository
	shas map[string]string
}

// tip is a commit and the files that stand there.
type tip struct {
	hash  plumbing.Hash
	files map[string]string
}

func (b *repoBuilder) build() error {
	main := tip{files: map[string]string{}}
	var err error
	for _, c := range b.h.Start {
		if main, err = b.add(main, c, c.Label, authored(c)); err != nil {
			return err
		}
	}
	for _, a := range b.h.History {
		if a.Direct != nil {
			main, err = b.add(main, *a.Direct, a.Direct.Label, authored(*a.Direct))
		} else {
			main, err = b.pull(main, a.PR)
		}
		if err != nil {
			return err
		}
	}
	for _, r := range b.h.Releases {
		if err := b.point(plumbing.NewTagReferenceName(r.Tag), plumbing.NewHash(b.shas[r.Change])); err != nil {
			return err
		}
	}
	return b.point(plumbing.NewBranchReferenceName(b.h.Branch), main.hash)
}

// pull makes the pull request's own commits, and what its merge made of them.
func (b *repoBuilder) pull(main tip, p *pullRequest) (tip, error) {
	side := main
	var err error
	for _, c := range p.Commits {
		if side, err = b.add(side, c, c.Label, authored(c)); err != nil {
			return tip{}, err
		}
	}
	if err := b.point(plumbing.ReferenceName(fmt.Sprintf("refs/pull/%d/head", p.Number)), side.hash); err != nil {
		return tip{}, err
	}
	if p.Merged.IsZero() {
		return main, nil
	}
	onGitHub := how{committer: "GitHub", address: "noreply@github.com", at: p.Merged}
	switch p.Method {
	case "merge", "squash":
		if p.Method == "merge" {
			onGitHub.second = side.hash
		}
		c := p.mergeCommit()
		c.Files = changed(main, side)
		return b.add(main, c, p.mergeLabel(), onGitHub)
	case "rebase":
		for i, c := range p.Commits {
			if main, err = b.add(main, c, p.rebased(i), onGitHub); err != nil {
				return tip{}, err
			}
		}
		return main, nil
	}
	return tip{}, fmt.Errorf("pull request #%d: method %q is none of merge, squash, rebase", p.Number, p.Method)
}

// how a commit was made: by its author at a desk, or by GitHub.
type how struct {
	committer string // name; "" is the author, who signs if they sign
	address   string
	at        time.Time
	second    plumbing.Hash // the other parent of a merge
}

func authored(c codeCommit) how { return how{at: c.At} }

func (b *repoBuilder) add(on tip, c codeCommit, label string, by how) (tip, error) {
	files := maps.Clone(on.files)
	maps.Copy(files, c.Files)
	tree, err := b.tree(files)
	if err != nil {
		return tip{}, err
	}
	who, known := b.h.People[c.Author]
	if !known {
		return tip{}, fmt.Errorf("commit %s: nobody is called %q", label, c.Author)
	}
	commit := &object.Commit{TreeHash: tree, Message: message(b.h, c),
		Author: object.Signature{Name: who.Name, Email: b.h.address(c.Author), When: c.At.UTC()}}
	commit.Committer = commit.Author
	if by.committer != "" {
		commit.Committer = object.Signature{Name: by.committer, Email: by.address, When: by.at.UTC()}
	}
	for _, p := range []plumbing.Hash{on.hash, by.second} {
		if !p.IsZero() {
			commit.ParentHashes = append(commit.ParentHashes, p)
		}
	}
	if who.Signs && by.committer == "" {
		if commit.PGPSignature, err = signCommit(c.Author, commit); err != nil {
			return tip{}, fmt.Errorf("signing commit %s: %w", label, err)
		}
	}
	hash, err := b.store(plumbing.CommitObject, commit.Encode)
	if err != nil {
		return tip{}, fmt.Errorf("storing commit %s: %w", label, err)
	}
	b.shas[label] = hash.String()
	return tip{hash, files}, nil
}

func message(h *history, c codeCommit) string {
	m := strings.TrimRight(c.Message, "\n") + "\n"
	for i, login := range c.CoAuthors {
		if i == 0 {
			m += "\n"
		}
		m += fmt.Sprintf("Co-authored-by: %s <%s>\n", h.People[login].Name, h.address(login))
	}
	return m
}

// changed gives the files of side that differ from those of main.
func changed(main, side tip) map[string]string {
	out := map[string]string{}
	for name, text := range side.files {
		if before, ok := main.files[name]; !ok || before != text {
			out[name] = text
		}
	}
	return out
}

// tree stores the files below one folder and gives the tree's hash.
func (b *repoBuilder) tree(files map[string]string) (plumbing.Hash, error) {
	t := &object.Tree{}
	folders := map[string]map[string]string{}
	for name, text := range files {
		if folder, rest, deeper := strings.Cut(path.Clean(name), "/"); deeper {
			if folders[folder] == nil {
				folders[folder] = map[string]string{}
			}
			folders[folder][rest] = text
			continue
		}
		hash, err := b.store(plumbing.BlobObject, func(o plumbing.EncodedObject) error { return write(o, text) })
		if err != nil {
			return plumbing.ZeroHash, err
		}
		t.Entries = append(t.Entries, object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: hash})
	}
	for folder, inside := range folders {
		hash, err := b.tree(inside)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		t.Entries = append(t.Entries, object.TreeEntry{Name: folder, Mode: filemode.Dir, Hash: hash})
	}
	slices.SortFunc(t.Entries, func(x, y object.TreeEntry) int { return strings.Compare(sortName(x), sortName(y)) })
	return b.store(plumbing.TreeObject, t.Encode)
}

// sortName orders entries as git does: a folder as if its name ended in "/".
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func (b *repoBuilder) store(t plumbing.ObjectType, encode func(plumbing.EncodedObject) error) (plumbing.Hash, error) {
	o := b.repo.Storer.NewEncodedObject()
	o.SetType(t)
	if err := encode(o); err != nil {
		return plumbing.ZeroHash, err
	}
	return b.repo.Storer.SetEncodedObject(o)
}

func write(o plumbing.EncodedObject, text string) error {
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(text))
	return errors.Join(err, w.Close())
}

func (b *repoBuilder) point(name plumbing.ReferenceName, at plumbing.Hash) error {
	return b.repo.Storer.SetReference(plumbing.NewHashReference(name, at))
}
