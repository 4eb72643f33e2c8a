package github_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"trustpack/collectors/github"
	"trustpack/evidence"
)

// world is a made-up repository whose every change has a known truth: commits
// in a real git repository, and what GitHub would say of them (see hub_test.go).
type world struct {
	t      *testing.T
	rng    *rand.Rand
	repo   *gogit.Repository
	dir    string
	tree   plumbing.Hash
	tip    *commit // of main
	now    time.Time
	all    map[string]*commit
	onMain []*commit // what main reaches, oldest first
	prs    []*pr
	pushes []any // newest last
	suites []any
	truth  map[string]github.Class // by commit
	checks map[string][]check      // by commit
	counts map[string]int          // how often each scenario came
}

type person struct {
	login string
	bot   bool
	write bool
}

type commit struct {
	sha               string
	hash              plumbing.Hash
	parents           []*commit
	author, committer person
	message           string
	at                time.Time
	prs               []*pr
}

// pr is a pull request as the hub tells it.
type pr struct {
	number           int
	author, mergedBy person
	base             string
	created, merged  time.Time
	commits          []*commit
	head, merge      *commit
	labels           []string
	reviews          []review
	timeline         []map[string]any
	fork             bool
	scenario         string
}

type review struct {
	id     int
	by     person
	state  string
	commit string
	at     time.Time
}

type check struct {
	name, conclusion string
	status           bool // a commit status rather than a check run
}

var window = evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}

func webFlow() person { return person{login: "web-flow"} }

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), dir: t.TempDir(), all: map[string]*commit{},
		truth: map[string]github.Class{}, checks: map[string][]check{}, counts: map[string]int{}, now: window.From.Add(-time.Hour),
	}
	var err error
	w.repo, err = gogit.PlainInitWithOptions(w.dir, &gogit.PlainInitOptions{
		Bare: true, InitOptions: gogit.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName("main")}})
	if err != nil {
		t.Fatal(err)
	}
	w.tree = w.store(&object.Tree{})
	w.tip = w.commit(dev(0), dev(0), "begin")
	w.now = window.From // what follows lies in the window
	return w
}

func (w *world) store(o interface {
	Encode(plumbing.EncodedObject) error
}) plumbing.Hash {
	w.t.Helper()
	e := w.repo.Storer.NewEncodedObject()
	if err := o.Encode(e); err != nil {
		w.t.Fatal(err)
	}
	hash, err := w.repo.Storer.SetEncodedObject(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return hash
}

// finish points main at its tip.
func (w *world) finish() {
	w.t.Helper()
	if err := w.repo.Storer.SetReference(plumbing.NewHashReference(plumbing.NewBranchReferenceName("main"), w.tip.hash)); err != nil {
		w.t.Fatal(err)
	}
}

func dev(n int) person { return person{login: fmt.Sprintf("dev%02d", n), write: true} }

func (p person) email() string {
	if p.login == "web-flow" {
		return "noreply@github.com"
	}
	return p.login + "@example.org"
}

// some gives n developers, no two the same.
func (w *world) some(n int) []person {
	var out []person
	for _, i := range w.rng.Perm(20)[:n] {
		out = append(out, dev(i))
	}
	return out
}

// later lets up to so many minutes pass.
func (w *world) later(minutes int) time.Time {
	w.now = w.now.Add(time.Duration(1+w.rng.IntN(minutes)) * time.Minute).Truncate(time.Second)
	return w.now
}

func (w *world) commit(author, committer person, message string, parents ...*commit) *commit {
	w.t.Helper()
	c := &commit{parents: parents, author: author, committer: committer, message: message, at: w.later(3)}
	sign := func(p person) object.Signature {
		return object.Signature{Name: p.login, Email: p.email(), When: c.at}
	}
	o := &object.Commit{Author: sign(author), Committer: sign(committer), Message: message, TreeHash: w.tree}
	for _, p := range parents {
		o.ParentHashes = append(o.ParentHashes, p.hash)
	}
	c.hash = w.store(o)
	c.sha = c.hash.String()
	w.all[c.sha] = c
	return c
}

// push moves main to c, which came by that act of that actor.
func (w *world) push(c *commit, actor person, kind string) {
	w.pushes = append(w.pushes, map[string]any{"id": len(w.pushes) + 1, "before": w.tip.sha, "after": c.sha, "ref": "refs/heads/main",
		"timestamp": stampOf(w.now), "activity_type": kind, "actor": userOf(actor)})
	w.tip = c
}

// reaches notes what main reaches now.
func (w *world) reaches(class github.Class, cs ...*commit) {
	for _, c := range cs {
		w.onMain = append(w.onMain, c)
		w.truth[c.sha] = class
	}
}

// open makes a pull request of an author with n commits upon main.
func (w *world) open(author person, n int) *pr {
	p := &pr{number: len(w.prs) + 1, author: author, base: "main", created: w.later(5)}
	w.prs = append(w.prs, p)
	at := w.tip
	for i := range n {
		at = w.commit(author, author, fmt.Sprintf("change %d of %d", i+1, p.number), at)
		p.add(at)
	}
	w.check(p, "success")
	return p
}

func (p *pr) add(c *commit) {
	p.commits, p.head = append(p.commits, c), c
	c.prs = append(c.prs, p)
}

// check lets the required check and another run at the head.
func (w *world) check(p *pr, conclusion string) {
	w.checks[p.head.sha] = []check{{name: "build", conclusion: conclusion}, {name: "lint", conclusion: []string{"success", "neutral", "skipped"}[w.rng.IntN(3)]}}
	if w.rng.IntN(4) == 0 {
		w.checks[p.head.sha] = append(w.checks[p.head.sha], check{name: "deploy/preview", conclusion: "failure", status: true}) // not required
	}
}

func (w *world) review(p *pr, by person, state string) {
	p.reviews = append(p.reviews, review{id: p.number*100 + len(p.reviews), by: by, state: state, commit: p.head.sha, at: w.later(5)})
}

func (w *world) happens(p *pr, event string, actor person, more ...any) {
	e := map[string]any{"event": event, "actor": userOf(actor), "created_at": stampOf(w.later(2))}
	for i := 0; i+1 < len(more); i += 2 {
		e[more[i].(string)] = more[i+1]
	}
	p.timeline = append(p.timeline, e)
}

// mergeIt merges a pull request in one of the three ways, and says what the
// class of all that it brought is.
func (w *world) mergeIt(p *pr, by person, class github.Class) {
	switch w.rng.IntN(3) {
	case 0:
		m := w.commit(by, webFlow(), fmt.Sprintf("Merge pull request #%d from x\n\nchange", p.number), w.tip, p.head)
		p.merge = m
		m.prs = append(m.prs, p)
		w.land(p, by, class, append(append([]*commit{}, p.commits...), m)...)
	case 1:
		w.squash(p, by, p.author, "", class)
	default:
		at := w.tip
		var written []*commit
		for _, c := range p.commits {
			at = w.commit(c.author, webFlow(), c.message, at)
			at.prs = append(at.prs, p)
			written = append(written, at)
		}
		p.merge = at
		w.land(p, by, class, written...)
	}
}

func (w *world) squash(p *pr, by, author person, trailers string, class github.Class) {
	c := w.commit(author, webFlow(), fmt.Sprintf("change (#%d)%s", p.number, trailers), w.tip)
	p.merge = c
	c.prs = append(c.prs, p)
	w.land(p, by, class, c)
}

func (w *world) land(p *pr, by person, class github.Class, cs ...*commit) {
	p.merged, p.mergedBy = w.later(1), by
	kind := "pr_merge"
	if by.login == "github-merge-queue[bot]" {
		kind = "merge_queue_merge"
	}
	p.timeline = append(p.timeline, map[string]any{"event": "merged", "actor": userOf(by), "commit_id": p.merge.sha, "created_at": stampOf(w.now)})
	w.push(p.merge, by, kind)
	w.reaches(class, cs...)
}

func coAuthors(ps ...person) string {
	var out strings.Builder
	out.WriteString("\n\n")
	for _, p := range ps {
		fmt.Fprintf(&out, "Co-authored-by: %s <%s>\n", p.login, p.email())
	}
	return strings.TrimRight(out.String(), "\n")
}

func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func userOf(p person) any {
	if p.login == "" {
		return nil
	}
	kind := "User"
	if p.bot {
		kind = "Bot"
	}
	return map[string]any{"login": p.login, "type": kind}
}
