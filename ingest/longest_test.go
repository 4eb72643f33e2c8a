package ingest

import (
	"testing"
	"time"
)

// TestTheLongestIsGivenOnce holds what is kept of several waits, and that it
// begins anew once it was asked for.
func TestTheLongestIsGivenOnce(t *testing.T) {
	var l longest
	began := time.Now().Add(-time.Hour)
	l.add(time.Now().Add(-time.Minute))
	l.add(began)
	l.add(time.Now())
	if at, took := l.reset(); !at.Equal(began) || took < time.Hour || took > 2*time.Hour {
		t.Errorf("the longest began at %v and took %v", at, took)
	}
	if at, took := l.reset(); !at.IsZero() || took != 0 {
		t.Errorf("nothing came since, but it gives %v and %v", at, took)
	}
	l.add(time.Now().Add(-time.Minute)) // shorter than the longest before
	if _, took := l.reset(); took < time.Minute {
		t.Errorf("what came after it was asked for took %v", took)
	}
}

// TestAppendsAreTimed holds that what devices send counts among them.
func TestAppendsAreTimed(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.s.LongestAppend()
	c := r.deviceClient(r.enrol("nord", "m-1"))
	if _, took := r.s.LongestAppend(); took <= 0 {
		t.Fatal("a device was enrolled without an append")
	}
	r.send(c, r.line(1, 1))
	if began, took := r.s.LongestAppend(); took <= 0 || began.IsZero() {
		t.Errorf("an event was taken, and the longest append took %v", took)
	}
}
