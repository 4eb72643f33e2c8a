package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ledger"
)

func (a *app) benchLedger() *cobra.Command {
	var f benchFlags
	var keep string
	var entries int64
	var rate float64
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Append entries of 248 bytes durably, in process",
		Long: `Appends entries of 248 bytes durably, in process. With --entries it appends
so many rather than for a time, and with --keep the ledger stays, checkpoints
signed, for "ledger fsck" and others to be tried on it. --rate offers a fixed
number of appends a second, and counts what one took from when it was due.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if entries < 0 || entries > 1e12 {
				return fmt.Errorf("--entries: %d is outside 0 to 1000000000000", entries)
			}
			if rate < 0 || rate > 1e6 {
				return fmt.Errorf("--rate: %v is outside 0 to 1000000 appends a second", rate)
			}
			a.spareThread()
			in := f.inBenchDir
			if keep != "" {
				in = func(do func(string) error) error { return inNewDir(keep, do) }
			}
			return in(func(dir string) error {
				l := f.load()
				l.events, l.rate = entries, rate
				r, err := a.loadLedger(cmd.Context(), l, f.tenants, dir)
				if err != nil {
					return err
				}
				if f.json {
					return a.printJSON(r)
				}
				return a.table(r.rows())
			})
		},
	}
	f.add(cmd, "producers that append at once")
	cmd.Flags().StringVar(&keep, "keep", "", "make the ledger in this new `folder`, and leave it there")
	cmd.Flags().Float64Var(&rate, "rate", 0, "offer this many appends a second rather than as many as are made")
	cmd.Flags().Int64Var(&entries, "entries", 0, "append this many entries rather than for a time")
	return cmd
}

// inNewDir runs do in dir, which must not be there yet.
func inNewDir(dir string, do func(string) error) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return do(dir)
}

// benchEntries are entries as the ingest writes them, of 248 bytes with their
// payloads: times, counters and readings differ from one to the next.
func benchEntries(n int) []ledger.Entry {
	rnd := rand.New(rand.NewPCG(1, 2))
	out := make([]ledger.Entry, n)
	for i := range out {
		at := time.Unix(1_782_900_000+int64(i/5000), int64(i%5000)*2e5).UTC()
		e := &out[i]
		e.Payload = fmt.Appendf(nil, `{"hz":%.2f,"kwh":%.2f,"v":%.1f,"w":%.1f}`, 49.9+rnd.Float64()/5, 1e4+rnd.Float64()*1e3, 225+rnd.Float64()*10, 1000+rnd.Float64()*3000)
		e.Data = fmt.Appendf(nil, `{"boot":3,"device":"meter-%05d","fw":"4.2.%d","gen":1,"received":%q,"rules":"9f86","seq":%d,"t":"event","time":%q,"type":"power"`,
			rnd.IntN(500), rnd.IntN(4), at.Format("2006-01-02T15:04:05.000000000Z"), 100_000+i/500, at.Format("2006-01-02T15:04:05.000Z"))
		for len(e.Data)+len(e.Payload) < 247 {
			e.Data = append(e.Data, ' ')
		}
		e.Data = append(e.Data, '}')
	}
	return out
}

// loadLedger appends to a new ledger in dir, and signs a checkpoint of each
// log at the end.
func (a *app) loadLedger(ctx context.Context, w workload, tenants int, dir string) (r benchResult, err error) {
	seed, err := ledger.NewSeed()
	if err != nil {
		return r, err
	}
	l, err := ledger.Open(dir, ledger.Options{Instance: "bench.example/ledger", Seed: seed})
	if err != nil {
		return r, err
	}
	data := benchEntries(100_000)
	logs := make([]string, tenants)
	for i := range logs {
		logs[i] = fmt.Sprintf("log-%d", i)
	}
	batches, turns := make([][]ledger.Entry, w.workers), make([]int, w.workers)
	positions := make([][]ledger.Position, w.workers)
	for i := range batches {
		batches[i], turns[i] = make([]ledger.Entry, w.batch), i*7919
	}
	r, err = w.drive(ctx, func(worker int) (err error) {
		n := turns[worker]
		turns[worker]++
		for k := range batches[worker] {
			batches[worker][k] = data[(n*w.batch+k)%len(data)]
			batches[worker][k].Log = logs[(worker+n)%len(logs)]
		}
		positions[worker], err = l.AppendTo(context.Background(), positions[worker][:0], batches[worker])
		return err
	})
	if err == nil {
		err = l.PublishCheckpoints()
	}
	if err = errors.Join(err, l.Close()); err != nil {
		return r, err
	}
	bytes, err := logBytes(dir)
	r.Tenants, r.DiskBytesPerEvent = tenants, float64(bytes)/r.events
	return r, err
}
