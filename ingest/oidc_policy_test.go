package ingest

import (
	"context"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"trustpack/internal/oidclogin"
)

// What the policy asks of an ID token beside what the standard does.
func TestLoginPolicy(t *testing.T) {
	r, p := oidcRig(t, func(o *OIDCPolicy) {
		o.RequireMFA, o.ACR, o.NameClaim, o.Audience, o.GroupsClaim, o.MaxSession = true, []string{"gold", "silver"}, "email", "ingest", "roles", time.Hour
	})
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada@firm.example", "joins"); err != nil {
		t.Fatal(err)
	}
	with := func(change map[string]any) string {
		c := r.claims(p)
		maps.Copy(c, map[string]any{"aud": "ingest", "amr": []string{"pwd", "mfa"}, "acr": "silver", "email": "ada@firm.example", "email_verified": true, "roles": []string{"fitters"}})
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return p.sign(c)
	}
	s, err := r.anonymous().Login(t.Context(), with(nil))
	if err != nil || !s.Until.Equal(r.clock.now().Add(time.Hour)) {
		t.Fatalf("%+v %v", s, err)
	}
	for what, change := range map[string]map[string]any{
		"one factor":              {"amr": []string{"pwd"}},
		"factors not told":        {"amr": nil},
		"factors as a text":       {"amr": "mfa"},
		"another class":           {"acr": "bronze"},
		"no class":                {"acr": nil},
		"an address not verified": {"email_verified": false},
		"nothing of verification": {"email_verified": nil},
		"verified, as a text":     {"email_verified": "true"},
		"for the client alone":    {"aud": "trustpack"},
	} {
		r.refusedLogin(what, with(change), CodeLoginInvalid)
	}
	r.refusedLogin("groups in another claim", with(map[string]any{"roles": nil}), CodeLoginNoRole)
}

// Tokens of the device grant carry no nonce: each lets in once, and none that
// is older than the process.
func TestDeviceGrantTokens(t *testing.T) {
	r, p := oidcRig(t, func(o *OIDCPolicy) { o.DeviceGrant = true })
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Minute)
	without := func(id string, issued time.Time) string {
		c := r.claims(p)
		delete(c, "nonce")
		c["jti"], c["iat"] = id, issued.Unix()
		return p.sign(c)
	}
	token := without("1", r.clock.now())
	if _, err := r.anonymous().Login(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	r.refusedLogin("used", token, CodeLoginInvalid)
	if _, err := r.anonymous().Login(t.Context(), without("2", r.clock.now())); err != nil {
		t.Error(err)
	}
	r.refusedLogin("from before the process", without("3", r.clock.now().Add(-2*time.Minute)), CodeLoginInvalid)
	c := r.claims(p)
	c["nonce"] = "n"
	r.refusedLogin("a nonce of his own", p.sign(c), CodeLoginInvalid)
}

// TestDeviceGrantAtTheProvider logs in on another device, and is turned down
// there.
func TestDeviceGrantAtTheProvider(t *testing.T) {
	t.Parallel() // it waits more than it works
	r, p := oidcRig(t, func(o *OIDCPolicy) { o.DeviceGrant = true })
	p.groups("ada", "deciders")
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	terms, err := r.anonymous().LoginTerms(t.Context())
	if err != nil || !terms.DeviceGrant {
		t.Fatalf("%+v %v", terms, err)
	}
	on := func(action string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return oidclogin.Device(ctx, oidclogin.Terms{Issuer: terms.Issuer, ClientID: terms.ClientID, Scopes: terms.Scopes}, func(_, code, _ string) error {
			jar, err := cookiejar.New(nil)
			if err != nil {
				return err
			}
			c := &http.Client{Jar: jar, Timeout: 20 * time.Second}
			if _, err := get(c.PostForm(p.issuer+"device/login", url.Values{"user_code": {code}, "username": {"ada"}, "password": {"secret of ada"}})); err != nil {
				return err
			}
			_, err = get(c.Get(p.issuer + "device/confirm?action=" + action))
			return err
		})
	}
	if _, err := on("denied"); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("denied: %v", err)
	}
	token, err := on("allowed")
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.anonymous().Login(t.Context(), token)
	if err != nil || s.Name != "ada" || strings.Join(s.Roles, " ") != RoleApprover {
		t.Errorf("%+v %v", s, err)
	}
	r.refusedLogin("a second time", token, CodeLoginInvalid)
}

func TestOIDCConfiguration(t *testing.T) {
	good := func() OIDCPolicy {
		o := defaultOIDC()
		o.Issuer, o.ClientID, o.Roles = "https://login.example/realms/x", "trustpack", map[string][]string{"fitters": {RoleProvisioner}}
		return o
	}
	if err := good().validate(); err != nil {
		t.Fatal(err)
	}
	if err := (OIDCPolicy{}).validate(); err != nil {
		t.Errorf("without an issuer: %v", err)
	}
	for want, change := range map[string]func(*OIDCPolicy){
		`issuer: "http://login.example"`:            func(o *OIDCPolicy) { o.Issuer = "http://login.example" },
		`issuer: "https://a:b@login.example"`:       func(o *OIDCPolicy) { o.Issuer = "https://a:b@login.example" },
		`issuer: "https://login.example?x"`:         func(o *OIDCPolicy) { o.Issuer = "https://login.example?x" },
		`issuer: "login.example"`:                   func(o *OIDCPolicy) { o.Issuer = "login.example" },
		"client_id: ":                               func(o *OIDCPolicy) { o.ClientID = "" },
		"groups_claim and name_claim: neither":      func(o *OIDCPolicy) { o.GroupsClaim = "" },
		"groups_claim and name_claim: neither can":  func(o *OIDCPolicy) { o.NameClaim = "" },
		"max_session: 59s is outside 1m to 24h":     func(o *OIDCPolicy) { o.MaxSession = 59 * time.Second },
		"max_session: 24h0m1s is outside 1m to 24h": func(o *OIDCPolicy) { o.MaxSession = day + time.Second },
		"roles: say which groups":                   func(o *OIDCPolicy) { o.Roles = nil },
		"roles.fitters: give at least one role":     func(o *OIDCPolicy) { o.Roles = map[string][]string{"fitters": {}} },
		"roles.fitters: there is no role smith":     func(o *OIDCPolicy) { o.Roles = map[string][]string{"fitters": {RoleAdmin, "smith"}} },
	} {
		o := good()
		change(&o)
		if err := o.validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, issuer := range []string{"http://127.0.0.1:5556/dex", "http://[::1]:80", "http://localhost:80"} {
		o := good()
		o.Issuer = issuer
		if err := o.validate(); err != nil {
			t.Errorf("loopback: %v", err)
		}
	}
}
