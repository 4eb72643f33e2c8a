package locker

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// backup makes a copy of a ledger with two logs, one of them signed.
func backup(t *testing.T) (dir string, vkeys map[string]string) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Open(live, ledger.Options{Instance: "example.com/test", Seed: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []string{"a", "b"} {
		if _, err := l.Append(t.Context(), ledger.Entry{Log: log, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	vkey, err := l.VerifierKey("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(filepath.Join(dir, "ledger"), os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	return dir, map[string]string{"a": vkey}
}

func TestRestoreTestsAreEvidence(t *testing.T) {
	now := time.Date(2026, 8, 26, 3, 0, 0, 0, time.UTC)
	tick := func() time.Time { now = now.Add(time.Second); return now }
	l, err := Open(filepath.Join(t.TempDir(), "evidence"), Options{Instance: "example.com/test", Seed: make([]byte, 32), Now: tick})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir, vkeys := backup(t)
	put := func(keys map[string]string) evidence.Collected {
		t.Helper()
		r, err := ledger.RestoreTest(filepath.Join(dir, "ledger"), ledger.RestoreOptions{VerifierKeys: keys, Now: tick})
		if err != nil {
			t.Fatal(err)
		}
		entry, err := l.PutRestoreTest(t.Context(), RestoreTest{Records: []ledger.RestoreRecord{r}, Copy: dir, By: "ben", Account: "example.com/test", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem})
		if err != nil || entry.Kind != KindRestoreTests || entry.Completeness != evidence.Complete {
			t.Fatalf("%+v, %v", entry, err)
		}
		got, err := l.Get(entry.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	verdicts := func(e evidence.Collected) string {
		out := ""
		for _, it := range e.Population.Items {
			a := it.Attributes
			out += fmt.Sprintf("%v ok %v match %v keys %v signed %v latest %v by %v; ", a["ledger"], a["ok"], a["roots_match"], a["keys_given"], a["signed_logs"], a["latest"], a["by"])
		}
		return out
	}
	const good = "ledger ok true match true keys true signed 1 latest "
	first := put(vkeys)
	if got := verdicts(first); got != good+"true by ben; " {
		t.Errorf("%s", got)
	}
	if err := l.Check(first.ID); err != nil {
		t.Error(err)
	}
	rec, err := l.Record(first.ID)
	if err != nil || len(rec.RawFiles) != 1 || first.Provenance.Principal != "ben" || !first.Snapshot || !first.Window.Contains(first.CollectedAt) || first.Provenance.Requests[0].ReplySHA256 != rec.RawFiles[0].SHA256 {
		t.Errorf("%+v", first)
	}
	if got := verdicts(put(nil)); got != good+"false by ben; ledger ok true match true keys false signed 1 latest true by ben; " {
		t.Errorf("without keys: %s", got)
	}
	// The signed log is gone from the journal of the copy.
	if err := os.WriteFile(filepath.Join(dir, "ledger", "logs", "a", "level-0"), []byte("something else, of 32 bytes length"), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := put(vkeys)
	last := failed.Population.Items[len(failed.Population.Items)-1].Attributes
	if len(failed.Population.Items) != 3 || last["ok"] != false || last["roots_match"] != false || len(last["problems"].([]any)) == 0 || last["latest"] != true {
		t.Errorf("%s %v", verdicts(failed), last["problems"])
	}
}

func TestRootsMatchOnlyWithoutAProblem(t *testing.T) {
	logs := []ledger.RestoredLog{{Log: "a", Signed: 1, SignedRoot: "r", Key: "given"}, {Log: "b"}}
	for name, c := range map[string]struct {
		problems []ledger.Problem
		logs     []ledger.RestoredLog
		want     bool
	}{
		"none":                 {nil, logs, true},
		"with the log":         {[]ledger.Problem{{Log: "a"}}, logs, false},
		"with the whole":       {[]ledger.Problem{{File: "flushed.json"}}, logs, false},
		"with an unsigned log": {[]ledger.Problem{{Log: "b"}}, logs, true},
		"nothing is signed":    {nil, logs[1:], false},
	} {
		it := restoreItem(RestoreTest{}, ledger.RestoreRecord{Logs: c.logs, Problems: c.problems})
		if it.Attributes["roots_match"] != c.want {
			t.Errorf("%s: roots match: %v", name, it.Attributes["roots_match"])
		}
	}
}
