package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

func (a *app) alertCommand() *cobra.Command {
	var f adminFlags
	return adminGroup("alert", "Alerts of the ingest", &f, a.alertList(&f), a.alertShow(&f), a.alertAck(&f), a.alertResolve(&f), a.alertUndelivered(&f), a.alertResend(&f))
}

func (a *app) alertList(f *adminFlags) *cobra.Command {
	var q ingest.AlertQuery
	var from, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the alerts and what became of them, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if q.From, err = instant("--from", from); err != nil {
				return err
			}
			if q.To, err = instant("--to", to); err != nil {
				return err
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				alerts, err := c.FindAlerts(cmd.Context(), q)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.AlertView{}, alerts...))
				}
				rows := [][]string{{"ALERT", "KIND", "RAISED", "ACKNOWLEDGED", "RESOLVED", "DEVICES", "TICKET", "DETAIL"}}
				for _, al := range alerts {
					rows = append(rows, []string{al.ID, al.Kind, stamp(&al.RaisedAt), stamp(al.AcknowledgedAt), stamp(al.ResolvedAt), strings.Join(al.Devices, " "), dash(al.Ticket), al.Detail})
				}
				return a.table(rows)
			})
		},
	}
	p := cmd.Flags()
	p.StringVar(&q.Kind, "kind", "", "only of this kind, such as device.silent")
	p.StringVar(&q.Tenant, "tenant", "", "only this tenant's")
	p.StringVar(&q.State, "state", "", "only those open, acknowledged or resolved")
	p.StringVar(&from, "from", "", "only those raised at this time or later, such as 2026-07-01 or 2026-07-01T10:00:00Z")
	p.StringVar(&to, "to", "", "only those raised before this time")
	p.BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// instant reads a time or a day, in UTC; empty is none.
func instant(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, hint(fmt.Errorf("%s: %q is no time", flag, text), "write it like 2026-07-01 or 2026-07-01T10:00:00Z")
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (a *app) alertShow(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one alert with all that was done and to whom it was told", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				al, err := c.Alert(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(al)
				}
				return a.printAlert(al)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) printAlert(al ingest.AlertView) error {
	if err := a.table([][]string{
		{"alert", al.ID}, {"kind", al.Kind}, {"severity", al.Severity}, {"state", al.State}, {"tenant", dash(al.Tenant)}, {"since", stamp(&al.Since)},
		{"detail", al.Detail}, {"devices", dash(strings.Join(al.Devices, " "))}, {"ticket", dash(al.Ticket)},
		{"acknowledged after", seconds(al.AcknowledgeSeconds)}, {"resolved after", seconds(al.ResolveSeconds)},
	}); err != nil {
		return err
	}
	rows := [][]string{{}, {"ENTRY", "EVENT", "TIME", "BY", "TICKET", "TEXT"}}
	for _, s := range al.Chain {
		rows = append(rows, []string{fmt.Sprintf("control/%d", s.Index), s.Event, stamp(&s.Time), dash(s.Actor), dash(s.Ticket), s.Text})
	}
	if err := a.table(rows); err != nil || len(al.Deliveries) == 0 {
		return err
	}
	rows = [][]string{{}, {"ENTRY", "TOLD", "TO", "STATE", "SINCE", "ATTEMPTS", "ERROR"}}
	for _, d := range al.Deliveries {
		rows = append(rows, []string{fmt.Sprintf("control/%d", d.Index), d.Event, d.To, d.State, stamp(&d.Time), strconv.Itoa(d.Attempts), dash(d.Error)})
	}
	return a.table(rows)
}

func seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return time.Duration(*s * float64(time.Second)).Round(time.Second).String()
}

func (a *app) alertAck(f *adminFlags) *cobra.Command {
	var note, ticket string
	cmd := &cobra.Command{
		Use: "ack ID", Short: "Say that somebody looks at an alert", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				if err := c.AcknowledgeAlert(cmd.Context(), args[0], note, ticket); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "acknowledged %s\n", args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "what is being done")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) alertResolve(f *adminFlags) *cobra.Command {
	var resolution, ticket string
	cmd := &cobra.Command{
		Use: "resolve ID --resolution TEXT", Short: "Say what an alert was and what was done", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				if err := c.ResolveAlert(cmd.Context(), args[0], resolution, ticket); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "resolved %s\n", args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&resolution, "resolution", "", "what it was and what was done")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) alertUndelivered(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "undelivered", Short: "List what of the alerts could not be told to a webhook or as an issue, and was given up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				alerts, err := c.FindAlerts(cmd.Context(), ingest.AlertQuery{Delivery: ingest.DeliveryUndelivered})
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.AlertView{}, alerts...))
				}
				rows := [][]string{{"ALERT", "EVENT", "TO", "GIVEN UP", "ENTRY", "ATTEMPTS", "ERROR"}}
				for _, al := range alerts {
					for _, d := range al.Deliveries {
						if d.State == ingest.DeliveryUndelivered {
							rows = append(rows, []string{al.ID, d.Event, d.To, stamp(&d.Time), fmt.Sprintf("control/%d", d.Index), strconv.Itoa(d.Attempts), d.Error})
						}
					}
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) alertResend(f *adminFlags) *cobra.Command {
	var to, reason string
	cmd := &cobra.Command{
		Use: "resend ID", Short: "Have told what was given up of an alert", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				if err := c.ResendAlert(cmd.Context(), args[0], to, reason); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "%s is told again\n", args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "only to this webhook or repository (default: to all)")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}
