package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/internal/locker"
)

func (a *app) evidenceTrace() *cobra.Command {
	var period string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "trace COMMIT|TAG|DEPLOYMENT --period PERIOD",
		Short: "Follow a change through the evidence: commit, pull request, review, check, merge, release, deployment",
		Long: `Follows one change both ways through the evidence of a period: who made it, who
approved it and on what checks it was merged, which release and which deployments
carry it, and what was recorded after it ran. What is missing is named, and told
from what the evidence cannot say. Exit 1 where something is missing, 3 where
nothing is missing but evidence is.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := evidence.ParsePeriod(period)
			if err != nil {
				return err
			}
			var chain controls.Chain
			sample := false
			err = a.withLocker(func(l *locker.Locker) error {
				of, err := a.evidenceOf(l, p)
				if err != nil {
					return err
				}
				sample = anySample(of.evidence)
				chain, err = controls.Trace(controls.Input{Period: p, Evidence: of.evidence, LeftOut: of.leftOut}, args[0])
				return err
			})
			if err != nil {
				return err
			}
			if err := a.printChain(chain, sample, asJSON); err != nil {
				return err
			}
			return chainVerdict(chain)
		},
	}
	cmd.Flags().StringVar(&period, "period", "", "the period, such as 2026-Q3")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func chainVerdict(c controls.Chain) error {
	unknown := false
	for _, l := range c.Links {
		if l.State == controls.LinkMissing {
			return &exitError{code: exitWrong}
		}
		unknown = unknown || l.State == controls.LinkNotAvailable
	}
	if unknown {
		return &exitError{code: exitInconclusive, err: errors.New("nothing is missing as far as the evidence goes, which is not to the end")}
	}
	return nil
}

func (a *app) printChain(c controls.Chain, sample, asJSON bool) error {
	if asJSON {
		return a.printJSON(struct {
			controls.Chain
			Whole  bool `json:"whole"`
			Sample bool `json:"sample,omitempty"`
		}{c, c.Whole(), sample})
	}
	rows := [][]string{{"STEP", "STATE", "ID", "AT", "BY", "WHAT"}}
	for _, l := range c.Links {
		rows = append(rows, []string{l.Step, l.State, l.ID, l.At, l.By, l.Detail})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	verdict := "chain: WHOLE"
	if !c.Whole() {
		verdict = "chain: NOT WHOLE"
	}
	if _, err := fmt.Fprintf(a.out, "commit %s, %s\n%s\n", c.Commit, c.Class, verdict); err != nil {
		return err
	}
	if sample {
		_, err := fmt.Fprintln(a.out, "SAMPLE DATA: some of this evidence is recorded sample data")
		return err
	}
	return nil
}
