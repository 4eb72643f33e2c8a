package git

import (
	"errors"
	"fmt"
	"os"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// objectCache is how many bytes of objects are remembered while reading.
const objectCache = 16 * cache.MiByte

// opened is a repository that can be read, until closed.
type opened struct {
	*gogit.Repository
	form   string          // "clone" or "bundle"
	digest string          // SHA-256 of the bundle in hex; empty for a clone
	lacks  []plumbing.Hash // commits that a bundle builds on and leaves out
	files  *filesystem.Storage
	at     string // the clone, or where a bundle was unpacked
}

// open opens a clone, or unpacks a bundle where path is a file.
func open(path string) (opened, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		o := opened{form: "clone", at: path}
		err := o.again()
		return o, err
	}
	dir, err := os.MkdirTemp("", "trustpack-bundle-")
	if err != nil {
		return opened{}, fmt.Errorf("unpacking the bundle: %w", err)
	}
	h, digest, err := openBundle(path, dir)
	if err != nil {
		return opened{}, errors.Join(err, os.RemoveAll(dir))
	}
	o := opened{form: "bundle", digest: digest, lacks: h.lacks, at: dir}
	err = o.again()
	return o, err
}

// again opens the repository anew, which forgets the objects that were read.
func (o *opened) again() error {
	repo, err := gogit.PlainOpenWithOptions(o.at, &gogit.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return fmt.Errorf("opening the clone: %w", err)
	}
	o.Repository = repo
	if files, ok := repo.Storer.(*filesystem.Storage); ok {
		// Packs stay open while they are read, and few objects are remembered.
		o.files = filesystem.NewStorageWithOptions(files.Filesystem(), cache.NewObjectLRU(objectCache), filesystem.Options{KeepDescriptors: true})
		if o.Repository, err = gogit.Open(o.files, nil); err != nil {
			return fmt.Errorf("opening the clone: %w", errors.Join(err, o.forget()))
		}
	}
	return nil
}

// forget closes the repository, and with it drops all that was read.
func (o *opened) forget() error {
	files := o.files
	o.Repository, o.files = nil, nil
	if files == nil {
		return nil
	}
	return files.Close()
}

// close gives back what the repository holds, on disk too.
func (o *opened) close() error {
	if err := o.forget(); err != nil {
		return err
	}
	if o.form != "bundle" {
		return nil
	}
	return os.RemoveAll(o.at)
}
