package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

func (a *app) breakGlassCommand(f *adminFlags) *cobra.Command {
	return group("break-glass", "A role taken in an emergency, for a bounded time", a.breakGlassOpen(f), a.breakGlassClose(f), a.breakGlassList(f))
}

func (a *app) breakGlassOpen(f *adminFlags) *cobra.Command {
	var r ingest.BreakGlassRequest
	cmd := &cobra.Command{
		Use: "open --role ROLE --minutes N --reason WHY", Short: "Take a role in an emergency; it raises an alert and ends by itself",
		Long: `Gives an admin a role that is not his. It raises the alert operator.break-glass,
everything done under it carries its ID, and it ends by itself. Nobody approves
his own request under it either.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				b, err := c.OpenBreakGlass(cmd.Context(), r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "opened %s: %s holds %s until %s; an alert was raised\n", b.ID, b.Operator, b.Role, stamp(&b.Until))
				return err
			})
		},
	}
	p := cmd.Flags()
	p.StringVar(&r.Role, "role", "", "the role that is taken")
	p.IntVar(&r.Minutes, "minutes", 0, "for how long")
	p.StringVar(&r.Reason, "reason", "", "what the emergency is")
	p.StringVar(&r.Ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) breakGlassClose(f *adminFlags) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "close ID", Short: "Give the role back before its time", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				b, err := c.CloseBreakGlass(cmd.Context(), args[0], reason)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "closed %s\n", b.ID)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

func (a *app) breakGlassList(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the roles that were taken in an emergency", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				list, err := c.BreakGlasses(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.BreakGlass{}, list...))
				}
				rows := [][]string{{"BREAK-GLASS", "OPERATOR", "ROLE", "OPENED", "UNTIL", "CLOSED", "WHY", "REASON"}}
				for _, b := range list {
					rows = append(rows, []string{b.ID, b.Operator, b.Role, stamp(&b.OpenedAt), stamp(&b.Until), stamp(&b.ClosedAt), b.Why, b.Reason})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
