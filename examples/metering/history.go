package metering

import (
	_ "embed"
	"fmt"
	"slices"
	"time"

	"trustpack/internal/strictyaml"
)

//go:embed github/history.yaml
var historyYAML []byte

// history is github/history.yaml.
type history struct {
	Organization string            `yaml:"organization"`
	Repository   string            `yaml:"repository"`
	Branch       string            `yaml:"branch"`
	Reader       string            `yaml:"reader"`
	People       map[string]person `yaml:"people"` // by login
	Start        []codeCommit      `yaml:"start"`
	History      []arrival         `yaml:"history"`
	Deployments  []deployment      `yaml:"deployments"`
	Releases     []release         `yaml:"releases"`
}

type person struct {
	ID          int    `yaml:"id"`
	Name        string `yaml:"name"`
	Role        string `yaml:"role"` // in the organisation
	Bot         bool   `yaml:"bot"`
	Signs       bool   `yaml:"signs"` // commits
	NoTwoFactor bool   `yaml:"no_two_factor"`
}

// codeCommit is one commit as its author made it.
type codeCommit struct {
	Label     string            `yaml:"label"`
	Author    string            `yaml:"author"` // login
	At        time.Time         `yaml:"at"`
	Message   string            `yaml:"message"`
	Files     map[string]string `yaml:"files"` // path to whole content
	CoAuthors []string          `yaml:"co_authors"`
}

// arrival is what came onto the branch: a pull request, or a direct push.
type arrival struct {
	PR     *pullRequest `yaml:"pr"`
	Direct *codeCommit  `yaml:"direct"`
}

type pullRequest struct {
	Number     int               `yaml:"number"`
	Title      string            `yaml:"title"`
	Author     string            `yaml:"author"`
	Opened     time.Time         `yaml:"opened"`
	Closed     time.Time         `yaml:"closed"` // given up; zero where merged or open
	Merged     time.Time         `yaml:"merged"` // zero: was not
	MergedBy   string            `yaml:"merged_by"`
	Method     string            `yaml:"method"` // merge, squash, rebase
	BypassedBy string            `yaml:"bypassed_by"`
	Labels     []string          `yaml:"labels"`
	Commits    []codeCommit      `yaml:"commits"`
	Reviews    []review          `yaml:"reviews"`
	Checks     map[string]string `yaml:"checks"` // conclusions other than success
}

type review struct {
	User   string    `yaml:"user"`
	State  string    `yaml:"state"`
	At     time.Time `yaml:"at"`
	Commit string    `yaml:"commit"` // label
}

type release struct {
	Tag    string    `yaml:"tag"`
	Change string    `yaml:"change"` // label
	Author string    `yaml:"author"`
	At     time.Time `yaml:"at"`
	Assets []string  `yaml:"assets"`
}

type deployment struct {
	ID          int       `yaml:"id"`
	Change      string    `yaml:"change"` // label
	Environment string    `yaml:"environment"`
	At          time.Time `yaml:"at"`
	Outcome     string    `yaml:"outcome"`   // default success
	Unchecked   bool      `yaml:"unchecked"` // nothing looked at it where it runs
}

func loadHistory() (*history, error) {
	var h history
	if err := strictyaml.Decode("github/history.yaml", historyYAML, &h); err != nil {
		return nil, fmt.Errorf("reading the example's history: %w", err)
	}
	return &h, nil
}

// mergeLabel is the label of what the merge of a pull request made last.
func (p *pullRequest) mergeLabel() string { return fmt.Sprintf("pr%d", p.Number) }

// mergeCommit is the one commit that a merge or squash makes on the branch,
// without its files.
func (p *pullRequest) mergeCommit() codeCommit {
	if p.Method == "merge" {
		return codeCommit{Author: p.MergedBy, At: p.Merged,
			Message: fmt.Sprintf("Merge pull request #%d from lindenau/%s\n\n%s", p.Number, p.head().Label, p.Title)}
	}
	c := codeCommit{Author: p.Author, At: p.Merged, Message: fmt.Sprintf("%s (#%d)", p.Title, p.Number)}
	for _, part := range p.Commits {
		if part.Author != p.Author && !slices.Contains(c.CoAuthors, part.Author) {
			c.CoAuthors = append(c.CoAuthors, part.Author)
		}
	}
	return c
}

func (p *pullRequest) head() codeCommit { return p.Commits[len(p.Commits)-1] }

// rebased is the label of a pull request's commit as the rebase wrote it anew;
// the last one is the merge's own.
func (p *pullRequest) rebased(i int) string {
	if i == len(p.Commits)-1 {
		return p.mergeLabel()
	}
	return fmt.Sprintf("pr%d-rebased-%d", p.Number, i+1)
}

func (h *history) address(login string) string {
	if h.People[login].Bot {
		return fmt.Sprintf("%d+%s@users.noreply.github.com", h.People[login].ID, login)
	}
	return login + "@lindenau.example"
}
