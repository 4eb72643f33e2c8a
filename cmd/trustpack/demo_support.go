package main

import (
	"context"
	"errors"
	"fmt"

	"trustpack/examples/metering"
	"trustpack/ingest"
)

// support asks for a grant of the example, approves it, reads under it, or
// finds it over.
func (q *quarter) support(ctx context.Context, c *ingest.AdminClient, s metering.Step) error {
	switch s.Kind {
	case metering.RequestGrant:
		g, err := c.RequestGrant(ctx, ingest.GrantRequest{
			Operator: s.Actor, Tenant: s.Tenant, Actions: []string{"read"}, Minutes: int(s.Grant.For.Minutes()), Reason: s.Reason, Ticket: s.Ticket,
		})
		q.grants[s.Ticket] = g.ID
		return err
	case metering.ApproveGrant:
		_, err := c.ApproveGrant(ctx, q.grants[s.Ticket], "for this ticket", s.Ticket)
		return err
	}
	_, err := c.Devices(ctx, s.Tenant)
	if s.Kind == metering.UseGrant {
		return err
	}
	var p *ingest.Problem
	if !errors.As(err, &p) || p.Code != ingest.CodeForbidden {
		return fmt.Errorf("reading without a grant: %w", errors.Join(errors.New("it was not refused"), err))
	}
	return nil
}
