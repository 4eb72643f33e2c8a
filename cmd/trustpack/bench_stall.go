package main

import (
	"fmt"
	"sync"
	"time"
)

// longestWait is the longest ack of a run and what went on meanwhile.
type longestWait struct {
	Took      float64 `json:"ms"`
	Turn      int     `json:"turn"` // from 1
	Flooded   bool    `json:"flooded"`
	Append    float64 `json:"longest_append_ms"`    // of that part of the turn: whose ever it was, from the ledger's having it to its being durable
	Share     float64 `json:"longest_append_share"` // how much of the ack that append was under way, 0 to 1
	LateTimer float64 `json:"latest_timer_ms"`      // how late a timer came meanwhile: the process, or the machine, had no time
}

// stallWatch looks for the longest ack of a run, and beside it for the longest
// append and for moments at which the process got no time.
type stallWatch struct {
	longestAppend func() (began time.Time, took time.Duration) // since it was last called
	longest       *longestWait
}

// begin begins one part of a run and gives what ends it.
func (w *stallWatch) begin() (end func(acks *histogram, turn int, flooded bool)) {
	w.longestAppend()
	var (
		wg   sync.WaitGroup
		late []delay
		stop = make(chan struct{})
	)
	wg.Go(func() { late = watchTimer(stop) })
	return func(acks *histogram, turn int, flooded bool) {
		close(stop)
		wg.Wait()
		began, took := w.longestAppend()
		if w.longest != nil && milliseconds(acks.most) <= w.longest.Took {
			return
		}
		ack := delay{acks.ended.Add(-acks.most), acks.most}
		l := &longestWait{Took: milliseconds(ack.took), Turn: turn, Flooded: flooded, Append: milliseconds(took)}
		if ack.took > 0 {
			l.Share = float64(ack.shared(delay{began, took})) / float64(ack.took)
		}
		for _, d := range late {
			if ack.shared(d) > 0 {
				l.LateTimer = max(l.LateTimer, milliseconds(d.took))
			}
		}
		w.longest = l
	}
}

// String says where the time went, as far as it is known.
func (l *longestWait) String() string {
	if l == nil {
		return "none"
	}
	kind, where := "quiet", "not in the commit"
	if l.Flooded {
		kind = "flooded"
	}
	switch {
	case l.LateTimer >= l.Took/2:
		where = "the process got no time"
	case l.Share >= 0.5:
		where = "in the commit"
	}
	return fmt.Sprintf("%.3f ms, turn %d, %s: %s (the longest append there took %.3f ms, %.0f %% of it; a timer came %.3f ms late)", l.Took, l.Turn, kind, where, l.Append, 100*l.Share, l.LateTimer)
}

// delay is a span of time.
type delay struct {
	began time.Time
	took  time.Duration
}

// shared is how long both were under way.
func (d delay) shared(o delay) time.Duration {
	from, to := d.began, d.began.Add(d.took)
	if o.began.After(from) {
		from = o.began
	}
	if end := o.began.Add(o.took); end.Before(to) {
		to = end
	}
	return max(0, to.Sub(from))
}

const (
	timerEvery = time.Millisecond
	timerLate  = 2 * time.Millisecond // is noted
)

// watchTimer notes how late a timer comes, again and again, until stop is closed.
func watchTimer(stop <-chan struct{}) (late []delay) {
	tick := time.NewTimer(timerEvery)
	defer tick.Stop()
	for {
		due := time.Now().Add(timerEvery)
		tick.Reset(timerEvery)
		select {
		case <-stop:
			return late
		case <-tick.C:
		}
		if took := time.Since(due); took >= timerLate {
			late = append(late, delay{due, took})
		}
	}
}
