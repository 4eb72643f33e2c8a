package git

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

const sshMagic = "SSHSIG"

// sshSignature is the blob inside the armour (OpenSSH PROTOCOL.sshsig).
type sshSignature struct {
	Version   uint32
	PublicKey string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

// checkSSH verifies an SSHSIG of namespace "git" over payload.
func (k keyring) checkSSH(armored string, payload []byte, at time.Time) signature {
	out := signature{kind: "ssh", status: "bad"}
	key, err := verifySSH(armored, payload)
	if err != nil {
		out.detail = err.Error()
		return out
	}
	fingerprint := ssh.FingerprintSHA256(key)
	declared, found := k.ssh[string(key.Marshal())]
	switch {
	case !found:
		out.status, out.signer, out.detail = "unknown-key", fingerprint, "no declared key made it"
	case !declared.validAt(at):
		out.signer, out.detail = declared.signer, "the declared key was not valid at the time that the object bears"
	default:
		out.status, out.signer, out.detail = "verified", declared.signer, fingerprint
	}
	return out
}

// verifySSH gives the key that made the signature, which fits the payload.
func verifySSH(armored string, payload []byte) (ssh.PublicKey, error) {
	block, rest := pem.Decode([]byte(armored + "\n"))
	if block == nil || block.Type != "SSH SIGNATURE" {
		return nil, errors.New("malformed armour")
	}
	if len(rest) > 0 {
		return nil, errors.New("bytes after the armour")
	}
	if len(block.Bytes) < len(sshMagic) || string(block.Bytes[:len(sshMagic)]) != sshMagic {
		return nil, errors.New("no SSHSIG preamble")
	}
	var sig sshSignature
	if err := ssh.Unmarshal(block.Bytes[len(sshMagic):], &sig); err != nil {
		return nil, fmt.Errorf("malformed SSHSIG: %w", err)
	}
	if sig.Version != 1 {
		return nil, fmt.Errorf("SSHSIG version %d, want 1", sig.Version)
	}
	if sig.Namespace != "git" {
		return nil, fmt.Errorf("made for namespace %q, not for git", sig.Namespace)
	}
	key, err := ssh.ParsePublicKey([]byte(sig.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("its public key: %w", err)
	}
	var digest []byte
	switch sig.Hash {
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	default:
		return nil, fmt.Errorf("hash algorithm %q, want sha256 or sha512", sig.Hash)
	}
	var inner ssh.Signature
	if err := ssh.Unmarshal([]byte(sig.Signature), &inner); err != nil {
		return nil, fmt.Errorf("malformed signature: %w", err)
	}
	if inner.Format == ssh.KeyAlgoRSA {
		return nil, errors.New("made with RSA and SHA-1, which SSHSIG does not allow")
	}
	signed := append([]byte(sshMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{sig.Namespace, sig.Reserved, sig.Hash, digest})...)
	if err := key.Verify(signed, &inner); err != nil {
		return nil, errors.New("it does not fit the commit")
	}
	return key, nil
}
