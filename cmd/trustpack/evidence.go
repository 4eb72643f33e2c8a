package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/internal/locker"
)

func (a *app) evidenceCommand() *cobra.Command {
	return group("evidence", "What is in the evidence locker", a.evidenceList(), a.evidenceShow(), a.evidenceTrace())
}

func (a *app) evidenceList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List every collection, oldest first", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.withLocker(func(l *locker.Locker) error {
				index, _, err := l.Index()
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]locker.Collected{}, index...))
				}
				rows := [][]string{{"LOG", "KIND", "COLLECTED", "WINDOW", "ITEMS", "COMPLETENESS", "ORIGIN", "ID"}}
				for _, c := range index {
					rows = append(rows, []string{
						fmt.Sprintf("%s/%d", locker.LogName, c.Index), string(c.Kind), c.CollectedAt.Format(time.RFC3339), c.Window.String(),
						strconv.Itoa(c.Items), string(c.Completeness), string(c.Origin), c.ID[:12],
					})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) evidenceShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one collection with its provenance; ID may be a unique beginning", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withLocker(func(l *locker.Locker) error {
				id, err := resolveID(l, args[0])
				if err != nil {
					return err
				}
				if err := l.Check(id); err != nil {
					return err
				}
				e, err := l.Get(id)
				if err != nil {
					return err
				}
				rec, err := l.Record(id)
				if err != nil {
					return err
				}
				return a.printEvidence(e, rec, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, with the population")
	return cmd
}

// withLocker opens the locker of the configuration to read.
func (a *app) withLocker(do func(*locker.Locker) error) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	l, err := a.readLocker(cfg)
	if err != nil {
		return err
	}
	return errors.Join(do(l), l.Close())
}

// resolveID finds the one collection whose ID begins with prefix.
func resolveID(l *locker.Locker, prefix string) (string, error) {
	index, _, err := l.Index()
	if err != nil {
		return "", err
	}
	found := map[string]bool{}
	for _, c := range index {
		if strings.HasPrefix(c.ID, prefix) {
			found[c.ID] = true
		}
	}
	if len(found) != 1 || prefix == "" {
		return "", hint(fmt.Errorf("%d collections have an ID that begins with %q", len(found), prefix), "see 'trustpack evidence list'")
	}
	for id := range found {
		prefix = id
	}
	return prefix, nil
}

func (a *app) printEvidence(e evidence.Collected, rec evidence.Record, asJSON bool) error {
	if asJSON {
		items := make([]json.RawMessage, 0, len(e.Population.Items))
		for _, it := range e.Population.Items {
			line, err := it.Line()
			if err != nil {
				return err
			}
			items = append(items, line)
		}
		return a.printJSON(struct {
			ID     string            `json:"id"`
			Record evidence.Record   `json:"record"`
			Items  []json.RawMessage `json:"items"`
		}{e.ID, rec, items})
	}
	p := e.Provenance
	rows := [][]string{
		{"id", e.ID}, {"kind", string(e.Kind)}, {"collected", e.CollectedAt.Format(time.RFC3339) + " (" + string(p.Clock) + " clock)"},
		{"window", e.Window.String()}, {"origin", string(p.Origin)}, {"system", p.System}, {"account", p.Account}, {"principal", p.Principal},
		{"items", strconv.Itoa(len(e.Population.Items))}, {"completeness", string(e.Completeness.State) + " (" + e.Completeness.Basis + ")"},
	}
	if e.Completeness.Note != "" {
		rows = append(rows, []string{"note", e.Completeness.Note})
	}
	for _, g := range e.Completeness.Gaps {
		rows = append(rows, []string{"gap", g.What + ": " + g.Reason})
	}
	for _, r := range p.Requests {
		line := fmt.Sprintf("%s %s -> %d", r.Method, r.Target, r.Status)
		if r.Error != "" {
			line += " " + r.Error
		}
		rows = append(rows, []string{"request", line})
	}
	for _, f := range rec.RawFiles {
		rows = append(rows, []string{"reply", fmt.Sprintf("%s %d bytes sha256 %s", f.Name, f.Size, f.SHA256)})
	}
	return a.table(rows)
}
