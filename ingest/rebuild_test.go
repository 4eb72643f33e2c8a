package ingest

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// TestStateIsRebuilt: what a running ingest says of its state is made again
// from a copy of its logs alone, to the last number.
func TestStateIsRebuilt(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Replay.Window = 50 })
	ctx := t.Context()
	r.tenant("nord")
	r.tenant("sued")
	a := r.deviceClient(r.enrol("nord", "a"))
	r.enrol("sued", "lost")
	r.send(a, r.line(1, 1), r.line(2, 1), r.line(9, 1), `{"bad`, r.line(200, 1), r.line(3, 1))
	if _, err := r.admin("carla").RevokeDevice(ctx, "sued", "lost", "lost", "T-2"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin("ben").PostDrills(ctx, []evidence.DrillResult{{ID: "x", Control: "TR-01", Verdict: "passed"}}); err != nil {
		t.Fatal(err)
	}
	said, err := r.admin("carla").State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := said.Numbers
	if n.Tenants != 2 || n.Devices[evidence.DeviceActive] != 1 || n.Devices[evidence.DeviceRevoked] != 1 || n.Accepted != 5 || n.DeadLetters[LetterOpen] != 1 ||
		n.Drills != 1 || n.Books["nord"].Received != 6 || n.Books["nord"].DeadLettered != 1 || n.Credentials != 2 || n.Approvals != 2 || n.Roles[RoleAdmin] == 0 {
		t.Errorf("numbers: %+v", n)
	}
	moment := filepath.Join(copyDir(t, r.dir), "ledger")
	rebuilt, err := Rebuild(moment, said.Logs)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(rebuilt.StateSum, said) {
		t.Errorf("rebuilt\n%+v\nsaid\n%+v", rebuilt.StateSum, said)
	}
	// The same moment, out of logs that have gone on; and not another moment.
	r.send(a, r.line(201, 1))
	later := filepath.Join(copyDir(t, r.dir), "ledger")
	if again, err := Rebuild(later, said.Logs); err != nil || again.SHA256 != said.SHA256 {
		t.Errorf("later: %v, %s, want %s", err, again.SHA256, said.SHA256)
	}
	if whole, err := Rebuild(later, nil); err != nil || whole.SHA256 == said.SHA256 || whole.Numbers.Accepted != 6 || whole.Snapshot != SnapshotNone {
		t.Errorf("whole: %v, %+v", err, whole)
	}
	said.Logs["nord"]++
	if _, err := Rebuild(moment, said.Logs); !errors.Is(err, ErrShorter) {
		t.Errorf("a log that lacks an entry: %v", err)
	}
}

// TestRebuildHoldsTheSnapshot: one that says what the logs do not make is found.
func TestRebuildHoldsTheSnapshot(t *testing.T) {
	h := newHistory(t, 7)
	for range 300 {
		h.step()
	}
	h.close()
	dir := filepath.Join(h.dir, "ledger")
	good, err := Rebuild(dir, nil)
	if err != nil || good.Snapshot != SnapshotAgrees {
		t.Fatalf("%v, %+v", err, good)
	}
	// A snapshot that lies: somebody else's accepted count.
	seed, err := readSeed(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	led, err := ledger.Open(dir, ledger.Options{Instance: "test.example/ingest", Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	st, sizes, err := restoreState(led, good.Window)
	if err != nil {
		t.Fatal(err)
	}
	st.order[0].accepted++
	if err := led.SaveSnapshot(snapshotName, sizes, st.capture().write); err != nil {
		t.Fatal(err)
	}
	if err := led.Close(); err != nil {
		t.Fatal(err)
	}
	bad, err := Rebuild(dir, nil)
	if err != nil || bad.Snapshot != SnapshotDiffers || bad.SHA256 != good.SHA256 {
		t.Errorf("%v, %+v", err, bad)
	}
	if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if none, err := Rebuild(dir, nil); err != nil || none.Snapshot != SnapshotNone {
		t.Errorf("%v, %+v", err, none)
	}
}

func TestRebuildOfAnotherLedger(t *testing.T) {
	dir := t.TempDir()
	led, err := ledger.Open(dir, ledger.Options{Instance: "test.example/x", Seed: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := led.Append(t.Context(), ledger.Entry{Log: "evidence", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if _, err := led.Checkpoint("evidence"); err != nil {
		t.Fatal(err)
	}
	if err := led.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(dir, nil); !errors.Is(err, ErrNoIngest) {
		t.Errorf("%v", err)
	}
}
