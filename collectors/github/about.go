package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	gh "github.com/google/go-github/v60/github"
)

// notFound tells a 404. Where the repository itself was read, it says that what
// was asked for is not in it.
func notFound(err error) bool {
	var api *gh.ErrorResponse
	return errors.As(err, &api) && api.Response != nil && api.Response.StatusCode == http.StatusNotFound
}

// about reads the repository's own settings, and what is wrong with its
// CODEOWNERS, whose faulty lines GitHub passes over.
func (r *reading) about(ctx context.Context) {
	r.ask(func() {
		repo, _, err := r.client.Repositories.Get(ctx, r.owner, r.repo)
		if r.fails(err, r.where("settings"), KindRepository) {
			return
		}
		var owners any
		faults, _, err := r.client.Repositories.GetCodeownersErrors(ctx, r.owner, r.repo, &gh.GetCodeownersErrorsOptions{Ref: r.Branch})
		switch {
		case err == nil:
			list := []any{}
			for _, e := range faults.Errors {
				list = append(list, fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Kind))
			}
			owners = list
		case notFound(err): // there is no such file, which is no gap
			owners = []any{"there is no CODEOWNERS on " + r.Branch}
		default:
			r.fails(err, r.where("errors of CODEOWNERS"), KindRepository)
		}
		r.item(KindRepository, r.Name, map[string]any{
			"repo": r.Name, "default_branch": repo.GetDefaultBranch(), "visibility": repo.GetVisibility(), "archived": repo.GetArchived(), "fork": repo.GetFork(),
			"merge_commit": repo.GetAllowMergeCommit(), "squash": repo.GetAllowSquashMerge(), "rebase": repo.GetAllowRebaseMerge(), "auto_merge": repo.GetAllowAutoMerge(),
			"codeowners_errors": owners, // null: not known
		})
	}, KindRepository)
}
