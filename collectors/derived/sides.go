package derived

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// branch is one protected branch as one side names it.
type branch struct{ repo, name string }

func (b branch) String() string { return b.repo + "@" + b.name }

// clone is what a clone says of a branch in the period.
type clone struct {
	branch
	commits map[string]commit // by hash
}

// commit is what is compared of one in a clone.
type commit struct {
	at        time.Time // as its committer dates it
	backdated bool      // before what it stands upon
}

// host is what the code host says of a branch in the period.
type host struct {
	branch
	commits map[string]change // by hash
	pulls   map[int]string    // merged to the branch in the period, with the hash of what each was merged as
}

// change is what is compared of a commit at the code host.
type change struct {
	pull           int    // 0: none
	unknown        string // why it is not known which one; "" where it is
	pushed, merged time.Time
}

// sides is all that is compared.
type sides struct {
	period   evidence.Period
	clones   []*clone
	hosts    []*host
	readGit  time.Time // when the clones were read last
	readHost time.Time // when the code host was asked for its commits last
}

func (d *drawing) sides() (*sides, error) {
	s := &sides{period: d.period}
	protected := map[branch]bool{}
	clones, hosts := map[branch]*clone{}, map[branch]*host{}
	cloneOf := func(b branch) *clone {
		if clones[b] == nil {
			clones[b] = &clone{b, map[string]commit{}}
			s.clones = append(s.clones, clones[b])
		}
		return clones[b]
	}
	hostOf := func(b branch) *host {
		if hosts[b] == nil {
			hosts[b] = &host{b, map[string]change{}, map[int]string{}}
			s.hosts = append(s.hosts, hosts[b])
		}
		return hosts[b]
	}
	// Branches on which nothing happened are compared too.
	if err := d.latest(kindClones, func(it evidence.Item) { cloneOf(branch{it.ID, text(it, "branch")}) }); err != nil {
		return nil, err
	}
	if err := d.latest(kindProtection, func(it evidence.Item) {
		b := branch{text(it, "repo"), text(it, "branch")}
		protected[b] = true
		hostOf(b)
	}); err != nil {
		return nil, err
	}
	var err error
	s.readGit, err = d.events(kindCommits, func(it evidence.Item) {
		at := moment(text(it, "committed_at"))
		if backdated, _ := it.Attributes["dated_before_parents"].(bool); d.period.Contains(at) || backdated && at.Before(d.period.From) {
			sha, _, _ := strings.Cut(it.ID, "@") // one commit in two clones bears the clone's name
			cloneOf(branch{text(it, "repository"), text(it, "branch")}).commits[sha] = commit{at, backdated}
		}
	})
	if err != nil {
		return nil, err
	}
	s.readHost, err = d.events(kindChanges, func(it evidence.Item) {
		if d.period.Contains(moment(text(it, "committed_at"))) {
			c := change{pull: number(it.Attributes["pr"]), pushed: moment(text(it, "pushed_at")), merged: moment(text(it, "merged_at"))}
			if c.pull == 0 && text(it, "class") == "unknown" {
				c.unknown = cmp.Or(text(it, "why"), "no reason is given")
			}
			sha, _, _ := strings.Cut(it.ID, "@") // one commit on two branches bears the branch's name
			hostOf(branch{text(it, "repo"), text(it, "branch")}).commits[sha] = c
		}
	})
	if err != nil {
		return nil, err
	}
	_, err = d.events(kindPulls, func(it evidence.Item) {
		if merged, _ := it.Attributes["merged"].(bool); merged && d.period.Contains(moment(text(it, "merged_at"))) {
			hostOf(branch{text(it, "repo"), text(it, "base")}).pulls[number(it.Attributes["number"])] = text(it, "merge_sha")
		}
	})
	if err != nil {
		return nil, err
	}
	// A pull request into a branch that is not protected is none of ours.
	s.hosts = slices.DeleteFunc(s.hosts, func(h *host) bool { return len(h.commits) == 0 && !protected[h.branch] })
	slices.SortFunc(s.hosts, func(a, b *host) int { return strings.Compare(a.String(), b.String()) })
	slices.SortFunc(s.clones, func(a, b *clone) int { return strings.Compare(a.String(), b.String()) })
	return s, nil
}

// pair says which clone is read of which branch at the code host: the one of
// the same name, else of the same last part of the name, else the only one that
// shares commits.
func (s *sides) pair() map[*host]*clone {
	out := map[*host]*clone{}
	free := slices.Clone(s.clones)
	for _, alike := range []func(h *host, c *clone) bool{
		func(h *host, c *clone) bool { return strings.EqualFold(h.repo, c.repo) },
		func(h *host, c *clone) bool { return strings.EqualFold(path.Base(h.repo), path.Base(c.repo)) },
		func(h *host, c *clone) bool { return shares(h.commits, c.commits) },
	} {
		for _, h := range s.hosts {
			if out[h] != nil {
				continue
			}
			var found []*clone
			for _, c := range free {
				if h.name == c.name && alike(h, c) {
					found = append(found, c)
				}
			}
			if len(found) == 1 {
				out[h] = found[0]
				free = slices.DeleteFunc(free, func(c *clone) bool { return c == found[0] })
			}
		}
	}
	return out
}

func shares(a map[string]change, b map[string]commit) bool {
	for sha := range a {
		if _, both := b[sha]; both {
			return true
		}
	}
	return false
}

func pullRequest(n int) string { return fmt.Sprintf("#%d", n) }
