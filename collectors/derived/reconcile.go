package derived

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

// difference is one thing that one side tells of and the other does not.
type difference struct {
	what      string // see below
	commit    string
	pull      int
	explained bool
	why       string
}

// The differences.
const (
	commitNotOnHost     = "commit-not-on-host"          // the clone holds it, the code host does not list it
	commitNotInGit      = "commit-not-in-git"           // the code host lists it, the clone does not hold it
	commitUndecided     = "commit-of-unknown-origin"    // whether a pull request brought it is not known
	pullWithoutCommit   = "pull-request-without-commit" // merged, and no commit on the branch is tied to it
	mergeAbsentFromGit  = "merge-absent-from-git"       // what it says that it was merged as is not in the clone
	mergeClaimedTwice   = "merge-claimed-twice"         // two pull requests say that they were merged as one commit
	pullOutsidePeriod   = "pull-request-of-other-time"  // a commit is tied to it, and it is not among those merged in the period
	branchWithoutClone  = "branch-without-clone"        // no clone was read of it
	branchWithoutListed = "branch-not-on-host"          // a clone of it was read, and the code host was not asked for it
)

// most is how many unexplained differences are named as gaps of their own; the
// items name all.
const most = 50

// reconcile lays what git holds beside what the code host says, branch by
// branch: commits without a pull request, pull requests without a commit, merge
// commits that are absent from git, what two claim. Each side is counted for
// itself. Where a difference is not explained, it is a gap.
func (d *drawing) reconcile() error {
	s, err := d.sides()
	if err != nil {
		return err
	}
	pairs := s.pair()
	paired := map[*clone]bool{}
	var open []string
	for _, h := range s.hosts {
		c := pairs[h]
		paired[c] = true
		open = append(open, d.enter(s.compare(h, c))...)
	}
	for _, c := range s.clones {
		if !paired[c] {
			b := balance{host: &host{branch: c.branch}, clone: c}
			b.differ(difference{what: branchWithoutListed, why: "no branch at the code host goes with this clone; " + fmt.Sprint(len(c.commits)) + " commits have nothing to be compared with"})
			open = append(open, d.enter(&b)...)
		}
	}
	for i, o := range open {
		if i == most {
			d.gap("differences", "%d more are not explained; the items name them", len(open)-most)
			break
		}
		what, why, _ := strings.Cut(o, ": ")
		d.gap(what, "%s", why)
	}
	d.note = "what git holds and what the code host says were counted each for itself and compared commit by commit; the code host lists by committer time"
	return nil
}

// balance is one branch compared.
type balance struct {
	host        *host
	clone       *clone // nil: none was read
	differences []difference

	both, withPull, withoutPull, undecided, pullsWithCommit int
}

func (b *balance) differ(x difference) { b.differences = append(b.differences, x) }

// compare counts both sides and says why they differ where they do.
func (s *sides) compare(h *host, c *clone) *balance {
	b := &balance{host: h, clone: c}
	s.commits(b)
	byPull := map[int][]string{}
	for _, sha := range slices.Sorted(maps.Keys(h.commits)) {
		switch c := h.commits[sha]; {
		case c.pull != 0:
			b.withPull++
			byPull[c.pull] = append(byPull[c.pull], sha)
		case c.unknown != "":
			b.undecided++
			b.differ(difference{what: commitUndecided, commit: sha, why: c.unknown})
		default:
			b.withoutPull++ // its class says how it came: it was pushed directly
		}
	}
	s.pulls(b, byPull)
	slices.SortFunc(b.differences, func(x, y difference) int {
		return cmp.Or(strings.Compare(x.what, y.what), cmp.Compare(x.pull, y.pull), strings.Compare(x.commit, y.commit))
	})
	return b
}

// commits compares those of both sides.
func (s *sides) commits(b *balance) {
	if b.clone == nil {
		b.differ(difference{what: branchWithoutClone, why: fmt.Sprintf("no clone was read of it, so that %d commits have nothing to be compared with", len(b.host.commits))})
		return
	}
	for sha, c := range b.clone.commits {
		if _, both := b.host.commits[sha]; both {
			b.both++
			continue
		}
		x := difference{what: commitNotOnHost, commit: sha, why: "the code host does not list it"}
		switch {
		case c.backdated:
			x.explained, x.why = true, "it is dated "+stamp(c.at)+", before what it stands upon, and the code host lists by that date"
		case c.at.After(s.readHost):
			x.why = "it is dated after the code host was asked last; collect again"
		}
		b.differ(x)
	}
	for sha, c := range b.host.commits {
		if _, both := b.clone.commits[sha]; both {
			continue
		}
		x := difference{what: commitNotInGit, commit: sha, pull: c.pull, why: "the clone does not hold it on the branch"}
		s.laterThanClone(&x, c)
		b.differ(x)
	}
}

// laterThanClone explains what reached the branch after the clone was read, by
// the code host's own time of the push.
func (s *sides) laterThanClone(x *difference, c change) {
	if c.pushed.After(s.readGit) {
		x.explained, x.why = true, "it was pushed at "+stamp(c.pushed)+", after the clone was read"
	}
}

// pulls compares the pull requests that were merged with the commits that are
// tied to each.
func (s *sides) pulls(b *balance, byPull map[int][]string) {
	merges := map[string]int{} // merge commit to the first pull request that names it
	for _, n := range slices.Sorted(maps.Keys(b.host.pulls)) {
		sha := b.host.pulls[n]
		if first, claimed := merges[sha]; claimed {
			b.differ(difference{what: mergeClaimedTwice, commit: sha, pull: n, explained: true, why: "it was merged with " + pullRequest(first) + ", which names the same commit"})
		} else {
			merges[sha] = n
		}
		merge, listed := b.host.commits[sha]
		if len(byPull[n]) > 0 {
			b.pullsWithCommit++
		} else {
			x := difference{what: pullWithoutCommit, commit: sha, pull: n, why: "what it says that it was merged as is not among the branch's commits of the period"}
			if listed && merge.pull != 0 {
				x.explained, x.why = true, "what it says that it was merged as came by "+pullRequest(merge.pull)+", which holds the same commits"
			} else if listed {
				x.why = "what it says that it was merged as is tied to no pull request"
			}
			b.differ(x)
		}
		if b.clone == nil {
			continue
		}
		if _, there := b.clone.commits[sha]; !there {
			x := difference{what: mergeAbsentFromGit, commit: sha, pull: n, why: "the clone does not hold it among the branch's commits of the period"}
			if listed {
				s.laterThanClone(&x, merge)
			}
			b.differ(x)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(byPull)) {
		if _, merged := b.host.pulls[n]; merged {
			continue
		}
		x := difference{what: pullOutsidePeriod, commit: byPull[n][0], pull: n, why: "it is not among the pull requests that were merged in the period"}
		if at := b.host.commits[byPull[n][0]].merged; !at.IsZero() && !s.period.Contains(at) {
			x.explained, x.why = true, "it was merged at "+stamp(at)+", outside the period in which its commit is dated"
		}
		b.differ(x)
	}
}

// enter makes the item of a branch, and gives what of it is not explained.
func (d *drawing) enter(b *balance) []string {
	var open []string
	list := []any{}
	count := map[string]int{}
	for _, x := range b.differences {
		count[x.what]++
		list = append(list, map[string]any{"what": x.what, "commit": x.commit, "pr": x.pull, "explained": x.explained, "why": x.why})
		if !x.explained {
			open = append(open, fmt.Sprintf("%s: %s", x.name(b.host.branch), x.why))
		}
	}
	h := b.host
	attrs := map[string]any{
		"repo": h.repo, "branch": h.name, "clone": "",
		"commits_in_git": nil, "commits_on_host": len(h.commits), "commits_in_both": nil,
		"commits_in_git_alone": count[commitNotOnHost], "commits_on_host_alone": count[commitNotInGit],
		"commits_by_pull_request": b.withPull, "commits_without_pull_request": b.withoutPull, "commits_of_unknown_origin": b.undecided,
		"pull_requests_merged": len(h.pulls), "pull_requests_with_commit": b.pullsWithCommit, "pull_requests_without_commit": count[pullWithoutCommit],
		"merges_absent_from_git": count[mergeAbsentFromGit], "merges_claimed_twice": count[mergeClaimedTwice], "pull_requests_of_other_times": count[pullOutsidePeriod],
		"differences": list, "explained": len(list) - len(open), "unexplained": len(open), "balance": b.String(),
	}
	if b.clone != nil {
		attrs["clone"], attrs["commits_in_git"], attrs["commits_in_both"] = b.clone.repo, len(b.clone.commits), b.both
	}
	d.items = append(d.items, evidence.Item{ID: h.String(), Attributes: attrs})
	return open
}

func (x difference) name(b branch) string {
	out := b.String() + ", " + x.what
	if x.pull != 0 {
		out += " " + pullRequest(x.pull)
	}
	if x.commit != "" {
		out += " " + x.commit
	}
	return out
}

// String is the account of both sides.
func (b *balance) String() string {
	var out []string
	if b.clone != nil {
		out = append(out, fmt.Sprintf("git: %d commits, %d of them at the code host and %d not", len(b.clone.commits), b.both, len(b.clone.commits)-b.both))
		out = append(out, fmt.Sprintf("code host: %d commits, %d of them in git and %d not", len(b.host.commits), b.both, len(b.host.commits)-b.both))
	}
	return strings.Join(append(out,
		fmt.Sprintf("%d commits at the code host: %d by pull request, %d without, %d of unknown origin", len(b.host.commits), b.withPull, b.withoutPull, b.undecided),
		fmt.Sprintf("%d pull requests merged: %d with a commit, %d without", len(b.host.pulls), b.pullsWithCommit, len(b.host.pulls)-b.pullsWithCommit)), "; ")
}
