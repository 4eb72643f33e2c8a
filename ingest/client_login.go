package ingest

import (
	"context"
	"net/http"
	"net/url"
)

// LoginTerms begins a login at the provider; no credential is needed.
func (c *AdminClient) LoginTerms(ctx context.Context) (LoginTerms, error) {
	var out LoginTerms
	err := c.list(ctx, "login", &out)
	return out, err
}

// Login exchanges an ID token for a session.
func (c *AdminClient) Login(ctx context.Context, idToken string) (OperatorSession, error) {
	var out OperatorSession
	err := c.call(ctx, http.MethodPost, adminPath+"login", map[string]string{"id_token": idToken}, &out)
	return out, err
}

// Logout ends the session whose token the client shows.
func (c *AdminClient) Logout(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, adminPath+"logout", nil, nil)
}

// Sessions lists the open sessions, the newest first.
func (c *AdminClient) Sessions(ctx context.Context) ([]SessionInfo, error) {
	var out struct{ Sessions []SessionInfo }
	err := c.list(ctx, "sessions", &out)
	return out.Sessions, err
}

// EndSession ends anybody's session at once.
func (c *AdminClient) EndSession(ctx context.Context, id, reason string) error {
	return c.call(ctx, http.MethodPost, adminPath+"sessions/"+url.PathEscape(id)+"/end", map[string]string{"reason": reason}, nil)
}

// AddOperatorByIdentity makes an operator who logs in at the provider, where
// the name claim says identity; his groups give the roles.
func (c *AdminClient) AddOperatorByIdentity(ctx context.Context, name, identity, reason string) error {
	return c.call(ctx, http.MethodPost, adminPath+"operators", map[string]any{"name": name, "oidc": identity, "reason": reason}, nil)
}
