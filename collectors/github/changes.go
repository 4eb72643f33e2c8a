package github

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// landed is a commit as it stands on the branch.
type landed struct {
	authorship
	Parent     string // the first; empty where there is none
	Merge      bool
	Committed  time.Time
	Subject    string
	PickedFrom string
}

func landedOf(c *gh.RepositoryCommit) landed {
	l := landed{authorship: authorshipOf(c), Merge: len(c.Parents) > 1, Committed: c.GetCommit().GetCommitter().GetDate().Time,
		Subject: firstLine(c.GetCommit().GetMessage()), PickedFrom: pickedFrom(c.GetCommit().GetMessage())}
	if len(c.Parents) > 0 {
		l.Parent = c.Parents[0].GetSHA()
	}
	return l
}

// arrived is a commit that reached the branch in the window, with what is known
// of how.
type arrived struct {
	commit  ref // landed
	about   subject
	sha     string
	push    int    // of reading.moved; -1 where it is not known
	pull    int    // number; 0: none is tied to it
	unknown string // why it is not known which one is
	other   int    // Change.Elsewhere
}

// changes starts from every commit that the branch reaches in the window and
// ends with one class for each. It never goes by a pull request's title.
func (r *reading) changes(ctx context.Context) {
	var met []arrived
	firstParent := map[string]string{}
	r.ask(func() {
		seen := map[string]bool{}
		err := each(func(o gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error) {
			return r.client.Repositories.ListCommits(ctx, r.owner, r.repo,
				&gh.CommitsListOptions{SHA: r.Branch, Since: r.window.From, Until: r.window.To, ListOptions: o})
		}, func(page []*gh.RepositoryCommit) {
			for _, c := range page {
				l := landedOf(c)
				firstParent[l.SHA] = l.Parent
				if seen[l.SHA] || !r.window.Contains(l.Committed) { // "until" includes its instant
					continue
				}
				seen[l.SHA] = true
				r.learn(l.authorship)
				met = append(met, arrived{commit: r.spool.put(l), about: r.newSubject(), sha: l.SHA, push: -1})
			}
		})
		r.fails(err, r.where("commits on %s", r.Branch), KindChanges)
	}, KindChanges)
	bypasses := r.ruleSuites(ctx)

	came := r.arrivals(firstParent)
	listed := map[string]bool{}
	for i := range met {
		if ctx.Err() != nil || r.spool.err != nil {
			return
		}
		a := &met[i]
		listed[a.sha] = true
		if push, known := came[a.sha]; known {
			a.push = push
		}
		r.subjectOf(a.about, func() { r.ask(func() { r.broughtBy(ctx, a) }, KindChanges) })
		if a.pull != 0 {
			m := r.pulls[a.pull]
			if m.brought++; a.sha == m.mergeSHA {
				m.method = r.method(m, a)
			}
		}
	}
	r.reconcile(listed)
	r.settle()
	for i := range met {
		r.judge(&met[i], bypasses)
	}
}

// judge gives the change its class.
func (r *reading) judge(a *arrived, bypasses map[string]string) {
	var c landed
	r.spool.get(a.commit, &c)
	change := Change{PRUnknown: a.unknown, Elsewhere: a.other, Makers: r.makers(&c), PickedFrom: c.PickedFrom}
	about := []subject{a.about}
	var push push
	if a.push >= 0 {
		push = r.moved[a.push]
	}
	var p *pull
	heads := []string{c.SHA, push.After} // a rule suite is of a whole push, and names what it pointed the branch to
	if a.pull != 0 {
		p = r.settled(r.pulls[a.pull])
		change.PR = &p.Facts
		heads, about = append(heads, p.MergeSHA), append(about, r.pulls[a.pull].about)
	}
	change.Pusher = push.Actor.login()
	for _, head := range heads {
		if change.Bypass == "" && head != "" {
			change.Bypass = bypasses[head]
		}
	}
	v := Judge(change, r.rules)
	id := r.changeID(c.SHA)
	if id == c.SHA {
		r.classes[c.SHA] = v.Class
	}
	attrs := map[string]any{
		"repo": r.Name, "branch": r.Branch, "class": string(v.Class), "why": strings.Join(v.Reasons, "; "), "pr": nil,
		"author":    r.accountOf(c.Author, c.AuthorEmail),
		"committer": r.accountOf(c.Committer, c.CommitterEmail),
		"approvers": list(v.Approvers), "merged_by": "", "merged_at": "", "checks_green": nil,
		"committed_at": stamp(c.Committed), "pushed_at": stamp(timeOf(push.At)), "pushed_by": push.Actor.login(),
		"subject": c.Subject, "merge": c.Merge,
	}
	if v.ChecksGreen != nil {
		attrs["checks_green"] = *v.ChecksGreen
	}
	if p != nil {
		attrs["pr"], attrs["merged_by"], attrs["merged_at"] = p.Facts.Number, p.MergedBy, stamp(p.Facts.Merged)
	}
	r.item(KindChanges, id, attrs, about...)
}

// changeID is the commit; of one that reached several branches of a repository,
// all but the first name the branch: each has its own verdict there.
func (r *reading) changeID(sha string) string {
	if _, before := r.classes[sha]; before {
		return sha + "@" + r.Branch
	}
	return sha
}

// makers are the author and the co-authors of a commit on the branch, those
// whose account is known. The author of a merge is whoever merged, who made
// nothing by that.
func (r *reading) makers(c *landed) []string {
	out := []string{}
	if c.Merge {
		return out
	}
	add := func(who string) {
		if who != "" && who != webFlow && !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	add(r.accountOf(c.Author, c.AuthorEmail))
	for _, address := range c.CoAuthors {
		add(r.accountOf("", address))
	}
	return out
}

var cherryPick = regexp.MustCompile(`(?m)^\(cherry picked from commit ([0-9a-f]{7,64})\)\s*$`)

func pickedFrom(message string) string {
	if m := cherryPick.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}

func firstLine(message string) string {
	first, _, _ := strings.Cut(message, "\n")
	return first
}

// method tells how a pull request was merged by what stands on the branch. A
// rebase leaves the commits one by one; of a single commit it cannot be told.
func (r *reading) method(m *pullMark, a *arrived) string {
	var p pull
	var c landed
	r.spool.get(m.ref, &p)
	r.spool.get(a.commit, &c)
	switch {
	case c.Merge:
		return "merge"
	case len(p.Commits) <= 1, strings.TrimSpace(c.Subject) == "":
		return "squash-or-rebase"
	}
	return "squash"
}

// broughtBy ties a commit to the pull request that brought it to the branch.
func (r *reading) broughtBy(ctx context.Context, a *arrived) {
	candidates, err := all(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return r.client.PullRequests.ListPullRequestsWithCommit(ctx, r.owner, r.repo, a.sha, &o)
	})
	if r.fails(err, r.where("pull requests of commit %s", a.sha), KindChanges) {
		a.unknown = r.reason(err)
		return
	}
	var merged []*gh.PullRequest
	for _, p := range candidates {
		r.noteUpdate(p)
		switch {
		case p.MergedAt == nil:
		case p.GetBase().GetRef() == r.Branch && sameRepo(p, r.Name):
			merged = append(merged, p)
		default:
			a.other = p.GetNumber()
		}
	}
	if len(merged) == 0 {
		return
	}
	// The one whose merge made this commit, else the first to be merged.
	best := slices.MinFunc(merged, func(x, y *gh.PullRequest) int {
		if is, other := x.GetMergeCommitSHA() == a.sha, y.GetMergeCommitSHA() == a.sha; is != other {
			if is {
				return -1
			}
			return 1
		}
		return x.MergedAt.Time.Compare(y.MergedAt.Time)
	}).GetNumber()
	if r.pull(ctx, best).unread {
		a.unknown = fmt.Sprintf("pull request #%d could not be read", best)
		return
	}
	a.pull = best
}

func sameRepo(p *gh.PullRequest, name string) bool {
	full := p.GetBase().GetRepo().GetFullName()
	return full == "" || strings.EqualFold(full, name)
}

// reconcile looks from the other side: each pull request merged to the branch
// in the window must have brought the commit that it says it was merged as.
func (r *reading) reconcile(listed map[string]bool) {
	for number, m := range r.pulls {
		if m.unread || !m.mine {
			continue
		}
		what := r.where("pull request #%d, merged as %s", number, m.mergeSHA)
		r.subjectOf(m.about, func() {
			switch {
			case !listed[m.mergeSHA]:
				r.gap(KindChanges, what, "that commit is not among those of the branch in the window")
			case m.brought == 0:
				r.gap(KindChanges, what, "no commit of the branch is tied to it")
			}
		})
		// After a rebase several commits of the branch come from one pull request.
		if m.method == "squash" && m.brought > 1 {
			m.method = "rebase"
		}
	}
}
