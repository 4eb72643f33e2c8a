package signers

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/pack"
)

// needs skips where a tool is not installed.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: signing with a command was not tried", tool)
		}
	}
}

// opensslSigner is a command of the protocol in a few lines of shell.
const opensslSigner = `#!/bin/sh
set -eu
echo "asked for $2" >&2
case $2 in
public-key) openssl pkey -in "$1" -pubout ;;
sign)
  t=$(mktemp)
  trap 'rm -f "$t"' EXIT
  cat > "$t"
  openssl pkeyutl -sign -inkey "$1" -rawin -in "$t" ;;
esac
`

// TestCommand signs with openssl behind a script, as a user would wrap his
// own device.
func TestCommand(t *testing.T) {
	needs(t, "sh", "openssl")
	for _, kt := range []pack.KeyType{pack.Ed25519, pack.P256} {
		t.Run(string(kt), func(t *testing.T) {
			dir := t.TempDir()
			key := newKey(t, kt)
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			file(t, dir, "my key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
			if err := os.Chmod(file(t, dir, "sign.sh", []byte(opensslSigner)), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{`./sign.sh 'my key.pem'`, `sh sign.sh "my key.pem"`, filepath.Join(dir, "sign.sh") + ` "my key.pem"`} {
				var said bytes.Buffer
				s, err := Open(context.Background(), "exec:"+command, Options{Dir: dir, Stderr: &said})
				if err != nil {
					t.Fatalf("%v\n%s", err, &said)
				}
				signs(t, s, publicOf(t, key))
				if !strings.Contains(said.String(), "asked for public-key\n") || !strings.Contains(said.String(), "asked for sign\n") {
					t.Errorf("what the command said is not shown: %q", &said)
				}
			}
		})
	}
}

// TestCommandThatIsWrong: a command that fails, talks too much, never ends or
// gives something else leads to no signature.
func TestCommandThatIsWrong(t *testing.T) {
	needs(t, "sh")
	dir := t.TempDir()
	line := publicOf(t, newKey(t, pack.Ed25519)).Line()
	o := Options{Dir: dir}
	refuses(t, "exec:", o, "no command is named")
	refuses(t, "exec:  ", o, "no command is named")
	refuses(t, `exec:sh "-c`, o, "quote")
	refuses(t, "exec:./none", o, "none")
	refuses(t, "exec:sh -c 'exit 3'", o, "exit status 3")
	refuses(t, "exec:sh -c 'echo nonsense'", o, "reading public key")
	refuses(t, "exec:sh -c 'while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done'", o, "wrote more than 65536 bytes")
	stuck := o
	stuck.Timeout = 50 * time.Millisecond
	refuses(t, "exec:sh -c 'exec sleep 600'", stuck, "did not end within 50ms")
	s, err := Open(context.Background(), `exec:sh -c 'case $0 in public-key) echo `+line+`;; *) cat;; esac'`, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign([]byte("message")); err == nil || !strings.Contains(err.Error(), "no signature by its own key") {
		t.Errorf("a command that gives the message back: %v", err)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Open(stopped, "exec:sh -c 'exec sleep 600'", o); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSplitWords(t *testing.T) {
	for command, want := range map[string][]string{
		"a b":                     {"a", "b"},
		"  a\t b  ":               {"a", "b"},
		`a 'b c' "d 'e'"`:         {"a", "b c", "d 'e'"},
		`a b"c d"e ""`:            {"a", "bc de", ""},
		`C:\tools\sign.exe $HOME`: {`C:\tools\sign.exe`, "$HOME"},
	} {
		if got, err := splitWords(command); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", command, got, err, want)
		}
	}
}
