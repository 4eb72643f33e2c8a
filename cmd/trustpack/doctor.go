package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"trustpack/collectors"
	"trustpack/evidence"
)

// everything is what a check stands for where a source could not be asked.
const everything = "everything of this source"

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Ask each source whether it lets the collector read what it needs",
		Long: `Reads trustpack.yaml and asks each source under collectors:, permission by
permission, whether its credential may read what each kind of evidence needs.
Nothing is kept and nothing is tried twice. A source that is configured and
cannot be asked has a row that says so. Of this machine it says whether pack.key
can be opened, and of the state folder whether it can be written, how long its
disk takes to keep 4 KiB, and how much is free there. Exit 1 where something is
lacking, 3 where nothing is and something could not be asked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			checks := []evidence.AccessCheck{}
			for _, s := range cfg.Collectors.Sections() {
				got, err := a.askSource(cmd.Context(), cfg, s)
				if err != nil {
					return err
				}
				checks = append(checks, got...)
			}
			if len(checks) == 0 {
				return hint(errors.New("no source is configured: there is nothing to ask"), "add one under collectors: in %s, such as telemetry: or github:", filepath.Base(a.config))
			}
			checks = append(checks, a.checkHere(cmd.Context(), cfg)...)
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

// askSource asks one source. What keeps it from being asked is a check too.
func (a *app) askSource(ctx context.Context, cfg *Config, s collectors.Section) ([]evidence.AccessCheck, error) {
	silent := evidence.AccessCheck{
		Source: s.Name, Target: filepath.Base(a.config), Permission: "collectors." + s.Name, For: everything,
		Principal: "unknown: it was not asked", Kinds: []evidence.Kind{},
	}
	all, err := collectors.All(s.Config, collectors.Deps{Tool: tool(), Now: a.now, Clock: cfg.Clock, Getenv: a.getenv,
		Progress: func(s string) { a.progress("%s", s) }})
	if err != nil {
		silent.State, silent.Said = evidence.AccessLacking, "collect stops at it: "+err.Error()
		return []evidence.AccessCheck{silent}, nil
	}
	var out []evidence.AccessCheck
	for _, c := range all {
		asks, can := c.(evidence.AccessChecker)
		if !can {
			silent.Kinds, silent.State = c.Kinds(), evidence.AccessUnknown
			silent.Said = "this source cannot be asked beforehand; collect names what it does not let read"
			out = append(out, silent)
			continue
		}
		got, err := asks.CheckAccess(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

func (a *app) printChecks(checks []evidence.AccessCheck) error {
	rows := [][]string{{"STATE", "SOURCE", "TARGET", "PERMISSION", "READS", "SAID"}}
	for _, c := range checks {
		rows = append(rows, []string{string(c.State), c.Source, c.Target, c.Permission, c.For, c.Said})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, line := range closingLines(checks) {
		if _, err := fmt.Fprintln(a.out, plainText(line)); err != nil {
			return err
		}
	}
	return nil
}

// closingLines sum up each source, as each of those as whom it was asked.
func closingLines(checks []evidence.AccessCheck) []string {
	type asker struct{ source, principal string }
	var askers []asker
	missing, stopped := map[asker]map[evidence.Kind]bool{}, map[asker]bool{}
	for _, c := range checks {
		if c.Source == here {
			continue
		}
		who := asker{c.Source, c.Principal}
		if missing[who] == nil {
			askers, missing[who] = append(askers, who), map[evidence.Kind]bool{}
		}
		if c.State == evidence.AccessGranted {
			continue
		}
		stopped[who] = stopped[who] || c.For == everything && len(c.Kinds) == 0
		for _, k := range c.Kinds {
			missing[who][k] = true
		}
	}
	var out []string
	for _, who := range askers {
		if stopped[who] {
			out = append(out, who.source+" cannot be collected as it is configured")
			continue
		}
		as := "as " + who.principal
		if who.principal == "" {
			as = "without a credential"
		}
		gaps := "nothing was found that would be a gap"
		switch n := len(missing[who]); n {
		case 0:
		case 1:
			gaps = "of 1 kind something would be a gap"
		default:
			gaps = fmt.Sprintf("of %d kinds something would be a gap", n)
		}
		out = append(out, fmt.Sprintf("%s asks %s; %s", who.source, as, gaps))
	}
	return out
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
