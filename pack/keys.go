package pack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// KeyType names a signature algorithm together with its key. The verifier
// takes it from the pinned key, never from what it verifies.
type KeyType string

// The key types: pure Ed25519 (RFC 8032), and ECDSA over P-256 with SHA-256
// and DER signatures.
const (
	Ed25519 KeyType = "ed25519"
	P256    KeyType = "p256"
)

// PublicKey is a key that signatures are checked with. The zero value
// verifies nothing.
type PublicKey struct {
	key     crypto.PublicKey // ed25519.PublicKey or *ecdsa.PublicKey on P-256
	ssh     ssh.PublicKey
	Comment string // of the OpenSSH line it was read from
}

// NewPublicKey takes an ed25519.PublicKey or a P-256 *ecdsa.PublicKey.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, fmt.Errorf("the key is ECDSA over %s: want Ed25519 or ECDSA P-256", k.Curve.Params().Name)
		}
	default:
		return PublicKey{}, fmt.Errorf("the key is of type %T: want Ed25519 or ECDSA P-256", key)
	}
	sshKey, err := ssh.NewPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading public key: %w", err)
	}
	return PublicKey{key: key, ssh: sshKey}, nil
}

// ParsePublicKey reads one public key: an OpenSSH line ("ssh-ed25519 AAAA…
// comment") or a PEM block PUBLIC KEY.
func ParsePublicKey(text []byte) (PublicKey, error) {
	if block, rest := pem.Decode(text); block != nil {
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return PublicKey{}, errors.New("reading public key: this is a private key; give the public one (the file that ends in .pub)")
		}
		if block.Type != "PUBLIC KEY" {
			return PublicKey{}, fmt.Errorf("reading public key: PEM block is %q, want PUBLIC KEY", block.Type)
		}
		if len(strings.TrimSpace(string(rest))) > 0 {
			return PublicKey{}, errors.New("reading public key: something follows the PEM block; want one key a file")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return PublicKey{}, fmt.Errorf("reading public key: %w", err)
		}
		return NewPublicKey(key)
	}
	parsed, comment, options, rest, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return PublicKey{}, errors.New("reading public key: neither an OpenSSH public key line nor PEM")
	}
	if len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return PublicKey{}, errors.New("reading public key: want exactly one key, without options")
	}
	key, err := fromSSH(parsed)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading public key: %w", err)
	}
	key.Comment = comment
	return key, nil
}

// fromSSH takes a plain key. Those of security keys (sk-…) sign something
// else than the message, so they are not keys of this format.
func fromSSH(parsed ssh.PublicKey) (PublicKey, error) {
	cryptoKey, ok := parsed.(ssh.CryptoPublicKey)
	if t := parsed.Type(); !ok || t != ssh.KeyAlgoED25519 && t != ssh.KeyAlgoECDSA256 {
		return PublicKey{}, fmt.Errorf("the key is %s: want Ed25519 or ECDSA P-256 (%s, %s)", t, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256)
	}
	return NewPublicKey(cryptoKey.CryptoPublicKey())
}

// IsZero reports whether k holds no key.
func (k PublicKey) IsZero() bool { return k.key == nil }

// Equal reports whether both are the same key, whatever their comments.
func (k PublicKey) Equal(other PublicKey) bool {
	return !k.IsZero() && !other.IsZero() && k.Fingerprint() == other.Fingerprint()
}

// Type is the key's algorithm; empty for the zero value.
func (k PublicKey) Type() KeyType {
	switch k.key.(type) {
	case ed25519.PublicKey:
		return Ed25519
	case *ecdsa.PublicKey:
		return P256
	}
	return ""
}

// Fingerprint is OpenSSH's, "SHA256:" and unpadded base64.
func (k PublicKey) Fingerprint() string {
	if k.IsZero() {
		return ""
	}
	return ssh.FingerprintSHA256(k.ssh)
}

// Line is the key as an OpenSSH public key line without comment, no newline.
func (k PublicKey) Line() string {
	return k.ssh.Type() + " " + base64.StdEncoding.EncodeToString(k.ssh.Marshal())
}

// PEM is the key as a PEM block PUBLIC KEY (SubjectPublicKeyInfo).
func (k PublicKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

var errBadSignature = errors.New("the signature does not verify under the key")

// Verify checks sig over message: 64 bytes for Ed25519, DER over the SHA-256
// of message for P-256.
func (k PublicKey) Verify(message, sig []byte) error {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		if ed25519.Verify(key, message, sig) {
			return nil
		}
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		if ecdsa.VerifyASN1(key, digest[:], sig) {
			return nil
		}
	}
	return errBadSignature
}
