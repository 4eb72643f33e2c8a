package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/collectors"
	"trustpack/collectors/git"
	"trustpack/evidence"
	"trustpack/internal/locker"
)

func (a *app) collectCommand() *cobra.Command {
	var period, failOn string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "collect [KIND…] --period PERIOD",
		Short: "Run the collectors and keep what they bring in the evidence locker",
		Long: `Runs every collector that trustpack.yaml has a section for, or, with KINDs, those
that bring one of them ("github" stands for all kinds of github). Each
collection is entered in the evidence log at once. Run it daily: sources forget.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if failOn != "" && failOn != "incomplete" {
				return fmt.Errorf("--fail-on %s: want incomplete", failOn)
			}
			p, err := evidence.ParsePeriod(period)
			if err != nil {
				return err
			}
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			done, err := a.collect(cmd.Context(), cfg, p, args)
			if len(done) == 0 && err != nil {
				return err
			}
			if perr := a.printCollected(done, asJSON); perr != nil {
				return perr
			}
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(done, func(c collection) bool { return c.State != evidence.Complete }) {
				return nil
			}
			a.progress("mend what the gaps name and collect again: until then the controls that need it are not available")
			if failOn == "incomplete" {
				return &exitError{code: exitWrong}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&period, "period", "", "the period, such as 2026-Q3, 2026-07 or 2026-07-01/2026-10-01")
	cmd.Flags().StringVar(&failOn, "fail-on", "", "incomplete: exit 1 when any evidence is incomplete")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// collection is one kind as it was collected and kept.
type collection struct {
	Kind     evidence.Kind              `json:"kind"`
	Account  string                     `json:"account,omitempty"` // whose it is, at the source
	ID       string                     `json:"id"`
	LogIndex int64                      `json:"log_index"`
	Items    int                        `json:"items"`
	State    evidence.CompletenessState `json:"completeness"`
	Origin   evidence.Origin            `json:"origin"`
	Gaps     []evidence.Gap             `json:"gaps"`
}

// collect runs the collectors that bring one of the wanted kinds (all where
// none is named) and keeps what they bring; evidence that was kept before an
// error stays kept and is returned beside it.
func (a *app) collect(ctx context.Context, cfg *Config, p evidence.Period, wanted []string) (done []collection, err error) {
	if now := a.now(); now.Before(p.From) {
		return nil, hint(fmt.Errorf("the period %s has not begun: it is %s", p, now.UTC().Format(time.RFC3339)), "collect it from %s on; today's evidence says nothing of it", p.From.Format(time.DateOnly))
	}
	var cited map[string]int64
	var heads map[string][]string
	var store struct{ *locker.Locker } // opened only for what can be collected
	catalog, err := loadCatalog(cfg.path(cfg.Catalog))
	if err != nil {
		return nil, err
	}
	back, err := catalog.LooksBack(cfg.Policy)
	if err != nil {
		return nil, err
	}
	all, err := collectors.All(cfg.Collectors, collectors.Deps{
		Tool: tool(), Now: a.now, Clock: cfg.Clock, Getenv: a.getenv,
		Progress:  func(s string) { a.progress("%s", s) },
		Store:     &store,
		LooksBack: back,
		Index:     func(collector string) string { return filepath.Join(cfg.lockerDir(), "requests", collector+".jsonl") },
		Cited:     func(origin string) int64 { return cited[origin] },
		Heads:     func(repository, branch string) []string { return heads[repository+"@"+branch] },
		Kept:      func(p evidence.Period) ([]evidence.Citation, error) { return keptFor(store.Locker, p) },
		Get:       func(id string) (evidence.Collected, error) { return store.Get(id) },
	})
	if err != nil {
		return nil, err
	}
	chosen, err := choose(all, wanted)
	if err != nil {
		return nil, err
	}
	lock, err := a.openLocker(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	store.Locker = lock
	if cited, err = lastHeads(lock); err != nil {
		return nil, err
	}
	if heads, err = earlierHeads(lock); err != nil {
		return nil, err
	}
	var failed []error
	for _, c := range chosen {
		a.progress("collecting %s", c.Name())
		var got []evidence.Kind
		var broken error // of the locker: nothing more can be kept
		cerr := each(ctx, c, p, func(e evidence.Evidence) error {
			got = append(got, e.Kind)
			if !matches(wanted, c.Name(), e.Kind) {
				return nil
			}
			var entry locker.Collected
			if entry, broken = lock.Put(ctx, e); broken != nil {
				return broken
			}
			done = append(done, collection{
				Kind: e.Kind, Account: e.Provenance.Account, ID: entry.ID, LogIndex: entry.Index, Items: entry.Items, State: entry.Completeness,
				Origin: entry.Origin, Gaps: append([]evidence.Gap{}, e.Completeness.Gaps...),
			})
			return nil
		})
		if broken != nil {
			return done, broken
		}
		if cerr != nil {
			failed = append(failed, fmt.Errorf("collecting %s: %w", c.Name(), cerr))
			continue
		}
		failed = append(failed, missingKinds(c, got, wanted)...)
	}
	if len(done) > 0 {
		if _, err := lock.Ledger().Checkpoint(locker.LogName); err != nil {
			failed = append(failed, fmt.Errorf("signing the evidence log: %w", err))
		}
	}
	return done, errors.Join(failed...)
}

// each hands what a collector brings to keep, as it comes where the collector
// streams. Evidence that a collector returns beside an error is kept too.
func each(ctx context.Context, c evidence.Collector, p evidence.Period, keep func(evidence.Evidence) error) error {
	if s, ok := c.(evidence.Streamer); ok {
		return s.Stream(ctx, p, keep)
	}
	got, err := c.Collect(ctx, p)
	for _, e := range got {
		if kerr := keep(e); kerr != nil {
			return errors.Join(kerr, err)
		}
	}
	return err
}

// earlierHeads gives what each repository's branch pointed to when it was
// collected before, by "repository@branch", each once.
func earlierHeads(lock *locker.Locker) (map[string][]string, error) {
	index, _, err := lock.Index()
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, c := range index {
		if c.Kind != git.KindRepository {
			continue
		}
		e, err := lock.Get(c.ID)
		if err != nil {
			return nil, err
		}
		for _, it := range e.Population.Items {
			branch, _ := it.Attributes["branch"].(string)
			head, _ := it.Attributes["head"].(string)
			if key := it.ID + "@" + branch; head != "" && !slices.Contains(out[key], head) {
				out[key] = append(out[key], head)
			}
		}
	}
	return out, nil
}

// missingKinds is an error for each wanted kind of the collector that did not
// come back, not even as a gap.
func missingKinds(c evidence.Collector, got []evidence.Kind, wanted []string) []error {
	var errs []error
	for _, k := range c.Kinds() {
		if matches(wanted, c.Name(), k) && !slices.Contains(got, k) {
			errs = append(errs, fmt.Errorf("collecting %s: it brought nothing of %s, not even a gap", c.Name(), k))
		}
	}
	return errs
}

// choose keeps the collectors that bring a wanted kind. A word that nothing
// brings is an error: what was asked for must not be missing in silence.
func choose(all []evidence.Collector, wanted []string) ([]evidence.Collector, error) {
	if len(all) == 0 {
		return nil, hint(errors.New("no collector is configured"), "add a section under collectors: in trustpack.yaml")
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Name())
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(c evidence.Collector) bool { return brings(c, []string{w}) }) {
			return nil, hint(fmt.Errorf("nothing that is configured collects %q", w), "configured are %s; kinds are written as in 'trustpack controls show ID'", strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(c evidence.Collector) bool { return !brings(c, wanted) }), nil
}

func brings(c evidence.Collector, wanted []string) bool {
	return slices.ContainsFunc(c.Kinds(), func(k evidence.Kind) bool { return matches(wanted, c.Name(), k) })
}

func matches(wanted []string, collector string, k evidence.Kind) bool {
	return len(wanted) == 0 || slices.Contains(wanted, collector) || slices.Contains(wanted, string(k))
}

func (a *app) printCollected(done []collection, asJSON bool) error {
	if asJSON {
		return a.printJSON(append([]collection{}, done...))
	}
	rows := [][]string{{"KIND", "ITEMS", "COMPLETENESS", "ORIGIN", "LOG", "ID"}}
	for _, c := range done {
		kind := string(c.Kind)
		if slices.ContainsFunc(done, func(o collection) bool { return o.Kind == c.Kind && o.Account != c.Account }) {
			kind += " of " + plainText(c.Account)
		}
		rows = append(rows, []string{kind, strconv.Itoa(c.Items), string(c.State), string(c.Origin), fmt.Sprintf("%s/%d", locker.LogName, c.LogIndex), c.ID[:12]})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, g := range gapsIn(done) {
		line := fmt.Sprintf("gap in %s: %s: %s", g.kinds[0], plainText(g.What), plainText(g.Reason))
		if more := len(g.kinds) - 1; more > 3 {
			line += fmt.Sprintf(" (and in %d kinds more)", more)
		} else if more > 0 {
			line += fmt.Sprintf(" (and in %s)", strings.Join(g.kinds[1:], ", "))
		}
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

// sharedGap is a gap with every kind that has it.
type sharedGap struct {
	evidence.Gap
	kinds []string
}

// gapsIn are the gaps, each once: an ingest that does not answer is one thing
// to mend and not thirty.
func gapsIn(done []collection) []sharedGap {
	var out []sharedGap
	at := map[evidence.Gap]int{}
	for _, c := range done {
		for _, g := range c.Gaps {
			i, known := at[g]
			if !known {
				i, at[g] = len(out), len(out)
				out = append(out, sharedGap{Gap: g})
			}
			if !slices.Contains(out[i].kinds, string(c.Kind)) {
				out[i].kinds = append(out[i].kinds, string(c.Kind))
			}
		}
	}
	return out
}
