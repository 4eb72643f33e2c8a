package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/storage/memory"

	"trustpack/evidence"
)

// CheckAccess opens each clone, or the head of each bundle, and looks for the
// protected branch. The history is not read.
func (c *Collector) CheckAccess(ctx context.Context) ([]evidence.AccessCheck, error) {
	var out []evidence.AccessCheck
	for _, repo := range c.config.Repositories {
		check := evidence.AccessCheck{
			Source: c.Name(), Target: repo.Name, Permission: "the clone: read", For: "branch " + repo.Branch, Kinds: c.Kinds(), State: evidence.AccessGranted,
		}
		var err error
		if check.Said, err = findBranch(repo.Path, repo.Branch); err != nil {
			check.State, check.Said = evidence.AccessLacking, err.Error()
		}
		out = append(out, check)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the clones: %w", err)
	}
	return out, nil
}

// findBranch tells why a repository or its branch cannot be read, and what it
// did not look at.
func findBranch(path, branch string) (note string, err error) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return "the bundle's head alone was read, not whether it is whole", findInBundle(path, branch)
	}
	o, err := open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	_, _, err = branchHead(o.Repository, branch)
	return "", err
}

func findInBundle(path, branch string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	defer f.Close() // it was only read
	h, err := readBundleHeader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	repo, err := gogit.Init(memory.NewStorage(), nil)
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	for _, ref := range h.refs {
		if err := repo.Storer.SetReference(ref); err != nil {
			return fmt.Errorf("reading the bundle: %w", err)
		}
	}
	_, _, err = branchHead(repo, branch)
	return err
}
