package signers

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"trustpack/pack"
)

// newKey is a key in memory; P-256 where t says so.
func newKey(t testing.TB, kt pack.KeyType) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	if kt == pack.P256 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(t testing.TB, key crypto.Signer) pack.PublicKey {
	t.Helper()
	public, err := pack.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// file writes a file that nobody else reads and gives its path.
func file(t testing.TB, dir, name string, body []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// signs demands that s is key's and that its signatures hold, and for nothing
// else.
func signs(t testing.TB, s pack.Signer, key pack.PublicKey) {
	t.Helper()
	if !s.Public().Equal(key) {
		t.Fatalf("the key is %s, want %s", s.Public().Fingerprint(), key.Fingerprint())
	}
	for _, message := range []string{"message", "m", strings.Repeat("m", 3000)} {
		sig, err := s.Sign([]byte(message))
		if err != nil {
			t.Fatal(err)
		}
		if key.Verify([]byte(message), sig) != nil || key.Verify([]byte(message+"x"), sig) == nil {
			t.Errorf("the signature over %d bytes does not hold, or holds for others", len(message))
		}
	}
}

func refuses(t testing.TB, ref string, o Options, why string) {
	t.Helper()
	if _, err := Open(context.Background(), ref, o); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %v, want an error with %q", ref, err, why)
	}
}

func TestKeyFiles(t *testing.T) {
	for _, kt := range []pack.KeyType{pack.Ed25519, pack.P256} {
		key := newKey(t, kt)
		plain, err := ssh.MarshalPrivateKey(key, "c")
		if err != nil {
			t.Fatal(err)
		}
		locked, err := ssh.MarshalPrivateKeyWithPassphrase(key, "c", []byte("open sesame"))
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		forms := map[string]*pem.Block{"openssh": plain, "encrypted": locked, "pkcs8": {Type: "PRIVATE KEY", Bytes: pkcs8}}
		if ec, ok := key.(*ecdsa.PrivateKey); ok {
			sec1, err := x509.MarshalECPrivateKey(ec)
			if err != nil {
				t.Fatal(err)
			}
			forms["sec1"] = &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}
		}
		dir := t.TempDir()
		for form, block := range forms {
			t.Run(string(kt)+" "+form, func(t *testing.T) {
				file(t, dir, form, pem.EncodeToMemory(block))
				o := Options{Dir: dir, Passphrase: func() ([]byte, error) { return []byte("open sesame"), nil }}
				s, err := Open(context.Background(), form, o)
				if err != nil {
					t.Fatal(err)
				}
				signs(t, s, publicOf(t, key))
			})
		}
		refuses(t, "encrypted", Options{Dir: dir}, "it is encrypted")
		refuses(t, "encrypted", Options{Dir: dir, Passphrase: func() ([]byte, error) { return []byte("no"), nil }}, "wrong passphrase")
	}
	refuses(t, "", Options{}, "no signing key is named")
	refuses(t, filepath.Join(t.TempDir(), "none"), Options{}, "none")
}

type wrongSigner struct{ key pack.PublicKey }

func (w wrongSigner) Public() pack.PublicKey      { return w.key }
func (wrongSigner) Sign(m []byte) ([]byte, error) { return bytes.Repeat([]byte{1}, 64), nil }

// TestNoSignatureThatDoesNotHold: whatever holds the key, what does not verify
// is not given out.
func TestNoSignatureThatDoesNotHold(t *testing.T) {
	_, err := checked{wrongSigner{publicOf(t, newKey(t, pack.Ed25519))}, "ref"}.Sign([]byte("message"))
	if err == nil || !strings.Contains(err.Error(), "no signature by its own key") {
		t.Errorf("got %v", err)
	}
}
