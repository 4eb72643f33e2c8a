package agefile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sshKey gives an OpenSSH private key, encrypted where a passphrase is given,
// and its public line.
func sshKey(t *testing.T, passphrase string) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "c")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "c", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(sshPub))
}

func native(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// locked is a file of identities encrypted with a passphrase.
func locked(t *testing.T, text, passphrase string) string {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(10)
	var out bytes.Buffer
	if err := Encrypt(&out, strings.NewReader(text), []age.Recipient{r}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func sealed(t *testing.T, data []byte, to ...string) []byte {
	t.Helper()
	rs, err := Recipients(to)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Encrypt(&out, bytes.NewReader(data), rs); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asks(pass string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(pass), nil }
}

func neverAsks(t *testing.T) func() ([]byte, error) {
	return func() ([]byte, error) {
		t.Error("a passphrase is asked for")
		return nil, errors.New("nobody is there")
	}
}

func TestEachKindOfKeyDecryptsTheSameBytes(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("evidence "), 50_000)
	id := native(t)
	private, public := sshKey(t, "")
	lockedKey, lockedPublic := sshKey(t, "open sesame")
	file := write(t, dir, "team", "# the auditors\n\n"+public+lockedPublic)
	box := sealed(t, data, id.Recipient().String(), file)
	if !Is(bytes.NewReader(box)) || Is(bytes.NewReader(data)) || Is(bytes.NewReader(nil)) {
		t.Error("an encrypted file is not told from another")
	}
	for name, c := range map[string]struct {
		key  string
		pass func() ([]byte, error)
	}{
		"native":                  {"# mine\n" + id.String() + "\n", neverAsks(t)},
		"native, with passphrase": {locked(t, id.String()+"\n", "hush"), asks("hush")},
		"SSH":                     {private, neverAsks(t)},
		"SSH, encrypted":          {lockedKey, asks("open sesame")},
	} {
		ids, err := Identities(write(t, dir, "id", c.key), c.pass)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var out bytes.Buffer
		if err := Decrypt(&out, bytes.NewReader(box), ids); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%s: %v, %d bytes", name, err, out.Len())
		}
	}
}

func TestWhatDoesNotDecrypt(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("evidence "), 50_000)
	id := native(t)
	lockedKey, lockedPublic := sshKey(t, "open sesame")
	box := sealed(t, data, id.Recipient().String(), strings.TrimSpace(lockedPublic))
	mine, err := Identities(write(t, dir, "mine", id.String()), neverAsks(t))
	if err != nil {
		t.Fatal(err)
	}
	other, err := Identities(write(t, dir, "other", native(t).String()), neverAsks(t))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := Identities(write(t, dir, "wrong", lockedKey), asks("nonsense"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(box)
	flipped[len(box)/2] ^= 1
	for name, c := range map[string]struct {
		box []byte
		ids []age.Identity
		not bool // ErrNotForUs
	}{
		"another identity":    {box, other, true},
		"wrong passphrase":    {box, wrong, false},
		"a bit flipped":       {flipped, mine, false},
		"cut off":             {box[:len(box)-1], mine, false},
		"cut at a chunk":      {box[:len(box)-len(box)%65552], mine, false},
		"something after it":  {append(bytes.Clone(box), 'x'), mine, false},
		"not an age file":     {data, mine, false},
		"an age header alone": {[]byte(intro + "v1\n"), mine, false},
	} {
		err := Decrypt(io.Discard, bytes.NewReader(c.box), c.ids)
		if err == nil || errors.Is(err, ErrNotForUs) != c.not {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: the error holds the passphrase: %v", name, err)
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	dir := t.TempDir()
	private, _ := sshKey(t, "")
	id := native(t)
	for name, c := range map[string]struct{ text, want string }{
		"secret as recipient":     {id.String(), "private key"},
		"SSH secret as recipient": {private, "private key"},
		"line that is none":       {"# x\nhello", "line 2"},
		"empty":                   {"# nobody\n", "holds none"},
		"ECDSA":                   {"ecdsa-sha2-nistp256 AAAA", "neither"},
		"too long":                {strings.Repeat("#\n", maxKeyFile), "longer"},
	} {
		_, err := Recipients([]string{write(t, dir, "r", c.text)})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), id.String()[:25]) {
			t.Errorf("recipient, %s: %v", name, err)
		}
	}
	for _, args := range [][]string{nil, {"age1nonsense"}, {"ssh-ed25519 AAAA"}, {filepath.Join(dir, "none")}} {
		if _, err := Recipients(args); err == nil {
			t.Errorf("%q are recipients", args)
		}
	}
	for name, c := range map[string]struct {
		text string
		pass func() ([]byte, error)
		want string
	}{
		"recipient":        {id.Recipient().String(), neverAsks(t), "no private key"},
		"armored":          {"-----BEGIN AGE ENCRYPTED FILE-----\n", neverAsks(t), "armored"},
		"wrong passphrase": {locked(t, id.String(), "hush"), asks("nonsense"), "wrong passphrase"},
		"nobody to ask":    {locked(t, id.String(), "hush"), func() ([]byte, error) { return nil, errors.New("nobody") }, "asking for its passphrase"},
		"other PEM":        {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", neverAsks(t), ""},
		"damaged":          {"AGE-SECRET-KEY-1XYZ", neverAsks(t), "no private key"},
	} {
		_, err := Identities(write(t, dir, "i", c.text), c.pass)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "nonsense") || strings.Contains(err.Error(), "1XYZ") {
			t.Errorf("identity, %s: %v", name, err)
		}
	}
}
