package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/oidclogin"
)

// provider is a real OpenID provider on loopback.
type provider struct {
	t      testing.TB
	issuer string
	end    func()
}

// startProvider runs testdata/oidcprovider, which TRUSTPACK_OIDC_PROVIDER may
// name built.
func startProvider(t testing.TB) *provider {
	t.Helper()
	path := os.Getenv("TRUSTPACK_OIDC_PROVIDER")
	if path == "" {
		path = filepath.Join(t.TempDir(), "oidcprovider.exe")
		build := exec.Command("go", "build", "-o", path, ".")
		build.Dir = filepath.Join("testdata", "oidcprovider")
		build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Skipf("testdata/oidcprovider cannot be built, and TRUSTPACK_OIDC_PROVIDER names none: no real provider was asked: %v %s", err, out)
		}
	}
	cmd := exec.Command(path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t}
	ended := false
	p.end = func() {
		if !ended {
			ended = true
			_ = in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(p.end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.issuer = strings.TrimSpace(line)
	return p
}

// test asks what only this provider has.
func (p *provider) test(path, body string) string {
	p.t.Helper()
	res, err := http.Post(p.issuer+"test/"+path, "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		p.t.Fatalf("%s: %v %s %s", path, err, res.Status, b)
	}
	return string(b)
}

func (p *provider) groups(user, groups string) {
	p.t.Helper()
	p.test("groups?"+url.Values{"user": {user}, "groups": {groups}}.Encode(), "")
}

// sign gives a token of the claims under the provider's own key.
func (p *provider) sign(claims map[string]any) string {
	p.t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.test("sign", string(b))
}

var hiddenID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// browse does what a person with a browser does at address: he is led to the
// login page, fills it in, and is led back. It gives the last address.
func (p *provider) browse(address, user, password string, follow bool) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	last := ""
	c := &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if last = r.URL.String(); !follow && strings.Contains(last, "/callback?code=") {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := get(c.Get(address))
	if err != nil {
		return "", err
	}
	id := hiddenID.FindSubmatch(page)
	if id == nil {
		return "", fmt.Errorf("no login page but %s", page)
	}
	_, err = get(c.PostForm(p.issuer+"login/username", url.Values{"id": {string(id[1])}, "username": {user}, "password": {password}}))
	return last, err
}

func get(res *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(b))
	}
	return b, err
}

// oidcRig is an ingest whose operators can log in at a real provider.
func oidcRig(t *testing.T, change ...func(*OIDCPolicy)) (*rig, *provider) {
	t.Helper()
	p := startProvider(t)
	r := newRig(t, func(c *Config) {
		c.OIDC.Issuer, c.OIDC.ClientID = p.issuer, "trustpack"
		c.OIDC.Scopes = []string{"profile"}
		c.OIDC.NameClaim = "preferred_username"
		c.OIDC.Roles = map[string][]string{"fitters": {RoleProvisioner}, "deciders": {RoleApprover}, "owners": {RoleAdmin}}
		for _, f := range change {
			f(&c.OIDC)
		}
	})
	r.clock.add(time.Since(r.clock.now())) // the provider's is the true one
	r.restart()
	return r, p
}

// anonymous is a client without any credential.
func (r *rig) anonymous() *AdminClient { return r.bearerClient("", nil) }

// idToken is an ID token for a login begun at the ingest.
func (r *rig) idToken(p *provider, user string) string {
	r.t.Helper()
	terms, err := r.anonymous().LoginTerms(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	token, err := oidclogin.Browser(ctx, oidclogin.Terms{Issuer: terms.Issuer, ClientID: terms.ClientID, Scopes: terms.Scopes, Nonce: terms.Nonce}, func(address string) error {
		_, err := p.browse(address, user, "secret of "+user, true)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// loggedIn logs a user in over c and gives a client of the session.
func (r *rig) loggedIn(p *provider, c *AdminClient, user string) (*AdminClient, OperatorSession) {
	r.t.Helper()
	s, err := c.Login(r.t.Context(), r.idToken(p, user))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.bearerClient(s.Token, nil), s
}

// session gives the token of a session that a login has begun, without a
// provider.
func (r *rig) session(name string, roles ...string) string {
	r.t.Helper()
	return r.sessionFrom(name, "127.0.0.1", roles...)
}

func (r *rig) sessionFrom(name, source string, roles ...string) string {
	r.t.Helper()
	token, err := newOperatorToken()
	if err != nil {
		r.t.Fatal(err)
	}
	added := evidence.Operator{Name: name, Roles: []string{}, Method: MethodOIDC, OIDC: name}
	d := loginDone{Name: name, Roles: roles, Subject: evidence.SHA256Hex([]byte(name)), Until: r.s.now().Add(time.Hour), Fingerprint: tokenPrint(token), Source: source}
	entries := []evidence.AuditEntry{r.s.entry(evidence.EntryOperatorLogin, evidence.AuditEntry{Target: name, Data: raw(d)})}
	if r.s.st.operator(name) == nil {
		entries = append([]evidence.AuditEntry{r.s.entry(evidence.EntryOperatorAdded, evidence.AuditEntry{Target: name, Data: raw(added)})}, entries...)
	}
	if _, err := r.s.record(entries...); err != nil {
		r.t.Fatal(err)
	}
	return token
}
