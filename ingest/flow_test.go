package ingest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestGroupsJudgeAsOneByOne holds what may go together to its promise: each
// number gets the verdict that it would get if the batches came one by one.
func TestGroupsJudgeAsOneByOne(t *testing.T) {
	grouped := 0
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		const size = 64
		d, one := &device{windows: map[int64]*window{1: newWindow()}}, newWindow()
		index := int64(0)
		for range 30 {
			var queue []*batch
			for range 1 + rnd.IntN(6) {
				queue = append(queue, randomBatch(rnd, d, one.high))
			}
			for len(queue) > 0 {
				n := 1
				for n < len(queue) && joins(queue[:n], queue[n], size) {
					n++
				}
				grouped += n - 1
				var together [][]verdict
				for _, b := range queue[:n] {
					together = append(together, verdicts(d.windows[1], b))
				}
				for i, b := range queue[:n] {
					if alone := verdicts(one, b); !slices.Equal(alone, together[i]) {
						t.Fatalf("seed %d: %+v after %d others: %v together, %v one by one", seed, b.claim, i, together[i], alone)
					}
					for k, e := range b.events {
						if together[i][k] == seqNew {
							g1, g2 := one.accept(e.seq, index, size, t0), d.windows[1].accept(e.seq, index, size, t0)
							if !reflect.DeepEqual(g1, g2) {
								t.Fatalf("seed %d: gaps %v and %v", seed, g1, g2)
							}
							index++
						}
					}
				}
				queue = queue[n:]
			}
		}
		if !reflect.DeepEqual(one, d.windows[1]) {
			t.Fatalf("seed %d: the windows differ", seed)
		}
	}
	if grouped < 1000 {
		t.Errorf("only %d batches went with others: the test has shown little", grouped)
	}
}

// randomBatch makes one about the mark: mostly the next numbers, some of them
// out of order, some again, some with holes or far ahead.
func randomBatch(rnd *rand.Rand, d *device, high int64) *batch {
	from, step := high+1+rnd.Int64N(20), int64(1)
	switch rnd.IntN(8) {
	case 0:
		from = max(0, high-rnd.Int64N(90))
	case 1:
		step = 2
	case 2:
		from = high + rnd.Int64N(200)
	}
	b := &batch{d: d}
	for k := range 1 + rnd.Int64N(8) {
		b.events = append(b.events, event{boot: 1, seq: max(0, from) + k*step, hasSeq: true})
	}
	b.claim = claimOf(b.events)
	return b
}

func verdicts(w *window, b *batch) (out []verdict) {
	for _, e := range b.events {
		out = append(out, w.judge(e.seq))
	}
	return out
}

func TestClaims(t *testing.T) {
	at := func(list ...int64) (out []event) {
		for _, n := range list {
			out = append(out, event{boot: n / 1000, seq: n % 1000, hasSeq: n >= 0})
		}
		return out
	}
	for _, c := range []struct {
		events []event
		want   claim
	}{
		{at(5), claim{true, true, 0, 5, 5}}, {at(5, 6, 7), claim{true, true, 0, 5, 7}}, {at(1005, 1009), claim{true, false, 1, 5, 9}},
		{at(5, 5), claim{}}, {at(6, 5), claim{}}, {at(5, 1006), claim{}}, {at(-1), claim{}}, {at(5, -1), claim{}},
	} {
		if got := claimOf(c.events); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.events, got, c.want)
		}
	}
}

// flight queues batches of one device while its flow is held, in order.
type flight struct {
	r   *rig
	d   *device
	wg  sync.WaitGroup
	all []*batch
}

func newFlight(r *rig, device string) *flight {
	f := &flight{r: r, d: r.s.st.device("nord", device)}
	f.d.flow.Lock()
	return f
}

// send returns when the batch waits behind those before it.
func (f *flight) send(lines ...string) {
	f.r.t.Helper()
	c := &call{set: f.r.s.set.Load(), d: f.d, t: f.r.s.st.tenant("nord")}
	b := f.r.s.batch(c)
	b.texts = lines
	if p := f.r.s.scan(c, b); p != nil {
		f.r.t.Fatal(p)
	}
	n := len(f.all)
	f.all = append(f.all, b)
	f.wg.Go(func() { _ = f.r.s.take(b) }) // its err keeps the outcome
	for waits := 0; waits <= n; runtime.Gosched() {
		f.d.flow.queue.Lock()
		waits = len(f.d.flow.waiting)
		f.d.flow.queue.Unlock()
	}
}

// land lets them go, and gives what became of each.
func (f *flight) land() (out []string) {
	f.d.flow.Unlock()
	f.wg.Wait()
	for _, b := range f.all {
		if b.err != nil {
			out = append(out, b.err.Error())
			continue
		}
		out = append(out, fmt.Sprintf("%d accepted, %d duplicate, %d refused", b.n.accepted, b.n.duplicate, b.n.refused))
	}
	return out
}

func TestRequestsInFlightShareAnAppend(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.enrol("nord", "m-1")
	f := newFlight(r, "m-1")
	f.send(r.line(11, 1), r.line(12, 1))
	f.send(r.line(13, 1))
	f.send(r.line(9, 1), r.line(10, 1)) // came by another connection, late
	f.send(r.line(12, 1))               // again: waits for the outcome of the first
	f.send(r.line(13, 2))               // the same number for something else
	f.send(r.line(14, 1))
	got := strings.Join(f.land(), "; ")
	if want := "2 accepted, 0 duplicate, 0 refused; 1 accepted, 0 duplicate, 0 refused; 2 accepted, 0 duplicate, 0 refused; 0 accepted, 1 duplicate, 0 refused; 0 accepted, 0 duplicate, 1 refused; 1 accepted, 0 duplicate, 0 refused"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	// The first three are one append; the receipt of each names its own entries.
	for i, first := range []int64{0, 2, 3} {
		if f.all[i].first != first {
			t.Errorf("batch %d: first index %d, want %d", i, f.all[i].first, first)
		}
	}
	if len(f.all[0].positions) != 5 {
		t.Errorf("the first append had %d entries, want 5", len(f.all[0].positions))
	}
	if index := f.all[3].lines[0].Index; index == nil || *index != 1 {
		t.Errorf("the duplicate stands at %v, want 1", index)
	}
	r.sameAsFold()
}

// TestDurabilityLostInFlight loses it under an append that others wait for.
func TestDurabilityLostInFlight(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	r.send(r.deviceClient(pair), r.line(1, 1))
	size := r.s.led.Size("nord")
	f := newFlight(r, "m-1")
	f.send(r.line(2, 1))
	f.send(r.line(3, 1))
	f.send(r.line(2, 1))
	r.s.lose(errors.New("the disk is gone"))
	for i, got := range f.land() {
		if got != "the disk is gone" {
			t.Errorf("batch %d: %s", i, got)
		}
	}
	if _, err := r.deviceClient(pair).Send(t.Context(), []byte(r.line(2, 1))); err == nil {
		t.Error("taken after durability was lost")
	} else {
		refusedWith(t, err, CodeDurabilityLost)
	}
	r.restart()
	if now := r.s.led.Size("nord"); now != size {
		t.Fatalf("%d entries, want %d", now, size)
	}
	if rec := r.send(r.deviceClient(pair), r.line(2, 1), r.line(3, 1)); rec.Accepted != 2 {
		t.Errorf("after the restart: %+v", rec)
	}
}

// TestDecisionInFlight quarantines a device whose requests wait.
func TestDecisionInFlight(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.enrol("nord", "m-1")
	f := newFlight(r, "m-1")
	f.send(r.line(1, 1))
	f.send(r.line(2, 1))
	f.d.record.State = "quarantined" // as the decision does, which holds the flow
	for i, got := range f.land() {
		if !strings.Contains(got, "quarantined") {
			t.Errorf("batch %d: %s", i, got)
		}
	}
	if n := r.s.led.Size("nord"); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// TestManyInFlight sends the numbers of one device over many requests at once,
// each twice, out of order.
func TestManyInFlight(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rates.Device = Rate{1e9, 1 << 30} })
	r.tenant("nord")
	client := r.deviceClient(r.enrol("nord", "m-1"))
	const requests, each = 120, 5
	order := rand.New(rand.NewPCG(1, 1)).Perm(2 * requests)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var accepted, duplicate int64
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				var lines []string
				for k := range each {
					lines = append(lines, r.line(1+i/2*each+k, 1))
				}
				rec, err := client.Send(t.Context(), []byte(strings.Join(lines, "\n")))
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				accepted, duplicate = accepted+rec.Accepted, duplicate+rec.Duplicate
				mu.Unlock()
			}
		})
	}
	for _, i := range order {
		next <- i
	}
	close(next)
	wg.Wait()
	if accepted != requests*each || duplicate != requests*each {
		t.Errorf("%d accepted, %d duplicate, want %d of each", accepted, duplicate, requests*each)
	}
	stands := map[int64]int{}
	for data, err := range r.s.led.Entries("nord", 0, 1<<62) {
		if err != nil {
			t.Fatal(err)
		}
		var e tenantEntry
		if err := unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.T == "event" {
			stands[*e.Seq]++
		}
	}
	for n := int64(1); n <= requests*each; n++ {
		if stands[n] != 1 {
			t.Errorf("number %d stands %d times", n, stands[n])
		}
	}
	r.sameAsFold()
}

// TestGroupsNearTheLimitOfHoles: where what goes before may push the oldest
// hole out, a batch that fills it waits.
func TestGroupsNearTheLimitOfHoles(t *testing.T) {
	const size = 1 << 20
	w := newWindow()
	for i := range int64(maxHoles - 3) {
		w.accept(100+2*i, i, size, t0)
	}
	high := w.high
	d := &device{windows: map[int64]*window{0: w}}
	made := func(seqs ...int64) *batch {
		b := &batch{d: d}
		for _, n := range seqs {
			b.events = append(b.events, event{seq: n, hasSeq: true})
		}
		b.claim = claimOf(b.events)
		return b
	}
	late := made(101)
	if !joins([]*batch{made(high + 1)}, late, size) {
		t.Error("the next number keeps a late one from going along")
	}
	if joins([]*batch{made(high+2, high+4, high+6)}, late, size) {
		t.Error("a late number goes along with one that leaves holes")
	}
	if joins([]*batch{made(high + 2), made(high + 4), made(high + 6)}, late, size) {
		t.Error("a late number goes along with three that each leave a hole")
	}
}
