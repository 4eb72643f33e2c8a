package ingest

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// OperatorToken is a token as it is shown, once.
type OperatorToken struct {
	Token     string    `json:"token"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// AddOperatorWithToken makes an operator who proves himself with a token.
// minutes of 0 are as many as may be.
func (c *AdminClient) AddOperatorWithToken(ctx context.Context, name string, roles []string, minutes int, reason string) (OperatorToken, error) {
	var out OperatorToken
	err := c.call(ctx, http.MethodPost, adminPath+"operators", map[string]any{"name": name, "roles": roles, "token": true, "minutes": minutes, "reason": reason}, &out)
	return out, err
}

// TokenRequest asks for a token. Minutes of 0 are as many as may be; after
// OverlapMinutes the tokens before it end.
type TokenRequest struct {
	NotBefore      time.Time `json:"not_before,omitzero"`
	Minutes        int       `json:"minutes,omitempty"`
	OverlapMinutes int       `json:"overlap_minutes,omitempty"`
	Reason         string    `json:"reason,omitempty"`
}

// IssueToken gives another operator a token.
func (c *AdminClient) IssueToken(ctx context.Context, name string, r TokenRequest) (OperatorToken, error) {
	var out OperatorToken
	err := c.call(ctx, http.MethodPost, adminPath+"operators/"+url.PathEscape(name)+"/token", r, &out)
	return out, err
}

// RotateToken gives the caller, who came with a token, the next one.
func (c *AdminClient) RotateToken(ctx context.Context, r TokenRequest) (OperatorToken, error) {
	var out OperatorToken
	err := c.call(ctx, http.MethodPost, adminPath+"token", r, &out)
	return out, err
}
