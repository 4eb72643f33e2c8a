package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// port is the device port. It shakes hands with each client itself and reads
// the one common request, a small batch of telemetry, without net/http, whose
// own work would cost more than all of the ingest's. Everything else it hands
// over to net/http on the same connection, with the bytes that it has read,
// to the connection's end: other paths, HTTP/2, and whatever is not plainly
// that one request. So no request that could be read in two ways is read here.
type port struct {
	s        *Server
	ln       net.Listener // of sessions
	tls      *tls.Config
	handed   *handed
	draining atomic.Bool

	mu   sync.Mutex
	hots map[*hot]struct{} // that are not yet closed or handed over
	none chan struct{}     // closed when a drained port has none any more
}

func newPort(s *Server, ln net.Listener) *port {
	return &port{
		s: s, ln: tracked{ln, s, "public"}, tls: s.sessions.config(s, "public"), hots: map[*hot]struct{}{}, none: make(chan struct{}),
		handed: &handed{addr: ln.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})},
	}
}

// serve takes connections until the listener is closed.
func (p *port) serve() error {
	wait := time.Duration(0)
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			if p.draining.Load() || errors.Is(err, net.ErrClosed) {
				return http.ErrServerClosed
			}
			var temporary interface{ Temporary() bool }
			if !errors.As(err, &temporary) || !temporary.Temporary() {
				return err
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second) // out of file descriptors, say
			p.s.log.Warn("taking a connection failed; trying again", "error", err, "after", wait)
			time.Sleep(wait)
			continue
		}
		wait = 0
		sess, ok := conn.(*session)
		if !ok {
			return errors.New("the device port's listener gave something else than a session")
		}
		h := &hot{s: p.s, conn: tls.Server(sess, p.tls), sess: sess, port: p}
		if !p.enter(h) {
			_ = conn.Close() // it came while the port was closed
			continue
		}
		go p.run(h)
	}
}

func (p *port) enter(h *hot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining.Load() {
		return false
	}
	p.hots[h] = struct{}{}
	return true
}

func (p *port) leave(h *hot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.hots, h)
	if p.draining.Load() && len(p.hots) == 0 {
		p.ended()
	}
}

// ended says that a drained port has nothing in hand. The caller holds p.mu.
func (p *port) ended() {
	select {
	case <-p.none:
	default:
		close(p.none)
	}
}

// run takes one connection from its handshake to its end, or to net/http.
func (p *port) run(h *hot) {
	defer p.leave(h)
	handedOn := false
	defer func() {
		if r := recover(); r != nil {
			p.s.log.Error("answering a request failed", "panic", r, "stack", string(debug.Stack()))
		}
		if !handedOn {
			_ = h.conn.Close() // the client may have closed it before
		}
	}()
	if handedOn = p.takePlain(h); handedOn || !h.shake() {
		return
	}
	if h.conn.ConnectionState().NegotiatedProtocol == "h2" {
		// Idle no more: a drain must not close what net/http reads already.
		handedOn = h.state.CompareAndSwap(hotIdle, hotBusy) && p.handed.take(h.conn)
		return
	}
	if h.serve() {
		handedOn = p.handed.take(newStrict(&begunConn{Conn: h.conn, begun: append([]byte(nil), h.in...)}, p.s.cfg().Limits.HeaderBytes))
	}
}

// shake does the handshake.
func (h *hot) shake() bool {
	until := time.Now().Add(h.s.cfg().Timeouts.Header)
	if h.sess.SetDeadline(until) != nil {
		return false
	}
	if err := h.conn.HandshakeContext(context.Background()); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && plain.RecordHeader[0] >= 'A' && plain.RecordHeader[0] <= 'Z' {
			_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n") // it may be gone
		}
		h.s.log.Debug("TLS handshake failed", "source", h.sess.source, "error", err)
		return false
	}
	return h.sess.SetDeadline(time.Time{}) == nil
}

// drain closes the port: idle connections at once, those with a request in
// hand when that is answered. It returns when all are closed or handed over,
// or when ctx ends.
func (p *port) drain(ctx context.Context) error {
	p.mu.Lock()
	p.draining.Store(true)
	if len(p.hots) == 0 {
		p.ended()
	}
	var idle []*hot
	for h := range p.hots {
		if h.state.CompareAndSwap(hotIdle, hotEnded) {
			idle = append(idle, h)
		}
	}
	p.mu.Unlock()
	err := p.ln.Close()
	for _, h := range idle {
		_ = h.sess.Close() // it waits for nothing but a request
	}
	select {
	case <-p.none:
		return err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		for h := range p.hots {
			_ = h.sess.Close() // what it has in hand is not acknowledged
		}
		return errors.Join(err, ctx.Err())
	}
}

// handed is the listener from which net/http takes the connections that are
// handed over.
type handed struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// take hands conn over, and says whether there was somebody to take it.
func (l *handed) take(conn net.Conn) bool {
	select {
	case l.conns <- conn:
		return true
	case <-l.closed:
		return false
	}
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handed) Addr() net.Addr { return l.addr }

// begunConn is a TLS connection of which some bytes were read before. net/http
// learns from its ConnectionState that it is one.
type begunConn struct {
	*tls.Conn
	begun []byte
}

func (c *begunConn) Read(b []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(b, c.begun)
		if c.begun = c.begun[n:]; len(c.begun) == 0 {
			c.begun = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}
