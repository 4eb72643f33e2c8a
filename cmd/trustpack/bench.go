package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) benchCommand() *cobra.Command {
	return group("bench", "Measure how fast this machine ingests, logs and verifies", a.benchIngest(), a.benchLedger(), a.benchVerify())
}

// benchFlags are what every load generator takes.
type benchFlags struct {
	tenants, batch, connections int
	duration                    time.Duration
	dir, profile                string
	json                        bool
}

func (f *benchFlags) add(cmd *cobra.Command, connections string) {
	cmd.Flags().IntVar(&f.tenants, "tenants", 1, "spread the load over this many tenants, each with a log of its own")
	cmd.Flags().IntVar(&f.batch, "batch", 100, "events a request")
	cmd.Flags().IntVar(&f.connections, "connections", 64, connections)
	cmd.Flags().DurationVar(&f.duration, "duration", 5*time.Second, "how long to measure")
	cmd.Flags().StringVar(&f.dir, "dir", "", "measure on the disk of this `folder`; what is made there is removed (default the system's temporary folder)")
	cmd.Flags().StringVar(&f.profile, "cpuprofile", "", "write a CPU profile of what is measured to this `file`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print as JSON")
}

func (f *benchFlags) check() error {
	for _, n := range []struct {
		flag      string
		got, most int
	}{{"tenants", f.tenants, 10_000}, {"batch", f.batch, 10_000}, {"connections", f.connections, 10_000}} {
		if n.got < 1 || n.got > n.most {
			return fmt.Errorf("--%s: %d is outside 1 to %d", n.flag, n.got, n.most)
		}
	}
	if f.duration < 10*time.Millisecond || f.duration > time.Hour {
		return fmt.Errorf("--duration: %v is outside 10ms to 1h", f.duration)
	}
	return nil
}

// benchResult is what a run has measured.
type benchResult struct {
	EventsPerSecond   float64 `json:"events_per_second"`
	AckP50            float64 `json:"ack_p50_ms"` // see workload.rate for what counts
	AckP99            float64 `json:"ack_p99_ms"`
	AckP999           float64 `json:"ack_p999_ms"`
	AckMax            float64 `json:"ack_max_ms"`
	CPUPerEvent       float64 `json:"cpu_us_per_event"`     // of the whole process, the load generator included
	DiskBytesPerEvent float64 `json:"disk_bytes_per_event"` // hashes included; the journal, whose segments are used again, is not
	Tenants           int     `json:"tenants"`
	Batch             int     `json:"batch"`
	Connections       int     `json:"connections"`
	Duration          float64 `json:"duration_s"`

	requests float64 // a second
	events   float64 // in all
	acks     histogram
}

// spareThread gives the scheduler one thread more than there are cores: one
// that waits for the disk would else keep the others waiting too. A number
// that the environment sets stands.
func (a *app) spareThread() {
	if a.getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// inBenchDir runs do in a new folder, which is removed.
func (f *benchFlags) inBenchDir(do func(dir string) error) error {
	dir, err := os.MkdirTemp(f.dir, "trustpack-bench-")
	if err != nil {
		return err
	}
	return errors.Join(do(dir), os.RemoveAll(dir))
}

// logBytes is what the ledger in dir holds beside its journal.
func logBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "journal" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

func (r benchResult) rows() [][]string {
	return [][]string{
		{"MEASURED", "VALUE"},
		{"events a second", fmt.Sprintf("%.0f", r.EventsPerSecond)},
		{"ack p50", fmt.Sprintf("%.3f ms", r.AckP50)},
		{"ack p99", fmt.Sprintf("%.3f ms", r.AckP99)},
		{"ack p99.9, longest", fmt.Sprintf("%.3f ms, %.3f ms", r.AckP999, r.AckMax)},
		{"CPU an event, with the load generator", fmt.Sprintf("%.2f us", r.CPUPerEvent)},
		{"disk an event", fmt.Sprintf("%.1f bytes", r.DiskBytesPerEvent)},
	}
}
