package main

import (
	"strings"
	"testing"
	"time"
)

// TestTheLongestAckIsExplained gives the watch acks and appends at known
// times and holds what it says of them.
func TestTheLongestAckIsExplained(t *testing.T) {
	t0 := time.Now()
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	const ms = time.Millisecond
	var appended delay
	w := stallWatch{longestAppend: func() (time.Time, time.Duration) { return appended.began, appended.took }}
	part := func(turn int, flooded bool, ack delay, append delay) {
		appended = append
		var a, b, all histogram
		a.addAt(ack.took, ack.began.Add(ack.took))
		a.addAt(ms, at(9000))
		b.addAt(ms/2, at(9500))
		all.merge(&a)
		all.merge(&b)
		w.begin()(&all, turn, flooded)
	}
	part(1, false, delay{at(100), 40 * ms}, delay{at(110), 30 * ms})
	if l := w.longest; l.Took != 40 || l.Share != 0.75 || l.Append != 30 || l.Turn != 1 || l.Flooded || !strings.Contains(l.String(), "turn 1, quiet: in the commit") {
		t.Fatalf("%+v: %s", l, l)
	}
	part(2, true, delay{at(100), 39 * ms}, delay{at(100), 39 * ms})
	if w.longest.Turn != 1 {
		t.Fatalf("a shorter one took its place: %+v", w.longest)
	}
	part(3, true, delay{at(200), 50 * ms}, delay{at(240), 60 * ms})
	if l := w.longest; l.Took != 50 || l.Share != 0.2 || !l.Flooded || !strings.Contains(l.String(), "turn 3, flooded: not in the commit") {
		t.Fatalf("%+v: %s", l, l)
	}
	part(4, true, delay{at(300), 60 * ms}, delay{at(900), 60 * ms})
	if w.longest.Share != 0 {
		t.Fatalf("an append at another time counts: %+v", w.longest)
	}
	if l := (longestWait{Took: 20, Share: 0.9, LateTimer: 12}); !strings.Contains(l.String(), "got no time") {
		t.Error(l.String())
	}
}

// TestOneStalledTurnDoesNotDecide holds which ratio a flood is judged by.
func TestOneStalledTurnDoesNotDecide(t *testing.T) {
	r := floodResult{Turns: []floodTurn{{Ratio: 1.2}, {Ratio: 40}, {Ratio: 0.9}, {Ratio: 0.1}, {Ratio: 1.1}}}
	if got := r.median(); got != 1.1 {
		t.Errorf("%v of %v", got, r.ratios())
	}
}
