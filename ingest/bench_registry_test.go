package ingest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
)

// BenchmarkRegistry gives what a registry of 100,000 devices of 20 tenants
// costs: the start with a snapshot and from the log alone, the memory in use
// after it, and how long lists and searches take over the admin port.
func BenchmarkRegistry(b *testing.B) {
	const devices, tenants = 100_000, 20
	r := stoppedRig(b, func(r *rig) {
		for i := range tenants {
			r.tenant(fmt.Sprintf("tenant-%d", i))
		}
		for i := 0; i < devices; i += 1000 {
			registerDevices(b, r.s, i, i+1000, tenants)
		}
	})
	open := func() time.Duration {
		began := time.Now()
		s, err := Open(Options{Dir: r.dir, Config: r.config, Now: r.clock.now, Clock: evidence.ClockSimulated, Sample: true, Version: "test"})
		took := time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		if len(s.st.devices) != devices {
			b.Fatalf("%d devices", len(s.st.devices))
		}
		if err := s.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		return took
	}
	ms := func(took time.Duration) float64 { return float64(took.Microseconds()) / 1e3 }
	for b.Loop() {
		b.ReportMetric(ms(open()), "ms-start")
		if err := os.RemoveAll(filepath.Join(r.dir, "ledger", "snapshots")); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(ms(open()), "ms-start-from-log")

		r.s = nil // the one before, with its registry
		r.start()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
		b.ReportMetric(float64(m.HeapAlloc)/devices, "heap-B/device")
		b.ReportMetric(resident(b)/1e6, "RSS-MB")

		erin := r.admin("erin")
		median := func(what string, times int, ask func() int, want int) {
			var took []time.Duration
			for range times {
				began := time.Now()
				n := ask()
				took = append(took, time.Since(began))
				if n != want {
					b.Fatalf("%s: %d devices, want %d", what, n, want)
				}
			}
			slices.Sort(took)
			b.ReportMetric(ms(took[len(took)/2]), "ms-"+what)
		}
		page := func(q DeviceQuery) func() int {
			return func() int {
				found, err := erin.DevicePage(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				return len(found.Devices)
			}
		}
		median("first-page-of-100", 50, page(DeviceQuery{Limit: 100}), 100)
		median("late-page-of-100", 50, page(DeviceQuery{Limit: 100, After: "tenant-9/meter-090009/1"}), 100)
		median("one-by-tenant-and-id", 50, page(DeviceQuery{Tenant: "tenant-7", Prefix: "meter-077707", Limit: 100}), 1)
		median("prefix-in-all-tenants", 50, page(DeviceQuery{Prefix: "meter-0777", Limit: 100}), 100)
		median("none-in-state", 50, page(DeviceQuery{State: evidence.DeviceQuarantined, Limit: 100}), 0)
		median("all-by-pages", 3, func() int {
			found, err := erin.Devices(b.Context(), "")
			if err != nil {
				b.Fatal(err)
			}
			return len(found)
		}, devices)
		r.stop()
	}
}

// BenchmarkEnrolment gives how many devices a second exchange their codes for
// certificates over TLS, each over a connection of its own, and how many a
// second go the whole way: request, approval, enrolment. connections/enrolment is
// how many connections with one request that does nothing are made in the time
// of one enrolment, key and certificate request included.
func BenchmarkEnrolment(b *testing.B) {
	const lot, workers = 1000, 16
	r := newRig(b)
	r.tenant("nord")
	done := 0
	var whole, alone, bare time.Duration
	for b.Loop() {
		b.StopTimer()
		r.clock.add(time.Minute) // attempts of one address are bounded by time
		codes := make([]string, lot)
		each := func(do func(i int) error) time.Duration {
			began := time.Now()
			var g errgroup.Group
			for w := range workers {
				g.Go(func() error {
					for i := w; i < lot; i += workers {
						if err := do(i); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		id := func(i int) string { return fmt.Sprintf("m-%d-%d", done, i) }
		ben, carla := r.admin("ben"), r.admin("carla")
		b.StartTimer()
		asked := each(func(i int) error {
			_, err := ben.RequestDevice(b.Context(), DeviceRequest{Tenant: "nord", Device: id(i), Type: "meter", Reason: "rollout"})
			if err == nil {
				codes[i], _, err = carla.ApproveDevice(b.Context(), "nord", id(i), "")
			}
			return err
		})
		enrolled := each(func(i int) error {
			c := r.deviceClient(nil)
			defer c.Close()
			_, err := c.Enrol(b.Context(), "nord", id(i), codes[i])
			return err
		})
		bare += each(func(int) error {
			c := r.deviceClient(nil)
			defer c.Close()
			_, err := c.do(b.Context(), http.MethodGet, "/healthz", "", nil)
			return err
		})
		done++
		whole, alone = whole+asked+enrolled, alone+enrolled
	}
	b.ReportMetric(float64(lot*done)/alone.Seconds(), "enrolments/s")
	b.ReportMetric(float64(lot*done)/whole.Seconds(), "provisioned/s")
	b.ReportMetric(alone.Seconds()/bare.Seconds(), "connections/enrolment")
}
