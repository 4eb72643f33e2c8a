package github

import (
	"context"
	"fmt"
	"net/url"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// suiteDays is how far back GitHub gives rule suites, at most.
const suiteDays = 30

// suite is what the rules said of one push to the branch.
// https://docs.github.com/rest/repos/rule-suites
type suite struct {
	ID     int64         `json:"id"`
	Before string        `json:"before_sha"`
	After  string        `json:"after_sha"`
	Actor  string        `json:"actor_name"`
	At     *gh.Timestamp `json:"pushed_at"`
	Result string        `json:"result"`            // pass, fail, bypass
	Would  string        `json:"evaluation_result"` // of rules that are only evaluated; empty where there are none
}

// ruleSuites reads what the rules said of each push, and gives who bypassed one
// with which commit on top.
func (r *reading) ruleSuites(ctx context.Context) map[string]string {
	out := map[string]string{}
	where := r.where("rule suites of %s", r.Branch)
	r.ask(func() {
		if since := r.c.deps.Now().AddDate(0, 0, -suiteDays); r.window.From.Before(since) {
			r.gap(KindRuleSuites, r.where("rule suites of %s before %s", r.Branch, since.Format(time.DateOnly)), "GitHub gives a month of them; collect each day")
		}
		suites, err := all(func(o gh.ListOptions) ([]suite, *gh.Response, error) {
			return get[[]suite](ctx, r.run, fmt.Sprintf("repos/%s/%s/rulesets/rule-suites?ref=%s&time_period=month&rule_suite_result=all&per_page=%d&page=%d",
				r.owner, r.repo, url.QueryEscape("refs/heads/"+r.Branch), o.PerPage, o.Page))
		})
		r.fails(err, where, KindRuleSuites, KindChanges)
		for _, s := range distinct(suites, func(s suite) string { return fmt.Sprint(s.ID, s.After) }) {
			if s.Result == "bypass" {
				out[s.After] = s.Actor
			}
			switch {
			case s.ID == 0 || timeOf(s.At).IsZero():
				r.gap(KindRuleSuites, where, "one without an ID or time")
			case r.window.Contains(timeOf(s.At)):
				r.item(KindRuleSuites, fmt.Sprint(s.ID), map[string]any{"repo": r.Name, "branch": r.Branch, "actor": s.Actor, "before": s.Before, "after": s.After,
					"pushed_at": stamp(timeOf(s.At)), "result": s.Result, "evaluation": s.Would})
			}
		}
	}, KindRuleSuites, KindChanges)
	return out
}
