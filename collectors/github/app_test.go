package github

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// door is a GitHub that lets an App in, before the small GitHub of the tests,
// under the path of a GitHub Enterprise server.
type door struct {
	t      *testing.T
	b      *bench
	key    *rsa.PrivateKey
	life   time.Duration
	skew   time.Duration // of GitHub's clock before ours
	given  []string      // tokens so far
	until  time.Time     // when the last one ends
	asked  map[string]any
	refuse int
	status string
	last   []string // what had been given when each request came
}

func newDoor(t *testing.T) *door {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, b: newBench(t), key: key, life: time.Hour}
	inner, err := url.Parse(d.b.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(inner)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, in := strings.CutPrefix(r.URL.Path, "/api/v3/")
		if !in {
			t.Errorf("%s is outside of the base URL", r.URL.Path)
		}
		show := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch path {
		case "orgs/acme/installation", "app/installations/77", "repos/acme/meter/installation":
			d.proof(show)
			fmt.Fprintf(w, `{"id":77,"app_slug":"packer","account":{"login":"acme"},"permissions":{"metadata":"read","contents":"write","issues":"write","administration":"write","members":"read"}%s}`, d.status)
		case "app/installations/77/access_tokens":
			d.proof(show)
			if r.Method != http.MethodPost {
				t.Errorf("%s %s", r.Method, path)
			}
			if d.refuse != 0 {
				http.Error(w, `{"message":"no `+show+`"}`, d.refuse)
				return
			}
			if err := json.NewDecoder(r.Body).Decode(&d.asked); err != nil {
				t.Error(err)
			}
			theirs := d.b.now.Add(d.skew)
			token := fmt.Sprintf("ghs_secretOfTheApp%d", len(d.given))
			d.given, d.until = append(d.given, token), d.b.now.Add(d.life)
			w.Header().Set("Date", theirs.UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":%q,"expires_at":%q,"permissions":{"contents":"read"}}`, token, theirs.Add(d.life).UTC().Format(time.RFC3339))
		default:
			if len(d.given) == 0 || show != d.given[len(d.given)-1] || !d.b.now.Add(3*time.Minute).Before(d.until) {
				t.Errorf("%s was asked with another token, or one that is about to end", path)
			}
			d.last = append(d.last, show)
			d.b.now = d.b.now.Add(time.Minute)
			r.URL.Path = "/" + path
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "app.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600); err != nil {
		t.Fatal(err)
	}
	d.b.config.BaseURL = server.URL + "/api/v3"
	d.b.config.App = &App{ID: "Iv1.app", KeyFile: file}
	d.b.deps.Getenv = func(string) string { return "" }
	return d
}

// proof checks what the App shows of itself.
func (d *door) proof(jwt string) {
	part := strings.Split(jwt, ".")
	if len(part) != 3 {
		d.t.Errorf("%q is no JWT", jwt)
		return
	}
	read := func(s string, out any) {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil && out != nil {
			err = json.Unmarshal(b, out)
		}
		if err != nil {
			d.t.Error(err)
		}
	}
	var head struct{ Alg string }
	var claims struct {
		Iss      string
		Iat, Exp int64
	}
	read(part[0], &head)
	read(part[1], &claims)
	sig, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil {
		d.t.Error(err)
	}
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	if err := rsa.VerifyPKCS1v15(&d.key.PublicKey, crypto.SHA256, sum[:], sig); err != nil || head.Alg != "RS256" {
		d.t.Errorf("%s, %v", head.Alg, err)
	}
	now := d.b.now.Unix()
	if claims.Iss != "Iv1.app" || claims.Iat > now || claims.Exp <= now || claims.Exp-claims.Iat > 600 {
		d.t.Errorf("claims %+v at %d", claims, now)
	}
}

// An App signs in with its key, at an Enterprise server's address; its token is
// for no more than is needed, is renewed before it ends, and stands nowhere.
func TestApp(t *testing.T) {
	for name, set := range map[string]func(d *door){
		"installation of the organisation": func(*door) {},
		"installation of the repository":   func(d *door) { d.b.config.Organization = "" },
		"installation by its number":       func(d *door) { d.b.config.App.Installation = 77 },
		"GitHub's clock is behind":         func(d *door) { d.skew = -3 * time.Hour },
		"GitHub's clock is ahead":          func(d *door) { d.skew = 3 * time.Hour },
		"PKCS #8": func(d *door) {
			der, err := x509.MarshalPKCS8PrivateKey(d.key)
			if err == nil {
				err = os.WriteFile(d.b.config.App.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
			}
			if err != nil {
				d.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			d.life = 20 * time.Minute
			set(d)
			d.t = t
			grants := 0
			for kind, e := range d.b.collect() {
				if e.Completeness.State != evidence.Complete || e.Provenance.Principal != "app packer, installation 77 of acme" {
					t.Errorf("%s: %+v by %s", kind, e.Completeness, e.Provenance.Principal)
				}
				_, record, _, err := evidence.RecordOf(e)
				if err != nil {
					t.Fatal(err)
				}
				said := string(record)
				for _, r := range e.Raw {
					said += string(r.Body)
				}
				if strings.Contains(said, "ghs_secret") || strings.Contains(said, "eyJ") {
					t.Errorf("%s: a token or proof is in the evidence", kind)
				}
				for _, r := range e.Provenance.Requests {
					if strings.HasSuffix(r.Target, "/access_tokens") && r.Method == http.MethodPost && len(r.Redactions) == 1 {
						grants++
					}
				}
			}
			if len(d.given) < 3 || grants < len(d.given) {
				t.Errorf("%d tokens in %d requests, %d in the provenance", len(d.given), len(d.last), grants)
			}
			if got := fmt.Sprint(d.asked["permissions"]); got != "map[administration:write contents:read members:read metadata:read]" {
				t.Errorf("asked for %s", got)
			}
		})
	}
}

// Where the App is not let in, everything is a gap that says why, it is not
// asked again and again, and nothing secret is said.
func TestAppRefused(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(d *door)
		want string
	}{
		"refused":   {func(d *door) { d.refuse = 401 }, "signing in as the App Iv1.app: app/installations/77/access_tokens: HTTP 401 no redacted"},
		"suspended": {func(d *door) { d.status = `,"suspended_at":"2026-08-01T00:00:00Z"` }, "installation 77 is suspended since 2026-08-01T00:00:00Z"},
		"no key":    {func(d *door) { d.b.config.App.KeyFile += "x" }, "reading the App's key"},
		"no PEM":    {func(d *door) { must(d.t, os.WriteFile(d.b.config.App.KeyFile, []byte("SECRET"), 0o600)) }, "holds no PEM"},
		"no RSA": {func(d *door) {
			must(d.t, os.WriteFile(d.b.config.App.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("SECRET")}), 0o600))
		}, "no RSA private key"},
	} {
		d := newDoor(t)
		c.set(d)
		for kind, e := range d.b.collect() {
			said := fmt.Sprint(e.Completeness.Gaps, e.Provenance.Principal)
			if e.Completeness.State != evidence.Incomplete || !strings.Contains(said, c.want) || strings.Contains(said, "SECRET") || strings.Contains(said, "eyJ") {
				t.Errorf("%s: %s: %s %s", name, kind, e.Completeness.State, said)
			}
			if len(e.Provenance.Requests) > 2 {
				t.Errorf("%s: %s: %d requests", name, kind, len(e.Provenance.Requests))
			}
		}
		if len(d.last) > 0 {
			t.Errorf("%s: something was asked without a token", name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppSection(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"no key":       {Config{Organization: "acme", App: &App{ID: "1"}}, "needs id and key_file"},
		"no id":        {Config{Organization: "acme", App: &App{KeyFile: "k"}}, "needs id and key_file"},
		"token too":    {Config{Organization: "acme", TokenEnv: "T", App: &App{ID: "1", KeyFile: "k"}}, "both app and token_env"},
		"two accounts": {Config{Organization: "acme", Repositories: []Repository{{Name: "other/x"}}, App: &App{ID: "1", KeyFile: "k"}}, "acme and other are two"},
		"negative":     {Config{Organization: "acme", App: &App{ID: "1", KeyFile: "k", Installation: -1}}, "must not be negative"},
	} {
		if _, err := New(c.config, Deps{Getenv: os.Getenv}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
