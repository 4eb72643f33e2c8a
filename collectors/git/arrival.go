package git

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/object"
)

// The classes that a clone alone can tell. They are two of those that a code
// host's collector gives; all others need to know who approved.
const (
	classDirectPush = "direct-push"
	classUnknown    = "unknown"
)

// arrival is what a clone shows of how a commit came to the branch.
type arrival struct {
	host        codeHost
	firstParent bool   // on the branch's first-parent line
	parents     int    // how many it has
	broughtBy   string // the merge on that line which brought it; "" for commits on the line itself
	hosts       bool   // committed under an address of the code host
	committer   string // for people
	author      string // for people
	samePerson  bool   // author and committer have the same address
	sameTime    bool   // it was written and committed at the same moment
}

// of fills in what the commit itself shows.
func (a *arrival) of(c *object.Commit, r Repository) {
	a.parents = len(c.ParentHashes)
	a.hosts = r.hosts(c.Committer.Email)
	a.author, a.committer = person(c.Author), person(c.Committer)
	a.samePerson = strings.EqualFold(a.author, a.committer)
	a.sameTime = c.Author.When.Equal(c.Committer.When)
}

// person is the address that somebody signs with, or the name without one.
func person(s object.Signature) string { return cmp.Or(s.Email, s.Name) }

// judge tells a direct push by topology, and is unknown of everything else: a
// clone does not hold who approved, and its words (titles, trailers) can be
// written by whoever commits. It looks at nothing but its fields. The first
// row that fits decides:
//
//	code host           | the commit                                              | class
//	--------------------+---------------------------------------------------------+------------
//	there is none       | any                                                     | direct-push
//	any                 | not on the first-parent line: a merge brought it        | unknown
//	any                 | a merge                                                 | unknown
//	any                 | committed by the code host: squash, rebase or browser   | unknown
//	fast-forwards       | any other                                               | unknown
//	any other           | committed by another than its author                    | unknown
//	any other           | by its author, at another time than it was written      | unknown
//	any other           | by its author, at once                                  | direct-push
//
// GitHub always commits anew what it squashes or rebases, so what its author
// committed at once has reached the line by a push.
// https://docs.github.com/pull-requests/collaborating-with-pull-requests/incorporating-changes-from-a-pull-request/about-pull-request-merges
func (a arrival) judge() (class, why string) {
	const silent = "a clone does not hold who approved it"
	switch {
	case a.host.none && a.broughtBy != "":
		return classDirectPush, fmt.Sprintf("brought by the merge %s, which was pushed: %s", short(a.broughtBy), a.host.why)
	case a.host.none:
		return classDirectPush, "it was pushed: " + a.host.why
	case a.broughtBy != "":
		return classUnknown, fmt.Sprintf("brought by the merge %s; %s", short(a.broughtBy), silent)
	case !a.firstParent:
		return classUnknown, "it is not on the branch's first-parent line, and the merge that brought it is not in the clone"
	case a.parents > 1 && a.hosts:
		return classUnknown, "a merge made by the code host; " + silent
	case a.parents > 1:
		return classUnknown, fmt.Sprintf("a merge made by %s, on a machine or through a code host; %s", a.committer, silent)
	case a.hosts:
		return classUnknown, "committed by the code host: a squash, a rebase, or an edit in the browser; " + silent
	case a.host.fastForward:
		return classUnknown, "the code host merges by fast-forward, which leaves the same trace as a push; " + silent
	case !a.samePerson:
		return classUnknown, fmt.Sprintf("written by %s and committed by %s: a squash, a rebase, or somebody else's patch; %s", a.author, a.committer, silent)
	case !a.sameTime:
		return classUnknown, "committed anew after it was written: a rebase by the code host, or a change before it was pushed; " + silent
	}
	return classDirectPush, "one parent, on the first-parent line, committed at once by its author and not by a code host: no merge brought it"
}

// hearsay adds what the commit itself says of who made and reviewed it, and
// how far that can be relied on.
func hearsay(sig signature, ts trailers) string {
	said := "it bears no signature"
	switch sig.status {
	case "none":
	case "verified":
		said = "its signature is " + sig.signer + "'s"
	default:
		said = fmt.Sprintf("its %s signature is %s", sig.kind, sig.status)
	}
	var reviewers []string
	for _, t := range ts {
		if key := strings.ToLower(t.key); key == "reviewed-by" || key == "acked-by" || key == "approved-by" {
			reviewers = append(reviewers, t.value)
		}
	}
	if len(reviewers) > 0 {
		said += "; that " + strings.Join(reviewers, " and ") + " reviewed it is its own word"
	}
	return said
}

func short(hash string) string { return hash[:min(len(hash), 10)] }
