package git

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// bundleOf has git itself write a bundle, with options of git bundle create,
// then what goes into it.
func bundleOf(t *testing.T, b *builder, options []string, what ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed, so it cannot write a bundle")
	}
	name := filepath.Join(t.TempDir(), "pipeline.bundle")
	cmd := exec.Command("git", slices.Concat([]string{"-C", b.dir}, options, []string{name}, what)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git bundle: %v\n%s", err, out)
	}
	return name
}

var plainBundle = []string{"bundle", "create", "-q"}

func lengthy(b *builder) {
	root := b.commit(day(6, 1), "start", "a")
	one := b.commit(day(7, 1), "one", "b", signedBy(newSigner(b.t, 'k')))
	side := b.commit(day(7, 2), "side", "c", onePerson(day(7, 2)), parents(root))
	merge := b.commit(day(7, 3), "merge", "d", parents(one, side))
	if _, err := b.repo.CreateTag("v1", merge, nil); err != nil {
		b.t.Fatal(err)
	}
}

// A bundle tells what the clone tells that it was made of.
func TestBundleTellsWhatItsCloneTells(t *testing.T) {
	b := newRepo(t)
	lengthy(b)
	name := bundleOf(t, b, plainBundle, "--all")
	t.Setenv("TMPDIR", t.TempDir())
	read := func(path string) (commits evidence.Evidence, all []evidence.Evidence) {
		c, err := New(Config{Repositories: []Repository{{Path: path, Name: "x", CodeHost: "fast-forward"}}}, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if all, err = c.Collect(t.Context(), quarter); err != nil {
			t.Fatal(err)
		}
		return all[0], all
	}
	_, fromClone := read(b.dir)
	commits, fromBundle := read(name)
	if len(commits.Population.Items) != 3 || len(fromBundle[2].Population.Items) != 1 {
		t.Fatalf("%d commits, %d tags; %v", len(commits.Population.Items), len(fromBundle[2].Population.Items), commits.Completeness.Gaps)
	}
	for i := range fromClone {
		for _, e := range []evidence.Evidence{fromClone[i], fromBundle[i]} {
			for _, it := range e.Population.Items {
				if e.Kind == KindRepository && it.Attributes["source"] == "" {
					t.Error("the repository does not say whether it is a clone or a bundle")
				}
				delete(it.Attributes, "source")
			}
		}
		if !reflect.DeepEqual(fromClone[i].Population, fromBundle[i].Population) || !bytes.Equal(fromClone[i].Raw[0].Body, fromBundle[i].Raw[0].Body) {
			t.Errorf("%s: the bundle tells\n%v, its clone\n%v", fromClone[i].Kind, fromBundle[i].Population, fromClone[i].Population)
		}
		if fromBundle[i].Completeness.State != evidence.Complete {
			t.Errorf("%s: %v", fromBundle[i].Kind, fromBundle[i].Completeness)
		}
	}
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	req := commits.Provenance.Requests[0]
	if req.Target != "git bundle x" || req.Parameters["bundle_sha256"] != evidence.SHA256Hex(file) {
		t.Errorf("the request is %+v", req)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("of the unpacked bundle %v is left: %v", left, err)
	}
}

// A bundle that builds on what it leaves out is read as far as it goes, or
// not at all; what is missing has its name either way.
func TestBundleOfAPartIsAGap(t *testing.T) {
	b := newRepo(t)
	lengthy(b)
	last := b.commit(day(7, 4), "last", "e")
	for name, c := range map[string]struct {
		options, what []string
		want          string
		items         int
	}{
		"a commit more":               {append([]string{"-c", "pack.window=0"}, plainBundle...), []string{"main", "^main~1"}, "the bundle builds on it and leaves it out", 1},
		"as a difference to the rest": {plainBundle, []string{"main", "^main~1"}, "it leaves out what it builds on (", 0},
		"a tag alone":                 {plainBundle, []string{"v1"}, `no branch "main"`, 0},
	} {
		commits, repository := b.collect(Config{Repositories: []Repository{{Path: bundleOf(t, b, c.options, c.what...), Name: "x"}}})
		said := fmt.Sprint(commits.Completeness.Gaps)
		if commits.Completeness.State != evidence.Incomplete || repository.Completeness.State != evidence.Incomplete || !strings.Contains(said, c.want) {
			t.Errorf("%s: %s %s, want a gap with %q", name, commits.Completeness.State, said, c.want)
		}
		if len(commits.Population.Items) != c.items || c.items == 1 && byID(t, commits, last)["subject"] != "last" {
			t.Errorf("%s: %d commits, want %d", name, len(commits.Population.Items), c.items)
		}
	}
}

// Damage is a gap with its reason, wherever it is.
func TestDamagedBundlesAreGaps(t *testing.T) {
	b := newRepo(t)
	lengthy(b)
	whole, err := os.ReadFile(bundleOf(t, b, plainBundle, "--all"))
	if err != nil {
		t.Fatal(err)
	}
	header, pack, _ := bytes.Cut(whole, []byte("\n\n"))
	flipped := func(at int) []byte { c := bytes.Clone(whole); c[at] ^= 1; return c }
	sealed := func(pack string) string { sum := sha1.Sum([]byte(pack)); return pack + string(sum[:]) }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                {nil, "no git bundle"},
		"another file":         {[]byte("PK\x03\x04 something else\n"), "no git bundle"},
		"no end of header":     {header, "cut off"},
		"a line without end":   {append(append([]byte("# v2 git bundle\n"), bytes.Repeat([]byte("x"), maxBundleLine+2)...), "\n\n"...), "too long"},
		"no pack":              {[]byte("# v2 git bundle\n\n"), "no pack"},
		"cut off":              {whole[:len(whole)-1], "checksum"},
		"a bit of the pack":    {flipped(len(header) + 40), "checksum"},
		"a bit of the end":     {flipped(len(whole) - 1), "checksum"},
		"no ref":               {[]byte("# v2 git bundle\nnonsense\n\n"), "no ref"},
		"a ref that climbs":    {[]byte("# v2 git bundle\n" + strings.Repeat("0", 40) + " refs/heads/../../x\n\n"), "refs/heads/../../x"},
		"sha256":               {[]byte("# v3 git bundle\n@object-format=sha256\n\n"), "object-format=sha256 is not supported"},
		"no commit":            {[]byte("# v2 git bundle\n-nonsense x\n\n"), `"nonsense", not a commit`},
		"a pack of nonsense":   {[]byte("# v2 git bundle\n\n" + sealed("PACK, so it says")), "reading the bundle"},
		"an object too few":    {[]byte("# v2 git bundle\n\n" + sealed("PACK\x00\x00\x00\x02\x00\x00\x00\x01")), "reading the bundle"},
		"a ref without object": {append([]byte("# v2 git bundle\n"+strings.Repeat("1", 40)+" refs/heads/main\n\n"), pack...), "object not found"},
	} {
		file := filepath.Join(t.TempDir(), "x.bundle")
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		commits, _ := b.collect(Config{Repositories: []Repository{{Path: file, Name: "x"}}})
		said := fmt.Sprint(commits.Completeness.Gaps)
		if commits.Completeness.State != evidence.Incomplete || !strings.Contains(said, c.want) {
			t.Errorf("%s: %s %s, want a gap with %q", name, commits.Completeness.State, said, c.want)
		}
		if strings.Contains(said, file) || strings.Contains(said, os.TempDir()) {
			t.Errorf("%s: the gap tells a path of this machine: %s", name, said)
		}
	}
}

// Version 3 with what it may say of itself.
func TestBundleVersion3(t *testing.T) {
	b := newRepo(t)
	lengthy(b)
	commits, _ := b.collect(Config{Repositories: []Repository{{Path: bundleOf(t, b, append(plainBundle, "--version=3"), "--all"), Name: "x"}}})
	if commits.Completeness.State != evidence.Complete || len(commits.Population.Items) != 3 {
		t.Errorf("%d commits, %v", len(commits.Population.Items), commits.Completeness)
	}
}
