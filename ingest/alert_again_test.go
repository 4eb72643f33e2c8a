package ingest

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

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
