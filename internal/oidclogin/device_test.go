package oidclogin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trustpack/internal/oidclogin/oidctest"
)

// handled answers requests without a network, so that time can be simulated.
type handled struct{ h http.Handler }

func (d handled) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// onDevice logs in by the device grant at a provider that p is changed to, in
// simulated time; after is when each poll came.
func onDevice(t *testing.T, change func(*oidctest.Provider), then func(ctx context.Context, token string, after []time.Duration, err error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := oidctest.New(t, "https://login.example", "trustpack")
		change(p)
		terms := termsOf(p)
		terms.transport = handled{p}
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		token, err := Device(ctx, terms, func(address, code, both string) error {
			if address != "https://login.example/enter" || code != "WDJB-MJHT" || both != address+"?user_code=WDJB-MJHT" {
				t.Errorf("%s %s %s", address, code, both)
			}
			return nil
		})
		var after []time.Duration
		for _, at := range p.Tried {
			after = append(after, at.Sub(begun))
		}
		then(ctx, token, after, err)
		time.Sleep(time.Minute) // simulated: the client's own deadlines pass
	})
}

func seconds(n ...int) (out []time.Duration) {
	for _, s := range n {
		out = append(out, time.Duration(s)*time.Second)
	}
	return out
}

// RFC 8628, section 3.5: one poll each interval, which slow_down lengthens by
// five seconds for good.
func TestDevice(t *testing.T) {
	for what, c := range map[string]struct {
		interval int
		polls    []string
		want     []time.Duration
	}{
		"at once":             {5, nil, seconds(5)},
		"after a while":       {2, []string{"authorization_pending", "authorization_pending"}, seconds(2, 4, 6)},
		"no interval is five": {0, []string{"authorization_pending"}, seconds(5, 10)},
		"one below nothing":   {-1, nil, seconds(5)},
		"slow down":           {3, []string{"slow_down", "authorization_pending", "slow_down"}, seconds(3, 11, 19, 32)},
	} {
		t.Run(what, func(t *testing.T) {
			onDevice(t, func(p *oidctest.Provider) {
				p.Interval, p.Polls, p.Claims["sub"] = c.interval, c.polls, "ada"
			}, func(_ context.Context, token string, after []time.Duration, err error) {
				if err != nil {
					t.Fatal(err)
				}
				if got := claimsOf(t, token); got["sub"] != "ada" || got["nonce"] != nil {
					t.Errorf("%v", got)
				}
				if !slices.Equal(after, c.want) {
					t.Errorf("polled after %v, want %v", after, c.want)
				}
			})
		})
	}
}

func TestDeviceIsRefused(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*oidctest.Provider)
		want   string
		polls  int
	}{
		"denied":              {func(p *oidctest.Provider) { p.Polls = []string{"authorization_pending", "access_denied"} }, "fetching the ID token: the provider answered 400 Bad Request access_denied because of access_denied", 2},
		"expired, it says":    {func(p *oidctest.Provider) { p.Polls = []string{"expired_token"} }, "fetching the ID token: the provider answered 400 Bad Request expired_token because of expired_token", 1},
		"expired, in silence": {func(p *oidctest.Provider) { p.Lasts, p.Polls = 12, slices.Repeat([]string{"authorization_pending"}, 9) }, "the code expired before the login was made; begin again", 2},
		"no ID token":         {func(p *oidctest.Provider) { p.Token = func(a map[string]any) { a["id_token"] = 7 } }, "the provider gave no ID token: the client must be allowed the scope openid", 1},
		"no device grant": {func(p *oidctest.Provider) { p.Metadata = map[string]any{"device_authorization_endpoint": nil} },
			"the provider https://login.example has no device grant; log in with a browser", 0},
		"codes in the clear": {func(p *oidctest.Provider) {
			p.Metadata = map[string]any{"device_authorization_endpoint": "http://login.example/device"}
		}, "the provider https://login.example names the address http://login.example/device, which is not https", 0},
	} {
		t.Run(what, func(t *testing.T) {
			onDevice(t, c.change, func(_ context.Context, token string, after []time.Duration, err error) {
				if token != "" || err == nil || err.Error() != c.want || len(after) != c.polls {
					t.Errorf("%q %v after %v, want %s after %d polls", token, err, after, c.want, c.polls)
				}
			})
		})
	}
}

func TestDeviceGivesUp(t *testing.T) {
	onDevice(t, func(p *oidctest.Provider) {
		p.Lasts, p.Polls = 3600, slices.Repeat([]string{"authorization_pending"}, 100)
	}, func(ctx context.Context, _ string, after []time.Duration, err error) {
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil || strings.Contains(err.Error(), "the code expired") || len(after) < 59 {
			t.Errorf("%v after %d polls", err, len(after))
		}
	})
}

// What a provider shows is printed to a terminal.
func TestDeviceShowsPlainText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := oidctest.New(t, "https://login.example", "trustpack")
		terms, told := termsOf(p), errors.New("seen")
		terms.transport = handled{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/device" {
				p.ServeHTTP(w, r)
				return
			}
			_, _ = w.Write([]byte(`{"device_code":"d","user_code":"A\u001b[8mB","verification_uri":"https://x\u0007","expires_in":60}`))
		})}
		_, err := Device(t.Context(), terms, func(address, code, both string) error {
			if address != "https://x" || code != "A[8mB" || both != "" {
				t.Errorf("%q %q %q", address, code, both)
			}
			return told
		})
		if !errors.Is(err, told) {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
	})
}
