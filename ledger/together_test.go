package ledger

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"trustpack/internal/durable/crashfs"
)

// TestManyLogsBrokenTogether fails steps of a workload over so many logs that
// several are brought up at a time, so that their steps come in no fixed
// order, and reopens.
func TestManyLogsBrokenTogether(t *testing.T) {
	const logs = 5 * logsTogether
	o := testOptions()
	o.segmentBytes, o.flushLag = 32<<10, 1
	work := func(l *Ledger, w *witness) error {
		for round := range 4 {
			var batch []Entry
			for i := range logs {
				batch = append(batch, Entry{Log: fmt.Sprintf("log-%d", i), Data: fmt.Appendf(nil, "entry %d of log %d, %0200d", round, i, 0)})
			}
			if err := w.append(l, batch); err != nil {
				return err
			}
			letKeeperCatchUp(l)
		}
		return nil
	}
	run := func(at int, fault crashfs.Fault) (*crashfs.FS, *witness, error) {
		o, disk := o, crashfs.New()
		o.fsys = disk
		disk.FailAt(at, fault)
		w := &witness{acked: map[Position]Entry{}, signed: map[string][]string{}, opened: map[string]Checkpoint{}}
		l, err := Open("/ledger", o)
		if err != nil {
			return disk, w, err
		}
		if err = work(l, w); err == nil {
			return disk, w, l.Close()
		}
		l.Close() // it says again what has failed
		return disk, w, err
	}
	disk, w, err := run(0, crashfs.None)
	if err != nil || len(w.acked) != 4*logs {
		t.Fatal(len(w.acked), err)
	}
	steps := len(disk.Operations())
	if steps < 8*logs {
		t.Fatalf("%d steps: the logs were not brought up again and again", steps)
	}
	failed, tried := 0, 0
	for at := 1; at < steps; at += 1 + steps/12 {
		for fault := crashfs.Before; fault <= crashfs.CrashAfter; fault++ {
			tried++
			disk, w, err := run(at, fault)
			if err != nil {
				failed++
			}
			for what, after := range map[string]*crashfs.FS{"restart": disk.Restart(), "crash": disk.Reboot(0), "half": disk.Reboot(128)} {
				w := &witness{acked: maps.Clone(w.acked), maybe: slices.Clone(w.maybe), signed: map[string][]string{}, opened: w.opened}
				o := o
				o.fsys = after
				w.check(t, o)
				if t.Failed() {
					t.Fatalf("that was step %d, %s, then %s; the workload said: %v", at, fault, what, err)
				}
			}
		}
	}
	if failed < tried/2 {
		t.Errorf("of %d faults only %d were noticed", tried, failed)
	}
}
