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
