package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

// sayPending tells of roles of an operator that wait for a second person.
func (a *app) sayPending(ctx context.Context, c *ingest.AdminClient, name string) error {
	changes, err := c.RoleChanges(ctx)
	if err != nil {
		return err
	}
	for _, r := range changes {
		if r.Name == name && r.State == ingest.RolesPending {
			_, err = fmt.Fprintf(a.out, "the roles wait for somebody else: trustpack operator approve %s\n", r.ID)
			return err
		}
	}
	return nil
}

func (a *app) operatorRoles(f *adminFlags) *cobra.Command {
	var roles []string
	var reason string
	cmd := &cobra.Command{
		Use: "roles NAME --role ROLE", Short: "Give an operator other roles; privileged ones that come to him wait for somebody else", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				r, err := c.ChangeRoles(cmd.Context(), args[0], roles, reason)
				if err != nil {
					return err
				}
				if r.State == ingest.RolesPending {
					_, err = fmt.Fprintf(a.out, "requested %s: %s shall hold %s; waits for somebody else\n", r.ID, r.Name, strings.Join(r.Roles, ", "))
					return err
				}
				_, err = fmt.Fprintf(a.out, "%s now holds %s\n", r.Name, strings.Join(r.Roles, ", "))
				return err
			})
		},
	}
	cmd.Flags().StringSliceVar(&roles, "role", nil, "all that the operator is to hold; may be given again")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

func (a *app) operatorDecide(f *adminFlags, verb, short, done string, decide func(*ingest.AdminClient, context.Context, string, string) (ingest.RoleChange, error)) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " ID|NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				id, err := roleChangeOf(cmd.Context(), c, args[0])
				if err != nil {
					return err
				}
				r, err := decide(c, cmd.Context(), id, reason)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "%s %s: %s, %s\n", done, r.ID, r.Name, strings.Join(r.Roles, ", "))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

// roleChangeOf is the ID of the change that is meant: by itself, or by the name
// of the operator for whom it waits.
func roleChangeOf(ctx context.Context, c *ingest.AdminClient, meant string) (string, error) {
	changes, err := c.RoleChanges(ctx)
	if err != nil {
		return "", err
	}
	found := meant
	for _, r := range changes {
		switch {
		case r.ID == meant:
			return meant, nil
		case r.Name == meant && r.State == ingest.RolesPending:
			found = r.ID
		}
	}
	return found, nil
}

func (a *app) operatorChanges(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "changes", Short: "List the role changes that a second person decides", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				changes, err := c.RoleChanges(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.RoleChange{}, changes...))
				}
				rows := [][]string{{"CHANGE", "OPERATOR", "ROLES", "STATE", "REQUESTED", "BY", "DECIDED BY", "REASON"}}
				for _, r := range changes {
					rows = append(rows, []string{r.ID, r.Name, strings.Join(r.Roles, " "), r.State, stamp(&r.RequestedAt), r.Requester, r.DecidedBy, r.Reason})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
