package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v60/github"
)

// releases reads those published or made in the window, with their assets and
// the class of the change that each was cut from. A tag is tied to its commit
// as the repository has it now.
func (r *reading) releases(ctx context.Context) {
	r.ask(func() {
		listed, err := all(func(o gh.ListOptions) ([]*gh.RepositoryRelease, *gh.Response, error) {
			return r.client.Repositories.ListReleases(ctx, r.owner, r.repo, &o)
		})
		r.fails(err, r.where("releases"), KindReleases)
		tags := map[string]string{}
		named, err := all(func(o gh.ListOptions) ([]*gh.RepositoryTag, *gh.Response, error) {
			return r.client.Repositories.ListTags(ctx, r.owner, r.repo, &o)
		})
		r.fails(err, r.where("tags"), KindReleases)
		for _, t := range named {
			tags[t.GetName()] = t.GetCommit().GetSHA()
		}
		for _, rel := range distinct(listed, (*gh.RepositoryRelease).GetID) {
			if !r.inWindow(rel.CreatedAt, rel.PublishedAt) {
				continue
			}
			sha := tags[rel.GetTagName()]
			if sha == "" && err == nil && !rel.GetDraft() {
				r.gap(KindReleases, r.where("release %s", rel.GetTagName()), "its tag is not among those of the repository")
			}
			class := string(Unknown)
			if c, known := r.classes[sha]; known {
				class = string(c)
			}
			assets := []any{}
			for _, a := range rel.Assets {
				assets = append(assets, map[string]any{"id": fmt.Sprint(a.GetID()), "name": a.GetName(), "bytes": a.GetSize(), "uploader": login(a.Uploader),
					"created_at": stamp(timeOf(a.CreatedAt)), "updated_at": stamp(timeOf(a.UpdatedAt))})
			}
			r.item(KindReleases, fmt.Sprintf("%s@%s", r.Name, rel.GetTagName()), map[string]any{
				"repo": r.Name, "tag": rel.GetTagName(), "sha": sha, "name": rel.GetName(), "author": login(rel.Author), "draft": rel.GetDraft(), "prerelease": rel.GetPrerelease(),
				"target": rel.GetTargetCommitish(), "created_at": stamp(timeOf(rel.CreatedAt)), "published_at": stamp(timeOf(rel.PublishedAt)), "assets": assets, "change_class": class,
			})
		}
	}, KindReleases)
}
