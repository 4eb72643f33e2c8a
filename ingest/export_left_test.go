package ingest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNothingIsLeftOfAnExportThatWasCutOff: a kill in the middle of one leaves
// a tenant's rows in a file, where no purge looks. The next start removes it.
func TestNothingIsLeftOfAnExportThatWasCutOff(t *testing.T) {
	r := newRig(t)
	r.stop()
	left := filepath.Join(r.dir, "exports", "export-1")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte(`{"index":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
}
