// Package agefile encrypts files for recipients and decrypts them, in the
// format of age-encryption.org/v1, with native and SSH keys.
package agefile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"trustpack/internal/keyfile"
)

const (
	intro      = "age-encryption.org/"
	maxKeyFile = 1 << 20
)

// Is reports whether a file begins like an encrypted one.
func Is(r io.ReaderAt) bool {
	start := make([]byte, len(intro))
	n, err := r.ReadAt(start, 0)
	return n == len(start) && (err == nil || errors.Is(err, io.EOF)) && string(start) == intro
}

// Recipients reads recipients: each a native one (age1…), an SSH public key
// line (ssh-ed25519 or ssh-rsa), or a file that holds such lines. Empty lines
// and those that begin with "#" are let be.
func Recipients(args []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, arg := range args {
		if strings.HasPrefix(arg, "age1") || strings.HasPrefix(arg, "ssh-") {
			r, err := recipient(arg)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
			continue
		}
		more, err := recipientsOf(arg)
		if err != nil {
			return nil, fmt.Errorf("reading recipients: %w", err)
		}
		out = append(out, more...)
	}
	if len(out) == 0 {
		return nil, errors.New("no recipient is given")
	}
	return out, nil
}

func recipientsOf(path string) ([]age.Recipient, error) {
	data, err := keyfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	var out []age.Recipient
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "AGE-SECRET-KEY-") || strings.HasPrefix(line, "-----BEGIN") {
			return nil, fmt.Errorf("%s holds a private key: give the recipient's public one", path)
		}
		r, err := recipient(line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds none", path)
	}
	return out, nil
}

func recipient(line string) (age.Recipient, error) {
	if strings.HasPrefix(line, "ssh-") {
		r, err := agessh.ParseRecipient(line)
		if err != nil {
			return nil, fmt.Errorf("recipient %.40q: %w", line, err)
		}
		return r, nil
	}
	rs, err := age.ParseRecipients(strings.NewReader(line))
	if err != nil {
		return nil, fmt.Errorf("recipient %.40q: it is neither age1… nor an ssh-ed25519 or ssh-rsa public key", line)
	}
	return rs[0], nil
}

// Identities reads a file of private keys: native ones (AGE-SECRET-KEY-1…), a
// file of them encrypted with a passphrase, or an SSH private key, encrypted or
// not. passphrase is asked only where it is needed.
func Identities(path string, passphrase func() ([]byte, error)) ([]age.Identity, error) {
	data, err := keyfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading identity: %w", err)
	}
	ids, err := identities(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("reading identity %s: %w", path, err)
	}
	return ids, nil
}

func identities(data []byte, passphrase func() ([]byte, error)) ([]age.Identity, error) {
	switch {
	case bytes.HasPrefix(data, []byte("-----BEGIN AGE ENCRYPTED FILE")):
		return nil, errors.New("it is armored: undo that with 'age --decrypt', or write it without --armor")
	case bytes.HasPrefix(data, []byte("-----BEGIN ")):
		return sshIdentity(data, passphrase)
	case bytes.HasPrefix(data, []byte(intro)):
		plain, err := withPassphrase(data, passphrase)
		if err != nil {
			return nil, err
		}
		data = plain
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("it holds no private key: want a line AGE-SECRET-KEY-1…, or an SSH private key")
	}
	return ids, nil
}

func sshIdentity(data []byte, passphrase func() ([]byte, error)) ([]age.Identity, error) {
	id, err := agessh.ParseIdentity(data)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if missing.PublicKey == nil {
			return nil, errors.New("its public key is not in it: turn it into an OpenSSH key with 'ssh-keygen -p'")
		}
		id, err = agessh.NewEncryptedSSHIdentity(missing.PublicKey, data, passphrase)
	}
	if err != nil {
		return nil, err
	}
	return []age.Identity{id}, nil
}

// withPassphrase decrypts a file of identities.
func withPassphrase(data []byte, passphrase func() ([]byte, error)) ([]byte, error) {
	pass, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("asking for its passphrase: %w", err)
	}
	id, err := age.NewScryptIdentity(string(pass))
	if err != nil {
		return nil, err
	}
	in, err := age.Decrypt(bytes.NewReader(data), id)
	if err != nil {
		return nil, errors.New("wrong passphrase, or not encrypted with one")
	}
	return io.ReadAll(io.LimitReader(in, maxKeyFile))
}

// Encrypt writes r encrypted for all of the recipients, in a stream.
func Encrypt(w io.Writer, r io.Reader, to []age.Recipient) error {
	out := bufio.NewWriterSize(w, 1<<18)
	sealed, err := age.Encrypt(out, to...)
	if err == nil {
		_, err = io.Copy(sealed, r)
	}
	if err == nil {
		err = sealed.Close()
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("encrypting: %w", err)
	}
	return nil
}

// ErrNotForUs says that none of the identities is a recipient's.
var ErrNotForUs = errors.New("it is encrypted for other recipients than this identity")

// Decrypt writes what r was made from, in a stream. What w has taken before an
// error is not to be relied on.
func Decrypt(w io.Writer, r io.Reader, ids []age.Identity) error {
	in, err := age.Decrypt(bufio.NewReaderSize(r, 1<<18), ids...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return fmt.Errorf("decrypting: %w", ErrNotForUs)
	}
	if err == nil {
		_, err = io.Copy(w, in)
	}
	if err != nil {
		return fmt.Errorf("decrypting: %w", err)
	}
	return nil
}
