package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ingest"
)

// memoryBook is a Book of a log in memory.
type memoryBook struct {
	mu     sync.Mutex
	runs   []evidence.DrillRun // begun; the ended ones are overwritten
	open   bool
	broken error
}

func (b *memoryBook) Last(context.Context) (evidence.DrillRun, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.runs) == 0 {
		return evidence.DrillRun{}, false, b.broken
	}
	return b.runs[len(b.runs)-1], b.open, b.broken
}

func (b *memoryBook) Started(_ context.Context, run evidence.DrillRun) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs, b.open = append(b.runs, run), true
	return nil
}

func (b *memoryBook) Ended(_ context.Context, run evidence.DrillRun) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[len(b.runs)-1], b.open = run, false
	return nil
}

// steps lets a schedule look at each of the times.
func steps(t *testing.T, s *Schedule, now *time.Time, times ...string) {
	t.Helper()
	for _, at := range times {
		moment, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		*now = moment
		if s.since.IsZero() {
			s.since = moment
		}
		if err := s.step(context.Background(), s.Table()); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
	}
}

func scheduled(book Book, policy ingest.DrillPolicy, now *time.Time) *Schedule {
	return &Schedule{
		Table: func() Timetable { return policy }, Book: book, Now: func() time.Time { return *now },
		Target: func() (Target, error) { return Target{}, errors.New("no credentials today") },
		Failed: func(error) {},
	}
}

func dues(runs []evidence.DrillRun) string {
	var out []string
	for _, r := range runs {
		out = append(out, r.Due.Format("02T15:04"))
	}
	return strings.Join(out, " ")
}

func TestDrillsAreMadeOnceADay(t *testing.T) {
	var now time.Time
	book := &memoryBook{}
	policy := ingest.DrillPolicy{Daily: "02:30"}
	first := scheduled(book, policy, &now)
	// What was due before the first start was nobody's to make.
	steps(t, first, &now, "2026-08-01T12:00:00Z", "2026-08-02T02:29:59Z")
	if len(book.runs) != 0 {
		t.Fatalf("runs %s before the first was due", dues(book.runs))
	}
	steps(t, first, &now, "2026-08-02T02:30:00Z", "2026-08-02T02:30:30Z", "2026-08-02T23:59:00Z")
	// A restart, and another, on the same day.
	for range 2 {
		steps(t, scheduled(book, policy, &now), &now, "2026-08-02T03:00:00Z", "2026-08-03T02:00:00Z")
	}
	if got := dues(book.runs); got != "02T02:30" {
		t.Fatalf("runs %s", got)
	}
	// Three nights without a process, then late on the fourth day.
	steps(t, scheduled(book, policy, &now), &now, "2026-08-06T09:00:00Z", "2026-08-06T09:00:30Z")
	if got := dues(book.runs); got != "02T02:30 06T02:30" {
		t.Fatalf("runs %s", got)
	}
	late := book.runs[1]
	if late.MissedAll != 3 || len(late.Missed) != 3 || !late.Missed[0].Equal(time.Date(2026, 8, 3, 2, 30, 0, 0, time.UTC)) {
		t.Errorf("missed: %+v", late)
	}
	// A run that could not start is not-available, and says why.
	for _, r := range book.runs {
		if r.Verdict != NotAvailable || r.Why != "no credentials today" || r.EndedAt.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	// At another interval: what was made stays made.
	steps(t, scheduled(book, ingest.DrillPolicy{Every: 12 * time.Hour}, &now), &now, "2026-08-06T11:00:00Z", "2026-08-06T12:00:00Z", "2026-08-07T00:00:01Z")
	if got := dues(book.runs); got != "02T02:30 06T02:30 06T12:00 07T00:00" {
		t.Errorf("runs %s", got)
	}
}

func TestALongAbsenceIsCountedAndItsEndListed(t *testing.T) {
	last := time.Date(2025, 1, 1, 2, 30, 0, 0, time.UTC)
	list, all := missed(ingest.DrillPolicy{Daily: "02:30"}, last, last.AddDate(0, 0, 365))
	if all != 364 || len(list) != missedMost || !list[len(list)-1].Equal(last.AddDate(0, 0, 364)) {
		t.Errorf("%d of %d, until %v", len(list), all, list[len(list)-1])
	}
}

// A run that a process began and did not live to end is entered as cut off,
// and is not made again.
func TestARunThatWasCutOffIsAnEntry(t *testing.T) {
	policy := ingest.DrillPolicy{Daily: "02:30"}
	for at, want := range map[string][2]bool{ // whether it is called cut off: by who is alone, by who is not
		"2026-08-02T02:31:00Z": {true, false},
		"2026-08-02T03:00:00Z": {true, true},
	} {
		for i, alone := range []bool{true, false} {
			var now time.Time
			due := time.Date(2026, 8, 2, 2, 30, 0, 0, time.UTC)
			book := &memoryBook{runs: []evidence.DrillRun{{Due: due, StartedAt: due}}, open: true}
			s := scheduled(book, policy, &now)
			s.Alone = alone
			steps(t, s, &now, at)
			cut := !book.open && book.runs[0].Verdict == NotAvailable && strings.Contains(book.runs[0].Why, "cut off")
			if len(book.runs) != 1 || cut != want[i] || book.open == want[i] {
				t.Errorf("at %s, alone %v: %+v, open %v", at, alone, book.runs, book.open)
			}
		}
	}
	now := time.Now()
	if err := scheduled(&memoryBook{broken: errors.New("no log")}, policy, &now).step(context.Background(), policy); err == nil {
		t.Error("a book that cannot be read is no error")
	}
}

// serverBook is the book of an ingest in the same process.
type serverBook struct{ s *ingest.Server }

func (b serverBook) Last(context.Context) (evidence.DrillRun, bool, error) {
	run, open := b.s.LastDrills()
	return run, open, nil
}
func (b serverBook) Started(_ context.Context, r evidence.DrillRun) error {
	return b.s.DrillsStarted(r)
}
func (b serverBook) Ended(_ context.Context, r evidence.DrillRun) error { return b.s.DrillsEnded(r) }

// A real run on a schedule, which is told to end in the middle: it clears
// away, its results are in the log, and so is that it was cut off.
func TestAScheduledRunEndsCleanly(t *testing.T) {
	t.Parallel() // it waits more than it works
	target, server := realIngest(t, evidence.ClockSystem, time.Now)
	remote, err := RemoteBook(target)
	if err != nil {
		t.Fatal(err)
	}
	for name, book := range map[string]Book{"in the ingest's process": serverBook{server}, "through the admin API": remote} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			now := time.Now
			s := &Schedule{
				Table: func() Timetable { return ingest.DrillPolicy{Every: 15 * time.Second} }, Book: book, Now: now,
				Failed: func(err error) { t.Error(err) },
				Target: func() (Target, error) {
					out := target
					out.Progress = func(id string) {
						if id == "PR-01.tenant-in-path" {
							cancel()
						}
					}
					return out, nil
				},
			}
			s.since = now().Add(-time.Hour) // so that a run is due at once
			last, _, err := book.Last(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for s.Table().Slot(now()).Equal(last.Due) { // the other book made the run of this quarter of a minute
				time.Sleep(100 * time.Millisecond)
			}
			if err := s.step(ctx, s.Table()); err != nil {
				t.Fatal(err)
			}
			run, open, err := remote.Last(context.Background())
			if err != nil || open || run.Verdict != NotAvailable || !strings.Contains(run.Why, "told to end") || run.Passed < 5 || run.NotMade < 20 || run.Failed != 0 {
				t.Errorf("%+v, open %v, %v", run, open, err)
			}
			r, err := newRun(target)
			if err != nil {
				t.Fatal(err)
			}
			var devices struct {
				Devices []struct {
					ID    string               `json:"id"`
					State evidence.DeviceState `json:"state"`
				} `json:"devices"`
			}
			if err := r.either(context.Background(), "GET", "/v1/admin/devices", nil, &devices); err != nil {
				t.Fatal(err)
			}
			if len(devices.Devices) < 3 || slices.ContainsFunc(devices.Devices, func(d struct {
				ID    string               `json:"id"`
				State evidence.DeviceState `json:"state"`
			}) bool {
				return d.State != evidence.DeviceRevoked
			}) {
				t.Errorf("left behind: %+v", devices.Devices)
			}
			r.measure(context.Background())
			entries, err := r.entries(context.Background(), controlLog)
			if err != nil {
				t.Fatal(err)
			}
			types := map[string]int{}
			for _, e := range entries {
				types[e.audit.Type]++
			}
			if n := len(all()); types[evidence.EntryDrill]%n != 0 || types[evidence.EntryDrill] == 0 || types[evidence.EntryDrillsStarted] != types[evidence.EntryDrillsEnded] {
				t.Errorf("%d results, %d runs began and %d ended", types[evidence.EntryDrill], types[evidence.EntryDrillsStarted], types[evidence.EntryDrillsEnded])
			}
			// The same run is not made again.
			again := run
			again.Verdict = Passed
			if err := book.Started(context.Background(), again); err == nil || !strings.Contains(fmt.Sprint(err), "was made") {
				t.Errorf("the run began once more: %v", err)
			}
		})
	}
}
