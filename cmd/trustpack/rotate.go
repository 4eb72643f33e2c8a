package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
)

func (a *app) deviceRotate(f *adminFlags) *cobra.Command {
	var reason, ticket, out string
	cmd := &cobra.Command{
		Use: "rotate TENANT DEVICE --reason WHY --code-out FILE", Short: "Order a new credential for a device: gives a one-time code for 'device enrol'", Args: cobra.ExactArgs(2),
		Long: `Orders a new credential beside the one that the device has, and gives a one-time
code to fetch it with, as at the enrolment. From when it is fetched on, the old
one works for rotation.overlap and is then refused. In a critical fleet it takes
as many approvers as an enrolment does; the last of them gets the code. A device
that still has a good credential needs no order: it can renew by itself.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" {
				if err := mustNotExist(out); err != nil {
					return err
				}
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				code, expires, err := c.RotateDevice(cmd.Context(), args[0], args[1], reason, ticket)
				switch {
				case err != nil:
					return err
				case code == "":
					_, err = fmt.Fprintf(a.out, "ordered for %s/%s; another approver must order it too\n", args[0], args[1])
				case out == "":
					_, err = fmt.Fprintf(a.out, "ordered for %s/%s; enrolment code, shown once, valid until %s:\n%s\n", args[0], args[1], stamp(&expires), code)
				default:
					if err := durable.WriteFile(out, []byte(code+"\n"), 0o600); err != nil {
						return fmt.Errorf("the rotation is ordered, but its code could not be written and is lost; order it anew: %w", err)
					}
					_, err = fmt.Fprintf(a.out, "ordered for %s/%s; enrolment code, valid until %s, in %s\n", args[0], args[1], stamp(&expires), out)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	cmd.Flags().StringVar(&out, "code-out", "", "write the code to this `file` instead of printing it")
	return cmd
}

func (a *app) deviceDue(f *adminFlags) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "due", Short: "List the credentials whose end is near or past, with the days that are left", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				due, err := c.DueCredentials(cmd.Context(), tenant)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.DueCredential{}, due...))
				}
				rows := [][]string{{"TENANT", "DEVICE", "GEN", "TYPE", "FLEET", "METHOD", "ENDS", "DAYS LEFT"}}
				for _, d := range due {
					rows = append(rows, []string{d.Tenant, d.Device, strconv.Itoa(d.Generation), d.Type, d.Fleet, d.Method, stamp(&d.NotAfter), strconv.Itoa(d.DaysLeft)})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) deviceRenew() *cobra.Command {
	var d deviceFlags
	var out string
	cmd := &cobra.Command{
		Use: "renew DEVICE --cert C --key K --out NAME", Short: "Renew a device's certificate, or its token, with the one that it has", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case d.token == "" && (d.cert == "" || d.key == ""):
				return errors.New("--cert and --key, or --token-file: give the credential that the device has now")
			case out == "":
				return errors.New("--out is not set: give the new files another name than the old ones have, which work on for a while")
			}
			for _, path := range credentialFiles(out, d.token != "") {
				if err := mustNotExist(path); err != nil {
					return err
				}
			}
			o, err := a.deviceOptions(d)
			if err != nil {
				return err
			}
			c, err := ingest.NewDeviceClient(o)
			if err != nil {
				return err
			}
			defer c.Close()
			if d.token != "" {
				t, err := c.RenewToken(cmd.Context())
				if err != nil {
					return refusal(err)
				}
				return a.keepToken(out, t)
			}
			pair, until, err := c.Renew(cmd.Context(), args[0])
			if err != nil {
				return refusal(err)
			}
			if err := writePair(out, pair); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "certificate: %s.crt\nprivate key: %s.key\nthe old one works until %s\n", out, out, stamp(&until))
			return err
		},
	}
	d.add(cmd, true)
	cmd.Flags().StringVar(&out, "out", "", "name of the new files")
	return cmd
}

// credentialFiles are the files that hold a device's credential.
func credentialFiles(out string, token bool) []string {
	if token {
		return []string{out + ".token"}
	}
	return []string{out + ".crt", out + ".key"}
}

// keepToken writes OUT.token, which is nowhere else.
func (a *app) keepToken(out string, t ingest.DeviceToken) error {
	if err := durable.WriteFile(out+".token", []byte(t.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("the token was issued, but it could not be written and is lost; have another one ordered with 'trustpack device rotate': %w", err)
	}
	_, err := fmt.Fprintf(a.out, "token: %s.token\ngood until %s\n", out, stamp(&t.NotAfter))
	if err == nil && !t.OldUntil.IsZero() {
		_, err = fmt.Fprintf(a.out, "the old one works until %s\n", stamp(&t.OldUntil))
	}
	return err
}
