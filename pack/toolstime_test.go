package pack

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTimestampByOpenSSL verifies timestamps with OpenSSL: by the line that a
// report prints, by the script, and by the pack's own README.txt, all long
// after the authority's certificates have expired; a changed token by none.
func TestTimestampByOpenSSL(t *testing.T) {
	needTools(t, "bash", "unzip", "openssl", "date", "base64", "sha256sum", "ssh-keygen", "python3")
	kinds(t, func(t *testing.T, isRSA bool) {
		a := newTestTSA(t, isRSA)
		a.cert = a.certify("Stamps", a.key, a.middle, a.middleKey, usageUntil(a.genTime.Add(time.Hour)))
		data, o := stampedPack(t, a)
		o.Now = a.genTime
		r := verifyBytes(data, o)
		if r.Exit != 0 {
			t.Fatalf("exit %d\n%s", r.Exit, reportText(r))
		}
		_, line, found := strings.Cut(reportText(r), "openssl ts ")
		if !found {
			t.Fatalf("no command in\n%s", reportText(r))
		}
		line, _, _ = strings.Cut("openssl ts "+line, "\n")
		dir, key := unpack(t, data, []byte(o.Keys[0].Line()+"\n"))
		roots := filepath.Join(t.TempDir(), "roots.pem")
		if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		script, err := filepath.Abs(filepath.Join("testdata", "check-timestamp.sh"))
		if err != nil {
			t.Fatal(err)
		}
		shell := func(command string) (string, error) {
			cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", command)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "KEY="+key, "TSA_ROOTS="+roots, "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		text, err := os.ReadFile(filepath.Join(dir, readmeName))
		if err != nil {
			t.Fatal(err)
		}
		ways := map[string]string{
			"the report's line": strings.ReplaceAll(line, "tsa-root.pem", `"$TSA_ROOTS"`),
			"the script":        "bash '" + script + "' . \"$TSA_ROOTS\"",
			"README.txt":        commands(t, string(text)),
		}
		for name, way := range ways {
			if out, err := shell(way); err != nil || !strings.Contains(out, "Verification: OK") {
				t.Errorf("%s: %v\n%s\n%s", name, err, way, out)
			}
		}
		tsr := filepath.Join(dir, "signatures", "vendor-1.tsr")
		token, err := os.ReadFile(tsr)
		if err != nil {
			t.Fatal(err)
		}
		token[len(token)-5] ^= 1
		if err := os.WriteFile(tsr, token, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, way := range ways {
			if out, err := shell(way); err == nil {
				t.Errorf("%s accepts a changed token:\n%s", name, out)
			}
		}
	})
}
