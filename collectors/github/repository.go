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
	classes map[string]Class  // by commit of the window; on the first of the branches that hold it
	moved   []push            // of the branch, oldest first
	bots    map[string]bool   // lower-case
}

// repository reads the branches of one repository, and then what it has once.
func (r *run) repository(ctx context.Context, branches []Repository) {
	var first *reading
	for _, branch := range branches {
		rd := r.reading(branch)
		if first == nil {
			first = rd
			rd.rulesets(ctx)
		} else {
			rd.access, rd.classes = first.access, first.classes
		}
		r.c.deps.Progress("github: reading the rules of " + branch.Name)
		rd.protection(ctx)
		r.c.deps.Progress("github: reading the pull requests of " + branch.Name)
		rd.pullRequests(ctx)
		r.c.deps.Progress("github: reading the changes of " + branch.Name)
		rd.pushes(ctx)
		rd.changes(ctx)
	}
	r.c.deps.Progress("github: reading the deployments of " + first.Name)
	first.deployments(ctx)
	first.releases(ctx)
	first.environments(ctx)
	first.whoMayWrite(ctx)
	first.about(ctx)
}

func (r *run) reading(repo Repository) *reading {
	owner, name, _ := strings.Cut(repo.Name, "/")
	rd := &reading{run: r, Repository: repo, owner: owner, repo: name,
		access: map[string]Access{}, emails: map[string]string{}, pulls: map[int]*pullMark{}, updated: map[int]time.Time{}, classes: map[string]Class{}, bots: map[string]bool{}}
	for address, login := range r.c.config.Emails {
		rd.emails[strings.ToLower(address)] = login
	}
	for _, b := range r.c.config.Bots {
		rd.bots[strings.ToLower(b)] = true
	}
	return rd
}

// byRepository puts the branches of a repository together, in the order of the
// configuration.
func byRepository(all []Repository) [][]Repository {
	var out [][]Repository
	at := map[string]int{}
	for _, repo := range all {
		key := strings.ToLower(repo.Name)
		if i, known := at[key]; known {
			out[i] = append(out[i], repo)
			continue
		}
		at[key] = len(out)
		out = append(out, []Repository{repo})
	}
	return out
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
