package ingest

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// acts are the calls of the admin API under way.
type acts struct {
	mu  sync.Mutex
	now map[*adminCall]struct{}
}

func (ac *acts) enter(a *adminCall) {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if ac.now == nil {
		ac.now = map[*adminCall]struct{}{}
	}
	ac.now[a] = struct{}{}
}

func (ac *acts) leave(a *adminCall) {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	delete(ac.now, a)
}

// under notes under which grant or break-glass a acts, and when that ends.
func (ac *acts) under(a *adminCall, grant string, until time.Time) {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	a.grant = grant
	if a.until.IsZero() || until.Before(a.until) { // it may be a session's, which ends earlier
		a.until = until
	}
}

// cut closes the connections of the calls of which which holds, and says of
// how many. which is asked while nothing else can change a call's grant.
func (ac *acts) cut(which func(*adminCall) bool) int {
	ac.mu.Lock()
	var found []*session
	for a := range ac.now {
		if which(a) {
			found = append(found, a.sess)
		}
	}
	ac.mu.Unlock()
	for _, c := range found {
		if c == nil {
			continue
		}
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // what is queued for a cut connection shall not leave; closing follows in any case
		}
		_ = c.Close() // it may have been closed by the other side
	}
	return len(found)
}

// deliver copies to the client for as long as the call may go on. What is cut
// off then ends in an error for the client, which knows how long it had to be.
func (a *adminCall) deliver(from io.Reader) {
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		if a.over() {
			panic(http.ErrAbortHandler)
		}
		if n > 0 {
			if _, werr := a.w.Write(piece[:n]); werr != nil {
				return // a client that is gone has got what came before; the entry stands for the whole
			}
		}
		if err != nil {
			return
		}
	}
}
