package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/evidence"
)

// TestDoctor: its exit code says whether all may be read, and its table what
// may not.
func TestDoctor(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/check-runs") {
			w.WriteHeader(status)
		}
		fmt.Fprint(w, `{"login":"auditor","message":"of the test"}`)
	}))
	defer server.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "trustpack.yaml")
	write := func(collectors string) {
		t.Helper()
		if err := os.WriteFile(config, []byte("organisation: Acme\nsystem: meters\ninstance: acme.example/meters\n"+collectors), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doctor := func(args ...string) (int, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"doctor", "--config", config}, args...), nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	write("")
	if code, said := doctor(); code != exitUsage || !strings.Contains(said, "no source is configured") {
		t.Errorf("exit %d: %s", code, said)
	}
	write("collectors:\n  github: {base_url: " + server.URL + ", repositories: [{name: acme/meter}]}\n")
	t.Setenv("GITHUB_TOKEN", "")
	if code, said := doctor(); code != exitWrong || !strings.Contains(said, "GITHUB_TOKEN holds no token") {
		t.Errorf("without a token: exit %d: %s", code, said)
	}
	t.Setenv("GITHUB_TOKEN", "secret-of-the-test")
	if code, said := doctor(); code != exitOK || !strings.Contains(said, "github asks as user auditor; nothing was found that would be a gap") {
		t.Errorf("exit %d: %s", code, said)
	}
	status = http.StatusForbidden
	code, said := doctor()
	if code != exitWrong || !strings.Contains(said, "of 2 kinds something would be a gap") || !strings.Contains(said, "HTTP 403 of the test") || strings.Contains(said, "secret-of") {
		t.Errorf("exit %d: %s", code, said)
	}
	var checks []evidence.AccessCheck
	code, said = doctor("--json")
	if err := json.Unmarshal([]byte(said), &checks); err != nil || code != exitWrong || len(checks) < 5 {
		t.Errorf("exit %d, %v: %s", code, err, said)
	}
	status = http.StatusTeapot
	if code, said := doctor(); code != exitInconclusive || !strings.Contains(said, "unknown") {
		t.Errorf("exit %d: %s", code, said)
	}
}
