package git

import (
	"reflect"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"trustpack/evidence"
)

// all collects every kind.
func (b *builder) all(config Config, heads func(string, string) []string) map[evidence.Kind]evidence.Evidence {
	b.t.Helper()
	config.Repositories = []Repository{{Path: b.dir, Name: "lindenau/pipeline"}}
	c, err := New(config, Deps{Tool: "trustpack test", Now: func() time.Time { return day(10, 2) }, Heads: heads})
	if err != nil {
		b.t.Fatal(err)
	}
	got, err := c.Collect(b.t.Context(), quarter)
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[evidence.Kind]evidence.Evidence{}
	for _, e := range got {
		out[e.Kind] = e
	}
	return out
}

func (b *builder) tag(name string, at plumbing.Hash, signer gogit.Signer) plumbing.Hash {
	b.t.Helper()
	o := &gogit.CreateTagOptions{Tagger: &object.Signature{Name: "Anna Berg", Email: "anna@lindenau.example", When: day(7, 9)}, Message: "release " + name}
	if signer == nil {
		ref, err := b.repo.CreateTag(name, at, o)
		if err != nil {
			b.t.Fatal(err)
		}
		return ref.Hash()
	}
	tag := &object.Tag{Name: name, Tagger: *o.Tagger, Message: o.Message + "\n", TargetType: plumbing.CommitObject, Target: at}
	var plain plumbing.MemoryObject
	if err := tag.EncodeWithoutSignature(&plain); err != nil {
		b.t.Fatal(err)
	}
	r, err := plain.Reader()
	if err != nil {
		b.t.Fatal(err)
	}
	sig, err := signer.Sign(r)
	if err != nil {
		b.t.Fatal(err)
	}
	tag.PGPSignature = string(sig)
	e := b.repo.Storer.NewEncodedObject()
	if err := tag.Encode(e); err != nil {
		b.t.Fatal(err)
	}
	hash, err := b.repo.Storer.SetEncodedObject(e)
	if err != nil {
		b.t.Fatal(err)
	}
	b.ref("refs/tags/"+name, hash)
	return hash
}

func (b *builder) ref(name string, hash plumbing.Hash) {
	b.t.Helper()
	if err := b.repo.Storer.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(name), hash)); err != nil {
		b.t.Fatal(err)
	}
}

func TestTags(t *testing.T) {
	b := newRepo(t)
	one := b.commit(day(7, 1), "one", "a")
	good, bad := newSigner(t, 'a'), newSigner(t, 'a')
	bad.spoil = true
	b.ref("refs/tags/light", one)
	annotated := b.tag("v1", one, nil)
	b.tag("v2", one, good)
	b.tag("v3", one, bad)
	b.tag("v4", one, newSigner(t, 'b'))
	b.ref("refs/tags/of-a-tag", b.tag("inner", one, nil))
	b.ref("refs/tags/v5", b.tag("v5-rc", one, good)) // what was signed under another name
	aside := b.commit(day(7, 2), "aside", "b")
	b.ref("refs/tags/aside", aside)
	b.ref("refs/heads/main", one)
	blob, err := b.repo.CommitObject(one)
	if err != nil {
		t.Fatal(err)
	}
	b.ref("refs/tags/tree", blob.TreeHash)
	b.ref("refs/tags/gone", plumbing.NewHash(strings.Repeat("e", 40)))

	got := b.all(Config{Signers: Signers{SSH: []SSHKey{{"anna@lindenau.example", strings.TrimSpace(good.public())}}}}, nil)[KindTags]
	items := map[string]map[string]any{}
	for _, it := range got.Population.Items {
		items[strings.TrimPrefix(it.ID, "lindenau/pipeline@")] = it.Attributes
	}
	status := func(name string) any { return items[name]["signature"].(map[string]any)["status"] }
	for name, want := range map[string][]any{
		"light": {false, "none", true}, "v1": {true, "none", true}, "v2": {true, "verified", true}, "v3": {true, "bad", true},
		"v4": {true, "unknown-key", true}, "of-a-tag": {true, "none", true}, "aside": {false, "none", false},
		"v5": {true, "bad", true}, "v5-rc": {true, "verified", true},
	} {
		it := items[name]
		if it == nil || !reflect.DeepEqual([]any{it["annotated"], status(name), it["on_branch"]}, want) {
			t.Errorf("%s: %v, want %v", name, it, want)
		}
	}
	if items["v1"]["commit"] != one.String() || items["v1"]["object"] != annotated.String() || items["v1"]["tagged_at"] != "2026-07-09T12:00:00Z" || items["v1"]["subject"] != "release v1" {
		t.Errorf("v1: %v", items["v1"])
	}
	if detail := items["v5"]["signature"].(map[string]any)["detail"]; detail != `it is of the tag "v5-rc"` {
		t.Errorf("v5: %q", detail)
	}
	if len(got.Completeness.Gaps) != 2 || !got.Snapshot {
		t.Errorf("gaps %v", got.Completeness.Gaps)
	}
}

// A branch that does not hold what it pointed to before was written anew.
func TestRewrittenHistory(t *testing.T) {
	b := newRepo(t)
	b.commit(day(7, 1), "one", "a")
	two := b.commit(day(7, 2), "two", "a")
	asked := ""
	heads := func(repository, branch string) []string {
		asked = repository + "@" + branch
		return []string{two.String(), strings.Repeat("d", 40)}
	}
	repo := b.all(Config{}, heads)[KindRepository].Population.Items[0].Attributes
	if !reflect.DeepEqual(repo["rewritten_from"], []any{strings.Repeat("d", 40)}) || asked != "lindenau/pipeline@main" {
		t.Errorf("%v, asked for %s", repo["rewritten_from"], asked)
	}
	if repo = b.all(Config{}, nil)[KindRepository].Population.Items[0].Attributes; !reflect.DeepEqual(repo["rewritten_from"], []any{}) {
		t.Errorf("%v", repo["rewritten_from"])
	}
}

// Of a clone that does not hold all of the branch nobody can say that the
// branch was written anew; that it cannot be said is a gap.
func TestRewrittenIsNotSaidOfAPart(t *testing.T) {
	b := newRepo(t)
	old := b.commit(day(7, 1), "one", "a")
	two := b.commit(day(7, 2), "two", "a")
	b.commit(day(7, 3), "three", "a")
	write(t, b.dir+"/.git/shallow", two.String()+"\n")
	heads := func(string, string) []string { return []string{old.String(), two.String()} }
	repository := b.all(Config{}, heads)[KindRepository]
	if said := repository.Population.Items[0].Attributes["rewritten_from"]; !reflect.DeepEqual(said, []any{}) {
		t.Errorf("rewritten from %v", said)
	}
	gaps := repository.Completeness.Gaps
	if len(gaps) != 2 || !strings.Contains(gaps[1].What, old.String()) || strings.Contains(gaps[1].What, two.String()) {
		t.Errorf("the gaps are %v", gaps)
	}
}
