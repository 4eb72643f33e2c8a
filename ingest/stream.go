package ingest

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// A stream is one kept request, POST /v1/stream, whose body is events as
// NDJSON, for as long as both sides like, and whose answer is NDJSON too: a
// StreamOpen, a StreamReceipt for each event in the order in which they came,
// each after its event is durable, and a StreamEnd. A sender need not wait for
// one receipt before it sends the next event; as many as fit streamRoom may be
// under way. The ingest takes what has come meanwhile as one batch, under the
// same checks as any: so a stream is for gateways whose events come one by one.

// StreamOpen is the first line of the answer.
type StreamOpen struct {
	Log    string `json:"log"` // origin of the tenant's log
	Tenant string `json:"tenant"`
}

// StreamReceipt is what became of one event. One that was refused for its
// rate may be sent again, after as many seconds as RetryAfter says.
type StreamReceipt struct {
	Line       int64  `json:"line"`   // from 1; blank lines are none
	Status     string `json:"status"` // as in LineReceipt
	Index      *int64 `json:"index,omitempty"`
	Code       Code   `json:"code,omitempty"`
	Detail     string `json:"detail,omitempty"`
	RetryAfter int    `json:"retry_after,omitempty"`
}

// StreamEnd is the last line of the answer, unless the connection breaks: then
// what has no receipt may or may not have been taken, and is sent again. Lines
// beyond those that it counts were not taken.
type StreamEnd struct {
	End          string   `json:"end"` // "done": the body has ended; "draining", "idle": come again; "problem"
	Lines        int64    `json:"lines"`
	Accepted     int64    `json:"accepted"`
	Duplicate    int64    `json:"duplicate"`
	DeadLettered int64    `json:"dead_lettered"`
	Refused      int64    `json:"refused"`
	Problem      *Problem `json:"problem,omitempty"`
}

const (
	streamDone     = "done"
	streamDraining = "draining"
	streamIdle     = "idle"
	streamProblem  = "problem"
)

// maxStreamGroup is how many events of a stream go into the log together.
const maxStreamGroup = 2048

// stream is one under way. The goroutine that serves it owns it.
type stream struct {
	s    *Server
	c    *call
	w    http.ResponseWriter
	rc   *http.ResponseController
	in   *streamIn
	out  []byte
	end  StreamEnd
	gone bool // the client does not read
}

// stream answers POST /v1/stream.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	c := s.begin(w, r)
	c.ask(w, r)
	st := &stream{s: s, c: c, w: w, rc: http.NewResponseController(w), in: newStreamIn()}
	if p := st.admit(w); p != nil {
		to := reply{close: true} // else the answer would wait for the end of a body that may have none
		s.refuse(c, p, &to)
		to.write(w)
		return
	}
	defer c.sess.streaming.Store(false)
	if err := st.rc.EnableFullDuplex(); err != nil {
		s.answer(w, c, s.failure(err))
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		st.in.read(r.Body, st.rc.SetReadDeadline, s.cfg().Timeouts.Idle)
	}()
	defer func() {
		st.in.stop(st.rc.SetReadDeadline)
		<-ended
	}()
	st.run()
}

// admit makes the checks of a request that come before its events.
func (st *stream) admit(w http.ResponseWriter) *Problem {
	c, s := st.c, st.s
	if p := s.identify(c); p != nil {
		return p
	}
	if c.method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return problem(CodeMethod, "use POST")
	}
	if p := c.claims(); p != nil {
		return p
	}
	if array, p := c.mediaOf(); p != nil || array || c.coding != "" && c.coding != "identity" {
		return problem(CodeMediaUnsupported, "a stream is application/x-ndjson without Content-Encoding")
	}
	if s.closing.Load() {
		return problem(CodeDraining, "")
	}
	if err := s.durable(); err != nil {
		return lostProblem(err)
	}
	if c.sess.streaming.Swap(true) {
		return problem(CodeConflict, "the connection carries a stream already")
	}
	return nil
}

// run takes events and gives receipts to the stream's end.
func (st *stream) run() {
	h := st.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	st.w.WriteHeader(http.StatusOK)
	st.out = append(raw(StreamOpen{st.s.led.Origin(st.c.d.key.tenant), st.c.d.key.tenant}), '\n')
	st.flush()
	var p *Problem
	for p == nil && !st.gone {
		text, err := st.in.next(st.s.drains)
		for p == nil && !st.gone && text != "" {
			text, p = st.group(text)
		}
		if p != nil {
			break
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			st.end.End = streamDone
		case errors.Is(err, errDraining):
			st.end.End = streamDraining
		case errors.Is(err, os.ErrDeadlineExceeded):
			st.end.End = streamIdle
		case errors.As(err, &p):
			p = st.refuseAll(0, p, true)
			continue
		default:
			return // the client has gone
		}
		break
	}
	if p != nil {
		st.end.End, st.end.Problem = streamProblem, p
	}
	st.out = append(append(st.out, raw(st.end)...), '\n')
	st.flush()
}

// flush sends what was written. A client that does not read is cut off.
func (st *stream) flush() {
	if st.gone {
		return
	}
	err := st.rc.SetWriteDeadline(time.Now().Add(st.s.cfg().Timeouts.Answer))
	if err == nil {
		_, err = st.w.Write(st.out)
	}
	if err == nil {
		err = st.rc.Flush()
	}
	if err == nil {
		err = st.rc.SetWriteDeadline(time.Time{})
	}
	st.gone = err != nil
	if st.out = st.out[:0]; cap(st.out) > maxKeptBatch {
		st.out = nil
	}
}

// group takes the first events of text and gives the rest. The problem is one
// that ends the stream.
func (st *stream) group(text string) (rest string, p *Problem) {
	s, c := st.s, st.c
	c.set, c.n = s.set.Load(), 0
	b := s.batch(c)
	defer b.release()
	b.texts, rest = firstLines(b.texts, text, min(maxStreamGroup, c.set.Limits.Lines))
	b.size = len(text) - len(rest)
	n := len(b.texts)
	if n == 0 {
		return rest, nil
	}
	if p = s.identify(c); p != nil {
		return rest, st.refuseAll(n, p, true)
	}
	over := st.throttle(b)
	if len(b.texts) > 0 {
		if p = s.scan(c, b); p == nil {
			p = st.take(b)
		}
		if p != nil {
			return rest, st.refuseAll(n, p, true)
		}
		st.receipts(b)
	}
	if over != nil {
		if p = st.refuseAll(n-len(b.texts), over, false); p != nil {
			return rest, p
		}
	}
	st.flush()
	return rest, nil
}

// throttle leaves in the batch as many events as the rates let in, and says
// why not all.
func (st *stream) throttle(b *batch) *Problem {
	c, now := st.c, st.s.now()
	n := len(b.texts)
	k, retry := c.d.rate.takeSome(now, n, c.set.Rates.Device)
	code, name, rate := CodeRateDevice, "device", c.set.Rates.Device
	if k > 0 {
		t, wait := c.t.rate.takeSome(now, k, c.set.Rates.Tenant)
		if t < k {
			c.d.rate.give(k-t, c.set.Rates.Device)
			k, retry, code, name, rate = t, wait, CodeRateTenant, "tenant", c.set.Rates.Tenant
		}
	}
	if k == n {
		return nil
	}
	clear(b.texts[k:])
	b.texts = b.texts[:k]
	var unused reply
	return c.overRate(&unused, code, name, rate, retry, n-k)
}

// take makes the batch's events durable.
func (st *stream) take(b *batch) *Problem {
	s, c := st.s, st.c
	if err := s.durable(); err != nil {
		return lostProblem(err)
	}
	if err := s.noteContact(c); err != nil {
		return s.failure(err)
	}
	b.by(c)
	if err := s.take(b); err != nil {
		return s.failure(err)
	}
	if err := s.recordRefusedLines(c, b); err != nil {
		return s.failure(err)
	}
	return nil
}

// refuseAll records that n events were refused, durably, and writes their
// receipts. Where that is the stream's end, or cannot be made durable, it
// gives the problem with which it ends.
func (st *stream) refuseAll(n int, p *Problem, ends bool) *Problem {
	if p.Status < 500 {
		st.c.n = int64(n)
		if err := st.s.refusals.add(st.c.refused(p)); err != nil {
			p, ends = st.s.failure(err), true
		}
	}
	if p.Status >= 500 {
		return p // nothing is said of events of which nothing is known
	}
	for range n {
		st.end.Lines++
		st.end.Refused++
		st.line(lineRefused, -1, p.Code, p.Detail, p.retryAfter)
	}
	if !ends {
		return nil
	}
	return p
}

// receipts writes those of a batch that is durable.
func (st *stream) receipts(b *batch) {
	index := b.first
	for i := range b.lines {
		l, at := &b.lines[i], int64(-1)
		switch l.Status {
		case lineAccepted, lineDeadLettered:
			at = index // entries stand in the order of their lines
			index++
		default:
			if l.Index != nil {
				at = *l.Index
			}
		}
		st.end.Lines++
		st.line(l.Status, at, l.Code, l.Detail, 0)
	}
	st.end.Accepted += b.n.accepted
	st.end.Duplicate += b.n.duplicate
	st.end.DeadLettered += b.n.deadLettered
	st.end.Refused += b.n.refused
}

// line writes one receipt, as StreamReceipt encodes.
func (st *stream) line(status string, index int64, code Code, detail string, retryAfter int) {
	b := append(st.out, `{"line":`...)
	b = strconv.AppendInt(b, st.end.Lines, 10)
	b = append(append(append(b, `,"status":"`...), status...), '"')
	if index >= 0 {
		b = strconv.AppendInt(append(b, `,"index":`...), index, 10)
	}
	if code != "" {
		b = append(append(append(b, `,"code":"`...), code...), '"')
	}
	if detail != "" {
		b = appendString(append(b, `,"detail":`...), detail)
	}
	if retryAfter > 0 {
		b = strconv.AppendInt(append(b, `,"retry_after":`...), int64(retryAfter), 10)
	}
	st.out = append(b, "}\n"...)
}
