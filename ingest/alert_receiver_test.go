package ingest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

func newWebhookSecret(n byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{'a' + n}, 32))
}

// received is one request of a webhook.
type received struct {
	id, stamp string
	body      []byte
	message   struct {
		Type      string
		Timestamp time.Time
		Data      alertPayload
	}
}

// receiver takes webhooks, and checks each as the specification tells
// receivers to.
type receiver struct {
	*httptest.Server
	t      *testing.T
	secret string

	mu     sync.Mutex
	got    []received
	answer func(n int, w http.ResponseWriter, r *http.Request) // of the n-th request, from 1; nil: 204
}

func newReceiver(t *testing.T, n byte) *receiver {
	v := &receiver{t: t, secret: newWebhookSecret(n)}
	v.Server = httptest.NewServer(http.HandlerFunc(v.serve))
	t.Cleanup(v.Close)
	return v
}

func (v *receiver) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	x := received{id: r.Header.Get("webhook-id"), stamp: r.Header.Get("webhook-timestamp"), body: body}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(v.secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(x.id + "." + x.stamp + "." + string(body)))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); !slices.Contains(strings.Fields(r.Header.Get("webhook-signature")), want) || x.id == "" || strings.Contains(x.id, ".") {
		v.t.Errorf("signature %q of %q does not verify", r.Header.Get("webhook-signature"), x.id)
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		v.t.Errorf("%s of %s", r.Method, r.Header.Get("Content-Type"))
	}
	if err := json.Unmarshal(body, &x.message); err != nil {
		v.t.Error(err)
	}
	v.mu.Lock()
	v.got = append(v.got, x)
	n, answer := len(v.got), v.answer
	v.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(n, w, r)
}

func (v *receiver) requests() []received {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.got)
}

func (v *receiver) types() (out []string) {
	for _, x := range v.requests() {
		out = append(out, strings.TrimPrefix(x.message.Type, "alert."))
	}
	return out
}

// policy is a webhook of the receiver.
func (v *receiver) policy(name string) WebhookPolicy {
	file := filepath.Join(v.t.TempDir(), name+".secret")
	if err := os.WriteFile(file, []byte(v.secret+"\n"), 0o600); err != nil {
		v.t.Fatal(err)
	}
	return WebhookPolicy{Name: name, URL: v.URL + "/hook", SecretFile: file}
}

// quickly makes attempts follow each other at once.
func quickly(p *AlertPolicy) {
	p.Attempts, p.Backoff, p.MaxWait, p.Timeout = 5, time.Millisecond, 4*time.Millisecond, 10*time.Second
}

func toWebhooks(webhooks ...WebhookPolicy) func(*Config) {
	return func(c *Config) {
		quickly(&c.Alerts)
		c.Alerts.Webhooks = webhooks
	}
}

// raise raises an alert.
func (r *rig) raise(kind, tenant, detail string) string {
	r.t.Helper()
	r.clock.add(time.Second)
	r.s.decide.Lock()
	defer r.s.decide.Unlock()
	e := r.s.entry(evidence.EntryAlertRaised, evidence.AuditEntry{Tenant: tenant})
	a := evidence.Alert{ID: alertID(kind, e.Time, tenant, "m-1"), Kind: kind, Since: e.Time.Add(-time.Minute), Devices: []string{tenant + "/m-1"}, Detail: detail}
	e.Target, e.Data = a.ID, raw(a)
	if _, err := r.s.record(e); err != nil {
		r.t.Fatal(err)
	}
	return a.ID
}

// alert reads one alert as an auditor.
func (r *rig) alert(id string) AlertView {
	r.t.Helper()
	a, err := r.admin("erin").Alert(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// told waits until nothing of the alert is on its way, and gives the states of
// its deliveries as "event>to:state".
func (r *rig) told(id string) (out []string) {
	r.t.Helper()
	until(r.t, "the end of all deliveries of "+id, func() bool {
		out = nil
		for _, d := range r.alert(id).Deliveries {
			if d.State == DeliveryWaiting {
				return false
			}
			out = append(out, d.Event+">"+d.To+":"+d.State)
		}
		return true
	})
	return out
}

func cutOff(_ int, w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

func half(w http.ResponseWriter, head string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_, _ = io.WriteString(c, head)
		c.Close()
	}
}
