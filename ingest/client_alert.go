package ingest

import (
	"context"
	"net/http"
	"net/url"
)

// Alerts lists all alerts, newest first.
func (c *AdminClient) Alerts(ctx context.Context) ([]AlertView, error) {
	return c.FindAlerts(ctx, AlertQuery{})
}

// FindAlerts lists the alerts that q wants, newest first.
func (c *AdminClient) FindAlerts(ctx context.Context, q AlertQuery) ([]AlertView, error) {
	var all []AlertView
	for v := q.query(); ; {
		var out struct {
			Alerts []AlertView `json:"alerts"`
			Next   string      `json:"next"`
		}
		if err := c.list(ctx, "alerts?"+v.Encode(), &out); err != nil {
			return all, err
		}
		all = append(all, out.Alerts...)
		if out.Next == "" {
			return all, nil
		}
		v.Set("after", out.Next)
	}
}

// Alert gives one alert with all that was done.
func (c *AdminClient) Alert(ctx context.Context, id string) (AlertView, error) {
	var out AlertView
	err := c.list(ctx, "alerts/"+url.PathEscape(id), &out)
	return out, err
}

// AcknowledgeAlert says that somebody looks into it; note may say what is being
// done.
func (c *AdminClient) AcknowledgeAlert(ctx context.Context, id, note, ticket string) error {
	return c.onAlert(ctx, id, "ack", map[string]string{"note": note, "ticket": ticket})
}

// ResolveAlert closes an alert.
func (c *AdminClient) ResolveAlert(ctx context.Context, id, resolution, ticket string) error {
	return c.onAlert(ctx, id, "resolve", map[string]string{"resolution": resolution, "ticket": ticket})
}

// ResendAlert has what could not be told of an alert told to a target after
// all, or to all where it is empty.
func (c *AdminClient) ResendAlert(ctx context.Context, id, to, reason string) error {
	return c.onAlert(ctx, id, "resend", map[string]string{"to": to, "reason": reason})
}

func (c *AdminClient) onAlert(ctx context.Context, id, act string, in map[string]string) error {
	return c.call(ctx, http.MethodPost, adminPath+"alerts/"+url.PathEscape(id)+"/"+act, in, nil)
}
