package ingest

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// hot is a connection to the device port while its requests are read without
// net/http. The goroutine that runs serve owns it.
type hot struct {
	s     *Server
	conn  *tls.Conn
	sess  *session
	port  *port
	state atomic.Int32 // hotIdle, hotBusy or hotEnded

	in   []byte  // what was read and not yet answered: a request's bytes stay where they are until its answer is written
	room []byte  // where in lies, of firstRoom bytes while nothing larger is needed
	big  *[]byte // what room is then, to be given back
	out  []byte
	head hotHead
	call call
	to   reply

	cutOff bool  // the body of the request in hand did not come whole
	reads  limit // deadline of reading
	writes limit
}

const (
	hotIdle  int32 = iota // waits for a request: to end now loses nothing
	hotBusy               // has one in hand, which will be answered
	hotEnded              // was told to end while idle
)

// firstRoom is what a connection keeps while it waits.
const firstRoom = 4 << 10

// limit is a deadline that is moved only when it is about to matter, since to
// move one costs more than to read a small request.
type limit struct{ at time.Time }

// arm sees to it that the deadline lies span from now, or up to an eighth of
// span later.
func (l *limit) arm(now time.Time, span time.Duration, set func(time.Time) error) error {
	if left := l.at.Sub(now); left >= span && left <= span+span/8 {
		return nil
	}
	l.at = now.Add(span + span/8)
	return set(l.at)
}

// serve answers request after request. It returns true where net/http has to
// go on, with what is in h.in.
func (h *hot) serve() (handOn bool) {
	for first := true; ; first = false {
		if len(h.in) == 0 && !h.wait(first) {
			return false
		}
		for limited := false; !parseHotHead(h.in, &h.head); limited = true {
			if !unfinished(h.in) {
				return true
			}
			if !limited && !h.readWithin(h.s.cfg().Timeouts.Header) || !h.more(maxHotHead) {
				return false
			}
		}
		if int64(h.head.length) > h.s.cfg().Limits.BodyBytes {
			return true
		}
		if again := h.answer(); !again {
			return false
		}
	}
}

// wait waits for the first bytes of a request. A connection that is to end, or
// that waited too long, gives false.
func (h *hot) wait(first bool) bool {
	h.settle()
	h.state.Store(hotIdle)
	if h.port.draining.Load() {
		return false
	}
	span := h.s.cfg().Timeouts.Idle
	if first {
		span = h.s.cfg().Timeouts.Header
	}
	if h.reads.arm(time.Now(), span, h.sess.SetReadDeadline) != nil {
		return false
	}
	return h.more(0) && h.state.CompareAndSwap(hotIdle, hotBusy)
}

// readWithin gives reading span from now.
func (h *hot) readWithin(span time.Duration) bool {
	h.reads.at = time.Now().Add(span)
	return h.sess.SetReadDeadline(h.reads.at) == nil
}

// more reads what comes next, with room for a request of want bytes. What came
// counts, though the connection has ended behind it.
func (h *hot) more(want int) bool {
	if len(h.in) == cap(h.in) {
		h.grow(want)
	}
	n, _ := h.conn.Read(h.in[len(h.in):cap(h.in)])
	h.in = h.in[:len(h.in)+n]
	return n > 0
}

// settle gives back room beyond what an idle connection keeps.
func (h *hot) settle() {
	if h.big != nil {
		h.s.pieces.Put(h.big)
		h.big, h.room = nil, nil
	}
	if cap(h.room) != firstRoom {
		h.room = make([]byte, 0, firstRoom)
	}
	if cap(h.out) > firstRoom {
		h.out = nil
	}
	h.in = h.room[:0]
}

// answer judges the request whose head was read, and writes the answer.
func (h *hot) answer() (again bool) {
	b := h.judge()
	whole := len(h.in) >= h.head.size+h.head.length
	if !h.to.close && !whole {
		if whole = h.fill(); !whole {
			h.to.close = true // what follows is no request
		}
	}
	if h.port.draining.Load() {
		h.to.close = true
	}
	now := time.Now()
	h.out = h.to.appendTo(h.out[:0], &h.call, h.s.date(now))
	err := h.writes.arm(now, h.s.cfg().Timeouts.Answer, h.sess.SetWriteDeadline)
	if err == nil {
		_, err = h.conn.Write(h.out)
	}
	if b != nil {
		b.release()
	}
	if err != nil {
		return false // a client that is gone asks again, and finds its events known
	}
	if h.to.close {
		if !whole || len(h.in) > h.head.size+h.head.length {
			h.linger()
		}
		return false
	}
	h.in = h.in[h.head.size+h.head.length:]
	return true
}

// judge takes what the request brings, and makes the answer.
func (h *hot) judge() *batch {
	h.s.enter(&h.call, h.sess, "/v1/telemetry")
	c := &h.call
	c.method, c.media, c.coding, c.all, c.body = http.MethodPost, h.head.media, h.head.coding, h.head.all, h
	if h.head.bearer != "" {
		c.bearer.text = h.head.bearer
	}
	h.to, h.cutOff = reply{}, false
	return h.s.receive(c, &h.to)
}

// text gives the body: as it lies in memory, where it is not compressed.
func (h *hot) text(s *Server, c *call) (string, *Problem) {
	if !h.fill() {
		return "", bodyProblem(io.ErrUnexpectedEOF, 0)
	}
	body := h.in[h.head.size : h.head.size+h.head.length]
	if !c.packed() {
		return textOver(body), nil
	}
	return s.unpack(c, bytes.NewReader(body), int64(len(body)))
}

// fill reads until the whole body is there.
func (h *hot) fill() bool {
	want := h.head.size + h.head.length
	if len(h.in) >= want {
		return true
	}
	timeouts := h.s.cfg().Timeouts
	if h.cutOff || !h.readWithin(timeouts.Header+timeouts.Body) {
		return false
	}
	for len(h.in) < want {
		if h.cutOff = !h.more(want); h.cutOff {
			return false
		}
	}
	return true
}

// grow makes room for a request of want bytes, of which h.in has come. It grows
// with what came and not with what was announced.
func (h *hot) grow(want int) {
	// The head's texts lie in what h.in was, which is used anew from here on.
	// Once the body is read only the coding is asked for.
	h.call.coding, h.call.media = codingName(h.call.coding), ""
	before, old := h.big, h.in
	switch {
	case want <= cap(h.room): // what stands before old is answered
		h.in = h.room[:copy(h.room[:cap(h.room)], old)]
		return
	case want <= pieceBytes:
		h.big = h.s.piece()
		h.room = (*h.big)[:0]
	default:
		h.big, h.room = nil, make([]byte, 0, min(want, 4*max(len(old), firstRoom)))
	}
	h.in = append(h.room, old...)
	if before != nil {
		h.s.pieces.Put(before)
	}
}

// codingName is the name of a coding that is known, in bytes of its own.
func codingName(name string) string {
	for _, known := range []string{"gzip", "zstd"} {
		if name == known {
			return known
		}
	}
	return ""
}

// linger lets the answer arrive before the connection is closed, though bytes
// of the client's may be on their way: closing at once could destroy it.
func (h *hot) linger() {
	if h.conn.CloseWrite() != nil {
		return
	}
	const span = 500 * time.Millisecond
	if h.sess.SetReadDeadline(time.Now().Add(span)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(h.conn, maxHotBody)) // whatever it is, it is not wanted any more
	}
}
