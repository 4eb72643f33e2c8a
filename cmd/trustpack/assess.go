package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/internal/locker"
)

func (a *app) assessCommand() *cobra.Command {
	var period, failOn string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "assess --period PERIOD",
		Short: "Judge the controls over the collected evidence",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if failOn != "" && failOn != "exception" {
				return fmt.Errorf("--fail-on %s: want exception", failOn)
			}
			p, err := evidence.ParsePeriod(period)
			if err != nil {
				return err
			}
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			catalog, err := loadCatalog(cfg.path(cfg.Catalog))
			if err != nil {
				return err
			}
			var got controls.Assessment
			err = a.withLocker(func(l *locker.Locker) error {
				of, err := a.evidenceOf(l, p)
				if err != nil {
					return err
				}
				got, err = catalog.Assess(controls.Input{Period: p, Evidence: of.evidence, LeftOut: of.leftOut, Policy: cfg.Policy})
				return err
			})
			if err != nil {
				return err
			}
			if err := a.printAssessment(got, asJSON); err != nil {
				return err
			}
			if failOn == "exception" {
				return assessVerdict(got.Findings)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&period, "period", "", "the period, such as 2026-Q3")
	cmd.Flags().StringVar(&failOn, "fail-on", "", "exception: exit 1 when any control has an exception or an error, 3 when one could not be judged for want of evidence")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// assessVerdict is 0 only where every control that applies was judged and holds:
// a control without evidence has no exceptions either.
func assessVerdict(findings []evidence.Finding) error {
	unjudged, met := 0, 0
	for _, f := range findings {
		switch {
		case len(f.Exceptions) > 0 || f.Outcome == evidence.OutcomeException || f.Outcome == evidence.OutcomeError:
			return &exitError{code: exitWrong}
		case f.Outcome == evidence.OutcomeMet:
			met++
		case f.Outcome != evidence.OutcomeNotApplicable:
			unjudged++
		}
	}
	if unjudged > 0 || met == 0 {
		return &exitError{code: exitInconclusive, err: fmt.Errorf("no exception was found, but %d of %d controls could not be judged for want of evidence", unjudged, len(findings))}
	}
	return nil
}

// loadCatalog is the built-in catalog with the user's folder added.
func loadCatalog(dir string) (*controls.Catalog, error) {
	catalog, err := controls.Builtin()
	if err != nil || dir == "" {
		return catalog, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("reading catalog: %w", err)
	}
	own, err := controls.Load(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("reading catalog %s: %w", dir, err)
	}
	return catalog.Merge(own)
}

func (a *app) printAssessment(got controls.Assessment, asJSON bool) error {
	if asJSON {
		return a.printJSON(got)
	}
	rows := [][]string{{"CONTROL", "OUTCOME", "TESTED", "EXCEPTIONS", "WHY"}}
	counts := map[evidence.Outcome]int{}
	sample := false
	for _, f := range got.Findings {
		counts[f.Outcome]++
		sample = sample || f.Sample
		rows = append(rows, []string{f.Control, string(f.Outcome), strconv.Itoa(f.Population), strconv.Itoa(len(f.Exceptions)), f.Reason})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, f := range got.Findings {
		for _, e := range f.Exceptions {
			if _, err := fmt.Fprintf(a.out, "%s %s %s: %s\n", f.Control, e.Attribute, plainText(e.Item), plainText(e.Detail)); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(a.out, "%d met, %d with exceptions, %d not available, %d not applicable, %d errors\n",
		counts[evidence.OutcomeMet], counts[evidence.OutcomeException], counts[evidence.OutcomeNotAvailable],
		counts[evidence.OutcomeNotApplicable], counts[evidence.OutcomeError])
	if sample {
		_, serr := fmt.Fprintln(a.out, "SAMPLE DATA: some of this evidence is recorded sample data")
		err = errors.Join(err, serr)
	}
	return err
}
