package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"trustpack/ledger"
)

// ours is a ledger.
type ours struct {
	*ledger.Ledger
	names   []string
	stop    func()
	signing sync.WaitGroup
	err     error // of signing
}

// openLedger opens a ledger that signs checkpoints every second.
func openLedger(ctx context.Context, dir string, logs int) (store, error) {
	seed, err := ledger.NewSeed()
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(dir, ledger.Options{Instance: "bench.example/ledger", Seed: seed})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &ours{Ledger: l, stop: cancel}
	for i := range logs {
		o.names = append(o.names, fmt.Sprintf("log-%d", i))
	}
	o.signing.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if o.err = l.PublishCheckpoints(); o.err != nil {
					return
				}
			}
		}
	})
	return o, nil
}

func (o *ours) add(log int, data [][]byte) error {
	batch := make([]ledger.Entry, len(data))
	for i, d := range data {
		payload := bytes.LastIndexByte(d, '{')
		batch[i] = ledger.Entry{Log: o.names[log], Data: d[:payload], Payload: d[payload:]}
	}
	_, err := o.Append(context.Background(), batch...)
	return err
}

func (o *ours) close() error {
	o.stop()
	o.signing.Wait()
	return errors.Join(o.err, o.Close())
}

// options are how Tessera is set up.
type options struct {
	size      uint          // a batch is sequenced at this many entries
	age       time.Duration // or at this age
	interval  time.Duration // of checkpoints
	producers int
}

func (o options) String() string {
	return fmt.Sprintf("POSIX v1.0.4, %d producers, WithBatching(%d, %v), WithCheckpointInterval(%v), no antispam, no garbage collection", o.producers, o.size, o.age, o.interval)
}

// theirs is a Tessera log for each name.
type theirs struct {
	logs []*tessera.Appender
}

func (o options) open(ctx context.Context, dir string, logs int) (store, error) {
	t := &theirs{}
	for i := range logs {
		private, _, err := note.GenerateKey(rand.Reader, fmt.Sprintf("bench.example/log-%d", i))
		if err != nil {
			return nil, err
		}
		signer, err := note.NewSigner(private)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, fmt.Sprintf("log-%d", i))
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, err
		}
		driver, err := posix.New(ctx, posix.Config{Path: path})
		if err != nil {
			return nil, err
		}
		appender, _, _, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().WithCheckpointSigner(signer).
			WithBatching(o.size, o.age).WithCheckpointInterval(o.interval).WithGarbageCollectionInterval(0))
		if err != nil {
			return nil, err
		}
		t.logs = append(t.logs, appender)
	}
	return t, nil
}

func (t *theirs) add(log int, data [][]byte) error {
	futures := make([]tessera.IndexFuture, len(data))
	for i, d := range data {
		futures[i] = t.logs[log].Add(context.Background(), tessera.NewEntry(d))
	}
	for _, f := range futures {
		if _, err := f(); err != nil {
			return err
		}
	}
	return nil
}

// close has nothing to do: where a future has ended, all is in its place but
// the checkpoint, which is not waited for.
func (t *theirs) close() error { return nil }

// same is how many producers the ledger gets.
const same = 64

// tuned is what sweep found best on two cores: for as many producers as the
// ledger gets, and for as many as Tessera profits from.
func tuned(logs int) []options {
	if logs == 1 {
		return []options{
			{4096, 50 * time.Millisecond, tessera.DefaultCheckpointInterval, same},
			{16384, 50 * time.Millisecond, tessera.DefaultCheckpointInterval, 512},
		}
	}
	return []options{
		{1024, 50 * time.Millisecond, tessera.DefaultCheckpointInterval, same},
		{4096, 50 * time.Millisecond, tessera.DefaultCheckpointInterval, 512},
	}
}

// sweep tries what may suit Tessera, one setting after the other.
func sweep(ctx context.Context, data [][]byte, dir string, batch int, d time.Duration) error {
	for _, logs := range []int{1, 200} {
		var top options
		most := 0.0
		for _, producers := range []int{64, 512, 2048, 8192} {
			for _, size := range []uint{256, 1024, 4096, 16384, 65536} {
				for _, age := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond} {
					o := options{size, age, tessera.DefaultCheckpointInterval, producers}
					if int(size) > producers*batch && age > 5*time.Millisecond {
						continue // it would wait for what does not come
					}
					got, err := run(ctx, load{"tessera", o.open, logs, producers, batch}, data, dir, d)
					if err != nil {
						return err
					}
					fmt.Printf("%3d logs %9.0f events/s  %v\n", logs, got.perSecond, o)
					if got.perSecond > most {
						top, most = o, got.perSecond
					}
				}
			}
		}
		fmt.Printf("%3d logs: best %.0f events/s with %v\n", logs, most, top)
	}
	return nil
}
