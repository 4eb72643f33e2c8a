package drill

import (
	"fmt"
	"sync"
	"time"
)

// What one run of drills may cost the ingest that it attacks, whatever the
// drills are and however the ingest is set. A drill for which nothing is left
// is not-available.
const (
	runRequests  = 10_000           // requests
	runBytes     = 256 << 20        // bytes of requests
	runPerSecond = 500              // requests a second
	runRate      = 32 << 20         // bytes a second
	runTime      = 10 * time.Minute // from the first drill to the last
)

// budget counts what a run sends, and holds back what comes too fast.
type budget struct {
	now   func() time.Time
	sleep func(time.Duration)

	mu              sync.Mutex
	requests, bytes int64
	next            time.Time // when the next request may begin
}

func newBudget() *budget { return &budget{now: time.Now, sleep: time.Sleep} }

// spend waits until a request of so many bytes may be sent.
func (b *budget) spend(bytes int) error {
	b.mu.Lock()
	switch {
	case b.requests+1 > runRequests:
		b.mu.Unlock()
		return fmt.Errorf("a run of drills sends no more than %d requests", runRequests)
	case b.bytes+int64(bytes) > runBytes:
		b.mu.Unlock()
		return fmt.Errorf("a run of drills sends no more than %d bytes", runBytes)
	}
	b.requests, b.bytes = b.requests+1, b.bytes+int64(bytes)
	now := b.now()
	if b.next.Before(now) {
		b.next = now
	}
	wait := b.next.Sub(now)
	b.next = b.next.Add(max(time.Second/runPerSecond, time.Duration(float64(bytes)/runRate*float64(time.Second))))
	b.mu.Unlock()
	if wait > 0 {
		b.sleep(wait)
	}
	return nil
}
