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
	Facts    PullRequest
	Base     string
	Merged   bool
	MergeSHA string
	MergedBy string
	Commits  []string
	Item     attributes // nil: read for a change only, it lies outside the window

	Made     []authorship
	ForcedBy string // who forced the head that was merged; empty: nobody
}

// pullMark is what stays in memory of a pull request that was read.
type pullMark struct {
	ref      ref
	about    subject
	unread   bool // it could not be read; nothing but about is set
	mine     bool // merged to the branch, in the window
	mergeSHA string
	method   string // how it was merged; empty: not known
	brought  int    // commits of the branch that are tied to it
}

// authorship is who made a commit, as GitHub's accounts and by address.
type authorship struct {
	SHA                         string
	Author, Committer           string // logins; empty where GitHub knows no account
	AuthorEmail, CommitterEmail string
	CoAuthors                   []string // addresses
}

func authorshipOf(c *gh.RepositoryCommit) authorship {
	a := authorship{SHA: c.GetSHA(), Author: c.Author.GetLogin(), Committer: c.Committer.GetLogin(),
		AuthorEmail: c.GetCommit().GetAuthor().GetEmail(), CommitterEmail: c.GetCommit().GetCommitter().GetEmail()}
	for _, m := range coAuthor.FindAllStringSubmatch(c.GetCommit().GetMessage(), -1) {
		a.CoAuthors = append(a.CoAuthors, strings.TrimSpace(m[1]))
	}
	return a
}

// pullRequests reads those of the branch that were opened, closed or merged in
// the window. They are listed by last update, which is never before any of
// these, so the listing ends at the first that was last updated before it.
func (r *reading) pullRequests(ctx context.Context) {
	for _, state := range []string{"open", "closed"} {
		var listed []int
		var err error
		r.ask(func() { listed, err = r.listPulls(ctx, state) }, KindPullRequests, KindChanges)
		r.fails(err, r.where("%s pull requests", state), KindPullRequests, KindChanges)
		for _, number := range listed {
			if ctx.Err() != nil || r.spool.err != nil {
				return
			}
			r.pull(ctx, number)
		}
	}
}

// listPulls gives the numbers of those of the window.
func (r *reading) listPulls(ctx context.Context, state string) (numbers []int, err error) {
	err = each(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		got, resp, err := r.client.PullRequests.List(ctx, r.owner, r.repo, &gh.PullRequestListOptions{
			State: state, Base: r.Branch, Sort: "updated", Direction: "desc", ListOptions: o})
		// All of a page must be older: a listing that shifts while it is read may
		// have an old one last on a page that is not the last of interest.
		if err == nil && len(got) > 0 && !slices.ContainsFunc(got, func(p *gh.PullRequest) bool { return !timeOf(p.UpdatedAt).Before(r.window.From) }) {
			resp.NextPage = 0
		}
		return got, resp, err
	}, func(got []*gh.PullRequest) {
		for _, p := range got {
			if r.inWindow(p.CreatedAt, p.ClosedAt, p.MergedAt) {
				numbers = append(numbers, p.GetNumber())
				r.noteUpdate(p)
			}
		}
	})
	return numbers, err
}

// pull reads one pull request with all that the verdict needs, once. It is
// unread where the pull request itself cannot be read, which is then a gap.
func (r *reading) pull(ctx context.Context, number int) *pullMark {
	if m, read := r.pulls[number]; read {
		return m
	}
	m := &pullMark{about: r.newSubject()}
	r.pulls[number] = m
	r.subjectOf(m.about, func() {
		r.ask(func() {
			var p *pull
			r.rec.changedAt(r.updated[number], func() { p = r.readPull(ctx, number) })
			if m.unread = p == nil; !m.unread {
				m.ref, m.mergeSHA = r.spool.put(p), p.MergeSHA
				m.mine = p.Merged && p.Base == r.Branch && r.window.Contains(p.Facts.Merged)
			}
		}, KindPullRequests, KindChanges)
	})
	return m
}

// settled is a pull request with who made it. It is asked for when all has been
// read: only then is it known whose all the addresses are, and what was read
// first must make no difference.
func (r *reading) settled(m *pullMark) *pull {
	var p pull
	r.spool.get(m.ref, &p)
	r.settleMakers(&p)
	return &p
}

func (r *reading) readPull(ctx context.Context, number int) *pull {
	where := r.where("pull request #%d", number)
	pr, _, err := r.client.PullRequests.Get(ctx, r.owner, r.repo, number)
	if r.fails(err, where, KindPullRequests, KindChanges) {
		return nil
	}
	p := &pull{Base: pr.GetBase().GetRef(), Merged: pr.GetMerged() || pr.MergedAt != nil, MergeSHA: pr.GetMergeCommitSHA(), MergedBy: pr.GetMergedBy().GetLogin()}
	p.Facts = PullRequest{Number: number, Head: pr.GetHead().GetSHA(), Merged: timeOf(pr.MergedAt), Author: login(pr.User)}
	for _, l := range pr.Labels {
		p.Facts.Labels = append(p.Facts.Labels, l.GetName())
	}
	raw, err := all(func(o gh.ListOptions) ([]*gh.PullRequestReview, *gh.Response, error) {
		return r.client.PullRequests.ListReviews(ctx, r.owner, r.repo, number, &o)
	})
	if r.fails(err, where+": reviews", KindPullRequests, KindChanges) {
		p.Facts.ReviewsUnknown = "reviews: " + r.reason(err)
	}
	reviews := p.addReviews(ctx, r, raw)
	r.readCommits(ctx, p, pr.GetCommits())
	events := r.timeline(ctx, p)
	p.Facts.Checks = r.checksAt(ctx, p, p.Facts.Head)
	if p.Facts.Queued {
		p.Facts.QueueChecks = r.checksAt(ctx, p, p.MergeSHA)
	}
	if !r.inWindow(pr.CreatedAt, pr.ClosedAt, pr.MergedAt) {
		return p
	}
	p.Item = attributes{
		"repo": r.Name, "number": number, "title": pr.GetTitle(), "author": p.Facts.Author, "state": pr.GetState(),
		"merged": p.Merged, "merged_at": stamp(p.Facts.Merged), "merged_by": p.MergedBy, "merge_sha": p.MergeSHA,
		"head_sha": p.Facts.Head, "base": p.Base, "created_at": stamp(timeOf(pr.CreatedAt)), "closed_at": stamp(timeOf(pr.ClosedAt)),
		"reviews": reviews,
		"checks":  checkItems(p.Facts.Checks), "labels": list(p.Facts.Labels), "merge_method": "", "commits": list(p.Commits),
		"timeline": events, "draft": pr.GetDraft(), "queued": p.Facts.Queued, "queue_checks": checkItems(p.Facts.QueueChecks),
		"base_changed_at": stamp(p.Facts.Retargeted), "fork": forked(pr), "requested_reviewers": requested(pr),
		"linked_issues": list(linkedIssues(r.Name, pr.GetBody())),
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
	if r.fails(err, r.where("pull request #%d: checks at %s", p.Facts.Number, sha), KindPullRequests, KindChanges) {
		p.Facts.ChecksUnknown = r.reason(err)
	}
	return checks
}

// coAuthors lists who else made it: logins, and addresses of no known account.
func (p *pull) coAuthors() []string {
	var out []string
	for _, c := range p.Facts.Contributors {
		if !strings.EqualFold(c, p.Facts.Author) {
			out = append(out, c)
		}
	}
	return append(out, p.Facts.Strangers...)
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
		p.Facts.Reviews = append(p.Facts.Reviews, rev)
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
	where := r.where("pull request #%d: commits", p.Facts.Number)
	commits, err := all(func(o gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error) {
		return r.client.PullRequests.ListCommits(ctx, r.owner, r.repo, p.Facts.Number, &o)
	})
	commits = distinct(commits, (*gh.RepositoryCommit).GetSHA)
	slices.SortStableFunc(commits, func(a, b *gh.RepositoryCommit) int {
		return cmp.Or(a.GetCommit().GetCommitter().GetDate().Compare(b.GetCommit().GetCommitter().GetDate().Time), cmp.Compare(a.GetSHA(), b.GetSHA()))
	})
	if r.fails(err, where, KindPullRequests, KindChanges) {
		p.Facts.ReviewsUnknown = "commits, and so who made them: " + r.reason(err)
	} else if len(commits) < total {
		why := fmt.Sprintf("%d of %d are listed", len(commits), total)
		r.gap(KindPullRequests, where, why)
		r.gap(KindChanges, where, why)
		p.Facts.ReviewsUnknown = "commits, and so who made them: " + why
	}
	for _, c := range commits {
		p.Commits = append(p.Commits, c.GetSHA())
		made := authorshipOf(c)
		r.learn(made)
		p.Made = append(p.Made, made)
	}
}

// settle enters the pull requests of the window.
func (r *reading) settle() {
	for _, number := range slices.Sorted(maps.Keys(r.pulls)) {
		m := r.pulls[number]
		if m.unread {
			continue
		}
		p := r.settled(m)
		if p.Item == nil {
			continue
		}
		t := p.Facts.tally(r.rules.DismissesStale, nil)
		maps.Copy(p.Item, map[string]any{
			"last_pusher": p.Facts.LastPusher, "contributors": list(p.Facts.Contributors), "co_authors": list(p.coAuthors()),
			"requested_changes_outstanding": list(t.objections), "approvals": list(t.valid), "merge_method": m.method,
		})
		r.item(KindPullRequests, fmt.Sprintf("%s#%d", r.Name, number), p.Item, m.about)
	}
}

func (r *reading) settleMakers(p *pull) {
	add := func(who string) {
		if who != "" && who != webFlow && !slices.Contains(p.Facts.Contributors, who) {
			p.Facts.Contributors = append(p.Facts.Contributors, who)
		}
	}
	p.Facts.LastPusher = p.Facts.Author
	for _, c := range p.Made {
		author, committer := r.accountOf(c.Author, c.AuthorEmail), r.accountOf(c.Committer, c.CommitterEmail)
		addresses := c.CoAuthors
		if author == "" {
			addresses = append([]string{c.AuthorEmail}, addresses...)
		}
		add(author)
		add(committer)
		for _, a := range addresses {
			if who := r.accountOf("", a); who != "" {
				add(who)
			} else if !slices.Contains(p.Facts.Strangers, a) {
				p.Facts.Strangers = append(p.Facts.Strangers, a)
			}
		}
		if c.SHA == p.Facts.Head {
			if committer != "" && committer != webFlow {
				p.Facts.LastPusher = committer
			} else if author != "" {
				p.Facts.LastPusher = author
			}
		}
	}
	if p.ForcedBy != "" {
		p.Facts.LastPusher = p.ForcedBy
	}
	slices.Sort(p.Facts.Contributors)
	slices.Sort(p.Facts.Strangers)
}

// learn ties addresses to accounts where GitHub itself does.
func (r *reading) learn(c authorship) {
	for _, pair := range [][2]string{{c.Author, c.AuthorEmail}, {c.Committer, c.CommitterEmail}} {
		if key := strings.ToLower(pair[1]); pair[0] != "" && key != "" && r.emails[key] == "" {
			r.emails[key] = pair[0]
		}
	}
}

// accountOf gives the login, or, failing that, of an address; "" where
// neither is known.
func (r *reading) accountOf(login, address string) string {
	if login != "" {
		return login
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
		total = res.GetTotalCount()
		return res.Statuses, resp, nil
	})
	if err != nil {
		return nil, fmt.Errorf("commit statuses: %w", err)
	}
	if len(statuses) < total {
		return nil, fmt.Errorf("commit statuses: %d of %d are listed", len(statuses), total)
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
