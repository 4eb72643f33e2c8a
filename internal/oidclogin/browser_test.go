package oidclogin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"trustpack/internal/oidclogin/oidctest"
)

// termsOf are those of a login at p.
func termsOf(p *oidctest.Provider) Terms {
	return Terms{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.Secret, Scopes: []string{"openid", "groups"}, Nonce: "n-1"}
}

// get is what a browser does at address: it follows redirects and shows a page.
func get(address string) (status int, page string, err error) {
	res, err := http.Get(address)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), errors.Join(err, res.Body.Close())
}

// browse logs in with a browser that opens the address at once.
func browse(t *testing.T, terms Terms) (idToken, page string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	idToken, err = Browser(ctx, terms, func(address string) (err error) {
		_, page, err = get(address)
		return err
	})
	return idToken, page, err
}

func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c map[string]any
	if err := errors.Join(err, json.Unmarshal(b, &c)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBrowser(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t, "trustpack")
	p.Claims["sub"] = "ada"
	terms := termsOf(p)
	terms.ACR = []string{"gold", "silver"}
	var states, challenges []string
	for range 2 {
		token, page, err := browse(t, terms)
		if err != nil {
			t.Fatal(err)
		}
		if c := claimsOf(t, token); c["sub"] != "ada" || c["nonce"] != "n-1" || c["aud"] != "trustpack" {
			t.Errorf("%v", c)
		}
		if page != "You can close this window.\n" {
			t.Errorf("the page says %q", page)
		}
		q := p.Asked[len(p.Asked)-1]
		if q.Get("nonce") != "n-1" || q.Get("scope") != "openid groups" || q.Get("acr_values") != "gold silver" {
			t.Errorf("%v", q)
		}
		states, challenges = append(states, q.Get("state")), append(challenges, q.Get("code_challenge"))
		// Nothing listens there any more.
		if _, _, err := get(q.Get("redirect_uri")); err == nil {
			t.Error("the port is still open")
		}
	}
	if states[0] == states[1] || challenges[0] == challenges[1] {
		t.Errorf("two logins with one state or verifier: %q %q", states, challenges)
	}
}

// Whatever comes to the port besides the provider's answer changes nothing.
func TestBrowserTakesTheAnswerToItsOwnLoginAlone(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t, "trustpack")
	token, err := Browser(t.Context(), termsOf(p), func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		q := u.Query()
		back, state := q.Get("redirect_uri"), url.QueryEscape(q.Get("state"))
		for what, forged := range map[string]string{
			"no state":         back + "?code=stolen",
			"another state":    back + "?code=stolen&state=" + state[1:],
			"two states":       back + "?code=stolen&state=" + state + "&state=x",
			"an error, forged": back + "?error=access_denied&state=x",
			"another place":    strings.TrimSuffix(back, "callback") + "?code=stolen&state=" + state,
		} {
			status, page, err := get(forged)
			if err != nil || status != http.StatusBadRequest || strings.Contains(page, "close") {
				t.Errorf("%s: %d %q %v", what, status, page, err)
			}
		}
		res, err := http.PostForm(back+"?code=stolen&state="+state, nil)
		if err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("a POST: %v %v", res, err)
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
		_, _, err = get(address)
		return err
	})
	if err != nil || claimsOf(t, token)["nonce"] != "n-1" {
		t.Errorf("%q %v", token, err)
	}
}

func TestBrowserIsRefused(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	for what, c := range map[string]struct {
		change func(*oidctest.Provider)
		back   func(url.Values)
		want   string
	}{
		"an error of the provider": {back: func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
			q.Set("error_description", "not\x1b[2J you\u0085")
		}, want: "the provider refused the login: access_denied not[2J you"},
		"a long text":      {back: set("error", strings.Repeat("x", 400)), want: "the provider refused the login: " + strings.Repeat("x", 300) + " "},
		"another issuer":   {back: set("iss", "https://other.example"), want: "another provider than the one that was asked has answered"},
		"no code":          {back: func(q url.Values) { q.Del("code") }, want: "the provider's answer holds no code"},
		"another code":     {back: set("code", "guessed"), want: "fetching the ID token: the provider answered 400 Bad Request invalid_grant because of invalid_grant"},
		"no ID token":      {change: func(p *oidctest.Provider) { p.Token = func(a map[string]any) { delete(a, "id_token") } }, want: "the provider gave no ID token: the client must be allowed the scope openid"},
		"a client unknown": {change: func(p *oidctest.Provider) { p.Secret = "now it has one" }, want: "fetching the ID token: the provider answered 401 Unauthorized invalid_client "},
		"another issuer's metadata": {change: func(p *oidctest.Provider) { p.Metadata = map[string]any{"issuer": "https://other.example"} },
			want: "asking the provider ISSUER where to log in: oidc: issuer URL provided to client (\"ISSUER\") did not match the issuer URL returned by provider (\"https://other.example\")"},
		"a page instead of metadata": {change: func(p *oidctest.Provider) { p.Down = "<b>\x1b[2Jlater" }, want: "asking the provider ISSUER where to log in: 503 Service Unavailable: <b>[2Jlater"},
		"a token endpoint in the clear": {change: func(p *oidctest.Provider) {
			p.Metadata = map[string]any{"token_endpoint": "http://login.example/token"}
		}, want: "the provider ISSUER names the address http://login.example/token, which is not https"},
		"a page that is no address": {change: func(p *oidctest.Provider) {
			p.Metadata = map[string]any{"authorization_endpoint": "https://x\x1b]0;y"}
		}, want: "the provider ISSUER names the address https://x]0;y, which is not https"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := oidctest.Start(t, "trustpack")
			terms := termsOf(p)
			if c.change != nil {
				c.change(p)
			}
			p.Back = c.back
			token, page, err := browse(t, terms)
			want := strings.ReplaceAll(c.want, "ISSUER", p.Issuer)
			if token != "" || err == nil || err.Error() != want {
				t.Errorf("%q %v, want %s", token, err, want)
			}
			if strings.HasPrefix(want, "the provider refused") && page != "The provider refused the login.\n" {
				t.Errorf("the page says %q", page)
			}
		})
	}
}

// A secret is shown as the provider says, and a code is spent by one request.
func TestBrowserShowsTheClientOnce(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		secret  string
		methods []string
	}{
		"a public client":         {},
		"by default in the head":  {secret: "s e+c/r=t"},
		"in the head":             {"s", []string{"client_secret_post", "client_secret_basic"}},
		"in the body":             {"s", []string{"client_secret_post"}},
		"a public one, both ways": {"", []string{"client_secret_basic"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := oidctest.Start(t, "trustpack")
			p.Secret = c.secret
			if c.methods != nil {
				p.Metadata = map[string]any{"token_endpoint_auth_methods_supported": c.methods}
			}
			if _, _, err := browse(t, termsOf(p)); err != nil || len(p.Tried) != 1 {
				t.Errorf("%v after %d requests", err, len(p.Tried))
			}
		})
	}
}

func TestBrowserGivesUp(t *testing.T) {
	t.Parallel()
	p := oidctest.Start(t, "trustpack")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Browser(ctx, termsOf(p), func(string) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "waiting for the login in the browser: ") {
		t.Errorf("%v", err)
	}
	told := errors.New("the terminal is gone")
	if _, err := Browser(t.Context(), termsOf(p), func(string) error { return told }); !errors.Is(err, told) {
		t.Errorf("%v", err)
	}
	terms := termsOf(p)
	terms.Issuer = "http://127.0.0.1:1"
	if _, err := Browser(t.Context(), terms, func(string) error { t.Error("an address was shown"); return nil }); err == nil || !strings.HasPrefix(err.Error(), "asking the provider http://127.0.0.1:1 where to log in: ") || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}
