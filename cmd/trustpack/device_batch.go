package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/durable"
)

// requestBatch asks for the devices of a CSV file.
func (a *app) requestBatch(cmd *cobra.Command, f *adminFlags, file string, partial, asJSON bool) error {
	text, err := a.readFileOr(file)
	if err != nil {
		return fmt.Errorf("reading the devices: %w", err)
	}
	return a.withAdmin(f, func(c *ingest.AdminClient) error {
		out, err := c.RequestDevices(cmd.Context(), text, partial)
		var p *ingest.Problem
		if errors.As(err, &p) && len(p.Rows) > 0 {
			for _, row := range p.Rows {
				a.progress("%s", rowText(file, row))
			}
			return fmt.Errorf("nothing was requested: %w", err)
		}
		if err != nil {
			return err
		}
		if asJSON {
			if err := a.printJSON(out); err != nil {
				return err
			}
		} else {
			for _, d := range out.Devices {
				if _, err := fmt.Fprintf(a.out, "requested %s/%s, generation %d\n", d.Tenant, d.Device, d.Generation); err != nil {
					return err
				}
			}
			if _, err := fmt.Fprintf(a.out, "batch: %s\n", out.Batch); err != nil {
				return err
			}
		}
		if len(out.Refused) == 0 {
			return nil
		}
		for _, row := range out.Refused {
			a.progress("%s", rowText(file, row))
		}
		return &exitError{code: exitWrong, err: fmt.Errorf("partial: %d of %d rows were requested, %d were not", len(out.Devices), len(out.Devices)+len(out.Refused), len(out.Refused))}
	})
}

func rowText(file string, row ingest.RowProblem) string {
	name := ""
	if row.Device != "" {
		name = " " + row.Tenant + "/" + row.Device
	}
	return fmt.Sprintf("%s:%d:%s %s: %s", file, row.Line, name, row.Code, row.Detail)
}

// approveBatch consents to a batch; the codes go into a CSV file.
func (a *app) approveBatch(cmd *cobra.Command, f *adminFlags, batch, reason, out string) error {
	if out == "" {
		return hint(errors.New("--code-out is not set"), "name the file for the enrolment codes of all devices; they are shown once")
	}
	return a.withAdmin(f, func(c *ingest.AdminClient) error {
		done, err := c.ApproveBatch(cmd.Context(), batch, reason)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		rows, more := [][]string{{"tenant", "device", "generation", "enrolment_code", "expires"}}, 0
		for _, d := range done.Approved {
			if d.Code == "" {
				more++
				continue
			}
			rows = append(rows, []string{d.Tenant, d.Device, strconv.Itoa(d.Generation), d.Code, stamp(&d.Expires)})
		}
		if err := w.WriteAll(rows); err != nil {
			return err
		}
		for _, l := range done.LeftOut {
			a.progress("left out: %s/%s: %s", l.Tenant, l.Device, l.Why)
		}
		if len(rows) > 1 {
			if err := durable.WriteFile(out, text.Bytes(), 0o600); err != nil {
				return fmt.Errorf("the devices are approved, but their codes could not be written and are lost; request them anew: %w", err)
			}
			if _, err := fmt.Fprintf(a.out, "approved %d devices; enrolment codes in %s\n", len(rows)-1, out); err != nil {
				return err
			}
		}
		if more > 0 {
			_, err = fmt.Fprintf(a.out, "approved %d devices; another approval is needed\n", more)
		}
		return err
	})
}
