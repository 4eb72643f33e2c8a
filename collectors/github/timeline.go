package github

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	gh "github.com/google/go-github/v60/github"
)

// happened is one event of a pull request's timeline: who did what, and when.
// https://docs.github.com/rest/issues/timeline
type happened struct {
	ID        int64         `json:"id"`
	Event     string        `json:"event"`
	Actor     *gh.User      `json:"actor"`
	CreatedAt *gh.Timestamp `json:"created_at"`
	Commit    string        `json:"commit_id"`
	Label     *gh.Label     `json:"label"`
	Reviewer  *gh.User      `json:"requested_reviewer"`
	Team      *gh.Team      `json:"requested_team"`
	Dismissed *struct {
		Review int64  `json:"review_id"`
		State  string `json:"state"` // before it was dismissed
	} `json:"dismissed_review"`
}

// key is equal for one event that is listed twice, and orders those of one time.
func (e happened) key() string {
	return fmt.Sprint(e.ID, e.Event, timeOf(e.CreatedAt), login(e.Actor), e.Commit, e.Label.GetName(), e.Reviewer.GetLogin(), e.Team.GetSlug())
}

// toldEvents are those that say something of how a change was approved. Of all
// others (mentions, comments, …) only the raw reply is kept.
func toldEvents() []string {
	return []string{
		"base_ref_changed", "automatic_base_change_succeeded", "head_ref_force_pushed", "head_ref_deleted", "head_ref_restored",
		"ready_for_review", "convert_to_draft", "review_requested", "review_request_removed", "review_dismissed",
		"labeled", "unlabeled", "added_to_merge_queue", "removed_from_merge_queue", "auto_merge_enabled", "auto_merge_disabled",
		"merged", "closed", "reopened", "connected", "disconnected",
	}
}

// mergeQueue is the account that merges what comes out of a merge queue.
const mergeQueue = "github-merge-queue[bot]"

// timeline fills in what only the timeline tells: when the base was changed,
// who forced the head, and whether a merge queue merged it. It gives the told
// events as the item lists them.
func (r *reading) timeline(ctx context.Context, p *pull) []any {
	out := []any{}
	events, err := all(func(o gh.ListOptions) ([]happened, *gh.Response, error) {
		return get[[]happened](ctx, r.run, fmt.Sprintf("repos/%s/%s/issues/%d/timeline?per_page=%d&page=%d", r.owner, r.repo, p.Facts.Number, o.PerPage, o.Page))
	})
	if r.fails(err, r.where("pull request #%d: timeline", p.Facts.Number), KindPullRequests, KindChanges) {
		p.Facts.TimelineUnknown = r.reason(err)
	}
	events = distinct(events, happened.key)
	slices.SortFunc(events, func(a, b happened) int {
		return cmp.Or(timeOf(a.CreatedAt).Compare(timeOf(b.CreatedAt)), cmp.Compare(a.key(), b.key()))
	})
	p.Facts.Queued = p.MergedBy == mergeQueue
	for _, e := range events {
		if !slices.Contains(toldEvents(), e.Event) {
			continue
		}
		at, before := timeOf(e.CreatedAt), p.Facts.Merged.IsZero() || !timeOf(e.CreatedAt).After(p.Facts.Merged)
		told := map[string]any{"event": e.Event, "at": stamp(at), "actor": login(e.Actor), "detail": ""}
		switch {
		case e.Event == "base_ref_changed" || e.Event == "automatic_base_change_succeeded":
			if before {
				p.Facts.Retargeted = at
			}
		case e.Event == "head_ref_force_pushed":
			told["detail"] = e.Commit
			if before && e.Commit == p.Facts.Head && e.Actor.GetLogin() != "" {
				p.ForcedBy = e.Actor.GetLogin()
			}
		case e.Label != nil:
			told["detail"] = e.Label.GetName()
		case e.Reviewer != nil:
			told["detail"] = e.Reviewer.GetLogin()
		case e.Team != nil:
			told["detail"] = "team:" + e.Team.GetSlug()
		case e.Dismissed != nil:
			told["detail"] = fmt.Sprintf("review %d, which was %s", e.Dismissed.Review, e.Dismissed.State)
		}
		out = append(out, told)
	}
	return out
}
