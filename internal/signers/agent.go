package signers

import (
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"trustpack/internal/keyfile"
	"trustpack/pack"
)

// agentKey signs through an SSH agent (draft-ietf-sshm-ssh-agent). It connects
// for each signature.
type agentKey struct {
	ctx     context.Context
	dial    func(context.Context) (io.ReadWriteCloser, error)
	timeout time.Duration
	public  pack.PublicKey
	blob    ssh.PublicKey
}

// openAgent finds the selected key in the agent that SSH_AUTH_SOCK names.
func openAgent(ctx context.Context, selector string, o Options) (pack.Signer, error) {
	k := &agentKey{ctx: ctx, timeout: o.Timeout}
	k.dial = func(ctx context.Context) (io.ReadWriteCloser, error) {
		return dialAgent(ctx, o.Getenv("SSH_AUTH_SOCK"))
	}
	var keys []*agent.Key
	if err := k.ask(func(a agent.ExtendedAgent) (err error) { keys, err = a.List(); return err }); err != nil {
		return nil, err
	}
	want, err := selected(selector, o)
	if err != nil {
		return nil, err
	}
	var found []*agent.Key
	for _, key := range keys {
		parsed, err := ssh.ParsePublicKey(key.Blob)
		if err != nil {
			continue // of a kind that nothing here knows
		}
		public, err := pack.ParsePublicKey(ssh.MarshalAuthorizedKey(parsed))
		if err != nil || !want(public, key.Comment) {
			continue // of a kind that signs no packs, such as RSA, or another
		}
		found, k.public = append(found, key), public
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("the agent has %d keys, none of which is it; it has to be Ed25519 or ECDSA P-256%s", len(keys), listed(keys))
	case 1:
		k.blob, err = ssh.ParsePublicKey(found[0].Blob)
		return k, err
	}
	return nil, fmt.Errorf("the agent has %d such keys; name one by its fingerprint%s", len(found), listed(found))
}

// selected says which key is meant.
func selected(selector string, o Options) (func(pack.PublicKey, string) bool, error) {
	switch {
	case selector == "":
		return func(pack.PublicKey, string) bool { return true }, nil
	case strings.HasPrefix(selector, "SHA256:"):
		return func(k pack.PublicKey, _ string) bool { return k.Fingerprint() == selector }, nil
	case strings.HasSuffix(selector, ".pub"):
		data, err := keyfile.Read(o.path(selector), keyfile.Max)
		if err != nil {
			return nil, err
		}
		key, err := pack.ParsePublicKey(data)
		return func(k pack.PublicKey, _ string) bool { return k.Equal(key) }, err
	}
	return func(_ pack.PublicKey, comment string) bool { return comment == selector }, nil
}

// listed names the agent's keys, for an error.
func listed(keys []*agent.Key) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "\n  %s %s %q", ssh.FingerprintSHA256(k), k.Type(), k.Comment)
	}
	return b.String()
}

func (k *agentKey) Public() pack.PublicKey { return k.public }

// Sign asks the agent, which may ask its user.
func (k *agentKey) Sign(message []byte) ([]byte, error) {
	var sig *ssh.Signature
	err := k.ask(func(a agent.ExtendedAgent) (err error) { sig, err = a.Sign(k.blob, message); return err })
	if err != nil {
		return nil, err
	}
	if sig.Format != k.blob.Type() || len(sig.Rest) > 0 {
		return nil, fmt.Errorf("the agent's signature is of form %q, want %q", sig.Format, k.blob.Type())
	}
	if k.public.Type() == pack.P256 {
		return derSignature(sig.Blob)
	}
	return sig.Blob, nil
}

// ask connects to the agent for one exchange.
func (k *agentKey) ask(do func(agent.ExtendedAgent) error) error {
	ctx, cancel := context.WithTimeout(k.ctx, k.timeout)
	defer cancel()
	conn, err := k.dial(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("the agent did not answer: %w", ctx.Err())
	case err != nil:
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // the exchange then fails
	err = do(agent.NewClient(conn))
	if stop() {
		conn.Close() // nothing is lost: the answer is here, or an error is
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the agent did not answer: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("the agent refused: %w", err)
	}
	return nil
}

// derSignature turns the agent's two mpints (RFC 5656, section 3.1.2) into DER
// (RFC 3279, section 2.2.3).
func derSignature(blob []byte) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if err := ssh.Unmarshal(blob, &rs); err != nil {
		return nil, fmt.Errorf("the agent's signature: %w", err)
	}
	if rs.R.Sign() <= 0 || rs.S.Sign() <= 0 {
		return nil, errors.New("the agent's signature has a number that is not positive")
	}
	return asn1.Marshal(rs)
}
