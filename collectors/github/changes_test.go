package github

import (
	"fmt"
	"testing"

	gh "github.com/google/go-github/v60/github"
)

// TestMakersOfACommit: author and co-authors as accounts, never the committer,
// and never what GitHub's web interface signs as.
func TestMakersOfACommit(t *testing.T) {
	r := &reading{emails: map[string]string{"carla@example.org": "carla"}}
	commit := func(author, email, message string) *gh.RepositoryCommit {
		c := &gh.RepositoryCommit{
			Commit:    &gh.Commit{Message: &message, Author: &gh.CommitAuthor{Email: &email}, Committer: &gh.CommitAuthor{Email: gh.String("noreply@github.com")}},
			Committer: &gh.User{Login: gh.String("merger")},
		}
		if author != "" {
			c.Author = &gh.User{Login: &author}
		}
		return c
	}
	for _, c := range []struct {
		commit *gh.RepositoryCommit
		want   string
	}{
		{commit("anna", "a@example.org", "one"), "[anna]"},
		{commit("", "12+ben@users.noreply.github.com", "one"), "[ben]"},
		{commit("", "nobody@example.org", "one"), "[]"},
		{commit("web-flow", "noreply@github.com", "one"), "[]"},
		{commit("anna", "a@example.org", "one\n\nCo-authored-by: Carla <Carla@example.org>\nco-authored-by: x <x@example.org>\nCo-authored-by: A <3+anna@users.noreply.github.com>"), "[anna carla]"},
	} {
		merge := *c.commit
		merge.Parents = make([]*gh.Commit, 2)
		merged, plain := landedOf(&merge), landedOf(c.commit)
		if got := fmt.Sprint(r.makers(&merged)); got != "[]" {
			t.Errorf("as a merge, %q: %s", c.commit.GetCommit().GetMessage(), got)
		}
		if got := fmt.Sprint(r.makers(&plain)); got != c.want {
			t.Errorf("%q: %s, want %s", c.commit.GetCommit().GetMessage(), got, c.want)
		}
	}
}

func TestPickedFrom(t *testing.T) {
	sha := "0123456789abcdef0123456789abcdef01234567"
	for message, want := range map[string]string{
		"fix\n\n(cherry picked from commit " + sha + ")\n": sha,
		"fix\n\n(cherry picked from commit nothing)":       "",
		"talks of (cherry picked from commit " + sha + ")": "",
		"fix": "",
	} {
		if got := pickedFrom(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
