package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ingest"
)

func (a *app) deviceSend() *cobra.Command {
	var d deviceFlags
	var tries int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "send --url URL --cert C --key K [--ca CA] [FILE]",
		Short: "Reference client: send events as NDJSON, again until they are acknowledged",
		Long: `Sends the events in FILE (or standard input), one JSON object a line, and prints
the receipt. A batch that was not answered is sent again as it was: the ingest
knows each event by its number and takes it once.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "-"
			if len(args) == 1 {
				name = args[0]
			}
			events, err := a.readFileOr(name)
			if err != nil {
				return fmt.Errorf("reading events: %w", err)
			}
			if len(bytes.TrimSpace(events)) == 0 {
				return errors.New("there are no events to send")
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
			receipt, err := a.sendUntilAcknowledged(cmd.Context(), c, events, tries)
			if err != nil {
				return refusal(err)
			}
			if asJSON {
				err = a.printJSON(receipt)
			} else {
				err = a.printReceipt(receipt)
			}
			if err == nil && receipt.Refused+receipt.DeadLettered > 0 {
				return &exitError{code: exitWrong}
			}
			return err
		},
	}
	d.add(cmd, true)
	cmd.Flags().IntVar(&tries, "tries", 5, "how often to try")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the receipt as JSON")
	return cmd
}

// sendUntilAcknowledged sends the batch again after a lost answer, a 503 or a
// 429, waiting as the ingest asks, or 1, 2, 4, … seconds.
func (a *app) sendUntilAcknowledged(ctx context.Context, c *ingest.DeviceClient, events []byte, tries int) (ingest.Receipt, error) {
	wait := time.Second
	for try := 1; ; try++ {
		receipt, err := c.Send(ctx, events)
		var p *ingest.Problem
		if err == nil || try >= tries || errors.As(err, &p) && p.Status != 429 && p.Status != 503 {
			return receipt, err
		}
		if p != nil && p.RetryAfter() > 0 {
			wait = p.RetryAfter()
		}
		a.progress("not acknowledged (%v); try %d of %d in %v", err, try+1, tries, wait)
		select {
		case <-ctx.Done():
			return receipt, ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (a *app) printReceipt(r ingest.Receipt) error {
	if _, err := fmt.Fprintf(a.out, "%d accepted, %d duplicate, %d dead-lettered, %d refused; log %s", r.Accepted, r.Duplicate, r.DeadLettered, r.Refused, r.Log); err != nil {
		return err
	}
	if r.Count > 0 {
		if _, err := fmt.Fprintf(a.out, ", entries %d to %d", r.FirstIndex, r.FirstIndex+r.Count-1); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	for _, l := range r.Lines {
		if _, err := fmt.Fprintf(a.out, "line %d: %s %s %s\n", l.Line, l.Status, l.Code, plainText(l.Detail)); err != nil {
			return err
		}
	}
	return nil
}
