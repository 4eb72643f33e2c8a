package pack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestAllowedSigners(t *testing.T) {
	key := edSigner(t, 1).Public()
	line := key.Line()
	got, err := ParseAllowedSigners([]byte("# who may sign\r\n\r\n" +
		"vendor namespaces=\"git,trustpack-pack\" " + line + " the vendor\r\n" +
		"\"reviewer:Anna Berg,auditor\"\tvalid-after=\"20260701Z\",valid-before=\"202610011200Z\" " + line + "\n" +
		"auditor:Ben Valid-Before=\"20261001120005Z\" " + line))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"vendor||0|0", "reviewer|Anna Berg|2026-07-01T00:00:00Z|2026-10-01T12:00:00Z", "auditor||2026-07-01T00:00:00Z|2026-10-01T12:00:00Z", "auditor|Ben|0|2026-10-01T12:00:05Z",
	}
	if s := summaries(got); !slices.Equal(s, want) {
		t.Errorf("got  %q\nwant %q", s, want)
	}
	for _, a := range got {
		if !a.Key.Equal(key) {
			t.Errorf("another key: %+v", a)
		}
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ssh.NewPublicKey(large.Public())
	if err != nil {
		t.Fatal(err)
	}
	for text, why := range map[string]string{
		"": "no key in it", "# only words\n": "no key in it",
		"vendor":              "line 1: there is no key",
		"\n\nvendor nonsense": "line 3: want principals",
		"vendor " + string(ssh.MarshalAuthorizedKey(p384)): "want Ed25519 or ECDSA P-256",
		line:                                             "line 1: ",
		"boss " + line:                                   `principal "boss"`,
		"vendor@example.com " + line:                     "want a role",
		"* " + line:                                      "patterns",
		"vendor,!auditor " + line:                        "patterns",
		"vendor,, " + line:                               "want a role",
		"vendor: " + line:                                "identity is empty",
		"\"vendor: Anna\" " + line:                       "without space around",
		"\"vendor:Anna " + line:                          "do not end",
		"vendor:\"Anna Berg\" " + line:                   "quotes stand around",
		"vendor cert-authority " + line:                  "certificates are not",
		"vendor no-touch-required " + line:               "unknown option",
		"vendor namespaces=\"git\" " + line:              "not for packs",
		"vendor namespaces=\"*\" " + line:                "patterns",
		"vendor namespaces=trustpack-pack " + line:       `want namespaces="…"`,
		"vendor namespaces " + line:                      `want namespaces="…"`,
		"vendor valid-after=\"20260701\" " + line:        "does not end in Z",
		"vendor valid-before=\"20260701120000\" " + line: "write 20260701120000Z",
		"vendor valid-after=\"2026-07-01Z\" " + line:     "want YYYYMMDDZ",
		"vendor valid-after=\"20261301Z\" " + line:       "want YYYYMMDDZ",
		"vendor valid-after=\"202607011Z\" " + line:      "want YYYYMMDDZ",
		"vendor valid-after=\"20260701Z\",valid-after=\"20260701Z\" " + line:  "stands twice",
		"vendor valid-after=\"20260702Z\",valid-before=\"20260701Z\" " + line: "which is before",
	} {
		if _, err := ParseAllowedSigners([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want an error with %q", text, err, why)
		}
	}
}

func summaries(anchors []Anchor) []string {
	date := func(t time.Time) string {
		if t.IsZero() {
			return "0"
		}
		return stamp(t)
	}
	var out []string
	for _, a := range anchors {
		out = append(out, strings.Join([]string{a.Role, a.Identity, date(a.From), date(a.Until)}, "|"))
	}
	return out
}

// TestAllowedSignersAsSSHKeygenReadsThem: a file gives ssh-keygen and this
// verifier the same answer about the SSH signature, at each side of a key's
// validity.
func TestAllowedSignersAsSSHKeygenReadsThem(t *testing.T) {
	needTools(t, "ssh-keygen")
	s := edSigner(t, 1)
	c := content(t)
	c.Identity = "Example Metering GmbH"
	data := buildPack(t, c, s)
	entries := entriesOf(t, data)
	dir := t.TempDir()
	for name, body := range map[string][]byte{"sig": entries[find(t, entries, sshsigName)].body, "pack.json": entries[find(t, entries, packJSONName)].body} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	from, until := day(10), day(20)
	const form = "20060102150405Z"
	line := fmt.Sprintf("\"vendor:%s\" namespaces=\"%s\",valid-after=\"%s\",valid-before=\"%s\" %s\n", c.Identity, SSHNamespace, from.Format(form), until.Format(form), s.Public().Line())
	if err := os.WriteFile(filepath.Join(dir, "allowed"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	anchors, err := ParseAllowedSigners([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, at := range []time.Time{from.Add(-time.Second), from, day(15), until, until.Add(time.Second)} {
		in, err := os.Open(filepath.Join(dir, "pack.json"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "vendor:"+c.Identity, "-n", SSHNamespace, "-s", "sig", "-O", "verify-time="+at.Format(form))
		cmd.Dir, cmd.Stdin = dir, in
		out, theirs := cmd.CombinedOutput()
		in.Close()
		ours := verifyBytes(data, VerifyOptions{Anchors: anchors, Now: at})
		if (theirs == nil) != (ours.Exit == 0) || theirs != nil && ours.Exit != 3 {
			t.Errorf("at %s: ssh-keygen says %v (%s), we exit %d\n%s", stamp(at), theirs, out, ours.Exit, reportText(ours))
		}
		if theirs == nil {
			good++
		}
	}
	if good != 3 {
		t.Errorf("ssh-keygen accepts %d of the five times, want the three within", good)
	}
}
