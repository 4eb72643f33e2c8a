package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trustpack/ledger"
)

func (a *app) ledgerRestoreTest() *cobra.Command {
	var keys []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore-test COPY",
		Short: "Restore a backup of the logs in a temporary folder and compare its roots with the signed ones",
		Long: `Restores each ledger in COPY, a backup of a state folder or of a ledger, to a
temporary folder as a start after a crash would, derives every hash again there,
compares the roots with the signed checkpoints, and removes the folder. COPY is
not changed. Exit 1 when what was restored is not what was signed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			pinned, err := pinnedKeys(keys)
			if err != nil {
				return err
			}
			dirs, err := ledgerDirs(args[0])
			if err != nil {
				return err
			}
			var records []ledger.RestoreRecord
			wrong, seen := false, map[string]bool{}
			for _, dir := range dirs {
				r, err := ledger.RestoreTest(dir, ledger.RestoreOptions{VerifierKeys: keysByLog(pinned), Now: a.now})
				if err != nil {
					return err
				}
				for _, l := range r.Logs {
					seen[l.Origin] = true
				}
				records = append(records, r)
				wrong = wrong || !r.OK
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
	return cmd
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
