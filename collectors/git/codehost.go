package git

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// What Repository.CodeHost may declare.
const (
	hostNone        = "none"
	hostFastForward = "fast-forward"
)

// codeHost is what is known of the place where changes are merged.
type codeHost struct {
	none        bool // nothing merges: what is on the branch was pushed, or made in place
	fastForward bool // it merges without a trace
	why         string
}

func (c codeHost) String() string {
	switch {
	case c.none:
		return "none: " + c.why
	case c.fastForward:
		return "fast-forward: " + c.why
	}
	return "unknown"
}

func (r Repository) checkCodeHost() error {
	if r.CodeHost != "" && r.CodeHost != hostNone && r.CodeHost != hostFastForward {
		return fmt.Errorf("code_host is %q; want none where nothing but git itself merges, fast-forward where a code host merges by fast-forward, or leave it out", r.CodeHost)
	}
	return nil
}

// hosts tells whether an address is one that a code host commits under.
func (r Repository) hosts(address string) bool {
	return slices.ContainsFunc(r.CodeHostAddresses, func(a string) bool { return strings.EqualFold(a, address) })
}

// codeHostOf takes the declaration, and without one says that there is no code
// host only where the clone shows that none was at work: a work tree that
// follows no remote, with no ref of a pull request, in whose whole history no
// commit is a code host's.
func codeHostOf(repo *gogit.Repository, r Repository, h *history) (codeHost, error) {
	switch r.CodeHost {
	case hostNone:
		return codeHost{none: true, why: "no code host merges into this repository, as its owner declares"}, nil
	case hostFastForward:
		return codeHost{fastForward: true, why: "as its owner declares"}, nil
	}
	cfg, err := repo.Config()
	if err != nil {
		return codeHost{}, fmt.Errorf("reading the clone's configuration: %w", err)
	}
	if cfg.Core.IsBare || len(cfg.Remotes) > 0 || h.hosted {
		return codeHost{}, nil
	}
	refs, err := repo.References()
	if err != nil {
		return codeHost{}, fmt.Errorf("reading refs: %w", err)
	}
	foreign := errors.New("a ref of another place")
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		name := ref.Name().String()
		for _, of := range []string{"refs/remotes/", "refs/pull/", "refs/merge-requests/", "refs/changes/"} {
			if strings.HasPrefix(name, of) {
				return foreign
			}
		}
		return nil
	})
	if errors.Is(err, foreign) {
		return codeHost{}, nil
	}
	if err != nil {
		return codeHost{}, fmt.Errorf("reading refs: %w", err)
	}
	return codeHost{none: true, why: "the work tree follows no remote, and no commit of its history is a code host's"}, nil
}
