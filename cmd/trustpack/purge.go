package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
	"trustpack/ledger"
)

func (a *app) ledgerPurge() *cobra.Command {
	var f adminFlags
	var tenant, before, reason, ticket string
	cmd := adminGroup("purge --before T --tenant X --reason TEXT", "Erase what a tenant's devices sent, in whole UTC days; somebody else approves", &f, a.purgeApprove(&f), a.purgeList(&f))
	cmd.Long = `Asks the running ingest to erase the payloads of one tenant that were received
before the UTC day of T, and their keys. Nothing is erased until somebody else
approves it with 'ledger purge approve'. Entries and proofs stay as they are,
and the purge is an entry itself. ` + "What is " + ingest.NotPurged + "."
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if tenant == "" || before == "" {
			return hint(errors.New("a purge needs a tenant and a time"), "give --tenant X and --before 2026-07-01")
		}
		return a.withAdmin(&f, func(c *ingest.AdminClient) error {
			x, err := c.RequestPurge(cmd.Context(), tenant, before, reason, ticket)
			if err != nil {
				return err
			}
			p := x.Purge
			if _, err := fmt.Fprintf(a.out, "requested %s: %d payloads of %s, %d UTC days from %s to %s, entries %d to %d; waits for an approver\n",
				x.ID, p.Count, x.Tenant, p.Days, p.FirstDay, p.LastDay, p.First, p.End-1); err != nil {
				return err
			}
			if asked := x.Asked.UTC().Format(time.RFC3339); asked != x.Before+"T00:00:00Z" {
				if _, err := fmt.Fprintf(a.out, "%s was rounded down to the beginning of %s: whole days are purged, never the running one\n", asked, x.Before); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintln(a.out, ingest.NotPurged)
			return err
		})
	}
	p := cmd.Flags()
	p.StringVar(&tenant, "tenant", "", "whose payloads")
	p.StringVar(&before, "before", "", "received before the UTC day of this day or time")
	p.StringVar(&reason, "reason", "", "why it is to be erased")
	p.StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) purgeApprove(f *adminFlags) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: "approve ID", Short: "Consent to a purge that somebody else asked for; it is done at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				x, err := c.ApprovePurge(cmd.Context(), args[0], reason, ticket)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "purged %d payloads of %s, %d bytes, %s to %s, entries %d to %d; entry %d of control\n%s\n",
					x.Purge.Count, x.Tenant, x.Purge.Bytes, x.Purge.FirstDay, x.Purge.LastDay, x.Purge.First, x.Purge.End-1, x.Index, ingest.NotPurged)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it may be erased")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) purgeList(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the purges, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				purges, err := c.Purges(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.PurgeRecord{}, purges...))
				}
				rows := [][]string{{"PURGE", "TENANT", "BEFORE", "PAYLOADS", "STATE", "REQUESTED BY", "APPROVED BY", "DONE", "REASON"}}
				for _, x := range purges {
					rows = append(rows, []string{x.ID, x.Tenant, x.Before, strconv.FormatInt(x.Purge.Count, 10), x.State, x.Requester, x.Approver, stamp(&x.DoneAt), x.Reason})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) ledgerPayload() *cobra.Command {
	var log, out string
	var index int64
	cmd := &cobra.Command{
		Use:   "payload DIR --log NAME --index N --out FILE",
		Short: "Write what an entry commits to: FILE.salt and FILE.payload",
		Long: `Writes the salt and the payload of an entry. The member "payload" of the entry,
which 'ledger prove' writes with its proof, is what
'cat FILE.salt FILE.payload | sha256sum' prints. A payload that was purged, or an
entry that never had one, is exit 1.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if out == "" {
				return hint(errors.New("there is no file to write to"), "name one with --out FILE")
			}
			return withLog(args[0], log, func(l *ledger.Ledger) error {
				payload, salt, err := l.Payload(log, index)
				if errors.Is(err, ledger.ErrPurged) || errors.Is(err, ledger.ErrNoPayload) {
					return &exitError{code: exitWrong, err: err}
				}
				if err != nil {
					return err
				}
				if err := durable.WriteFile(out+".salt", salt, 0o600); err != nil {
					return err
				}
				if err := durable.WriteFile(out+".payload", payload, 0o600); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "salt: %s.salt\npayload: %s.payload\n", out, out)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&log, "log", "", "the log's name")
	cmd.Flags().Var((*entryIndex)(&index), "index", "the entry, counted from 0")
	cmd.Flags().StringVar(&out, "out", "", "write FILE.salt and FILE.payload")
	return cmd
}
