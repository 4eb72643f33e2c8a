package pack

import (
	"bytes"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// SSHNamespace is the namespace of the SSHSIG over pack.json, to be given to
// ssh-keygen with -n.
const SSHNamespace = "trustpack-pack"

// SSHIdentity is the vendor's name in trust/allowed_signers, to be given to
// ssh-keygen with -I.
const SSHIdentity = "vendor"

const (
	sshsigMagic = "SSHSIG"
	sshsigBegin = "-----BEGIN SSH SIGNATURE-----\n"
	sshsigEnd   = "-----END SSH SIGNATURE-----\n"
	sshsigHash  = "sha512"
	sshsigWidth = 70
)

// sshsigBlob and sshsigMessage are the two structures of OpenSSH's
// PROTOCOL.sshsig, after the magic preamble.
type sshsigBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

type sshsigMessage struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// sshsigSigned is what the key signs for message.
func sshsigSigned(message []byte) []byte {
	digest := sha512.Sum512(message)
	return append([]byte(sshsigMagic), ssh.Marshal(sshsigMessage{SSHNamespace, "", sshsigHash, digest[:]})...)
}

// signSSH makes an armored SSHSIG of message.
func signSSH(message []byte, s Signer) ([]byte, error) {
	raw, err := s.Sign(sshsigSigned(message))
	if err != nil {
		return nil, err
	}
	format, blob := s.Public().ssh.Type(), raw
	if s.Public().Type() == P256 {
		var rs struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(raw, &rs); err != nil || len(rest) > 0 {
			return nil, errors.New("signing: the signer's ECDSA signature is not DER")
		}
		blob = ssh.Marshal(rs)
	}
	return armorSSH(ssh.Marshal(sshsigBlob{
		Version:   1,
		PublicKey: s.Public().ssh.Marshal(),
		Namespace: SSHNamespace,
		Hash:      sshsigHash,
		Signature: ssh.Marshal(ssh.Signature{Format: format, Blob: blob}),
	})), nil
}

func armorSSH(body []byte) []byte {
	text := base64.StdEncoding.EncodeToString(append([]byte(sshsigMagic), body...))
	var out bytes.Buffer
	out.WriteString(sshsigBegin)
	for len(text) > sshsigWidth {
		out.WriteString(text[:sshsigWidth] + "\n")
		text = text[sshsigWidth:]
	}
	out.WriteString(text + "\n" + sshsigEnd)
	return out.Bytes()
}

// parseSSH reads an armored SSHSIG in the one form that armorSSH writes and
// gives the key that it names, which nobody has vouched for.
func parseSSH(armored []byte) (sshsigBlob, PublicKey, error) {
	fail := func(what string) (sshsigBlob, PublicKey, error) {
		return sshsigBlob{}, PublicKey{}, errors.New("reading SSH signature: " + what)
	}
	text, ok := bytes.CutPrefix(armored, []byte(sshsigBegin))
	if !ok {
		return fail("no armor")
	}
	text, ok = bytes.CutSuffix(text, []byte(sshsigEnd))
	if !ok {
		return fail("the armor has no end")
	}
	body, err := strictBase64(string(bytes.ReplaceAll(text, []byte("\n"), nil)))
	if err != nil {
		return fail("the armor holds something other than base64")
	}
	body, ok = bytes.CutPrefix(body, []byte(sshsigMagic))
	if !ok {
		return fail("no SSHSIG preamble")
	}
	var b sshsigBlob
	if err := ssh.Unmarshal(body, &b); err != nil {
		return fail(err.Error())
	}
	if !bytes.Equal(armorSSH(ssh.Marshal(b)), armored) {
		return fail("it is not in the canonical form")
	}
	parsed, err := ssh.ParsePublicKey(b.PublicKey)
	if err != nil {
		return fail("its public key: " + err.Error())
	}
	key, err := fromSSH(parsed)
	if err != nil {
		return fail("its public key: " + err.Error())
	}
	if b.Version != 1 || b.Namespace != SSHNamespace || b.Reserved != "" || b.Hash != sshsigHash {
		return fail(fmt.Sprintf("version %d, namespace %q, hash %q: want 1, %q, %q", b.Version, b.Namespace, b.Hash, SSHNamespace, sshsigHash))
	}
	return b, key, nil
}

// verifySSH checks an armored SSHSIG of message under key.
func verifySSH(message, armored []byte, key PublicKey) error {
	b, named, err := parseSSH(armored)
	if err != nil {
		return err
	}
	if !named.Equal(key) {
		return fmt.Errorf("it is by %s, not by %s", named.Fingerprint(), key.Fingerprint())
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil {
		return fmt.Errorf("reading SSH signature: %w", err)
	}
	if sig.Format != key.ssh.Type() || len(sig.Rest) > 0 || !bytes.Equal(ssh.Marshal(ssh.Signature{Format: sig.Format, Blob: sig.Blob}), b.Signature) {
		return fmt.Errorf("its signature is of form %q, want %q and nothing else", sig.Format, key.ssh.Type())
	}
	if key.Type() == P256 {
		var rs struct{ R, S *big.Int }
		if err := ssh.Unmarshal(sig.Blob, &rs); err != nil || !bytes.Equal(ssh.Marshal(rs), sig.Blob) {
			return errors.New("its signature is not two numbers, each in its one form")
		}
	}
	if err := key.ssh.Verify(sshsigSigned(message), &ssh.Signature{Format: sig.Format, Blob: sig.Blob}); err != nil {
		return errBadSignature
	}
	return nil
}
