package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// workload is what workers bring, each one request after the other.
type workload struct {
	workers  int
	batch    int // events a request
	duration time.Duration
	events   int64 // where set, the load ends with so many rather than after the duration
	// rate is how many requests a second fall due, however long the answers
	// take: what an answer took then counts from when its request was due, so
	// that waiting for the answer before is not hidden. 0 sends the next request
	// with each answer, and what an answer took counts from sending.
	rate    float64
	profile string                          // file for a CPU profile; empty makes none
	sample  func(events int64, every int64) // where set, called after every so many events
}

// soakSamples is how often memory is looked at in a load of a given number of
// events.
const soakSamples = 50

func (f *benchFlags) load() workload {
	return workload{workers: f.connections, batch: f.batch, duration: f.duration, profile: f.profile}
}

// drive runs the load and says what came of it. Each worker calls step again
// and again, which sends one batch and waits for its answer.
func (l workload) drive(ctx context.Context, step func(worker int) error) (r benchResult, err error) {
	end, err := l.profiled()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var (
		wg   sync.WaitGroup
		acks = make([]histogram, l.workers)
		errs = make([]error, l.workers)
		sent atomic.Int64
	)
	runtime.GC() // which can take a while, so the time begins after it
	stop := context.CancelFunc(nil)
	if l.events > 0 {
		ctx, stop = context.WithCancel(ctx)
	} else {
		ctx, stop = context.WithTimeout(ctx, l.duration)
	}
	defer stop()
	cpu, began := processCPU(), time.Now()
	for i := range l.workers {
		wg.Go(func() {
			last := time.Now()
			for n := 0; ctx.Err() == nil; n++ {
				if l.rate > 0 {
					last = began.Add(time.Duration(float64(n*l.workers+i) / l.rate * float64(time.Second)))
					if !sleepUntil(ctx, last, l.rate) {
						return
					}
				}
				if errs[i] = step(i); errs[i] != nil {
					stop()
					return
				}
				now := time.Now()
				acks[i].addAt(now.Sub(last), now)
				last = now
				if l.count(sent.Add(int64(l.batch))) {
					stop()
				}
			}
		})
	}
	wg.Wait()
	took, cpu := time.Since(began), processCPU()-cpu
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	var all histogram
	for i := range acks {
		all.merge(&acks[i])
	}
	return l.result(&all, took, cpu)
}

// result is what came of a load whose answers took what all says.
func (l workload) result(all *histogram, took, cpu time.Duration) (r benchResult, err error) {
	if all.n == 0 {
		return r, fmt.Errorf("no request was answered within %v", l.duration)
	}
	r = benchResult{Batch: l.batch, Connections: l.workers, Duration: took.Seconds(), requests: float64(all.n) / took.Seconds(), events: float64(all.n) * float64(l.batch)}
	r.EventsPerSecond, r.CPUPerEvent = r.events/took.Seconds(), float64(cpu.Microseconds())/r.events
	r.acks = *all
	r.AckP50, r.AckP99, r.AckP999, r.AckMax = all.quantile(0.5), all.quantile(0.99), all.quantile(0.999), milliseconds(all.most)
	return r, nil
}

// count notes that sent events were sent by now and says whether that is all.
func (l workload) count(sent int64) bool {
	if every := max(1, l.events/soakSamples); l.sample != nil && sent/every > (sent-int64(l.batch))/every {
		l.sample(sent, every)
	}
	return l.events > 0 && sent >= l.events
}

// profiled begins a CPU profile, if one is wanted, and gives what ends it.
func (l workload) profiled() (end func() error, err error) {
	if l.profile == "" {
		return func() error { return nil }, nil
	}
	out, err := os.Create(l.profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return func() error { pprof.StopCPUProfile(); return out.Close() }, nil
}

const (
	napTime = 1500 * time.Microsecond // how much of a wait is left to nap
	napRate = 5000                    // waits a second beyond which the threads that nap cost more than they give
)

// sleepUntil waits until t, one of rate such moments a second, and says false
// where ctx ended first.
func sleepUntil(ctx context.Context, t time.Time, rate float64) bool {
	wait := time.Until(t)
	if rate <= napRate {
		wait -= napTime
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	if wait := time.Until(t); wait > 0 {
		nap(wait)
	}
	return true
}

// histogram counts durations in classes that are 1.6 % wide, so that its
// memory does not grow with the load.
type histogram struct {
	classes []uint32
	n       uint64
	most    time.Duration
	ended   time.Time // when the longest did, where that is known
}

const (
	classBits = 7 // of a duration's leading bits tell its class
	topClass  = (40-classBits)<<(classBits-1) + 1<<classBits
)

func (h *histogram) add(d time.Duration) {
	if h.classes == nil {
		h.classes = make([]uint32, topClass)
	}
	v := uint64(max(0, d))
	shift := max(0, bits.Len64(v)-classBits)
	h.classes[min(topClass-1, shift<<(classBits-1)+int(v>>shift))]++
	h.n++
	h.most = max(h.most, d)
}

// addAt is add of one that ended at end.
func (h *histogram) addAt(d time.Duration, end time.Time) {
	if d > h.most {
		h.ended = end
	}
	h.add(d)
}

func (h *histogram) merge(o *histogram) {
	if h.classes == nil {
		h.classes = make([]uint32, topClass)
	}
	for i, n := range o.classes {
		h.classes[i] += n
	}
	h.n += o.n
	if o.most > h.most {
		h.most, h.ended = o.most, o.ended
	}
}

// quantile is how many milliseconds the share q of all took at most.
func (h *histogram) quantile(q float64) float64 {
	rank := uint64(q * float64(h.n))
	for i, n := range h.classes {
		if rank < uint64(n) {
			shift := max(0, i>>(classBits-1)-1)
			top := time.Duration((i - shift<<(classBits-1) + 1) << shift)
			return milliseconds(min(top, h.most))
		}
		rank -= uint64(n)
	}
	return milliseconds(h.most)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
