package ingest

import (
	"container/list"
	"fmt"
)

// crowd is the open connections of one port.
type crowd struct {
	open    int
	unknown list.List // of *session: those that have not proven a credential, oldest first
}

// enter takes a connection in, unless the port is full. Those without a proven
// credential can be anybody's, so they are bounded apart, and where there are
// too many the oldest makes room: a handshake and a request take milliseconds,
// so whoever hangs on without an end to them leaves before who comes anew.
func (ss *sessions) enter(c *session, limits *Limits) (ok bool, leaves *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	p := ss.ports[c.listener]
	if p == nil {
		p = &crowd{}
		ss.ports[c.listener] = p
	}
	if p.open >= limits.Connections {
		return false, nil
	}
	if p.unknown.Len() >= limits.UnknownConnections {
		leaves, _ = p.unknown.Remove(p.unknown.Front()).(*session)
		leaves.place = nil
	}
	p.open++
	c.place = p.unknown.PushBack(c)
	ss.all[c] = struct{}{}
	return true, leaves
}

// known takes the connection out of those that make room. The caller holds ss.mu.
func (ss *sessions) known(c *session) {
	if c.place != nil {
		ss.ports[c.listener].unknown.Remove(c.place)
		c.place = nil
	}
}

// admitted counts a new connection in, or closes it; false says that it was
// closed. What is closed here stands in the log under the port and not under
// its source, so that a flood from many is still one entry a second.
func (c *session) admitted() bool {
	limits := &c.s.cfg().Limits
	ok, leaves := c.s.sessions.enter(c, limits)
	switch {
	case !ok:
		c.portFull(fmt.Sprintf("%d connections are open, the first closed came from %s", limits.Connections, c.source))
		_ = c.Conn.Close() // it was never taken in
	case leaves != nil:
		c.portFull(fmt.Sprintf("%d connections had proven no credential, the first closed came from %s", limits.UnknownConnections, leaves.source))
		_ = leaves.Close() // it may have been closed by the other side
	}
	return ok
}

func (c *session) portFull(detail string) {
	if err := c.s.refusals.add(refused{code: CodePortFull, path: c.listener, detail: detail}); err != nil {
		c.s.log.Error("a connection was closed and that is not in the log", "error", err)
	}
}

// open is how many connections the port holds.
func (ss *sessions) open(listener string) int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if p := ss.ports[listener]; p != nil {
		return p.open
	}
	return 0
}

// vouch keeps a connection that brought a good token from making room for
// others: who it is has been proven, if not by a certificate.
func (ss *sessions) vouch(c *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.known(c)
}
