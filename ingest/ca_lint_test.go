package ingest

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestLintFindsNothing asks zlint, by which 'step certificate lint' judges,
// about each certificate and list of revoked ones that is made, the root online
// and offline. Rules of the CA/Browser Forum are left out: they are for CAs that
// browsers trust, and ask for a country, certificate policies and names of the
// public DNS.
func TestLintFindsNothing(t *testing.T) {
	zlint := os.Getenv("TRUSTPACK_ZLINT")
	if zlint == "" {
		t.Skip("TRUSTPACK_ZLINT names no zlint; .ci/run builds one")
	}
	for _, offline := range []bool{false, true} {
		r := newRig(t, func(c *Config) { c.Certificates.CRLURL = "http://crl.example.com/issuing.crl" })
		if offline {
			r.stop()
			if _, err := TakeRootOffline(r.dir, OfflineOptions{To: filepath.Join(t.TempDir(), "away"), Now: r.clock.now}); err != nil {
				t.Fatal(err)
			}
			r.start()
			pair, err := r.admin("root.admin").AddOperator(t.Context(), "dora", []string{RoleApprover}, "a certificate of the issuing CA")
			if err != nil {
				t.Fatal(err)
			}
			r.pairs["dora"] = pair
		}
		r.tenant("acme")
		device, gone := r.enrol("acme", "m1"), r.enrol("acme", "gone")
		if _, err := r.admin("carla").RevokeDevice(t.Context(), "acme", "gone", "stolen", ""); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{
			"root": r.s.ca.root.Raw, "issuing": r.s.ca.issuer.Raw, "device": device.Certificate[0], "revoked device": gone.Certificate[0],
			"operator": r.pairs["dora"].Certificate[0], "server": r.s.certificate.Load().Certificate[0],
		}
		for name, der := range files {
			lint(t, zlint, offline, name, "CERTIFICATE", der)
		}
		lint(t, zlint, offline, "list", "X509 CRL", r.crl().Raw)
		if offline {
			der, p := r.s.crlFile(crlRootPath)
			if p != nil {
				t.Fatal(p)
			}
			lint(t, zlint, offline, "the root's list", "X509 CRL", der)
		}
	}
}

// lint has zlint judge one file by the RFCs' and Mozilla's rules.
func lint(t *testing.T, zlint string, offline bool, name, block string, der []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if block == "CERTIFICATE" {
		args = []string{"-includeSources", "RFC5280,RFC5480,RFC5891,RFC8813,Community,Mozilla", file}
	}
	out, err := exec.Command(zlint, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var found map[string]struct{ Result, Details string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	passed := 0
	for rule, x := range found {
		switch x.Result {
		case "pass":
			passed++
		case "NA", "NE", "info":
		default:
			t.Errorf("root offline %v, %s: %s: %s %s", offline, name, x.Result, rule, x.Details)
		}
	}
	if passed < 5 {
		t.Errorf("root offline %v, %s: zlint tried %d rules", offline, name, passed)
	}
}

// TestCRLIsElsewhere: certificates say what the configuration says of where the
// list is, the server's own too, and that of a restart.
func TestCRLIsElsewhere(t *testing.T) {
	elsewhere := "http://crl.example.com/issuing.crl"
	r := newRig(t)
	r.tenant("acme")
	r.config.Certificates.CRLURL = elsewhere
	r.restart()
	for name, c := range map[string]*x509.Certificate{"device": r.enrol("acme", "m1").Leaf, "server": r.s.certificate.Load().Leaf} {
		if got := c.CRLDistributionPoints; len(got) != 1 || got[0] != elsewhere {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, bad := range []string{"crl.example.com", "ftp://crl.example.com/x", "http:///x", "http://me:secret@crl.example.com/x", "http://crl.example.com/#x"} {
		c := r.config
		c.Certificates.CRLURL = bad
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "ingest.certificates.crl_url: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestLongOrganisation: the names of CAs have at most 64 characters (RFC 5280,
// appendix A.1), whole ones.
func TestLongOrganisation(t *testing.T) {
	clock := newClock()
	dir := filepath.Join(t.TempDir(), "ingest")
	if err := Init(dir, InitOptions{Instance: "test.example/ingest", Org: strings.Repeat("Ü", 25) + "ber GmbH", FirstAdmin: "root.admin", Now: clock.now}); err != nil {
		t.Fatal(err)
	}
	long := caName(strings.Repeat("Ü", 60), " telemetry issuing")
	if n := utf8.RuneCountInString(long); n != 64 || !utf8.ValidString(long) || !strings.HasSuffix(long, " telemetry issuing") {
		t.Errorf("%d characters: %q", n, long)
	}
	issuing, err := TakeRootOffline(dir, OfflineOptions{To: filepath.Join(t.TempDir(), "away"), Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{issuing.Subject.CommonName, issuing.Issuer.CommonName} {
		if n := utf8.RuneCountInString(name); n > 64 || !strings.HasPrefix(name, "ÜÜÜ") {
			t.Errorf("%d characters: %q", n, name)
		}
	}
}
