package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"trustpack/collectors"
	"trustpack/evidence"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Ask GitHub whether it lets the collector read what it needs",
		Long: `Reads trustpack.yaml and asks GitHub, permission by permission, whether the token or
the App may read what each kind of evidence needs. Exit 1 where something is
lacking, 3 where it could not be asked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			all, err := collectors.All(cfg.Collectors, collectors.Deps{Tool: tool(), Now: a.now, Clock: cfg.Clock, Getenv: a.getenv,
				Progress: func(s string) { a.progress("%s", s) }})
			if err != nil {
				return err
			}
			checks := []evidence.AccessCheck{}
			for _, c := range all {
				if asks, can := c.(evidence.AccessChecker); can {
					got, err := asks.CheckAccess(cmd.Context())
					if err != nil {
						return err
					}
					checks = append(checks, got...)
				}
			}
			if len(checks) == 0 {
				return hint(errors.New("no source is configured whose permissions can be asked for"), "add a section github: under collectors: in %s", filepath.Base(a.config))
			}
			if asJSON {
				err = a.printJSON(checks)
			} else {
				err = a.printChecks(checks)
			}
			if err != nil {
				return err
			}
			return doctorExit(checks)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) printChecks(checks []evidence.AccessCheck) error {
	rows := [][]string{{"STATE", "TARGET", "PERMISSION", "READS", "SAID"}}
	lacking := map[evidence.Kind]bool{}
	for _, c := range checks {
		rows = append(rows, []string{string(c.State), c.Target, c.Permission, c.For, c.Said})
		if c.State != evidence.AccessGranted {
			for _, k := range c.Kinds {
				lacking[k] = true
			}
		}
	}
	if err := a.table(rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s asks as %s; of %d kinds something would be a gap\n", checks[0].Source, plainText(checks[0].Principal), len(lacking))
	return err
}

// doctorExit is 1 where something is lacking, 3 where nothing is and something
// is not known.
func doctorExit(checks []evidence.AccessCheck) error {
	code := exitOK
	for _, c := range checks {
		switch {
		case c.State == evidence.AccessLacking:
			code = exitWrong
		case c.State == evidence.AccessUnknown && code == exitOK:
			code = exitInconclusive
		}
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}
