package github

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
)

// changes starts from every commit that the branch reaches in the window and
// ends with one class for each. It never goes by a pull request's title.
func (r *reading) changes(ctx context.Context) {
	var commits []*gh.RepositoryCommit
	bypasses := map[string]string{}
	r.ask(func() {
		var err error
		commits, err = all(func(o gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error) {
			return r.client.Repositories.ListCommits(ctx, r.owner, r.repo,
				&gh.CommitsListOptions{SHA: r.Branch, Since: r.window.From, Until: r.window.To, ListOptions: o})
		})
		r.fails(err, r.where("commits on %s", r.Branch), KindChanges)
		bypasses = r.ruleSuites(ctx)
	}, KindChanges)

	firstParent := map[string]string{}
	for _, c := range commits {
		firstParent[c.GetSHA()] = ""
		if len(c.Parents) > 0 {
			firstParent[c.GetSHA()] = c.Parents[0].GetSHA()
		}
	}
	came := r.arrivals(firstParent)
	var met []arrived
	listed := map[string]bool{}
	byPull := map[int][]string{}
	for _, c := range commits {
		if ctx.Err() != nil {
			return
		}
		sha := c.GetSHA()
		if listed[sha] || !r.window.Contains(c.GetCommit().GetCommitter().GetDate().Time) { // "until" includes its instant
			continue
		}
		listed[sha] = true
		r.learn(c)
		a := arrived{commit: c, push: came[sha]}
		r.ask(func() { a.pull = r.broughtBy(ctx, sha, &a.change) }, KindChanges)
		if a.pull != nil {
			byPull[a.pull.facts.Number] = append(byPull[a.pull.facts.Number], sha)
			if sha == a.pull.mergeSHA && a.pull.item != nil {
				a.pull.item["merge_method"] = method(a.pull, c)
			}
		}
		met = append(met, a)
	}
	r.reconcile(listed, byPull)
	r.settle()
	for _, a := range met {
		r.judge(a, bypasses)
	}
}

// arrived is a commit that reached the branch in the window, with what is known
// of how.
type arrived struct {
	commit *gh.RepositoryCommit
	pull   *pull // nil: none is tied to it
	push   push  // zero where it is not known
	change Change
}

// judge gives the change its class.
func (r *reading) judge(a arrived, bypasses map[string]string) {
	c, change := a.commit, a.change
	change.Pusher, change.Makers, change.PickedFrom = a.push.Actor.GetLogin(), r.makers(c), pickedFrom(c.GetCommit().GetMessage())
	// A rule suite is of a whole push, and names what it pointed the branch to.
	for _, head := range []string{c.GetSHA(), a.push.After, mergeOf(a.pull)} {
		if change.Bypass == "" && head != "" {
			change.Bypass = bypasses[head]
		}
	}
	v := Judge(change, r.rules)
	r.classes[c.GetSHA()] = v.Class
	attrs := map[string]any{
		"repo": r.Name, "branch": r.Branch, "class": string(v.Class), "why": strings.Join(v.Reasons, "; "), "pr": nil,
		"author":    r.accountOf(c.Author, c.GetCommit().GetAuthor().GetEmail()),
		"committer": r.accountOf(c.Committer, c.GetCommit().GetCommitter().GetEmail()),
		"approvers": list(v.Approvers), "merged_by": "", "merged_at": "", "checks_green": nil,
		"committed_at": stamp(c.GetCommit().GetCommitter().GetDate().Time), "pushed_at": stamp(timeOf(a.push.At)), "pushed_by": a.push.Actor.GetLogin(),
		"subject": subject(c.GetCommit().GetMessage()), "merge": len(c.Parents) > 1,
	}
	if v.ChecksGreen != nil {
		attrs["checks_green"] = *v.ChecksGreen
	}
	if p := a.pull; p != nil {
		attrs["pr"], attrs["merged_by"], attrs["merged_at"] = p.facts.Number, p.mergedBy, stamp(p.facts.Merged)
	}
	r.item(KindChanges, c.GetSHA(), attrs)
}

func mergeOf(p *pull) string {
	if p == nil {
		return ""
	}
	return p.mergeSHA
}

// makers are the author and the co-authors of a commit on the branch, those
// whose account is known. The author of a merge is whoever merged, who made
// nothing by that.
func (r *reading) makers(c *gh.RepositoryCommit) []string {
	out := []string{}
	if len(c.Parents) > 1 {
		return out
	}
	add := func(who string) {
		if who != "" && who != webFlow && !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	add(r.accountOf(c.Author, c.GetCommit().GetAuthor().GetEmail()))
	for _, m := range coAuthor.FindAllStringSubmatch(c.GetCommit().GetMessage(), -1) {
		add(r.accountOf(nil, strings.TrimSpace(m[1])))
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

func subject(message string) string {
	first, _, _ := strings.Cut(message, "\n")
	return first
}

// method tells how a pull request was merged by what stands on the branch. A
// rebase leaves the commits one by one; of a single commit it cannot be told.
func method(p *pull, merged *gh.RepositoryCommit) string {
	switch {
	case len(merged.Parents) > 1:
		return "merge"
	case len(p.commits) <= 1:
		return "squash-or-rebase"
	}
	if strings.TrimSpace(subject(merged.GetCommit().GetMessage())) == "" {
		return "squash-or-rebase"
	}
	return "squash"
}

// broughtBy ties a commit to the pull request that brought it to the branch,
// and fills in the change's facts.
func (r *reading) broughtBy(ctx context.Context, sha string, change *Change) *pull {
	where := r.where("pull requests of commit %s", sha)
	candidates, err := all(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return r.client.PullRequests.ListPullRequestsWithCommit(ctx, r.owner, r.repo, sha, &o)
	})
	if r.fails(err, where, KindChanges) {
		change.PRUnknown = r.reason(err)
		return nil
	}
	var merged []*gh.PullRequest
	for _, p := range candidates {
		switch {
		case p.MergedAt == nil:
		case p.GetBase().GetRef() == r.Branch && sameRepo(p, r.Name):
			merged = append(merged, p)
		default:
			change.Elsewhere = p.GetNumber()
		}
	}
	if len(merged) == 0 {
		return nil
	}
	// The one whose merge made this commit, else the first to be merged.
	best := slices.MinFunc(merged, func(a, b *gh.PullRequest) int {
		if x, y := a.GetMergeCommitSHA() == sha, b.GetMergeCommitSHA() == sha; x != y {
			if x {
				return -1
			}
			return 1
		}
		return a.MergedAt.Time.Compare(b.MergedAt.Time)
	})
	p := r.pull(ctx, best.GetNumber())
	if p == nil {
		change.PRUnknown = fmt.Sprintf("pull request #%d could not be read", best.GetNumber())
		return nil
	}
	change.PR = &p.facts
	return p
}

func sameRepo(p *gh.PullRequest, name string) bool {
	full := p.GetBase().GetRepo().GetFullName()
	return full == "" || strings.EqualFold(full, name)
}

// reconcile looks from the other side: each pull request merged to the branch
// in the window must have brought the commit that it says it was merged as.
func (r *reading) reconcile(listed map[string]bool, byPull map[int][]string) {
	for number, p := range r.pulls {
		if p == nil || !p.merged || p.base != r.Branch || !r.window.Contains(p.facts.Merged) {
			continue
		}
		what := r.where("pull request #%d, merged as %s", number, p.mergeSHA)
		switch {
		case !listed[p.mergeSHA]:
			r.gap(KindChanges, what, "that commit is not among those of the branch in the window")
		case len(byPull[number]) == 0:
			r.gap(KindChanges, what, "no commit of the branch is tied to it")
		}
		// After a rebase several commits of the branch come from one pull request.
		if p.item != nil && p.item["merge_method"] == "squash" && len(byPull[number]) > 1 {
			p.item["merge_method"] = "rebase"
		}
	}
	slices.SortFunc(r.out[KindChanges].gaps, func(a, b evidence.Gap) int { return strings.Compare(a.What, b.What) })
}

// ruleSuites gives who bypassed a rule with which commit on top. GitHub keeps
// one month of them.
func (r *reading) ruleSuites(ctx context.Context) map[string]string {
	type suite struct {
		After  string `json:"after_sha"`
		Actor  string `json:"actor_name"`
		Result string `json:"result"`
	}
	out := map[string]string{}
	suites, err := all(func(o gh.ListOptions) ([]suite, *gh.Response, error) {
		return get[[]suite](ctx, r.run, fmt.Sprintf("repos/%s/%s/rulesets/rule-suites?ref=refs/heads/%s&time_period=month&rule_suite_result=bypass&per_page=%d&page=%d",
			r.owner, r.repo, r.Branch, o.PerPage, o.Page))
	})
	r.fails(err, r.where("rule suites of %s", r.Branch), KindChanges)
	for _, s := range suites {
		if s.Result == "bypass" {
			out[s.After] = s.Actor
		}
	}
	return out
}
