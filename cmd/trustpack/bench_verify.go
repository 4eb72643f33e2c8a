package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/pack"
)

// verifyRun is one verification, measured in a process of its own.
type verifyRun struct {
	Verdict string  `json:"verdict"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_s"`
	RSS     uint64  `json:"peak_rss_bytes"` // 0 where the system does not tell
}

// verifyBench is what "bench verify" has measured. The rates are over the
// whole of one verification, all that it does beside included; of several
// rounds the medians.
type verifyBench struct {
	Data       string `json:"data"` // always "generated"
	Bytes      int64  `json:"bytes"`
	Files      int64  `json:"files"`
	LogEntries int64  `json:"log_entries"`
	Cores      int    `json:"cores"` // that verification may use
	Rounds     int    `json:"rounds"`

	BuildSeconds float64 `json:"build_seconds"`
	BuildRSS     uint64  `json:"build_peak_rss_bytes"` // of this process, which made the data too

	Verdict   string  `json:"verdict"`
	Seconds   float64 `json:"verify_seconds"`
	CPU       float64 `json:"verify_cpu_s"`
	RSS       uint64  `json:"verify_peak_rss_bytes"`
	MBs       float64 `json:"mb_per_second"`
	FilesRate float64 `json:"files_per_second"`
	Proofs    float64 `json:"proofs_per_second"` // log entries whose inclusion was proved

	SHA256MBs    float64 `json:"sha256_mb_per_second"`              // this program, reading and hashing the same file
	Ratio        float64 `json:"ratio_to_sha256"`                   // seconds of that over seconds of the verification
	SHA256SumMBs float64 `json:"sha256sum_mb_per_second,omitempty"` // the system's sha256sum, where there is one
	RatioSum     float64 `json:"ratio_to_sha256sum,omitempty"`      // likewise
	Note         string  `json:"note,omitempty"`
}

func (a *app) benchVerify() *cobra.Command {
	var size, dir, profile string
	var g packGenerator
	var rounds, cores int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Build a pack of generated data and verify it",
		Long: `Builds a pack of generated data, which is labelled as such and evidence of
nothing, and verifies it in a process of its own, in turns with SHA-256 over the
same file, by this program and by the system's sha256sum where there is one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if g.bytes, err = parseSize(size); err != nil {
				return fmt.Errorf("--size: %w", err)
			}
			if err := g.check(); err != nil {
				return err
			}
			if rounds < 1 || rounds > 100 || cores < 1 || cores > 1000 {
				return fmt.Errorf("--rounds and --cores: want 1 or more, and no more than 100 and 1000")
			}
			f := benchFlags{dir: dir}
			return f.inBenchDir(func(dir string) error {
				b, err := a.measureVerify(cmd.Context(), g, dir, rounds, cores, profile)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(b)
				}
				return a.table(b.rows())
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&size, "size", "256MB", "bytes of evidence, such as 64kB, 2GB or 2GiB")
	fl.IntVar(&g.files, "files", 1000, "files of evidence")
	fl.Int64Var(&g.entries, "log-entries", 100_000, "entries of the evidence log, all of them cited")
	fl.IntVar(&rounds, "rounds", 3, "how often to verify")
	fl.IntVar(&cores, "cores", 1, "cores that verification may use; SHA-256 uses one")
	fl.StringVar(&dir, "dir", "", "make the pack on the disk of this `folder`; it is removed (default the system's temporary folder)")
	fl.StringVar(&profile, "cpuprofile", "", "write a CPU profile of the last verification to this `file`")
	fl.BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.AddCommand(a.benchVerified())
	return cmd
}

// measureVerify makes the pack and verifies it.
func (a *app) measureVerify(ctx context.Context, g packGenerator, dir string, rounds, cores int, profile string) (verifyBench, error) {
	b := verifyBench{Data: "generated", LogEntries: g.entries, Cores: cores, Rounds: rounds}
	path, key := filepath.Join(dir, "generated.epack.zip"), filepath.Join(dir, "vendor.pub")
	a.progress("making a pack of generated data")
	defer a.frugal(large)()
	began := time.Now()
	built, vkey, err := g.build(ctx, dir, path, key)
	if err != nil {
		return b, err
	}
	b.BuildSeconds, b.BuildRSS = time.Since(began).Seconds(), peakBytes()
	b.Bytes, b.Files = built.Bytes, built.Files
	b.Note = "sample data, made up for this measurement"
	sum, sumErr := exec.LookPath("sha256sum")
	var verifies []verifyRun
	var own, foreign []float64
	for n := range rounds {
		var at string
		if n == rounds-1 {
			at = profile
		}
		r, err := verifyInChild(ctx, path, key, vkey, cores, at)
		if err != nil {
			return b, err
		}
		if r.Verdict != "ok" {
			return b, &exitError{code: exitWrong, err: fmt.Errorf("the pack was not verified: %s", r.Verdict)}
		}
		verifies = append(verifies, r)
		b.RSS = max(b.RSS, r.RSS)
		a.progress("round %d of %d: verified in %.2f s", n+1, rounds, r.Seconds)
		s, err := hashFile(path)
		if err != nil {
			return b, err
		}
		own = append(own, s)
		if sumErr == nil {
			began := time.Now()
			if out, err := exec.CommandContext(ctx, sum, path).CombinedOutput(); err != nil {
				return b, fmt.Errorf("running sha256sum: %w: %s", err, out)
			}
			foreign = append(foreign, time.Since(began).Seconds())
		}
	}
	b.Verdict = verifies[0].Verdict
	slices.SortFunc(verifies, func(x, y verifyRun) int { return cmp.Compare(x.Seconds, y.Seconds) })
	mid := verifies[len(verifies)/2]
	b.Seconds, b.CPU = mid.Seconds, mid.CPU
	mb := float64(b.Bytes) / 1e6
	b.MBs, b.FilesRate, b.Proofs = mb/b.Seconds, float64(b.Files)/b.Seconds, float64(b.LogEntries)/b.Seconds
	b.SHA256MBs, b.Ratio = mb/middle(own), middle(own)/b.Seconds
	if len(foreign) > 0 {
		b.SHA256SumMBs, b.RatioSum = mb/middle(foreign), middle(foreign)/b.Seconds
	}
	return b, nil
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// hashFile reads and hashes a file as sha256sum does, and says how long it took.
func hashFile(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	began := time.Now()
	sum, buf := sha256.New(), make([]byte, 256<<10)
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, buf); err != nil {
		return 0, err
	}
	return time.Since(began).Seconds(), nil
}

// verifyInChild verifies in another process, so that its memory is its own.
func verifyInChild(ctx context.Context, path, key, vkey string, cores int, profile string) (verifyRun, error) {
	self, err := os.Executable()
	if err != nil {
		return verifyRun{}, err
	}
	args := []string{"bench", "verify", "verified", path, "--key", key}
	if vkey != "" {
		args = append(args, "--log-key", vkey)
	}
	if profile != "" {
		args = append(args, "--cpuprofile", profile)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "trustpack"
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(cores))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return verifyRun{}, fmt.Errorf("verifying in a process of its own: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	var r verifyRun
	return r, json.Unmarshal(out, &r)
}

// benchVerified is that other process. It verifies as "verify" does.
func (a *app) benchVerified() *cobra.Command {
	var key, profile string
	var logKeys []string
	cmd := &cobra.Command{
		Use: "verified PACK --key PUB", Hidden: true, Short: "Verify once and print what it took", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			pub, err := readPublicKey(key)
			if err != nil {
				return err
			}
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return err
				}
				if err := pprof.StartCPUProfile(f); err != nil {
					return errors.Join(err, f.Close())
				}
				defer func() {
					pprof.StopCPUProfile()
					err = errors.Join(err, f.Close())
				}()
			}
			began := time.Now()
			in, size, err := openSized(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			defer a.frugal(size)()
			report := pack.Verify(in, size, verifyOptions(args[0], []pack.PublicKey{pub}, logKeys))
			r := verifyRun{Verdict: report.Verdict, Seconds: time.Since(began).Seconds(), CPU: processCPU().Seconds(), RSS: peakBytes()}
			if report.Exit != exitOK {
				r.Verdict = fmt.Sprintf("%s: %+v", report.Verdict, report.Checks)
			}
			return a.printJSON(r)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "public key `file`")
	cmd.Flags().StringArrayVar(&logKeys, "log-key", nil, "verifier key of a log")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "`file` for a CPU profile")
	return cmd
}

func (b verifyBench) rows() [][]string {
	rows := [][]string{
		{"MEASURED", "GENERATED DATA"},
		{"pack", fmt.Sprintf("%.1f MB, %d files, %d log entries", float64(b.Bytes)/1e6, b.Files, b.LogEntries)},
		{"built, with making the data", fmt.Sprintf("%.2f s, %.1f MB resident at most", b.BuildSeconds, mega(b.BuildRSS))},
		{"verified, on cores", fmt.Sprintf("%s in %.2f s, CPU %.2f s, on %d", b.Verdict, b.Seconds, b.CPU, b.Cores)},
		{"a second", fmt.Sprintf("%.0f MB, %.0f files, %.0f log entries proved", b.MBs, b.FilesRate, b.Proofs)},
		{"resident at most", fmt.Sprintf("%.1f MB", mega(b.RSS))},
		{"SHA-256 of the same file", fmt.Sprintf("%.0f MB a second; verification is %.2f as fast", b.SHA256MBs, b.Ratio)},
	}
	if b.SHA256SumMBs > 0 {
		rows = append(rows, []string{"sha256sum of the same file", fmt.Sprintf("%.0f MB a second; verification is %.2f as fast", b.SHA256SumMBs, b.RatioSum)})
	}
	return rows
}
