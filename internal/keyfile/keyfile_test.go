package keyfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vendor.key")
	for _, size := range []int{0, 1, 64} {
		want := bytes.Repeat([]byte("k"), size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path, 64); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %q, %v", size, got, err)
		}
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("k"), 65), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path, 64)
	if err == nil || got != nil || !strings.Contains(err.Error(), "vendor.key is longer than 64 bytes") || strings.Contains(err.Error(), "kk") {
		t.Errorf("65 bytes: %q, %v", got, err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none"), 64); !os.IsNotExist(err) {
		t.Error(err)
	}
}
