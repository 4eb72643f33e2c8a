package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trustpack/internal/durable"
)

// contents is a folder's files.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// backup gives a running ledger that went on since its folder was copied, the
// copy, and what is known elsewhere.
func backup(t *testing.T) (copyDir string, known map[string][]byte, vkeys map[string]string) {
	t.Helper()
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	known, vkeys = map[string][]byte{}, map[string]string{}
	grow := func(n int) {
		for _, log := range []string{"a", "b"} {
			fill(t, l, log, n)
			signed, err := l.Checkpoint(log)
			if err != nil {
				t.Fatal(err)
			}
			known[log], vkeys[log] = signed, mustKey(t, l, log)
		}
	}
	grow(300)
	fill(t, l, "c", 1) // without a checkpoint
	copyDir = filepath.Join(t.TempDir(), "copy")
	// As a disk snapshot of the running process: nothing is being written.
	if err := os.CopyFS(copyDir, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	grow(7)
	return copyDir, known, vkeys
}

func TestRestoreTestOfASoundCopy(t *testing.T) {
	copyDir, known, vkeys := backup(t)
	before, temp := contents(t, copyDir), t.TempDir()
	r, err := RestoreTest(copyDir, RestoreOptions{TempDir: temp, VerifierKeys: vkeys, Checkpoints: known, Now: testOptions().Now})
	if err != nil || !r.OK || len(r.Problems) != 0 || r.Files < 4 || r.Bytes == 0 || r.Replayed != 601 || !r.EndedAt.After(r.StartedAt) {
		t.Fatalf("%+v, %v", r, err)
	}
	got := map[string]string{}
	for _, log := range r.Logs {
		got[log.Log] = fmt.Sprintf("%d signed %d known %d behind %d %s", log.Size, log.Signed, log.Known, log.Behind, log.Key)
		if log.Log != "c" && log.Root != log.SignedRoot {
			t.Errorf("log %s: root %s, signed %s", log.Log, log.Root, log.SignedRoot)
		}
	}
	want := map[string]string{"a": "300 signed 300 known 307 behind 7 given", "b": "300 signed 300 known 307 behind 7 given", "c": "1 signed 0 known 0 behind 0 none"}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !maps.Equal(before, contents(t, copyDir)) {
		t.Error("the test changed the copy")
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("the test left %v, %v", left, err)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"problems":[]`) || !strings.Contains(string(b), `"ok":true`) {
		t.Errorf("%s, %v", b, err)
	}
	if r, err := RestoreTest(copyDir, RestoreOptions{}); err != nil || !r.OK {
		t.Errorf("without options: %+v, %v", r, err)
	}
}

func TestRestoreTestNamesWhatIsWrong(t *testing.T) {
	flip := func(name string, at int) func(*testing.T, string, *RestoreOptions) {
		return func(t *testing.T, dir string, _ *RestoreOptions) {
			path := filepath.Join(dir, filepath.FromSlash(name))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, string, *RestoreOptions)
		want  string
	}{
		"journal":     {flip("journal/0000000001.seg", 200), "good group follows"},
		"flush point": {flip("flushed.json", 30), "flushed.json"},
		"checkpoints": {flip("signed.jsonl", 60), "signed.jsonl"},
		"rolled back": {func(t *testing.T, dir string, _ *RestoreOptions) {
			if err := os.Truncate(filepath.Join(dir, "journal", "0000000001.seg"), segmentHeaderSize); err != nil {
				t.Fatal(err)
			}
		}, "contradicts its signed checkpoint of size 300"},
		"another tree": {func(t *testing.T, _ string, o *RestoreOptions) {
			l := open(t, t.TempDir(), testOptions())
			appendOne(t, l, "a", "else")
			var err error
			if o.Checkpoints["a"], err = l.Checkpoint("a"); err != nil {
				t.Fatal(err)
			}
		}, "the checkpoint kept elsewhere signs"},
		"a log is missing": {func(t *testing.T, _ string, o *RestoreOptions) { o.Checkpoints["z"] = o.Checkpoints["a"] }, "log z, logs/z: it is not in the copy"},
		"a foreign key":    {func(t *testing.T, _ string, o *RestoreOptions) { o.VerifierKeys["b"] = o.VerifierKeys["a"] }, "no signature by ingest.example.com/a"},
	} {
		copyDir, known, vkeys := backup(t)
		o := RestoreOptions{VerifierKeys: vkeys, Checkpoints: known}
		c.spoil(t, copyDir, &o)
		r, err := RestoreTest(copyDir, o)
		var said []string
		for _, p := range r.Problems {
			said = append(said, p.String())
		}
		if err != nil || r.OK || !strings.Contains(strings.Join(said, "; "), c.want) {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
	if _, err := RestoreTest(t.TempDir(), RestoreOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no ledger: %v", err)
	}
	// Nowhere to restore to: that is no result.
	copyDir, _, _ := backup(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := contents(t, copyDir)
	if r, err := RestoreTest(copyDir, RestoreOptions{TempDir: file}); err == nil || r.OK || !maps.Equal(before, contents(t, copyDir)) {
		t.Errorf("nowhere to restore to: %+v, %v", r, err)
	}
	dir := t.TempDir()
	open(t, dir, testOptions())
	var locked *durable.LockedError
	if _, err := RestoreTest(dir, RestoreOptions{}); !errors.As(err, &locked) {
		t.Errorf("a ledger in use: %v", err)
	}
}
