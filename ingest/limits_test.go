package ingest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
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

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

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

// await waits until what it asks for is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come to pass: %s", what)
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
