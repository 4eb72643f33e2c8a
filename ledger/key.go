package ledger

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// SeedSize is the length of a signing seed in bytes (RFC 8032, section 5.1.5).
const SeedSize = ed25519.SeedSize

// ed25519Key is the algorithm byte of a signed-note key (c2sp.org/signed-note).
const ed25519Key = 1

// NewSeed draws a fresh signing seed.
func NewSeed() ([]byte, error) {
	seed := make([]byte, SeedSize)
	if _, err := io.ReadFull(rand.Reader, seed); err != nil {
		return nil, fmt.Errorf("drawing a signing seed: %w", err)
	}
	return seed, nil
}

// SignerFor gives the note signer of the log named origin. One seed serves
// every log of an instance: the public key is the same, the key name (and so
// the key hash) is the log's origin, and each checkpoint's text begins with
// that origin.
func SignerFor(seed []byte, origin string) (note.Signer, error) {
	pub, err := publicKey(seed, origin)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(append([]byte(origin+"\n"), append([]byte{ed25519Key}, pub...)...))
	private := append([]byte{ed25519Key}, seed...)
	signer, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%x+%s", origin, hash[:4], base64.StdEncoding.EncodeToString(private)))
	if err != nil {
		return nil, fmt.Errorf("making the signer of %s: %w", origin, err)
	}
	return signer, nil
}

// VerifierKey gives the verifier key of the log named origin, in the form
// "<origin>+<hash>+<base64>" (c2sp.org/signed-note).
func VerifierKey(seed []byte, origin string) (string, error) {
	pub, err := publicKey(seed, origin)
	if err != nil {
		return "", err
	}
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return "", fmt.Errorf("making the verifier key of %s: %w", origin, err)
	}
	return vkey, nil
}

func publicKey(seed []byte, origin string) (ed25519.PublicKey, error) {
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("signing seed is %d bytes long, want %d", len(seed), SeedSize)
	}
	if err := checkOrigin(origin); err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey), nil
}

// checkOrigin holds an origin to what both a checkpoint's first line and a
// note's key name allow.
func checkOrigin(origin string) error {
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' || r == unicode.ReplacementChar
	}
	if origin == "" || strings.ContainsFunc(origin, bad) {
		return fmt.Errorf("log origin %q: want a name without spaces, control characters or '+', such as ingest.example.com/control", origin)
	}
	return nil
}

// CheckLogName refuses a name that is not [a-z0-9][a-z0-9-]{0,62}.
func CheckLogName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxLogName && name[0] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return fmt.Errorf("log name %q: want 1 to %d of a-z, 0-9 and '-', not beginning with '-'", name, maxLogName)
	}
	return nil
}

const maxLogName = 63
