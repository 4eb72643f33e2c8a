package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/internal/locker"
	"trustpack/ledger"
)

func (a *app) ledgerRestoreTest() *cobra.Command {
	var keys []string
	var asJSON, unrecorded bool
	var by string
	cmd := &cobra.Command{
		Use:   "restore-test COPY",
		Short: "Restore a backup of the logs in a temporary folder and compare its roots with the signed ones",
		Long: `Restores each ledger in COPY, a backup of a state folder or of a ledger, to a
temporary folder as a start after a crash would, derives every hash again there,
compares the roots with the signed checkpoints, and removes the folder. COPY is
not changed. Exit 1 when what was restored is not what was signed.

The record, of a failed test too, goes into the evidence locker of the
configuration (ledger.restore-tests, which ST-09 judges), and is entered in the
evidence log; with --no-record, or where there is no configuration, it is only
printed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pinned, err := pinnedKeys(keys)
			if err != nil {
				return err
			}
			dirs, err := ledgerDirs(args[0])
			if err != nil {
				return err
			}
			cfg, err := a.recordingConfig(unrecorded)
			if err != nil {
				return err
			}
			records, err := a.restoreTest(dirs, pinned)
			if err != nil {
				return err
			}
			wrong, seen := false, map[string]bool{}
			for _, r := range records {
				for _, l := range r.Logs {
					seen[l.Origin] = true
				}
				wrong = wrong || !r.OK
			}
			if cfg != nil {
				if err := a.recordRestoreTest(cmd.Context(), cfg, args[0], by, records); err != nil {
					return err
				}
			}
			if asJSON {
				err = a.printJSON(records)
			} else {
				err = a.printRestores(records)
			}
			switch {
			case err != nil:
				return err
			case wrong:
				return &exitError{code: exitWrong}
			}
			return a.unusedKeys(pinned, seen, args[0])
		},
	}
	cmd.Flags().StringArrayVar(&keys, "log-key", nil, "verifier key of a log: a `file`, a folder with *.vkey files, or the key itself")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the records as JSON, to be kept")
	cmd.Flags().StringVar(&by, "by", "host", "who makes the test, as the record names them")
	cmd.Flags().BoolVar(&unrecorded, "no-record", false, "do not keep the record as evidence")
	return cmd
}

// recordingConfig is the configuration in whose locker the record goes; nil
// where there is none, or none is wanted.
func (a *app) recordingConfig(unrecorded bool) (*Config, error) {
	if unrecorded {
		return nil, nil
	}
	if _, err := os.Stat(a.config); errors.Is(err, fs.ErrNotExist) {
		a.progress("the record is not kept as evidence: there is no configuration at %s", a.config)
		return nil, nil
	}
	return a.loadConfig()
}

// restoreTest tries each of the ledgers.
func (a *app) restoreTest(dirs []string, pinned map[string]string) ([]ledger.RestoreRecord, error) {
	var records []ledger.RestoreRecord
	for _, dir := range dirs {
		r, err := ledger.RestoreTest(dir, ledger.RestoreOptions{VerifierKeys: keysByLog(pinned), Now: a.now})
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// recordRestoreTest keeps the records as evidence and signs the evidence log.
func (a *app) recordRestoreTest(ctx context.Context, cfg *Config, copied, by string, records []ledger.RestoreRecord) (err error) {
	lock, err := a.openLocker(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	origin := evidence.OriginLive
	if cfg.Sample {
		origin = evidence.OriginSample
	}
	entry, err := lock.PutRestoreTest(ctx, locker.RestoreTest{
		Records: records, Copy: copied, By: by, Account: cfg.Instance, Tool: tool(), Origin: origin, Clock: cfg.Clock,
	})
	if err != nil {
		return err
	}
	if _, err := lock.Ledger().Checkpoint(locker.LogName); err != nil {
		return fmt.Errorf("signing the evidence log: %w", err)
	}
	a.progress("recorded as %s, %s/%d", entry.Kind, locker.LogName, entry.Index)
	return nil
}

func (a *app) printRestores(records []ledger.RestoreRecord) error {
	rows := [][]string{{"LOG", "RESTORED", "SIGNED", "KEY", "ROOT"}}
	var problems []string
	for _, r := range records {
		for _, l := range r.Logs {
			rows = append(rows, []string{l.Log, fmt.Sprint(l.Size), fmt.Sprint(l.Signed), l.Key, l.Root})
		}
		for _, p := range r.Problems {
			problems = append(problems, r.Copy+": "+p.String())
		}
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(a.out, plainText(p)); err != nil {
			return err
		}
	}
	verdict := "restore test: OK"
	if len(problems) > 0 {
		verdict = fmt.Sprintf("restore test: FAILED, %d problems", len(problems))
	}
	_, err := fmt.Fprintln(a.out, verdict)
	return err
}
