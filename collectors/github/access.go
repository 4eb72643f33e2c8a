package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v60/github"
)

// whoMayWrite reads who comes at the repository: people with their permission,
// teams, and keys that deploy, which act for nobody by name.
func (r *reading) whoMayWrite(ctx context.Context) {
	r.ask(func() {
		people, err := all(func(o gh.ListOptions) ([]*gh.User, *gh.Response, error) {
			return r.client.Repositories.ListCollaborators(ctx, r.owner, r.repo, &gh.ListCollaboratorsOptions{Affiliation: "all", ListOptions: o})
		})
		r.fails(err, r.where("collaborators"), KindAccess)
		for _, u := range distinct(people, (*gh.User).GetLogin) {
			r.grantee("user", u.GetLogin(), u.GetRoleName(), u.Permissions["push"], map[string]any{"type": u.GetType()})
		}
		teams, err := all(func(o gh.ListOptions) ([]*gh.Team, *gh.Response, error) {
			return r.client.Repositories.ListTeams(ctx, r.owner, r.repo, &o)
		})
		r.fails(err, r.where("teams"), KindAccess)
		for _, t := range distinct(teams, (*gh.Team).GetSlug) {
			p := t.GetPermission()
			r.grantee("team", t.GetSlug(), p, p == "push" || p == "maintain" || p == "admin", nil)
		}
		keys, err := all(func(o gh.ListOptions) ([]*gh.Key, *gh.Response, error) {
			return r.client.Repositories.ListKeys(ctx, r.owner, r.repo, &o)
		})
		r.fails(err, r.where("deploy keys"), KindAccess)
		for _, k := range distinct(keys, (*gh.Key).GetID) {
			role := "write"
			if k.GetReadOnly() {
				role = "read"
			}
			r.grantee("key", fmt.Sprint(k.GetID()), role, !k.GetReadOnly(), map[string]any{
				"title": k.GetTitle(), "added_by": k.GetAddedBy(), "created_at": stamp(timeOf(k.CreatedAt)), "last_used": stamp(timeOf(k.LastUsed)),
			})
		}
	}, KindAccess)
}

func (r *reading) grantee(kind, name, role string, writes bool, more map[string]any) {
	attrs := map[string]any{"repo": r.Name, "principal": kind + ":" + name, "kind": kind, "role": role, "writes": writes}
	for k, v := range more {
		attrs[k] = v
	}
	r.item(KindAccess, r.Name+"/"+kind+":"+name, attrs)
}
