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
// second are counted into one entry, so that a flood cannot fill the log.
type refusals struct {
	s  *Server
	mu sync.Mutex
	// kinds seen in the last span, with what has been counted since their last entry
	kinds map[refusalKey]*counted
}

type counted struct {
	first    refused
	since    time.Time // when its last entry was made
	from, to time.Time // of those counted
	count    int64
	events   int64
	durable  chan struct{} // closed when the entry of first is durable, or failed to be
}

func newRefusals(s *Server) *refusals {
	return &refusals{s: s, kinds: map[refusalKey]*counted{}}
}

// add enters or counts r. The error says that it could not be made durable.
func (rs *refusals) add(r refused) error {
	r.path, r.detail, r.claimed, r.device = clip(r.path), clip(r.detail), clip(r.claimed), clip(r.device)
	key := refusalKey{r.code, r.tenant, r.device, r.claimed, r.path, r.fingerprint, r.source, ""}
	rs.s.metrics.refused(r.code)
	rs.mu.Lock()
	now := rs.s.now()
	c := rs.kinds[key]
	if c == nil && len(rs.kinds) >= refusalKeys {
		key = refusalKey{code: r.code, tenant: r.tenant, what: "many"}
		r = refused{code: r.code, tenant: r.tenant, events: r.events, detail: "many kinds at once, counted together"}
		c = rs.kinds[key]
	}
	if c != nil && now.Sub(c.since) < refusalSpan {
		if c.count == 0 {
			c.from = now
		}
		c.to, c.count, c.events = now, c.count+1, c.events+r.events
		first := c.durable
		rs.mu.Unlock()
		<-first // nothing is answered before the entry that stands for it
		return rs.s.durable()
	}
	var entries []evidence.AuditEntry
	if c != nil && c.count > 0 {
		entries = append(entries, rs.entryOf(c))
	}
	mine := &counted{first: r, since: now, durable: make(chan struct{})}
	rs.kinds[key] = mine
	entries = append(entries, rs.s.refusalEntry(r, now, now, 1, r.events))
	rs.mu.Unlock()
	defer close(mine.durable)
	_, err := rs.s.record(entries...)
	return err
}

// flush enters what was counted: all of it, or what is a span old.
func (rs *refusals) flush(all bool) error {
	rs.mu.Lock()
	now := rs.s.now()
	var entries []evidence.AuditEntry
	for key, c := range rs.kinds {
		switch {
		case !all && now.Sub(c.since) < refusalSpan:
		case c.count > 0:
			entries = append(entries, rs.entryOf(c))
			*c = counted{first: c.first, since: now, durable: c.durable}
		case now.Sub(c.since) >= refusalSpan:
			delete(rs.kinds, key)
		}
	}
	rs.mu.Unlock()
	_, err := rs.s.record(entries...)
	return err
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
