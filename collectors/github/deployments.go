package github

import (
	"context"
	"fmt"
	"slices"

	gh "github.com/google/go-github/v60/github"
)

// deployments reads those made in the window, or so long before it as was
// asked, with all their statuses, and ties each to the class of the change that
// it deployed. They are listed newest first, so the listing ends at the first
// that is older.
func (r *reading) deployments(ctx context.Context) {
	window := r.windowOf(KindDeployments)
	r.ask(func() {
		listed, err := all(func(o gh.ListOptions) ([]*gh.Deployment, *gh.Response, error) {
			got, resp, err := r.client.Repositories.ListDeployments(ctx, r.owner, r.repo, &gh.DeploymentsListOptions{ListOptions: o})
			if err == nil && len(got) > 0 && !slices.ContainsFunc(got, func(d *gh.Deployment) bool { return !timeOf(d.CreatedAt).Before(window.From) }) {
				resp.NextPage = 0
			}
			return got, resp, err
		})
		r.fails(err, r.where("deployments"), KindDeployments)
		seen := map[int64]bool{}
		for _, d := range listed {
			if ctx.Err() != nil {
				return
			}
			if seen[d.GetID()] || !window.Contains(timeOf(d.CreatedAt)) {
				continue
			}
			seen[d.GetID()] = true
			r.subjectOf(r.newSubject(), func() { r.deployment(ctx, d) })
		}
	}, KindDeployments)
}

func (r *reading) deployment(ctx context.Context, d *gh.Deployment) {
	statuses, err := all(func(o gh.ListOptions) ([]*gh.DeploymentStatus, *gh.Response, error) {
		return r.client.Repositories.ListDeploymentStatuses(ctx, r.owner, r.repo, d.GetID(), &o)
	})
	final := "none"
	if r.fails(err, r.where("statuses of deployment %d", d.GetID()), KindDeployments) {
		final = "unknown"
	}
	slices.SortStableFunc(statuses, func(a, b *gh.DeploymentStatus) int {
		if c := timeOf(a.CreatedAt).Compare(timeOf(b.CreatedAt)); c != 0 {
			return c
		}
		return int(a.GetID() - b.GetID())
	})
	items := []any{}
	for _, s := range statuses {
		items = append(items, map[string]any{"state": s.GetState(), "at": stamp(timeOf(s.CreatedAt)), "creator": login(s.Creator)})
		// GitHub itself marks a deployment inactive once a later one took over:
		// that says nothing of how this one went.
		if err == nil && s.GetState() != "inactive" {
			final = s.GetState()
		}
	}
	class := string(Unknown)
	if c, known := r.classes[d.GetSHA()]; known {
		class = string(c)
	}
	r.item(KindDeployments, fmt.Sprint(d.GetID()), map[string]any{
		"repo": r.Name, "sha": d.GetSHA(), "environment": d.GetEnvironment(), "ref": d.GetRef(), "creator": login(d.Creator),
		"created_at": stamp(timeOf(d.CreatedAt)), "statuses": items, "final_state": final, "change_class": class, "after": r.after(ctx, d, statuses),
	})
}
