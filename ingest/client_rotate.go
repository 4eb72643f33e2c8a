package ingest

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"time"
)

// Renew makes a P-256 key and has it certified in place of the certificate that
// the client shows. That one works on until oldUntil.
func (c *DeviceClient) Renew(ctx context.Context, device string) (pair *tls.Certificate, oldUntil time.Time, err error) {
	key, csr, err := NewCSR(device)
	if err != nil {
		return nil, time.Time{}, err
	}
	var out struct {
		Certificate string    `json:"certificate"`
		OldUntil    time.Time `json:"old_until"`
	}
	if err := c.call(ctx, http.MethodPost, "/v1/renew", map[string]string{"csr": string(csr)}, &out); err != nil {
		return nil, time.Time{}, err
	}
	pair, err = pairOf(out.Certificate, key)
	return pair, out.OldUntil, err
}

// RotateDevice orders a new credential for a device beside the one that it has.
// code is empty while further approvers must order it too.
func (c *AdminClient) RotateDevice(ctx context.Context, tenant, device, reason, ticket string) (code string, expires time.Time, err error) {
	var out struct {
		Code    string    `json:"enrolment_code"`
		Expires time.Time `json:"expires"`
	}
	err = c.call(ctx, http.MethodPost, devicePath(tenant, device, "rotate"), map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out.Code, out.Expires, err
}

// DueCredentials lists the credentials of a tenant, or of all where it is
// empty, whose end is near or past, the first to end first.
func (c *AdminClient) DueCredentials(ctx context.Context, tenant string) ([]DueCredential, error) {
	var out struct{ Due []DueCredential }
	err := c.list(ctx, "devices/due?tenant="+url.QueryEscape(tenant), &out)
	return out.Due, err
}
