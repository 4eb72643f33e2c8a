package ledger

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// BenchmarkAppend appends 248-byte entries durably, on the disk of the
// temporary directory (set TMPDIR). Besides time it gives entries a second
// and the bytes on disk an entry once the ledger is closed, with and without
// the journal's last segment.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ batch, producers, logs int }{{1, 1, 1}, {1, 64, 1}, {1, 1024, 1}, {100, 1, 1}, {100, 8, 1}, {100, 64, 1}, {100, 64, 200}} {
		b.Run(fmt.Sprintf("batch=%d/producers=%d/logs=%d", c.batch, c.producers, c.logs), func(b *testing.B) {
			dir := b.TempDir()
			l := open(b, dir, testOptions())
			data := make([]byte, 248)
			var next, total atomic.Int64
			b.SetParallelism(max(1, c.producers/2)) // of GOMAXPROCS, which is 2 where the figures are from
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				batch := make([]Entry, c.batch)
				log := fmt.Sprintf("log-%d", next.Add(1)%int64(c.logs))
				for i := range batch {
					batch[i] = Entry{log, data}
				}
				for pb.Next() {
					if _, err := l.Append(context.Background(), batch...); err != nil {
						b.Error(err)
						return
					}
					total.Add(int64(c.batch))
				}
			})
			b.StopTimer()
			n := float64(total.Load())
			b.ReportMetric(n/b.Elapsed().Seconds(), "entries/s")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(diskBytes(b, filepath.Join(dir, logsDir)))/n, "disk-B/entry")
		})
	}
}

func diskBytes(b *testing.B, dir string) int64 {
	b.Helper()
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		sum += info.Size()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return sum
}

// BenchmarkCheckpoint appends one entry and signs, as a timer does.
func BenchmarkCheckpoint(b *testing.B) {
	l := open(b, b.TempDir(), testOptions())
	fill(b, l, "a", 10_000)
	for b.Loop() {
		appendOne(b, l, "a", "news")
		if _, err := l.PublishCheckpoint("a"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFsck re-derives a log of 200,000 entries.
func BenchmarkFsck(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir, testOptions())
	batch := make([]Entry, 1000)
	for i := range batch {
		batch[i] = Entry{"a", make([]byte, 248)}
	}
	for range 200 {
		if _, err := l.Append(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	var rate float64
	for b.Loop() {
		r, err := Fsck(dir, FsckOptions{})
		if err != nil || !r.OK() {
			b.Fatal(r.Problems, err)
		}
		rate = r.EntriesPerSecond
	}
	b.ReportMetric(rate, "entries/s")
}
