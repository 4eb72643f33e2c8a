package github

import (
	"context"
	"slices"

	gh "github.com/google/go-github/v60/github"
)

// organization reads what the organisation demands of all its members. GitHub
// shows it in part to whoever does not own it; a field that is not shown is
// null, and a gap.
// https://docs.github.com/rest/orgs/orgs#get-an-organization
func (r *run) organization(ctx context.Context, org string) {
	r.ask(func() {
		o, _, err := r.client.Organizations.Get(ctx, org)
		if r.fails(err, org+": its settings", KindOrganization) {
			return
		}
		a := map[string]any{"two_factor_required": nil, "base_permission": nil, "members_create_repositories": nil, "members_create_public_repositories": nil}
		shown := func(name string, given bool, value any) {
			if given {
				a[name] = value
				return
			}
			r.gap(KindOrganization, org+": "+name, "GitHub does not show it to this account; an owner sees it")
		}
		shown("two_factor_required", o.TwoFactorRequirementEnabled != nil, o.GetTwoFactorRequirementEnabled())
		shown("base_permission", o.DefaultRepoPermission != nil, o.GetDefaultRepoPermission())
		shown("members_create_repositories", o.MembersCanCreateRepos != nil, o.GetMembersCanCreateRepos())
		shown("members_create_public_repositories", o.MembersCanCreatePublicRepos != nil, o.GetMembersCanCreatePublicRepos())
		r.item(KindOrganization, org, a)
	}, KindOrganization)
}

// teams reads who belongs to which team, and who may add others to it.
// https://docs.github.com/rest/teams/members
func (r *run) teams(ctx context.Context, org string) {
	r.ask(func() {
		listed, err := all(func(o gh.ListOptions) ([]*gh.Team, *gh.Response, error) {
			return r.client.Teams.ListTeams(ctx, org, &o)
		})
		r.fails(err, org+": teams", KindTeams)
		for _, t := range distinct(listed, (*gh.Team).GetSlug) {
			if ctx.Err() != nil {
				return
			}
			people, whole := map[string][]string{}, true
			for _, role := range []string{"maintainer", "member"} {
				users, err := all(func(o gh.ListOptions) ([]*gh.User, *gh.Response, error) {
					return r.client.Teams.ListTeamMembersBySlug(ctx, org, t.GetSlug(), &gh.TeamListTeamMembersOptions{Role: role, ListOptions: o})
				})
				if r.fails(err, org+": team "+t.GetSlug()+": each "+role, KindTeams) {
					whole = false
				}
				for _, u := range users {
					people[role] = append(people[role], login(u))
				}
				slices.Sort(people[role])
				people[role] = slices.Compact(people[role])
			}
			a := map[string]any{"organization": org, "name": t.GetName(), "parent": t.GetParent().GetSlug(), "privacy": t.GetPrivacy(),
				"maintainers": list(people["maintainer"]), "members": list(people["member"])}
			if !whole {
				a["maintainers"], a["members"] = nil, nil // half a team says nothing of who is in it
			}
			r.item(KindTeams, org+"/"+t.GetSlug(), a)
		}
	}, KindTeams)
}
