package ingest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestTargetsAreSecureOrHere: nothing goes over a network in the clear, and no
// secret stands in an address.
func TestTargetsAreSecureOrHere(t *testing.T) {
	for text, good := range map[string]bool{
		"https://pager.example/hook": true, "https://pager.example:8443": true, "https://10.1.2.3/hook": true,
		"http://127.0.0.1:9/hook": true, "http://127.9.9.9/hook": true, "http://[::1]:9/hook": true, "http://localhost/hook": true,

		"http://pager.example/hook": false, "http://10.1.2.3/hook": false, "http://169.254.169.254/latest": false, "http://0.0.0.0/": false, "http://[::]/": false,
		"http://127.0.0.1.pager.example/": false, "http://localhost.pager.example/": false, "http://127.1/": false, "http://2130706433/": false, "http://[fe80::1]/": false,
		"http://pager.example@127.0.0.1/": false, "https://user:secret@pager.example/": false, "https://pager.example/hook?token=x": false, "https://pager.example/#x": false,
		"//pager.example/hook": false, "pager.example/hook": false, "https:///hook": false, "https://": false, "": false,
		"file:///etc/passwd": false, "ftp://127.0.0.1/": false, "unix:///run/x.sock": false, "gopher://127.0.0.1/": false, "HTTP://pager.example/": false,
		"https://pager.example/\r\nX: y": false, "https://pager.example:https/": false,
	} {
		for key, policy := range map[string]AlertPolicy{
			"webhooks[0].url": {Webhooks: []WebhookPolicy{{Name: "pager", URL: text, SecretFile: "secret"}}},
			"github.base_url": {GitHub: AlertGitHubPolicy{Repository: "acme/ops", BaseURL: text, TokenFile: "token"}},
		} {
			if key == "github.base_url" && text == "" {
				continue // GitHub's own
			}
			c := testConfig(t)
			c.Alerts.Webhooks, c.Alerts.GitHub = policy.Webhooks, policy.GitHub
			if err := c.Validate(); good != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), "ingest.alerts."+key+": ") {
				t.Errorf("%s %q: %v", key, text, err)
			}
		}
	}
}

// TestWebhooksFollowNobody: a redirect, wherever it points, is no delivery, and
// nothing is sent there.
func TestWebhooksFollowNobody(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		for what, to := range map[string]string{"another host": other.URL, "the same host": "/other", "a file": "file:///etc/passwd"} {
			t.Run(fmt.Sprint(status, " to ", what), func(t *testing.T) {
				v := newReceiver(t, 16)
				v.answer = func(_ int, w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/hook" {
						elsewhere.Add(1)
						return
					}
					w.Header().Set("Location", to)
					w.WriteHeader(status)
				}
				r := newRig(t, toWebhooks(v.policy("pager")), func(c *Config) { c.Alerts.Attempts = 2 })
				id := r.raise(AlertDeviceSilent, "nord", "x")
				if got := r.told(id); !slices.Equal(got, []string{"raised>pager:undelivered"}) || len(v.requests()) != 2 {
					t.Errorf("%v after %d requests", got, len(v.requests()))
				}
				if d := r.alert(id).Deliveries[0]; d.Error != fmt.Sprintf("the receiver answered %d", status) {
					t.Errorf("%+v", d)
				}
			})
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// TestTheTokenOfGitHubStaysThere: a repository may have another name now, and is
// found there; another host gets neither request nor token.
func TestTheTokenOfGitHubStaysThere(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for what, c := range map[string]struct {
		to   func(h *fakeHub, r *http.Request) string
		want string
	}{
		"another host": {func(_ *fakeHub, r *http.Request) string { return other.URL + r.URL.Path }, "undelivered"},
		"another port": {func(_ *fakeHub, r *http.Request) string { return "http://127.0.0.1:1" + r.URL.Path }, "undelivered"},
		"a new name":   {func(_ *fakeHub, r *http.Request) string { return r.URL.Path + "?moved=1&" + r.URL.RawQuery }, "delivered"},
		"without end":  {func(_ *fakeHub, r *http.Request) string { return r.URL.Path }, "undelivered"},
		"another scheme": {func(h *fakeHub, r *http.Request) string {
			return "https://" + strings.TrimPrefix(h.URL, "http://") + r.URL.Path
		}, "undelivered"},
	} {
		t.Run(what, func(t *testing.T) {
			h := newFakeHub(t)
			h.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Query().Has("moved") {
					return false
				}
				w.Header().Set("Location", c.to(h, r))
				w.WriteHeader(http.StatusTemporaryRedirect)
				return true
			}
			r := newRig(t, toGitHub(h), func(c *Config) { c.Alerts.Attempts = 2 })
			id := r.raise(AlertDeviceSilent, "nord", "x")
			if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:" + c.want}) {
				t.Errorf("%v %+v", got, r.alert(id).Deliveries)
			}
			if h.n > 2*6 {
				t.Errorf("%d requests in two attempts", h.n)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

// TestATargetThatHangsIsLeft: the time of a request bounds every way to keep it
// open, and what is said of the attempt tells why it ended.
func TestATargetThatHangsIsLeft(t *testing.T) {
	hang := func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	trickle := func(status int) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		}
	}
	for what, c := range map[string]struct {
		answer func(int, http.ResponseWriter, *http.Request)
		want   string
	}{
		"no answer":                {hang, "undelivered"},
		"an answer without end":    {trickle(http.StatusOK), "delivered"}, // it has taken it; the rest is of no interest
		"a refusal without end":    {trickle(http.StatusBadGateway), "undelivered"},
		"a continuation forever":   {continues, "undelivered"},
		"an answer of half a line": {func(_ int, w http.ResponseWriter, r *http.Request) { halfOpen(w, r, "HTTP/1.1 20") }, "undelivered"},
	} {
		t.Run(what, func(t *testing.T) {
			v := newReceiver(t, 17)
			v.answer = c.answer
			r := newRig(t, toWebhooks(v.policy("pager")), func(c *Config) { c.Alerts.Attempts, c.Alerts.Timeout = 2, 100*time.Millisecond })
			id := r.raise(AlertDeviceSilent, "nord", "x")
			if got := r.told(id); !slices.Equal(got, []string{"raised>pager:" + c.want}) {
				t.Errorf("%v %+v", got, r.alert(id).Deliveries)
			}
		})
	}
	t.Run("GitHub", func(t *testing.T) {
		h := newFakeHub(t)
		h.fault = func(n int, w http.ResponseWriter, r *http.Request) bool { hang(n, w, r); return true }
		r := newRig(t, toGitHub(h), func(c *Config) { c.Alerts.Attempts, c.Alerts.Timeout = 2, 100*time.Millisecond })
		id := r.raise(AlertDeviceSilent, "nord", "x")
		if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:undelivered"}) {
			t.Errorf("%v", got)
		}
	})
}

// continues says 103 again and again.
func continues(_ int, w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		w.WriteHeader(http.StatusEarlyHints)
		time.Sleep(time.Millisecond)
	}
}

// halfOpen says something and then nothing, until the other side goes.
func halfOpen(w http.ResponseWriter, _ *http.Request, text string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, text)
	_, _ = io.Copy(io.Discard, c)
}

// TestATargetThatSaysTooMuchIsNotHeardOut: no answer fills the ingest's memory.
func TestATargetThatSaysTooMuchIsNotHeardOut(t *testing.T) {
	const much = 256 << 20 // more than all buffers on the way hold
	flood := func(w http.ResponseWriter, begin string) int64 {
		n, _ := io.WriteString(w, begin) // until the other side goes
		m, _ := io.Copy(w, io.LimitReader(spaces{}, much))
		return int64(n) + m
	}
	t.Run("webhook", func(t *testing.T) {
		v := newReceiver(t, 18)
		var said atomic.Int64
		v.answer = func(_ int, w http.ResponseWriter, _ *http.Request) { said.Add(flood(w, "")) }
		r := newRig(t, toWebhooks(v.policy("pager")))
		id := r.raise(AlertDeviceSilent, "nord", "x")
		if got := r.told(id); !slices.Equal(got, []string{"raised>pager:delivered"}) {
			t.Errorf("%v", got)
		}
		v.Close() // waits for what it answers
		if n := said.Load(); n == 0 || n >= much {
			t.Errorf("%d bytes of the answer were read", n)
		}
	})
	t.Run("GitHub", func(t *testing.T) {
		h := newFakeHub(t)
		var said atomic.Int64
		h.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool { said.Add(flood(w, "[")); return true }
		r := newRig(t, toGitHub(h), func(c *Config) { c.Alerts.Attempts = 1 })
		id := r.raise(AlertDeviceSilent, "nord", "x")
		if got := r.told(id); !slices.Equal(got, []string{"raised>acme/ops:undelivered"}) {
			t.Errorf("%v", got)
		}
		h.Close()
		if n := said.Load(); n == 0 || n >= much {
			t.Errorf("%d bytes of the answer were read", n)
		}
	})
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
