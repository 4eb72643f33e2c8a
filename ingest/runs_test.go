package ingest

import (
	"cmp"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// placed is what runs must be, unpacked: a list.
type placed []run

func (p *placed) place(seq, index int64) (gone run, full bool) {
	if n := len(*p); n > 0 && (*p)[n-1].end() == (place{seq, index}) {
		(*p)[n-1].n++
		return run{}, false
	}
	if slices.ContainsFunc(*p, func(r run) bool { return r.holds(seq) }) {
		return run{}, false
	}
	*p = append(*p, run{seq, index, 1})
	slices.SortFunc(*p, func(a, b run) int { return cmp.Compare(a.seq, b.seq) })
	if len(*p) <= maxRuns {
		return run{}, false
	}
	gone = (*p)[0]
	*p = slices.Delete(*p, 0, 1)
	return gone, true
}

func TestRunsAgainstList(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var list placed
		var packed runs
		high, index := rnd.Int64N(1<<40), int64(0)
		for range 3 * maxRuns {
			seq := high
			switch rnd.IntN(8) {
			case 0:
				seq = max(0, high-rnd.Int64N(600)) // late
			case 1:
				seq += 1 + rnd.Int64N(1<<uint(rnd.IntN(40)))
			}
			if rnd.IntN(3) > 0 {
				index += rnd.Int64N(1 << uint(rnd.IntN(30)))
			}
			wantGone, wantFull := list.place(seq, index)
			gone, full := packed.place(seq, index)
			if gone != wantGone || full != wantFull {
				t.Fatalf("seed %d: placing %d: gone %v, %v; want %v, %v", seed, seq, gone, full, wantGone, wantFull)
			}
			high, index = max(high, seq+1), index+1
		}
		if got := slices.Collect(packed.all()); !slices.Equal(got, list) || packed.count != len(list) {
			t.Fatalf("seed %d:\ngot  %v\nwant %v", seed, got, list)
		}
		for _, r := range list {
			for _, seq := range []int64{r.seq - 1, r.seq, r.seq + r.n - 1, r.seq + r.n} {
				i := slices.IndexFunc(list, func(o run) bool { return o.holds(seq) })
				got, ok := packed.find(seq)
				if ok != (i >= 0) || ok && got != list[i] {
					t.Fatalf("seed %d: %d is in %v, %v", seed, seq, got, ok)
				}
			}
		}
		if again := packRuns(list); !reflect.DeepEqual(again, packed) {
			t.Fatalf("seed %d: what is packed depends on how it came about", seed)
		}
	}
}

func TestRunsOfExtremeNumbers(t *testing.T) {
	var p runs
	want := []run{{0, math.MaxInt64 - 1, 1}, {math.MaxInt64 - 3, 0, 1}, {math.MaxInt64 - 1, 1 << 40, 1}}
	for _, r := range []run{want[1], want[2], want[0]} {
		p.place(r.seq, r.index)
	}
	if got := slices.Collect(p.all()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
