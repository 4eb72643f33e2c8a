package git

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Each row of the truth table, and each fact alone that turns a direct push
// into something that a clone cannot tell.
func TestArrival(t *testing.T) {
	pushed := arrival{firstParent: true, parents: 1, samePerson: true, sameTime: true, author: "a@x", committer: "a@x"}
	with := func(change func(*arrival)) arrival { a := pushed; change(&a); return a }
	none := codeHost{none: true, why: "declared"}
	for name, c := range map[string]struct {
		arrival
		class, why string
	}{
		"pushed":                     {pushed, classDirectPush, "no merge brought it"},
		"a root":                     {with(func(a *arrival) { a.parents = 0 }), classDirectPush, "no merge brought it"},
		"brought by a merge":         {with(func(a *arrival) { a.firstParent, a.broughtBy = false, "0123456789abcdef" }), classUnknown, "brought by the merge 0123456789;"},
		"beside the line":            {with(func(a *arrival) { a.firstParent = false }), classUnknown, "not on the branch's first-parent line"},
		"a merge":                    {with(func(a *arrival) { a.parents = 2 }), classUnknown, "a merge made by a@x"},
		"a code host's merge":        {with(func(a *arrival) { a.parents, a.hosts = 2, true }), classUnknown, "a merge made by the code host"},
		"the code host's":            {with(func(a *arrival) { a.hosts = true }), classUnknown, "a squash, a rebase, or an edit in the browser"},
		"a fast-forward":             {with(func(a *arrival) { a.host.fastForward = true }), classUnknown, "the same trace as a push"},
		"another's":                  {with(func(a *arrival) { a.samePerson, a.committer = false, "b@x" }), classUnknown, "written by a@x and committed by b@x"},
		"made anew":                  {with(func(a *arrival) { a.sameTime = false }), classUnknown, "committed anew"},
		"no host: pushed":            {with(func(a *arrival) { a.host = none }), classDirectPush, "it was pushed: declared"},
		"no host: a merge":           {with(func(a *arrival) { a.host, a.parents = none, 2 }), classDirectPush, "it was pushed: declared"},
		"no host: brought":           {with(func(a *arrival) { a.host, a.firstParent, a.broughtBy = none, false, "0123456789abcdef" }), classDirectPush, "by the merge 0123456789, which was pushed"},
		"no host: another's":         {with(func(a *arrival) { a.host, a.samePerson = none, false }), classDirectPush, "declared"},
		"no host: made anew":         {with(func(a *arrival) { a.host, a.sameTime = none, false }), classDirectPush, "declared"},
		"no host: an address":        {with(func(a *arrival) { a.host, a.hosts = none, true }), classDirectPush, "declared"},
		"a merge that fast-forwards": {with(func(a *arrival) { a.host.fastForward, a.parents = true, 2 }), classUnknown, "a merge made by a@x"},
	} {
		class, why := c.judge()
		if class != c.class || !strings.Contains(why, c.why) {
			t.Errorf("%s: %s, %q; want %s with %q", name, class, why, c.class, c.why)
		}
	}
}

func TestHearsayIsCalledThat(t *testing.T) {
	reviewed := trailers{{"Reviewed-by", "Carla"}, {"Signed-off-by", "Ben"}, {"ACKED-BY", "Dora"}}
	for _, c := range []struct {
		sig  signature
		ts   trailers
		want string
	}{
		{signature{kind: "none", status: "none"}, nil, "it bears no signature"},
		{signature{kind: "ssh", status: "verified", signer: "anna@x"}, nil, "its signature is anna@x's"},
		{signature{kind: "gpg", status: "bad", signer: "anna@x"}, nil, "its gpg signature is bad"},
		{signature{kind: "none", status: "none"}, reviewed, "it bears no signature; that Carla and Dora reviewed it is its own word"},
	} {
		if got := hearsay(c.sig, c.ts); got != c.want {
			t.Errorf("%+v: %q, want %q", c.sig, got, c.want)
		}
	}
}

// onePerson makes author and committer the same at the same moment.
func onePerson(at time.Time) func(*gogit.CommitOptions) {
	return func(o *gogit.CommitOptions) {
		s := object.Signature{Name: "Anna Berg", Email: "anna@lindenau.example", When: at}
		o.Author, o.Committer = &s, &s
	}
}

// A clone of a repository that a code host merges into: pushes are told, and
// everything else is unknown with its reason.
func TestClassesOfAClone(t *testing.T) {
	b := newRepo(t)
	follow(t, b)
	root := b.commit(day(7, 1), "start", "a", onePerson(day(7, 1)))
	pushed := b.commit(day(7, 2), "fix", "b", onePerson(day(7, 2)), signedBy(newSigner(t, 'k')))
	squashed := b.commit(day(7, 3), "feature (#1)", "c")
	one := b.commit(day(7, 4), "one\n\nReviewed-by: Carla", "d", onePerson(day(7, 4)))
	two := b.commit(day(7, 5), "two", "e", onePerson(day(7, 5)))
	merge := b.commit(day(7, 6), "Merge pull request #2", "f", parents(squashed, two))
	commits, repository := b.collect(Config{Signers: Signers{SSH: []SSHKey{{"anna@lindenau.example", newSigner(t, 'k').public()}}}})
	for _, c := range []struct {
		hash       interface{ String() string }
		class, why string
		broughtBy  string
	}{
		{root, classDirectPush, "no merge brought it; it bears no signature", ""},
		{pushed, classDirectPush, "its signature is anna@lindenau.example's", ""},
		{squashed, classUnknown, "committed by the code host", ""},
		{one, classUnknown, "brought by the merge " + merge.String()[:10] + "; a clone does not hold who approved it; it bears no signature; that Carla reviewed it is its own word", merge.String()},
		{two, classUnknown, "brought by the merge", merge.String()},
		{merge, classUnknown, "a merge made by the code host", ""},
	} {
		for _, it := range commits.Population.Items {
			if it.ID != c.hash.String() {
				continue
			}
			why, _ := it.Attributes["why"].(string)
			if it.Attributes["class"] != c.class || !strings.Contains(why, c.why) || it.Attributes["brought_by"] != c.broughtBy {
				t.Errorf("%v: %v, brought by %v, %q; want %s by %q with %q", it.Attributes["subject"], it.Attributes["class"], it.Attributes["brought_by"], why, c.class, c.broughtBy, c.why)
			}
		}
	}
	attrs := repository.Population.Items[0].Attributes
	classes := attrs["classes"].(map[string]any)
	if attrs["code_host"] != "unknown" || classes[classDirectPush] != 2 || classes[classUnknown] != 4 {
		t.Errorf("the repository says %v and %v", attrs["code_host"], classes)
	}
}

func follow(t *testing.T, b *builder) {
	t.Helper()
	if _, err := b.repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{"https://code.lindenau.example/pipeline"}}); err != nil {
		t.Fatal(err)
	}
}

// Whether there is a code host is declared, or seen in the clone; where the
// clone shows one, or could have been fetched from one, there may be one.
func TestCodeHostIsFoundOut(t *testing.T) {
	fresh := func(t *testing.T) *builder {
		b := newRepo(t)
		b.commit(day(7, 1), "one", "a", onePerson(day(7, 1)))
		at := onePerson(day(7, 3))
		b.commit(day(7, 3), "made anew", "b", at, func(o *gogit.CommitOptions) {
			o.Author.When = day(7, 2)
			c := *o.Author
			c.When = day(7, 3)
			o.Committer = &c
		})
		return b
	}
	for name, c := range map[string]struct {
		change func(b *builder, r *Repository)
		says   string
		pushes int // of two commits
	}{
		"a work tree alone":       {func(*builder, *Repository) {}, "none: the work tree follows no remote", 2},
		"a remote":                {func(b *builder, _ *Repository) { follow(t, b) }, "unknown", 1},
		"a bare repository":       {func(b *builder, r *Repository) { r.Path = bare(t, b) }, "unknown", 1},
		"a commit of a code host": {func(b *builder, _ *Repository) { b.commit(day(5, 1), "edit", "c") }, "unknown", 1},
		"its own code host": {func(b *builder, r *Repository) {
			r.CodeHostAddresses = []string{"ANNA@lindenau.example"}
		}, "unknown", 0},
		"a ref of a pull request": {func(b *builder, _ *Repository) {
			write(t, filepath.Join(b.dir, ".git", "refs", "pull", "1", "head"), head(t, b)+"\n")
		}, "unknown", 1},
		"a branch that was fetched": {func(b *builder, _ *Repository) {
			write(t, filepath.Join(b.dir, ".git", "refs", "remotes", "origin", "main"), head(t, b)+"\n")
		}, "unknown", 1},
		"declared: none":         {func(b *builder, r *Repository) { follow(t, b); r.CodeHost = "none" }, "none: no code host merges", 2},
		"declared: fast-forward": {func(b *builder, r *Repository) { r.CodeHost = "fast-forward" }, "fast-forward: as its owner declares", 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := fresh(t)
			r := Repository{Path: b.dir, Name: "x"}
			c.change(b, &r)
			_, repository := b.collect(Config{Repositories: []Repository{r}})
			attrs := repository.Population.Items[0].Attributes
			says, _ := attrs["code_host"].(string)
			if pushes := attrs["classes"].(map[string]any)[classDirectPush]; !strings.HasPrefix(says, c.says) || pushes != c.pushes {
				t.Errorf("%q with %v direct pushes, want %q with %d", says, pushes, c.says, c.pushes)
			}
		})
	}
	if _, err := New(Config{Repositories: []Repository{{Path: "x", CodeHost: "github"}}}, Deps{}); err == nil || !strings.Contains(err.Error(), `code_host is "github"; want none`) {
		t.Errorf("an unknown code host: %v", err)
	}
}

func head(t *testing.T, b *builder) string {
	t.Helper()
	ref, err := b.repo.Head()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Hash().String()
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bare clones b without a work tree, and without a remote to tell it by.
func bare(t *testing.T, b *builder) string {
	t.Helper()
	dir := t.TempDir()
	repo, err := gogit.PlainClone(dir, true, &gogit.CloneOptions{URL: b.dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.DeleteRemote("origin"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "refs", "remotes")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A commit is brought by the oldest merge on the line that reaches it, though
// younger ones reach it too, by its own branch or by a branch of that.
func TestBroughtByTheOldestMerge(t *testing.T) {
	b := newRepo(t)
	follow(t, b)
	root := b.commit(day(7, 1), "start", "a")
	early := b.commit(day(7, 2), "early", "b")
	inner := b.commit(day(7, 3), "merge on the branch", "c", parents(early, root))
	first := b.commit(day(7, 4), "first merge", "d", parents(root, inner))
	late := b.commit(day(7, 5), "late", "e", parents(inner))
	second := b.commit(day(7, 6), "second merge", "f", parents(first, late))
	on := b.commit(day(7, 7), "on the line", "g", parents(second))
	commits, _ := b.collect(Config{})
	for _, c := range []struct {
		name     string
		hash, by interface{ String() string }
	}{{"early", early, first}, {"inner", inner, first}, {"late", late, second}} {
		for _, it := range commits.Population.Items {
			if it.ID == c.hash.String() && it.Attributes["brought_by"] != c.by.String() {
				t.Errorf("%s was brought by %v, want %s", c.name, it.Attributes["brought_by"], c.by)
			}
		}
	}
	for _, hash := range []plumbing.Hash{root, first, second, on} {
		if by := byID(t, commits, hash)["brought_by"]; by != "" {
			t.Errorf("%s, on the line, was brought by %v", hash, by)
		}
	}
}
