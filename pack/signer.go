package pack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Signer makes signatures of the form that PublicKey.Verify checks. Build
// asks for two a pack, of a few hundred bytes each.
type Signer interface {
	Public() PublicKey
	Sign(message []byte) ([]byte, error)
}

// keySigner signs with a private key in memory. Both algorithms are
// deterministic here (RFC 8032; RFC 6979), so that a pack built twice has the
// same bytes.
type keySigner struct {
	public  PublicKey
	private crypto.Signer
}

// NewSigner signs with key, an ed25519.PrivateKey or a P-256
// *ecdsa.PrivateKey.
func NewSigner(key crypto.Signer) (Signer, error) {
	public, err := NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return keySigner{public, key}, nil
}

func (s keySigner) Public() PublicKey { return s.public }

func (s keySigner) Sign(message []byte) ([]byte, error) {
	opts, data := crypto.SignerOpts(crypto.Hash(0)), message
	if s.public.Type() == P256 {
		digest := sha256.Sum256(message)
		opts, data = crypto.SHA256, digest[:]
	}
	sig, err := s.private.Sign(nil, data, opts)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return sig, nil
}

// LoadSigner reads a private key file: OpenSSH, PKCS #8 or SEC 1 PEM, Ed25519
// or ECDSA P-256. passphrase is asked only where the file is encrypted; nil
// means that nobody can be asked.
func LoadSigner(file []byte, passphrase func() ([]byte, error)) (Signer, error) {
	key, err := ssh.ParseRawPrivateKey(file)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if passphrase == nil {
			return nil, errors.New("reading private key: it is encrypted and there is no passphrase")
		}
		pass, perr := passphrase()
		if perr != nil {
			return nil, fmt.Errorf("reading private key: asking for its passphrase: %w", perr)
		}
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(file, pass)
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, errors.New("reading private key: wrong passphrase")
		}
	}
	if err != nil {
		if _, perr := ParsePublicKey(file); perr == nil {
			return nil, errors.New("reading private key: this is a public key; give the private one, without .pub")
		}
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	switch k := key.(type) {
	case *ed25519.PrivateKey:
		return NewSigner(*k)
	case crypto.Signer:
		return NewSigner(k)
	}
	return nil, fmt.Errorf("reading private key: it is of type %T: want Ed25519 or ECDSA P-256", key)
}

// GenerateKey makes a key pair: the private key as an unencrypted OpenSSH
// file and the public key as its line, newline included. random is read for
// Ed25519; for P-256 the system's source is used whatever random is.
func GenerateKey(t KeyType, comment string, random io.Reader) (private, public []byte, err error) {
	if strings.ContainsAny(comment, "\r\n") {
		return nil, nil, errors.New("generating key: the comment must be one line")
	}
	var key crypto.Signer
	switch t {
	case Ed25519:
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, nil, fmt.Errorf("generating key: %w", err)
		}
		key = ed25519.NewKeyFromSeed(seed)
	case P256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), random)
		if err != nil {
			return nil, nil, fmt.Errorf("generating key: %w", err)
		}
		key = k
	default:
		return nil, nil, fmt.Errorf("generating key: type %q: want %s or %s", t, Ed25519, P256)
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, nil, fmt.Errorf("generating key: %w", err)
	}
	pub, err := NewPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	line := pub.Line()
	if comment != "" {
		line += " " + comment
	}
	return pem.EncodeToMemory(block), []byte(line + "\n"), nil
}
