package ingest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// neighbour is a device that behaves, while others do not: each of its events
// must be accepted.
type neighbour struct {
	t        *testing.T
	accepted atomic.Int64
	failed   atomic.Pointer[string]
	stop     func()
}

// watch has a device of its own send event after event until stop is called.
func (l *limited) watch(t *testing.T) *neighbour {
	t.Helper()
	n := &neighbour{t: t}
	c := l.deviceClient(l.enrol("nord", "neighbour"))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := 0; ctx.Err() == nil; seq++ {
			rec, err := c.Send(ctx, []byte(eventLine(seq, l.clock.now(), 1)))
			if ctx.Err() != nil {
				return
			}
			if err != nil || rec.Accepted != 1 {
				text := fmt.Sprintf("event %d: %+v, %v", seq, rec, err)
				n.failed.Store(&text)
				return
			}
			n.accepted.Add(1)
		}
	})
	n.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(n.stop)
	return n
}

// unharmed waits until the neighbour has been served once more.
func (n *neighbour) unharmed() {
	n.t.Helper()
	before := n.accepted.Load()
	await(n.t, "a device that behaves is served", func() bool { return n.failed.Load() != nil || n.accepted.Load() > before })
	if text := n.failed.Load(); text != nil {
		n.t.Fatalf("a device that behaves was harmed: %s", *text)
	}
}

// abuse sends bytes on a connection of the device's and reads answers until
// the other side ends it: their statuses. lives says that it did not end after
// the number of answers.
func (l *limited) abuse(t *testing.T, sent string, answers int) (statuses []int, lives bool) {
	t.Helper()
	c, err := l.dialErr(l.pair)
	if err != nil {
		t.Errorf("%q: %v", sent, err)
		return nil, false
	}
	defer c.conn.Close()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = io.WriteString(c.conn, sent) // it may be cut off while it does
	}()
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	for len(statuses) < answers || answers == 0 {
		res, err := http.ReadResponse(c.read, nil)
		if err != nil {
			var slow net.Error
			return statuses, errors.As(err, &slow) && slow.Timeout()
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 100 {
			statuses = append(statuses, res.StatusCode)
		}
		if err != nil {
			return statuses, false
		}
	}
	<-wrote
	return statuses, true
}

// smuggled is a request that would be taken if anything took it for one: the
// event in it must never be in the log.
func (l *limited) smuggled() string {
	body := strings.Replace(l.event(`{"smuggled":true}`), `"seq":`, `"seq":9`, 1)
	return "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: " + itoa(int64(len(body))) + "\r\n\r\n" + body
}

// logged counts the device's events and dead letters in the log, and looks for
// one that was smuggled in.
func (l *limited) logged(t *testing.T) (n int) {
	t.Helper()
	for data, err := range l.s.led.Entries("nord", 0, 1<<62) {
		if err != nil {
			t.Fatal(err)
		}
		var e tenantEntry
		if err := unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.Device == "m-1" && e.T != "tally" {
			n++
			if e.T != "event" || strings.HasPrefix(itoa(*e.Seq), "9") {
				t.Errorf("it was smuggled in: %s", data)
			}
		}
	}
	return n
}

// at once runs f for each, some at a time.
func atOnce[T any](list []T, f func(T)) {
	var wg sync.WaitGroup
	places := make(chan struct{}, 16)
	for _, x := range list {
		places <- struct{}{}
		wg.Go(func() { f(x); <-places })
	}
	wg.Wait()
}

// TestHTTPAbuse sends what is wrong, ambiguous or strange in HTTP, each with a
// good request behind it. What is refused ends the connection, and nothing
// behind it is taken for a request; what has one meaning is answered by that.
func TestHTTPAbuse(t *testing.T) {
	l := newLimited(t, func(c *Config) {
		c.Limits.ConnectionsPerDevice, c.Limits.HeaderBytes, c.Rates = 1000, 8<<10, Rates{Rate{1e6, 1e6}, Rate{1e6, 1e6}}
	})
	well := l.watch(t)
	body := l.event(`{}`)
	plain := "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: " + itoa(int64(len(body))) + "\r\n\r\n" + body
	alter := func(pairs ...string) string {
		out := strings.NewReplacer(pairs...).Replace(plain)
		if out == plain {
			t.Fatalf("%q changes nothing", pairs)
		}
		return out
	}
	type attack struct {
		name string
		sent string
		want []int // of the attack and the good request; nil: refused, and nothing more answered
	}
	attacks := []attack{
		{"HTTP/0.9", "GET /healthz\r\n\r\n", nil},
		{"HTTP/2 without asking for it", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", nil},
		{"HTTP/2.0 in a request line", alter("HTTP/1.1", "HTTP/2.0"), nil},
		{"HTTP/3.0 in a request line", alter("HTTP/1.1", "HTTP/3.0"), nil},
		{"HTTP/1.x", alter("HTTP/1.1", "HTTP/1.x"), nil},
		{"no version", alter(" HTTP/1.1", ""), nil},
		{"a blank too many", alter("POST /", "POST  /"), nil},
		{"a tab", alter("POST /", "POST\t/"), nil},
		{"no method", alter("POST /", " /"), nil},
		{"a method of strange letters", alter("POST /", "PO(ST /"), nil},
		{"a target that is no path", alter("/v1/telemetry", "v1/telemetry"), nil},
		{"a target with a control character", alter("/v1/telemetry", "/v1/tele\x01metry"), nil},
		{"a target that is badly escaped", alter("/v1/telemetry", "/v1/telemetry%zz"), nil},
		{"no host", alter("Host: x\r\n", ""), nil},
		{"two hosts", alter("Host: x\r\n", "Host: x\r\nHost: y\r\n"), nil},
		{"a host of strange letters", alter("Host: x\r\n", "Host: x{\r\n"), nil},
		{"a NUL in a field", alter("Host: x\r\n", "Host: x\r\nA: \x00\r\n"), nil},
		{"a NUL in a name", alter("Host: x\r\n", "Host: x\r\nA\x00: b\r\n"), nil},
		{"a control character in a field", alter("Host: x\r\n", "Host: x\r\nA: \x01\r\n"), nil},
		{"an expectation nobody meets", alter("Host: x\r\n", "Host: x\r\nExpect: 200-maybe\r\n"), nil},
		{"a long request line", alter("/v1/telemetry", "/v1/telemetry?a="+strings.Repeat("b", 20<<10)), nil},
		{"a long field", alter("Host: x\r\n", "Host: x\r\nA: "+strings.Repeat("b", 20<<10)+"\r\n"), nil},
		{"a field that does not end", "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", 100<<10), nil},
		{"many fields", alter("Host: x\r\n", "Host: x\r\n"+strings.Repeat("A: b\r\n", 3000)), nil},
		{"fields without end", "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 20_000), nil},
		{"binary", "\x80\x00\x00\x00\xff\xfe\r\n\r\n", nil},
		{"a TLS handshake within TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", nil},
		{"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", []int{404, 202}},
		{"an asterisk", alter("/v1/telemetry", "*"), nil},
		{"OPTIONS of an asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 202}},
		{"TRACE", "TRACE /v1/telemetry HTTP/1.1\r\nHost: x\r\n\r\n", []int{405, 202}},
		{"another method", alter("POST", "PUT"), []int{405, 202}},
		{"the absolute form", alter("/v1/telemetry", "https://x/v1/telemetry"), []int{202, 202}},
		{"a path with dots", alter("/v1/telemetry", "/v1/x/../telemetry"), []int{307, 202}},
		{"another path", alter("/v1/telemetry", "/v1/telemetry/x"), []int{404, 202}},
		{"HTTP/1.0", alter("HTTP/1.1", "HTTP/1.0"), []int{202}},
		{"Expect", alter("Host: x\r\n", "Host: x\r\nExpect: 100-continue\r\n"), []int{202, 202}},
		{"Upgrade to HTTP/2", alter("Host: x\r\n", "Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), []int{202, 202}},
		{"Upgrade to a websocket", alter("Host: x\r\n", "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), []int{202, 202}},
		{"the end of the connection asked for", alter("Host: x\r\n", "Host: x\r\nConnection: close\r\n"), []int{202}},
		{"a chunk with an extension", alter("Content-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%X;a=\"b;c\"\r\n%s\r\n0;z\r\n\r\n", len(body), body)), []int{202, 202}},
		{"chunks of one byte", alter("Content-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body, "Transfer-Encoding: chunked\r\n\r\n"+oneByOne(body)+"0\r\n\r\n"), []int{202, 202}},
		{"a chunk that is longer than it says", alter("Content-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body)-1, body)), nil},
		{"a chunk that is shorter than it says", alter("Content-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body)+1, body)), nil},
		{"both lengths around an event", alter("Content-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body, fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body)+20, len(body), body)), nil},
	}
	for i, bad := range ambiguous() {
		attacks = append(attacks, attack{fmt.Sprintf("ambiguous %d: %.60q", i, bad), strings.Replace(bad, "POST /b", "POST /v1/telemetry", 1), nil})
	}
	smuggled := l.smuggled()
	atOnce(attacks, func(a attack) {
		behind, more := smuggled, 0
		if a.want != nil { // its meaning is plain, and so is that of what follows
			behind, more = plain, len(a.want)
		}
		statuses, lives := l.abuse(t, a.sent+behind, more)
		if a.want == nil {
			if lives || len(statuses) > 1 || len(statuses) == 1 && (statuses[0] < 400 || statuses[0] > 505) {
				t.Errorf("%s: answered %v, and the connection lives on: %v; want one refusal at most", a.name, statuses, lives)
			}
			return
		}
		if !slices.Equal(statuses, a.want) {
			t.Errorf("%s: answered %v, want %v", a.name, statuses, a.want)
		}
	})
	well.unharmed()
	if n := l.logged(t); n != 1 { // the same one each time
		t.Errorf("%d events of the device are in the log, want the one that was sent", n)
	}
}

func oneByOne(body string) string {
	var out strings.Builder
	for i := range len(body) {
		out.WriteString("1\r\n" + body[i:i+1] + "\r\n")
	}
	return out.String()
}

// TestPipelinedWithABadOneAmong answers those before it and none behind it.
func TestPipelinedWithABadOneAmong(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 100 })
	well := l.watch(t)
	for _, post := range []func(string, ...string) string{hotPost, coldPost} {
		good := post(l.event(`{}`))
		before := l.logged(t)
		statuses, lives := l.abuse(t, strings.Repeat(good, 200)+doublePost+l.smuggled(), 0)
		if lives || len(statuses) != 201 || statuses[199] != 202 || statuses[200] != 400 {
			t.Errorf("%d answers, the last %v, lives on: %v", len(statuses), statuses[max(0, len(statuses)-2):], lives)
		}
		if n := l.logged(t); n != before+1 { // the same one each time
			t.Errorf("%d events, want %d", n, before+1)
		}
	}
	well.unharmed()
}

// TestSlowClientsHarmNobody has many clients that never come to an end, each
// in its own way: all are cut off, though some never stop sending.
func TestSlowClientsHarmNobody(t *testing.T) {
	const span = 800 * time.Millisecond
	l := newLimited(t, func(c *Config) {
		c.Timeouts = Timeouts{Header: span, Body: span, Idle: time.Minute, Answer: time.Minute}
		c.Limits.ConnectionsPerDevice, c.Rates = 1000, Rates{Rate{1e6, 1e6}, Rate{1e6, 1e6}}
	})
	well := l.watch(t)
	public, _ := l.s.Addrs()
	head := "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
	var attacks []func() *rawConn
	for range 6 {
		for _, a := range []struct{ begin, again string }{
			{"", ""}, {head, ""}, {head, "A: b\r\n"}, {"P", ""}, {"POST /v1/tel", "e"}, {"GET /healthz HTTP/1.1\r\n", "A"},
			{head + "Content-Length: 1000\r\n\r\n", " "}, {head + "X-Other: 1\r\nContent-Length: 1000\r\n\r\n", " "},
			{head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"}, {head + "Transfer-Encoding: chunked\r\n\r\n", "0"},
			{head + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", ""},
			{head + "Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n\x1f\x8b", "\x08"},
		} {
			attacks = append(attacks, func() *rawConn {
				c := l.dial(l.pair)
				c.trickle(a.begin, a.again)
				return c
			})
		}
		attacks = append(attacks, func() *rawConn { return l.tcp(public) }, func() *rawConn {
			c := l.tcp(public)
			c.trickle("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00")
			return c
		})
	}
	atOnce(attacks, func(open func() *rawConn) { open().closed(t, "a client that does not come to an end") })
	well.unharmed()
	if n := l.logged(t); n != 0 {
		t.Errorf("%d entries of requests that did not end", n)
	}
}

// trickle sends the beginning, and then a little more for as long as it may.
func (c *rawConn) trickle(begin, again string) {
	go func() {
		_, err := io.WriteString(c.conn, begin)
		for err == nil && again != "" {
			time.Sleep(20 * time.Millisecond)
			_, err = io.WriteString(c.conn, again)
		}
	}()
}

// TestHalfClosed ends what it sends in every place of a request: nothing of
// one that is not whole is taken, and one that is whole is answered.
func TestHalfClosed(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 1000 })
	well := l.watch(t)
	for name, post := range map[string]func(string, ...string) string{"hot": hotPost, "net/http": coldPost} {
		whole := post(l.event(`{}`))
		before := l.logged(t)
		var cuts []int
		for cut := range len(whole) {
			cuts = append(cuts, cut)
		}
		atOnce(cuts, func(cut int) {
			c, err := l.dialErr(l.pair)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.conn.Close()
			if _, err := io.WriteString(c.conn, whole[:cut]); err != nil {
				t.Error(err)
			}
			if err := c.conn.(*tls.Conn).CloseWrite(); err != nil {
				t.Error(err)
			}
			res, err := http.ReadResponse(c.read, nil)
			if err == nil && (res.StatusCode < 400 || res.StatusCode > 499) {
				t.Errorf("%s, cut at %d: %s", name, cut, res.Status)
			}
			c.closed(t, name+": half a request")
		})
		if n := l.logged(t); n != before {
			t.Errorf("%s: %d entries of halves", name, n-before)
		}
		c := l.dial(l.pair)
		if _, err := io.WriteString(c.conn, whole); err != nil {
			t.Fatal(err)
		}
		c.closeWrite(t)
		if res, body := c.next(t); res.StatusCode != 202 {
			t.Errorf("%s, whole: %d %s", name, res.StatusCode, body)
		}
		c.closed(t, name+": a client that has said that it is done")
	}
	well.unharmed()
}

// TestThousandsOfIdleConnections come to both ports and say nothing: the
// ports go on serving, and hold no more of them than they may.
func TestThousandsOfIdleConnections(t *testing.T) {
	const most = 200
	l := newLimited(t, func(c *Config) { c.Limits.UnknownConnections = most })
	well := l.watch(t)
	public, admin := l.s.Addrs()
	for range 1500 {
		for _, addr := range []string{public, admin} {
			if conn, err := net.Dial("tcp", addr); err == nil {
				defer conn.Close()
			}
		}
	}
	well.unharmed()
	if rec := l.send(l.deviceClient(l.pair), l.event(`{}`)); rec.Accepted != 1 {
		t.Errorf("a device that comes into the crowd: %+v", rec)
	}
	if _, err := l.admin("erin").Tenants(t.Context()); err != nil {
		t.Errorf("an operator who comes into the crowd: %v", err)
	}
	for _, port := range []string{"public", "admin"} {
		await(t, "the crowd is bounded", func() bool { return l.s.sessions.open(port) <= most+30 })
	}
	if n := l.refusals(CodePortFull); n == 0 {
		t.Error("none of it is in the log")
	}
}

// TestExpectFlood asks for leave to send and does not send.
func TestExpectFlood(t *testing.T) {
	l := newLimited(t, func(c *Config) {
		c.Limits.ConnectionsPerDevice = 1000
		c.Timeouts.Header, c.Timeouts.Body = 800*time.Millisecond, 800*time.Millisecond
	})
	well := l.watch(t)
	atOnce(make([]int, 32), func(int) {
		c, err := l.dialErr(l.pair)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.conn.Close()
		_, _ = io.WriteString(c.conn, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
		if line, err := c.read.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
			t.Errorf("%q, %v", line, err)
		}
		c.closed(t, "a body that was announced")
	})
	// Too much is refused before any leave is given.
	c := l.dial(l.pair)
	_, _ = io.WriteString(c.conn, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
	if line, err := bufio.NewReader(c.conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 413") {
		t.Errorf("%q, %v", line, err)
	}
	well.unharmed()
	if n := l.logged(t); n != 0 {
		t.Errorf("%d entries", n)
	}
}
