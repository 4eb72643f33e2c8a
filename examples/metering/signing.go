package metering

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/crypto/ssh"
)

// sampleKey is the SSH key with which an invented person signs commits. Anybody
// can make it again from the name, which is why it is worth nothing elsewhere.
func sampleKey(login string) (ssh.Signer, error) {
	seed := sha256.Sum256([]byte("sample key, not a secret: " + login))
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
}

// AllowedSigners is the file of keys that may sign commits of the example, in
// the form of ssh-keygen(1), ALLOWED SIGNERS.
func AllowedSigners() ([]byte, error) {
	h, err := loadHistory()
	if err != nil {
		return nil, err
	}
	out := []byte("# Sample keys of invented people; anybody can make the private halves.\n")
	for _, login := range slices.Sorted(maps.Keys(h.People)) {
		if !h.People[login].Signs {
			continue
		}
		key, err := sampleKey(login)
		if err != nil {
			return nil, fmt.Errorf("making the sample key of %s: %w", login, err)
		}
		out = fmt.Appendf(out, "%s namespaces=\"git\" %s", h.address(login), ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	return out, nil
}

// signCommit signs as git does with gpg.format=ssh: an SSHSIG of namespace
// "git" over the commit without its signature (OpenSSH PROTOCOL.sshsig).
func signCommit(login string, c *object.Commit) (string, error) {
	key, err := sampleKey(login)
	if err != nil {
		return "", err
	}
	var o plumbing.MemoryObject
	if err := c.EncodeWithoutSignature(&o); err != nil {
		return "", err
	}
	r, err := o.Reader()
	if err != nil {
		return "", err
	}
	payload, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return "", err
	}
	const magic, namespace, hash = "SSHSIG", "git", "sha512"
	digest := sha512.Sum512(payload)
	signed := append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{namespace, "", hash, digest[:]})...)
	sig, err := key.Sign(nil, signed) // Ed25519 takes no randomness
	if err != nil {
		return "", err
	}
	blob := append([]byte(magic), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{1, key.PublicKey().Marshal(), namespace, "", hash, ssh.Marshal(sig)})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob})), nil
}
