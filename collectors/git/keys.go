package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"
)

// Signers declares whose keys may sign commits.
type Signers struct {
	SSH            []SSHKey `yaml:"ssh"`
	AllowedSigners string   `yaml:"allowed_signers"` // file of ssh-keygen's ALLOWED SIGNERS form
	OpenPGP        []string `yaml:"openpgp"`         // files of public keys, armoured or binary
}

// SSHKey is one declared SSH key.
type SSHKey struct {
	Signer string `yaml:"signer"` // e-mail address
	Key    string `yaml:"key"`    // "ssh-ed25519 AAAA…"
}

type keyring struct {
	ssh map[string]declaredKey // by wire form
	pgp openpgp.EntityList
}

type declaredKey struct {
	signer        string
	after, before time.Time // zero: no bound
}

func (d declaredKey) validAt(t time.Time) bool {
	return (d.after.IsZero() || !t.Before(d.after)) && (d.before.IsZero() || t.Before(d.before))
}

func (s Signers) load() (keyring, error) {
	k := keyring{ssh: map[string]declaredKey{}}
	for i, d := range s.SSH {
		key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(d.Key))
		if err != nil || len(bytes.TrimSpace(rest)) > 0 {
			return k, fmt.Errorf("ssh key %d (%s) is no OpenSSH public key; want one line as in id_ed25519.pub", i+1, d.Signer)
		}
		if d.Signer == "" {
			return k, fmt.Errorf("ssh key %d has no signer", i+1)
		}
		k.ssh[string(key.Marshal())] = declaredKey{signer: d.Signer}
	}
	if s.AllowedSigners != "" {
		data, err := os.ReadFile(s.AllowedSigners)
		if err != nil {
			return k, fmt.Errorf("reading allowed_signers: %w", err)
		}
		if err := k.allow(data); err != nil {
			return k, fmt.Errorf("%s:%w", s.AllowedSigners, err)
		}
	}
	for _, name := range s.OpenPGP {
		entities, err := readPGP(name)
		if err != nil {
			return k, fmt.Errorf("reading OpenPGP keys from %s: %w", name, err)
		}
		k.pgp = append(k.pgp, entities...)
	}
	return k, nil
}

func readPGP(name string) (openpgp.EntityList, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(data, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----")) {
		return nil, errors.New("it holds a private key; give the public one")
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		return openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	}
	return openpgp.ReadKeyRing(bytes.NewReader(data))
}

// allow reads the lines of an allowed signers file (ssh-keygen(1), ALLOWED
// SIGNERS): principals, options, key. Certificate authorities are refused by
// name, since commits signed under one would silently stay unknown.
func (k keyring) allow(data []byte) error {
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		principals, rest, ok := strings.Cut(line, " ")
		if !ok {
			return fmt.Errorf("%d: want principals, options and a key", n+1)
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
		if err != nil {
			return fmt.Errorf("%d: no key can be read after %q", n+1, principals)
		}
		d := declaredKey{signer: strings.Trim(principals, `"`)}
		forGit := true
		for _, o := range options {
			name, value, _ := strings.Cut(o, "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(name) {
			case "cert-authority":
				return fmt.Errorf("%d: cert-authority is not supported; list the keys themselves", n+1)
			case "namespaces":
				forGit = matchesAny(strings.Split(value, ","), "git")
			case "valid-after":
				d.after, err = parseValidity(value)
			case "valid-before":
				d.before, err = parseValidity(value)
			default:
				return fmt.Errorf("%d: unknown option %q", n+1, name)
			}
			if err != nil {
				return fmt.Errorf("%d: %s: %w", n+1, name, err)
			}
		}
		if forGit {
			k.ssh[string(key.Marshal())] = d
		}
	}
	return nil
}

func matchesAny(patterns []string, s string) bool {
	globs, err := compileGlobs(patterns)
	return err == nil && len(matching(globs, []string{s})) == 1
}

// parseValidity reads YYYYMMDD[HHMM[SS]][Z], which is UTC here in both forms:
// a local time would mean another instant on each machine.
func parseValidity(s string) (time.Time, error) {
	s = strings.TrimSuffix(s, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(s) == len(layout) {
			return time.Parse(layout, s)
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time of the form YYYYMMDD[HHMM[SS]]Z", s)
}
