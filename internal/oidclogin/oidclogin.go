// Package oidclogin gets an ID token for the person at this machine: by the
// authorization code grant with PKCE and a redirect to loopback (RFC 7636, RFC
// 8252), or, where there is no browser, by the device grant (RFC 8628).
package oidclogin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Terms are what the party that the ID token is for wants.
type Terms struct {
	Issuer       string
	ClientID     string
	ClientSecret string // empty: a public client
	Scopes       []string
	ACR          []string
	Nonce        string

	transport http.RoundTripper // nil: the default
}

// config asks the provider for its addresses.
func (t Terms) config(ctx context.Context) (context.Context, *oauth2.Config, error) {
	ctx = oidc.ClientContext(ctx, &http.Client{Timeout: 20 * time.Second, Transport: t.transport})
	p, err := oidc.NewProvider(ctx, t.Issuer)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the provider %s where to log in: %w", t.Issuer, shortOf(err))
	}
	var about struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := p.Claims(&about); err != nil {
		return nil, nil, fmt.Errorf("reading what the provider %s says of itself: %w", t.Issuer, err)
	}
	e := p.Endpoint()
	for _, address := range []string{e.AuthURL, e.TokenURL, e.DeviceAuthURL} {
		if address != "" && !private(address) {
			return nil, nil, fmt.Errorf("the provider %s names the address %s, which is not https", t.Issuer, plain(address))
		}
	}
	// Told how to show the client, oauth2 does not try both ways in turn, which
	// would double each poll of a device grant. A public client can only be named
	// in the body (RFC 6749, section 3.2.1).
	e.AuthStyle = oauth2.AuthStyleInParams
	if t.ClientSecret != "" && (len(about.Methods) == 0 || slices.Contains(about.Methods, "client_secret_basic")) {
		e.AuthStyle = oauth2.AuthStyleInHeader
	}
	return ctx, &oauth2.Config{ClientID: t.ClientID, ClientSecret: t.ClientSecret, Endpoint: e, Scopes: t.Scopes}, nil
}

// private reports whether what is sent to address is seen by nobody on its
// way: https, or http that stays on this machine.
func private(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// Browser lets the person log in with a browser, which show is given the
// address for, and waits until the provider has sent it back here.
func Browser(ctx context.Context, t Terms, show func(address string) error) (idToken string, err error) {
	ctx, cfg, err := t.config(ctx)
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening for the provider's answer: %w", err)
	}
	cfg.RedirectURL = "http://" + ln.Addr().String() + "/callback"
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	back := &callback{state: state, issuer: t.Issuer, got: make(chan answer, 1)}
	server := &http.Server{Handler: back, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() {
		// The page that the browser waits for goes out before the end.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close() // what is still open is a browser that waits for nothing
		}
		<-served
	}()
	opts := []oauth2.AuthCodeOption{oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(verifier)}
	if len(t.ACR) > 0 {
		opts = append(opts, oauth2.SetAuthURLParam("acr_values", strings.Join(t.ACR, " ")))
	}
	if err := show(cfg.AuthCodeURL(state, opts...)); err != nil {
		return "", err
	}
	select {
	case a := <-back.got:
		if a.err != nil {
			return "", a.err
		}
		token, err := cfg.Exchange(ctx, a.code, oauth2.VerifierOption(verifier))
		return idTokenOf(token, err)
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for the login in the browser: %w", ctx.Err())
	}
}

type answer struct {
	code string
	err  error
}

// callback takes the first answer that carries the state of this login; what
// else comes to its port changes nothing.
type callback struct {
	state, issuer string
	got           chan answer
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != "/callback" || len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1 {
		http.Error(w, "This is not the answer to a login that was begun here.", http.StatusBadRequest)
		return
	}
	a, text := answer{code: q.Get("code")}, "You can close this window."
	switch iss := q.Get("iss"); { // RFC 9207, section 2.4
	case iss != "" && iss != c.issuer:
		a, text = answer{err: errors.New("another provider than the one that was asked has answered")}, "Refused: the answer is from another provider."
	case q.Get("error") != "":
		a, text = answer{err: fmt.Errorf("the provider refused the login: %s %s", plain(q.Get("error")), plain(q.Get("error_description")))}, "The provider refused the login."
	case a.code == "":
		a, text = answer{err: errors.New("the provider's answer holds no code")}, "The provider's answer holds no code."
	}
	select {
	case c.got <- a:
	default:
		http.Error(w, "This login was answered before.", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = fmt.Fprintln(w, text) // the login goes on without its page
}

// plain is text that can be printed to a terminal.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text[:min(len(text), 300)])
}

// Device lets the person log in on another device: show tells the address and
// the code to enter there, and an address that holds both where there is one.
func Device(ctx context.Context, t Terms, show func(address, code, both string) error) (idToken string, err error) {
	ctx, cfg, err := t.config(ctx)
	if err != nil {
		return "", err
	}
	if cfg.Endpoint.DeviceAuthURL == "" {
		return "", fmt.Errorf("the provider %s has no device grant; log in with a browser", t.Issuer)
	}
	begun, err := cfg.DeviceAuth(ctx)
	if err != nil {
		return "", fmt.Errorf("beginning the login: %w", shortOf(err))
	}
	if err := show(plain(begun.VerificationURI), plain(begun.UserCode), plain(begun.VerificationURIComplete)); err != nil {
		return "", err
	}
	begun.Interval = max(begun.Interval, 0)
	token, err := cfg.DeviceAccessToken(ctx, begun)
	if errors.Is(err, context.DeadlineExceeded) && !begun.Expiry.IsZero() && !time.Now().Before(begun.Expiry) {
		return "", errors.New("the code expired before the login was made; begin again")
	}
	return idTokenOf(token, err)
}

// idTokenOf keeps the ID token alone: nothing is done at the provider with the
// others.
func idTokenOf(t *oauth2.Token, err error) (string, error) {
	if err != nil {
		return "", fmt.Errorf("fetching the ID token: %w", shortOf(err))
	}
	text, ok := t.Extra("id_token").(string)
	if !ok || text == "" {
		return "", errors.New("the provider gave no ID token: the client must be allowed the scope openid")
	}
	return text, nil
}

// shortOf is err as it can be shown: without what else an answer holds, and
// without the errors below it, which are of the provider and not of the ingest.
func shortOf(err error) error {
	var r *oauth2.RetrieveError
	switch {
	case errors.As(err, &r):
		status := ""
		if r.Response != nil {
			status = r.Response.Status
		}
		return fmt.Errorf("the provider answered %s %s %s", plain(status), plain(r.ErrorCode), plain(r.ErrorDescription))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return errors.New(plain(err.Error()))
}
