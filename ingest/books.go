package ingest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"trustpack/evidence"
)

// counts are lines of one request, or of more.
type counts struct {
	received, accepted, duplicate, deadLettered, refused int64

	replayed int64 // of those received
}

// balanced reports whether every line that came is accounted for.
func (n counts) balanced() bool {
	return n.received == n.accepted+n.duplicate+n.deadLettered+n.refused
}

// beforeChange lets a capture under way have what is about to change. The
// caller holds t.mu, or is alone.
func (t *tenant) beforeChange() {
	if k := t.st.capturing.Load(); k != nil {
		k.tenant(t)
	}
}

// count enters n in the books of the day. The caller holds t.mu, or is alone.
func (t *tenant) count(received time.Time, n counts) {
	t.beforeChange()
	b := t.booksOf(received)
	b.Received += n.received
	b.Accepted += n.accepted
	b.Duplicate += n.duplicate
	b.DeadLettered += n.deadLettered
	b.Refused += n.refused
	b.Replayed += n.replayed
}

// booksOf gives the books of a moment's day.
func (t *tenant) booksOf(at time.Time) *evidence.Books {
	n := at.Unix() / 86400
	if t.lastBooks != nil && n == t.lastDay && n > 0 {
		return t.lastBooks
	}
	key := at.UTC().Format(time.DateOnly)
	b := t.books[key]
	if b == nil {
		b = &evidence.Books{Tenant: t.ID, Day: key}
		t.books[key] = b
	}
	t.lastDay, t.lastBooks = n, b
	return b
}

// listBooks gives the books from day to day, both included where given.
func (t *tenant) listBooks(from, to string) []evidence.Books {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []evidence.Books{}
	for _, key := range slices.Sorted(maps.Keys(t.books)) {
		if (from == "" || key >= from) && (to == "" || key <= to) {
			out = append(out, *t.books[key])
		}
	}
	return out
}

// closeBooks enters the books of each finished day that has any, once. Events
// are stamped under the tenant's gate, which is held here, and the clock never
// runs back, so nothing is entered in a day after it was closed.
func (s *Server) closeBooks(now time.Time) error {
	today := now.UTC().Format(time.DateOnly)
	for _, t := range s.st.sortedTenants() {
		if err := s.closeTenantBooks(t, today); err != nil {
			return fmt.Errorf("closing the books of %s: %w", t.ID, err)
		}
	}
	return nil
}

func (s *Server) closeTenantBooks(t *tenant, today string) error {
	if !t.hasOpenDay(today) {
		return nil
	}
	if err := s.refusals.settle(); err != nil { // what was counted of that day stands in its books
		return err
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	t.gate.Lock()
	defer t.gate.Unlock()
	var entries []evidence.AuditEntry
	for _, b := range t.listBooks("", "") {
		if b.Day >= today || t.closed[b.Day] {
			continue
		}
		if b.Received != b.Accepted+b.Duplicate+b.DeadLettered+b.Refused {
			return fmt.Errorf("the books of %s do not balance: %+v", b.Day, b)
		}
		entries = append(entries, s.entry(evidence.EntryBooksClosed, evidence.AuditEntry{Tenant: t.ID, Target: b.Day, Data: raw(b)}))
	}
	_, err := s.record(entries...)
	return err
}

func (t *tenant) hasOpenDay(today string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.books {
		if key < today && !t.closed[key] {
			return true
		}
	}
	return false
}
