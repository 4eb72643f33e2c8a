package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
)

func (a *app) deviceReceipt(f *adminFlags) *cobra.Command {
	var out, file string
	var keys []string
	var generation int
	cmd := &cobra.Command{
		Use:   "receipt (TENANT DEVICE [--out FILE] | --check FILE --log-key KEY)",
		Short: "The receipt of a revocation: decision, cut and first refused attempt, with proofs; or check one",
		Long: `Writes one JSON record of the decision that shuts the device out (a revocation,
quarantine, retirement or transfer): who decided it and why, the cut of its open
connections, and the first attempt that was refused after it, each with its entry
in the control log, its index and its inclusion proof under one signed checkpoint.

With --check the record is checked without the ingest, under the control log's
verifier key. Exit 0: all three are in the log as the record says. Exit 1: the
record is wrong. Exit 3: something is open, such as that no attempt was refused
yet, which shows nothing of whether one would be; or no key is of that log.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return a.checkReceipt(file, keys)
			}
			if len(keys) > 0 {
				return errors.New("--log-key goes with --check")
			}
			if out != "" {
				if err := mustNotExist(out); err != nil {
					return err
				}
			}
			return a.withAdmin(f, func(c *ingest.AdminClient) error {
				r, err := c.Receipt(cmd.Context(), args[0], args[1], generation)
				if err != nil {
					return err
				}
				if out == "" {
					return a.printJSON(r)
				}
				text, err := json.MarshalIndent(r, "", "  ")
				if err != nil {
					return err
				}
				if err := durable.WriteFile(out, append(text, '\n'), 0o644); err != nil {
					return err
				}
				if err := a.printCutReceipt(r); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "receipt: %s\n", out)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the receipt to this `file` instead of printing it")
	cmd.Flags().IntVar(&generation, "generation", 0, "of this generation of the device (default: the latest)")
	cmd.Flags().StringVar(&file, "check", "", "check the receipt in this `file`, offline")
	cmd.Flags().StringArrayVar(&keys, "log-key", nil, "verifier key of the control log: a `file`, a folder of them, or the key itself")
	return cmd
}

// printCutReceipt says in words what the receipt says.
func (a *app) printCutReceipt(r ingest.CutReceipt) error {
	d := r.Decision
	if _, err := fmt.Fprintf(a.out, "%s of %s/%s, generation %d, by %s (%s) at %s: %s (control/%d)\n",
		d.Action, r.Tenant, r.Device, r.Generation, d.Actor, d.Role, stamp(&d.Time), withTicket(d.Reason, d.Ticket), d.Index); err != nil {
		return err
	}
	cut := "cut: not in the log\n"
	if c := r.Cut; c != nil {
		cut = fmt.Sprintf("cut: %d connections within %.3f ms (control/%d)\n", c.Connections, c.ElapsedMS, c.Index)
	}
	refused := fmt.Sprintf("first refused attempt: none in the %d entries so far\n", r.Entries)
	if f := r.FirstRefused; f != nil {
		refused = fmt.Sprintf("first refused attempt: %s, %s from %s (control/%d)\n", stamp(&f.Time), f.Code, f.Source, f.Index)
	}
	_, err := fmt.Fprint(a.out, cut, refused)
	return err
}

func withTicket(reason, ticket string) string {
	if ticket == "" {
		return reason
	}
	return reason + " (" + ticket + ")"
}

// checkReceipt checks the receipt in file under that one of the keys that is
// its log's.
func (a *app) checkReceipt(file string, keys []string) error {
	if len(keys) == 0 {
		return hint(errors.New("--log-key is not set"), "give the control log's verifier key as you got it from somebody you trust; the one in the receipt proves nothing")
	}
	pinned, err := pinnedKeys(keys)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the receipt: %w", err)
	}
	var r ingest.CutReceipt
	err = json.Unmarshal(text, &r)
	if err == nil && r.Excerpt.Origin == "" {
		err = errors.New("it names no log")
	}
	if err != nil {
		return &exitError{code: exitWrong, err: fmt.Errorf("reading the receipt: %s is no receipt: %w", file, err)}
	}
	vkey := pinned[r.Excerpt.Origin]
	if vkey == "" {
		return &exitError{code: exitInconclusive, err: fmt.Errorf("checking the receipt: it is of log %q, of which no key was given", r.Excerpt.Origin)}
	}
	switch err := r.Check(vkey); {
	case errors.Is(err, ingest.ErrReceiptOpen):
		if perr := a.printCutReceipt(r); perr != nil {
			return perr
		}
		return &exitError{code: exitInconclusive, err: err}
	case err != nil:
		return &exitError{code: exitWrong, err: err}
	}
	if err := a.printCutReceipt(r); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "receipt: OK, under a signed checkpoint of %d entries of %s\n", r.Entries, r.Excerpt.Origin)
	return err
}
