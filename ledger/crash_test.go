package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/internal/durable"
	"trustpack/internal/durable/crashfs"
)

// witness remembers what a ledger promised: the entries it acknowledged, what
// else it was given, and the checkpoints it handed out.
type witness struct {
	acked  map[Position]Entry
	maybe  [][]Entry // batches that were refused: there whole, or not at all
	signed map[string][]string
	opened map[string]Checkpoint // those of signed that were verified
	other  *testWitness

	purges []triedPurge

	snapshot string   // the last that was saved
	saved    []string // those and what else may have been
}

// work drives a ledger through openings, appends to several logs, rotations,
// checkpoints and closings, until something fails.
func (w *witness) work(o Options) error {
	for round := range 2 {
		l, err := Open("/ledger", o)
		if err != nil {
			return err
		}
		if err := w.use(l, round); err != nil {
			return errors.Join(err, l.Close())
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (w *witness) use(l *Ledger, round int) error {
	for i := range 6 {
		data := func(s string) []byte {
			return fmt.Appendf(nil, `{"is":"%s %d/%d %s"}`, s, round, i, strings.Repeat("x", 40))
		}
		payload := func(s string) []byte { return fmt.Appendf(nil, "payload of %s %d/%d", s, round, i) }
		batch := []Entry{{"a", data("first"), payload("first")}, {"b", data("second"), nil}, {"a", data("third"), nil}, {"b", data("fourth"), payload("fourth")}}
		if err := w.append(l, batch); err != nil {
			return err
		}
		letKeeperCatchUp(l)
		if round == 0 && i == 4 || round == 1 && i == 3 {
			if err := w.purge(l); err != nil {
				return err
			}
		}
		if i%3 != 2 {
			continue
		}
		for _, log := range []string{"a", "b", "empty"} {
			signed, err := l.Checkpoint(log)
			if err != nil {
				return err
			}
			w.signed[log] = append(w.signed[log], string(signed))
		}
		if err := l.PublishCheckpoints(); err != nil {
			return err
		}
		if err := w.cosign(l); err != nil {
			return err
		}
		blob := fmt.Sprintf("state %d/%d", round, i)
		w.saved = append(w.saved, blob)
		if err := l.SaveSnapshot("state", map[string]int64{"a": l.Size("a")}, writing(blob)); err != nil {
			return err
		}
		w.snapshot = blob
	}
	return nil
}

// cosign has the last checkpoint of log a cosigned. After no crash may the
// witness know better than the ledger.
func (w *witness) cosign(l *Ledger) error {
	if w.other == nil {
		return nil
	}
	ask := func(_ context.Context, _ string, body []byte) ([]byte, int, error) {
		reply, status := w.other.addCheckpoint(body)
		return reply, status, nil
	}
	return l.Cosign(context.Background(), "a", Witness{Key: w.other.key}, ask)
}

// letKeeperCatchUp gives the keeper the time to let go of segments, so that
// each run comes by the same steps.
func letKeeperCatchUp(l *Ledger) {
	for range 100_000 {
		p, err := readPoint(l.fsys, l.dir)
		numbers, err2 := listSegments(l.fsys, l.dir)
		if err != nil || err2 != nil || l.Err() != nil || p.Segment+1 >= numbers[len(numbers)-1] {
			return
		}
		runtime.Gosched()
	}
}

func (w *witness) append(l *Ledger, batch []Entry) error {
	at, err := l.Append(context.Background(), batch...)
	if err != nil {
		w.maybe = append(w.maybe, batch)
		return err
	}
	for i, p := range at {
		w.acked[p] = batch[i]
	}
	return nil
}

// triedPurge is a purge that was asked for, and what it was to erase.
type triedPurge struct {
	Purge
	entry Entry
	keys  [][]byte
	done  bool // it was answered that it is
}

// purge erases what log a holds of days before today.
func (w *witness) purge(l *Ledger) error {
	tried := triedPurge{}
	_, at, err := l.Purge(context.Background(), "a", l.now(), func(p Purge) (Entry, error) {
		tried.Purge = p
		for day := p.FirstDay; day <= p.LastDay; {
			d, err := parseDay(day)
			if err != nil {
				return Entry{}, err
			}
			if key, err := durable.ReadFileIn(l.fsys, filepath.Join(l.dir, payloadName("a", d, keySuffix))); err == nil {
				tried.keys = append(tried.keys, key)
			}
			day = (d + 1).String()
		}
		plan, err := p.canonical()
		tried.entry = Entry{Log: "purges", Data: fmt.Appendf(nil, `{"erased":%s}`, plan)}
		return tried.entry, err
	})
	if tried.Log == "" {
		return err
	}
	if tried.done = err == nil; tried.done {
		w.acked[at] = tried.entry
	} else {
		w.maybe = append(w.maybe, []Entry{tried.entry})
	}
	w.purges = append(w.purges, tried)
	return err
}

// checkPurges wants each purge done, or nothing of it, and gives the entries
// whose payloads are gone.
func (w *witness) checkPurges(t *testing.T, l *Ledger, seen map[string]int, files map[string][]byte) map[Position]bool {
	t.Helper()
	gone := map[Position]bool{}
	for _, p := range w.purges {
		stands := seen[string(p.entry.Data)] > 0
		if p.done && !stands {
			t.Error("a purge that was done is not in the log")
		}
		if !stands {
			continue
		}
		for index := p.First; index < p.End; index++ {
			if _, _, err := l.Payload("a", index); !errors.Is(err, ErrPurged) && !errors.Is(err, ErrNoPayload) {
				t.Errorf("entry %d was purged: %v", index, err)
			}
			at := Position{"a", index}
			gone[at] = true
			if e, ok := w.acked[at]; ok && e.Payload != nil {
				wantNowhere(t, files, e.Payload)
			}
		}
		if len(p.keys) == 0 {
			t.Error("no keys are known")
		}
		for _, key := range p.keys {
			wantNowhere(t, files, key)
		}
	}
	return gone
}

// wantNowhere wants no file of a disk to hold the bytes.
func wantNowhere(t *testing.T, files map[string][]byte, secret []byte) {
	t.Helper()
	for name, content := range files {
		if bytes.Contains(content, secret) || strings.HasSuffix(name, ".seg") && bytes.Contains(unstamped(content), secret) {
			t.Errorf("%s holds %.20q, which was purged", name, secret)
		}
	}
}

// check holds a reopened ledger to its promises.
func (w *witness) check(t *testing.T, o Options) {
	t.Helper()
	l, err := Open("/ledger", o)
	if err != nil {
		t.Errorf("reopening: %v", err)
		return
	}
	defer l.Close()
	seen := map[string]int{}
	for _, log := range l.Logs() {
		for e, err := range l.Data(log, 0, math.MaxInt64) {
			if err != nil {
				t.Fatal(err)
			}
			seen[string(e)]++
		}
	}
	gone := w.checkPurges(t, l, seen, o.fsys.(*crashfs.FS).Files())
	for p, want := range w.acked {
		data := string(want.Data)
		err := checkEntry(l, p, want)
		if gone[p] && want.Payload != nil { // the leaf stays
			var leaf []byte
			if leaf, err = l.Entry(p.Log, p.Index); err == nil && !strings.HasPrefix(string(leaf), data[:len(data)-1]+`,"payload":"`) {
				err = fmt.Errorf("leaf %q", leaf)
			}
		}
		if err != nil {
			t.Errorf("acknowledged %v %q: %v", p, data, err)
		}
		if seen[data] != 1 {
			t.Errorf("acknowledged %q is there %d times", data, seen[data])
		}
		delete(seen, data)
	}
	for _, batch := range w.maybe {
		there := seen[string(batch[0].Data)]
		for _, e := range batch {
			if n := seen[string(e.Data)]; n != there || n > 1 {
				t.Errorf("of a refused batch the first entry is there %d times and %q %d times", there, e.Data, n)
			}
			delete(seen, string(e.Data))
		}
	}
	if len(seen) > 0 {
		t.Errorf("entries that nobody appended: %v", seen)
	}
	switch s, _, err := load(l, "state"); {
	case errors.Is(err, ErrNotFound) && w.snapshot == "":
	case err != nil || slices.Index(w.saved, s) < slices.Index(w.saved, w.snapshot):
		t.Errorf("the snapshot is %q, %v; saved was %q", s, err, w.snapshot)
	}
	for log := range w.signed { // what is handed out now must not be forgotten either
		signed, err := l.Checkpoint(log)
		if err != nil {
			t.Errorf("signing %s after the fault: %v", log, err)
		}
		w.signed[log] = append(slices.Clone(w.signed[log]), string(signed))
	}
	if err := w.append(l, []Entry{{Log: "a", Data: []byte(`{"is":"after the fault"}`), Payload: []byte("late")}, {Log: "c", Data: []byte("a new log")}}); err != nil {
		t.Errorf("appending after the fault: %v", err)
	}
	for log, notes := range w.signed {
		w.checkNotes(t, l, log, notes)
	}
	if _, err := l.Checkpoint("a"); err != nil {
		t.Error(err)
	}
	if err := w.cosign(l); err != nil {
		t.Errorf("cosigning after the fault: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if r, err := Fsck("/ledger", FsckOptions{Instance: o.Instance, Seed: o.Seed, fsys: o.fsys}); err != nil || !r.OK() {
		t.Errorf("fsck: %v, %v", r.Problems, err)
	}
}

// checkEntry holds what stands at a position, leaf and payload, to what was
// appended.
func checkEntry(l *Ledger, p Position, want Entry) error {
	leaf, err := l.Entry(p.Log, p.Index)
	if err != nil {
		return err
	}
	payload, salt, err := l.Payload(p.Log, p.Index)
	if want.Payload == nil {
		if !errors.Is(err, ErrNoPayload) || string(leaf) != string(want.Data) {
			return fmt.Errorf("leaf %q; payload: %v", leaf, err)
		}
		return nil
	}
	if err != nil || string(payload) != string(want.Payload) {
		return fmt.Errorf("payload %q, %v", payload, err)
	}
	sum := sha256.Sum256(append(salt, payload...))
	if made := strings.Replace(fmt.Sprintf(`%s,"payload":"%x"}`, want.Data[:len(want.Data)-1], sum), "{,", "{", 1); string(leaf) != made {
		return fmt.Errorf("leaf %q, want %q", leaf, made)
	}
	return nil
}

func (w *witness) checkNotes(t *testing.T, l *Ledger, log string, notes []string) {
	t.Helper()
	signed, err := l.Checkpoint(log)
	if err != nil {
		t.Errorf("signing %s after the fault: %v", log, err)
		return
	}
	vkey, err := l.VerifierKey(log)
	if err != nil {
		t.Fatal(err)
	}
	now, err := OpenCheckpoint(signed, vkey)
	if err != nil {
		t.Fatal(err)
	}
	history, err := l.Checkpoints(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		before, ok := w.opened[n]
		if !ok {
			if before, err = OpenCheckpoint([]byte(n), vkey); err != nil {
				t.Fatal(err)
			}
			w.opened[n] = before
		}
		proof, err := l.ConsistencyProof(log, before.Size, now.Size)
		if err != nil {
			t.Error(err)
		} else if err := CheckConsistency(before, now, proof); err != nil {
			t.Errorf("a checkpoint of %s was contradicted: %v", log, err)
		}
		tree, _, _ := strings.Cut(n, "\n\n") // what is kept may have a cosignature more
		if !slices.ContainsFunc(history, func(d DatedCheckpoint) bool { return strings.HasPrefix(d.Note, tree+"\n\n") }) {
			t.Errorf("the history of %s forgot a checkpoint of size %d", log, before.Size)
		}
	}
}

// TestEveryDurableStepBroken fails each changing operation of the workload
// once in each way and reopens: on the same machine, and after a crash that
// lost all, half or none of what was not synced. It takes one of the six
// ways for each operation, or all with LEDGER_EXHAUSTIVE set.
func TestEveryDurableStepBroken(t *testing.T) {
	o := testOptions()
	o.segmentBytes, o.flushLag = 600, 1 // a group each, so that segments are let go and made anew
	run := func(at int, fault crashfs.Fault) (*crashfs.FS, *witness, error) {
		o := o
		disk := crashfs.New()
		o.fsys = disk
		clock := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
		var mu sync.Mutex
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); clock = clock.Add(3 * time.Hour); return clock } // so that payloads are of several days
		disk.FailAt(at, fault)
		w := &witness{acked: map[Position]Entry{}, signed: map[string][]string{}, opened: map[string]Checkpoint{}, other: someWitness(t)}
		return disk, w, w.work(o)
	}
	disk, w, err := run(0, crashfs.None)
	if err != nil {
		t.Fatal(err)
	}
	steps := len(disk.Operations())
	kinds := map[string]bool{}
	for _, op := range disk.Operations() {
		kinds[strings.Fields(op)[0]] = true
	}
	anew := slices.ContainsFunc(disk.Operations(), func(op string) bool { return op == "write /ledger/"+segmentName(1) }) && !slices.Contains(disk.Operations(), "remove /ledger/"+segmentName(1))
	keys := 0
	for _, op := range disk.Operations() {
		if strings.HasPrefix(op, "rename to /ledger/payloads/a/") {
			keys++
		}
	}
	if keys < 3 || steps < 100 || len(kinds) < 6 || len(w.acked) != 50 || !anew {
		t.Fatalf("the workload has %d steps of %d kinds and %d entries: it does not test much", steps, len(kinds), len(w.acked))
	}
	all := os.Getenv("LEDGER_EXHAUSTIVE") != ""
	failed, tried := 0, 0
	for at := 1; at <= steps; at++ {
		for fault := crashfs.Before; fault <= crashfs.CrashAfter; fault++ {
			if !all && (at+int(fault))%7 != 0 {
				continue
			}
			tried++
			disk, w, err := run(at, fault)
			if err != nil {
				failed++
			}
			for what, after := range map[string]*crashfs.FS{
				"restart": disk.Restart(), "restart and crash": openedOnce(t, o, disk.Restart()).Reboot(0),
				"crash": disk.Reboot(0), "half": disk.Reboot(128), "lucky crash": disk.Reboot(256),
			} {
				w := &witness{acked: maps.Clone(w.acked), maybe: slices.Clone(w.maybe), purges: w.purges, signed: maps.Clone(w.signed), opened: w.opened, other: w.other.clone(), snapshot: w.snapshot, saved: w.saved}
				o := o
				o.fsys = after
				w.check(t, o)
				// What the restarted process read must be on the disk by now.
				if what != "restart" {
					continue // all that it read is
				}
				o.fsys = after.Reboot(0)
				w.maybe = append(w.maybe, []Entry{{Log: "a", Data: []byte(`{"is":"after the fault"}`), Payload: []byte("late")}, {Log: "c", Data: []byte("a new log")}})
				w.check(t, o)
				if t.Failed() {
					t.Fatalf("that was step %d (%s), %s, then %s; the workload said: %v", at, disk.Operations()[min(at, len(disk.Operations()))-1], fault, what, err)
				}
			}
		}
	}
	if failed < tried*4/5 {
		t.Errorf("of %d faults only %d were noticed", tried, failed)
	}
}

// openedOnce is the disk after a process opened the ledger and was killed.
func openedOnce(t *testing.T, o Options, disk *crashfs.FS) *crashfs.FS {
	t.Helper()
	o.fsys = disk
	l, err := Open("/ledger", o)
	if err != nil {
		t.Errorf("reopening: %v", err)
		return disk
	}
	after := disk.Restart() // from here on the process that is killed changes nothing
	l.Close()
	return after
}
