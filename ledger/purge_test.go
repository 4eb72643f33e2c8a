package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/internal/durable"
	"trustpack/internal/durable/crashfs"
)

// marked appends n entries whose payloads bear the marker and do not compress.
func marked(t testing.TB, l *Ledger, log, marker string, n int) {
	t.Helper()
	var batch []Entry
	for i := range n {
		batch = append(batch, Entry{Log: log, Data: fmt.Appendf(nil, `{"n":%d}`, i), Payload: fmt.Appendf(nil, "<%s-%d-%d>", marker, l.Size(log), i)})
	}
	if _, err := l.Append(context.Background(), batch...); err != nil {
		t.Fatal(err)
	}
}

// purgeEntry says in log "control" what a purge erases.
func purgeEntry(p Purge) (Entry, error) {
	plan, err := p.canonical()
	return Entry{Log: "control", Data: fmt.Appendf(nil, `{"by":"dora","erased":%s}`, plan)}, err
}

func mustPurge(t testing.TB, l *Ledger, log, before string) (Purge, Position) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, before)
	if err != nil {
		t.Fatal(err)
	}
	p, where, err := l.Purge(context.Background(), log, at, purgeEntry)
	if err != nil {
		t.Fatal(err)
	}
	return p, where
}

// holding names the files below dir that hold any of the texts.
func holding(t testing.TB, dir string, texts ...[]byte) (out []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(b, text) || strings.HasSuffix(path, segmentSuffix) && bytes.Contains(unstamped(b), text) {
				out = append(out, path)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPurgeLeavesNoByte greps the whole directory for payloads and keys, with
// the ledger running, and wants all else to be as it was.
func TestPurgeLeavesNoByte(t *testing.T) {
	dir := t.TempDir()
	o, clock := handOptions("2026-07-01T10:00:00Z")
	o.segmentBytes, o.flushLag = 32<<10, 3 // so that several segments wait to be used again
	l := open(t, dir, o)
	var keys [][]byte
	for day := 1; day <= 3; day++ {
		clock.set(fmt.Sprintf("2026-07-0%dT10:00:00Z", day))
		for range 40 {
			marked(t, l, "a", fmt.Sprintf("SECRET-OF-DAY-%d", day), 40)
			marked(t, l, "b", "NEIGHBOUR", 10)
		}
		key, err := os.ReadFile(filepath.Join(dir, payloadName("a", dayOf(clock.now()), keySuffix)))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	marked(t, l, "a", "SECRET-OF-DAY-3", 1) // in the journal alone
	leaves := entries(t, l, "a", 0, 1<<62)
	before, err := l.Checkpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SaveSnapshot("state", map[string]int64{"a": l.Size("a")}, writing("folded")); err != nil {
		t.Fatal(err)
	}
	old, day1, day2 := []byte("SECRET-OF-DAY-"), []byte("SECRET-OF-DAY-1-"), []byte("SECRET-OF-DAY-2-")
	for _, secret := range [][]byte{old, keys[0], keys[1]} {
		if len(holding(t, dir, secret)) == 0 {
			t.Fatalf("%q is nowhere: the test shows nothing", secret)
		}
	}
	p, at := mustPurge(t, l, "a", "2026-07-03T17:00:00Z")
	if p.Before != "2026-07-03" || p.FirstDay != "2026-07-01" || p.LastDay != "2026-07-02" || p.Days != 2 || p.First != 0 || p.End != 3200 || p.Count != 3200 || p.Bytes == 0 || at != (Position{"control", 0}) {
		t.Errorf("%+v at %v", p, at)
	}
	if left := holding(t, dir, day1, day2, keys[0], keys[1]); len(left) > 0 {
		t.Errorf("after the purge %v hold what was purged", left)
	}
	check := func(what string, l *Ledger) {
		t.Helper()
		for index, want := range map[int64]error{0: ErrPurged, 3199: ErrPurged, 3200: nil, 4800: nil} {
			if _, _, err := l.Payload("a", index); !errors.Is(err, want) {
				t.Errorf("%s: payload %d: %v, want %v", what, index, err, want)
			}
			if _, err := l.HasPayload("a", index, []byte("x")); !errors.Is(err, want) {
				t.Errorf("%s: comparing with payload %d: %v, want %v", what, index, err, want)
			}
		}
		if _, _, err := l.Payload("b", 0); err != nil {
			t.Errorf("%s: the neighbour's: %v", what, err)
		}
		if got := entries(t, l, "a", 0, 4801); strings.Join(got, "\n") != strings.Join(leaves, "\n") {
			t.Errorf("%s: the leaves are not what they were", what)
		}
		proof, err := l.InclusionProof("a", 5, 4801)
		vkey := mustKey(t, l, "a")
		if err == nil {
			_, _, err = VerifyProof(MarshalProof(5, proof, before), vkey, []byte(leaves[5]))
		}
		if err != nil {
			t.Errorf("%s: proof of a purged entry: %v", what, err)
		}
		if first, end, err := l.PayloadRange("a", time.Unix(0, 0), clock.now().Add(time.Hour)); err != nil || first != 0 || end < 4801 {
			t.Errorf("%s: %d to %d, %v", what, first, end, err)
		}
		if s, err := l.OpenSnapshot("state"); err != nil || s.Sizes["a"] != 4801 || s.Close() != nil {
			t.Errorf("%s: snapshot: %v", what, err)
		}
	}
	check("running", l)
	marked(t, l, "a", "LATER", 3)
	closeLedger(t, l)
	if r := wantProblem(t, "after the purge", dir, ""); r.Payloads != 1601+1200+3 {
		t.Errorf("fsck held %d payloads", r.Payloads)
	}
	l = open(t, dir, o)
	check("reopened", l)
	// The next one goes on from there.
	clock.set("2026-07-09T00:00:00Z")
	if p, at := mustPurge(t, l, "a", "2026-07-09T00:00:00Z"); p.First != 3200 || p.FirstDay != "2026-07-03" || p.Count != 1604 || at.Index != 1 {
		t.Errorf("%+v at %v", p, at)
	}
	if left := holding(t, dir, old, []byte("LATER"), keys[2]); len(left) > 0 {
		t.Errorf("%v hold what was purged", left)
	}
	if _, _, err := l.Purge(context.Background(), "a", clock.now(), purgeEntry); !errors.Is(err, ErrNothingToPurge) {
		t.Errorf("with nothing left: %v", err)
	}
	marked(t, l, "a", "AGAIN", 1)
	closeLedger(t, l)
	wantProblem(t, "after two purges", dir, "")
	r, err := RestoreTest(dir, RestoreOptions{TempDir: t.TempDir()})
	if err != nil || !r.OK {
		t.Errorf("restore test: %+v, %v", r.Problems, err)
	}
}

// TestPurgeNeverTakesTheRunningDay: neither today nor, where the clock goes
// back, a day that was purged is written to again.
func TestPurgeNeverTakesTheRunningDay(t *testing.T) {
	dir := t.TempDir()
	o, clock := handOptions("2026-07-01T10:00:00Z")
	l := open(t, dir, o)
	marked(t, l, "a", "one", 3)
	for _, before := range []string{"2026-07-01T09:00:00Z", "2026-07-02T00:00:00Z", "2027-01-01T00:00:00Z"} {
		at, _ := time.Parse(time.RFC3339, before)
		if day := l.PurgeDay(at); day.Format(time.DateOnly) != "2026-07-01" {
			t.Errorf("before %s is before %v", before, day)
		}
		if _, err := l.PlanPurge(context.Background(), "a", at); !errors.Is(err, ErrNothingToPurge) {
			t.Errorf("before %s: %v", before, err)
		}
	}
	if _, err := l.PlanPurge(context.Background(), "z", clock.now()); !errors.Is(err, ErrNotFound) {
		t.Errorf("no log: %v", err)
	}
	clock.set("2026-07-02T00:00:00Z")
	// An entry that says something else purges nothing.
	for _, entry := range []func(Purge) (Entry, error){
		func(Purge) (Entry, error) { return Entry{Log: "control", Data: []byte("{}")}, nil },
		func(Purge) (Entry, error) { return Entry{}, errors.New("no") },
	} {
		if _, _, err := l.Purge(context.Background(), "a", clock.now(), entry); err == nil || l.Size("control") > 0 {
			t.Errorf("%v, %d entries", err, l.Size("control"))
		}
	}
	if _, _, err := l.Payload("a", 0); err != nil {
		t.Fatal(err)
	}
	mustPurge(t, l, "a", "2026-07-02T00:00:00Z")
	clock.set("2026-07-01T10:00:00Z")
	marked(t, l, "a", "two", 1)
	closeLedger(t, l)
	l = open(t, dir, o)
	marked(t, l, "a", "three", 1)
	for index := int64(3); index < 5; index++ {
		if _, _, err := l.Payload("a", index); err != nil {
			t.Errorf("payload %d: %v", index, err)
		}
	}
	closeLedger(t, l)
	wantProblem(t, "a clock that went back", dir, "")
}

func TestFsckHoldsPurgesToTheLog(t *testing.T) {
	dir := t.TempDir()
	o, clock := handOptions("2026-07-01T10:00:00Z")
	l := open(t, dir, o)
	marked(t, l, "a", "one", 3)
	clock.set("2026-07-02T10:00:00Z")
	marked(t, l, "a", "two", 3)
	plan, err := l.PlanPurge(context.Background(), "a", clock.now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := plan.canonical()
	if err != nil {
		t.Fatal(err)
	}
	asked, err := l.Append(context.Background(), Entry{Log: "control", Data: fmt.Appendf(nil, `{"by":"ben","purge":%s}`, text)})
	if err != nil {
		t.Fatal(err)
	}
	// A device may send words like a purge's: it cannot know the digest.
	lie := bytes.Replace(text, []byte(plan.Commitments), []byte(strings.Repeat("0", 64)), 1)
	if _, err := l.Append(context.Background(), Entry{Log: "control", Data: fmt.Appendf(nil, `{"erased":%s}`, lie)}); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(filepath.Join(dir, payloadsDir))); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, o)
	mustPurge(t, l, "a", "2026-07-02T00:00:00Z")
	closeLedger(t, l)
	rewrite := func(change func(*purgeRecord)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			l, err := OpenReadOnly(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			change(&l.purges[0])
			if err := errors.Join(l.keepPurges(), l.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, c := range map[string]struct {
		spoil func(*testing.T, string)
		want  string
	}{
		"no record": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, purgesFile)) }, "entry 0: the payload is missing, as are those of 3 entries in all up to 2, and no purge erased them"},
		"all put back": {func(t *testing.T, dir string) {
			payloads := filepath.Join(dir, payloadsDir)
			if err := errors.Join(os.Remove(filepath.Join(dir, purgesFile)), os.RemoveAll(payloads), os.CopyFS(payloads, os.DirFS(old))); err != nil {
				t.Fatal(err)
			}
		}, "log control, purges.jsonl, entry 2: the entry says that 3 payloads of log a from before 2026-07-02 were erased, and no purge is recorded here: they may be there again"},
		"changed":       {func(t *testing.T, dir string) { flipFile(t, filepath.Join(dir, purgesFile), 40) }, "purges.jsonl: damaged"},
		"other digest":  {rewrite(func(r *purgeRecord) { r.Commitments = strings.Repeat("0", 64) }), "no such entry is in the log; "},
		"other entry":   {rewrite(func(r *purgeRecord) { r.At.Index = 7 }), "no such entry is in the log"},
		"asked for":     {rewrite(func(r *purgeRecord) { r.At = asked[0] }), "no such entry is in the log"},
		"wider":         {rewrite(func(r *purgeRecord) { r.End = 6 }), "no such entry is in the log"},
		"a key is left": {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "payloads", "a", "2026-07-01.key")) }, "2026-07-01.key is there still"},
	} {
		copyDir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copyDir, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		c.spoil(t, copyDir)
		wantProblem(t, what, copyDir, c.want)
	}
	wantProblem(t, "sound", dir, "")
}

// TestPurgeBrokenAnywhere breaks off a purge after each of its steps, and the
// opening that is to finish it before each of its own, and wants the next one
// to leave all of the payloads or none, as the log says.
func TestPurgeBrokenAnywhere(t *testing.T) {
	start := crashfs.New()
	o, clock := handOptions("2026-07-01T10:00:00Z")
	o.segmentBytes, o.flushLag = 2048, 1
	o.fsys = start
	l := open(t, "/ledger", o)
	for day := 1; day <= 2; day++ {
		clock.set(fmt.Sprintf("2026-07-0%dT10:00:00Z", day))
		for range 3 {
			marked(t, l, "a", "SECRET", 8)
			marked(t, l, "b", "NEIGHBOUR", 2)
			letKeeperCatchUp(l)
		}
	}
	key := start.Files()[filepath.Join("/ledger", payloadName("a", dayOf(clock.now())-1, keySuffix))]
	closeLedger(t, l)
	purge := func(disk *crashfs.FS, at int, fault crashfs.Fault) error {
		o := o
		o.fsys = disk
		l, err := Open("/ledger", o)
		if err != nil {
			t.Fatal(err)
		}
		marked(t, l, "a", "IN-THE-JOURNAL", 3)
		disk.FailAt(at, fault)
		_, _, err = l.Purge(context.Background(), "a", clock.now(), purgeEntry)
		l.Close()
		return err
	}
	whole := start.Restart()
	if err := purge(whole, 0, crashfs.None); err != nil {
		t.Fatal(err)
	}
	steps := len(whole.Operations())
	finished, left, reopened := 0, 0, 0
	check := func(what string, disk *crashfs.FS) {
		o := o
		o.fsys = disk
		l, err := Open("/ledger", o)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		stands := l.Size("control") == 1
		for index := range int64(24) {
			if _, _, err := l.Payload("a", index); !stands && err != nil || stands && !errors.Is(err, ErrPurged) {
				t.Errorf("%s: the purge stands in the log: %v; payload %d: %v", what, stands, index, err)
			}
		}
		if _, _, err := l.Payload("a", 24); err != nil {
			t.Errorf("%s: a later payload: %v", what, err)
		}
		if left++; stands {
			left, finished = left-1, finished+1
			for _, secret := range []string{"SECRET-0-", "SECRET-8-", "SECRET-16-", string(key)} {
				wantNowhere(t, disk.Files(), []byte(secret))
			}
		}
		closeLedger(t, l)
		if r, err := Fsck("/ledger", FsckOptions{fsys: disk}); err != nil || !r.OK() {
			t.Errorf("%s: fsck: %v, %v", what, r.Problems, err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	for at := 1; at <= steps; at++ {
		disk := start.Restart()
		if err := purge(disk, at, crashfs.CrashAfter); err == nil {
			continue // a step of the background that the purge does not need
		}
		for how, broken := range map[string]*crashfs.FS{"restart": disk.Restart(), "crash": disk.Reboot(0)} {
			what := fmt.Sprintf("purge broken off at step %d (%s), %s", at, whole.Operations()[at-1], how)
			check(what, broken.Restart())
			for n := 1 + at%5; ; n += 5 {
				again := broken.Restart()
				again.FailAt(n, []crashfs.Fault{crashfs.Crash, crashfs.CrashAfter}[n%2])
				o := o
				o.fsys = again
				if l, err := Open("/ledger", o); err == nil {
					l.Close()
					break
				}
				reopened++
				check(fmt.Sprintf("%s; opening broken off at step %d", what, n), again.Reboot(0))
			}
		}
	}
	if finished < 20 || left < 5 || reopened < 50 {
		t.Errorf("%d were finished, %d left all, %d openings broken off: that shows little", finished, left, reopened)
	}
}

// TestPurgedDaysAreSyncedUntilThePurgeIsKept breaks off between the entry of a
// purge and purgesFile: what is read again on the next start must be whole.
func TestPurgedDaysAreSyncedUntilThePurgeIsKept(t *testing.T) {
	disk, o := crashfs.New(), testOptions()
	o.fsys = disk
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	o.Now = func() time.Time { return at }
	l, err := Open("/ledger", o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		if _, err := l.Append(t.Context(), Entry{Log: "a", Data: []byte(`{"is":"data"}`), Payload: []byte("payload")}); err != nil {
			t.Fatal(err)
		}
		at = at.Add(24 * time.Hour)
	}
	a := l.trees()[0]
	a.await()
	if err := a.flush(disk, true); err != nil {
		t.Fatal(err)
	}
	a.purge(Purge{Log: "a", Before: "2026-07-02", End: 1})
	if _, err := a.bringUp(disk); err != nil {
		t.Fatal(err)
	}
	now, after := disk.Files(), disk.Reboot(0).Files()
	for _, name := range []string{"2026-07-01.idx", "2026-07-01.zst", "2026-07-02.idx"} {
		name = "/ledger/payloads/a/" + name
		if len(now[name]) == 0 || !bytes.Equal(now[name], after[name]) {
			t.Errorf("%s has %d bytes, of which a crash leaves %d", name, len(now[name]), len(after[name]))
		}
	}
}

// hungUp is a disk on which whoever asked for a purge hangs up while the purge
// is written down, when its entry is durable.
type hungUp struct {
	durable.FS
	hangUp func()
}

func (f hungUp) Rename(from, to string) error {
	if filepath.Base(to) == purgesFile {
		f.hangUp()
	}
	return f.FS.Rename(from, to)
}

// TestPurgeGoesOnWhenItsCallerIsGone wants a purge that is on record to be
// carried out, and answered for.
func TestPurgeGoesOnWhenItsCallerIsGone(t *testing.T) {
	o, clock := handOptions("2026-07-01T10:00:00Z")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	disk := crashfs.New()
	o.fsys = hungUp{disk, cancel}
	l := open(t, "/ledger", o)
	marked(t, l, "a", "SECRET", 3)
	clock.set("2026-07-02T10:00:00Z")
	if _, _, err := l.Purge(ctx, "a", clock.now(), purgeEntry); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Fatal("nobody hung up: the test shows nothing")
	}
	for name, b := range disk.Files() {
		if bytes.Contains(b, []byte("SECRET")) || strings.HasSuffix(name, keySuffix) {
			t.Errorf("%s is there still", name)
		}
	}
	closeLedger(t, l)
}

// TestNothingPurgedStaysInMemory reads what was purged meanwhile, as a reader
// does that began before, and wants neither key nor payloads to be kept.
func TestNothingPurgedStaysInMemory(t *testing.T) {
	o, clock := handOptions("2026-07-01T10:00:00Z")
	l := open(t, t.TempDir(), o)
	marked(t, l, "a", "one", 3)
	day := dayOf(clock.now())
	clock.set("2026-07-02T10:00:00Z")
	plan, err := l.PlanPurge(context.Background(), "a", clock.now())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.find("a")
	if err != nil {
		t.Fatal(err)
	}
	f, ok, err := a.lastWhere(l.fsys, true, func(timeEntry) bool { return true })
	if err != nil || !ok || f.day != day {
		t.Fatalf("%+v %v", f, err)
	}
	keep := func() error {
		_, frameErr := a.frameOf(l, 0)
		_, keyErr := a.keyFor(l, day)
		return errors.Join(frameErr, keyErr)
	}
	if err := keep(); err != nil || a.payloads.lastFrame.Load() == nil || a.payloads.lastKey.Load() == nil {
		t.Fatalf("nothing is kept, and the test shows nothing: %v", err)
	}
	days := slices.Clone(a.payloads.days) // as a reader has found them
	a.purge(plan)
	a.payloads.days = days
	if err := keep(); err != nil {
		t.Fatal(err)
	}
	if a.payloads.lastFrame.Load() != nil || a.payloads.lastKey.Load() != nil {
		t.Error("a frame or a key of a purged day is kept in memory")
	}
	a.payloads.days = nil // and so are the files that Close would close again
	closeLedger(t, l)
}
