package github

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// push is one change of the branch's ref, as the repository's activity lists it.
// https://docs.github.com/rest/repos/repos#list-repository-activities
type push struct {
	ID     int64         `json:"id"`
	Before string        `json:"before"`
	After  string        `json:"after"`
	Ref    string        `json:"ref"`
	At     *gh.Timestamp `json:"timestamp"`
	Type   string        `json:"activity_type"` // push, force_push, branch_creation, branch_deletion, pr_merge, merge_queue_merge
	Actor  *account      `json:"actor"`
}

// account is the part of a user that says who it is.
type account struct {
	Login string `json:"login"`
}

// login is empty where nobody is named.
func (a *account) login() string {
	if a == nil {
		return ""
	}
	return a.Login
}

// pushes reads who changed what the branch points to, and when: the one time
// on the branch that no committer sets. It is listed newest first, a page's
// link naming where the next begins, and kept for a year.
func (r *reading) pushes(ctx context.Context) {
	r.ask(func() {
		var all []push
		seen := map[int64]bool{}
		after := ""
		for page := 1; ; page++ {
			path := fmt.Sprintf("repos/%s/%s/activity?ref=%s&direction=desc&time_period=year&per_page=100", r.owner, r.repo, url.QueryEscape("refs/heads/"+r.Branch))
			if after != "" {
				path += "&after=" + url.QueryEscape(after)
			}
			got, resp, err := get[[]push](ctx, r.run, path)
			if r.fails(err, r.where("pushes to %s, page %d", r.Branch, page), KindPushes) {
				break
			}
			for _, p := range got {
				if !seen[p.ID] {
					seen[p.ID] = true
					all = append(all, p)
				}
			}
			oldest := time.Time{}
			if len(got) > 0 {
				oldest = timeOf(got[len(got)-1].At)
			}
			if resp.After == "" || len(got) == 0 || !oldest.IsZero() && oldest.Before(r.window.From) {
				break
			}
			if resp.After == after {
				r.gap(KindPushes, r.where("pushes to %s, page %d", r.Branch, page+1), "the source gives the same page again")
				break
			}
			after = resp.After
		}
		if since := r.c.deps.Now().AddDate(-1, 0, 0); r.window.From.Before(since) {
			r.gap(KindPushes, r.where("pushes to %s before %s", r.Branch, since.Format(time.DateOnly)), "GitHub keeps a year of them; collect each day")
		}
		for _, p := range all {
			if p.Ref != "refs/heads/"+r.Branch {
				continue
			}
			r.moved = append(r.moved, p)
			if timeOf(p.At).IsZero() {
				r.gap(KindPushes, r.where("push %d to %s", p.ID, r.Branch), "it is listed without a time")
			} else if r.window.Contains(timeOf(p.At)) {
				r.item(KindPushes, fmt.Sprint(p.ID), map[string]any{
					"repo": r.Name, "branch": r.Branch, "kind": p.Type, "actor": cmp.Or(p.Actor.login(), Ghost), "at": stamp(timeOf(p.At)), "before": p.Before, "after": p.After,
				})
			}
		}
		slices.SortStableFunc(r.moved, func(a, b push) int { return timeOf(a.At).Compare(timeOf(b.At)) })
	}, KindPushes)
}

// arrivals ties each commit of the branch's first-parent line to the push that
// brought it, by its place in r.moved: all that lie between what the branch
// pointed to before and after.
func (r *reading) arrivals(firstParent map[string]string) map[string]int {
	out := map[string]int{}
	for i, p := range r.moved { // oldest first, so the first push of a commit stays
		for at := p.After; at != "" && at != p.Before; at = firstParent[at] {
			if _, known := out[at]; known {
				break
			}
			if _, listed := firstParent[at]; !listed {
				break
			}
			out[at] = i
		}
	}
	return out
}
