package main

import (
	"context"
	"errors"
	"fmt"

	"trustpack/ingest"
)

// renew has the device's certificate replaced; it sends with the new one from
// then on.
func (q *quarter) renew(ctx context.Context, tenant, device string) error {
	name := tenant + "/" + device
	old := q.devices[name]
	pair, _, err := old.Renew(ctx, device)
	if err != nil {
		return err
	}
	fresh, err := ingest.NewDeviceClient(ingest.ClientOptions{URL: "https://" + q.cfg.Ingest.Listen, CA: q.root, Now: q.now, Certificate: pair})
	if err != nil {
		return err
	}
	q.replaced[name], q.devices[name] = old, fresh
	return nil
}

// showOldKey sends with the certificate that was replaced, in vain.
func (q *quarter) showOldKey(ctx context.Context, tenant, device string) error {
	_, err := q.replaced[tenant+"/"+device].Send(ctx, []byte(`{"seq":1,"time":"2026-07-01T00:00:00Z","type":"gateway.v1","data":{}}`))
	var p *ingest.Problem
	if !errors.As(err, &p) || p.Code != ingest.CodeExpiredCredential {
		return fmt.Errorf("sending with the certificate before: %w", errors.Join(errors.New("it was not refused"), err))
	}
	return nil
}
