package github

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	gh "github.com/google/go-github/v60/github"
)

// pull is one pull request as read: the facts for the verdict and the item.
type pull struct {
	facts    PullRequest
	base     string
	merged   bool
	mergeSHA string
	mergedBy string
	commits  []string
	item     map[string]any // nil: read for a change only, it lies outside the window

	made     []*gh.RepositoryCommit // until it is settled
	forcedBy string                 // who forced the head that was merged; empty: nobody
}

// pullRequests reads those of the branch that were opened, closed or merged in
// the window. They are listed by last update, which is never before any of
// these, so the listing ends at the first that was last updated before it.
func (r *reading) pullRequests(ctx context.Context) {
	for _, state := range []string{"open", "closed"} {
		var listed []*gh.PullRequest
		var err error
		r.ask(func() { listed, err = r.listPulls(ctx, state) }, KindPullRequests, KindChanges)
		r.fails(err, r.where("%s pull requests", state), KindPullRequests, KindChanges)
		for _, p := range listed {
			if ctx.Err() != nil {
				return
			}
			if _, twice := r.pulls[p.GetNumber()]; twice || !r.inWindow(p.CreatedAt, p.ClosedAt, p.MergedAt) {
				continue
			}
			r.pull(ctx, p.GetNumber())
		}
	}
}

func (r *reading) listPulls(ctx context.Context, state string) ([]*gh.PullRequest, error) {
	return all(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		got, resp, err := r.client.PullRequests.List(ctx, r.owner, r.repo, &gh.PullRequestListOptions{
			State: state, Base: r.Branch, Sort: "updated", Direction: "desc", ListOptions: o})
		// All of a page must be older: a listing that shifts while it is read may
		// have an old one last on a page that is not the last of interest.
		if err == nil && len(got) > 0 && !slices.ContainsFunc(got, func(p *gh.PullRequest) bool { return !timeOf(p.UpdatedAt).Before(r.window.From) }) {
			resp.NextPage = 0
		}
		return got, resp, err
	})
}

// pull reads one pull request with all that the verdict needs, once. It is nil
// where the pull request itself cannot be read, which is then a gap.
func (r *reading) pull(ctx context.Context, number int) *pull {
	if p, read := r.pulls[number]; read {
		return p
	}
	var p *pull
	r.ask(func() { p = r.readPull(ctx, number) }, KindPullRequests, KindChanges)
	r.pulls[number] = p
	return p
}

func (r *reading) readPull(ctx context.Context, number int) *pull {
	where := r.where("pull request #%d", number)
	pr, _, err := r.client.PullRequests.Get(ctx, r.owner, r.repo, number)
	if r.fails(err, where, KindPullRequests, KindChanges) {
		return nil
	}
	p := &pull{base: pr.GetBase().GetRef(), merged: pr.GetMerged() || pr.MergedAt != nil, mergeSHA: pr.GetMergeCommitSHA(), mergedBy: pr.GetMergedBy().GetLogin()}
	p.facts = PullRequest{Number: number, Head: pr.GetHead().GetSHA(), Merged: timeOf(pr.MergedAt), Author: login(pr.User)}
	for _, l := range pr.Labels {
		p.facts.Labels = append(p.facts.Labels, l.GetName())
	}
	raw, err := all(func(o gh.ListOptions) ([]*gh.PullRequestReview, *gh.Response, error) {
		return r.client.PullRequests.ListReviews(ctx, r.owner, r.repo, number, &o)
	})
	if r.fails(err, where+": reviews", KindPullRequests, KindChanges) {
		p.facts.ReviewsUnknown = "reviews: " + r.reason(err)
	}
	reviews := p.addReviews(ctx, r, raw)
	r.readCommits(ctx, p, pr.GetCommits())
	events := r.timeline(ctx, p)
	p.facts.Checks = r.checksAt(ctx, p, p.facts.Head)
	if p.facts.Queued {
		p.facts.QueueChecks = r.checksAt(ctx, p, p.mergeSHA)
	}
	if !r.inWindow(pr.CreatedAt, pr.ClosedAt, pr.MergedAt) {
		return p
	}
	p.item = map[string]any{
		"repo": r.Name, "number": number, "title": pr.GetTitle(), "author": p.facts.Author, "state": pr.GetState(),
		"merged": p.merged, "merged_at": stamp(p.facts.Merged), "merged_by": p.mergedBy, "merge_sha": p.mergeSHA,
		"head_sha": p.facts.Head, "base": p.base, "created_at": stamp(timeOf(pr.CreatedAt)), "closed_at": stamp(timeOf(pr.ClosedAt)),
		"reviews": reviews,
		"checks":  checkItems(p.facts.Checks), "labels": list(p.facts.Labels), "merge_method": "", "commits": list(p.commits),
		"timeline": events, "draft": pr.GetDraft(), "queued": p.facts.Queued, "queue_checks": checkItems(p.facts.QueueChecks),
		"base_changed_at": stamp(p.facts.Retargeted), "fork": forked(pr), "requested_reviewers": requested(pr),
	}
	return p
}

// forked reports whether the head is in another repository, or in none any more.
func forked(pr *gh.PullRequest) bool {
	return pr.GetHead().Repo == nil || pr.GetHead().GetRepo().GetFullName() != pr.GetBase().GetRepo().GetFullName()
}

// requested lists whose review was asked for and has not come.
func requested(pr *gh.PullRequest) []any {
	out := []any{}
	for _, u := range pr.RequestedReviewers {
		out = append(out, u.GetLogin())
	}
	for _, t := range pr.RequestedTeams {
		out = append(out, "team:"+t.GetSlug())
	}
	return out
}

// checksAt reads the checks of a pull request at a commit.
func (r *reading) checksAt(ctx context.Context, p *pull, sha string) []Check {
	checks, err := r.checks(ctx, sha)
	if r.fails(err, r.where("pull request #%d: checks at %s", p.facts.Number, sha), KindPullRequests, KindChanges) {
		p.facts.ChecksUnknown = r.reason(err)
	}
	return checks
}

// coAuthors lists who else made it: logins, and addresses of no known account.
func (p *pull) coAuthors() []string {
	var out []string
	for _, c := range p.facts.Contributors {
		if !strings.EqualFold(c, p.facts.Author) {
			out = append(out, c)
		}
	}
	return append(out, p.facts.Strangers...)
}

func (p *pull) addReviews(ctx context.Context, r *reading, raw []*gh.PullRequestReview) []any {
	items := []any{}
	raw = distinct(raw, (*gh.PullRequestReview).GetID)
	slices.SortStableFunc(raw, func(a, b *gh.PullRequestReview) int {
		return cmp.Or(timeOf(a.SubmittedAt).Compare(timeOf(b.SubmittedAt)), cmp.Compare(a.GetID(), b.GetID()))
	})
	for _, v := range raw {
		rev := Review{User: login(v.User), Bot: r.isBot(v.User), State: strings.ToUpper(v.GetState()), Commit: v.GetCommitID(), Submitted: timeOf(v.SubmittedAt)}
		if rev.State == "APPROVED" && !rev.Bot {
			rev.Access = r.writes(ctx, rev.User)
		}
		p.facts.Reviews = append(p.facts.Reviews, rev)
		kind := v.User.GetType()
		if rev.Bot {
			kind = "Bot"
		}
		items = append(items, map[string]any{"id": fmt.Sprint(v.GetID()), "user": rev.User, "user_type": kind, "state": rev.State,
			"commit_id": rev.Commit, "submitted_at": stamp(rev.Submitted)})
	}
	return items
}

// webFlow is the committer of what is made in GitHub's web interface.
const webFlow = "web-flow"

var (
	coAuthor = regexp.MustCompile(`(?im)^co-authored-by:[^<\n]*<([^>\n]+)>\s*$`)
	noReply  = regexp.MustCompile(`(?i)^(?:\d+\+)?([A-Za-z0-9-]+(?:\[bot\])?)@users\.noreply\.github\.com$`)
)

// readCommits fills in who made the change. GitHub lists 250 commits of a pull
// request and no more, so that a longer one has contributors nobody can name.
func (r *reading) readCommits(ctx context.Context, p *pull, total int) {
	where := r.where("pull request #%d: commits", p.facts.Number)
	commits, err := all(func(o gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error) {
		return r.client.PullRequests.ListCommits(ctx, r.owner, r.repo, p.facts.Number, &o)
	})
	commits = distinct(commits, (*gh.RepositoryCommit).GetSHA)
	slices.SortStableFunc(commits, func(a, b *gh.RepositoryCommit) int {
		return cmp.Or(a.GetCommit().GetCommitter().GetDate().Compare(b.GetCommit().GetCommitter().GetDate().Time), cmp.Compare(a.GetSHA(), b.GetSHA()))
	})
	if r.fails(err, where, KindPullRequests, KindChanges) {
		p.facts.ReviewsUnknown = "commits, and so who made them: " + r.reason(err)
	} else if len(commits) < total {
		why := fmt.Sprintf("%d of %d are listed", len(commits), total)
		r.gap(KindPullRequests, where, why)
		r.gap(KindChanges, where, why)
		p.facts.ReviewsUnknown = "commits, and so who made them: " + why
	}
	for _, c := range commits {
		p.commits = append(p.commits, c.GetSHA())
		r.learn(c)
	}
	p.made = commits
}

// settle says who made the pull requests, and enters those of the window. It
// comes when all has been read: only then is it known whose all the addresses
// are, and what was read first must make no difference.
func (r *reading) settle() {
	for _, number := range slices.Sorted(maps.Keys(r.pulls)) {
		p := r.pulls[number]
		if p == nil {
			continue
		}
		r.settleMakers(p)
		if p.item == nil {
			continue
		}
		t := p.facts.tally(r.rules.DismissesStale, nil)
		maps.Copy(p.item, map[string]any{
			"last_pusher": p.facts.LastPusher, "contributors": list(p.facts.Contributors), "co_authors": list(p.coAuthors()),
			"requested_changes_outstanding": list(t.objections), "approvals": list(t.valid),
		})
		r.item(KindPullRequests, fmt.Sprintf("%s#%d", r.Name, number), p.item)
	}
}

func (r *reading) settleMakers(p *pull) {
	add := func(who string) {
		if who != "" && who != webFlow && !slices.Contains(p.facts.Contributors, who) {
			p.facts.Contributors = append(p.facts.Contributors, who)
		}
	}
	p.facts.LastPusher = p.facts.Author
	for _, c := range p.made {
		author := r.accountOf(c.Author, c.GetCommit().GetAuthor().GetEmail())
		committer := r.accountOf(c.Committer, c.GetCommit().GetCommitter().GetEmail())
		addresses := []string{}
		if author == "" {
			addresses = append(addresses, c.GetCommit().GetAuthor().GetEmail())
		}
		for _, m := range coAuthor.FindAllStringSubmatch(c.GetCommit().GetMessage(), -1) {
			addresses = append(addresses, strings.TrimSpace(m[1]))
		}
		add(author)
		add(committer)
		for _, a := range addresses {
			if who := r.accountOf(nil, a); who != "" {
				add(who)
			} else if !slices.Contains(p.facts.Strangers, a) {
				p.facts.Strangers = append(p.facts.Strangers, a)
			}
		}
		if c.GetSHA() == p.facts.Head {
			if committer != "" && committer != webFlow {
				p.facts.LastPusher = committer
			} else if author != "" {
				p.facts.LastPusher = author
			}
		}
	}
	if p.forcedBy != "" {
		p.facts.LastPusher = p.forcedBy
	}
	p.made = nil
	slices.Sort(p.facts.Contributors)
	slices.Sort(p.facts.Strangers)
}

// learn ties addresses to accounts where GitHub itself does.
func (r *reading) learn(c *gh.RepositoryCommit) {
	for _, pair := range []struct{ login, email string }{
		{c.Author.GetLogin(), c.GetCommit().GetAuthor().GetEmail()},
		{c.Committer.GetLogin(), c.GetCommit().GetCommitter().GetEmail()},
	} {
		if key := strings.ToLower(pair.email); pair.login != "" && key != "" && r.emails[key] == "" {
			r.emails[key] = pair.login
		}
	}
}

// accountOf gives the login of a user or, failing that, of an address; "" where
// neither is known.
func (r *reading) accountOf(u *gh.User, address string) string {
	if u.GetLogin() != "" {
		return u.GetLogin()
	}
	if m := noReply.FindStringSubmatch(address); m != nil {
		return m[1]
	}
	return r.emails[strings.ToLower(address)]
}

// checks reads check runs (the latest of each name and app) and the combined
// commit status at a commit.
func (r *reading) checks(ctx context.Context, sha string) ([]Check, error) {
	var out []Check
	total := 0
	runs, err := all(func(o gh.ListOptions) ([]*gh.CheckRun, *gh.Response, error) {
		res, resp, err := r.client.Checks.ListCheckRunsForRef(ctx, r.owner, r.repo, sha,
			&gh.ListCheckRunsOptions{Filter: gh.String("latest"), ListOptions: o})
		if err != nil {
			return nil, resp, err
		}
		total = res.GetTotal()
		return res.CheckRuns, resp, nil
	})
	if err != nil {
		return nil, fmt.Errorf("check runs: %w", err)
	}
	if runs = distinct(runs, (*gh.CheckRun).GetID); len(runs) < total {
		return nil, fmt.Errorf("check runs: %d of %d are listed", len(runs), total)
	}
	for _, c := range runs {
		conclusion := c.GetConclusion()
		if c.GetStatus() != "completed" || conclusion == "" {
			conclusion = "pending"
		}
		out = append(out, Check{c.GetName(), conclusion})
	}
	statuses, err := all(func(o gh.ListOptions) ([]*gh.RepoStatus, *gh.Response, error) {
		res, resp, err := r.client.Repositories.GetCombinedStatus(ctx, r.owner, r.repo, sha, &o)
		if err != nil {
			return nil, resp, err
		}
		return res.Statuses, resp, nil
	})
	if err != nil {
		return nil, fmt.Errorf("commit statuses: %w", err)
	}
	for _, s := range distinct(statuses, (*gh.RepoStatus).GetContext) {
		out = append(out, Check{s.GetContext(), s.GetState()})
	}
	slices.SortFunc(out, func(a, b Check) int { return strings.Compare(a.Name+"\x00"+a.Conclusion, b.Name+"\x00"+b.Conclusion) })
	return out, nil
}

func checkItems(checks []Check) []any {
	out := []any{}
	for _, c := range checks {
		out = append(out, map[string]any{"name": c.Name, "conclusion": c.Conclusion})
	}
	return out
}
