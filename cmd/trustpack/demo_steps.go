package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
	"trustpack/examples/metering"
	"trustpack/ingest"
)

// upload sends what several devices send at one time, all at once, and checks
// that the ingest answered each as the example says it must.
func (q *quarter) upload(ctx context.Context, steps []metering.Step) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for _, s := range steps {
		client := q.devices[s.Tenant+"/"+s.Device]
		if client == nil {
			return fmt.Errorf("%s/%s uploads before it is enrolled", s.Tenant, s.Device)
		}
		group.Go(func() error {
			receipt, err := client.Send(ctx, s.Upload.Body)
			if err := asExpected(s.Upload.Expect, receipt, err); err != nil {
				return fmt.Errorf("%s upload of %s/%s: %w", s.At.Format(time.RFC3339), s.Tenant, s.Device, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func asExpected(want metering.Expect, got ingest.Receipt, err error) error {
	var p *ingest.Problem
	switch {
	case errors.As(err, &p):
		if p.Status == want.Status && string(p.Code) == want.Code {
			return nil
		}
		return fmt.Errorf("refused: %w", err)
	case err != nil:
		return err
	case want.Status != 202:
		return fmt.Errorf("it was taken, and %d %s was expected", want.Status, want.Code)
	case int(got.Accepted) != want.Accepted || int(got.Duplicate) != want.Duplicate || int(got.DeadLettered) != want.DeadLettered || got.Refused != 0:
		return fmt.Errorf("receipt %+v, want %+v", got, want)
	}
	return nil
}

// operator gives the client of an operator, whose files are where --as finds
// them.
func (q *quarter) operator(name string) (*ingest.AdminClient, error) {
	if c := q.operators[name]; c != nil {
		return c, nil
	}
	o, err := q.adminOptions(q.cfg, adminFlags{as: name})
	if err != nil {
		return nil, err
	}
	o.Now = q.now
	c, err := ingest.NewAdminClient(o)
	if err == nil {
		q.operators[name] = c
	}
	return c, err
}

// logs are the ingest's logs, as its auditor sees them.
func (q *quarter) logs(ctx context.Context) ([]ingest.LogInfo, error) {
	c, err := q.operator("erin.sato")
	if err != nil {
		return nil, err
	}
	return c.Logs(ctx)
}

// secondPerson approves the roles of an operator who was added, where somebody
// besides who added him must.
func (q *quarter) secondPerson(ctx context.Context, c *ingest.AdminClient, s metering.Step) error {
	changes, err := c.RoleChanges(ctx)
	if err != nil {
		return err
	}
	operators, err := c.Operators(ctx)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if change.Name != s.Name || change.State != ingest.RolesPending {
			continue
		}
		for _, o := range operators {
			if o.Name == s.Actor || o.Name == s.Name || !slices.Contains(o.Roles, ingest.RoleAdmin) && !slices.Contains(o.Roles, ingest.RoleApprover) {
				continue
			}
			second, err := q.operator(o.Name)
			if err != nil {
				return err
			}
			_, err = second.ApproveRoles(ctx, change.ID, "known to me, and asked for by who may")
			return err
		}
	}
	return nil
}

// step does what an operator or a device does at one time.
func (q *quarter) step(ctx context.Context, s metering.Step) error {
	device := s.Tenant + "/" + s.Device
	switch s.Kind {
	case metering.EnrolDevice:
		return q.enrol(ctx, s.Tenant, s.Device)
	case metering.RenewDevice:
		return q.renew(ctx, s.Tenant, s.Device)
	case metering.ShowOldKey:
		return q.showOldKey(ctx, s.Tenant, s.Device)
	}
	c, err := q.operator(s.Actor)
	if err != nil {
		return err
	}
	switch s.Kind {
	case metering.AddTenant:
		return c.AddTenant(ctx, evidence.Tenant{ID: s.Tenant, Name: s.Name}, s.Reason)
	case metering.AddOperator:
		pair, err := c.AddOperator(ctx, s.Name, s.Roles, s.Reason)
		if err != nil {
			return err
		}
		if err := writePair(filepath.Join(q.cfg.ingestDir(), "operators", s.Name), pair); err != nil {
			return err
		}
		return q.secondPerson(ctx, c, s)
	case metering.RemoveOperator:
		return c.RemoveOperator(ctx, s.Name, s.Reason)
	case metering.RequestGrant, metering.ApproveGrant, metering.UseGrant, metering.MissGrant:
		return q.support(ctx, c, s)
	case metering.RequestExport, metering.ApproveExport, metering.FetchExport:
		return q.export(ctx, c, s)
	case metering.RequestDevice:
		_, err := c.RequestDevice(ctx, ingest.DeviceRequest{Tenant: s.Tenant, Device: s.Device, Type: s.Type, Site: s.Site, Fleet: s.Fleet, Reason: s.Reason})
		return err
	case metering.ApproveDevice:
		code, _, err := c.ApproveDevice(ctx, s.Tenant, s.Device, s.Reason)
		if code != "" {
			q.codes[device] = code
		}
		return err
	case metering.RequestTransfer:
		_, err := c.TransferDevice(ctx, s.Tenant, s.Device, ingest.TransferRequest{ToTenant: s.To, Site: s.Site, Fleet: s.Fleet, Reason: s.Reason, Ticket: s.Ticket})
		return err
	case metering.ApproveTransfer:
		moved, err := c.ApproveTransfer(ctx, s.Tenant, s.Device, s.Reason)
		q.codes[s.To+"/"+s.Device] = moved.Code
		return err
	case metering.QuarantineDevice:
		_, err := c.QuarantineDevice(ctx, s.Tenant, s.Device, s.Reason, s.Ticket)
		return err
	case metering.ReleaseDevice:
		_, err := c.ReleaseDevice(ctx, s.Tenant, s.Device, s.Reason, s.Ticket)
		return err
	case metering.RevokeDevice:
		_, err := c.RevokeDevice(ctx, s.Tenant, s.Device, s.Reason, s.Ticket)
		return err
	case metering.AckAlert, metering.ResolveAlert:
		return q.handleAlert(ctx, c, s)
	}
	return fmt.Errorf("the example has a step of the unknown kind %q", s.Kind)
}

func (q *quarter) handleAlert(ctx context.Context, c *ingest.AdminClient, s metering.Step) error {
	alerts, err := c.Alerts(ctx)
	if err != nil {
		return err
	}
	for _, a := range alerts {
		if a.Kind != s.Alert || s.Device != "" && !slices.Contains(a.Devices, s.Tenant+"/"+s.Device) {
			continue
		}
		if s.Kind == metering.AckAlert {
			return c.AcknowledgeAlert(ctx, a.ID, "", s.Ticket)
		}
		if a.ResolvedAt != nil {
			return nil // the device's return has closed it
		}
		return c.ResolveAlert(ctx, a.ID, s.Reason, s.Ticket)
	}
	return fmt.Errorf("there is no alert %s to act on", s.Alert)
}

// enrol exchanges the device's code for a certificate and keeps its client.
func (q *quarter) enrol(ctx context.Context, tenant, device string) error {
	o := ingest.ClientOptions{URL: "https://" + q.cfg.Ingest.Listen, CA: q.root, Now: q.now}
	c, err := ingest.NewDeviceClient(o)
	if err != nil {
		return err
	}
	defer c.Close()
	var pair *tls.Certificate
	if pair, err = c.Enrol(ctx, tenant, device, q.codes[tenant+"/"+device]); err != nil {
		return err
	}
	o.Certificate = pair
	q.devices[tenant+"/"+device], err = ingest.NewDeviceClient(o)
	return err
}
