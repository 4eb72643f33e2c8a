package ingest

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

// TestWindowAgainstModel compares the window with a plain set of numbers.
func TestWindowAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		const size = 64
		w, seen, high, index := newWindow(), map[int64]bool{}, int64(-1), int64(0)
		missing, first := map[int64]bool{}, int64(-1)
		for range 400 {
			seq := high + 1 + rnd.Int64N(4)
			switch rnd.IntN(4) {
			case 0:
				seq = max(0, high-rnd.Int64N(2*size))
			case 1:
				seq = high + rnd.Int64N(size+20)
			}
			seq = max(seq, 0)
			want := seqNew
			switch {
			case seen[seq]:
				want = seqSeen
			case high >= 0 && seq <= high-size:
				want = seqStale
			}
			got := w.judge(seq)
			if want == seqSeen && seq <= high-size && got == seqStale {
				got = seqSeen // its place may be forgotten; either way it is not taken
			}
			if got != want {
				t.Fatalf("seed %d: judge(%d) = %v, want %v; high %d, %+v", seed, seq, got, want, high, w)
			}
			if want != seqNew {
				continue
			}
			for _, g := range w.accept(seq, index, size, t0) {
				for n := g.from; n <= g.to; n++ {
					if seen[n] || missing[n] {
						t.Fatalf("seed %d: %d is called a gap, but came or was called one before", seed, n)
					}
					missing[n] = true
				}
			}
			if first < 0 {
				first = seq
			}
			index++
			seen[seq], high = true, max(high, seq)
		}
		// Everything after the first number that fell out of the window came or is a gap.
		for n := first; n <= high-size; n++ {
			if !seen[n] && !missing[n] {
				if h := w.holeAt(n); h >= 0 {
					t.Fatalf("seed %d: %d is below the window and still a hole", seed, n)
				}
				t.Fatalf("seed %d: %d neither came nor is a gap", seed, n)
			}
		}
	}
}

func TestWindowEdges(t *testing.T) {
	w := newWindow()
	w.accept(100, 0, 10, t0)
	for seq, want := range map[int64]verdict{101: seqNew, 100: seqSeen, 99: seqNew, 91: seqNew, 90: seqStale} {
		if got := w.judge(seq); got != want {
			t.Errorf("judge(%d) = %v, want %v", seq, got, want)
		}
	}
	w.accept(105, 1, 10, t0)
	if got := w.judge(95); got != seqStale {
		t.Errorf("95 with mark 105 and window 10: %v", got)
	}
	if got := w.judge(96); got != seqNew {
		t.Errorf("96 with mark 105 and window 10: %v", got)
	}
	if i, ok := w.position(105); !ok || i != 1 {
		t.Error("position of 105")
	}
}

func TestWindowGapsByDistance(t *testing.T) {
	w := newWindow()
	w.accept(1, 0, 4, t0)
	if g := w.accept(4, 1, 4, t0); g != nil {
		t.Errorf("gaps %v while 2 and 3 may still come", g)
	}
	w.accept(3, 2, 4, t0)
	if g := w.accept(6, 3, 4, t0); !reflect.DeepEqual(g, []gap{{2, 2}}) {
		t.Errorf("gaps %v, want 2", g)
	}
}

func TestWindowGapsByAge(t *testing.T) {
	w := newWindow()
	w.accept(1, 0, 100, t0)
	w.accept(4, 1, 100, t0.Add(time.Hour))
	w.accept(9, 2, 100, t0.Add(2*time.Hour))
	if g, _ := w.aged(t0.Add(time.Hour - 1)); g != nil {
		t.Errorf("aged too early: %v", g)
	}
	g, floor := w.aged(t0.Add(time.Hour))
	if !reflect.DeepEqual(g, []gap{{2, 3}}) || floor != 4 {
		t.Errorf("aged: %v, floor %d", g, floor)
	}
	w.close(floor)
	if w.judge(3) != seqStale || w.judge(5) != seqNew || w.judge(1) != seqSeen {
		t.Error("after closing: 3 must be stale, 5 open, 1 seen")
	}
}

func TestDeadLetterMarksButMovesNothing(t *testing.T) {
	w := newWindow()
	w.accept(1, 0, 10, t0)
	w.mark(5, 1, 10)
	if w.high != 1 || w.judge(5) != seqSeen || w.judge(4) != seqNew {
		t.Error("a dead letter ahead of the mark: it is seen, the rest is as it was")
	}
	if g := w.accept(6, 2, 10, t0); g != nil {
		t.Error(g)
	}
	if g := w.accept(30, 3, 10, t0); !reflect.DeepEqual(g, []gap{{2, 4}, {7, 20}}) {
		t.Errorf("gaps %v: 5 came, as a dead letter", g)
	}
}

// TestWindowFoldsGapsLast plays events and agings as they happen, then the
// events alone followed by the gaps, as fold does; both must end the same.
func TestWindowFoldsGapsLast(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		live, folded := newWindow(), newWindow()
		var closed []int64
		high := int64(0)
		for i := range int64(300) {
			at := t0.Add(time.Duration(i) * time.Minute)
			seq := high + 1 + rnd.Int64N(5)
			if rnd.IntN(3) == 0 {
				seq = max(0, high-rnd.Int64N(80))
			}
			if live.judge(seq) == seqNew {
				live.accept(seq, i, 64, at)
				folded.accept(seq, i, 64, at)
				high = max(high, seq)
			}
			if rnd.IntN(10) == 0 {
				if gaps, _ := live.aged(at.Add(-10 * time.Minute)); len(gaps) > 0 {
					for _, g := range gaps {
						live.close(g.to + 1)
						closed = append(closed, g.to+1)
					}
				}
			}
		}
		for _, floor := range closed {
			folded.close(floor)
		}
		if !reflect.DeepEqual(live, folded) {
			t.Fatalf("seed %d:\nlive   %+v\nfolded %+v", seed, live, folded)
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := newWindow()
	for i := range int64(10_000) {
		w.accept(2*i, 7*i, 1<<40, t0)
	}
	if len(w.holes) > maxHoles || w.runs.count > maxRuns {
		t.Errorf("%d holes, %d runs", len(w.holes), w.runs.count)
	}
	if w.judge(0) != seqStale || w.judge(19_998) != seqSeen || w.judge(19_997) != seqNew {
		t.Error("old holes must be given up, new ones kept")
	}
}

// TestDeadLettersBeforeTheFirstEventOfABoot come again as they were: they are
// known, and their boots make no other stale.
func TestDeadLettersBeforeTheFirstEventOfABoot(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	c := r.deviceClient(pair)
	line := func(boot int64, typ string) string {
		return strings.Replace(strings.Replace(r.line(0, 1), "{", `{"boot":`+itoa(boot)+`,`, 1), "power.v1", typ, 1)
	}
	one := func(want, line string) {
		t.Helper()
		if rec := r.send(c, line); len(rec.Lines) == 0 && want != lineAccepted || len(rec.Lines) == 1 && rec.Lines[0].Status != want {
			t.Errorf("%s: %+v, want %s", line, rec, want)
		}
	}
	one(lineDeadLettered, line(7, "gas.v1"))
	one(lineDuplicate, line(7, "gas.v1"))
	r.restart()
	c = r.deviceClient(pair)
	one(lineDuplicate, line(7, "gas.v1"))
	for boot := range int64(3 * maxBoots) { // far ahead, and none is taken
		one(lineDeadLettered, line(1000+boot, "gas.v1"))
	}
	one(lineAccepted, line(8, "power.v1"))
	if n := len(r.s.st.device("nord", "m-1").windows); n > maxStrays+1 {
		t.Errorf("%d boots are kept", n)
	}
	for boot := range int64(maxBoots) {
		one(lineAccepted, line(20+boot, "power.v1"))
	}
	one(lineRefused, line(8, "power.v1")) // before all that are kept
	one(lineDeadLettered, line(9, "gas.v1"))
	one(lineRefused, strings.Replace(line(9, "power.v1"), `"seq":0`, `"seq":1`, 1)) // and a dead letter does not change that
	one(lineDuplicate, line(20, "power.v1"))
	r.sameAsFold()
	if n := len(r.s.st.device("nord", "m-1").windows); n > maxStrays+maxBoots {
		t.Errorf("%d boots are kept", n)
	}
}

// TestReplayIntoABootThatIsGone holds a dead letter whose boot is no longer
// kept against the whole log.
func TestReplayIntoABootThatIsGone(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	line := func(boot int64, kw float64) string {
		return strings.Replace(r.line(0, kw), "{", `{"boot":`+itoa(boot)+`,`, 1)
	}
	for boot := range int64(maxBoots + 1) { // boot 0 goes
		r.send(c, line(boot, 1))
	}
	if rec := r.send(c, line(0, 9000)); rec.DeadLettered != 1 {
		t.Fatalf("%+v", rec)
	}
	r.loosen()
	_, err := r.admin("ben").ReplayDeadLetter(t.Context(), "nord", maxBoots+1, "wider now", "")
	if p := refusedWith(t, err, CodeConflict); !strings.Contains(p.Detail, "entry 0") {
		t.Error(p.Detail)
	}
}
