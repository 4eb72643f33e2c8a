// Package signers finds the key that signs a pack by a reference to it:
//
//	vendor.key             a private key file: OpenSSH (encrypted or not), PKCS #8 or SEC 1
//	ssh-agent:             the one key of the agent that can sign packs
//	ssh-agent:SELECTOR     that key of the agent: its SHA256: fingerprint, its comment, or a .pub file
//	awskms:KEY             a key of AWS KMS: its ARN, its ID, or alias/NAME
//	exec:COMMAND ARG…      whatever a command signs with; see openCommand
//
// Keys are Ed25519 or ECDSA P-256. A hardware module signs through the agent
// (`ssh-add -s`). Every signature is checked under the public key before it
// is given out.
package signers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"trustpack/internal/keyfile"
	"trustpack/pack"
)

// Schemes of references that are no files.
const (
	agentScheme = "ssh-agent:"
	kmsScheme   = "awskms:"
	execScheme  = "exec:"
)

// Options are what opening a key may need.
type Options struct {
	Dir        string                 // relative paths are seen from here, and commands run here; empty: the working folder
	Passphrase func() ([]byte, error) // of an encrypted key file; nil: nobody can be asked
	Getenv     func(string) string    // for SSH_AUTH_SOCK
	Stderr     io.Writer              // takes what a command says; nil: nothing is shown
	Timeout    time.Duration          // of a command, an agent or a service; zero: two minutes, for who must touch a token
	KMS        KMSConfig
}

const defaultTimeout = 2 * time.Minute

// Open finds the key. Signing ends when ctx does.
func Open(ctx context.Context, ref string, o Options) (pack.Signer, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	var s pack.Signer
	var err error
	switch {
	case ref == "":
		return nil, errors.New("no signing key is named")
	case strings.HasPrefix(ref, agentScheme):
		s, err = openAgent(ctx, strings.TrimPrefix(ref, agentScheme), o)
	case strings.HasPrefix(ref, kmsScheme):
		s, err = openKMS(ctx, strings.TrimPrefix(ref, kmsScheme), o)
	case strings.HasPrefix(ref, execScheme):
		s, err = openCommand(ctx, strings.TrimPrefix(ref, execScheme), o)
	default:
		s, err = openFile(o.path(ref), o)
	}
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", ref, err)
	}
	return checked{s, ref}, nil
}

func openFile(path string, o Options) (pack.Signer, error) {
	data, err := keyfile.Read(path, keyfile.Max)
	if err != nil {
		return nil, err
	}
	return pack.LoadSigner(data, o.Passphrase)
}

func (o Options) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(o.Dir, p)
}

// checked gives out no signature that does not hold.
type checked struct {
	pack.Signer
	ref string
}

func (c checked) Sign(message []byte) ([]byte, error) {
	sig, err := c.Signer.Sign(message)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", c.ref, err)
	}
	if err := c.Public().Verify(message, sig); err != nil {
		return nil, fmt.Errorf("signing with %s: what it gave is no signature by its own key %s", c.ref, c.Public().Fingerprint())
	}
	return sig, nil
}
