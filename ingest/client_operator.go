package ingest

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// OperatorToken is a token as it is shown, once.
type OperatorToken struct {
	Token string `json:"token"`
	OperatorCredential
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

// GrantRequest asks that somebody of the role support may do some things in a
// tenant for some minutes.
type GrantRequest struct {
	Operator string   `json:"operator"`
	Tenant   string   `json:"tenant"`
	Actions  []string `json:"actions"` // of Grantable
	Minutes  int      `json:"minutes"`
	Reason   string   `json:"reason"`
	Ticket   string   `json:"ticket,omitempty"`
}

// RequestGrant asks for a support grant.
func (c *AdminClient) RequestGrant(ctx context.Context, r GrantRequest) (GrantRecord, error) {
	var out GrantRecord
	err := c.call(ctx, http.MethodPost, adminPath+"grants", r, &out)
	return out, err
}

func (c *AdminClient) decideGrant(ctx context.Context, id, act, reason, ticket string) (GrantRecord, error) {
	var out GrantRecord
	err := c.call(ctx, http.MethodPost, adminPath+"grants/"+url.PathEscape(id)+"/"+act, map[string]string{"reason": reason, "ticket": ticket}, &out)
	return out, err
}

// ApproveGrant lets a grant begin that somebody else asked for, for somebody else.
func (c *AdminClient) ApproveGrant(ctx context.Context, id, reason, ticket string) (GrantRecord, error) {
	return c.decideGrant(ctx, id, "approve", reason, ticket)
}

// DeclineGrant refuses a grant.
func (c *AdminClient) DeclineGrant(ctx context.Context, id, reason string) (GrantRecord, error) {
	return c.decideGrant(ctx, id, "decline", reason, "")
}

// EndGrant ends a grant before its time.
func (c *AdminClient) EndGrant(ctx context.Context, id, reason string) (GrantRecord, error) {
	return c.decideGrant(ctx, id, "end", reason, "")
}

// Grants lists the grants, newest first.
func (c *AdminClient) Grants(ctx context.Context) ([]GrantRecord, error) {
	var out struct{ Grants []GrantRecord }
	err := c.list(ctx, "grants", &out)
	return out.Grants, err
}

// BreakGlassRequest takes a role in an emergency.
type BreakGlassRequest struct {
	Role    string `json:"role"`
	Minutes int    `json:"minutes"`
	Reason  string `json:"reason"`
	Ticket  string `json:"ticket,omitempty"`
}

// OpenBreakGlass gives the caller a role for some minutes.
func (c *AdminClient) OpenBreakGlass(ctx context.Context, r BreakGlassRequest) (BreakGlass, error) {
	var out BreakGlass
	err := c.call(ctx, http.MethodPost, adminPath+"break-glass", r, &out)
	return out, err
}

// CloseBreakGlass gives it back.
func (c *AdminClient) CloseBreakGlass(ctx context.Context, id, reason string) (BreakGlass, error) {
	var out BreakGlass
	err := c.call(ctx, http.MethodPost, adminPath+"break-glass/"+url.PathEscape(id)+"/close", map[string]string{"reason": reason}, &out)
	return out, err
}

// BreakGlasses lists them, newest first.
func (c *AdminClient) BreakGlasses(ctx context.Context) ([]BreakGlass, error) {
	var out struct {
		BreakGlass []BreakGlass `json:"break_glass"`
	}
	err := c.list(ctx, "break-glass", &out)
	return out.BreakGlass, err
}

// ChangeRoles gives an operator other roles. State says whether they took
// effect or wait for somebody else.
func (c *AdminClient) ChangeRoles(ctx context.Context, name string, roles []string, reason string) (RoleChange, error) {
	var out RoleChange
	err := c.call(ctx, http.MethodPost, adminPath+"operators/"+url.PathEscape(name)+"/roles", map[string]any{"roles": roles, "reason": reason}, &out)
	return out, err
}

// RoleChanges lists the role changes that a second person decides, newest first.
func (c *AdminClient) RoleChanges(ctx context.Context) ([]RoleChange, error) {
	var out struct {
		RoleChanges []RoleChange `json:"role_changes"`
	}
	err := c.list(ctx, "role-changes", &out)
	return out.RoleChanges, err
}

// ApproveRoles consents to a role change that somebody else asked for.
func (c *AdminClient) ApproveRoles(ctx context.Context, id, reason string) (RoleChange, error) {
	return c.decideRoles(ctx, id, "approve", reason)
}

// DeclineRoles refuses it.
func (c *AdminClient) DeclineRoles(ctx context.Context, id, reason string) (RoleChange, error) {
	return c.decideRoles(ctx, id, "decline", reason)
}

func (c *AdminClient) decideRoles(ctx context.Context, id, act, reason string) (RoleChange, error) {
	var out RoleChange
	err := c.call(ctx, http.MethodPost, adminPath+"role-changes/"+url.PathEscape(id)+"/"+act, map[string]string{"reason": reason}, &out)
	return out, err
}

// WhoCould asks who could do any of the actions at some moment of a span.
func (c *AdminClient) WhoCould(ctx context.Context, q WhoQuery) (*WhoCould, error) {
	in := url.Values{"from": {q.From.UTC().Format(time.RFC3339Nano)}, "to": {q.To.UTC().Format(time.RFC3339Nano)}, "action": q.Actions}
	var out WhoCould
	if err := c.list(ctx, "who-could?"+in.Encode(), &out); err != nil {
		return nil, err
	}
	return &out, nil
}
