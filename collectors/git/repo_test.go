package git

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/crypto/ssh"

	"trustpack/evidence"
)

var quarter = evidence.Period{From: day(7, 1), To: day(10, 1)}

func day(month, d int) time.Time { return time.Date(2026, time.Month(month), d, 12, 0, 0, 0, time.UTC) }

// sshSigner signs as ssh-keygen -Y sign does, written apart from the code
// under test.
type sshSigner struct {
	key       ssh.Signer
	namespace string
	spoil     bool // sign something else
}

func newSigner(t *testing.T, seed byte) sshSigner {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}
	return sshSigner{key: key, namespace: "git"}
}

func (s sshSigner) public() string { return string(ssh.MarshalAuthorizedKey(s.key.PublicKey())) }

func (s sshSigner) Sign(message io.Reader) ([]byte, error) {
	payload, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	if s.spoil {
		payload = append(payload, "more"...)
	}
	sum := sha512.Sum512(payload)
	tbs := append([]byte("SSHSIG"), ssh.Marshal(struct{ NS, Res, Hash, H string }{s.namespace, "", "sha512", string(sum[:])})...)
	sig, err := s.key.Sign(nil, tbs)
	if err != nil {
		return nil, err
	}
	blob := append([]byte("SSHSIG"), ssh.Marshal(struct {
		V                     uint32
		Key, NS, Res, Hash, S string
	}{1, string(s.key.PublicKey().Marshal()), s.namespace, "", "sha512", string(ssh.Marshal(*sig))})...)
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}), nil
}

// builder makes a repository, one commit after another.
type builder struct {
	t    *testing.T
	dir  string
	repo *gogit.Repository
	wt   *gogit.Worktree
}

func newRepo(t *testing.T) *builder {
	t.Helper()
	dir := t.TempDir()
	repo, err := gogit.PlainInitWithOptions(dir, &gogit.PlainInitOptions{
		InitOptions: gogit.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName("main")}})
	if err != nil {
		t.Fatal(err)
	}
	wt, err := repo.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	return &builder{t, dir, repo, wt}
}

// commit writes a file and commits it; opts may set parents or a signer.
func (b *builder) commit(at time.Time, message, file string, opts ...func(*gogit.CommitOptions)) plumbing.Hash {
	b.t.Helper()
	full := filepath.Join(b.dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(message), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.wt.Add(file); err != nil {
		b.t.Fatal(err)
	}
	o := &gogit.CommitOptions{
		Author:    &object.Signature{Name: "Anna Berg", Email: "anna-berg@lindenau.example", When: at.Add(-time.Hour)},
		Committer: &object.Signature{Name: "GitHub", Email: "noreply@github.com", When: at},
	}
	for _, f := range opts {
		f(o)
	}
	h, err := b.wt.Commit(message, o)
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

func parents(hs ...plumbing.Hash) func(*gogit.CommitOptions) {
	return func(o *gogit.CommitOptions) { o.Parents = hs }
}

func signedBy(s gogit.Signer) func(*gogit.CommitOptions) {
	return func(o *gogit.CommitOptions) { o.Signer = s }
}

func (b *builder) collect(config Config) (commits, repository evidence.Evidence) {
	b.t.Helper()
	if len(config.Repositories) == 0 {
		config.Repositories = []Repository{{Path: b.dir, Name: "lindenau/pipeline"}}
	}
	c, err := New(config, Deps{Tool: "trustpack test", Now: func() time.Time { return day(10, 2) }})
	if err != nil {
		b.t.Fatal(err)
	}
	got, err := c.Collect(b.t.Context(), quarter)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range got {
		if _, _, _, err := evidence.RecordOf(e); err != nil {
			b.t.Fatal(err)
		}
	}
	return got[0], got[1]
}

func byID(t *testing.T, e evidence.Evidence, h plumbing.Hash) map[string]any {
	t.Helper()
	for _, it := range e.Population.Items {
		if it.ID == h.String() {
			return it.Attributes
		}
	}
	t.Fatalf("%s: no item %s", e.Kind, h)
	return nil
}
