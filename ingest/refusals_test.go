package ingest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trustpack/evidence"
)

// tooMany is a request of n events where fewer are allowed.
func (l *limited) tooMany(n int) []byte {
	var out []byte
	for range n {
		out = append(append(out, l.event(`{}`)...), '\n')
	}
	return out
}

// refusedEvents is how many refused events the control log holds at this
// moment, and in how many entries.
func (r *rig) refusedEvents() (events, entries int64) {
	r.t.Helper()
	for _, e := range r.control(evidence.EntryRefusal) {
		var f evidence.Refusal
		if err := unmarshal(e.Data, &f); err != nil {
			r.t.Fatal(err)
		}
		if f.Events > 0 {
			events, entries = events+f.Events, entries+1
		}
	}
	return events, entries
}

func TestRefusedEventsAreInTheLogBeforeTheAnswer(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.Lines = 2 })
	for n := range int64(4) { // within one second of the ingest's clock
		if status, _, p := post(t, l.client.client, "/v1/telemetry", l.tooMany(3)); status != 413 {
			t.Fatal(status, p)
		}
		if events, _ := l.refusedEvents(); events != 3*(n+1) {
			t.Fatalf("after %d answers the log holds %d refused events", n+1, events)
		}
	}
	_, before := l.refusedEvents()
	var wg sync.WaitGroup
	body := l.tooMany(3)
	for range 64 {
		wg.Go(func() {
			if status, _, p := post(t, l.client.client, "/v1/telemetry", body); status != 413 {
				t.Error(status, p)
			}
		})
	}
	wg.Wait()
	events, entries := l.refusedEvents()
	if events != 3*68 || entries-before > 32 {
		t.Errorf("%d refused events in %d entries", events, entries-before)
	}
	if b := l.s.st.tenant("nord").listBooks("", ""); len(b) != 1 || b[0].Refused != 3*68 || b[0].Received != 3*68 {
		t.Errorf("%+v", b)
	}
	l.sameAsFold()
}

// TestRefusalsOfTwoDaysAreTwoEntries has events refused just before and just
// after midnight, and the day closed at once.
func TestRefusalsOfTwoDaysAreTwoEntries(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.Lines = 1 })
	l.clock.add(14*time.Hour - 100*time.Millisecond)
	d := l.s.st.device("nord", "m-1")
	var r refused
	r.of(d)
	r.code, r.events = CodeTooManyLines, 2
	if err := l.s.refusals.add(r); err != nil {
		t.Fatal(err)
	}
	// One is counted in the old day and not yet in an entry when the first of the new day comes.
	old := make(chan error, 1)
	go func() { old <- l.s.refusals.add(r) }()
	await(t, "it is counted", func() bool {
		l.s.refusals.mu.Lock()
		defer l.s.refusals.mu.Unlock()
		for _, c := range l.s.refusals.kinds {
			if c.count == 1 {
				return true
			}
		}
		return false
	})
	l.clock.add(200 * time.Millisecond)
	if err := l.s.refusals.add(r); err != nil {
		t.Fatal(err)
	}
	if err := <-old; err != nil {
		t.Fatal(err)
	}
	b := l.s.st.tenant("nord").listBooks("", "")
	if len(b) != 2 || b[0].Refused != 4 || b[1].Refused != 2 {
		t.Errorf("%+v", b)
	}
	l.sameAsFold()
}

// TestNothingIsRefusedInAClosedDay closes day after day while refusals of it
// are on their way into the log.
func TestNothingIsRefusedInAClosedDay(t *testing.T) {
	l := newLimited(t, func(*Config) {})
	d := l.s.st.device("nord", "m-1")
	var wg sync.WaitGroup
	var added atomic.Int64
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r := refused{code: CodeTooManyLines, events: 1, path: "/" + itoa(int64(i))}
				r.of(d)
				if err := l.s.refusals.add(r); err != nil {
					t.Error(err)
					return
				}
				added.Add(1)
			}
		})
	}
	const days = 50
	for range days {
		before := added.Load()
		await(t, "something is refused in this day", func() bool { return added.Load() > before+4 })
		l.clock.add(day) // and some are on their way
		if err := l.s.Tick(t.Context(), l.clock.now()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	closed := l.control(evidence.EntryBooksClosed)
	now := map[string]evidence.Books{}
	for _, b := range l.s.st.tenant("nord").listBooks("", "") {
		now[b.Day] = b
	}
	for _, e := range closed {
		var then evidence.Books
		if err := unmarshal(e.Data, &then); err != nil {
			t.Fatal(err)
		}
		if now[then.Day] != then {
			t.Errorf("closed as %+v, and now %+v", then, now[then.Day])
		}
	}
	if len(closed) < days/2 {
		t.Errorf("only %d of %d days had refusals", len(closed), days)
	}
}
