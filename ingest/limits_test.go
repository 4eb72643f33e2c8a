package ingest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// TestEveryLimit goes just under and just over every setting of the limits,
// rates, timeouts and the quota of dead letters. What the configuration holds
// and this table does not is a failure, and so is one that the configuration
// in the log does not show.
func TestEveryLimit(t *testing.T) {
	tests := map[string]func(*testing.T){
		"limits.body_bytes":             limitBodyBytes,
		"limits.lines":                  limitLines,
		"limits.depth":                  limitDepth,
		"limits.decompressed_bytes":     limitDecompressedBytes,
		"limits.event_bytes":            limitEventBytes,
		"limits.header_bytes":           limitHeaderBytes,
		"limits.connections_per_device": limitConnectionsPerDevice,
		"limits.connections":            limitConnections,
		"limits.unknown_connections":    limitUnknownConnections,
		"rates.device.per_second":       func(t *testing.T) { limitRate(t, CodeRateDevice, false) },
		"rates.device.burst":            func(t *testing.T) { limitRate(t, CodeRateDevice, true) },
		"rates.tenant.per_second":       func(t *testing.T) { limitRate(t, CodeRateTenant, false) },
		"rates.tenant.burst":            func(t *testing.T) { limitRate(t, CodeRateTenant, true) },
		"timeouts.header":               limitHeaderTime,
		"timeouts.body":                 limitBodyTime,
		"timeouts.idle":                 limitIdleTime,
		"timeouts.answer":               limitAnswerTime,
		"dead_letters.per_tenant":       limitDeadLetters,
	}
	var settings []string
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		if typ.Kind() != reflect.Struct {
			settings = append(settings, path)
			return
		}
		for i := range typ.NumField() {
			walk(path+"."+typ.Field(i).Tag.Get("yaml"), typ.Field(i).Type)
		}
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		f := reflect.TypeFor[Config]().Field(i)
		switch f.Type {
		case reflect.TypeFor[Limits](), reflect.TypeFor[Rates](), reflect.TypeFor[Timeouts](), reflect.TypeFor[LetterPolicy]():
			walk(f.Tag.Get("yaml"), f.Type)
		}
	}
	snapshot := map[string]string{}
	r := newRig(t)
	flatten("", r.snapshot(), snapshot)
	if len(settings) != len(tests) {
		t.Errorf("the configuration has %d settings of this kind and the table %d", len(settings), len(tests))
	}
	for _, path := range settings {
		f := tests[path]
		if f == nil {
			t.Errorf("%s has no test", path)
			continue
		}
		if _, ok := snapshot[path]; !ok {
			t.Errorf("%s is not in the configuration that the log holds", path)
		}
		t.Run(path, func(t *testing.T) { t.Parallel(); f(t) })
	}
}

// snapshot is the configuration in force as the log has it.
func (r *rig) snapshot() (out any) {
	r.t.Helper()
	r.s.st.mu.RLock()
	defer r.s.st.mu.RUnlock()
	if err := json.Unmarshal(r.s.st.config.Config, &out); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// limited is an ingest with one device, whose events of type free.v1 may hold
// anything.
type limited struct {
	*rig
	pair   *tls.Certificate
	client *DeviceClient
	seq    int
}

func newLimited(t *testing.T, change func(*Config)) *limited {
	r := newRig(t, change, func(c *Config) {
		if err := os.WriteFile(filepath.Join(c.Schemas, "free.v1.schema.json"), []byte(`{"type":"object"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	return &limited{rig: r, pair: pair, client: r.deviceClient(pair)}
}

// again starts the ingest anew, without a connection, with another configuration.
func (l *limited) again(change func(*Config)) *limited {
	l.t.Helper()
	change(&l.config)
	l.restart()
	l.client = l.deviceClient(l.pair)
	return l
}

// event is a new one with the data.
func (l *limited) event(data string) string {
	l.seq++
	return fmt.Sprintf(`{"seq":%d,"time":%q,"type":"free.v1","data":%s}`, l.seq, l.clock.now().Format(time.RFC3339), data)
}

// padded is a new event with blanks behind it, of size bytes in all.
func (l *limited) padded(size int) []byte {
	e := l.event(`{}`)
	return append([]byte(e), bytes.Repeat([]byte{' '}, size-len(e))...)
}

// taken posts what must be answered with 202 and stored.
func (l *limited) taken(what string, body []byte, header ...string) {
	l.t.Helper()
	before := l.s.led.Size("nord")
	status, _, p := post(l.t, l.client.client, "/v1/telemetry", body, header...)
	if status != http.StatusAccepted || l.s.led.Size("nord") == before {
		l.t.Errorf("just under: %s: %d %s %s", what, status, p.Code, p.Detail)
	}
}

// refused posts what must be refused whole, with an entry in the log, and of
// which nothing may be stored.
func (l *limited) refused(what string, status int, code Code, body []byte, header ...string) http.Header {
	l.t.Helper()
	before, refusals := l.s.led.Size("nord"), l.refusals(code)
	got, h, p := post(l.t, l.client.client, "/v1/telemetry", body, header...)
	if got != status || p.Code != code || l.s.led.Size("nord") != before {
		l.t.Errorf("just over: %s: %d %s, want %d %s; %d entries were stored", what, got, p.Code, status, code, l.s.led.Size("nord")-before)
	}
	if err := l.s.refusals.flush(true); err != nil {
		l.t.Fatal(err)
	}
	if n := l.refusals(code); n != refusals+1 {
		l.t.Errorf("just over: %s: %d refusals in the log, want %d", what, n, refusals+1)
	}
	return h
}

// refusals is how many of the code the log counts.
func (r *rig) refusals(code Code) (n int64) {
	r.t.Helper()
	for _, e := range r.control(evidence.EntryRefusal) {
		var f evidence.Refusal
		if err := unmarshal(e.Data, &f); err != nil {
			r.t.Fatal(err)
		}
		if f.Code == string(code) {
			n += f.Count
		}
	}
	return n
}

func limitBodyBytes(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.BodyBytes = 2000 })
	l.taken("announced", l.padded(2000))
	l.refused("announced", 413, CodeBodyTooLarge, l.padded(2001))
	for _, x := range []struct{ size, status int }{{2000, 202}, {2001, 413}} {
		status := l.dial(l.pair).request(t, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"+
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", x.size, l.padded(x.size)))
		if status != x.status {
			t.Errorf("%d bytes in chunks: %d, want %d", x.size, status, x.status)
		}
	}
}

// request writes text and gives the status of the answer.
func (c *rawConn) request(t *testing.T, text string) int {
	t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		t.Fatal(err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.read, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func limitLines(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.Lines = 3 })
	three := func() []string { return []string{l.event(`{}`), l.event(`{}`), l.event(`{}`)} }
	join := func(lines []string) []byte { return []byte(strings.Join(lines, "\n")) }
	array := func(lines []string) []byte { return []byte("[" + strings.Join(lines, ",") + "]") }
	l.taken("lines", join(three()))
	l.taken("lines and blank ones", append(join(three()), "\n\n \n"...))
	l.taken("an array", array(three()), "Content-Type", "application/json")
	l.refused("lines", 413, CodeTooManyLines, join(append(three(), l.event(`{}`))))
	l.clock.add(2 * time.Second)
	l.refused("an array", 413, CodeTooManyLines, array(append(three(), l.event(`{}`))), "Content-Type", "application/json")
}

func limitDepth(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.Depth = 6 })
	nested := func(n int) string { // the event and its data are the first two
		return `{"a":` + strings.Repeat("[", n-2) + strings.Repeat("]", n-2) + `}`
	}
	rec := l.send(l.client, l.event(nested(6)), l.event(nested(7)), l.event(`{"a":`+strings.Repeat(`{"b":`, 5)+"1"+strings.Repeat("}", 6)))
	if rec.Accepted != 1 || rec.DeadLettered != 2 || rec.Lines[1].Code != CodeEventTooDeep || rec.Lines[2].Code != CodeEventTooDeep {
		t.Errorf("%+v", rec)
	}
	// So deep that what follows it on a stack would be felt.
	if rec = l.send(l.client, l.event(nested(20_000))); rec.DeadLettered != 1 || rec.Lines[0].Code != CodeEventTooDeep {
		t.Errorf("%+v", rec)
	}
}

func limitDecompressedBytes(t *testing.T) {
	const limit = 3000
	l := newLimited(t, func(c *Config) { c.Limits.BodyBytes, c.Limits.DecompressedBytes = 1<<20, limit })
	for coding, pack := range map[string]func(testing.TB, []byte) []byte{"gzip": zip, "zstd": zstdOf} {
		members := func(n int) (out []byte) { // that come to the limit together
			first := l.padded(limit - n)
			for range n {
				out = append(out, pack(t, []byte("\n"))...)
			}
			return append(out, pack(t, first)...)
		}
		l.taken(coding, pack(t, l.padded(limit)), "Content-Encoding", coding)
		l.taken(coding+" in many members", members(500), "Content-Encoding", coding)
		l.clock.add(2 * time.Second)
		l.refused(coding, 413, CodeBodyTooLarge, pack(t, l.padded(limit+1)), "Content-Encoding", coding)
		l.clock.add(2 * time.Second)
		l.refused(coding+" in many members", 413, CodeBodyTooLarge, append(members(500), pack(t, []byte("\n"))...), "Content-Encoding", coding)
		l.clock.add(2 * time.Second)
		l.refused(coding+" bomb", 413, CodeBodyTooLarge, pack(t, make([]byte, 64<<20)), "Content-Encoding", coding)
		l.clock.add(2 * time.Second)
		l.refused(coding+" twice over", 400, CodeBodyMalformed, append(pack(t, l.padded(100)), "no member"...), "Content-Encoding", coding)
		l.clock.add(2 * time.Second)
	}
	l.taken("zstd with the largest window", windowed(l.event(`{}`), 13<<3), "Content-Encoding", "zstd")
	l.refused("zstd with a larger window", 413, CodeBodyTooLarge, windowed(l.event(`{}`), 13<<3|1), "Content-Encoding", "zstd")
	l.clock.add(2 * time.Second)
	l.refused("zstd with the largest window that can be said", 413, CodeBodyTooLarge, windowed(l.event(`{}`), 31<<3|7), "Content-Encoding", "zstd")
}

func limitEventBytes(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.EventBytes = 500 })
	long := func(size int) string {
		empty := l.event(`{"a":""}`)
		l.seq--
		return l.event(`{"a":"` + strings.Repeat("x", size-len(empty)) + `"}`)
	}
	rec := l.send(l.client, long(500), long(501), l.event(`{}`))
	if rec.Accepted != 2 || rec.Refused != 1 || rec.Lines[1].Code != CodeEventTooLarge || l.refusals(CodeEventTooLarge) != 1 {
		t.Errorf("%+v, %d refusals", rec, l.refusals(CodeEventTooLarge))
	}
}

func limitHeaderBytes(t *testing.T) {
	const limit = 8 << 10
	l := newLimited(t, func(c *Config) { c.Limits.HeaderBytes = limit })
	head := func(size int, body string) string {
		h := "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: " + itoa(int64(len(body))) + "\r\nX-Pad: "
		return h + strings.Repeat("p", size-len(h)-4) + "\r\n\r\n" + body
	}
	if status := l.dial(l.pair).request(t, head(limit, l.event(`{}`))); status != 202 {
		t.Errorf("a head at the limit: %d", status)
	}
	before := l.s.led.Size("nord")
	if status := l.dial(l.pair).request(t, head(limit+4<<10+1, l.event(`{}`))); status != 431 {
		t.Errorf("a head over the limit: %d", status)
	}
	many := "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 4000)
	if status := l.dial(l.pair).request(t, many+"Content-Length: 0\r\n\r\n"); status != 431 {
		t.Errorf("4000 header fields: %d", status)
	}
	if l.s.led.Size("nord") != before {
		t.Error("what came with too long a head was stored")
	}
	l.taken("over HTTP/2", []byte(l.event(`{}`)), "X-Pad", strings.Repeat("p", limit-1000))
	before = l.s.led.Size("nord")
	req, err := http.NewRequest(http.MethodPost, l.client.url+"/v1/telemetry", strings.NewReader(l.event(`{}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("X-Pad", strings.Repeat("p", limit+4<<10+1))
	if res, err := l.client.http.Do(req); err == nil {
		res.Body.Close()
		if res.StatusCode != 431 {
			t.Errorf("over HTTP/2 a head over the limit: %s", res.Status)
		}
	}
	if l.s.led.Size("nord") != before {
		t.Error("what came with too long a head was stored")
	}
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

// closed wants the other side to end the connection.
func (c *rawConn) closed(t *testing.T, why string) {
	t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, c.read)
	if slow := net.Error(nil); errors.As(err, &slow) && slow.Timeout() {
		t.Errorf("%s: it is still open", why)
	}
}

// await waits until what it asks for is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come to pass: %s", what)
		}
	}
}

// tcp opens a connection to the port without speaking TLS.
func (r *rig) tcp(addr string) *rawConn {
	r.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &rawConn{conn, newReader(conn)}
}

// handshake makes TLS of a connection and asks for its health.
func (r *rig) healthy(c *rawConn) bool {
	tc := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, Time: r.clock.now})
	_ = tc.SetDeadline(time.Now().Add(patience)) // the next line would say so
	if tc.Handshake() != nil {
		return false
	}
	return (&rawConn{tc, newReader(tc)}).request(r.t.(*testing.T), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == 200
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

// long and short are timeouts that a test's client keeps or does not keep: the
// client is the same, and only the setting differs.
const (
	long  = time.Hour
	short = 400 * time.Millisecond
)

func limitHeaderTime(t *testing.T) {
	under := newLimited(t, func(c *Config) { c.Timeouts = Timeouts{Header: long, Body: long, Idle: long, Answer: long} })
	c := under.dial(under.pair)
	body := under.event(`{}`)
	for _, part := range []string{"POST /v1/te", "lemetry HTTP/1.1\r\nHo", "st: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: " + itoa(int64(len(body))) + "\r", "\n\r"} {
		if _, err := io.WriteString(c.conn, part); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * short)
	}
	if status := c.request(t, "\n"+body); status != 202 {
		t.Errorf("just under: %d", status)
	}
	over := newLimited(t, func(c *Config) { c.Timeouts = Timeouts{Header: short, Body: long, Idle: long, Answer: long} })
	c = over.dial(over.pair)
	if _, err := io.WriteString(c.conn, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	c.closed(t, "a head that does not end")
	public, _ := over.s.Addrs()
	over.tcp(public).closed(t, "a handshake that does not begin")
	c = over.tcp(public)
	if _, err := io.WriteString(c.conn, "\x16\x03\x01\x02\x00\x01"); err != nil {
		t.Fatal(err)
	}
	c.closed(t, "a handshake that does not end")
	c = over.dial(over.pair)
	c.closed(t, "a connection that asks for nothing")
	// A second request on a connection has no more time than the first.
	c = over.dial(over.pair)
	if status := c.post(t, over.event(`{}`)); status != 202 {
		t.Fatal(status)
	}
	if _, err := io.WriteString(c.conn, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	c.closed(t, "a second head that does not end")
}

func limitBodyTime(t *testing.T) {
	for name, coding := range map[string]string{"announced": "Content-Length: 150", "in chunks": "Transfer-Encoding: chunked"} {
		under := newLimited(t, func(c *Config) { c.Timeouts = Timeouts{Header: short, Body: long, Idle: long, Answer: long} })
		over := newLimited(t, func(c *Config) { c.Timeouts = Timeouts{Header: short, Body: short, Idle: long, Answer: long} })
		begin := func(l *limited) (c *rawConn, rest string) {
			c, body := l.dial(l.pair), string(l.padded(150))
			if name == "in chunks" {
				body = fmt.Sprintf("96\r\n%s\r\n0\r\n\r\n", body)
			}
			head := "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n" + coding + "\r\n\r\n"
			if _, err := io.WriteString(c.conn, head+body[:140]); err != nil {
				t.Fatal(err)
			}
			return c, body[140:]
		}
		c, rest := begin(under)
		time.Sleep(4 * short)
		if status := c.request(t, rest); status != 202 {
			t.Errorf("%s, just under: %d", name, status)
		}
		c, _ = begin(over)
		c.closed(t, name+": a body that does not end")
		if n := over.s.led.Size("nord"); n != 0 {
			t.Errorf("%s: %d entries of a body that did not end", name, n)
		}
		await(t, "a body that did not end is refused", func() bool { return over.refusals(CodeBodyMalformed) == 1 })
	}
}

func limitIdleTime(t *testing.T) {
	under := newLimited(t, func(c *Config) { c.Timeouts = Timeouts{Header: long, Body: long, Idle: long, Answer: long} })
	over := newLimited(t, func(c *Config) { c.Timeouts = Timeouts{Header: long, Body: long, Idle: short, Answer: long} })
	for _, l := range []*limited{under, over} {
		c := l.dial(l.pair)
		if status := c.post(t, l.event(`{}`)); status != 202 {
			t.Fatal(status)
		}
		if l == over {
			c.closed(t, "an idle connection")
			continue
		}
		time.Sleep(4 * short)
		if status := c.post(t, l.event(`{}`)); status != 202 {
			t.Errorf("just under: %d", status)
		}
	}
}

// limitAnswerTime asks for much and takes none of the answers, of the reader of
// the device port and of net/http.
func limitAnswerTime(t *testing.T) {
	for name, request := range map[string]func(string, ...string) string{"hot": hotPost, "net/http": coldPost} {
		const asked = 10
		all := strings.Repeat(request(strings.Repeat("x\n", 9000)), asked) // of which each answer is some 1.5 MB
		for _, span := range []time.Duration{long, short} {
			l := newLimited(t, func(c *Config) {
				c.Timeouts, c.DeadLetters.PerTenant = Timeouts{Header: short, Body: short, Idle: long, Answer: span}, 0
				c.Rates = Rates{Rate{1e6, 1e6}, Rate{1e6, 1e6}}
			}).again(func(*Config) {})
			c := l.dial(l.pair)
			go func() { _, _ = io.WriteString(c.conn, all) }() // it is cut off, or read below
			if span == short {
				await(t, name+": the connection is let go", func() bool {
					return l.refusals(CodeLetterQuota) > 0 && l.s.sessions.open("public") == 0
				})
				continue
			}
			await(t, "the answers have begun", func() bool { return l.refusals(CodeLetterQuota) > 0 })
			time.Sleep(6 * short)
			for i := range asked {
				if res, _ := c.next(t); res.StatusCode != 202 {
					t.Errorf("%s: answer %d, just under: %s", name, i, res.Status)
				}
			}
		}
	}
}

func limitDeadLetters(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.DeadLetters.PerTenant = 2 })
	bad := func() string { return strings.Replace(l.event(`{}`), "free", "unknown", 1) }
	rec := l.send(l.client, bad(), bad())
	if rec.DeadLettered != 2 {
		t.Errorf("just under: %+v", rec)
	}
	rec = l.send(l.client, bad(), l.event(`{}`))
	if rec.Refused != 1 || rec.Accepted != 1 || rec.Lines[0].Code != CodeLetterQuota || l.refusals(CodeLetterQuota) != 1 {
		t.Errorf("just over: %+v", rec)
	}
	if _, err := l.admin("carla").DiscardDeadLetter(t.Context(), "nord", 0, "test", ""); err != nil {
		t.Fatal(err)
	}
	if rec = l.send(l.client, bad(), bad()); rec.DeadLettered != 1 || rec.Refused != 1 {
		t.Errorf("after one was discarded: %+v", rec)
	}
}

// TestIdentifiersHaveALength goes to the length of each name that comes from
// outside and one beyond.
func TestIdentifiersHaveALength(t *testing.T) {
	r := newRig(t)
	name := func(n int) string { return strings.Repeat("a", n) }
	admin := r.admin("root.admin")
	if err := admin.AddTenant(t.Context(), evidence.Tenant{ID: name(63)}, "x"); err != nil {
		t.Error(err)
	}
	refusedWith(t, admin.AddTenant(t.Context(), evidence.Tenant{ID: name(64)}, "x"), CodeInvalid)
	if _, err := admin.AddOperator(t.Context(), name(64), []string{RoleAuditor}, "x"); err != nil {
		t.Error(err)
	}
	_, err := admin.AddOperator(t.Context(), name(65), []string{RoleAuditor}, "x")
	refusedWith(t, err, CodeInvalid)
	ben := r.admin("ben")
	good := DeviceRequest{Tenant: name(63), Device: name(128), Type: name(128), Site: name(256), Fleet: name(256), Reason: "x"}
	if _, err := ben.RequestDevice(t.Context(), good); err != nil {
		t.Error(err)
	}
	for _, long := range []func(*DeviceRequest){
		func(d *DeviceRequest) { d.Device += "a" }, func(d *DeviceRequest) { d.Type += "a" },
		func(d *DeviceRequest) { d.Site += "a" }, func(d *DeviceRequest) { d.Fleet += "a" },
	} {
		d := good
		d.Device = "b" + d.Device[1:]
		long(&d)
		_, err := ben.RequestDevice(t.Context(), d)
		refusedWith(t, err, CodeInvalid)
	}
	if _, err := ben.RequestDevice(t.Context(), DeviceRequest{Tenant: name(63), Device: "", Type: "x", Reason: "x"}); err == nil {
		t.Error("a device without a name")
	}
	at := r.clock.now().Format(time.RFC3339)
	line := func(typ, fw, device, tenant int, seq string) []byte {
		return fmt.Appendf(nil, `{"seq":%s,"time":%q,"type":%q,"fw":%q,"device":%q,"tenant":%q,"data":{}}`, seq, at, name(typ), name(fw), name(device), name(tenant))
	}
	for _, x := range []struct {
		what string
		line []byte
		good bool
	}{
		{"all at their length", line(128, 128, 256, 256, "1"), true},
		{"type", line(129, 1, 1, 1, "1"), false},
		{"fw", line(1, 129, 1, 1, "1"), false},
		{"device", line(1, 1, 257, 1, "1"), false},
		{"tenant", line(1, 1, 1, 257, "1"), false},
		{"empty type", line(0, 1, 1, 1, "1"), false},
		{"the largest number", line(1, 1, 1, 1, itoa(1<<53)), true},
		{"beyond the largest number", line(1, 1, 1, 1, itoa(1<<53+1)), false},
		{"far beyond it", line(1, 1, 1, 1, itoa(math.MaxInt64)), false},
		{"a negative number", line(1, 1, 1, 1, "-1"), false},
	} {
		if e := scanEvent(x.line, 32); (e.fault == "") != x.good {
			t.Errorf("%s: %s %s", x.what, e.fault, e.detail)
		}
	}
}

// TestACopiedCertificateUsesUpNothing shows the certificate of a device on as
// many connections as the device may have, without ever proving the key.
func TestACopiedCertificateUsesUpNothing(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 2 })
	for range 10 {
		mine, theirs := net.Pipe()
		t.Cleanup(func() { mine.Close(); theirs.Close() })
		c := &session{Conn: theirs, s: l.s, listener: "public", source: "192.0.2.1"}
		if !c.admitted() {
			t.Fatal("the port is full")
		}
		if err := c.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{l.pair.Leaf}}); err != nil {
			t.Fatal(err)
		}
	}
	if status := l.dial(l.pair).post(t, l.event(`{}`)); status != 202 {
		t.Errorf("the device itself: %d", status)
	}
	if n := l.s.sessions.cut(fingerprintOf(l.pair.Certificate[0])); n != 11 {
		t.Errorf("%d connections were cut, want those that only showed it too", n)
	}
}
