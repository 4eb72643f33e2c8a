package git

import (
	"errors"
	"fmt"
	"os"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// opened is a repository that can be read, until closed.
type opened struct {
	*gogit.Repository
	from   string          // "clone" or "bundle"
	digest string          // SHA-256 of the bundle in hex; empty for a clone
	lacks  []plumbing.Hash // commits that a bundle builds on and leaves out
	dir    string          // where a bundle was unpacked
}

// open opens a clone, or unpacks a bundle where path is a file.
func open(path string) (opened, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		repo, err := gogit.PlainOpenWithOptions(path, &gogit.PlainOpenOptions{EnableDotGitCommonDir: true})
		if err != nil {
			return opened{}, fmt.Errorf("opening the clone: %w", err)
		}
		return opened{Repository: repo, from: "clone"}, nil
	}
	dir, err := os.MkdirTemp("", "trustpack-bundle-")
	if err != nil {
		return opened{}, fmt.Errorf("unpacking the bundle: %w", err)
	}
	repo, h, digest, err := openBundle(path, dir)
	if err != nil {
		return opened{}, errors.Join(err, os.RemoveAll(dir))
	}
	return opened{Repository: repo, from: "bundle", digest: digest, lacks: h.lacks, dir: dir}, nil
}

func (o opened) close() error {
	if o.dir == "" {
		return nil
	}
	return os.RemoveAll(o.dir)
}
