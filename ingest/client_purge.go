package ingest

import (
	"context"
	"net/http"
	"net/url"
)

// RequestPurge asks for what the tenant's devices sent before a day or RFC 3339
// time to be erased.
func (c *AdminClient) RequestPurge(ctx context.Context, tenant, before, reason, ticket string) (PurgeRecord, error) {
	var out PurgeRecord
	err := c.call(ctx, http.MethodPost, adminPath+"purges", map[string]string{"tenant": tenant, "before": before, "reason": reason, "ticket": ticket}, &out)
	return out, err
}

// ApprovePurge consents to a purge of somebody else, and has it done.
func (c *AdminClient) ApprovePurge(ctx context.Context, id, reason, ticket string) (PurgeRecord, error) {
	var out PurgeRecord
	err := c.call(ctx, http.MethodPost, adminPath+"purges/"+url.PathEscape(id)+"/approve", map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out, err
}

// Purges lists the purges, newest first.
func (c *AdminClient) Purges(ctx context.Context) ([]PurgeRecord, error) {
	var out struct{ Purges []PurgeRecord }
	err := c.list(ctx, "purges", &out)
	return out.Purges, err
}
