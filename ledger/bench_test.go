package ledger

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// telemetry gives n entries of 248 bytes, data and payload together, as the
// ingest writes them: times, counters and readings differ from one to the next.
func telemetry(n int) []Entry {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]Entry, n)
	for i := range out {
		at := time.Unix(1782900000+int64(i/5000), int64(i%5000)*2e5+r.Int64N(2e5)).UTC()
		out[i].Payload = fmt.Appendf(nil, `{"w":%.1f,"v":%.1f,"hz":%.2f,"kwh":%.2f}`, 1000+r.Float64()*3000, 225+r.Float64()*10, 49.9+r.Float64()/5, 1e4+r.Float64()*1e3)
		out[i].Data = fmt.Appendf(nil, `{"boot":3,"device":"meter-%05d","fw":"4.2.%d","gen":1,"received":%q,"rules":"9f86","seq":%d,"t":"event","time":%q,"type":"power"}`,
			r.IntN(500), r.IntN(4), at.Format("2006-01-02T15:04:05.000000000Z"), 100_000+i/500, at.Add(-time.Duration(r.IntN(2000))*time.Millisecond).Format("2006-01-02T15:04:05.000Z"))
		rest := 247 - len(out[i].Payload)
		out[i].Data = append(append(out[i].Data[:len(out[i].Data)-1], bytes.Repeat([]byte(" "), rest-len(out[i].Data)+1)...), '}')
	}
	return out
}

// BenchmarkAppend appends 248-byte entries durably, on the disk of the
// temporary directory (set TMPDIR). Besides time it gives entries a second
// and the bytes on disk an entry, hashes included, once the ledger is closed
// and its journal holds nothing that the logs' files do not.
func BenchmarkAppend(b *testing.B) {
	data := telemetry(200_000)
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprintf("log-%d", i)
	}
	for _, c := range []struct{ batch, producers, logs int }{{1, 1, 1}, {1, 64, 1}, {1, 1024, 1}, {100, 1, 1}, {100, 8, 1}, {1, 1024, 200}, {100, 64, 1}, {100, 64, 200}} {
		b.Run(fmt.Sprintf("batch=%d/producers=%d/logs=%d", c.batch, c.producers, c.logs), func(b *testing.B) {
			dir := b.TempDir()
			l := open(b, dir, testOptions())
			var next, total atomic.Int64
			b.SetParallelism(max(1, c.producers/2)) // of GOMAXPROCS, which is 2 where the figures are from
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				batch := make([]Entry, c.batch)
				positions := make([]Position, 0, c.batch)
				producer := int(next.Add(1))
				for n := producer * 7919; pb.Next(); n++ {
					log := names[(producer+n)%c.logs]
					for i := range batch {
						batch[i] = data[(n*c.batch+i)%len(data)]
						batch[i].Log = log
					}
					if _, err := l.AppendTo(context.Background(), positions, batch); err != nil {
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
			b.ReportMetric(float64(diskBytes(b, filepath.Join(dir, logsDir))+diskBytes(b, filepath.Join(dir, payloadsDir)))/n, "disk-B/entry")
		})
	}
}

func appendTelemetry(b *testing.B, l *Ledger, log string, n int) {
	b.Helper()
	data := telemetry(min(n, 200_000))
	batch := make([]Entry, 1000)
	for at := 0; at < n; at += len(batch) {
		for i := range batch {
			batch[i] = data[(at+i)%len(data)]
			batch[i].Log = log
		}
		if _, err := l.Append(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
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

// BenchmarkHash is the bound: hashing the same entries and payloads into a tree, and
// nothing else, on all processors.
func BenchmarkHash(b *testing.B) {
	data := telemetry(10_000)
	key := testKey(b, 0)
	b.RunParallel(func(pb *testing.PB) {
		var f frontier
		s := key.salts.Get().(*salter)
		for n := int64(0); pb.Next(); n++ {
			e := &data[n%int64(len(data))]
			c := s.commit(n, e.Payload)
			f.push(n, s.leafHash(e.Data, &c), func(int, tlog.Hash) {})
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
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

// BenchmarkLarge opens and checks a ledger of LEDGER_BENCH_ENTRIES entries, or
// 200,000, that was closed, and opens one whose process was killed.
func BenchmarkLarge(b *testing.B) {
	n := 200_000
	if s := os.Getenv("LEDGER_BENCH_ENTRIES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	l := open(b, dir, testOptions())
	appendTelemetry(b, l, "a", n)
	if err := l.PublishCheckpoints(); err != nil {
		b.Fatal(err)
	}
	killed := filepath.Join(b.TempDir(), "copy")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open/closed", func(b *testing.B) {
		for b.Loop() {
			if err := open(b, dir, testOptions()).Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open/killed", func(b *testing.B) {
		for b.Loop() {
			l, err := OpenReadOnly(killed, testOptions())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(l.Recovery().Entries), "replayed")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("fsck", func(b *testing.B) {
		var rate float64
		for b.Loop() {
			r, err := Fsck(dir, FsckOptions{})
			if err != nil || !r.OK() || r.Entries != int64(n) {
				b.Fatal(r.Problems, err)
			}
			rate = r.EntriesPerSecond
		}
		b.ReportMetric(rate, "entries/s")
	})
}

// BenchmarkCheckpoints lets 200 logs grow and signs them all, as a timer does.
func BenchmarkCheckpoints(b *testing.B) {
	l := open(b, b.TempDir(), testOptions())
	var batch []Entry
	for i := range 200 {
		batch = append(batch, Entry{Log: fmt.Sprintf("log-%d", i), Data: []byte("news")})
	}
	for b.Loop() {
		b.StopTimer()
		if _, err := l.Append(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := l.PublishCheckpoints(); err != nil {
			b.Fatal(err)
		}
	}
}
