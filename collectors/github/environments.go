package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v60/github"
)

// environments reads where the repository deploys to, and who must agree.
func (r *reading) environments(ctx context.Context) {
	r.ask(func() {
		total := 0
		listed, err := all(func(o gh.ListOptions) ([]*gh.Environment, *gh.Response, error) {
			got, resp, err := r.client.Repositories.ListEnvironments(ctx, r.owner, r.repo, &gh.EnvironmentListOptions{ListOptions: o})
			if err != nil {
				return nil, resp, err
			}
			total = got.GetTotalCount()
			return got.Environments, resp, nil
		})
		r.fails(err, r.where("environments"), KindEnvironments)
		listed = distinct(listed, (*gh.Environment).GetID)
		if err == nil && len(listed) < total {
			r.gap(KindEnvironments, r.where("environments"), fmt.Sprintf("%d of %d are listed", len(listed), total))
		}
		for _, e := range listed {
			reviewers, wait, self := []any{}, 0, false
			for _, rule := range e.ProtectionRules {
				wait = max(wait, rule.GetWaitTimer())
				self = self || rule.GetPreventSelfReview()
				for _, v := range rule.Reviewers {
					switch who := v.Reviewer.(type) {
					case *gh.User:
						reviewers = append(reviewers, "user:"+who.GetLogin())
					case *gh.Team:
						reviewers = append(reviewers, "team:"+who.GetSlug())
					default:
						r.gap(KindEnvironments, r.where("environment %s", e.GetName()), "a reviewer of the unknown type "+v.GetType())
					}
				}
			}
			branches := "all"
			if p := e.DeploymentBranchPolicy; p != nil {
				branches = "custom"
				if p.GetProtectedBranches() {
					branches = "protected"
				}
			}
			r.item(KindEnvironments, r.Name+"/"+e.GetName(), map[string]any{
				"repo": r.Name, "environment": e.GetName(), "reviewers": reviewers, "prevent_self_review": self, "wait_minutes": wait,
				"admins_bypass": e.GetCanAdminsBypass(), "branches": branches,
			})
		}
	}, KindEnvironments)
}
