package pack

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// commands gives the shell blocks of README.txt as one script.
func commands(t *testing.T, text string) string {
	t.Helper()
	var script strings.Builder
	blocks := 0
	for i, block := range strings.Split(text, "```") {
		if i%2 == 1 {
			body, ok := strings.CutPrefix(block, "sh\n")
			if !ok {
				t.Fatalf("a block that is no shell: %q", block)
			}
			script.WriteString(body)
			blocks++
		}
	}
	if blocks != 7 {
		t.Fatalf("%d blocks of commands, want 7", blocks)
	}
	return script.String()
}

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: the manual checks of README.txt were not run", name)
		}
	}
}

// unpack writes a pack with unzip into a new folder, and the vendor's key
// beside it.
func unpack(t *testing.T, data, publicLine []byte) (dir, key string) {
	t.Helper()
	base := t.TempDir()
	dir, key = filepath.Join(base, "pack"), filepath.Join(base, "vendor.pub")
	archive := filepath.Join(base, "test.epack.zip")
	for path, body := range map[string][]byte{archive: data, key: publicLine} {
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("unzip", "-q", archive, "-d", dir).CombinedOutput(); err != nil {
		t.Fatalf("unzip: %v\n%s", err, out)
	}
	return dir, key
}

func runReadme(t *testing.T, dir, key string) (string, error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, readmeName))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", commands(t, string(text)))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "KEY="+key, "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestReadmeCommands runs the manual checks as README.txt gives them, with
// other people's tools, on whole packs and on changed ones.
func TestReadmeCommands(t *testing.T) {
	needTools(t, "bash", "unzip", "sha256sum", "ssh-keygen", "openssl", "base64", "python3")
	for _, kt := range []KeyType{Ed25519, P256} {
		t.Run(string(kt), func(t *testing.T) {
			private, public, err := GenerateKey(kt, "vendor@example", rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			s, err := LoadSigner(private, nil)
			if err != nil {
				t.Fatal(err)
			}
			data := buildPack(t, content(t), s)
			dir, key := unpack(t, data, public)
			out, err := runReadme(t, dir, key)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{`Good "trustpack-pack" signature for vendor`, "Signature Verified Successfully", "tree and files: OK"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if _, err := exec.LookPath("cosign"); err == nil && !strings.Contains(out, "Verified OK") {
				t.Errorf("cosign is installed and does not verify:\n%s", out)
			}
			if n := strings.Count(out, "Good "); n != 2 {
				t.Errorf("ssh-keygen finds %d signatures good, want 2:\n%s", n, out)
			}
			for _, name := range []string{exceptionsName, packJSONName, manifestName, "trust/vendor.pub", bundleName(roleVendor, 1), sshsigName} {
				path := filepath.Join(dir, name)
				good, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				bad := bytes.Clone(good)
				bad[len(bad)*3/4] ^= 1
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := runReadme(t, dir, key); err == nil {
					t.Errorf("%s was changed and nothing noticed:\n%s", name, out)
				}
				if err := os.WriteFile(path, good, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, otherKey, err := GenerateKey(kt, "", rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(key, otherKey, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := runReadme(t, dir, key); err == nil {
				t.Errorf("another key was accepted:\n%s", out)
			}
		})
	}
}

// TestAllowedSignersInTrust: the file in trust/ is of the form that
// ssh-keygen reads, for who has compared its key with the vendor's.
func TestAllowedSignersInTrust(t *testing.T) {
	needTools(t, "ssh-keygen", "unzip")
	s := edSigner(t, 1)
	dir, _ := unpack(t, buildPack(t, content(t), s), nil)
	cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", "trust/allowed_signers", "-I", SSHIdentity, "-n", SSHNamespace, "-s", sshsigName)
	cmd.Dir = dir
	in, err := os.Open(filepath.Join(dir, packJSONName))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	fp, err := exec.Command("ssh-keygen", "-lf", filepath.Join(dir, "trust/vendor.pub")).Output()
	if err != nil || !strings.Contains(string(fp), s.Public().Fingerprint()) {
		t.Errorf("ssh-keygen -l: %s, %v, want %s", fp, err, s.Public().Fingerprint())
	}
}

// TestKeysOfSSHKeygen reads keys that ssh-keygen made, plain and encrypted.
func TestKeysOfSSHKeygen(t *testing.T) {
	needTools(t, "ssh-keygen")
	for _, tc := range []struct {
		name, pass string
		args       []string
		want       KeyType
	}{
		{"ed25519", "", []string{"-t", "ed25519"}, Ed25519},
		{"ed25519 encrypted", "correct horse", []string{"-t", "ed25519"}, Ed25519},
		{"p256", "", []string{"-t", "ecdsa", "-b", "256"}, P256},
		{"p256 encrypted", "correct horse", []string{"-t", "ecdsa", "-b", "256"}, P256},
		{"p256 PEM", "", []string{"-t", "ecdsa", "-b", "256", "-m", "PEM"}, P256},
		{"p256 PKCS 8", "", []string{"-t", "ecdsa", "-b", "256", "-m", "PKCS8"}, P256},
		{"p384", "", []string{"-t", "ecdsa", "-b", "384"}, ""},
		{"rsa", "", []string{"-t", "rsa", "-b", "2048"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			args := append(tc.args, "-q", "-N", tc.pass, "-C", "somebody", "-f", path)
			if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			private, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			s, err := LoadSigner(private, func() ([]byte, error) { asked++; return []byte(tc.pass), nil })
			if tc.want == "" {
				if err == nil || !strings.Contains(err.Error(), "want Ed25519 or ECDSA P-256") {
					t.Errorf("got %v, want a refusal that says what is wanted", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (asked > 0) != (tc.pass != "") {
				t.Errorf("the passphrase was asked %d times", asked)
			}
			public, err := os.ReadFile(path + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			key, err := ParsePublicKey(public)
			if err != nil || !key.Equal(s.Public()) || key.Type() != tc.want || key.Comment != "somebody" {
				t.Errorf("public key %+v, %v", key, err)
			}
			sig, err := s.Sign([]byte("message"))
			if err != nil || key.Verify([]byte("message"), sig) != nil || key.Verify([]byte("massage"), sig) == nil {
				t.Errorf("its signature does not hold, or holds for anything: %v", err)
			}
			if tc.pass != "" {
				for want, pass := range map[string]func() ([]byte, error){
					"wrong passphrase": func() ([]byte, error) { return []byte("no"), nil },
					"it is encrypted":  nil,
				} {
					if _, err := LoadSigner(private, pass); err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %q", err, want)
					}
				}
			}
		})
	}
}
