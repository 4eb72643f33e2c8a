// Package oidctest is a small OpenID provider for tests. It lets everybody in
// as the person that the test names, checks what a client must send, and
// misbehaves when it is told to.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Provider is one provider with one client. Its fields are set before it is
// asked, or under Lock.
type Provider struct {
	sync.Mutex
	Issuer   string         // without a slash at its end
	ClientID string         // the client that it knows
	Secret   string         // the client's; empty: a public client, which has none to show
	Claims   map[string]any // of the ID token beside iss, aud, azp, iat, exp and nonce
	Metadata map[string]any // in place of what it says of itself; nil leaves a member out

	Down string // a page that it answers everything with, and 503; empty: it is up

	Back     func(url.Values)     // alters what the browser is sent back with
	Token    func(map[string]any) // alters the token endpoint's answer that grants
	Interval int                  // that the device grant asks for, seconds
	Lasts    int                  // of the device grant's codes, seconds
	Polls    []string             // errors that the polls of a device grant get, one after the other, before it is granted

	Asked []url.Values // at the authorization endpoint
	Tried []time.Time  // at the token endpoint

	key   *ecdsa.PrivateKey
	codes map[string]url.Values // by code: what was asked with it
}

// New makes a provider of the client that answers as an http.Handler.
func New(t testing.TB, issuer, client string) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Provider{Issuer: issuer, ClientID: client, Claims: map[string]any{}, Interval: 5, Lasts: 300, key: key, codes: map[string]url.Values{}}
}

// Start makes a provider that listens on loopback until the test ends.
func Start(t testing.TB, client string) *Provider {
	t.Helper()
	p := New(t, "", client)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.Issuer = s.URL
	return p
}

func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.Lock()
	defer p.Unlock()
	if p.Down != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(p.Down)) // whoever has gone needs no answer
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /.well-known/openid-configuration":
		about := map[string]any{
			"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/authorize", "token_endpoint": p.Issuer + "/token", "jwks_uri": p.Issuer + "/keys",
			"device_authorization_endpoint": p.Issuer + "/device", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		}
		maps.Copy(about, p.Metadata)
		maps.DeleteFunc(about, func(_ string, v any) bool { return v == nil })
		answer(w, http.StatusOK, about)
	case "GET /keys":
		b, err := p.key.PublicKey.Bytes() // 4, X and Y
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": encode(b[1:33]), "y": encode(b[33:])}}})
	case "GET /authorize":
		p.authorize(w, r)
	case "POST /token":
		p.token(w, r)
	case "POST /device":
		if r.PostFormValue("client_id") != p.ClientID {
			refuse(w, "invalid_client")
			return
		}
		code := rand.Text()
		p.codes[code] = url.Values{}
		answer(w, http.StatusOK, map[string]any{
			"device_code": code, "user_code": "WDJB-MJHT", "verification_uri": p.Issuer + "/enter", "verification_uri_complete": p.Issuer + "/enter?user_code=WDJB-MJHT",
			"expires_in": p.Lasts, "interval": p.Interval,
		})
	default:
		http.NotFound(w, r)
	}
}

// authorize sends the browser back at once, as if the person had logged in.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.Asked = append(p.Asked, q)
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || back.Scheme != "http" || back.Hostname() != "127.0.0.1" || back.Path != "/callback" || q.Get("client_id") != p.ClientID || q.Get("response_type") != "code" ||
		!slices.Contains(strings.Fields(q.Get("scope")), "openid") || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 22 {
		http.Error(w, "the client does not ask as it must", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.codes[code] = q
	to := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.Issuer}}
	if p.Back != nil {
		p.Back(to)
	}
	back.RawQuery = to.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	p.Tried = append(p.Tried, time.Now())
	methods, told := p.Metadata["token_endpoint_auth_methods_supported"].([]string)
	id, secret, basic := r.BasicAuth()
	if basic { // RFC 6749, section 2.3.1: the two are encoded as in a form
		id, secret = decode(id), decode(secret)
	} else {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	way := map[bool]string{true: "client_secret_basic", false: "client_secret_post"}[basic]
	if id != p.ClientID || secret != p.Secret || basic && p.Secret == "" || p.Secret != "" && (told && !slices.Contains(methods, way) || !told && !basic) {
		w.Header().Set("WWW-Authenticate", "Basic")
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	device := r.PostFormValue("grant_type") == "urn:ietf:params:oauth:grant-type:device_code"
	code := r.PostFormValue("code")
	if device {
		code = r.PostFormValue("device_code")
		if len(p.Polls) > 0 {
			next := p.Polls[0]
			p.Polls = p.Polls[1:]
			refuse(w, next)
			return
		}
	}
	asked, known := p.codes[code]
	delete(p.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || !device && (r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") || encode(sum[:]) != asked.Get("code_challenge")) {
		refuse(w, "invalid_grant")
		return
	}
	claims := map[string]any{"iss": p.Issuer, "aud": p.ClientID, "azp": p.ClientID, "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}
	if n := asked.Get("nonce"); n != "" {
		claims["nonce"] = n
	}
	maps.Copy(claims, p.Claims)
	signed, err := p.sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	granted := map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 300, "id_token": signed}
	if p.Token != nil {
		p.Token(granted)
	}
	answer(w, http.StatusOK, granted)
}

// sign makes a JWS of the claims with ES256.
func (p *Provider) sign(claims map[string]any) (string, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := encode([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + encode(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + encode(append(fixed(r), fixed(s)...)), nil
}

func fixed(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return ""
	}
	return plain
}

func refuse(w http.ResponseWriter, code string) {
	answer(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": "because of " + code})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever has gone needs no answer
}
