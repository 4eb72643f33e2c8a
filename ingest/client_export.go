package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// ExportRequest asks for a file of a tenant's events.
type ExportRequest struct {
	Tenant      string `json:"tenant"`
	From        string `json:"from,omitempty"` // day or RFC 3339 time of receipt
	To          string `json:"to,omitempty"`
	Device      string `json:"device,omitempty"`
	EventType   string `json:"event_type,omitempty"`
	Format      string `json:"format"` // "ndjson" or "csv"
	Destination string `json:"destination"`
	Reason      string `json:"reason"`
	Ticket      string `json:"ticket,omitempty"`
}

// RequestExport asks for an export.
func (c *AdminClient) RequestExport(ctx context.Context, r ExportRequest) (ExportRecord, error) {
	var out ExportRecord
	err := c.call(ctx, http.MethodPost, adminPath+"exports", r, &out)
	return out, err
}

// ApproveExport consents to an export of somebody else.
func (c *AdminClient) ApproveExport(ctx context.Context, id, reason, ticket string) (ExportRecord, error) {
	var out ExportRecord
	err := c.call(ctx, http.MethodPost, adminPath+"exports/"+url.PathEscape(id)+"/approve", map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out, err
}

// DeclineExport refuses an export that waits for an approver.
func (c *AdminClient) DeclineExport(ctx context.Context, id, reason, ticket string) (ExportRecord, error) {
	var out ExportRecord
	err := c.call(ctx, http.MethodPost, adminPath+"exports/"+url.PathEscape(id)+"/decline", map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out, err
}

// Exports lists the exports, newest first.
func (c *AdminClient) Exports(ctx context.Context) ([]ExportRecord, error) {
	var out struct{ Exports []ExportRecord }
	err := c.list(ctx, "exports", &out)
	return out.Exports, err
}

// FetchExport writes the file to w and gives its SHA-256, which it holds
// against the one that the ingest names. An error leaves w with a part.
func (c *AdminClient) FetchExport(ctx context.Context, id string, w io.Writer) (digest string, size int64, err error) {
	path := adminPath + "exports/" + url.PathEscape(id) + "/file"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, http.NoBody)
	if err != nil {
		return "", 0, err
	}
	unhurried := *c.http
	unhurried.Timeout = 0
	res, err := unhurried.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		p := &Problem{}
		if err := json.NewDecoder(res.Body).Decode(p); err != nil || p.Code == "" {
			return "", 0, fmt.Errorf("POST %s: answered %s", path, res.Status)
		}
		return "", 0, p
	}
	h := sha256.New()
	if size, err = io.Copy(io.MultiWriter(w, h), res.Body); err != nil {
		return "", size, fmt.Errorf("reading an export: %w", err)
	}
	if res.Header.Get("Content-Digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(h.Sum(nil))+":" {
		return "", size, errors.New("reading an export: what came is not what the ingest says it sent")
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
