package git

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"trustpack/evidence"
)

func TestCommitsOfTheWindow(t *testing.T) {
	b := newRepo(t)
	root := b.commit(day(5, 1), "start", "README.md")
	old := b.commit(day(6, 30), "before the quarter", "a.txt")
	direct := b.commit(day(7, 2), "fix\n\nText.\n\nCo-authored-by: Ben <ben@lindenau.example>\nReviewed-by: Carla\n", "pipeline/rules/ranges.yaml")
	side := b.commit(day(7, 3), "work on a branch", "firmware/signing/key.pub")
	merge := b.commit(day(7, 4), "Merge pull request #1", "src/x.go", parents(direct, side))
	backdated := b.commit(day(6, 1), "dated back", "src/y.go")
	late := b.commit(day(10, 2), "after the quarter", "src/z.go")

	commits, repository := b.collect(Config{Repositories: []Repository{{Path: b.dir, Name: "lindenau/pipeline",
		SensitivePaths: []string{"firmware/signing/**", "pipeline/rules/"}}}})

	var got []string
	for _, it := range commits.Population.Items {
		got = append(got, it.ID)
	}
	want := []string{direct.String(), side.String(), merge.String(), backdated.String()}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("commits %v, want %v (root %s, old %s, late %s out)", got, want, root, old, late)
	}
	for _, c := range []struct {
		hash  plumbing.Hash
		field string
		want  any
	}{
		{direct, "how", "single-parent"}, {direct, "first_parent", true},
		{side, "first_parent", false}, {merge, "how", "merge"}, {merge, "first_parent", true},
		{direct, "subject", "fix"}, {direct, "co_authors", []any{"ben@lindenau.example"}},
		{direct, "trailers", map[string]any{"Co-authored-by": []any{"Ben <ben@lindenau.example>"}, "Reviewed-by": []any{"Carla"}}},
		{direct, "sensitive_paths", []any{"pipeline/rules/ranges.yaml"}},
		{merge, "paths", []any{"firmware/signing/key.pub", "src/x.go"}},
		{merge, "sensitive_paths", []any{"firmware/signing/key.pub"}},
		{merge, "parents", []any{direct.String(), side.String()}},
		{direct, "authored_at", "2026-07-02T11:00:00Z"}, {direct, "committed_at", "2026-07-02T12:00:00Z"},
		{backdated, "dated_before_parents", true}, {direct, "dated_before_parents", false},
	} {
		if got := byID(t, commits, c.hash)[c.field]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s = %v, want %v", c.hash, c.field, got, c.want)
		}
	}
	if commits.Completeness.State != evidence.Complete || commits.Completeness.Got != 4 {
		t.Errorf("completeness %+v", commits.Completeness)
	}
	repo := repository.Population.Items[0].Attributes
	if repo["head"] != late.String() || repo["shallow"] != false || repo["commits_in_window"] != 4 || repo["commits"] != 7 ||
		!reflect.DeepEqual(repo["root_commits"], []any{root.String()}) || !repository.Snapshot {
		t.Errorf("repository %v", repo)
	}
}

// The kept objects must give back the commit hashes, or they prove nothing.
func TestRawObjectsHashToTheirNames(t *testing.T) {
	b := newRepo(t)
	b.commit(day(7, 1), "one", "a")
	b.commit(day(7, 2), "two\n\nwith a body", "b", signedBy(newSigner(t, 'a')))
	commits, _ := b.collect(Config{})
	raw := commits.Raw[0].Body
	if commits.Provenance.Requests[0].ReplySHA256 != evidence.SHA256Hex(raw) {
		t.Error("the request does not commit to the raw objects")
	}
	n := 0
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		var sha, kind string
		var size int
		if _, err := fmt.Sscanf(string(line), "%s %s %d", &sha, &kind, &size); err != nil {
			t.Fatal(err)
		}
		sum := sha1.Sum(append(fmt.Appendf(nil, "%s %d\x00", kind, size), rest[:size]...))
		if hex.EncodeToString(sum[:]) != sha {
			t.Errorf("object %s hashes to %x", sha, sum)
		}
		raw = rest[size+1:]
		n++
	}
	if n != 2 {
		t.Errorf("%d objects, want 2", n)
	}
}

func TestSignatures(t *testing.T) {
	b := newRepo(t)
	known, unknown := newSigner(t, 'k'), newSigner(t, 'u')
	spoilt, foreign := known, known
	spoilt.spoil, foreign.namespace = true, "file"
	var broken signFunc = func() string { return "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n" }
	var garbled signFunc = func() string { return "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n" }
	var smime signFunc = func() string { return "-----BEGIN SIGNED MESSAGE-----\nMIIB\n-----END SIGNED MESSAGE-----\n" }
	pgp := func(name string) *openpgp.Entity {
		e, err := openpgp.NewEntity(name, "", name+"@lindenau.example",
			&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return day(1, 1) }})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	declared, stranger := pgp("carla"), pgp("eve")
	gpg := func(e *openpgp.Entity) func(*gogit.CommitOptions) {
		return func(o *gogit.CommitOptions) { o.SignKey = e }
	}
	cases := []struct {
		name, kind, status, signer string
		opt                        func(*gogit.CommitOptions)
	}{
		{"unsigned", "none", "none", "", func(*gogit.CommitOptions) {}},
		{"ssh known", "ssh", "verified", "anna@lindenau.example", signedBy(known)},
		{"ssh unknown", "ssh", "unknown-key", "SHA256:", signedBy(unknown)},
		{"ssh other bytes", "ssh", "bad", "", signedBy(spoilt)},
		{"ssh other namespace", "ssh", "bad", "", signedBy(foreign)},
		{"ssh malformed", "ssh", "bad", "", signedBy(broken)},
		{"gpg known", "gpg", "verified", "carla@lindenau.example", gpg(declared)},
		{"gpg other bytes", "gpg", "bad", "", signedBy(pgpSpoilt{declared})},
		{"gpg unknown", "gpg", "unknown-key", "", gpg(stranger)},
		{"gpg malformed", "gpg", "bad", "", signedBy(garbled)},
		{"x509", "x509", "unverified", "", signedBy(smime)},
	}
	hashes := map[string]plumbing.Hash{}
	for i, c := range cases {
		hashes[c.name] = b.commit(day(7, i+1), c.name, "f", c.opt)
	}
	keyFile := filepath.Join(t.TempDir(), "carla.asc")
	writeKey(t, keyFile, declared)
	commits, _ := b.collect(Config{Signers: Signers{
		SSH: []SSHKey{{Signer: "anna@lindenau.example", Key: known.public()}}, OpenPGP: []string{keyFile}}})
	for _, c := range cases {
		sig := byID(t, commits, hashes[c.name])["signature"].(map[string]any)
		if sig["kind"] != c.kind || sig["status"] != c.status || !strings.HasPrefix(sig["signer"].(string), c.signer) {
			t.Errorf("%s: %v, want %s %s %s", c.name, sig, c.kind, c.status, c.signer)
		}
		if c.status == "bad" && sig["detail"] == "" {
			t.Errorf("%s: no detail says what is wrong", c.name)
		}
	}
}

// pgpSpoilt signs other bytes than those of the commit.
type pgpSpoilt struct{ e *openpgp.Entity }

func (s pgpSpoilt) Sign(io.Reader) ([]byte, error) {
	var out bytes.Buffer
	err := openpgp.ArmoredDetachSign(&out, s.e, strings.NewReader("something else"), nil)
	return out.Bytes(), err
}

type signFunc func() string

func (f signFunc) Sign(io.Reader) ([]byte, error) {
	return []byte(f()), nil
}

func writeKey(t *testing.T, name string, e *openpgp.Entity) {
	t.Helper()
	var buf bytes.Buffer
	w, err := armor.Encode(&buf, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(e.Serialize(w), w.Close())
	}
	if err == nil {
		err = os.WriteFile(name, buf.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A signature by the real ssh-keygen through the real git must verify too.
func TestSignatureOfRealGit(t *testing.T) {
	for _, tool := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed, so its signatures cannot be tried", tool)
		}
	}
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir,
			"GIT_COMMITTER_DATE=2026-07-02T12:00:00Z", "GIT_AUTHOR_DATE=2026-07-02T12:00:00Z")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "key")
	run("git", "init", "-q", "-b", "main", "repo")
	dir = filepath.Join(dir, "repo")
	run("git", "-c", "user.name=Anna", "-c", "user.email=anna@lindenau.example", "-c", "gpg.format=ssh",
		"-c", "user.signingkey=../key.pub", "commit", "-q", "-S", "--allow-empty", "-m", "signed")
	public, err := os.ReadFile(filepath.Join(dir, "..", "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(t.TempDir(), "allowed_signers")
	line := "anna@lindenau.example namespaces=\"git\",valid-after=\"20260101\" " + string(public)
	if err := os.WriteFile(allowed, []byte("# who may sign\n"+line), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &builder{t: t, dir: dir}
	commits, _ := b.collect(Config{Signers: Signers{AllowedSigners: allowed}})
	if len(commits.Population.Items) != 1 {
		t.Fatalf("%d commits, want 1: %+v", len(commits.Population.Items), commits.Completeness)
	}
	sig := commits.Population.Items[0].Attributes["signature"].(map[string]any)
	if sig["status"] != "verified" || sig["signer"] != "anna@lindenau.example" {
		t.Errorf("signature %v", sig)
	}
}

func TestShallowCloneIsAGap(t *testing.T) {
	b := newRepo(t)
	b.commit(day(7, 1), "one", "a")
	second := b.commit(day(7, 2), "two", "b")
	third := b.commit(day(7, 3), "three", "c")
	if err := os.WriteFile(filepath.Join(b.dir, ".git", "shallow"), []byte(second.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	commits, repository := b.collect(Config{})
	if commits.Completeness.State != evidence.Incomplete || len(commits.Completeness.Gaps) != 1 ||
		!strings.Contains(commits.Completeness.Gaps[0].What, second.String()) || !strings.Contains(commits.Completeness.Gaps[0].Reason, "shallow") {
		t.Errorf("completeness %+v", commits.Completeness)
	}
	if len(commits.Population.Items) != 2 || byID(t, commits, third) == nil {
		t.Errorf("%d commits, want the two above the cut", len(commits.Population.Items))
	}
	if repository.Population.Items[0].Attributes["shallow"] != true || repository.Completeness.State != evidence.Incomplete {
		t.Error("the repository's own evidence does not say that it is shallow")
	}
}

func TestGapsNameWhatIsMissing(t *testing.T) {
	whole := func(b *builder) { b.commit(day(7, 1), "one", "a"); b.commit(day(7, 2), "two", "b") }
	for name, c := range map[string]struct {
		prepare func(b *builder) Repository
		want    string
	}{
		"no such folder": {func(b *builder) Repository { return Repository{Path: filepath.Join(b.dir, "gone")} }, "repository does not exist"},
		"no such branch": {func(b *builder) Repository { whole(b); return Repository{Path: b.dir, Branch: "trunk"} }, `no branch "trunk"`},
		"missing commit": {func(b *builder) Repository {
			first := b.commit(day(7, 1), "one", "a")
			b.commit(day(7, 2), "two", "b")
			remove(t, b, first)
			return Repository{Path: b.dir}
		}, "the object is not in the clone"},
		"missing tree": {func(b *builder) Repository {
			h := b.commit(day(7, 1), "one", "a")
			commit, err := b.repo.CommitObject(h)
			if err != nil {
				t.Fatal(err)
			}
			remove(t, b, commit.TreeHash)
			return Repository{Path: b.dir}
		}, "reading the paths it changes"},
	} {
		b := newRepo(t)
		commits, _ := b.collect(Config{Repositories: []Repository{c.prepare(b)}})
		said := fmt.Sprint(commits.Completeness.Gaps)
		if commits.Completeness.State != evidence.Incomplete || !strings.Contains(said, c.want) {
			t.Errorf("%s: %s %s, want a gap with %q", name, commits.Completeness.State, said, c.want)
		}
	}
}

func remove(t *testing.T, b *builder, h plumbing.Hash) {
	t.Helper()
	if err := os.Remove(filepath.Join(b.dir, ".git", "objects", h.String()[:2], h.String()[2:])); err != nil {
		t.Fatal(err)
	}
}

func TestNewRefuses(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	repos := []Repository{{Path: "x"}}
	key := newSigner(t, 'k').public()
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":        {Config{}, "no repository is named"},
		"no path":        {Config{Repositories: []Repository{{}}}, "repository 1 has no path"},
		"same name":      {Config{Repositories: []Repository{{Path: "a/x"}, {Path: "b/x"}}}, `two repositories are called "x"`},
		"empty glob":     {Config{Repositories: []Repository{{Path: "x", SensitivePaths: []string{""}}}}, "an empty pattern"},
		"no ssh key":     {Config{Repositories: repos, Signers: Signers{SSH: []SSHKey{{"a", "nonsense"}}}}, "ssh key 1 (a) is no OpenSSH public key"},
		"no signer":      {Config{Repositories: repos, Signers: Signers{SSH: []SSHKey{{"", key}}}}, "has no signer"},
		"authority":      {Config{Repositories: repos, Signers: Signers{AllowedSigners: file("a cert-authority " + key)}}, ":1: cert-authority is not supported"},
		"unknown option": {Config{Repositories: repos, Signers: Signers{AllowedSigners: file("\na frobnicate=\"1\" " + key)}}, `:2: unknown option "frobnicate"`},
		"no file":        {Config{Repositories: repos, Signers: Signers{OpenPGP: []string{"gone.asc"}}}, "gone.asc"},
		"private key":    {Config{Repositories: repos, Signers: Signers{OpenPGP: []string{file("-----BEGIN PGP PRIVATE KEY BLOCK-----\n")}}}, "it holds a private key"},
	} {
		_, err := New(c.config, Deps{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

func TestKeyValidity(t *testing.T) {
	b := newRepo(t)
	signer := newSigner(t, 'k')
	early := b.commit(day(7, 1), "before the key was valid", "a", signedBy(signer))
	good := b.commit(day(8, 1), "while it was", "b", signedBy(signer))
	late := b.commit(day(9, 1), "after", "c", signedBy(signer))
	allowed := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(allowed, []byte(`a@x valid-after="20260715",valid-before="202608150000Z" `+signer.public()), 0o600); err != nil {
		t.Fatal(err)
	}
	commits, _ := b.collect(Config{Signers: Signers{AllowedSigners: allowed}})
	for hash, want := range map[plumbing.Hash]string{early: "bad", good: "verified", late: "bad"} {
		if sig := byID(t, commits, hash)["signature"].(map[string]any); sig["status"] != want {
			t.Errorf("%s: %v, want %s", hash, sig, want)
		}
	}
}

func TestTrailers(t *testing.T) {
	for message, want := range map[string]map[string]any{
		"subject":                         {},
		"Key: subject alone":              {},
		"s\n\nbody\n\nA: 1\nB: 2\n\tmore": {"A": []any{"1"}, "B": []any{"2 more"}},
		"s\n\nA: 1\na: 2":                 {"A": []any{"1", "2"}},
		"s\n\nprose\nA: 1":                {},
		"s\n\nprose\nSigned-off-by: x":    {"Signed-off-by": []any{"x"}},
		"s\r\n\r\nA: 1\r\n":               {"A": []any{"1"}},
	} {
		if got := parseTrailers(message).plain(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", message, got, want)
		}
	}
	got := coAuthors(parseTrailers("s\n\nCo-Authored-By: A <a@x>\nco-authored-by: A Again <A@X>\nCo-authored-by: b@x\nCo-authored-by: >odd<"))
	if !slices.Equal(got, []string{"a@x", "b@x", ">odd<"}) {
		t.Errorf("co-authors %v", got)
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		glob, path string
		want       bool
	}{
		{"a/*.go", "a/x.go", true}, {"a/*.go", "a/b/x.go", false}, {"a/**/x.go", "a/x.go", true}, {"a/**/x.go", "a/b/c/x.go", true},
		{"a/**", "a/b/c", true}, {"a/**", "ab", false}, {"*.pem", "deep/down/k.pem", true}, {"/*.pem", "deep/k.pem", false},
		{"/*.pem", "k.pem", true}, {"rules/", "rules/x/y", true}, {"a?c", "abc", true}, {"a.c", "abc", false}, {"[x]", "x", false},
	} {
		globs, err := compileGlobs([]string{c.glob})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(matching(globs, []string{c.path})) == 1; got != c.want {
			t.Errorf("%s matches %s: %v, want %v", c.glob, c.path, got, c.want)
		}
	}
}

func TestSampleIsLabelled(t *testing.T) {
	b := newRepo(t)
	b.commit(day(7, 1), "one", "a")
	live, _ := b.collect(Config{})
	sample, _ := b.collect(Config{Sample: true, Repositories: []Repository{{Path: b.dir}}})
	if live.Provenance.Origin != evidence.OriginLive || sample.Provenance.Origin != evidence.OriginSample {
		t.Errorf("origins %s and %s", live.Provenance.Origin, sample.Provenance.Origin)
	}
	if strings.Contains(fmt.Sprint(live.Provenance), b.dir) {
		t.Error("provenance tells the path of the clone on this machine")
	}
}
