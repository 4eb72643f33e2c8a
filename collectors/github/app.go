package github

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// App is a GitHub App that is asked with instead of a token. Its key signs for
// a token of one installation, which holds for an hour and may do no more than
// the collector needs.
// https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
type App struct {
	ID           string `yaml:"id"`           // the App's client ID, or its number
	Installation int64  `yaml:"installation"` // default: the organization's, else that of the first repository
	KeyFile      string `yaml:"key_file"`     // the App's private key as GitHub gives it, PEM
}

// check says what is wrong with the section.
func (a App) check(c Config) error {
	switch {
	case a.ID == "" || a.KeyFile == "":
		return errors.New("app needs id and key_file")
	case c.TokenEnv != "":
		return errors.New("both app and token_env are set; keep one")
	case a.Installation < 0:
		return errors.New("app.installation must not be negative")
	}
	account := c.Organization
	for _, r := range c.Repositories {
		owner, _, _ := strings.Cut(r.Name, "/")
		if account == "" {
			account = owner
		}
		if !strings.EqualFold(owner, account) {
			return fmt.Errorf("an App's installation reads one account; %s and %s are two", account, owner)
		}
	}
	return nil
}

const (
	jwtLife   = 9 * time.Minute // GitHub allows ten
	jwtBefore = time.Minute     // for a clock that is ahead of GitHub's
	renewal   = 5 * time.Minute // before a token ends
)

// appLogin is an App's way to its tokens.
type appLogin struct {
	app          App
	key          *rsa.PrivateKey
	installation installation
	until        time.Time // when the token is renewed, by our clock
	refused      error     // why there will be no token
}

// installation is where an App may come in.
type installation struct {
	ID      int64  `json:"id"`
	Slug    string `json:"app_slug"`
	Account struct {
		Login string `json:"login"`
	} `json:"account"`
	Permissions map[string]string `json:"permissions"`
	Suspended   *time.Time        `json:"suspended_at"`
}

// readAppKey reads an RSA key, PKCS #1 or PKCS #8. Errors name the file and
// nothing that is in it.
func readAppKey(path string) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the App's key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("reading the App's key: %s holds no PEM", path)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if any, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, isRSA := any.(*rsa.PrivateKey); isRSA {
			return key, nil
		}
	}
	return nil, fmt.Errorf("reading the App's key: %s holds no RSA private key that is not encrypted", path)
}

// jwt is what the App shows of itself (RFC 7519, RS256).
func (l *appLogin) jwt(now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"iat": now.Add(-jwtBefore).Unix(), "exp": now.Add(jwtLife).Unix(), "iss": l.app.ID})
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc.EncodeToString(claims)
	digest := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, l.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("signing with the App's key: %w", err)
	}
	return signed + "." + enc.EncodeToString(sig), nil
}

// renew gets a token where there is none that holds for a while yet.
func (t *recorder) renew(ctx context.Context) error {
	l := t.login
	if l.refused != nil {
		return l.refused
	}
	if t.token != "" && t.c.deps.Now().Before(l.until) {
		return nil
	}
	if err := t.signIn(ctx); err != nil {
		err = fmt.Errorf("signing in as the App %s: %w", l.app.ID, err)
		if ctx.Err() == nil {
			l.refused = err
		}
		return err
	}
	return nil
}

func (t *recorder) signIn(ctx context.Context) error {
	l, now := t.login, t.c.deps.Now()
	proof, err := l.jwt(now)
	if err != nil {
		return err
	}
	t.secrets = append(t.secrets, proof)
	if l.installation.ID == 0 {
		path := fmt.Sprintf("app/installations/%d", l.app.Installation)
		if l.app.Installation == 0 && t.c.config.Organization != "" {
			path = "orgs/" + t.c.config.Organization + "/installation"
		} else if l.app.Installation == 0 {
			path = "repos/" + t.c.config.Repositories[0].Name + "/installation"
		}
		if _, err := t.asApp(ctx, http.MethodGet, path, proof, nil, &l.installation); err != nil {
			return err
		}
		if l.installation.Suspended != nil {
			return fmt.Errorf("its installation %d is suspended since %s", l.installation.ID, stamp(*l.installation.Suspended))
		}
	}
	// No more is asked for than reading needs, whatever the App may do.
	body := map[string]any{}
	if least := needed(l.installation.Permissions); len(least) > 0 {
		body["permissions"] = least
	}
	var given struct {
		Token string    `json:"token"`
		Until time.Time `json:"expires_at"`
	}
	t.granted = func(raw []byte) error {
		if err := json.Unmarshal(raw, &given); err != nil {
			return fmt.Errorf("the reply is no token: %w", err)
		}
		if given.Token != "" {
			t.secrets = append(t.secrets, given.Token)
		}
		return nil
	}
	resp, err := t.asApp(ctx, http.MethodPost, fmt.Sprintf("app/installations/%d/access_tokens", l.installation.ID), proof, body, nil)
	t.granted = nil
	if err != nil {
		return err
	}
	if given.Token == "" || given.Until.IsZero() {
		return errors.New("the reply holds no token, or not until when")
	}
	// How long it holds is reckoned by GitHub's clock, not by this machine's.
	from := now
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		from = date
	}
	t.token, l.until = given.Token, now.Add(given.Until.Sub(from)-renewal)
	return nil
}

// asApp makes a request with the App's own proof, and reads the reply into out.
func (t *recorder) asApp(ctx context.Context, method, path, proof string, body, out any) (*http.Response, error) {
	u := t.c.base.JoinPath(path)
	content, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if body == nil {
		content = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+proof)
	req.Header.Set("Accept", "application/vnd.github+json")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var said struct {
			Message string `json:"message"`
		}
		if json.NewDecoder(resp.Body).Decode(&said) != nil {
			said.Message = ""
		}
		return nil, fmt.Errorf("%s: HTTP %d %s", path, resp.StatusCode, said.Message)
	}
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return resp, nil
}

// credential names what is asked with.
func (c *Collector) credential() string {
	if a := c.config.App; a != nil {
		return "token of the App " + a.ID
	}
	return "token in " + c.config.TokenEnv
}
