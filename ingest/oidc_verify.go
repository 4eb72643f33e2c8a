package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"trustpack/evidence"
)

const (
	oidcSkew      = time.Minute      // by which the provider's clock may be off
	oidcFresh     = 10 * time.Minute // from the issue of an ID token to the login with it
	oidcKeysKept  = 5 * time.Minute  // after which the provider's keys are read again, so that one it withdrew is not taken for longer
	oidcKeysPause = 10 * time.Second // between two readings because of a key that is not known
	oidcTokenMax  = 16 << 10         // bytes
)

// oidcAlgorithms are the signatures that are taken: of a key pair each, so
// that what is public cannot sign.
func oidcAlgorithms() []string {
	return []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}
}

// loginIdentity is what an ID token says of who logs in.
type loginIdentity struct {
	Issuer, Subject string
	Name            string // of the name claim
	Groups          []string
	Nonce           string // empty where the token carries none
	Issued          time.Time
}

// hash names the identity without telling it.
func (id *loginIdentity) hash() string {
	return evidence.SHA256Hex([]byte(id.Issuer + "\n" + id.Subject))
}

// idProvider is the provider in force, its addresses and its keys.
type idProvider struct {
	now  func() time.Time
	http *http.Client

	mu   sync.Mutex
	of   string // issuer
	at   time.Time
	keys *oidc.RemoteKeySet
}

func newIDProvider(now func() time.Time) *idProvider {
	return &idProvider{now: now, http: &http.Client{
		Timeout: 10 * time.Second, CheckRedirect: noRedirect, Transport: &keyTransport{now: now, base: plainTransport(), last: map[string]time.Time{}},
	}}
}

var (
	errProviderSilent = errors.New("the provider cannot be asked")
	errAskedJustNow   = errors.New("the provider was asked a moment ago")
)

// verify checks an ID token as section 3.1.3.7 of OpenID Connect Core 1.0
// demands, all but its nonce. An error that is errProviderSilent says nothing
// of the token.
func (p *idProvider) verify(ctx context.Context, o *OIDCPolicy, token string) (*loginIdentity, error) {
	if len(token) > oidcTokenMax {
		return nil, errors.New("the ID token is too long")
	}
	now := p.now()
	keys, err := p.keySet(ctx, o.Issuer, now)
	if err != nil {
		return nil, err
	}
	v := oidc.NewVerifier(o.Issuer, keys, &oidc.Config{
		ClientID: o.audience(), SupportedSigningAlgs: oidcAlgorithms(),
		SkipExpiryCheck: true, // ours is below, by our clock and with less slack
	})
	t, err := v.Verify(ctx, token)
	switch {
	case errors.Is(keys.err, errAskedJustNow):
		return nil, errors.New("the ID token is signed with a key that the provider did not show a moment ago")
	case errors.Is(keys.err, errProviderSilent):
		return nil, keys.err
	case err != nil:
		return nil, err
	}
	var c struct {
		NotBefore float64  `json:"nbf"`
		Party     string   `json:"azp"`
		ACR       string   `json:"acr"`
		AMR       []string `json:"amr"`
		Verified  *bool    `json:"email_verified"`
	}
	var all map[string]json.RawMessage
	if err := errors.Join(t.Claims(&c), t.Claims(&all)); err != nil {
		return nil, err
	}
	id := &loginIdentity{Issuer: t.Issuer, Subject: t.Subject, Nonce: t.Nonce, Issued: t.IssuedAt, Groups: textsOf(all[o.GroupsClaim])}
	if names := textsOf(all[o.NameClaim]); len(names) == 1 {
		id.Name = names[0]
	}
	switch {
	case !t.Expiry.Add(oidcSkew).After(now):
		return nil, fmt.Errorf("the ID token expired at %s", t.Expiry.UTC().Format(time.RFC3339))
	case time.Unix(int64(c.NotBefore), 0).After(now.Add(oidcSkew)):
		return nil, errors.New("the ID token is not valid yet")
	case t.IssuedAt.After(now.Add(oidcSkew)):
		return nil, errors.New("the ID token is from the future: one of the two clocks is wrong")
	case t.IssuedAt.Add(oidcFresh).Before(now):
		return nil, fmt.Errorf("the ID token was issued more than %v ago", oidcFresh)
	case len(t.Audience) > 1 && c.Party == "" || c.Party != "" && c.Party != o.ClientID:
		return nil, errors.New("the ID token was issued to another client")
	case id.Subject == "" || len(id.Subject) > 255 || id.Name == "" || len(id.Name) > 255:
		return nil, fmt.Errorf("the ID token lacks sub or %s", o.NameClaim)
	case o.NameClaim == "email" && (c.Verified == nil || !*c.Verified):
		return nil, errors.New("the provider has not verified the address email")
	case o.RequireMFA && !slices.Contains(c.AMR, "mfa"):
		return nil, errors.New("the provider does not say that more than one factor was used")
	case len(o.ACR) > 0 && !slices.Contains(o.ACR, c.ACR):
		return nil, errors.New("acr of the ID token is none that oidc.acr lists")
	}
	return id, nil
}

// textsOf reads a claim that is one text or a list of them.
func textsOf(claim json.RawMessage) []string {
	var one string
	var many []string
	if json.Unmarshal(claim, &one) == nil && one != "" {
		return []string{one}
	}
	if json.Unmarshal(claim, &many) != nil {
		return nil
	}
	return many
}

// keySet finds the provider's keys, which it keeps for a while.
func (p *idProvider) keySet(ctx context.Context, issuer string, now time.Time) (*tellingKeys, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil || p.of != issuer || now.Sub(p.at) >= oidcKeysKept || now.Before(p.at) {
		ctx = oidc.ClientContext(context.WithoutCancel(ctx), p.http)
		found, err := oidc.NewProvider(ctx, issuer)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errProviderSilent, err)
		}
		var where struct {
			Keys string `json:"jwks_uri"`
		}
		if err := found.Claims(&where); err != nil || !webAddress(where.Keys) {
			return nil, fmt.Errorf("%w: its jwks_uri is no https address", errProviderSilent)
		}
		p.of, p.at, p.keys = issuer, now, oidc.NewRemoteKeySet(ctx, where.Keys)
	}
	return &tellingKeys{keys: p.keys}, nil
}

// tellingKeys notes why a signature could not be verified, which the verifier
// passes on as text.
type tellingKeys struct {
	keys oidc.KeySet
	err  error
}

func (k *tellingKeys) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, k.err = k.keys.VerifySignature(ctx, token)
	return payload, k.err
}

func plainTransport() *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second, DisableKeepAlives: true}
}

// keyTransport reads small answers, and none twice in quick succession:
// whoever makes up tokens cannot have the provider asked for each.
type keyTransport struct {
	now  func() time.Time
	base http.RoundTripper

	mu   sync.Mutex
	last map[string]time.Time
}

func (k *keyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !k.turn(r.URL.String()) {
		return nil, errAskedJustNow
	}
	res, err := k.base.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProviderSilent, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%w: it answered %s", errProviderSilent, res.Status), res.Body.Close())
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, 1<<20), res.Body}
	return res, nil
}

func (k *keyTransport) turn(address string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if at, asked := k.last[address]; asked && now.Sub(at) < oidcKeysPause && !now.Before(at) {
		return false
	}
	k.last[address] = now
	return true
}
