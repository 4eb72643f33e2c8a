package ingest

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"trustpack/evidence"
)

// outbox tells alerts outside: a courier for each target, so that one that is
// slow or gone keeps up no other, and nothing else at all. What is still to be
// told is the state's to know (see AlertRecord.Deliveries); a courier's queue
// holds names of alerts alone, and may be lost.
type outbox struct {
	s       *Server
	ctx     context.Context // of attempts under way
	abandon context.CancelFunc
	closing chan struct{} // closed: no attempt begins any more

	mu       sync.Mutex // guards what follows
	couriers map[string]*courier
	closed   bool
}

func newOutbox(s *Server) *outbox {
	o := &outbox{s: s, closing: make(chan struct{}), couriers: map[string]*courier{}}
	o.ctx, o.abandon = context.WithCancel(context.Background())
	return o
}

// checkAlertTargets reads what the targets need, so that a configuration that
// could reach nobody is refused.
func checkAlertTargets(p AlertPolicy) error {
	for i, w := range p.Webhooks {
		if _, err := readSecrets(w.SecretFile); err != nil {
			return fmt.Errorf("ingest.alerts.webhooks[%d].secret_file: %w", i, err)
		}
	}
	if p.GitHub.Repository != "" {
		if _, err := readToken(p.GitHub.TokenFile); err != nil {
			return fmt.Errorf("ingest.alerts.github.token_file: %w", err)
		}
	}
	return nil
}

// targetNames are those of the configuration.
func (p AlertPolicy) targetNames() []string {
	var out []string
	for _, w := range p.Webhooks {
		out = append(out, w.Name)
	}
	if p.GitHub.Repository != "" {
		out = append(out, p.GitHub.Repository)
	}
	return out
}

// configure sees to it that each target of the configuration in force has a
// courier, and nobody else.
func (o *outbox) configure() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	names := o.s.cfg().Alerts.targetNames()
	for name, c := range o.couriers {
		if !slices.Contains(names, name) && !c.left {
			c.left = true
			close(c.gone)
		}
	}
	for _, name := range names {
		before := o.couriers[name]
		if before != nil && !before.left {
			before.knock()
			continue
		}
		c := &courier{o: o, to: name, wake: make(chan struct{}, 1), gone: make(chan struct{}), ended: make(chan struct{}), all: true, transport: alertTransport()}
		o.couriers[name] = c
		go c.run(before)
	}
}

// alertTransport reaches a target. Each has its own.
func alertTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		MaxIdleConns: 2, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: 10 * time.Second,
	}
}

// noted has the couriers look at the alerts that entries are of.
func (o *outbox) noted(entries []evidence.AuditEntry) {
	if o == nil {
		return
	}
	for i := range entries {
		switch entries[i].Type {
		case evidence.EntryAlertRaised, evidence.EntryAlertEscalated, evidence.EntryAlertAcked, evidence.EntryAlertResolved, evidence.EntryAlertResend:
			var d struct{ ID string }
			if json.Unmarshal(entries[i].Data, &d) != nil {
				continue // it was applied, so it can be read
			}
			o.mu.Lock()
			for _, c := range o.couriers {
				c.add(d.ID)
			}
			o.mu.Unlock()
		}
	}
}

// close lets attempts under way end until ctx does, or for three seconds. What
// they would have told is told after the next start.
func (o *outbox) close(ctx context.Context) {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.closed = true
	couriers := o.couriers
	o.mu.Unlock()
	close(o.closing)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, o.abandon)
	for _, c := range couriers {
		<-c.ended
	}
	stop()
	o.abandon()
}

// maxErrands is how many alerts a courier has in hand. Where more wait, it
// looks for them when it has none left.
const maxErrands = 1000

// courier brings alerts to one target, one at a time.
type courier struct {
	o         *outbox
	to        string
	wake      chan struct{} // room for one: there is news
	gone      chan struct{} // closed when the target is no longer configured
	left      bool          // gone is closed; guarded by outbox.mu
	ended     chan struct{} // closed when run returns
	transport *http.Transport

	mu   sync.Mutex // guards what follows
	news []string   // alerts
	all  bool       // there may be more than those
}

// errand is an alert of which something is to be told.
type errand struct {
	alert    string
	order    int
	attempts int // at the event that is next
	due      time.Time
}

// add notes an alert that may have something to tell.
func (c *courier) add(alert string) {
	c.mu.Lock()
	if len(c.news) < maxErrands {
		c.news = append(c.news, alert)
	} else {
		c.all = true
	}
	c.mu.Unlock()
	c.knock()
}

func (c *courier) knock() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run brings what there is until the target or the ingest is gone. It begins
// when the one before has ended, so that nothing is brought by two.
func (c *courier) run(before *courier) {
	defer close(c.ended)
	defer c.transport.CloseIdleConnections()
	if before != nil {
		<-before.ended
	}
	errands := map[string]*errand{}
	order := 0
	var quiet time.Time // until when the target wants to hear nothing
	for {
		for _, alert := range c.take(len(errands)) {
			if errands[alert] == nil {
				order++
				errands[alert] = &errand{alert: alert, order: order}
			}
		}
		e := soonest(errands)
		var timer <-chan time.Time
		if e != nil {
			at := e.due
			if quiet.After(at) {
				at = quiet
			}
			timer = time.After(time.Until(at))
		}
		select {
		case <-c.o.closing:
			return
		case <-c.gone:
			return
		case <-c.wake:
			continue
		case <-timer:
		}
		select {
		case <-c.o.closing:
			return
		default:
		}
		more, wait, err := c.bring(e)
		if err != nil {
			c.o.s.log.Error("alerts are no longer told", "to", c.to, "error", err)
			return
		}
		if wait > 0 {
			quiet = time.Now().Add(wait)
		}
		if !more {
			delete(errands, e.alert)
		}
	}
}

// soonest is the errand that is due first.
func soonest(errands map[string]*errand) *errand {
	var out *errand
	for _, e := range errands {
		if out == nil || cmp.Or(e.due.Compare(out.due), cmp.Compare(e.order, out.order)) < 0 {
			out = e
		}
	}
	return out
}

// take gives alerts that may have something to tell, where in hand leaves room
// for them.
func (c *courier) take(inHand int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := max(0, maxErrands-inHand)
	if c.all && inHand == 0 {
		c.news, c.all = c.o.s.st.alertsFor(c.to), false
	}
	out := c.news[:min(room, len(c.news))]
	c.all = c.all || len(out) < len(c.news)
	c.news = nil
	return out
}

// alertsFor lists the alerts of which something is owed to a target, oldest
// first.
func (st *state) alertsFor(to string) []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var found []*AlertRecord
	for _, a := range st.alerts {
		if a.next(to) != nil {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *AlertRecord) int {
		return cmp.Or(a.RaisedAt.Compare(b.RaisedAt), strings.Compare(a.ID, b.ID))
	})
	out := make([]string, len(found))
	for i, a := range found {
		out[i] = a.ID
	}
	return out
}

// owed is the next thing that a target is to be told of an alert.
func (s *Server) owed(alert, to string) (AlertRecord, AlertDelivery, bool) {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	a := s.st.alerts[alert]
	if a == nil {
		return AlertRecord{}, AlertDelivery{}, false
	}
	d := a.next(to)
	if d == nil {
		return AlertRecord{}, AlertDelivery{}, false
	}
	return *a, *d, true
}

// bring makes one attempt at the next event of an alert, and enters how it
// ended where it did. more says that something is left to tell; wait is how long
// the target wants to hear nothing. An error is the ingest's own.
func (c *courier) bring(e *errand) (more bool, wait time.Duration, err error) {
	s := c.o.s
	a, d, ok := s.owed(e.alert, c.to)
	if !ok {
		return false, 0, nil
	}
	m, ok := s.message(a, d.Event)
	if !ok {
		return false, 0, fmt.Errorf("alert %s: %s is to be told, and never happened", clip(a.ID), d.Event)
	}
	policy := s.cfg().Alerts
	ticket, failed := c.attempt(policy, m)
	if c.o.ctx.Err() != nil {
		return true, 0, nil // abandoned: whatever came of it, it will be told again
	}
	e.attempts++
	data := deliveryData{ID: a.ID, To: c.to, Kind: d.Kind, Event: d.Event, Attempts: e.attempts, Ticket: ticket}
	if failed == nil {
		e.attempts = 0
		return true, 0, s.settleDelivery(evidence.EntryAlertDelivered, a.Tenant, data)
	}
	var why *attemptError
	if !errors.As(failed, &why) {
		why = &attemptError{text: failed.Error()}
	}
	text := clipText(strings.ToValidUTF8(why.text, ""), 500)
	if why.final || e.attempts >= policy.Attempts {
		s.log.Error("an alert could not be told", "alert", a.ID, "to", c.to, "event", d.Event, "attempts", e.attempts, "error", text)
		e.attempts, data.Error = 0, text
		return true, why.wait, s.settleDelivery(evidence.EntryAlertUndelivered, a.Tenant, data)
	}
	s.log.Warn("an alert could not be told yet", "alert", a.ID, "to", c.to, "event", d.Event, "attempts", e.attempts, "error", text)
	e.due = time.Now().Add(policy.pause(e.attempts))
	return true, why.wait, nil
}

// pause is how long to wait after so many attempts: doubled with each, and
// half of it by chance, so that many do not come back at once.
func (p AlertPolicy) pause(attempts int) time.Duration {
	d := p.MaxWait
	if shift := attempts - 1; shift < 30 && p.Backoff<<shift < p.MaxWait {
		d = p.Backoff << shift
	}
	return d/2 + rand.N(d/2+1)
}

// attempt makes one attempt at a target, under the configuration of now.
func (c *courier) attempt(p AlertPolicy, m alertMessage) (ticket string, err error) {
	for _, w := range p.Webhooks {
		if w.Name == c.to {
			return "", postWebhook(c.o.ctx, c.transport, w, m, c.o.s.o.Now(), p.Timeout)
		}
	}
	if p.GitHub.Repository == c.to {
		return c.o.s.tellGitHub(c.o.ctx, c.transport, p, m)
	}
	return "", &attemptError{text: "the target is no longer configured"}
}

// settleDelivery enters how a delivery ended, unless it did before.
func (s *Server) settleDelivery(typ, tenant string, d deliveryData) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	s.st.mu.RLock()
	owed := s.st.alerts[d.ID].delivery(d.To, d.Event)
	waits := owed != nil && owed.State == DeliveryWaiting
	s.st.mu.RUnlock()
	if !waits {
		return nil
	}
	_, err := s.record(s.entry(typ, evidence.AuditEntry{Tenant: tenant, Target: d.ID, Data: raw(d)}))
	return err
}
