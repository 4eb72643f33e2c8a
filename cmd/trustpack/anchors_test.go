package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatIsNoPublicKeyIsRefused: whatever file is given for the vendor's key
// by mistake is named as that, and nothing of it is shown.
func TestWhatIsNoPublicKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int64) string {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, nil, 0o600)
		if err == nil {
			err = os.Truncate(path, size)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	verify := func(key string) (code int, said string) {
		var out, e bytes.Buffer
		code = run(t.Context(), []string{"verify", file("pack.zip", 100), "--key", key}, nil, &out, &e)
		return code, out.String() + e.String()
	}
	private := filepath.Join(dir, "vendor.key")
	if code := run(t.Context(), []string{"keygen", "--out", private}, nil, &bytes.Buffer{}, os.Stderr); code != exitOK {
		t.Fatal(code)
	}
	for key, want := range map[string]string{
		private:                      "this is a private key; give the public one",
		file("empty.pub", 0):         "neither an OpenSSH public key line nor PEM",
		file("zeros.pub", 1000):      "neither an OpenSSH public key line nor PEM",
		file("a-pack.zip", 8<<20):    "is longer than 4194304 bytes, which no such file is",
		filepath.Join(dir, "no.pub"): "no such file",
	} {
		if code, said := verify(key); code != exitUsage || !strings.Contains(said, want) {
			t.Errorf("%s: exit %d, %q, want %q", key, code, said, want)
		}
	}
	secret, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	_, said := verify(private)
	for line := range strings.Lines(string(secret)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && strings.Contains(said, line) {
			t.Errorf("the private key is shown: %s", said)
		}
	}
	if code, _ := verify(private + ".pub"); code != exitWrong { // of what is no pack
		t.Errorf("a public key: exit %d", code)
	}
}
