package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

func (a *app) exportCommand() *cobra.Command {
	var f adminFlags
	return adminGroup("export", "Files of a tenant's events, asked for, approved and recorded", &f, a.exportRequest(&f), a.exportApprove(&f), a.exportDecline(&f), a.exportGet(&f), a.exportList(&f))
}

func (a *app) exportRequest(f *adminFlags) *cobra.Command {
	var r ingest.ExportRequest
	cmd := &cobra.Command{
		Use: "request TENANT --destination TEXT --reason TEXT", Short: "Ask for a file of a tenant's events",
		Long: `Asks for a file of the events of one tenant. What is in it is settled now. Above
exports.unapproved_rows it waits until somebody else approves it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Tenant = args[0]
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				x, err := c.RequestExport(cmd.Context(), r)
				if err != nil {
					return err
				}
				next := "ready to be fetched"
				if x.State == ingest.ExportPending {
					next = "waits for an approver"
				}
				_, err = fmt.Fprintf(a.out, "requested %s: %d rows, %s\n", x.ID, x.Rows, next)
				return err
			})
		},
	}
	p := cmd.Flags()
	p.StringVar(&r.From, "from", "", "received from this day or time on")
	p.StringVar(&r.To, "to", "", "received before this day or time (default: now)")
	p.StringVar(&r.Device, "device", "", "only this device's")
	p.StringVar(&r.EventType, "type", "", "only events of this type")
	p.StringVar(&r.Format, "format", "ndjson", "ndjson or csv")
	p.StringVar(&r.Destination, "destination", "", "where the file goes")
	p.StringVar(&r.Reason, "reason", "", "why the data is wanted")
	p.StringVar(&r.Ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) exportApprove(f *adminFlags) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: "approve ID", Short: "Consent to an export that somebody else asked for", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				x, err := c.ApproveExport(cmd.Context(), args[0], reason, ticket)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "approved %s: %d rows for %s\n", x.ID, x.Rows, x.Requester)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it may leave")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) exportDecline(f *adminFlags) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: "decline ID --reason TEXT", Short: "Refuse an export that waits for an approver", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				x, err := c.DeclineExport(cmd.Context(), args[0], reason, ticket)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "declined %s: %d rows for %s\n", x.ID, x.Rows, x.Requester)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it may not leave")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) exportGet(f *adminFlags) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "get ID --out FILE", Short: "Fetch the file of an export; that it left is recorded", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return hint(errors.New("there is no file to write to"), "name one with --out FILE")
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return fmt.Errorf("writing an export: %w", err)
				}
				digest, size, err := c.FetchExport(cmd.Context(), args[0], file)
				if err = errors.Join(err, file.Close()); err != nil {
					return errors.Join(err, os.Remove(out))
				}
				_, err = fmt.Fprintf(a.out, "%s  %s\n%d bytes\n", digest, out, size)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `file` to write; one that exists is not overwritten")
	return cmd
}

func (a *app) exportList(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the exports and how often each left", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				exports, err := c.Exports(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.ExportRecord{}, exports...))
				}
				rows := [][]string{{"EXPORT", "TENANT", "REQUESTED", "BY", "ROWS", "STATE", "DECIDED BY", "LEFT", "DESTINATION", "REASON"}}
				for _, x := range exports {
					rows = append(rows, []string{
						x.ID, x.Tenant, stamp(&x.RequestedAt), x.Requester, strconv.FormatInt(x.Rows, 10), x.State, cmp.Or(x.Approver, x.Decliner), strconv.Itoa(len(x.Files)), x.Destination, x.Reason,
					})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
