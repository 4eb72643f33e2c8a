package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// A program that is built as users build it has nothing in it with which a
// guard of the ingest could be left out; one built to be weakened has.
func TestReleasedProgramHasNoSwitch(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "ingest", "guards.go"))
	if err != nil {
		t.Fatal(err)
	}
	// Names that say nothing else anywhere in the program.
	var names [][]byte
	for _, m := range regexp.MustCompile(`guard = "(refusals-are-recorded|rates-apart|device-as-operator)"`).FindAllSubmatch(source, -1) {
		names = append(names, m[1])
	}
	names = append(names, []byte("TRUSTPACK_WITHOUT_GUARD"), []byte("ingest.(*Server).expiredCertificate"))
	if len(names) != 5 {
		t.Fatalf("%d names to look for", len(names))
	}
	for tags, want := range map[string]bool{"": false, "weakened": true} {
		program := filepath.Join(t.TempDir(), "trustpack")
		if out, err := exec.Command("go", "build", "-tags", tags, "-o", program, ".").CombinedOutput(); err != nil {
			t.Fatalf("building the program: %v\n%s", err, out)
		}
		content, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if got := bytes.Contains(content, name); got != want {
				t.Errorf("built with tags %q: %s in the program: %v, want %v", tags, name, got, want)
			}
		}
	}
}
