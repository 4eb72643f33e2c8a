package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/examples/metering"
	"trustpack/pack"
)

func (a *app) demoCommand() *cobra.Command {
	var dir, period string
	cmd := &cobra.Command{
		Use:   "demo [--dir DIR]",
		Short: "The main job on an example vendor, from live devices to a verified pack",
		Long: `Takes an invented metering vendor through the third quarter of 2026: starts the
ingest on loopback, enrols its devices over mutual TLS, sends their telemetry on
a simulated clock, attacks the ingest with drills, collects evidence from the
ingest, a real git repository and recorded GitHub, AWS and hawkBit replies,
judges the controls, builds and signs the pack and verifies it. What is sampled
or simulated is labelled so wherever it stands.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := evidence.ParsePeriod(period)
			if err != nil {
				return err
			}
			if p != metering.Quarter() {
				return hint(fmt.Errorf("the example has no data for %s", p), "its quarter is %s", metering.Quarter())
			}
			return a.demo(cmd.Context(), dir, p)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "where everything goes, a new or empty folder (default: a new one, whose path is printed)")
	cmd.Flags().StringVar(&period, "period", metering.Quarter().String(), "the period; the example has one")
	return cmd
}

// demo runs the example from end to end in dir.
func (a *app) demo(ctx context.Context, dir string, p evidence.Period) error {
	dir, err := demoDir(dir)
	if err != nil {
		return err
	}
	started := time.Now()
	fleet, err := metering.Load()
	if err != nil {
		return err
	}
	a.progress("SAMPLE DATA: %s is an invented vendor; its quarter %s runs on a simulated clock", fleet.Organisation, p)
	services, err := startServices(filepath.Join(dir, "repository"))
	if err != nil {
		return err
	}
	defer services.Close()
	if err := writeExample(dir, fleet, services); err != nil {
		return err
	}
	sim := *a
	sim.config = filepath.Join(dir, "trustpack.yaml")
	cfg, err := sim.loadConfig()
	if err != nil {
		return err
	}
	q := &quarter{app: &sim, cfg: cfg, fleet: fleet}
	sim.now = q.now
	if err := q.run(ctx, p); err != nil {
		return fmt.Errorf("taking the example through its quarter: %w", err)
	}
	if unmatched := services.unmatched(); len(unmatched) > 0 {
		return fmt.Errorf("the collectors asked for what the recorded replies do not hold: %q", unmatched)
	}
	out := filepath.Join(dir, "lindenau-"+p.String()+".epack.zip")
	if err := sim.demoPack(ctx, cfg, p, out); err != nil {
		return err
	}
	a.progress("done in %.1f s", time.Since(started).Seconds())
	return sim.demoVerify(dir, out)
}

// demoDir makes or takes the folder, which must be empty.
func demoDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "trustpack-demo-")
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	case len(entries) > 0:
		return "", hint(fmt.Errorf("%s is not empty", dir), "name a new folder with --dir")
	}
	return filepath.Abs(dir)
}

// demoPack judges, builds and signs, and says what was found.
func (a *app) demoPack(ctx context.Context, cfg *Config, p evidence.Period, out string) error {
	if err := writeKey(cfg.path(cfg.Pack.Key), filepath.Join(cfg.dir, "vendor.pub"), pack.Ed25519, "sample-vendor"); err != nil {
		return err
	}
	signer, err := a.vendorSigner(ctx, cfg, "")
	if err != nil {
		return err
	}
	a.progress("judging the controls, building and signing the pack")
	built, err := a.buildPack(ctx, cfg, p, out, signer, false)
	if err != nil {
		return err
	}
	f, size, err := openSized(out)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := pack.Show(f, size, pack.Limits{})
	if err != nil {
		return err
	}
	rows := [][]string{{"CONTROL", "OUTCOME", "TESTED", "EXCEPTIONS", "TITLE"}}
	for _, c := range s.Controls {
		rows = append(rows, []string{c.ID, string(c.Outcome), fmt.Sprint(c.Population), fmt.Sprint(c.Exceptions), c.Title})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	a.progress("pack of %d files, %d bytes, signed by %s", built.Files, built.Bytes, built.Fingerprint)
	return nil
}

// demoVerify verifies the pack with the keys beside it, lays its report and
// workbook out for reading, and prints where everything is.
func (a *app) demoVerify(dir, out string) error {
	key, err := readPublicKey(filepath.Join(dir, "vendor.pub"))
	if err != nil {
		return err
	}
	logKeys, err := readLogKeys(dir)
	if err != nil {
		return err
	}
	f, size, err := openSized(out)
	if err != nil {
		return err
	}
	defer f.Close()
	report := pack.Verify(f, size, verifyOptions(out, []pack.PublicKey{key}, logKeys))
	if report.Exit != exitOK {
		if err := report.WriteText(a.out); err != nil {
			return err
		}
		return &exitError{code: report.Exit, err: errors.New("the demo's own pack does not verify")}
	}
	c, err := pack.Open(f, size, pack.Limits{})
	if err != nil {
		return err
	}
	paths := [][2]string{{"pack", out}}
	for _, copied := range []struct{ label, from, name string }{
		{"report", "data/report/index.html", "report.html"}, {"workbook", "data/report/workbook.xlsx", "workbook.xlsx"},
	} {
		body, err := c.Read(copied.from)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, copied.name)
		if err := os.WriteFile(path, body, 0o644); err != nil {
			return err
		}
		paths = append(paths, [2]string{copied.label, path})
	}
	paths = append(paths, [2]string{"public key", filepath.Join(dir, "vendor.pub")}, [2]string{"log keys", filepath.Join(dir, "*.vkey")},
		[2]string{"configuration", filepath.Join(dir, "trustpack.yaml")})
	for _, p := range paths {
		if _, err := fmt.Fprintf(a.out, "%s: %s\n", p[0], p[1]); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(a.out, "SAMPLE DATA, simulated clock\nverify: OK")
	return err
}

// freeAddr finds a port on loopback that nothing listens on. Another process
// may take it before it is used; that is then a clear error of the listener.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
