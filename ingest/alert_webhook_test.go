package ingest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestWebhookSignatureIsTheSpecifications: the vector of the reference library
// of Standard Webhooks.
func TestWebhookSignatureIsTheSpecifications(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) [][]byte {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secrets, err := readSecrets(file)
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	sign := func(secrets [][]byte) string {
		return webhookSignature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	}
	if got := sign(write("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	two := strings.Fields(sign(write(newWebhookSecret(1) + "\n\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")))
	if len(two) != 2 || two[1] != want || two[0] == want {
		t.Errorf("two secrets sign %v", two)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), strings.Repeat(newWebhookSecret(1)+"\n", 5), strings.Repeat("\n", 4097)} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSecrets(file); err == nil || strings.Contains(err.Error(), "MfKQ9r8") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

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

func TestAlertsAreToldByWebhook(t *testing.T) {
	v := newReceiver(t, 1)
	r := newRig(t, toWebhooks(v.policy("pager")))
	r.tenant("nord")
	id := r.raise(AlertReplayConflict, "nord", "a number was used again")
	raised := r.clock.now()
	r.told(id)
	r.clock.add(90 * time.Second)
	if err := r.admin("carla").AcknowledgeAlert(t.Context(), id, "looking", "https://tickets.example/7"); err != nil {
		t.Fatal(err)
	}
	r.told(id)
	r.clock.add(time.Minute)
	if err := r.admin("root.admin").ResolveAlert(t.Context(), id, "modem replaced", "T-8"); err != nil {
		t.Fatal(err)
	}
	want := []string{"raised>pager:delivered", "acknowledged>pager:delivered", "resolved>pager:delivered"}
	if got := r.told(id); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	got := v.requests()
	if len(got) != 3 || !slices.Equal(v.types(), []string{"raised", "acknowledged", "resolved"}) {
		t.Fatalf("%d requests: %v", len(got), v.types())
	}
	if got[0].stamp != strconv.FormatInt(raised.Unix(), 10) || !got[0].message.Timestamp.Equal(raised) {
		t.Errorf("raised at %v, told with timestamp %s of %v", raised, got[0].stamp, got[0].message.Timestamp)
	}
	first, second, third := got[0].message.Data, got[1].message.Data, got[2].message.Data
	if first.ID != id || first.Kind != AlertReplayConflict || first.Severity != SeverityCritical || first.Tenant != "nord" || first.Detail != "a number was used again" ||
		!slices.Equal(first.Devices, []string{"nord/m-1"}) || first.DeviceCount != 1 || first.Actor != "" || first.Log != "test.example/ingest/control" {
		t.Errorf("raised: %+v", first)
	}
	if second.Actor != "carla" || second.Role != RoleApprover || second.Text != "looking" || second.Ticket != "https://tickets.example/7" || second.AcknowledgedBy != "carla" {
		t.Errorf("acknowledged: %+v", second)
	}
	if third.Actor != "root.admin" || third.Text != "modem replaced" || third.Ticket != "T-8" || third.AcknowledgedBy != "carla" {
		t.Errorf("resolved: %+v", third)
	}
	entries := r.control(evidence.EntryAlertDelivered)
	if len(entries) != 3 || entries[0].Actor != nil || string(entries[0].Data) != `{"attempts":1,"event":"raised","id":"`+id+`","kind":"webhook","to":"pager"}` {
		t.Errorf("%d entries: %s", len(entries), entries[0].Data)
	}

	// The chain, with the entry of each step, and how long it took.
	a := r.alert(id)
	var chain []string
	for _, s := range a.Chain {
		chain = append(chain, s.Event+" by "+s.Actor+": "+s.Text+" "+s.Ticket)
		for data, err := range r.s.led.Entries(controlLog, s.Index, s.Index+1) {
			if err != nil || !strings.Contains(string(data), `"type":"alert.`+s.Event+`"`) {
				t.Errorf("entry %d is said to be of %s: %s %v", s.Index, s.Event, data, err)
			}
		}
	}
	if !slices.Equal(chain, []string{"raised by : a number was used again ", "acknowledged by carla: looking https://tickets.example/7", "resolved by root.admin: modem replaced T-8"}) {
		t.Errorf("%q", chain)
	}
	if a.State != AlertResolved || a.Ticket != "T-8" || *a.AcknowledgeSeconds != 90 || *a.ResolveSeconds != 150 {
		t.Errorf("%+v", a)
	}
	r.sameAsFold()
	before := r.alert(id)
	r.restart()
	if after := r.alert(id); fmt.Sprint(after.Chain, after.Deliveries) != fmt.Sprint(before.Chain, before.Deliveries) {
		t.Errorf("after a restart:\n%+v\n%+v", after, before)
	}
	if n := len(v.requests()); n != 3 {
		t.Errorf("%d requests after a restart", n)
	}
}

func cutOff(_ int, w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

// TestWebhooksAreTriedAgain: whatever goes wrong, the same message comes again,
// and what happened later comes later.
func TestWebhooksAreTriedAgain(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { elsewhere++; w.WriteHeader(http.StatusOK) }))
	defer other.Close()
	for name, bad := range map[string]func(int, http.ResponseWriter, *http.Request){
		"500":     func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"401":     func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"404":     func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"cut off": cutOff,
		"redirect": func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"half a head": func(_ int, w http.ResponseWriter, _ *http.Request) { half(w, "HTTP/1.1 200 O") },
		"long head": func(_ int, w http.ResponseWriter, _ *http.Request) {
			half(w, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newReceiver(t, 2)
			resolved := make(chan struct{})
			v.answer = func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 3 {
					<-resolved
				}
				if n <= 3 {
					bad(n, w, r)
				}
			}
			r := newRig(t, toWebhooks(v.policy("pager")))
			id := r.raise(AlertDeviceSilent, "nord", "x")
			until(t, "the third attempt", func() bool { return len(v.requests()) == 3 })
			if err := r.admin("carla").ResolveAlert(t.Context(), id, "done", ""); err != nil {
				t.Fatal(err)
			}
			close(resolved)
			want := []string{"raised>pager:delivered", "resolved>pager:delivered"}
			if got := r.told(id); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			if got := v.types(); !slices.Equal(got, []string{"raised", "raised", "raised", "raised", "resolved"}) {
				t.Errorf("%v", got)
			}
			got := v.requests()
			for _, x := range got[1:4] {
				if x.id != got[0].id || !bytes.Equal(x.body, got[0].body) {
					t.Errorf("another message: %s %s, %s %s", x.id, x.body, got[0].id, got[0].body)
				}
			}
			if got[4].id == got[0].id {
				t.Error("two events have one webhook-id")
			}
			if d := r.alert(id).Deliveries[0]; d.Attempts != 4 {
				t.Errorf("%+v", d)
			}
			if elsewhere != 0 {
				t.Error("a redirect to another host was followed")
			}
		})
	}
}

func half(w http.ResponseWriter, head string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_, _ = io.WriteString(c, head)
		c.Close()
	}
}

// TestWebhooksWaitAsTheyAreAsked: a Retry-After holds for all that the target
// is told, and longer than the pause would be.
func TestWebhooksWaitAsTheyAreAsked(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		v := newReceiver(t, 3)
		var asked time.Time
		v.answer = func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				asked = time.Now()
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(status)
				return
			}
			if time.Since(asked) < time.Second {
				t.Errorf("%d: asked to wait a second, it came again after %v", status, time.Since(asked))
			}
		}
		r := newRig(t, toWebhooks(v.policy("pager")))
		a, b := r.raise(AlertDeviceSilent, "nord", "x"), r.raise(AlertDeviceSilent, "nord", "y")
		r.told(a)
		r.told(b)
		r.stop()
	}
	now := time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "x": 0, "999999999": maxRetryAfter, "Wed, 01 Jul 2026 10:00:30 GMT": 30 * time.Second, "Wed, 01 Jul 2026 09:00:30 GMT": 0,
	} {
		if got := waitOf(text, now); got != want {
			t.Errorf("Retry-After: %s: %v, want %v", text, got, want)
		}
	}
}

func TestPausesGrowWithChance(t *testing.T) {
	p := AlertPolicy{Backoff: 10 * time.Second, MaxWait: time.Hour}
	seen := map[time.Duration]bool{}
	for attempts, most := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 12: time.Hour, 90: time.Hour} {
		for range 100 {
			d := p.pause(attempts)
			if d < most/2 || d > most {
				t.Fatalf("after %d attempts: %v, want %v to %v", attempts, d, most/2, most)
			}
			seen[d] = true
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d pauses of 500 differ", len(seen))
	}
}

// TestWhatCannotBeToldIsGivenUpAndSentAgain: after the last attempt it is a
// dead letter, in the log and on the list, what follows is told all the same,
// and an operator has it sent again.
func TestWhatCannotBeToldIsGivenUpAndSentAgain(t *testing.T) {
	v := newReceiver(t, 4)
	v.answer = func(n int, w http.ResponseWriter, _ *http.Request) {
		if n <= 5 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}
	r := newRig(t, toWebhooks(v.policy("pager")))
	ctx, ben := t.Context(), r.admin("ben")
	other := r.raise(AlertDeviceSilent, "nord", "y")
	until(t, "the alert given up", func() bool { return len(r.control(evidence.EntryAlertUndelivered)) == 1 })
	if e := r.control(evidence.EntryAlertUndelivered)[0]; string(e.Data) != `{"attempts":5,"error":"the receiver answered 502","event":"raised","id":"`+other+`","kind":"webhook","to":"pager"}` {
		t.Errorf("%s", e.Data)
	}
	if err := ben.AcknowledgeAlert(ctx, other, "", ""); err != nil {
		t.Fatal(err)
	}
	if got := r.told(other); !slices.Equal(got, []string{"raised>pager:undelivered", "acknowledged>pager:delivered"}) {
		t.Errorf("%v", got)
	}
	fine := r.raise(AlertDeviceSilent, "nord", "z")
	r.told(fine)
	list := func() []AlertView {
		t.Helper()
		list, err := ben.FindAlerts(ctx, AlertQuery{Delivery: DeliveryUndelivered})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if l := list(); len(l) != 1 || l[0].ID != other {
		t.Errorf("%+v", l)
	}
	metrics, err := r.admin("erin").Get(ctx, "/metrics")
	if err != nil || !strings.Contains(string(metrics), "trustpack_ingest_alerts_undelivered 1\n") || !strings.Contains(string(metrics), "trustpack_ingest_alerts_waiting 0\n") {
		t.Error("metrics do not tell", err)
	}
	r.restart()
	ben = r.admin("ben")
	if l := list(); len(l) != 1 {
		t.Errorf("after a restart: %+v", l)
	}
	refusedWith(t, r.admin("erin").ResendAlert(ctx, other, "", "again"), CodeForbidden)
	refusedWith(t, ben.ResendAlert(ctx, "none", "", "again"), CodeNotFound)
	refusedWith(t, ben.ResendAlert(ctx, fine, "", "again"), CodeConflict)
	refusedWith(t, ben.ResendAlert(ctx, other, "nobody", "again"), CodeConflict)
	if err := ben.ResendAlert(ctx, other, "pager", "the receiver is back"); err != nil {
		t.Fatal(err)
	}
	if got := r.told(other); !slices.Equal(got, []string{"raised>pager:delivered", "acknowledged>pager:delivered"}) {
		t.Errorf("%v", got)
	}
	if got := v.requests(); got[len(got)-1].id != got[0].id {
		t.Errorf("sent again as %s, first as %s", got[len(got)-1].id, got[0].id)
	}
	refusedWith(t, ben.ResendAlert(ctx, other, "", "again"), CodeConflict)
	if e := r.control(evidence.EntryAlertResend); len(e) != 1 || e[0].Actor.Name != "ben" || e[0].Reason != "the receiver is back" {
		t.Errorf("%+v", e)
	}
	r.sameAsFold()
}

// TestASnapshotHoldsDeliveriesOfItsMoment: what is told while a snapshot is
// written is not in it.
func TestASnapshotHoldsDeliveriesOfItsMoment(t *testing.T) {
	v := newReceiver(t, 13)
	v.answer = func(_ int, _ http.ResponseWriter, req *http.Request) {
		select {
		case <-req.Context().Done():
		case <-t.Context().Done():
		}
	}
	r := newRig(t, toWebhooks(v.policy("pager")))
	id := r.raise(AlertLetterQuota, "nord", "x")
	k := r.s.st.capture()
	if err := r.s.settleDelivery(evidence.EntryAlertDelivered, "nord", deliveryData{ID: id, To: "pager", Kind: TargetWebhook, Event: AlertEventRaised, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := k.write(&b); err != nil {
		t.Fatal(err)
	}
	st, err := readState(&b, r.config.Replay.Window)
	if err != nil {
		t.Fatal(err)
	}
	if then, now := st.alerts[id].Deliveries[0].State, r.alert(id).Deliveries[0].State; then != DeliveryWaiting || now != DeliveryDelivered {
		t.Errorf("in the snapshot %s, now %s", then, now)
	}
}

// untold makes an alert that could not be told, to a receiver that then never
// answers.
func (r *rig) untold() string {
	r.t.Helper()
	v := newReceiver(r.t.(*testing.T), 12)
	v.answer = func(n int, w http.ResponseWriter, req *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusGone)
			return
		}
		select {
		case <-req.Context().Done():
		case <-r.t.Context().Done():
		}
	}
	r.tellBy(func(p *AlertPolicy) { p.Webhooks = []WebhookPolicy{v.policy("pager")} })
	id := r.raise(AlertLetterQuota, "nord", "x")
	r.told(id)
	return id
}

// tellBy changes the policy of the running ingest.
func (r *rig) tellBy(change func(*AlertPolicy)) {
	r.t.Helper()
	cfg := *r.s.cfg()
	cfg.Alerts.Webhooks = slices.Clone(cfg.Alerts.Webhooks)
	change(&cfg.Alerts)
	next, err := r.s.prepare(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.s.enforce(next, evidence.AuditEntry{Reason: "test"}); err != nil {
		r.t.Fatal(err)
	}
}

// TestAReceiverThatNobodyVouchesForIsToldNothing: its certificate is judged.
func TestAReceiverThatNobodyVouchesForIsToldNothing(t *testing.T) {
	v := newReceiver(t, 14)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(v.serve))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	hook := v.policy("pager")
	hook.URL = secure.URL
	r := newRig(t, toWebhooks(hook))
	id := r.raise(AlertDeviceSilent, "nord", "x")
	if got := r.told(id); !slices.Equal(got, []string{"raised>pager:undelivered"}) || len(v.requests()) != 0 {
		t.Errorf("%v after %d requests", got, len(v.requests()))
	}
	if d := r.alert(id).Deliveries[0]; !strings.Contains(d.Error, "certificate") {
		t.Errorf("%+v", d)
	}
}

// TestAReceiverThatIsGoneIsNotAskedAgain: 410 says that it wants nothing more.
func TestAReceiverThatIsGoneIsNotAskedAgain(t *testing.T) {
	v := newReceiver(t, 4)
	v.answer = func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }
	r := newRig(t, toWebhooks(v.policy("pager")))
	id := r.raise(AlertDeviceSilent, "nord", "y")
	if got := r.told(id); !slices.Equal(got, []string{"raised>pager:undelivered"}) || len(v.requests()) != 1 {
		t.Errorf("%v after %d requests", got, len(v.requests()))
	}
}

// crashed is the rig that begins with a copy of what is on disk now, as after
// the ingest was killed. The one before is told nothing more.
func (r *rig) crashed() *rig {
	r.t.Helper()
	next := &rig{t: r.t, dir: copyDir(r.t.(*testing.T), r.dir), clock: r.clock, config: r.config, logger: r.logger, ca: r.ca, pairs: r.pairs}
	r.s.outbox.mu.Lock()
	r.s.outbox.closed = true
	couriers := r.s.outbox.couriers
	r.s.outbox.couriers = nil
	for _, c := range couriers {
		close(c.gone)
	}
	r.s.outbox.mu.Unlock()
	r.s.outbox.abandon()
	for _, c := range couriers {
		<-c.ended
	}
	next.start()
	r.t.Cleanup(func() { next.stop() })
	return next
}

// TestAKillLosesNoAlert: what was raised, and neither told nor given up, is told
// after the start; what was told and not yet entered is told again under the
// same webhook-id.
func TestAKillLosesNoAlert(t *testing.T) {
	v := newReceiver(t, 5)
	held := make(chan struct{})
	v.answer = func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			close(held) // read whole, and the answer never comes
			<-r.Context().Done()
		}
	}
	r := newRig(t, toWebhooks(v.policy("pager")))
	first := r.raise(AlertDeviceSilent, "nord", "x")
	<-held
	second := r.raise(AlertDeviceSilent, "nord", "y")
	if err := r.admin("ben").AcknowledgeAlert(t.Context(), first, "", ""); err != nil {
		t.Fatal(err)
	}
	next := r.crashed()
	for _, id := range []string{first, second} {
		for _, d := range next.told(id) {
			if !strings.HasSuffix(d, ":delivered") {
				t.Error(d)
			}
		}
	}
	got := v.requests()
	if len(got) != 4 || got[0].id != got[1].id || !bytes.Equal(got[0].body, got[1].body) {
		t.Errorf("%d requests, %v", len(got), v.types())
	}
	if e := next.control(evidence.EntryAlertDelivered); len(e) != 3 {
		t.Errorf("%d entries", len(e))
	}
	next.sameAsFold()
}

// TestASlowReceiverKeepsNothingUp: while one target never answers, another is
// told all, telemetry is taken, the slow one's queue is bounded, and the ingest
// ends; what waited is told after the next start.
func TestASlowReceiverKeepsNothingUp(t *testing.T) {
	slow, quick := newReceiver(t, 6), newReceiver(t, 7)
	slow.answer = func(n int, _ http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
		}
	}
	r := newRig(t, toWebhooks(slow.policy("slow"), quick.policy("quick")))
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	const n = maxErrands + 150
	var ids []string
	for i := range n {
		ids = append(ids, r.raise(AlertDeviceSilent, "nord", strconv.Itoa(i)))
	}
	until(t, "all told to the quick one", func() bool { return len(r.control(evidence.EntryAlertDelivered)) == n })
	if rec := r.send(c, r.line(1, 1)); rec.Accepted != 1 {
		t.Errorf("%+v", rec)
	}
	if got := len(slow.requests()); got != 1 {
		t.Errorf("%d requests to the slow one", got)
	}
	r.s.outbox.mu.Lock()
	waiting := r.s.outbox.couriers["slow"]
	waiting.mu.Lock()
	if len(waiting.news) > maxErrands {
		t.Errorf("%d alerts in a queue of %d", len(waiting.news), maxErrands)
	}
	waiting.mu.Unlock()
	r.s.outbox.mu.Unlock()
	r.restart()
	until(t, "all told to the slow one", func() bool { return len(r.control(evidence.EntryAlertDelivered)) == 2*n })
	seen := map[string]int{}
	for _, x := range slow.requests() {
		seen[x.message.Data.ID]++
	}
	for _, id := range ids[1:] {
		if seen[id] != 1 {
			t.Fatalf("%s was told %d times", id, seen[id])
		}
	}
}

// TestTargetsWantWhatTheyName: kinds and events of the configuration that was
// in force when it happened; drills' canaries are left out unless they are
// wanted.
func TestTargetsWantWhatTheyName(t *testing.T) {
	v := newReceiver(t, 8)
	hook := v.policy("pager")
	hook.Kinds, hook.Events = []string{AlertReplayConflict}, []string{AlertEventResolved}
	r := newRig(t, toWebhooks(hook))
	resolved := func(kind, tenant string) []string {
		t.Helper()
		id := r.raise(kind, tenant, "x")
		if err := r.admin("root.admin").ResolveAlert(t.Context(), id, "done", ""); err != nil {
			t.Fatal(err)
		}
		return r.told(id)
	}
	if got := resolved(AlertReplayConflict, "nord"); !slices.Equal(got, []string{"resolved>pager:delivered"}) {
		t.Errorf("%v", got)
	}
	if got := resolved(AlertDeviceSilent, "nord"); len(got) != 0 {
		t.Errorf("a kind that it does not name: %v", got)
	}
	if got := resolved(AlertReplayConflict, "canary-a"); len(got) != 0 {
		t.Errorf("a canary: %v", got)
	}
	early := r.raise(AlertDeviceSilent, "nord", "early")
	more := newReceiver(t, 9)
	r.tellBy(func(p *AlertPolicy) {
		p.Canaries = true
		p.Webhooks[0].Kinds, p.Webhooks[0].Events = nil, nil
		p.Webhooks = append(p.Webhooks, more.policy("more"))
	})
	if got := resolved(AlertDeviceSilent, "canary-a"); len(got) != 4 {
		t.Errorf("a canary that is wanted: %v", got)
	}
	if got := r.told(early); len(got) != 0 {
		t.Errorf("raised before anybody wanted it: %v", got)
	}
	r.tellBy(func(p *AlertPolicy) { p.Webhooks = p.Webhooks[1:] })
	if got := resolved(AlertDeviceSilent, "nord"); !slices.Equal(got, []string{"raised>more:delivered", "resolved>more:delivered"}) {
		t.Errorf("%v", got)
	}
	r.sameAsFold()
}

// TestAlertsAreEscalatedOnce: where nobody acknowledged in the time of its
// severity.
func TestAlertsAreEscalatedOnce(t *testing.T) {
	v := newReceiver(t, 10)
	r := newRig(t, toWebhooks(v.policy("pager")), func(c *Config) {
		c.Alerts.AcknowledgeWithin = map[string]time.Duration{SeverityCritical: 15 * time.Minute, SeverityWarning: 4 * time.Hour}
	})
	critical, warning, seen, gone := r.raise(AlertReplayConflict, "nord", "a"), r.raise(AlertLetterQuota, "nord", "b"), r.raise(AlertReplayConflict, "nord", "c"), r.raise(AlertReplayConflict, "nord", "d")
	if err := r.admin("ben").AcknowledgeAlert(t.Context(), seen, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.admin("ben").ResolveAlert(t.Context(), gone, "done", ""); err != nil {
		t.Fatal(err)
	}
	escalated := func(pass time.Duration) (out []string) {
		t.Helper()
		r.clock.add(pass)
		for range 2 {
			if err := r.s.Tick(t.Context(), r.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range r.control(evidence.EntryAlertEscalated) {
			out = append(out, e.Target)
		}
		return out
	}
	if got := escalated(14 * time.Minute); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := escalated(2 * time.Minute); !slices.Equal(got, []string{critical}) {
		t.Errorf("%v", got)
	}
	if got := escalated(4 * time.Hour); !slices.Equal(got, []string{critical, warning}) {
		t.Errorf("%v", got)
	}
	if got := r.told(critical); !slices.Equal(got, []string{"raised>pager:delivered", "escalated>pager:delivered"}) {
		t.Errorf("%v", got)
	}
	if a := r.alert(critical); a.EscalatedAt == nil || a.Chain[1].Text != "nobody acknowledged it within 15m0s" || a.State != AlertOpen {
		t.Errorf("%+v", a)
	}
	r.sameAsFold()
}

// TestAlertsAreFound: each filter, and pages.
func TestAlertsAreFound(t *testing.T) {
	r := newRig(t)
	start := r.clock.now()
	var ids []string
	for i := range 7 {
		kind, tenant := AlertDeviceSilent, "nord"
		if i%2 == 1 {
			kind = AlertReplayConflict
		}
		if i >= 5 {
			tenant = "sued"
		}
		ids = append(ids, r.raise(kind, tenant, "x"))
	}
	ctx, admin := t.Context(), r.admin("root.admin")
	if err := admin.AcknowledgeAlert(ctx, ids[1], "", ""); err != nil {
		t.Fatal(err)
	}
	if err := admin.ResolveAlert(ctx, ids[2], "done", ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    AlertQuery
		want []int
	}{
		{AlertQuery{}, []int{6, 5, 4, 3, 2, 1, 0}},
		{AlertQuery{Kind: AlertReplayConflict}, []int{5, 3, 1}},
		{AlertQuery{Tenant: "sued"}, []int{6, 5}},
		{AlertQuery{State: AlertOpen}, []int{6, 5, 4, 3, 0}},
		{AlertQuery{State: AlertAcknowledged}, []int{1}},
		{AlertQuery{State: AlertResolved}, []int{2}},
		{AlertQuery{From: start.Add(3 * time.Second), To: start.Add(5 * time.Second)}, []int{3, 2}},
		{AlertQuery{Kind: AlertReplayConflict, Tenant: "nord", State: AlertOpen}, []int{3}},
		{AlertQuery{Delivery: DeliveryUndelivered}, nil},
	} {
		list, err := admin.FindAlerts(ctx, c.q)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, a := range list {
			got = append(got, a.ID)
		}
		for _, i := range c.want {
			want = append(want, ids[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", c.q, got, want)
		}
	}
	var paged []string
	for after := ""; ; {
		b, err := admin.Get(ctx, "/v1/admin/alerts?limit=2&tenant=nord&after="+after)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Alerts []AlertView
			Next   string
		}
		if err := json.Unmarshal(b, &page); err != nil || len(page.Alerts) > 2 {
			t.Fatal(len(page.Alerts), err)
		}
		for _, a := range page.Alerts {
			paged = append(paged, a.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(paged, []string{ids[4], ids[3], ids[2], ids[1], ids[0]}) {
		t.Errorf("in pages: %v", paged)
	}
	for _, bad := range []string{"limit=0", "limit=501", "limit=x", "state=closed", "from=yesterday", "to=1", "after=none", "delivery=lost", "tennant=nord", "kind=a&kind=b"} {
		_, err := admin.Get(ctx, "/v1/admin/alerts?"+bad)
		refusedWith(t, err, CodeInvalid)
	}
	_, err := admin.Alert(ctx, "none")
	refusedWith(t, err, CodeNotFound)
}

// TestSupportSeesAlertsOfItsTenantAlone: one alert by its name, a page after
// another's, and none of another tenant.
func TestSupportSeesAlertsOfItsTenantAlone(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	r.support("sam")
	r.grant("sam", "nord", 30, "read")
	own, other := r.raise(AlertLetterQuota, "nord", "x"), r.raise(AlertLetterQuota, "sued", "y")
	ctx, sam := t.Context(), r.admin("sam")
	if a, err := sam.Alert(ctx, own); err != nil || a.ID != own {
		t.Error(a.ID, err)
	}
	_, err := sam.Alert(ctx, other)
	refusedWith(t, err, CodeNotFound)
	if list, err := sam.Alerts(ctx); err != nil || len(list) != 1 || list[0].ID != own {
		t.Error(list, err)
	}
	_, err = sam.FindAlerts(ctx, AlertQuery{Tenant: "sued"})
	refusedWith(t, err, CodeForbidden)
	_, err = sam.Get(ctx, "/v1/admin/alerts?after="+other)
	refusedWith(t, err, CodeInvalid)
	refusedWith(t, sam.ResendAlert(ctx, own, "", "x"), CodeForbidden)
}

// TestSecretsOfTargetsStayInTheirFiles: whatever goes wrong, they are in no
// log, entry, snapshot or answer.
func TestSecretsOfTargetsStayInTheirFiles(t *testing.T) {
	v, hub := newReceiver(t, 11), newFakeHub(t)
	v.answer = func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			cutOff(n, w, r)
			return
		}
		http.Error(w, v.secret, http.StatusUnauthorized)
	}
	hub.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		hubError(w, http.StatusUnauthorized, "Bad credentials", nil)
		return true
	}
	var lines logged
	r := newRig(t, toWebhooks(v.policy("pager")), func(c *Config) { c.Alerts.GitHub = hub.policy() }, func(c *Config) { c.Alerts.Attempts = 2 })
	r.stop()
	r.logger = jsonLog(&lines)
	r.start()
	id := r.raise(AlertDeviceSilent, "nord", "x")
	if got := r.told(id); !slices.Equal(got, []string{"raised>pager:undelivered", "raised>acme/ops:undelivered"}) {
		t.Errorf("%v", got)
	}
	shown, err := r.admin("erin").Get(t.Context(), "/v1/admin/config")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	all := append([]byte(lines.String()), shown...)
	err = filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(all, []byte("pager.secret")) || !strings.Contains(lines.String(), "could not be told") {
		t.Error("this looks in the wrong place")
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(v.secret, "whsec_"))
	for what, secret := range map[string]string{"the webhook's secret": strings.TrimPrefix(v.secret, "whsec_"), "its bytes": string(key), "the token": hub.token} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%s is there", what)
		}
	}
}

func jsonLog(to io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestAlertPolicyIsChecked(t *testing.T) {
	good := WebhookPolicy{Name: "pager", URL: "https://pager.example/hook", SecretFile: "secret"}
	hub := AlertGitHubPolicy{Repository: "acme/ops", TokenFile: "token"}
	webhook := func(change func(*WebhookPolicy)) func(*AlertPolicy) {
		w := good
		change(&w)
		return func(p *AlertPolicy) { p.Webhooks = []WebhookPolicy{w} }
	}
	github := func(change func(*AlertGitHubPolicy)) func(*AlertPolicy) {
		g := hub
		change(&g)
		return func(p *AlertPolicy) { p.GitHub = g }
	}
	for want, change := range map[string]func(*AlertPolicy){
		"webhooks[0].name":                      webhook(func(w *WebhookPolicy) { w.Name = "Pager 1" }),
		"webhooks[1].name: pager stands twice":  func(p *AlertPolicy) { p.Webhooks = []WebhookPolicy{good, good} },
		"webhooks[0].url: want https; http":     webhook(func(w *WebhookPolicy) { w.URL = "http://pager.example/hook" }),
		"webhooks[0].url: want https://host":    webhook(func(w *WebhookPolicy) { w.URL = "pager.example" }),
		"webhooks[0].url: want https;":          webhook(func(w *WebhookPolicy) { w.URL = "ftp://127.0.0.1/hook" }),
		"webhooks[0].url: no user":              webhook(func(w *WebhookPolicy) { w.URL = "https://u:p@pager.example/hook" }),
		"webhooks[0].url: no user, query":       webhook(func(w *WebhookPolicy) { w.URL = "https://pager.example/hook?token=x" }),
		"webhooks[0].secret_file":               webhook(func(w *WebhookPolicy) { w.SecretFile = "" }),
		"webhooks[0].events: there is no event": webhook(func(w *WebhookPolicy) { w.Events = []string{"closed"} }),
		"webhooks[0].kinds: there is no kind":   webhook(func(w *WebhookPolicy) { w.Kinds = []string{AlertFleetSilent, "device.slient"} }),
		"webhooks: 17":                          func(p *AlertPolicy) { p.Webhooks = make([]WebhookPolicy, 17) },
		"github.repository: name it":            github(func(g *AlertGitHubPolicy) { g.Repository = "" }),
		"github.repository: \"acme\"":           github(func(g *AlertGitHubPolicy) { g.Repository = "acme" }),
		"github.base_url: want https; http":     github(func(g *AlertGitHubPolicy) { g.BaseURL = "http://git.example/api/v3" }),
		"github.token_file":                     github(func(g *AlertGitHubPolicy) { g.TokenFile = "" }),
		"attempts: 0":                           func(p *AlertPolicy) { p.Attempts = 0 },
		"backoff: 0s":                           func(p *AlertPolicy) { p.Backoff = 0 },
		"acknowledge_within.high: there is no":  func(p *AlertPolicy) { p.AcknowledgeWithin = map[string]time.Duration{"high": time.Hour} },
		"acknowledge_within.warning: 0s":        func(p *AlertPolicy) { p.AcknowledgeWithin = map[string]time.Duration{"warning": 0} },
	} {
		c := testConfig(t)
		change(&c.Alerts)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "ingest.alerts."+want) {
			t.Errorf("%v, want ingest.alerts.%s", err, want)
		}
	}
	c := testConfig(t)
	loopback := good
	loopback.Name, loopback.URL = "near", "http://127.0.0.1:9/hook"
	c.Alerts.Webhooks, c.Alerts.GitHub = []WebhookPolicy{good, loopback}, hub
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if err := checkAlertTargets(c.Alerts); err == nil || !strings.HasPrefix(err.Error(), "ingest.alerts.webhooks[0].secret_file: ") {
		t.Errorf("a secret that is not there: %v", err)
	}
}
