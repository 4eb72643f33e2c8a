package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
	"trustpack/ledger"
)

// openEntries is INGEST_BENCH_ENTRIES, or 200,000.
func openEntries(b *testing.B) int {
	b.Helper()
	text := os.Getenv("INGEST_BENCH_ENTRIES")
	if text == "" {
		return 200_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkOpenTelemetry opens an ingest whose tenants' logs hold
// INGEST_BENCH_ENTRIES entries of 10,000 devices, in the folder of temporary
// files (set TMPDIR): without a snapshot, and with that of a clean end.
func BenchmarkOpenTelemetry(b *testing.B) {
	for _, tenants := range []int{1, 20} {
		b.Run(fmt.Sprintf("tenants=%d", tenants), func(b *testing.B) {
			n, devices := openEntries(b), 10_000
			r := stoppedRig(b, func(r *rig) {
				for i := range tenants {
					r.tenant(fmt.Sprintf("tenant-%d", i))
				}
				for i := 0; i < devices; i += 1000 {
					registerDevices(b, r.s, i, i+1000, tenants)
				}
			})
			began := time.Now()
			fillTelemetry(b, r, n, devices, tenants)
			b.Logf("%d entries were appended at %.0f a second", n, float64(n)/time.Since(began).Seconds())
			benchmarkOpen(b, r, n)
		})
	}
}

// BenchmarkOpenControl is the same with a control log of INGEST_BENCH_ENTRIES
// entries: devices' provisioning, refusals, alerts and gaps.
func BenchmarkOpenControl(b *testing.B) {
	n := openEntries(b)
	r := stoppedRig(b, func(r *rig) {
		r.tenant("tenant-0")
		for i := 0; i < n/8; i += 1000 { // four entries each
			registerDevices(b, r.s, i, i+1000, 1)
		}
		for at := 0; at < n/2; at += 1000 {
			fillControl(b, r.s, at, n/8)
		}
	})
	benchmarkOpen(b, r, n)
}

// stoppedRig makes an ingest to which make does what it wants.
func stoppedRig(b *testing.B, make func(*rig)) *rig {
	b.Helper()
	r := newRig(b)
	make(r)
	r.stop()
	return r
}

// fillControl records a thousand entries of what goes on about devices.
func fillControl(b *testing.B, s *Server, at, devices int) {
	b.Helper()
	var entries []evidence.AuditEntry
	for i := at; i < at+1000; i++ {
		e := evidence.AuditEntry{Tenant: "tenant-0", Device: fmt.Sprintf("meter-%06d", i%(devices/1000*1000)), Generation: 1}
		typ, id := evidence.EntryRefusal, fmt.Sprintf("%s-tenant-0-meter-%06d", AlertDeviceSilent, i/4)
		switch i % 4 {
		case 0:
			typ, e.Data = evidence.EntryAlertRaised, raw(evidence.Alert{ID: id, Kind: AlertDeviceSilent, Since: s.now(), Devices: []string{"tenant-0/" + e.Device}, Detail: "no telemetry for more than 3 intervals of 15m0s"})
		case 1:
			typ, e.Data = evidence.EntryAlertResolved, raw(map[string]string{"id": id, "resolution": "1 of 1 devices report again"})
		case 2:
			typ, e.Data = evidence.EntryGap, raw(gapData{1, 7, 9})
		default:
			e.Data = raw(evidence.Refusal{Code: string(CodeRateDevice), Status: 429, Count: 3, First: s.now(), Last: s.now(), Path: "/v1/telemetry", Source: "192.0.2.1", Events: 3})
		}
		entries = append(entries, s.entry(typ, e))
	}
	if _, err := s.record(entries...); err != nil {
		b.Fatal(err)
	}
}

// fillTelemetry appends what the ingest would: requests of a hundred events,
// the devices of a tenant by chance, numbers rising, some with holes.
func fillTelemetry(b *testing.B, r *rig, n, devices, tenants int) {
	b.Helper()
	seed, err := readSeed(r.dir)
	if err != nil {
		b.Fatal(err)
	}
	o := Options{Now: r.clock.now, Clock: evidence.ClockSimulated, Sample: true}
	led, err := ledger.Open(filepath.Join(r.dir, "ledger"), ledgerOptions(o, "test.example/ingest", seed))
	if err != nil {
		b.Fatal(err)
	}
	const lines, together = 100, 40
	seqs := make([]int64, devices)
	var g errgroup.Group
	for t := range min(tenants, 8) {
		g.Go(func() error {
			rnd, at := rand.New(rand.NewPCG(uint64(t), 5)), r.clock.now()
			log := make([]byte, 0, lines*together*400)
			var entries []ledger.Entry
			var positions []ledger.Position
			for left := n / min(tenants, 8) / lines; left > 0; left-- {
				i := rnd.IntN(devices/tenants)*tenants + (t+8*rnd.IntN(max(1, tenants/8)))%tenants
				at = at.Add(time.Duration(rnd.Int64N(int64(2 * time.Millisecond))))
				f := sender{device: fmt.Sprintf("meter-%06d", i), gen: 1, rules: "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92"}
				f.stamp(at)
				for range lines {
					if seqs[i]++; rnd.IntN(5000) == 0 {
						seqs[i]++
					}
					e := event{boot: 1, seq: seqs[i], hasSeq: true, time: at.Format(time.RFC3339), typ: "power.v1", fw: "1.4.2"}
					from := len(log)
					log = f.appendEvent(log, &e, nil)
					mid := len(log)
					log = fmt.Appendf(log, `{"kw":%d.25,"phase":"l2","meter":{"kwh":%d.125}}`, rnd.IntN(400), seqs[i])
					entries = append(entries, ledger.Entry{Log: fmt.Sprintf("tenant-%d", i%tenants), Data: log[from:mid:mid], Payload: log[mid:len(log):len(log)]})
				}
				if left%together != 1 { // what many send at once goes into the log at once
					continue
				}
				var err error
				if positions, err = led.AppendTo(context.Background(), positions[:0], entries); err != nil {
					return err
				}
				log, entries = log[:0], entries[:0]
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := led.PublishCheckpoints(); err != nil {
		b.Fatal(err)
	}
	if err := led.Close(); err != nil {
		b.Fatal(err)
	}
}

// benchmarkOpen opens the ingest of n entries again and again. Closing it,
// which makes the snapshot, is not measured, but its time is given.
func benchmarkOpen(b *testing.B, r *rig, n int) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("snapshot=%v", with), func(b *testing.B) {
			var closing time.Duration
			for b.Loop() {
				if !with {
					b.StopTimer()
					if err := os.RemoveAll(filepath.Join(r.dir, "ledger", "snapshots")); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				s, err := Open(Options{Dir: r.dir, Config: r.config, Now: r.clock.now, Clock: evidence.ClockSimulated, Sample: true, Version: "test"})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				began := time.Now()
				if err := s.Close(context.Background()); err != nil {
					b.Fatal(err)
				}
				closing += time.Since(began)
				b.StartTimer()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64(closing.Milliseconds())/float64(b.N), "close-ms")
			if info, err := os.Stat(filepath.Join(r.dir, "ledger", "snapshots", snapshotName+".snap")); err == nil {
				b.ReportMetric(float64(info.Size())/1e6, "snapshot-MB")
			}
		})
	}
}
