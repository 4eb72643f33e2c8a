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

// DeviceToken is a bearer token of a device. Its text is a secret that the
// ingest shows once.
type DeviceToken struct {
	Token     string    `json:"token"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	OldUntil  time.Time `json:"old_until"` // of a renewal: how long the one before it is good
}

// EnrolToken exchanges the one-time code for a token, where the policy lets the
// device have one.
func (c *DeviceClient) EnrolToken(ctx context.Context, tenant, device, code string) (DeviceToken, error) {
	var out DeviceToken
	err := c.call(ctx, http.MethodPost, "/v1/enroll", map[string]string{"tenant": tenant, "device": device, "code": code, "method": MethodToken}, &out)
	return out, err
}

// RenewToken gives a new token for the one that the client shows.
func (c *DeviceClient) RenewToken(ctx context.Context) (DeviceToken, error) {
	var out DeviceToken
	err := c.call(ctx, http.MethodPost, "/v1/renew", map[string]string{"method": MethodToken}, &out)
	return out, err
}
