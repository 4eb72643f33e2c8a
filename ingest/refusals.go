package ingest

import (
	"sync"
	"time"

	"trustpack/evidence"
)

// refused is one request, handshake or line that was turned away.
type refused struct {
	code        Code
	status      int // 0: as the table of problems has it
	tenant      string
	device      string
	generation  int
	claimed     string
	path        string
	fingerprint string
	source      string
	detail      string
	requestID   string
	events      int64
}

func (r *refused) of(d *device) {
	r.tenant, r.device, r.generation = d.key.tenant, d.key.id, d.key.generation
}

// refusalKey is what makes two refusals alike.
type refusalKey struct {
	code                            Code
	tenant, device, claimed         string
	path, fingerprint, source, what string
}

const (
	refusalSpan = time.Second
	refusalKeys = 256 // kinds told apart within a span; more are counted by code and tenant
)

// refusals enters what was turned away in the control log: the first of a kind
// at once, durable before it is answered; those like it that follow within a
// second are counted into one entry, so that a flood cannot fill the log. What
// is in the books is never only counted: where events were refused, the answer
// waits for the entry that counts them, of which there are at most twenty a
// second of a kind.
type refusals struct {
	s  *Server
	mu sync.Mutex
	// kinds seen in the last span, with what has been counted since their last entry
	kinds map[refusalKey]*counted

	// recording is held for reading from the stamping of an entry until it is
	// in the books; whoever has held it for writing knows of none before.
	recording sync.RWMutex
}

type counted struct {
	first    refused
	since    time.Time // when its last entry was made
	from, to time.Time // of those counted
	count    int64
	events   int64
	entered  *pledge // the entry of first
	next     *pledge // the entry of those counted, where somebody waits for it
}

// pledge is an entry that is to come.
type pledge struct {
	done chan struct{}
	err  error // once done is closed: why it did not
}

func newPledge() *pledge { return &pledge{done: make(chan struct{})} }

func (p *pledge) wait() error {
	<-p.done
	return p.err
}

// refusalPace is how long events that were refused wait for others like them.
const refusalPace = 50 * time.Millisecond

func newRefusals(s *Server) *refusals {
	return &refusals{s: s, kinds: map[refusalKey]*counted{}}
}

// add enters or counts r. The error says that it could not be made durable.
func (rs *refusals) add(r refused) error {
	if off(guardRefusals) {
		return nil
	}
	r.path, r.detail, r.claimed, r.device = clip(r.path), clip(r.detail), clip(r.claimed), clip(r.device)
	rs.s.metrics.refused(r.code)
	rs.recording.RLock()
	rs.mu.Lock()
	key, c, now := refusalKey{r.code, r.tenant, r.device, r.claimed, r.path, r.fingerprint, r.source, ""}, (*counted)(nil), rs.s.now()
	if c = rs.kinds[key]; c == nil && len(rs.kinds) >= refusalKeys {
		key = refusalKey{code: r.code, tenant: r.tenant, what: "many"}
		r = refused{code: r.code, tenant: r.tenant, events: r.events, detail: "many kinds at once, counted together"}
		c = rs.kinds[key]
	}
	if c != nil && now.Sub(c.since) < refusalSpan && (c.count == 0 || sameDay(c.from, now)) {
		entry, lead := c.add(now, r.events)
		rs.mu.Unlock()
		rs.recording.RUnlock()
		return rs.await(c, entry, lead)
	}
	var entries []evidence.AuditEntry
	mine := &counted{first: r, since: now, entered: newPledge()}
	pledges := []*pledge{mine.entered}
	if c != nil && c.count > 0 {
		entries = append(entries, rs.entryOf(c))
		pledges = append(pledges, c.next)
	}
	rs.kinds[key] = mine
	entries = append(entries, rs.s.refusalEntry(r, now, now, 1, r.events))
	rs.mu.Unlock()
	defer rs.recording.RUnlock()
	rs.s.log.Info("refused", "request_id", r.requestID, "code", r.code, "tenant", r.tenant, "device", r.device, "path", r.path, "source", r.source)
	return rs.enter(entries, pledges)
}

// add counts one more, and gives the entry that it waits for; lead says that
// it is the first to wait for that, and sees to it.
func (c *counted) add(now time.Time, events int64) (entry *pledge, lead bool) {
	if c.count == 0 {
		c.from = now
	}
	c.to, c.count, c.events = now, c.count+1, c.events+events
	if events == 0 {
		return c.entered, false // nothing is answered before the entry that stands for it
	}
	if lead = c.next == nil; lead {
		c.next = newPledge()
	}
	return c.next, lead
}

// await waits for the entry.
func (rs *refusals) await(c *counted, entry *pledge, lead bool) error {
	if lead {
		select {
		case <-entry.done:
		case <-time.After(refusalPace):
			_ = rs.flushSome(func(o *counted) bool { return o == c }) // the entry says what came of it
		}
	}
	if err := entry.wait(); err != nil {
		return err
	}
	return rs.s.durable()
}

func sameDay(a, b time.Time) bool {
	return a.UTC().Format(time.DateOnly) == b.UTC().Format(time.DateOnly)
}

// enter makes the entries durable and keeps the pledges.
func (rs *refusals) enter(entries []evidence.AuditEntry, pledges []*pledge) error {
	_, err := rs.s.record(entries...)
	for _, p := range pledges {
		if p != nil {
			p.err = err
			close(p.done)
		}
	}
	return err
}

// flush enters what was counted: all of it, or what is a span old.
func (rs *refusals) flush(all bool) error {
	return rs.flushSome(func(c *counted) bool { return all || rs.s.now().Sub(c.since) >= refusalSpan })
}

// settle enters all that was counted, and waits for what is being entered: all
// that is stamped before it is then in the books.
func (rs *refusals) settle() error {
	if err := rs.flush(true); err != nil {
		return err
	}
	rs.recording.Lock()
	defer rs.recording.Unlock()
	return rs.s.durable()
}

func (rs *refusals) flushSome(which func(*counted) bool) error {
	rs.recording.RLock()
	defer rs.recording.RUnlock()
	rs.mu.Lock()
	now := rs.s.now()
	var entries []evidence.AuditEntry
	var pledges []*pledge
	for key, c := range rs.kinds {
		switch {
		case !which(c):
		case c.count > 0:
			entries, pledges = append(entries, rs.entryOf(c)), append(pledges, c.next)
			*c = counted{first: c.first, since: now, entered: c.entered}
		case now.Sub(c.since) >= refusalSpan:
			delete(rs.kinds, key)
		}
	}
	rs.mu.Unlock()
	return rs.enter(entries, pledges)
}

func (rs *refusals) entryOf(c *counted) evidence.AuditEntry {
	r := c.first
	r.requestID = "" // it names the first alone
	return rs.s.refusalEntry(r, c.from, c.to, c.count, c.events)
}

func (s *Server) refusalEntry(r refused, first, last time.Time, count, events int64) evidence.AuditEntry {
	status := r.status
	if status == 0 {
		status = problem(r.code, "").Status
	}
	return s.entry(evidence.EntryRefusal, evidence.AuditEntry{
		RequestID: r.requestID, Tenant: r.tenant, Device: r.device, Generation: r.generation, Result: "refused",
		Data: raw(evidence.Refusal{
			Code: string(r.code), Status: status, Count: count, First: first, Last: last, ClaimedTenant: r.claimed,
			Path: r.path, Fingerprint: r.fingerprint, Source: r.source, Detail: r.detail, Events: events,
		}),
	})
}
