package github

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// after gives what was recorded of a deployment once it was a success: later
// statuses, but for GitHub's own note that another deployment took over, and
// check runs at its commit. It is nil where that is not known, and empty where
// nothing was, or where there was no success.
func (r *reading) after(ctx context.Context, d *gh.Deployment, statuses []*gh.DeploymentStatus) any {
	out := []map[string]any{}
	first := slices.IndexFunc(statuses, func(s *gh.DeploymentStatus) bool { return s.GetState() == "success" })
	if first < 0 {
		return []any{}
	}
	for _, s := range statuses[first+1:] {
		if s.GetState() != "inactive" {
			out = append(out, map[string]any{"what": "status", "name": s.GetDescription(), "state": s.GetState(), "at": stamp(timeOf(s.CreatedAt)), "by": login(s.Creator)})
		}
	}
	checks, err := r.checksAfter(ctx, d.GetSHA(), timeOf(statuses[first].CreatedAt))
	if r.fails(err, r.where("checks after deployment %d", d.GetID()), KindDeployments) {
		return nil
	}
	out = append(out, checks...)
	slices.SortStableFunc(out, func(a, b map[string]any) int { return strings.Compare(a["at"].(string), b["at"].(string)) })
	return list(out)
}

// checksAfter gives the check runs at a commit that began once it was deployed:
// what looked at it where it runs. Those of the pull request came before. GitHub
// ties a check run to its commit and to no deployment, so that of two
// deployments of one commit the earlier counts those after the later, too.
func (r *reading) checksAfter(ctx context.Context, sha string, deployed time.Time) ([]map[string]any, error) {
	total := 0
	runs, err := all(func(o gh.ListOptions) ([]*gh.CheckRun, *gh.Response, error) {
		res, resp, err := r.client.Checks.ListCheckRunsForRef(ctx, r.owner, r.repo, sha, &gh.ListCheckRunsOptions{Filter: gh.String("all"), ListOptions: o})
		if err != nil {
			return nil, resp, err
		}
		total = res.GetTotal()
		return res.CheckRuns, resp, nil
	})
	if err != nil {
		return nil, err
	}
	if runs = distinct(runs, (*gh.CheckRun).GetID); len(runs) < total {
		return nil, fmt.Errorf("%d of %d are listed", len(runs), total)
	}
	slices.SortFunc(runs, func(a, b *gh.CheckRun) int {
		return cmp.Or(timeOf(a.StartedAt).Compare(timeOf(b.StartedAt)), cmp.Compare(a.GetID(), b.GetID()))
	})
	out := []map[string]any{}
	for _, c := range runs {
		if timeOf(c.StartedAt).Before(deployed) {
			continue
		}
		conclusion := c.GetConclusion()
		if c.GetStatus() != "completed" || conclusion == "" {
			conclusion = "pending"
		}
		at := timeOf(c.CompletedAt)
		if at.IsZero() {
			at = timeOf(c.StartedAt)
		}
		out = append(out, map[string]any{"what": "check", "name": c.GetName(), "state": conclusion, "at": stamp(at), "by": c.GetApp().GetSlug()})
	}
	return out, nil
}
