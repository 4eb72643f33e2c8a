package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
)

func (a *app) deviceTransfer(f *adminFlags) *cobra.Command {
	var r ingest.TransferRequest
	cmd := &cobra.Command{
		Use: "transfer TENANT DEVICE --to TENANT --reason WHY", Short: "Ask that a device go to another tenant; somebody else approves it", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				d, err := c.TransferDevice(cmd.Context(), args[0], args[1], r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "requested the transfer of %s/%s, generation %d, to %s; nothing changes until it is approved\n", d.Tenant, d.ID, d.Generation, r.ToTenant)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&r.ToTenant, "to", "", "the tenant that gets it")
	cmd.Flags().StringVar(&r.Site, "site", "", "where it will be")
	cmd.Flags().StringVar(&r.Fleet, "fleet", "", "the fleet it will belong to")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why")
	cmd.Flags().StringVar(&r.Ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) deviceTransferApprove(f *adminFlags) *cobra.Command {
	var reason, out string
	cmd := &cobra.Command{
		Use:   "transfer-approve TENANT DEVICE --code-out FILE",
		Short: "Approve a transfer: the old credential ends at once, the device enrols anew with the code", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" {
				if err := mustNotExist(out); err != nil {
					return err
				}
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				t, err := c.ApproveTransfer(cmd.Context(), args[0], args[1], reason)
				switch {
				case err != nil:
					return err
				case t.Code == "":
					_, err = fmt.Fprintf(a.out, "approved the transfer of %s/%s; another approval is needed\n", args[0], args[1])
				case out == "":
					_, err = fmt.Fprintf(a.out, "%s/%s is now %s/%s, generation %d; enrolment code, shown once, valid until %s:\n%s\n",
						args[0], args[1], t.Tenant, args[1], t.Generation, stamp(&t.Expires), t.Code)
				default:
					if err := durable.WriteFile(out, []byte(t.Code+"\n"), 0o600); err != nil {
						return fmt.Errorf("the device is transferred, but its code could not be written and is lost; revoke it and request it anew: %w", err)
					}
					_, err = fmt.Fprintf(a.out, "%s/%s is now %s/%s, generation %d; enrolment code, valid until %s, in %s\n",
						args[0], args[1], t.Tenant, args[1], t.Generation, stamp(&t.Expires), out)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	cmd.Flags().StringVar(&out, "code-out", "", "write the code to this `file` instead of printing it")
	return cmd
}

func (a *app) deviceTransfers(f *adminFlags) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "transfers", Short: "List the transfers that wait for a decision", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				devices, err := c.FindDevices(cmd.Context(), ingest.DeviceQuery{Tenant: tenant, Transfer: true})
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.DeviceRecord{}, devices...))
				}
				rows := [][]string{{"TENANT", "DEVICE", "GEN", "TO", "FLEET", "REQUESTED BY", "APPROVALS", "EXPIRES", "REASON"}}
				for _, d := range devices {
					t := d.Transfer
					rows = append(rows, []string{d.Tenant, d.ID, strconv.Itoa(d.Generation), t.ToTenant, t.Fleet, t.RequestedBy, strconv.Itoa(len(t.Approvals)), stamp(&t.Expires), t.Reason})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only those of this tenant's devices")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
