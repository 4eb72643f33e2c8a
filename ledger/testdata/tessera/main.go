// Command tessera holds the ledger against Tessera's POSIX log on the same
// disk: the same entries of 248 bytes, brought by producers that each wait
// until their batch is durable before they bring the next, the two one after
// the other in each round. It is a module of its own, so that Tessera's
// requirements are none of trustpack's.
//
// Each side gets what suits it. The ledger signs a checkpoint of each log
// every second; Tessera, whose futures end when an entry is sequenced,
// integrated and written with O_SYNC, gets the checkpoint interval of its
// defaults, no antispam and no garbage collection, which all would cost it
// something, the batching that -sweep found best, and as many producers as the
// ledger gets or as suit it best.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// store is one of the two that are compared.
type store interface {
	// add makes the entries durable in a log, all of them, and then returns.
	add(log int, entries [][]byte) error
	// close brings everything into its final place.
	close() error
}

// load says what is brought, and how the store is set up for it.
type load struct {
	name      string
	open      func(ctx context.Context, dir string, logs int) (store, error)
	logs      int
	producers int
	batch     int
}

// outcome is what one run gave.
type outcome struct {
	perSecond float64 // events durable, until the last answer
	closed    float64 // the same until everything stood in its final place
}

// entries are events as the ingest writes them, data and payload one after the
// other: times, counters and readings differ from one to the next. Each has 248
// bytes.
func entries(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([][]byte, n)
	for i := range out {
		at := time.Unix(1_782_900_000+int64(i/5000), int64(i%5000)*2e5+r.Int64N(2e5)).UTC()
		payload := fmt.Appendf(nil, `{"hz":%.2f,"kwh":%.2f,"v":%.1f,"w":%.1f}`, 49.9+r.Float64()/5, 1e4+r.Float64()*1e3, 225+r.Float64()*10, 1000+r.Float64()*3000)
		e := fmt.Appendf(nil, `{"boot":3,"device":"meter-%05d","fw":"4.2.%d","gen":1,"received":%q,"rules":"9f86","seq":%d,"t":"event","time":%q,"type":"power"`,
			r.IntN(500), r.IntN(4), at.Format("2006-01-02T15:04:05.000000000Z"), 100_000+i/500, at.Format("2006-01-02T15:04:05.000Z"))
		for len(e)+len(payload) < 247 {
			e = append(e, ' ')
		}
		out[i] = append(append(e, '}'), payload...)
	}
	return out
}

// run brings events for as long as it is told.
func run(ctx context.Context, w load, data [][]byte, dir string, d time.Duration) (o outcome, err error) {
	dir, err = os.MkdirTemp(dir, "compare-")
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := w.open(ctx, dir, w.logs)
	if err != nil {
		return o, fmt.Errorf("opening %s: %w", w.name, err)
	}
	runtime.GC()
	var (
		wg   sync.WaitGroup
		done atomic.Int64
		errs = make([]error, w.producers)
	)
	began := time.Now()
	for p := range w.producers {
		wg.Go(func() {
			for n := p * 7919; time.Since(began) < d; n++ {
				at := n * w.batch % (len(data) - w.batch)
				if errs[p] = s.add((p+n)%w.logs, data[at:at+w.batch]); errs[p] != nil {
					return
				}
				done.Add(int64(w.batch))
			}
		})
	}
	wg.Wait()
	o.perSecond = float64(done.Load()) / time.Since(began).Seconds()
	if err := errors.Join(append(errs, s.close())...); err != nil {
		return o, fmt.Errorf("%s: %w", w.name, err)
	}
	o.closed = float64(done.Load()) / time.Since(began).Seconds()
	return o, nil
}

func main() {
	if err := compare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "tessera: error:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context) error {
	dir := flag.String("dir", "", "measure on the disk of this `folder` (default the system's temporary folder)")
	batch := flag.Int("batch", 100, "events that a producer brings at once")
	duration := flag.Duration("duration", 5*time.Second, "how long each side runs in each round")
	rounds := flag.Int("rounds", 3, "how often the two take turns")
	looking := flag.Bool("sweep", false, "look for the batching and the number of producers that suit Tessera best")
	flag.Parse()
	quiet := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(quiet)
	for _, set := range []string{"-logtostderr=false", "-stderrthreshold=ERROR"} { // Tessera tells of each log that it begins
		if err := quiet.Parse([]string{set}); err != nil {
			return err
		}
	}
	klog.SetOutput(io.Discard)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) // one more that may wait for the disk, for both
	}
	data := entries(100_000)
	if *looking {
		return sweep(ctx, data, *dir, *batch, *duration)
	}
	for _, logs := range []int{1, 200} {
		var sides []load
		for _, o := range tuned(logs) { // each beside the ledger with as many producers
			sides = append(sides, load{fmt.Sprintf("trustpack: %d producers, a checkpoint every second, zstd", o.producers), openLedger, logs, o.producers, *batch},
				load{"tessera: " + o.String(), o.open, logs, o.producers, *batch})
		}
		fmt.Printf("%d logs, %d events a batch, %v a side in each of %d rounds\n", logs, *batch, *duration, *rounds)
		got := make([][]float64, len(sides))
		for range *rounds {
			for i, w := range sides {
				o, err := run(ctx, w, data, *dir, *duration)
				if err != nil {
					return err
				}
				got[i] = append(got[i], o.perSecond)
				fmt.Printf("  %9.0f events/s, %9.0f until closed  %s\n", o.perSecond, o.closed, w.name)
			}
		}
		for i := 0; i < len(sides); i += 2 {
			a, b := median(got[i]), median(got[i+1])
			fmt.Printf("  medians %9.0f and %9.0f events/s, ratio %5.1f at %d producers\n", a, b, a/b, sides[i].producers)
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
