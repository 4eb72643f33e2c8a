package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/evidence"
)

func (a *app) controlsCommand() *cobra.Command {
	var catalog string
	cmd := group("controls", "The catalog of controls", a.controlsList(&catalog), a.controlsShow(&catalog), a.controlsTest(&catalog))
	cmd.PersistentFlags().StringVar(&catalog, "catalog", "", "a `folder` of controls of your own, added to those built in")
	return cmd
}

func (a *app) controlsList(catalog *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the controls by stage", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := loadCatalog(*catalog)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(c.Controls())
			}
			rows := [][]string{{"CONTROL", "STAGE", "CRITERIA", "TITLE"}}
			for _, ctl := range c.Controls() {
				rows = append(rows, []string{ctl.ID, ctl.Stage.Title(), criteria(ctl), ctl.Title})
			}
			return a.table(rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func criteria(c evidence.Control) string {
	var ids []string
	for _, id := range c.Criteria {
		ids = append(ids, string(id))
	}
	return strings.Join(ids, " ")
}

func (a *app) controlsShow(catalog *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a control: what it demands, of which evidence, tested how", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := loadCatalog(*catalog)
			if err != nil {
				return err
			}
			all := c.Controls()
			i := slices.IndexFunc(all, func(ctl evidence.Control) bool { return ctl.ID == args[0] })
			if i < 0 {
				return hint(fmt.Errorf("there is no control %q", args[0]), "see 'trustpack controls list'")
			}
			ctl := all[i]
			if asJSON {
				return a.printJSON(ctl)
			}
			rows := [][]string{
				{"control", ctl.ID + " " + ctl.Title}, {"stage", ctl.Stage.Title()}, {"criteria", criteria(ctl)},
				{"objective", ctl.Objective}, {"guidance", ctl.Guidance}, {"source", ctl.Source + " sha256 " + ctl.SHA256},
			}
			for _, k := range ctl.Kinds {
				rows = append(rows, []string{"evidence", string(k)})
			}
			for _, at := range ctl.Attributes {
				rows = append(rows, []string{"attribute", fmt.Sprintf("%s: %s (over %s: %s)", at.ID, at.Title, at.Kind, strings.Join(strings.Fields(at.Test), " "))})
			}
			return a.table(rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) controlsTest(catalog *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test", Short: "Run the test cases inside the controls", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := loadCatalog(*catalog)
			if err != nil {
				return err
			}
			results := c.Test()
			if asJSON {
				if err := a.printJSON(results); err != nil {
					return err
				}
			}
			failed := 0
			for _, r := range results {
				if r.Passed {
					continue
				}
				failed++
				if !asJSON {
					if _, err := fmt.Fprintf(a.out, "FAILED %s: %s: %s\n", r.Control, r.Case, r.Detail); err != nil {
						return err
					}
				}
			}
			if !asJSON {
				if _, err := fmt.Fprintf(a.out, "%d cases, %d failed\n", len(results), failed); err != nil {
					return err
				}
			}
			if len(results) == 0 {
				return &exitError{code: exitInconclusive, err: fmt.Errorf("no case was run: the catalog holds none")}
			}
			if failed > 0 {
				return &exitError{code: exitWrong}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
