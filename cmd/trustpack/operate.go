package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

func (a *app) deadLetterCommand() *cobra.Command {
	var f adminFlags
	return adminGroup("deadletter", "Events that could not be accepted, kept byte for byte", &f, a.deadLetterList(&f), a.deadLetterShow(&f),
		a.deadLetterDecide(&f, "replay", "Judge dead letters again and enter those that today's rules take as events", "replayed", (*ingest.AdminClient).ReplayDeadLetter),
		a.deadLetterDecide(&f, "discard", "Say that dead letters will not be replayed; their bytes stay in the log", "discarded", (*ingest.AdminClient).DiscardDeadLetter))
}

func (a *app) deadLetterList(f *adminFlags) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the dead letters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				letters, err := c.DeadLetters(cmd.Context(), tenant)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(append([]ingest.DeadLetter{}, letters...))
				}
				rows := [][]string{{"ENTRY", "RECEIVED", "DEVICE", "REASON", "STATE", "BYTES", "DETAIL"}}
				for _, l := range letters {
					rows = append(rows, []string{fmt.Sprintf("%s/%d", l.Tenant, l.Index), stamp(&l.Received), l.Device, string(l.Reason), l.State, strconv.Itoa(len(l.Bytes)), l.Detail})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (a *app) deadLetterShow(f *adminFlags) *cobra.Command {
	return inJSON(&cobra.Command{
		Use: "show TENANT/INDEX", Short: "Show one dead letter as JSON, its bytes in base64", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			tenant, index, err := letterName(args[0])
			if err != nil {
				return err
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				letters, err := c.DeadLetters(cmd.Context(), tenant)
				if err != nil {
					return err
				}
				for _, l := range letters {
					if l.Index == index {
						return a.printJSON(l)
					}
				}
				return fmt.Errorf("entry %d of log %s is no dead letter", index, tenant)
			})
		},
	})
}

func letterName(arg string) (tenant string, index int64, err error) {
	tenant, text, ok := strings.Cut(arg, "/")
	if index, err = strconv.ParseInt(text, 10, 64); !ok || err != nil || tenant == "" {
		return "", 0, hint(fmt.Errorf("%q names no dead letter", arg), "write TENANT/INDEX as 'trustpack deadletter list' does")
	}
	return tenant, index, nil
}

// deadLetterDecide is "replay" or "discard". Each letter is decided by itself;
// the first that is refused ends it.
func (a *app) deadLetterDecide(f *adminFlags, verb, short, done string, decide func(*ingest.AdminClient, context.Context, string, int64, string, string) (ingest.DeadLetter, error)) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: verb + " TENANT/INDEX… --reason TEXT", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				if _, _, err := letterName(arg); err != nil {
					return err
				}
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				for _, arg := range args {
					tenant, index, err := letterName(arg)
					if err != nil {
						return err
					}
					l, err := decide(c, cmd.Context(), tenant, index, reason, ticket)
					if err != nil {
						return fmt.Errorf("%s: %w", arg, err)
					}
					became := ""
					if l.ReplayedAs != nil {
						became = fmt.Sprintf(" as %s/%d", l.Tenant, *l.ReplayedAs)
					}
					if _, err := fmt.Fprintf(a.out, "%s %s%s\n", done, arg, became); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) configCommand() *cobra.Command {
	var f adminFlags
	return adminGroup("config", "The configuration that the ingest runs with", &f, a.configShow(&f), a.configApply(&f), a.configHistory(&f))
}

func (a *app) configShow(f *adminFlags) *cobra.Command {
	return inJSON(&cobra.Command{
		Use: "show", Short: "Ask the running ingest for its effective configuration, as JSON", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				body, err := c.Get(cmd.Context(), "/v1/admin/config")
				if err != nil {
					return err
				}
				return a.printJSON(json.RawMessage(body))
			})
		},
	})
}

func (a *app) configApply(f *adminFlags) *cobra.Command {
	var reason, ticket string
	cmd := &cobra.Command{
		Use: "apply [FILE] --reason TEXT", Short: "Make a configuration take effect without a restart",
		Long: `Sends FILE to the running ingest, which checks it whole and then goes on with
its ingest section; no connection is dropped. Paths in it are seen from the
ingest's own configuration file. Without FILE the ingest reads its own file
again, as it does on SIGHUP. A configuration that cannot take effect is refused
and leaves the one before it in force. Addresses, timeouts, replay.window and
ledger need a restart.

The ingest never writes its own file. What FILE changes has to be put there too:
otherwise a restart goes back to the file, which is then an entry, a warning and
an alert (config.reverted), and 'config show' says "kept": false until then.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var file []byte
			if len(args) == 1 {
				var err error
				if file, err = os.ReadFile(args[0]); err != nil {
					return fmt.Errorf("reading configuration: %w", err)
				}
				if len(file) == 0 {
					return fmt.Errorf("%s is empty", args[0])
				}
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				applied, err := c.ApplyConfig(cmd.Context(), file, reason, ticket)
				if err != nil {
					return err
				}
				if !applied.Changed {
					_, err := fmt.Fprintf(a.out, "version %d is in force already\n", applied.Version)
					return err
				}
				if _, err := fmt.Fprintf(a.out, "version %d is in force\n", applied.Version); err != nil {
					return err
				}
				for _, line := range applied.Diff {
					if _, err := fmt.Fprintf(a.out, "  %s\n", plainText(line)); err != nil {
						return err
					}
				}
				if !applied.Kept {
					_, err = fmt.Fprintln(a.err, "note: the file that the ingest starts from says something else; a restart goes back to it")
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cmd.Flags().StringVar(&ticket, "ticket", "", "the ticket that this belongs to")
	return cmd
}

func (a *app) configHistory(f *adminFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "history", Short: "List the versions of the configuration, who applied them and what changed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				versions, err := c.ConfigHistory(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(versions)
				}
				rows := [][]string{{"VERSION", "ENTRY", "APPLIED", "BY", "REASON", "CHANGED"}}
				for _, v := range versions {
					rows = append(rows, []string{strconv.Itoa(v.Version), fmt.Sprintf("control/%d", v.Index), stamp(&v.Time), v.Actor, v.Reason, strings.Join(v.Diff, "; ")})
				}
				return a.table(rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}
