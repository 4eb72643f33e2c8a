package pack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// peer is another people's tool, by the script that shows it.
type peer struct {
	name  string
	tools []string
	// command checks the signature in bundle, of the given predicate type; the
	// tools that know but the vendor's ignore both.
	command    func(dir, key, bundle, predicateType string) []string
	everyone   bool // it checks the signatures of all roles
	says       string
	noticesKey bool // it takes a key at all
}

func peers(t *testing.T) []peer {
	t.Helper()
	script := func(name string) string {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	bash := func(name string, signature bool) func(string, string, string, string) []string {
		return func(dir, key, bundle, predicateType string) []string {
			args := []string{"bash", script(name), dir, key}
			if signature {
				args = append(args, bundle, predicateType)
			}
			return args
		}
	}
	return []peer{
		{"sha256sum", []string{"bash", "sha256sum"}, bash("check-sha256sum.sh", false), false, "sha256sum: OK", false},
		{"openssl", []string{"bash", "openssl", "base64"}, bash("check-openssl.sh", true), true, "openssl: OK", true},
		{"ssh-keygen", []string{"bash", "ssh-keygen"}, bash("check-ssh-keygen.sh", false), false, "ssh-keygen: OK", true},
		{"cosign", []string{"bash", "cosign", "base64"}, bash("check-cosign.sh", true), true, "cosign: OK", true},
		{"sigstore", []string{"node"}, func(dir, key, bundle, predicateType string) []string {
			return []string{"node", script("check-sigstore.cjs"), os.Getenv("TRUSTPACK_SIGSTORE"), dir, key, bundle, predicateType}
		}, true, "sigstore: OK", true},
	}
}

// TestOtherPeoplesTools runs the scripts of testdata, each of which shows
// another people's tool checking a pack, over a pack that vendor, reviewer and
// auditor signed, over changed ones and with a wrong key.
func TestOtherPeoplesTools(t *testing.T) {
	for _, p := range peers(t) {
		t.Run(p.name, func(t *testing.T) {
			for _, tool := range p.tools {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed: what it says of a pack was not asked", tool)
				}
			}
			if p.name == "sigstore" && os.Getenv("TRUSTPACK_SIGSTORE") == "" {
				t.Skip("TRUSTPACK_SIGSTORE names no folder with @sigstore/verify: what it says of a pack was not asked")
			}
			for _, kt := range []KeyType{Ed25519, P256} {
				t.Run(string(kt), func(t *testing.T) { p.check(t, kt) })
			}
		})
	}
}

func (p peer) check(t *testing.T, kt KeyType) {
	dir, keys := signedFolder(t, kt)
	run := func(key, role string) (string, error) {
		args := p.command(dir, keys[key], bundleName(role, 1), PredicateType(role))
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		return string(out), err
	}
	for _, role := range roles() {
		if role != roleVendor && !p.everyone {
			continue
		}
		if out, err := run(role, role); err != nil || !strings.Contains(out, p.says) {
			t.Errorf("%s: %v\n%s", role, err, out)
		}
		if out, err := run("other", role); p.noticesKey && err == nil {
			t.Errorf("%s: another key is accepted\n%s", role, out)
		}
	}
	for _, name := range []string{packJSONName, bundleName(roleVendor, 1), sshsigName, exceptionsName} {
		// Each tool looks at some of these; what it looks at it must notice.
		looks := map[string][]string{
			"sha256sum": {packJSONName, exceptionsName}, "ssh-keygen": {packJSONName, sshsigName},
		}[p.name]
		if looks == nil {
			looks = []string{packJSONName, bundleName(roleVendor, 1)}
		}
		if !slices.Contains(looks, name) {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/3] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var ended *exec.ExitError
		if out, err := run(roleVendor, roleVendor); !errors.As(err, &ended) || strings.Contains(out, p.says) {
			t.Errorf("%s was changed: %v\n%s", name, err, out)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// signedFolder is an unpacked pack, signed by all roles with keys of one type,
// and the files of their public keys and of one more.
func signedFolder(t *testing.T, kt KeyType) (dir string, keys map[string]string) {
	t.Helper()
	base := t.TempDir()
	dir, keys = filepath.Join(base, "pack"), map[string]string{}
	signers := map[string]Signer{}
	for _, who := range append(roles(), "other") {
		private, public, err := GenerateKey(kt, who, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signers[who], err = LoadSigner(private, nil); err != nil {
			t.Fatal(err)
		}
		keys[who] = filepath.Join(base, who+".pub")
		if err := os.WriteFile(keys[who], public, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := VerifyOptions{Keys: []PublicKey{signers[roleVendor].Public()}}
	data := buildPack(t, content(t), signers[roleVendor])
	for _, role := range roles()[1:] {
		var err error
		if data, _, err = countersignBytes(data, o, Countersigning{Role: role, Identity: "the " + role, Time: day(95)}, signers[role]); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range entriesOf(t, data) {
		path := filepath.Join(dir, filepath.FromSlash(e.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, e.body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, keys
}
