package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/ingest"
	"trustpack/ingest/drill"
	"trustpack/ledger"
)

func (a *app) ingestCommand() *cobra.Command {
	return group("ingest", "The telemetry ingest", a.ingestServe(), a.ingestDrill(), a.ingestState())
}

// openIngest opens the ingest of the configuration.
func (a *app) openIngest(cfg *Config, clock evidence.Clock, logger *slog.Logger, acceptRollback string) (*ingest.Server, error) {
	if _, err := os.Stat(cfg.ingestDir()); errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("there is no ingest at %s", cfg.ingestDir()), "make one with 'trustpack init'")
	}
	s, err := ingest.Open(ingest.Options{
		Dir: cfg.ingestDir(), Config: cfg.Ingest, Now: a.now, Clock: clock, Sample: cfg.Sample, Logger: logger, Version: tool(),
		ReadConfig: a.rereadConfig(cfg), AcceptRollback: acceptRollback,
	})
	if errors.Is(err, ledger.ErrRollback) {
		return nil, hint(err, "put the newer state back; if it is lost and this older one is what you restored, say so once with 'trustpack ingest serve --accept-rollback REASON', which the log will hold")
	}
	return s, err
}

// rereadConfig reads another configuration for an ingest that runs with
// started: that of a file's bytes, or, of nil, the configuration file's.
func (a *app) rereadConfig(started *Config) func([]byte) (ingest.Config, error) {
	return func(file []byte) (ingest.Config, error) {
		var cfg *Config
		var err error
		if file == nil {
			cfg, err = a.loadConfig()
		} else {
			cfg, err = a.parseConfig("the file", file)
		}
		if err != nil {
			return ingest.Config{}, err
		}
		if cfg.Instance != started.Instance || cfg.ingestDir() != started.ingestDir() || cfg.Sample != started.Sample || cfg.Clock != started.Clock {
			return ingest.Config{}, errors.New("instance, state, sample and clock: cannot change while the ingest runs; restart it with the new configuration")
		}
		return cfg.Ingest, nil
	}
}

// reloadOnHangup has the configuration file read again with each SIGHUP, until
// the function that it returns is called.
func reloadOnHangup(s *ingest.Server, logger *slog.Logger) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hangups {
			applied, err := s.Reload("configuration file read again on SIGHUP")
			if err != nil {
				logger.Error("configuration refused", "error", err)
				continue
			}
			logger.Info("configuration applied", "version", applied.Version, "changed", applied.Changed, "diff", applied.Diff)
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-done
	}
}

func (a *app) ingestServe() *cobra.Command {
	var accept string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the ingest until it is told to stop",
		Long: `Runs the ingest on the addresses in trustpack.yaml and prints one line when it
is ready. It logs to standard error as JSON. On SIGHUP it reads trustpack.yaml
again and goes on with it, or, where it cannot, with what it had. On SIGTERM or
an interrupt it takes no new requests, answers those it has, and ends. Where
ingest.drills says when, it runs the drills by itself, through its own ports and
as the two operators named there; what became of each run is in the log, also
that one could not start or was missed.

Where ingest.ledger names a copy of the checkpoints or witnesses, and one of
them knows more of a log than it holds, or another log, the state was taken
back to an older copy, and the ingest does not start (ledger.rollback). Whoever
restored that older copy knowingly says why with --accept-rollback: the log
then holds who knew what, and the reason. What was signed after the copy was
made stays contradicted for ever.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			logger := slog.New(slog.NewJSONHandler(a.err, nil))
			a.spareThread()
			if cmd.Flags().Changed("accept-rollback") && strings.TrimSpace(accept) == "" {
				return errors.New("--accept-rollback: say why")
			}
			s, err := a.openIngest(cfg, evidence.ClockSystem, logger, accept)
			if err != nil {
				return err
			}
			if err := s.Listen(); err != nil {
				return hint(errors.Join(err, s.Close(context.WithoutCancel(cmd.Context()))), "change the address in trustpack.yaml, or stop what uses it")
			}
			public, admin := s.Addrs()
			if _, err := fmt.Fprintf(a.out, "ready: devices https://%s admin https://%s\n", public, admin); err != nil {
				return errors.Join(err, s.Close(context.WithoutCancel(cmd.Context())))
			}
			defer reloadOnHangup(s, logger)()
			return a.serveWithDrills(cmd.Context(), cfg, s, logger)
		},
	}
	cmd.Flags().StringVar(&accept, "accept-rollback", "", "go on with state that was knowingly taken back to an older copy, for this `reason`")
	return cmd
}

func (a *app) ingestDrill() *cobra.Command {
	var f, approver adminFlags
	var only []string
	var eventType string
	var asJSON, schedule bool
	cmd := &cobra.Command{
		Use:   "drill [--only TR-02,…] --as REQUESTER --approver APPROVER",
		Short: "Attack the running ingest with canary devices and log what it refused",
		Long: `Attacks the running ingest through its public ports, with canary devices in
canary tenants that it provisions and revokes itself, and enters each result in
the control log. Two operators are needed, since nobody approves his own
request. Exit 1 when a drill failed, 3 when one could not be made.

With --schedule it stays, and runs the drills when ingest.drills of
trustpack.yaml says, as the operators named there. Use it where the ingest that
runs elsewhere has no such schedule of its own: the runs of both are one list in
the log, and none is made twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if schedule {
				return a.drillOnSchedule(cmd.Context(), cfg)
			}
			target, err := a.drillTarget(cfg, f, approver, eventType)
			if err != nil {
				return err
			}
			target.Progress = func(id string) { a.progress("drill %s", id) }
			results, err := a.runDrills(cmd.Context(), target, only)
			if len(results) == 0 && err != nil {
				return err
			}
			if perr := a.printDrills(results, asJSON); perr != nil {
				return perr
			}
			verdict := drillVerdict(results)
			var ended *exitError
			if err != nil && errors.As(verdict, &ended) {
				return &exitError{code: ended.code, err: errors.Join(verdict, err)}
			}
			return errors.Join(verdict, err)
		},
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "controls or drills to run, such as TR-02 or TR-02.replayed-batch")
	cmd.Flags().StringVar(&f.as, "as", "", "operator who requests the canary devices")
	cmd.Flags().StringVar(&approver.as, "approver", "", "operator who approves them")
	cmd.Flags().BoolVar(&schedule, "schedule", false, "stay, and run all drills when ingest.drills says")
	cmd.Flags().StringVar(&eventType, "event-type", "", "event type that the canary devices send (default: the first schema's)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// drillTarget is the running ingest as its drills see it.
func (a *app) drillTarget(cfg *Config, requester, approver adminFlags, eventType string) (drill.Target, error) {
	if requester.as == "" || approver.as == "" {
		return drill.Target{}, hint(errors.New("drills need two operators"), "give --as NAME and --approver NAME")
	}
	t, err := a.targetOf(cfg, eventType)
	if err != nil {
		return t, err
	}
	req, err := a.operatorPair(cfg, requester)
	if err != nil {
		return t, err
	}
	app, err := a.operatorPair(cfg, approver)
	if err != nil {
		return t, err
	}
	t.Requester, t.Approver = *req, *app
	return t, nil
}

// targetOf is the running ingest without anybody's credentials.
func (a *app) targetOf(cfg *Config, eventType string) (drill.Target, error) {
	t := drill.Target{PublicURL: "https://" + cfg.Ingest.Listen, AdminURL: "https://" + cfg.Ingest.AdminListen, Now: a.now, CA: x509.NewCertPool()}
	root, err := os.ReadFile(filepath.Join(cfg.ingestDir(), "ca", "root.crt"))
	if err != nil {
		return t, fmt.Errorf("reading the ingest's root certificate: %w", err)
	}
	if !t.CA.AppendCertsFromPEM(root) {
		return t, errors.New("reading the ingest's root certificate: it holds no PEM certificate")
	}
	t.EventType, t.EventData, err = sampleEvent(cfg.Ingest.Schemas, eventType)
	return t, err
}

// sampleEvent makes an event that the schema of the type, or the first schema
// in the folder, accepts.
func sampleEvent(folder, eventType string) (string, json.RawMessage, error) {
	const suffix = ".schema.json"
	if eventType == "" {
		found, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
		if err != nil {
			return "", nil, err
		}
		if len(found) == 0 {
			return "", nil, fmt.Errorf("there is no schema in %s", folder)
		}
		slices.Sort(found)
		eventType = strings.TrimSuffix(filepath.Base(found[0]), suffix)
	}
	schema, err := os.ReadFile(filepath.Join(folder, eventType+suffix))
	if err != nil {
		return "", nil, fmt.Errorf("reading the schema of the canary's events: %w", err)
	}
	data, err := drill.Sample(schema)
	if err != nil {
		return "", nil, hint(fmt.Errorf("making a canary event of type %s: %w", eventType, err), "name a simpler type with --event-type")
	}
	return eventType, data, nil
}

// runDrills runs the drills and enters their results in the control log.
func (a *app) runDrills(ctx context.Context, t drill.Target, only []string) ([]evidence.DrillResult, error) {
	results, err := drill.Run(ctx, t, only)
	if len(results) == 0 {
		return nil, err
	}
	if _, perr := drill.Post(ctx, t, results); perr != nil {
		err = errors.Join(err, fmt.Errorf("the results are not in the log: %w", perr))
	}
	return results, err
}

func (a *app) printDrills(results []evidence.DrillResult, asJSON bool) error {
	if asJSON {
		return a.printJSON(append([]evidence.DrillResult{}, results...))
	}
	rows := [][]string{{"DRILL", "VERDICT", "MS", "LOG", "GOT"}}
	for _, r := range results {
		rows = append(rows, []string{r.ID, r.Verdict, strconv.FormatFloat(r.LatencyMS, 'f', 1, 64), r.LogEntry, r.Got})
	}
	return a.table(rows)
}

// drillVerdict is 0 only where every drill that was asked for passed.
func drillVerdict(results []evidence.DrillResult) error {
	of := map[string][]string{}
	for _, r := range results {
		of[r.Verdict] = append(of[r.Verdict], r.ID)
	}
	passed, failed := len(of[drill.Passed]), of[drill.Failed]
	switch {
	case len(failed) > 0:
		return &exitError{code: exitWrong, err: fmt.Errorf("%d of %d drills failed: %s", len(failed), len(results), strings.Join(failed, ", "))}
	case passed < len(results) || len(results) == 0:
		return &exitError{code: exitInconclusive, err: fmt.Errorf("%d of %d drills could not be made: %s",
			len(results)-passed, len(results), strings.Join(of[drill.NotAvailable], ", "))}
	}
	return nil
}
