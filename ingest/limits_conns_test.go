package ingest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// handshake makes TLS of a connection and asks for its health.
func (r *rig) healthy(c *rawConn) bool {
	tc := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, Time: r.clock.now})
	_ = tc.SetDeadline(time.Now().Add(patience)) // the next line would say so
	if tc.Handshake() != nil {
		return false
	}
	return (&rawConn{tc, newReader(tc)}).request(r.t.(*testing.T), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == 200
}

func limitConnectionsPerDevice(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 2 })
	l.client.Close()
	var open []*rawConn
	for range 2 {
		c := l.dial(l.pair)
		if status := c.post(t, l.event(`{}`)); status != 202 {
			t.Errorf("just under: %d", status)
		}
		open = append(open, c)
	}
	over := l.dial(l.pair)
	if status := over.post(t, l.event(`{}`)); status != 429 || l.refusals(CodeTooManyConns) != 1 {
		t.Errorf("just over: %d, %d refusals", status, l.refusals(CodeTooManyConns))
	}
	over.closed(t, "a connection over the limit is not kept")
	if status := open[0].post(t, l.event(`{}`)); status != 202 {
		t.Errorf("those before it: %d", status)
	}
	if err := open[0].conn.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "a closed connection makes room", func() bool { return l.dial(l.pair).post(t, l.event(`{}`)) == 202 })
	// Of another device, the limit is its own.
	if status := l.dial(l.enrol("nord", "m-2")).post(t, l.event(`{}`)); status != 202 {
		t.Errorf("another device: %d", status)
	}
}

func limitConnections(t *testing.T) {
	l := newLimited(t, func(*Config) {}).again(func(c *Config) { c.Limits.Connections = 4; c.Limits.UnknownConnections = 100 })
	public, _ := l.s.Addrs()
	if status := l.dial(l.pair).post(t, l.event(`{}`)); status != 202 {
		t.Fatal(status)
	}
	var held []*rawConn
	for range 3 {
		held = append(held, l.tcp(public))
	}
	await(t, "four are open", func() bool { return l.s.sessions.open("public") == 4 })
	over := l.tcp(public)
	over.closed(t, "one more than the port takes")
	await(t, "it is in the log", func() bool { return l.refusals(CodePortFull) == 1 })
	if !l.healthy(held[0]) || !l.healthy(held[1]) {
		t.Error("those before it were harmed")
	}
	if _, err := l.admin("erin").Tenants(context.Background()); err != nil {
		t.Errorf("the admin port was harmed: %v", err)
	}
	if err := held[2].conn.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "a closed connection makes room", func() bool { return l.s.sessions.open("public") < 4 })
	if status := l.dial(l.pair).post(t, l.event(`{}`)); status != 202 {
		t.Errorf("after one was closed: %d", status)
	}
}

func limitUnknownConnections(t *testing.T) {
	l := newLimited(t, func(*Config) {}).again(func(c *Config) { c.Limits.UnknownConnections = 3; c.Limits.ConnectionsPerDevice = 2 })
	public, _ := l.s.Addrs()
	known := l.dial(l.pair)
	if status := known.post(t, l.event(`{}`)); status != 202 {
		t.Fatal(status)
	}
	var held []*rawConn
	for n := range 3 {
		held = append(held, l.tcp(public))
		await(t, "it is open", func() bool { return l.s.sessions.open("public") == n+2 })
	}
	if n := l.refusals(CodePortFull); n != 0 {
		t.Errorf("just under, %d were closed", n)
	}
	// Whoever comes anew is let in, and the oldest of those that nobody knows leaves.
	if status := l.dial(l.pair).post(t, l.event(`{}`)); status != 202 {
		t.Errorf("a device that comes into a crowd: %d", status)
	}
	held[0].closed(t, "the oldest makes room")
	if !l.healthy(held[1]) || !l.healthy(held[2]) || known.post(t, l.event(`{}`)) != 202 {
		t.Error("another than the oldest was closed")
	}
	if n := l.refusals(CodePortFull); n != 1 {
		t.Errorf("%d entries of it, want 1", n)
	}
	// Those that a device holds beyond its own limit are nobody's either.
	for range 50 {
		if c, err := l.dialErr(l.pair); err == nil {
			_, _ = io.WriteString(c.conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	await(t, "a device fills the port no further", func() bool { return l.s.sessions.open("public") <= 2+3 })
	if known.post(t, l.event(`{}`)) != 202 {
		t.Error("a device's own connection was closed")
	}
}

// limitRate takes a burst of 3 and then as many as the rate lets through.
func limitRate(t *testing.T, code Code, burst bool) {
	name, slow, wide := "device", Rate{0.5, 3}, Rate{1e6, 1e6}
	rates := Rates{Device: slow, Tenant: wide}
	if code == CodeRateTenant {
		name, rates = "tenant", Rates{Device: wide, Tenant: slow}
	}
	l := newLimited(t, func(c *Config) { c.Rates = rates })
	body := func(n int) []byte {
		var lines []string
		for range n {
			lines = append(lines, l.event(`{}`))
		}
		return []byte(strings.Join(lines, "\n"))
	}
	wantHeaders := func(h http.Header, retry int) {
		t.Helper()
		if h.Get("Retry-After") != fmt.Sprint(retry) || h.Get("RateLimit") != fmt.Sprintf(`"%s";r=0;t=%d`, name, retry) || h.Get("RateLimit-Policy") != `"`+name+`";q=3;w=6` {
			t.Errorf("%v", h)
		}
	}
	if burst {
		l.taken("a burst", body(3))
		wantHeaders(l.refused("one more", 429, code, body(1)), 2)
		l.clock.add(6 * time.Second)
		l.taken("a part of a burst", body(2))
		wantHeaders(l.refused("more than is left", 429, code, body(2)), 2)
		return
	}
	l.taken("a burst", body(3))
	for range 3 {
		l.clock.add(2*time.Second - time.Millisecond)
		l.refused("a moment too early", 429, code, body(1))
		l.clock.add(time.Millisecond)
		l.taken("in time", body(1))
	}
	// Another tenant's device is not held up.
	l.tenant("sued")
	if rec := l.send(l.deviceClient(l.enrol("sued", "m-1")), l.event(`{}`)); rec.Accepted != 1 {
		t.Errorf("%+v", rec)
	}
}
