package metering

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// pulls adds every pull request with its reviews, commits and checks.
func (r *replies) pulls() {
	var opened, closed []*pullRequest
	for _, a := range r.h.History {
		if a.PR == nil {
			continue
		}
		if a.PR.Merged.IsZero() && a.PR.Closed.IsZero() {
			opened = append(opened, a.PR)
		} else {
			closed = append(closed, a.PR)
		}
		r.pull(a.PR)
	}
	for state, prs := range map[string][]*pullRequest{"open": opened, "closed": closed} {
		slices.SortFunc(prs, func(a, b *pullRequest) int { return b.updated().Compare(a.updated()) })
		var listed []any
		for _, p := range prs {
			listed = append(listed, r.pullObject(p))
		}
		r.pages(r.repo+"/pulls", 10, listed, nil, "state", state, "base", r.h.Branch, "sort", "updated", "direction", "desc")
	}
}

// updated is when GitHub last saw something happen to it.
func (p *pullRequest) updated() time.Time {
	last := p.Opened
	for _, t := range []time.Time{p.Closed, p.Merged} {
		if t.After(last) {
			last = t
		}
	}
	for _, v := range p.Reviews {
		if v.At.After(last) {
			last = v.At
		}
	}
	return last
}

// pullObject is a pull request as listings hold it.
func (r *replies) pullObject(p *pullRequest) jsonObject {
	labels := []any{}
	for i, l := range p.Labels {
		labels = append(labels, jsonObject{"id": 600 + i, "name": l})
	}
	out := jsonObject{
		"id": 80000 + p.Number, "number": p.Number, "title": p.Title, "user": r.user(p.Author), "labels": labels, "draft": false,
		"state": "open", "created_at": stamp(p.Opened), "updated_at": stamp(p.updated()),
		"closed_at": nil, "merged_at": nil, "merge_commit_sha": nil,
		"head": jsonObject{"ref": p.head().Label, "sha": r.sha(p.head().Label), "repo": jsonObject{"full_name": r.h.Repository}},
		"base": jsonObject{"ref": r.h.Branch, "repo": jsonObject{"full_name": r.h.Repository}},
	}
	if !p.Closed.IsZero() {
		out["state"], out["closed_at"] = "closed", stamp(p.Closed)
	}
	if !p.Merged.IsZero() {
		out["state"], out["closed_at"], out["merged_at"] = "closed", stamp(p.Merged), stamp(p.Merged)
		out["merge_commit_sha"] = r.sha(p.mergeLabel())
	}
	return out
}

func (r *replies) pull(p *pullRequest) {
	path := fmt.Sprintf("%s/pulls/%d", r.repo, p.Number)
	whole := r.pullObject(p)
	whole["merged"], whole["merged_by"], whole["commits"] = !p.Merged.IsZero(), r.user(p.MergedBy), len(p.Commits)
	r.get(path, whole)
	var reviews, commits []any
	for i, v := range p.Reviews {
		reviews = append(reviews, jsonObject{"id": p.Number*100 + i, "user": r.user(v.User), "state": v.State, "body": "",
			"commit_id": r.sha(v.Commit), "submitted_at": stamp(v.At)})
	}
	for _, c := range p.Commits {
		commits = append(commits, r.commitObject(c, c.Label, nil))
	}
	r.pages(path+"/reviews", 100, reviews, nil)
	r.pages(path+"/commits", 100, commits, nil)
	r.pages(fmt.Sprintf("%s/issues/%d/timeline", r.repo, p.Number), 100, r.timeline(p), nil)

	head := p.head()
	var runs []any
	for i, name := range append(requiredChecks(), "lint") {
		conclusion := cmp.Or(p.Checks[name], "success")
		runs = append(runs, jsonObject{"id": p.Number*10 + i, "name": name, "head_sha": r.sha(head.Label), "status": "completed", "conclusion": conclusion,
			"started_at": stamp(head.At.Add(time.Minute)), "completed_at": stamp(head.At.Add(9 * time.Minute)), "app": jsonObject{"id": 77, "slug": "gridpulse-ci"}})
	}
	at := r.repo + "/commits/" + r.sha(head.Label)
	r.pages(at+"/check-runs", 100, runs, func(part []any) any { return jsonObject{"total_count": len(runs), "check_runs": part} }, "filter", "latest")
	r.pages(at+"/status", 100, nil, func([]any) any {
		return jsonObject{"state": "pending", "sha": r.sha(head.Label), "total_count": 0, "statuses": []any{}}
	})
}

// timeline is what happened to a pull request, as far as this history says.
func (r *replies) timeline(p *pullRequest) []any {
	var out []any
	event := func(kind, actor string, at time.Time, more jsonObject) {
		e := jsonObject{"event": kind, "actor": r.user(actor), "created_at": stamp(at)}
		maps.Copy(e, more)
		out = append(out, e)
	}
	for _, l := range p.Labels {
		event("labeled", p.Author, p.Opened.Add(time.Minute), jsonObject{"label": jsonObject{"name": l}})
	}
	for _, v := range p.Reviews {
		out = append(out, jsonObject{"event": "reviewed", "user": r.user(v.User), "state": strings.ToLower(v.State), "commit_id": r.sha(v.Commit), "submitted_at": stamp(v.At)})
	}
	if !p.Merged.IsZero() {
		event("merged", p.MergedBy, p.Merged, jsonObject{"commit_id": r.sha(p.mergeLabel())})
	}
	if !p.Closed.IsZero() {
		event("closed", p.Author, p.Closed, nil)
	}
	return out
}

// commitObject is a commit as the API shows it. The committer is the author,
// or GitHub where committed is its time.
func (r *replies) commitObject(c codeCommit, label string, committed *time.Time, parents ...string) any {
	commit := jsonObject{"message": message(r.h, c),
		"author":    jsonObject{"name": r.h.People[c.Author].Name, "email": r.h.address(c.Author), "date": stamp(c.At)},
		"committer": jsonObject{"name": r.h.People[c.Author].Name, "email": r.h.address(c.Author), "date": stamp(c.At)}}
	committer := r.user(c.Author)
	if committed != nil {
		commit["committer"] = jsonObject{"name": "GitHub", "email": "noreply@github.com", "date": stamp(*committed)}
		committer = jsonObject{"login": "web-flow", "id": 19864447, "type": "User", "site_admin": false}
	}
	list := []any{}
	for _, p := range parents {
		list = append(list, jsonObject{"sha": p})
	}
	return jsonObject{"sha": r.sha(label), "commit": commit, "author": r.user(c.Author), "committer": committer, "parents": list}
}

// onBranch is one commit that the branch reaches.
type onBranch struct {
	commit any
	label  string
	at     time.Time
	pr     *pullRequest
}

// branch adds the commits of the quarter, newest first, and the pull requests
// that each belongs to.
func (r *replies) branch() {
	var all []onBranch
	tip := r.sha(r.h.Start[len(r.h.Start)-1].Label)
	for _, a := range r.h.History {
		if c := a.Direct; c != nil {
			all = append(all, onBranch{r.commitObject(*c, c.Label, nil, tip), c.Label, c.At, nil})
			tip = r.sha(c.Label)
			continue
		}
		if a.PR.Merged.IsZero() {
			continue
		}
		all = append(all, r.merged(a.PR, tip)...)
		tip = r.sha(a.PR.mergeLabel())
	}
	r.activity()
	slices.SortStableFunc(all, func(a, b onBranch) int { return b.at.Compare(a.at) })
	var listed []any
	for _, c := range all {
		listed = append(listed, c.commit)
		var prs []any
		if c.pr != nil {
			prs = append(prs, r.pullObject(c.pr))
		}
		r.pages(r.repo+"/commits/"+r.sha(c.label)+"/pulls", 100, prs, nil)
	}
	r.pages(r.repo+"/commits", 20, listed, nil, "sha", r.h.Branch, "since", "*", "until", "*")
}

// activity is who moved the branch, newest first: the mergers, and those who
// pushed directly.
func (r *replies) activity() {
	var out []any
	before := r.sha(r.h.Start[len(r.h.Start)-1].Label)
	for i, a := range r.h.History {
		move := jsonObject{"id": 70000 + i, "ref": "refs/heads/" + r.h.Branch, "before": before}
		switch {
		case a.Direct != nil:
			before = r.sha(a.Direct.Label)
			move["actor"], move["activity_type"], move["timestamp"] = r.user(a.Direct.Author), "push", stamp(a.Direct.At.Add(40*time.Second))
		case a.PR.Merged.IsZero():
			continue
		default:
			before = r.sha(a.PR.mergeLabel())
			move["actor"], move["activity_type"], move["timestamp"] = r.user(a.PR.MergedBy), "pr_merge", stamp(a.PR.Merged)
		}
		move["after"] = before
		out = append(out, move)
	}
	slices.Reverse(out)
	r.get(r.repo+"/activity", out, "ref", "refs/heads/"+r.h.Branch, "direction", "desc", "time_period", "year", "per_page", "100")
}

// merged gives what the merge of a pull request brought onto the branch.
func (r *replies) merged(p *pullRequest, tip string) []onBranch {
	at := p.Merged
	switch p.Method {
	case "merge":
		var out []onBranch
		parent := tip
		for _, c := range p.Commits {
			out = append(out, onBranch{r.commitObject(c, c.Label, nil, parent), c.Label, c.At, p})
			parent = r.sha(c.Label)
		}
		return append(out, onBranch{r.commitObject(p.mergeCommit(), p.mergeLabel(), &at, tip, parent), p.mergeLabel(), at, p})
	case "rebase":
		var out []onBranch
		parent := tip
		for i, c := range p.Commits {
			out = append(out, onBranch{r.commitObject(c, p.rebased(i), &at, parent), p.rebased(i), at, p})
			parent = r.sha(p.rebased(i))
		}
		return out
	}
	return []onBranch{{r.commitObject(p.mergeCommit(), p.mergeLabel(), &at, tip), p.mergeLabel(), at, p}}
}
