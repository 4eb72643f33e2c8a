package ingest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trustpack/evidence"
)

func (r *rig) letters(tenant string) map[int64]DeadLetter {
	r.t.Helper()
	list, err := r.admin("erin").DeadLetters(r.t.Context(), tenant)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[int64]DeadLetter{}
	for _, l := range list {
		out[l.Index] = l
	}
	return out
}

// loosen restarts the ingest with a schema that takes any number.
func (r *rig) loosen() {
	r.t.Helper()
	wide := strings.ReplaceAll(powerSchema, `"max": 500`, `"max": 100000`)
	if err := os.WriteFile(filepath.Join(r.config.Schemas, "power.v1.schema.json"), []byte(wide), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.restart()
}

func TestDeadLetterIsReplayedOnceWithItsLineage(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	ctx := t.Context()
	pair := r.enrol("nord", "m-1")
	bad := r.line(2, 9000)
	rec := r.send(r.deviceClient(pair), r.line(1, 1), bad, r.line(3, 1), `{"no"`)
	if rec.DeadLettered != 2 {
		t.Fatalf("%+v", rec)
	}
	came := r.clock.now()
	r.clock.add(26 * time.Hour)
	if err := r.s.Tick(ctx, r.clock.now()); err != nil { // the day on which it came is closed
		t.Fatal(err)
	}
	_, err := r.admin("ben").ReplayDeadLetter(ctx, "nord", 1, "try", "")
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "range.violation") {
		t.Errorf("it does not say why: %s", p.Detail)
	}
	if l := r.letters("nord")[1]; l.State != LetterOpen || r.s.led.Size("nord") != 4 {
		t.Errorf("a replay that was refused left %+v and %d entries", l, r.s.led.Size("nord"))
	}
	r.loosen()
	_, err = r.admin("erin").ReplayDeadLetter(ctx, "nord", 1, "x", "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("ben").ReplayDeadLetter(ctx, "nord", 1, " ", "")
	refusedWith(t, err, CodeInvalid)
	_, err = r.admin("ben").ReplayDeadLetter(ctx, "sued", 1, "x", "")
	refusedWith(t, err, CodeNotFound)
	_, err = r.admin("ben").ReplayDeadLetter(ctx, "nord", 0, "x", "") // an event
	refusedWith(t, err, CodeNotFound)
	_, err = r.admin("ben").ReplayDeadLetter(ctx, "nord", 3, "x", "")
	refusedWith(t, err, CodeConflict) // no rules make that one an event
	seen := *r.s.st.recordOf(r.s.st.device("nord", "m-1")).LastSeen
	l, err := r.admin("ben").ReplayDeadLetter(ctx, "nord", 1, "range was too narrow", "T-1")
	if err != nil {
		t.Fatal(err)
	}
	if l.State != LetterReplayed || l.ReplayedAs == nil || *l.ReplayedAs != 4 || l.DecidedBy != "ben" || l.DecisionReason != "range was too narrow" {
		t.Errorf("%+v", l)
	}
	data, err := r.s.led.Entry("nord", 4)
	if err != nil {
		t.Fatal(err)
	}
	var e tenantEntry
	if err := unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	if e.T != "event" || e.Replays == nil || *e.Replays != 1 || *e.Seq != 2 || !e.Received.Equal(r.clock.now()) || e.Rules != r.s.rules().hash || e.Rules == l.Rules {
		t.Errorf("%s", data)
	}
	acts := r.control(evidence.EntryLetterReplayed)
	if len(acts) != 1 || acts[0].Actor.Name != "ben" || acts[0].RequestID == "" || acts[0].Ticket != "T-1" || string(acts[0].Before) != `{"state":"open"}` || string(acts[0].After) != `{"state":"replayed"}` {
		t.Errorf("%+v", acts)
	}
	// It is no sign of life.
	if now := *r.s.st.recordOf(r.s.st.device("nord", "m-1")).LastSeen; !now.Equal(seen) {
		t.Errorf("last seen %v, was %v", now, seen)
	}
	for _, f := range []func(*AdminClient) error{
		func(c *AdminClient) error { _, err := c.ReplayDeadLetter(ctx, "nord", 1, "again", ""); return err },
		func(c *AdminClient) error { _, err := c.DiscardDeadLetter(ctx, "nord", 1, "again", ""); return err },
	} {
		refusedWith(t, f(r.admin("carla")), CodeConflict)
	}
	// The number is taken: the device that sends the line again finds it known.
	if rec := r.send(r.deviceClient(pair), bad); rec.Duplicate != 1 {
		t.Errorf("%+v", rec)
	}
	books, err := r.admin("erin").Books(ctx, "nord", "", "")
	if err != nil || len(books) != 2 {
		t.Fatalf("%+v %v", books, err)
	}
	first, second := books[0], books[1]
	if first.Day != came.Format(time.DateOnly) || first.Received != 4 || first.DeadLettered != 2 || first.Replayed != 0 {
		t.Errorf("the closed day changed: %+v", first)
	}
	if second.Received != 2 || second.Accepted != 1 || second.Duplicate != 1 || second.Replayed != 1 {
		t.Errorf("%+v", second)
	}
	r.sameAsFold()
	before := r.letters("nord")[1]
	r.restart()
	if after := r.letters("nord")[1]; after.State != LetterReplayed || *after.ReplayedAs != *before.ReplayedAs || after.DecidedBy != "ben" {
		t.Errorf("after a restart: %+v", after)
	}
}

func TestReplayHoldsTheDevicesTimeAgainstTheTimeOfReceipt(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, eventLine(1, r.clock.now().Add(time.Hour), 1))
	r.clock.add(time.Hour) // waiting does not make its clock right
	_, err := r.admin("ben").ReplayDeadLetter(t.Context(), "nord", 0, "x", "")
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "time.future") {
		t.Error(p.Detail)
	}
	r.clock.add(30 * day) // nor does time make a good one too old
	r.config.Time.Future = 2 * time.Hour
	r.restart()
	if _, err := r.admin("ben").ReplayDeadLetter(t.Context(), "nord", 0, "policy changed", ""); err != nil {
		t.Error(err)
	}
	r.sameAsFold()
}

func TestReplayNeverDoublesANumber(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Replay.Window = 10 })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	deep := strings.Replace(r.line(5, 1), `"kw":1`, `"meter":`+strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40), 1)
	r.send(c, deep)            // its number counts for nothing
	r.send(c, r.line(5, 1))    // so it can come again, whole
	r.send(c, r.line(6, 9000)) // and one that may be replayed after the window has gone on
	r.send(c, r.line(5000, 1))
	r.config.Limits.Depth = 64
	if err := os.WriteFile(filepath.Join(r.config.Schemas, "power.v1.schema.json"), []byte(`{"type":"object"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r.restart()
	_, err := r.admin("ben").ReplayDeadLetter(t.Context(), "nord", 0, "deeper now", "")
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "entry 1") {
		t.Error(p.Detail)
	}
	d := r.s.st.device("nord", "m-1")
	d.windows[0].runs = runs{} // as after very many numbers that do not follow each other
	if p := r.s.numberTaken(DeadLetter{Tenant: "nord", Device: "m-1", Generation: 1}, &event{seq: 5}, 0, 1<<60); p == nil {
		t.Error("the log was not asked")
	}
	_, err = r.admin("ben").ReplayDeadLetter(t.Context(), "nord", 0, "deeper now", "")
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "entry 1") {
		t.Error(p.Detail)
	}
	if _, err := r.admin("ben").ReplayDeadLetter(t.Context(), "nord", 2, "wider now", ""); err != nil {
		t.Error(err)
	}
}

func TestDecisionsAtOnceOverOneLetterAreOne(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 9000))
	r.loosen()
	c = r.deviceClient(r.enrol("nord", "m-2"))
	var wg sync.WaitGroup
	var done atomic.Int64
	for n := range 6 {
		wg.Go(func() {
			r.send(c, r.line(n, 1))
			act := r.admin("carla").ReplayDeadLetter
			if n%2 == 0 {
				act = r.admin("carla").DiscardDeadLetter
			}
			if _, err := act(t.Context(), "nord", 0, "at once", ""); err == nil {
				done.Add(1)
			} else if p, ok := err.(*Problem); !ok || p.Code != CodeConflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Errorf("%d decisions were taken", done.Load())
	}
	for _, b := range r.s.st.tenant("nord").listBooks("", "") {
		if b.Received != b.Accepted+b.Duplicate+b.DeadLettered+b.Refused || b.Replayed > 1 {
			t.Errorf("%+v", b)
		}
	}
	r.sameAsFold()
}

func TestReplayOfADeviceThatMayNotSendIsRefused(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.send(r.deviceClient(r.enrol("nord", "m-1")), r.line(1, 9000))
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "x", "T"); err != nil {
		t.Fatal(err)
	}
	r.loosen()
	_, err := r.admin("ben").ReplayDeadLetter(t.Context(), "nord", 0, "x", "")
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "revoked") {
		t.Error(p.Detail)
	}
}

func TestDeadLetterQuotaAndDiscard(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DeadLetters.PerTenant = 2 })
	r.tenant("nord")
	r.tenant("sued")
	ctx := t.Context()
	c, other := r.deviceClient(r.enrol("nord", "m-1")), r.deviceClient(r.enrol("sued", "m-1"))
	rec := r.send(c, r.line(1, 9000), r.line(2, 9000), r.line(3, 9000), r.line(4, 1))
	if rec.DeadLettered != 2 || rec.Refused != 1 || rec.Accepted != 1 || rec.Lines[2].Code != CodeLetterQuota || !strings.Contains(rec.Lines[2].Detail, "range.violation") {
		t.Fatalf("%+v", rec)
	}
	if rec := r.send(other, r.line(1, 9000)); rec.DeadLettered != 1 {
		t.Errorf("another tenant's quota is its own: %+v", rec)
	}
	alerts := 0
	for _, a := range r.s.listAlerts() {
		if a.Kind == AlertLetterQuota && a.Tenant == "nord" {
			alerts++
		}
	}
	if alerts != 1 || len(r.control(evidence.EntryRefusal)) != 1 {
		t.Errorf("%d alerts, refusals %+v", alerts, r.control(evidence.EntryRefusal))
	}
	_, err := r.admin("ben").DiscardDeadLetter(ctx, "nord", 0, "x", "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").DiscardDeadLetter(ctx, "nord", 0, "", "")
	refusedWith(t, err, CodeInvalid)
	l, err := r.admin("carla").DiscardDeadLetter(ctx, "nord", 0, "test data", "T-2")
	if err != nil || l.State != LetterDiscarded || l.DecidedBy != "carla" || len(l.Bytes) == 0 {
		t.Fatalf("%+v %v", l, err)
	}
	_, err = r.admin("ben").ReplayDeadLetter(ctx, "nord", 0, "x", "")
	refusedWith(t, err, CodeConflict)
	r.sameAsFold()
	r.restart()
	c = r.deviceClient(r.enrol("nord", "m-2"))
	if rec := r.send(c, r.line(1, 9000), r.line(2, 9000)); rec.DeadLettered != 1 || rec.Refused != 1 {
		t.Errorf("one place is free: %+v", rec)
	}
	for _, b := range r.s.st.tenant("nord").listBooks("", "") {
		if b.Received != b.Accepted+b.Duplicate+b.DeadLettered+b.Refused || b.Refused != 2 {
			t.Errorf("%+v", b)
		}
	}
	if n := r.s.st.tenant("nord").reserved; n != 0 {
		t.Errorf("%d places are still reserved", n)
	}
}
