package ingest

import (
	"sync"
	"time"
)

// A tenant's refusals are answered at most one every refusalEvery, beyond
// refusalBurst of them, and none is kept waiting longer than refusalWait.
const (
	refusalEvery = 2 * time.Millisecond
	refusalBurst = 100
	refusalWait  = time.Second
)

// pacing keeps a tenant that sends on and on what is refused from taking the
// processor from others: a refusal costs a request's reading, so the next
// request of the connection is made to wait. It runs on the process's own
// clock. The zero value is ready.
type pacing struct {
	mu   sync.Mutex
	next time.Time // when a refusal is due after those that were let through
}

// turn says how long to wait at now before a refusal is answered.
func (p *pacing) turn(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if full := now.Add(-refusalBurst * refusalEvery); p.next.Before(full) {
		p.next = full
	}
	if wait := p.next.Sub(now); wait >= refusalWait {
		return refusalWait
	}
	p.next = p.next.Add(refusalEvery)
	return max(0, p.next.Sub(now))
}
