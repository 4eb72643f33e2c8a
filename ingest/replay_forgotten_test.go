package ingest

import (
	"testing"
	"time"
)

// A dead letter's number came; that the window forgets where it stands must
// not turn it into one that never came.
func TestForgottenDeadLetterIsNoGap(t *testing.T) {
	w := newWindow()
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	index := int64(0)
	for seq := range int64(10 * maxRuns) {
		if seq == 10 {
			w.mark(seq, index, 4096)
		} else if gaps := w.accept(seq, index, 4096, at); len(gaps) > 0 {
			t.Fatalf("at %d: gaps %v", seq, gaps)
		}
		index += 5 // entries of other devices stand between
	}
	if gaps, _ := w.aged(at.Add(time.Hour)); len(gaps) > 0 {
		t.Fatalf("a gap was recorded for a number that came as a dead letter: %v", gaps)
	}
}

// TestForgottenNumberIsNoDuplicate repeats a number whose place in the log is
// no longer kept. Whether its content is the same is not known, so it is
// neither accepted nor called a duplicate, and the books say so.
func TestForgottenNumberIsNoDuplicate(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c, other := r.deviceClient(r.enrol("nord", "m-1")), r.deviceClient(r.enrol("nord", "m-2"))
	const requests = maxRuns + 4
	for seq := 1; seq <= requests; seq++ { // another's entry stands between, so that each is a run of its own
		r.send(c, r.line(seq, 1))
		r.send(other, r.line(seq, 1))
	}
	check := func() {
		t.Helper()
		rec := r.send(c, r.line(1, 1), r.line(1, 2), r.line(requests, 1), r.line(requests, 2))
		if rec.Accepted != 0 || rec.Duplicate != 1 || rec.Refused != 3 || rec.DeadLettered != 0 {
			t.Fatalf("%+v", rec)
		}
		for i, want := range []Code{CodeReplayForgotten, CodeReplayForgotten, "", CodeReplayConflict} {
			if rec.Lines[i].Code != want {
				t.Errorf("line %d: %+v, want %q", i+1, rec.Lines[i], want)
			}
		}
	}
	check()
	r.sameAsFold()
}
