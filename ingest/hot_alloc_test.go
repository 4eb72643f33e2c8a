package ingest

import (
	"strconv"
	"testing"
)

// hotRequests makes one request after another of one connection, as the reader
// finds them, and takes them, all but reading and writing.
type hotRequests struct {
	h    *hot
	seq  int64
	in   []byte
	body []byte
	at   string
}

func newHotRequests(r *rig, pair string) *hotRequests {
	r.t.Helper()
	p := r.enrol("nord", pair)
	sess := &session{s: r.s, listener: "public", source: "127.0.0.1", fingerprint: fingerprintOf(p.Certificate[0]), notBefore: r.clock.now(), notAfter: r.clock.now().Add(day)}
	return &hotRequests{h: &hot{s: r.s, sess: sess, port: r.s.port}, at: r.clock.now().Format("2006-01-02T15:04:05Z07:00")}
}

// next takes a request of n events.
func (q *hotRequests) next(t testing.TB, n int) {
	q.body = q.body[:0]
	for range n {
		q.seq++
		q.body = append(q.body, `{"seq":`...)
		q.body = strconv.AppendInt(q.body, q.seq, 10)
		q.body = append(append(append(q.body, `,"time":"`...), q.at...), `","type":"power.v1","fw":"1.4.2","data":{"kw":`...)
		q.body = strconv.AppendInt(q.body, q.seq%400, 10)
		q.body = append(q.body, `.25,"phase":"l2"}}`...)
		q.body = append(q.body, '\n')
	}
	q.in = append(q.in[:0], "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: "...)
	q.in = strconv.AppendInt(q.in, int64(len(q.body)), 10)
	q.in = append(append(q.in, "\r\n\r\n"...), q.body...)
	h := q.h
	h.in = q.in
	if !parseHotHead(h.in, &h.head) {
		t.Fatalf("not taken: %s", h.in)
	}
	b := h.judge()
	if h.to.status != 202 {
		t.Fatalf("%d %s", h.to.status, h.to.body)
	}
	h.out = h.to.appendTo(h.out[:0], &h.call, "today")
	b.release()
}

func fastRates(c *Config) { c.Rates = Rates{Rate{1e9, 1 << 30}, Rate{1e9, 1 << 30}} }

// TestTakingAllocatesNothing that is not kept: neither a request nor an event
// has memory of its own. What is left is the ledger's for each group that it
// makes durable, and here each request is one.
func TestTakingAllocatesNothing(t *testing.T) {
	if withRace {
		t.Skip("the race detector allocates itself")
	}
	r := newRig(t, fastRates)
	r.tenant("nord")
	q := newHotRequests(r, "m-1")
	for _, c := range []struct {
		events int
		most   float64
	}{{1, 8}, {100, 8}} {
		for range 200 { // until every buffer has its size
			q.next(t, c.events)
		}
		if got := testing.AllocsPerRun(500, func() { q.next(t, c.events) }); got > c.most {
			t.Errorf("a request of %d events makes %v allocations, want at most %v", c.events, got, c.most)
		} else {
			t.Logf("a request of %d events makes %v allocations", c.events, got)
		}
	}
}

// BenchmarkTake is a request without its reading and writing.
func BenchmarkTake1(b *testing.B)   { benchmarkTake(b, 1) }
func BenchmarkTake100(b *testing.B) { benchmarkTake(b, 100) }

func benchmarkTake(b *testing.B, n int) {
	r := newRig(b, fastRates)
	r.tenant("nord")
	var all []*hotRequests
	for i := range 256 {
		all = append(all, newHotRequests(r, "m-"+strconv.Itoa(i)))
	}
	b.ReportAllocs()
	b.SetParallelism(128 / 2)
	next := make(chan *hotRequests, len(all))
	for _, q := range all {
		q.next(b, 1)
		next <- q
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		q := <-next
		for pb.Next() {
			q.next(b, n)
		}
	})
}
