package ingest

import (
	"sync"
	"sync/atomic"
	"time"
)

// longest keeps the longest of many waits, for next to nothing each. The zero
// value is ready.
type longest struct {
	most atomic.Int64 // nanoseconds, so that all others need no lock

	mu    sync.Mutex // guards what follows
	began time.Time
	took  time.Duration
}

// add notes a wait that ends now.
func (l *longest) add(began time.Time) {
	took := time.Since(began)
	if int64(took) <= l.most.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if took > l.took {
		l.began, l.took = began, took
		l.most.Store(int64(took))
	}
}

// reset gives the longest since it was last called.
func (l *longest) reset() (began time.Time, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began, took = l.began, l.took
	l.began, l.took = time.Time{}, 0
	l.most.Store(0)
	return began, took
}

// LongestAppend says how long the longest append took that ended since it was
// last called, from when it was handed to the ledger to when it was known to be
// durable, and when it began; zeros where there was none.
func (s *Server) LongestAppend() (began time.Time, took time.Duration) { return s.appends.reset() }
