package github

import (
	"context"
	"fmt"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// reading is one repository under way.
type reading struct {
	*run
	Repository
	owner, repo string

	rules   Rules
	access  map[string]Access // by login, once asked
	emails  map[string]string // address to login, as learnt from commits
	pulls   map[int]*pullMark // read so far
	updated map[int]time.Time // when each pull request was last changed, by the listings
	classes map[string]Class  // by commit of the window
	moved   []push            // of the branch, oldest first
	bots    map[string]bool   // lower-case
}

func (r *run) repository(ctx context.Context, repo Repository) {
	owner, name, _ := strings.Cut(repo.Name, "/")
	rd := &reading{run: r, Repository: repo, owner: owner, repo: name,
		access: map[string]Access{}, emails: map[string]string{}, pulls: map[int]*pullMark{}, updated: map[int]time.Time{}, classes: map[string]Class{}, bots: map[string]bool{}}
	for address, login := range r.c.config.Emails {
		rd.emails[strings.ToLower(address)] = login
	}
	for _, b := range r.c.config.Bots {
		rd.bots[strings.ToLower(b)] = true
	}
	r.c.deps.Progress("github: reading the rules of " + repo.Name)
	rd.protection(ctx)
	rd.rulesets(ctx)
	r.c.deps.Progress("github: reading the pull requests of " + repo.Name)
	rd.pullRequests(ctx)
	r.c.deps.Progress("github: reading the changes of " + repo.Name)
	rd.pushes(ctx)
	rd.changes(ctx)
	r.c.deps.Progress("github: reading the deployments of " + repo.Name)
	rd.deployments(ctx)
	rd.releases(ctx)
	rd.environments(ctx)
	rd.whoMayWrite(ctx)
	rd.about(ctx)
}

// where names a part of the repository in a gap.
func (r *reading) where(format string, args ...any) string {
	return r.Name + ": " + fmt.Sprintf(format, args...)
}

// writes says whether an account may write to the repository, as of now.
func (r *reading) writes(ctx context.Context, login string) Access {
	if login == Ghost {
		return AccessUnknown
	}
	key := strings.ToLower(login)
	if a, asked := r.access[key]; asked {
		return a
	}
	a := AccessLost         // it is asked after the merge, and GitHub does not say since when
	r.subjectOf(0, func() { // once, for all that they reviewed
		level, _, err := r.client.Repositories.GetPermissionLevel(ctx, r.owner, r.repo, login)
		switch {
		case r.fails(err, r.where("access of %s", login), KindPullRequests, KindChanges):
			a = AccessUnknown // also where GitHub says 404, as for an account that is no user any more
		case level.GetPermission() == "admin" || level.GetPermission() == "write" || level.GetPermission() == "maintain":
			a = AccessWrite
		}
	})
	r.access[key] = a
	return a
}

// isBot tells accounts that are no person.
func (r *reading) isBot(u *gh.User) bool {
	return u.GetType() == "Bot" || strings.HasSuffix(u.GetLogin(), "[bot]") || r.bots[strings.ToLower(u.GetLogin())]
}

func login(u *gh.User) string {
	if u.GetLogin() == "" {
		return Ghost
	}
	return u.GetLogin()
}

func (r *reading) inWindow(ts ...*gh.Timestamp) bool {
	for _, t := range ts {
		if t != nil && !t.IsZero() && r.window.Contains(t.Time) {
			return true
		}
	}
	return false
}

func timeOf(t *gh.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
