package main

import (
	"context"
	"fmt"
	"io"

	"trustpack/examples/metering"
	"trustpack/ingest"
)

// export asks for an export of the example, approves it, or takes it out.
func (q *quarter) export(ctx context.Context, c *ingest.AdminClient, s metering.Step) error {
	x := s.Export
	if s.Kind == metering.RequestExport {
		asked, err := c.RequestExport(ctx, ingest.ExportRequest{
			Tenant: x.Tenant, Device: x.Device, From: x.From, To: x.To, Format: "csv", Destination: x.Destination, Reason: s.Reason, Ticket: s.Ticket,
		})
		if err == nil && asked.NeedsApproval != (x.Approver != "") {
			err = fmt.Errorf("%d rows need approval: %v, and the example has the approver %q", asked.Rows, asked.NeedsApproval, x.Approver)
		}
		q.exports[x.Ticket] = asked.ID
		return err
	}
	if s.Kind == metering.ApproveExport {
		_, err := c.ApproveExport(ctx, q.exports[x.Ticket], "the customer's letter is in the ticket", s.Ticket)
		return err
	}
	_, _, err := c.FetchExport(ctx, q.exports[x.Ticket], io.Discard)
	return err
}
