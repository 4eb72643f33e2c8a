package ingest

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// inHand counts what net/http has in hand that may change something. Its own
// Shutdown closes a connection that it holds for idle, and there are moments in
// which it holds for idle one whose request it has just read, or, over HTTP/2,
// one whose answer it has not yet sent. So a drain first lets no request begin
// and waits for those that did.
type inHand struct {
	mu       sync.Mutex
	n        int
	draining bool
	none     chan struct{} // closed when a drain finds or leaves nothing
	last     time.Time     // when a request over HTTP/2 ended last
}

func newInHand() *inHand { return &inHand{none: make(chan struct{})} }

// begin says whether a request may go on; if so, end must follow.
func (h *inHand) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return false
	}
	h.n++
	return true
}

func (h *inHand) end(r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.ProtoMajor == 2 {
		h.last = time.Now()
	}
	if h.n--; h.n == 0 && h.draining {
		close(h.none)
	}
}

// lastAnswers is the time in which net/http sends what handlers have written
// over HTTP/2, of which it tells nobody.
const lastAnswers = 250 * time.Millisecond

// drain lets nothing begin from here on, and returns when all is answered or
// ctx ends. It waits for no answer's way once gone is closed, as it is when no
// connection is open. It is called once.
func (h *inHand) drain(ctx context.Context, gone <-chan struct{}) error {
	h.mu.Lock()
	h.draining = true
	if h.n == 0 {
		close(h.none)
	}
	h.mu.Unlock()
	select {
	case <-h.none:
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	wait := time.Until(h.last.Add(lastAnswers))
	h.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-gone:
	case <-ctx.Done():
	}
	return nil
}

// counted is h, but for requests that would begin during a drain.
func (s *Server) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			h.ServeHTTP(w, r)
			return
		}
		if !s.inHand.begin() {
			w.Header().Set("Connection", "close")
			s.answer(w, s.begin(w, r), problem(CodeDraining, ""))
			return
		}
		defer s.inHand.end(r)
		h.ServeHTTP(w, r)
	})
}
