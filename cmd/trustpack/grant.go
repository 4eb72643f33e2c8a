package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

func (a *app) grantCommand() *cobra.Command {
	var f adminFlags
	decide := func(verb, short, done string, act func(*ingest.AdminClient, context.Context, string, string) (ingest.GrantRecord, error)) *cobra.Command {
		var reason string
		cmd := &cobra.Command{
			Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withAdmin(&f, func(c *ingest.AdminClient) error {
					g, err := act(c, cmd.Context(), args[0], reason)
					if err != nil {
						return err
					}
					until := ""
					if g.State == ingest.GrantActive {
						until = ", until " + stamp(&g.Until)
					}
					_, err = fmt.Fprintf(a.out, "%s %s: %s in %s may %s%s\n", done, g.ID, g.Operator, g.Tenant, strings.Join(g.Actions, ", "), until)
					return err
				})
			},
		}
		cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
		return cmd
	}
	return adminGroup("grant", "What support may do, in which tenant and for how long", &f, a.grantSupport(&f),
		decide("approve", "Let a grant begin that somebody else asked for", "approved", func(c *ingest.AdminClient, ctx context.Context, id, reason string) (ingest.GrantRecord, error) {
			return c.ApproveGrant(ctx, id, reason, "")
		}),
		decide("decline", "Refuse a grant", "declined", (*ingest.AdminClient).DeclineGrant),
		decide("end", "End a grant before its time; what is under way under it is cut", "ended", (*ingest.AdminClient).EndGrant),
		a.grantList(&f))
}

func (a *app) grantSupport(f *adminFlags) *cobra.Command {
	var r ingest.GrantRequest
	cmd := &cobra.Command{
		Use: "support --operator NAME --tenant TENANT --actions LIST --minutes N --reason WHY", Short: "Ask that somebody of the role support may do something for a time",
		Long: `Asks for a support grant. The role support by itself opens nothing. An approver who
neither asked for it nor is served by it approves; its time begins then. What may
be granted: ` + strings.Join(ingest.Grantable(), ", ") + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				g, err := c.RequestGrant(cmd.Context(), r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "requested %s: %s in %s may %s for %d minutes; waits for an approver\n", g.ID, g.Operator, g.Tenant, strings.Join(g.Actions, ", "), g.Minutes)
				return err
			})
		},
	}
	p := cmd.Flags()
	p.StringVar(&r.Operator, "operator", "", "who may act; an operator of the role support")
	p.StringVar(&r.Tenant, "tenant", "", "the tenant in which")
	p.StringSliceVar(&r.Actions, "actions", nil, "what, such as read,deadletter.replay")
	p.IntVar(&r.Minutes, "minutes", 0, "for how long, from the approval on")
	p.StringVar(&r.Reason, "reason", "", "what for")
	p.StringVar(&r.Ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) grantList(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the grants and what became of them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				grants, err := c.Grants(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.GrantRecord{}, grants...))
				}
				rows := [][]string{{"GRANT", "OPERATOR", "TENANT", "ACTIONS", "STATE", "REQUESTED BY", "DECIDED BY", "UNTIL", "WHY", "REASON"}}
				for _, g := range grants {
					rows = append(rows, []string{g.ID, g.Operator, g.Tenant, strings.Join(g.Actions, " "), g.State, g.Requester, cmp.Or(g.Approver, g.Decliner), stamp(&g.Until), g.Why, g.Reason})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
