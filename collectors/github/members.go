package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v60/github"
)

// members reads everybody who can come at the organisation's code: members by
// role, outside collaborators and installed apps, which act as bots.
func (r *run) members(ctx context.Context, org string) {
	r.c.deps.Progress("github: reading the members of " + org)
	r.ask(func() { r.readMembers(ctx, org) }, KindMembers)
}

func (r *run) readMembers(ctx context.Context, org string) {
	where := func(what string) string { return org + ": " + what }
	listed := func(what, filter, role string) (users []*gh.User, ok bool) {
		users, err := all(func(o gh.ListOptions) ([]*gh.User, *gh.Response, error) {
			return r.client.Organizations.ListMembers(ctx, org, &gh.ListMembersOptions{Filter: filter, Role: role, ListOptions: o})
		})
		return users, !r.fails(err, where(what), KindMembers)
	}
	without, known := listed("members without two-factor authentication", "2fa_disabled", "all")
	outside, err := all(func(o gh.ListOptions) ([]*gh.User, *gh.Response, error) {
		return r.client.Organizations.ListOutsideCollaborators(ctx, org, &gh.ListOutsideCollaboratorsOptions{ListOptions: o})
	})
	r.fails(err, where("outside collaborators"), KindMembers)
	outsideWithout, err := all(func(o gh.ListOptions) ([]*gh.User, *gh.Response, error) {
		return r.client.Organizations.ListOutsideCollaborators(ctx, org, &gh.ListOutsideCollaboratorsOptions{Filter: "2fa_disabled", ListOptions: o})
	})
	outsideKnown := !r.fails(err, where("outside collaborators without two-factor authentication"), KindMembers)

	lacks := map[string]bool{}
	for _, u := range append(without, outsideWithout...) {
		lacks[u.GetLogin()] = true
	}
	seen := map[string]bool{}
	add := func(u *gh.User, role string, known, isOutside bool) {
		if u.GetLogin() == "" || seen[u.GetLogin()] {
			return
		}
		seen[u.GetLogin()] = true
		var twoFactor any
		if known {
			twoFactor = !lacks[u.GetLogin()]
		}
		r.item(KindMembers, u.GetLogin(), map[string]any{"organization": org, "role": role, "two_factor": twoFactor, "type": u.GetType(), "outside": isOutside})
	}
	for _, role := range []string{"admin", "member"} {
		users, _ := listed(fmt.Sprintf("members of role %s", role), "", role)
		for _, u := range users {
			add(u, role, known, false)
		}
	}
	for _, u := range outside {
		add(u, "member", outsideKnown, true)
	}
	r.apps(ctx, org, seen)
}

// apps lists installed GitHub Apps under the login by which they act. An app
// signs in by its key, so two-factor authentication does not apply to it.
func (r *run) apps(ctx context.Context, org string, seen map[string]bool) {
	total := 0
	apps, err := all(func(o gh.ListOptions) ([]*gh.Installation, *gh.Response, error) {
		got, resp, err := r.client.Organizations.ListInstallations(ctx, org, &o)
		if err != nil {
			return nil, resp, err
		}
		total = got.GetTotalCount()
		return got.Installations, resp, nil
	})
	if !r.fails(err, org+": installed apps", KindMembers) && len(apps) < total {
		r.gap(KindMembers, org+": installed apps", fmt.Sprintf("%d of %d are listed", len(apps), total))
	}
	for _, a := range apps {
		name := a.GetAppSlug() + "[bot]"
		if a.GetAppSlug() == "" || seen[name] {
			continue
		}
		seen[name] = true
		r.item(KindMembers, name, map[string]any{"organization": org, "role": "member", "two_factor": nil, "type": "Bot", "outside": false})
	}
}
