package ingest

import (
	"slices"
	"time"
)

// maxHoles and maxRuns bound what one window keeps. A device that leaves more
// than maxHoles separate holes loses the oldest (they are recorded as gaps).
// Beyond maxRuns the place of old numbers is forgotten: a repeat of such a
// number is still seen, but its content cannot be compared, so it is refused
// (replay.forgotten) and never called a duplicate.
const (
	maxHoles = 1024
	maxRuns  = 128
)

// verdict is what a window says of a number.
type verdict uint8

const (
	seqNew verdict = iota
	seqSeen
	seqStale // before the window; cannot be told from a replay
)

// window is the replay window of one (device, generation, boot): a high-water
// mark that is kept for ever and, instead of a bitmap, the holes below it that
// are still open, which are none for a device that behaves. Everything in it
// follows from the entries of the logs (see fold.go), so it holds nothing that
// depends on the configuration or on when a tick came.
type window struct {
	high  int64 // highest accepted number; -1: none yet
	floor int64 // numbers below it are stale
	holes []hole
	runs  runs // where the numbers stand; may lie above high for dead letters
}

// hole is a span of numbers that have not come.
type hole struct {
	from, to int64
	since    time.Time // when the first number after it was received
	leading  bool      // before the first number that ever came: not a gap
}

// gap is a hole given up on.
type gap struct {
	from, to int64
}

func newWindow() *window { return &window{high: -1} }

// judge says whether seq may still be accepted.
func (w *window) judge(seq int64) verdict {
	if w.high < 0 || seq > w.high {
		if _, known := w.position(seq); known {
			return seqSeen // a dead letter ahead of the mark
		}
		return seqNew
	}
	_, known := w.position(seq)
	switch {
	case known:
		return seqSeen // accepted, or came as a dead letter
	case seq < w.floor:
		return seqStale
	case w.holeAt(seq) >= 0:
		return seqNew
	}
	return seqSeen
}

func (w *window) holeAt(seq int64) int {
	i, _ := slices.BinarySearchFunc(w.holes, seq, func(h hole, s int64) int {
		switch {
		case h.to < s:
			return -1
		case h.from > s:
			return 1
		}
		return 0
	})
	if i < len(w.holes) && w.holes[i].from <= seq && seq <= w.holes[i].to {
		return i
	}
	return -1
}

// position gives the index in the tenant's log of the entry that holds seq.
func (w *window) position(seq int64) (int64, bool) {
	r, ok := w.runs.find(seq)
	return r.index + seq - r.seq, ok
}

// accept notes that seq was accepted at index. size is how far the window
// reaches back from the mark. It returns the gaps that fell out of it.
func (w *window) accept(seq, index, size int64, received time.Time) []gap {
	w.place(seq, index)
	switch {
	case w.high < 0:
		if from := max(0, seq-size+1); from < seq {
			w.holes = append(w.holes, hole{from, seq - 1, received, true})
		}
		w.high = seq
		return w.slide(max(0, seq-size+1))
	case seq > w.high:
		if seq > w.high+1 {
			w.holes = append(w.holes, hole{w.high + 1, seq - 1, received, false})
		}
		w.high = seq
		return w.slide(seq - size + 1)
	}
	w.fill(seq, seq)
	return nil
}

// slide raises the floor and gives up the holes below it.
func (w *window) slide(floor int64) []gap {
	var out []gap
	for len(w.holes) > 0 {
		h := &w.holes[0]
		switch {
		case h.to < floor || len(w.holes) > maxHoles:
			out = append(out, w.giveUp(h.from, h.to, h.leading)...)
			floor = max(floor, h.to+1)
			w.holes = w.holes[1:]
			continue
		case h.from < floor:
			out = append(out, w.giveUp(h.from, floor-1, h.leading)...)
			h.from = floor
		}
		break
	}
	if len(w.holes) == 0 {
		w.holes = nil
	}
	w.floor = max(w.floor, floor)
	return out
}

// giveUp lists the numbers of from..to that came in no form: a number that
// came as a dead letter is no gap.
func (w *window) giveUp(from, to int64, leading bool) []gap {
	if leading {
		return nil
	}
	var out []gap
	for r := range w.runs.all() {
		if r.seq+r.n <= from || r.seq > to {
			continue
		}
		if r.seq > from {
			out = append(out, gap{from, r.seq - 1})
		}
		from = r.seq + r.n
	}
	if from <= to {
		out = append(out, gap{from, to})
	}
	return out
}

// aged lists the holes that began at or before t, oldest first: the gaps to
// record, and the floor to which the window then rises.
func (w *window) aged(t time.Time) (gaps []gap, floor int64) {
	floor = w.floor
	for _, h := range w.holes {
		if h.leading {
			continue
		}
		if h.since.After(t) {
			break
		}
		if g := w.giveUp(h.from, h.to, false); len(g) > 0 {
			gaps = append(gaps, g...)
			floor = g[len(g)-1].to + 1
		}
	}
	return gaps, floor
}

// close gives up all numbers below floor, after their gaps were recorded.
func (w *window) close(floor int64) { w.slide(floor) }

// fill takes from..to out of the holes.
func (w *window) fill(from, to int64) {
	i := w.holeAt(from)
	if i < 0 {
		return
	}
	h := w.holes[i]
	switch {
	case h.from == from && h.to == to:
		w.holes = slices.Delete(w.holes, i, i+1)
		if len(w.holes) == 0 {
			w.holes = nil
		}
	case h.from == from:
		w.holes[i].from = to + 1
	case h.to == to:
		w.holes[i].to = from - 1
	default:
		w.holes[i].to = from - 1
		w.holes = slices.Insert(w.holes, i+1, hole{to + 1, h.to, h.since, h.leading})
	}
}

// mark notes that seq came as a dead letter at index. It moves no mark. What it
// keeps does not depend on the floor, which rises with gaps that a fold applies
// last.
func (w *window) mark(seq, index, size int64) {
	if w.high >= 0 && (seq <= w.high-size || seq > w.high+size) {
		return
	}
	w.place(seq, index)
}

// place notes where seq stands.
func (w *window) place(seq, index int64) {
	if gone, full := w.runs.place(seq, index); full {
		w.settle(gone)
	}
}

// settle takes the numbers of a run that is forgotten out of the holes: those
// of dead letters, which came and will never be missing.
func (w *window) settle(gone run) {
	for i := len(w.holes) - 1; i >= 0; i-- { // filling one changes none before it
		h := w.holes[i]
		if from, to := max(h.from, gone.seq), min(h.to, gone.seq+gone.n-1); from <= to {
			w.fill(from, to)
		}
	}
}
