package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/internal/durable"
)

// TestAStateIsOfOneVerifierAtATime: two that read what was accepted at once
// would both accept what only one of them may. Who comes second reads nothing.
func TestAStateIsOfOneVerifierAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *durable.LockedError
	if second, err := openState(dir); !errors.As(err, &held) || !strings.Contains(hintOf(err), "run this one when that has ended") {
		t.Errorf("a second verifier: %v, %v", second, err)
	}
	file := filepath.Join(t.TempDir(), "pack.zip")
	if err := os.WriteFile(file, []byte("no pack"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := func() (code int, out, said string) {
		var o, e bytes.Buffer
		code = run(t.Context(), []string{"verify", file, "--state", dir}, nil, &o, &e)
		return code, o.String(), e.String()
	}
	if code, out, said := verify(); code != exitUsage || out != "" || !strings.Contains(said, "is in use by process") {
		t.Errorf("exit %d, %q, %q", code, out, said)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it lets go of the state, whatever came out
		if code, out, _ := verify(); code != exitWrong || !strings.Contains(out, "verify: FAILED") {
			t.Errorf("exit %d, %q", code, out)
		}
	}
}
