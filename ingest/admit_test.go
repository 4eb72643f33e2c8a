package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"trustpack/evidence"
)

// post sends a raw request through the client's connection.
func post(t testing.TB, c client, path string, body []byte, header ...string) (int, http.Header, Problem) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p Problem
	if res.StatusCode >= 400 {
		if err := json.Unmarshal(reply, &p); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Fatalf("no problem: %s", reply)
		}
	}
	return res.StatusCode, res.Header, p
}

func zip(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t testing.TB, b []byte) []byte {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

// skippable puts a frame that decoders skip before b (RFC 8878, section
// 3.1.2), so that all of it has size bytes.
func skippable(b []byte, size int) []byte {
	n := size - len(b) - 8
	out := binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, uint32(n))
	return append(append(out, make([]byte, n)...), b...)
}

// windowed is a frame with one raw block, whose header asks for the window
// (RFC 8878, section 3.1.1.1.2).
func windowed(content string, window byte) []byte {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, window}
	n := len(content)<<3 | 1
	return append(append(out, byte(n), byte(n>>8), byte(n>>16)), content...)
}

func TestCrossTenantIsRefusedAndRecordedWithBothTenants(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	c := r.deviceClient(r.enrol("nord", "m-1")).client
	good := []byte(r.line(1, 1))
	payload := []byte(r.line(2, 1) + "\n" + strings.Replace(r.line(3, 1), "{", `{"tenant":"sued",`, 1))
	for name, f := range map[string]func() (int, http.Header, Problem){
		"path":     func() (int, http.Header, Problem) { return post(t, c, "/v1/tenants/sued/telemetry", good) },
		"header":   func() (int, http.Header, Problem) { return post(t, c, "/v1/telemetry", good, "X-Tenant", "sued") },
		"headerid": func() (int, http.Header, Problem) { return post(t, c, "/v1/telemetry", good, "X-Tenant-ID", "sued") },
		"payload":  func() (int, http.Header, Problem) { return post(t, c, "/v1/telemetry", payload) },
	} {
		if status, _, p := f(); status != 403 || p.Code != CodeTenantMismatch {
			t.Errorf("%s: %d %s", name, status, p.Code)
		}
		r.clock.add(2 * time.Second)
	}
	if r.s.led.Size("nord")+r.s.led.Size("sued") != 0 {
		t.Error("something was stored")
	}
	entries := r.control(evidence.EntryRefusal)
	if len(entries) != 4 {
		t.Fatalf("%d refusals", len(entries))
	}
	events := int64(0)
	for _, e := range entries {
		var f evidence.Refusal
		if err := unmarshal(e.Data, &f); err != nil {
			t.Fatal(err)
		}
		events += f.Events
		if e.Tenant != "nord" || e.Device != "m-1" || f.ClaimedTenant != "sued" || f.Code != "tenant.mismatch" || f.Fingerprint == "" || f.Source != "127.0.0.1" {
			t.Errorf("%+v %+v", e, f)
		}
	}
	if events != 2 {
		t.Errorf("%d events counted, want the 2 of the payload", events)
	}
	books, err := r.admin("erin").Books(t.Context(), "nord", "", "")
	if err != nil || len(books) != 1 || books[0].Received != 2 || books[0].Refused != 2 {
		t.Errorf("books %+v %v", books, err)
	}
	// Its own tenant it may name.
	if status, _, _ := post(t, c, "/v1/tenants/nord/telemetry", good, "X-Tenant", "nord"); status != 202 {
		t.Error("naming the own tenant must do no harm")
	}
}

func TestLimitsJustUnderAndJustOver(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Limits.BodyBytes, c.Limits.Lines, c.Limits.DecompressedBytes = 2000, 5, 3000
	})
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1")).client
	pad := func(line string, n int) []byte {
		return append([]byte(line), bytes.Repeat([]byte{' '}, n-len(line))...)
	}
	lines := func(from, n int) []byte {
		var out []string
		for i := range n {
			out = append(out, r.line(from+i, 1))
		}
		return []byte(strings.Join(out, "\n"))
	}
	for _, x := range []struct {
		name   string
		body   []byte
		header []string
		status int
		code   Code
	}{
		{"body at limit", pad(r.line(1, 1), 2000), nil, 202, ""},
		{"body over", pad(r.line(2, 1), 2001), nil, 413, CodeBodyTooLarge},
		{"lines at limit", lines(10, 5), nil, 202, ""},
		{"lines over", lines(20, 6), nil, 413, CodeTooManyLines},
		{"gzip at limit", zip(t, pad(r.line(30, 1), 3000)), []string{"Content-Encoding", "gzip"}, 202, ""},
		{"gzip over", zip(t, pad(r.line(31, 1), 3001)), []string{"Content-Encoding", "gzip"}, 413, CodeBodyTooLarge},
		{"gzip cut short", zip(t, pad(r.line(32, 1), 2500))[:30], []string{"Content-Encoding", "gzip"}, 400, CodeBodyMalformed},
		{"no gzip", []byte(r.line(33, 1)), []string{"Content-Encoding", "gzip"}, 400, CodeBodyMalformed},
		{"zstd at limit", zstdOf(t, pad(r.line(40, 1), 3000)), []string{"Content-Encoding", "zstd"}, 202, ""},
		{"zstd over", zstdOf(t, pad(r.line(41, 1), 3001)), []string{"Content-Encoding", "zstd"}, 413, CodeBodyTooLarge},
		{"zstd bomb", zstdOf(t, pad(r.line(42, 1), 4<<20)), []string{"Content-Encoding", "zstd"}, 413, CodeBodyTooLarge},
		{"zstd of two frames at limit", append(zstdOf(t, pad(r.line(43, 1), 1500)), zstdOf(t, pad("\n", 1500))...), []string{"Content-Encoding", "zstd"}, 202, ""},
		{"zstd of two frames over", append(zstdOf(t, pad(r.line(44, 1), 1500)), zstdOf(t, pad("\n", 1501))...), []string{"Content-Encoding", "zstd"}, 413, CodeBodyTooLarge},
		{"zstd compressed at limit", skippable(zstdOf(t, []byte(r.line(45, 1))), 2000), []string{"Content-Encoding", "zstd"}, 202, ""},
		{"zstd compressed over", skippable(zstdOf(t, []byte(r.line(46, 1))), 2001), []string{"Content-Encoding", "zstd"}, 413, CodeBodyTooLarge},
		{"zstd window at limit", windowed(r.line(47, 1), 13<<3), []string{"Content-Encoding", "zstd"}, 202, ""},
		{"zstd window over", windowed(r.line(47, 1), 13<<3|1), []string{"Content-Encoding", "zstd"}, 413, CodeBodyTooLarge},
		{"zstd cut short", zstdOf(t, pad(r.line(48, 1), 2500))[:30], []string{"Content-Encoding", "zstd"}, 400, CodeBodyMalformed},
		{"no zstd", []byte(r.line(49, 1)), []string{"Content-Encoding", "zstd"}, 400, CodeBodyMalformed},
		{"zstd of nothing", nil, []string{"Content-Encoding", "zstd"}, 400, CodeBodyMalformed},
		{"zstd after bad ones", zstdOf(t, []byte(r.line(50, 1))), []string{"Content-Encoding", "zstd"}, 202, ""},
		{"brotli", []byte(r.line(33, 1)), []string{"Content-Encoding", "br"}, 415, CodeMediaUnsupported},
		{"xml", []byte(r.line(33, 1)), []string{"Content-Type", "text/xml"}, 415, CodeMediaUnsupported},
		{"latin1", []byte(r.line(33, 1)), []string{"Content-Type", "application/json; charset=latin1"}, 415, CodeMediaUnsupported},
		{"utf-8", []byte("[" + r.line(34, 1) + "]"), []string{"Content-Type", "application/json; charset=UTF-8"}, 202, ""},
		{"empty", nil, nil, 400, CodeBodyMalformed},
		{"array cut short", []byte("[" + r.line(35, 1)), []string{"Content-Type", "application/json"}, 400, CodeBodyMalformed},
	} {
		size := r.s.led.Size("nord")
		status, _, p := post(t, c, "/v1/telemetry", x.body, x.header...)
		if status != x.status || p.Code != x.code {
			t.Errorf("%s: %d %s %s, want %d %s", x.name, status, p.Code, p.Detail, x.status, x.code)
		}
		if stored := r.s.led.Size("nord") > size; stored != (x.status == 202) {
			t.Errorf("%s: stored: %v", x.name, stored)
		}
	}
}

func TestChunkedBodyOverTheLimit(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.BodyBytes = 1000 })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1")).client
	req, err := http.NewRequest(http.MethodPost, c.url+"/v1/telemetry", io.MultiReader(strings.NewReader(r.line(1, 1)), strings.NewReader(strings.Repeat(" ", 1000))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("%s", res.Status)
	}
}

func TestRateLimits(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Rates.Device = Rate{PerSecond: 1, Burst: 3}
		c.Rates.Tenant = Rate{PerSecond: 1, Burst: 5}
	})
	r.tenant("nord")
	r.tenant("sued")
	a, b, other := r.deviceClient(r.enrol("nord", "a")), r.deviceClient(r.enrol("nord", "b")), r.deviceClient(r.enrol("sued", "a"))
	r.send(a, r.line(1, 1), r.line(2, 1), r.line(3, 1))
	status, h, p := post(t, a.client, "/v1/telemetry", []byte(r.line(4, 1)))
	if status != 429 || p.Code != CodeRateDevice || h.Get("Retry-After") != "1" || h.Get("RateLimit") != `"device";r=0;t=1` || h.Get("RateLimit-Policy") != `"device";q=3;w=3` {
		t.Errorf("%d %s %v", status, p.Code, h)
	}
	r.send(b, r.line(1, 1), r.line(2, 1))
	if status, h, p = post(t, b.client, "/v1/telemetry", []byte(r.line(3, 1))); status != 429 || p.Code != CodeRateTenant || h.Get("Retry-After") != "1" {
		t.Errorf("%d %s %v", status, p.Code, h)
	}
	if rec := r.send(other, r.line(1, 1)); rec.Accepted != 1 {
		t.Error("another tenant is held up")
	}
	r.clock.add(time.Second)
	if rec := r.send(a, r.line(4, 1)); rec.Accepted != 1 {
		t.Error("after Retry-After the request must pass")
	}
}

func TestFloodOfRefusalsCannotFillTheLog(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rates.Device = Rate{PerSecond: 1, Burst: 1} })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1))
	before := r.s.led.Size(controlLog)
	for range 200 {
		if status, _, _ := post(t, c.client, "/v1/telemetry", []byte(r.line(2, 1))); status != 429 {
			t.Fatal(status)
		}
	}
	if err := r.s.refusals.flush(true); err != nil {
		t.Fatal(err)
	}
	if grown := r.s.led.Size(controlLog) - before; grown > 4 {
		t.Errorf("200 refusals made %d entries", grown)
	}
	var count int64
	for _, e := range r.control(evidence.EntryRefusal) {
		var f evidence.Refusal
		if err := unmarshal(e.Data, &f); err != nil {
			t.Fatal(err)
		}
		count += f.Count
	}
	if count != 200 || r.s.st.refusals[CodeRateDevice] != 200 {
		t.Errorf("%d counted, state has %d", count, r.s.st.refusals[CodeRateDevice])
	}
}

func TestRefusalIsDurableBeforeItsAnswer(t *testing.T) {
	r := newRig(t)
	c := r.deviceClient(nil)
	_, err := c.Send(t.Context(), []byte(r.line(1, 1)))
	refusedWith(t, err, CodeNoCertificate)
	if n := len(r.control(evidence.EntryRefusal)); n != 1 {
		t.Errorf("%d refusals at the time of the answer", n)
	}
}

func TestDeadLettersKeepTheBytes(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	r.send(c, r.line(1, 1))
	bad := map[int]struct {
		line string
		code Code
	}{
		1: {`{"seq":2,"broken`, CodeEventMalformed},
		2: {r.line(3, 9999), CodeRangeViolation},
		3: {strings.Replace(r.line(4, 1), "power.v1", "gas.v1", 1), CodeUnknownType},
		4: {strings.Replace(r.line(5, 1), "kw", "mw", 1), CodeSchemaViolation},
		5: {eventLine(6, r.clock.now().Add(11*time.Minute), 1), CodeTimeFuture},
		6: {eventLine(7, r.clock.now().Add(-8*day), 1), CodeTimeTooOld},
		7: {strings.Replace(r.line(8, 1), "{", `{"device":"m-2",`, 1), CodeDeviceMismatch},
		8: {"{\"seq\":9,\"time\":\"\xff\"}", CodeEventMalformed},
	}
	var lines []string
	for i := 1; i <= len(bad); i++ {
		lines = append(lines, bad[i].line)
	}
	lines = append(lines, r.line(10, 1))
	rec := r.send(c, lines...)
	if rec.DeadLettered != 8 || rec.Accepted != 1 || len(rec.Lines) != 9 {
		t.Fatalf("%+v", rec)
	}
	list, err := r.admin("erin").DeadLetters(t.Context(), "")
	if err != nil || len(list) != 8 {
		t.Fatal(len(list), err)
	}
	for i, d := range list {
		if want := bad[i+1]; string(d.Bytes) != want.line || d.Reason != want.code || rec.Lines[i].Code != want.code || d.Rules != r.s.rules().hash || d.Device != "m-1" {
			t.Errorf("dead letter %d: %+v, want %s of %q", i, d, want.code, want.line)
		}
	}
	// Sent again, those whose number could be read are known.
	again := r.send(c, lines...)
	if again.Duplicate != 6 || again.DeadLettered != 3 {
		t.Errorf("again: %+v", again)
	}
	// What was cut short on the way comes whole the next time.
	if rec := r.send(c, r.line(2, 1), r.line(9, 1)); rec.Accepted != 2 {
		t.Errorf("whole: %+v", rec)
	}
	books := r.s.st.tenant("nord").listBooks("", "")[0]
	if books.Received != 21 || books.Received != books.Accepted+books.Duplicate+books.DeadLettered+books.Refused {
		t.Errorf("books %+v", books)
	}
	var page struct {
		DeadLetters []DeadLetter `json:"deadletters"`
		Next        string       `json:"next"`
	}
	b, err := r.admin("erin").Get(t.Context(), "/v1/admin/deadletters?limit=9")
	if err != nil || unmarshal(b, &page) != nil || page.Next == "" {
		t.Fatalf("%v %s", err, b)
	}
	if b, err = r.admin("erin").Get(t.Context(), "/v1/admin/deadletters?limit=9&from="+page.Next); err != nil || unmarshal(b, &page) != nil || len(page.DeadLetters) != 2 {
		t.Errorf("second page: %v %s", err, b)
	}
}

func TestReplays(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Replay.Window = 100 })
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	first := r.line(1, 1)
	r.send(c, first)
	rec := r.send(c, first, first)
	if rec.Duplicate != 2 || rec.Accepted != 0 || *rec.Lines[0].Index != 0 || rec.FirstIndex != -1 {
		t.Errorf("exact replay: %+v", rec)
	}
	rec = r.send(c, r.line(1, 2))
	if rec.Refused != 1 || rec.Lines[0].Code != CodeReplayConflict {
		t.Errorf("changed replay: %+v", rec)
	}
	alerts, err := r.admin("erin").Alerts(t.Context())
	if err != nil || len(alerts) != 1 || alerts[0].Kind != AlertReplayConflict || alerts[0].Devices[0] != "nord/m-1" {
		t.Fatalf("%+v %v", alerts, err)
	}
	r.clock.add(2 * time.Second)
	r.send(c, r.line(1, 3))
	if alerts, err = r.admin("erin").Alerts(t.Context()); err != nil || len(alerts) != 1 {
		t.Errorf("a second conflict raised another alert: %+v %v", alerts, err)
	}
	if n := len(r.control(evidence.EntryRefusal)); n != 2 {
		t.Errorf("%d refusals for 2 conflicts", n)
	}
	r.send(c, r.line(200, 1))
	rec = r.send(c, r.line(101, 1), r.line(100, 1))
	if rec.Accepted != 1 || rec.Refused != 1 || rec.Lines[1].Code != CodeReplayStale {
		t.Errorf("edge of the window: %+v", rec)
	}
	// In one batch.
	rec = r.send(c, r.line(301, 1), r.line(300, 1), r.line(301, 1), r.line(300, 2))
	if rec.Accepted != 2 || rec.Duplicate != 1 || rec.Refused != 1 {
		t.Errorf("within a batch: %+v", rec)
	}
	// Another boot counts for itself.
	if rec = r.send(c, strings.Replace(r.line(1, 9), "{", `{"boot":2,`, 1)); rec.Accepted != 1 {
		t.Errorf("another boot: %+v", rec)
	}
	if err := r.admin("root.admin").ResolveAlert(t.Context(), alerts[0].ID, "device replaced", "T-1"); err != nil {
		t.Fatal(err)
	}
	r.clock.add(2 * time.Second)
	r.send(c, strings.Replace(r.line(1, 10), "{", `{"boot":2,`, 1))
	if alerts, err = r.admin("erin").Alerts(t.Context()); err != nil || len(alerts) != 2 {
		t.Errorf("after the resolution a conflict must raise a new alert: %d %v", len(alerts), err)
	}
}

func TestStoredEntryIsWhatCame(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.deviceClient(r.enrol("nord", "m-1"))
	data := `{ "kw" : 1.50, "phase":"l1" }`
	at := r.clock.now().Add(-3 * time.Minute).Format(time.RFC3339)
	r.send(c, `{"seq":7,"time":"`+at+`","type":"power.v1","fw":"2.1","boot":4,"data":`+data+`}`)
	b, err := r.s.led.Entry("nord", 0)
	if err != nil {
		t.Fatal(err)
	}
	var e tenantEntry
	if err := unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	payload, salt, err := r.s.led.Payload("nord", 0)
	if err != nil || string(payload) != data || e.Payload != evidence.SHA256Hex(append(salt, payload...)) {
		t.Errorf("%s: payload %s, %v", b, payload, err)
	}
	if e.Data != nil || e.Time != at || !e.Received.Equal(r.clock.now()) || e.Flags[0] != "time.behind" || e.Boot != 4 || *e.Seq != 7 || e.FW != "2.1" || e.Rules != r.s.rules().hash {
		t.Errorf("%s", b)
	}
	if d := r.s.st.device("nord", "m-1"); d.firmware != "2.1" {
		t.Error("firmware")
	}
}

// TestConcurrentRetriesStoreOnce sends the same batches from many connections
// at once; each event must be in the log exactly once, and the books balance.
func TestConcurrentRetriesStoreOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ConnectionsPerDevice = 100 })
	r.tenant("nord")
	pairs := map[string]*DeviceClient{}
	for _, d := range []string{"a", "b"} {
		pair := r.enrol("nord", d)
		pairs[d] = r.deviceClient(pair)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sum Receipt
	for range 8 {
		for _, c := range pairs {
			wg.Go(func() {
				for b := range 10 {
					var lines []string
					for i := range 7 {
						lines = append(lines, r.line(b*7+i, float64(i)))
					}
					rec, err := c.Send(t.Context(), []byte(strings.Join(lines, "\n")))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					sum.Accepted += rec.Accepted
					sum.Duplicate += rec.Duplicate
					sum.Refused += rec.Refused
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if sum.Accepted != 140 || sum.Duplicate != 8*140-140 || sum.Refused != 0 {
		t.Errorf("%+v", sum)
	}
	seen := map[string]int{}
	for data, err := range r.s.led.Entries("nord", 0, 1<<62) {
		if err != nil {
			t.Fatal(err)
		}
		var e tenantEntry
		if err := unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.T == "event" {
			seen[e.Device+"/"+itoa(*e.Seq)]++
		}
	}
	if len(seen) != 140 {
		t.Errorf("%d different events", len(seen))
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%s stands %d times", k, n)
		}
	}
	if b := r.s.st.tenant("nord").listBooks("", "")[0]; b.Received != 8*140 || b.Accepted != 140 || b.Duplicate != 8*140-140 {
		t.Errorf("books %+v", b)
	}
}

func TestLongestLineFitsAnEntry(t *testing.T) {
	f := sender{device: strings.Repeat("d", 128), gen: 1 << 30, received: t0.Add(1), rules: strings.Repeat("ab", 32)}
	e := event{raw: strings.Repeat("\x00", maxLine), seq: 1 << 53, boot: 1 << 53, hasSeq: true}
	for name, data := range map[string][]byte{
		"dead letter": f.appendDeadLetter(nil, &e, CodeUnknownType, strings.Repeat("\\\"", 150)),
		"event":       f.appendEvent(nil, &event{fw: strings.Repeat("é", maxLine/2), boot: 1 << 53, seq: 1 << 53}, flagAhead),
	} {
		if n := len(data); n > 65535-77 || len(e.raw) > 65535 {
			t.Errorf("a %s of the longest line takes %d bytes and %d", name, n, len(e.raw))
		}
	}
}

func TestLogsAreServedAsTiles(t *testing.T) {
	r := newRig(t)
	c := r.admin("erin")
	if _, err := c.Checkpoint(t.Context(), controlLog); err != nil {
		t.Fatal(err)
	}
	note, err := c.Get(t.Context(), "/log/control/checkpoint")
	if err != nil || !strings.HasPrefix(string(note), "test.example/ingest/control\n") || !strings.Contains(string(note), "sample=true clock=simulated") {
		t.Errorf("%s %v", note, err)
	}
	size := strings.Split(string(note), "\n")[1]
	if b, err := c.Get(t.Context(), "/log/control/tile/entries/000.p/"+size); err != nil || !strings.Contains(string(b), "operator.added") {
		t.Errorf("entries: %v", err)
	}
	for _, path := range []string{"/log/control/tile/0/xyz", "/log/control/tile/0/999", "/log/nowhere/checkpoint", "/log/control/../../x", "/v1/admin/excerpt/nowhere", "/v1/admin/nothing"} {
		_, err := c.Get(t.Context(), path)
		if p := refusedWith(t, err, CodeNotFound); p.Status != 404 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestMetricsHaveNoDevices(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.send(r.deviceClient(r.enrol("nord", "meter-4711")), r.line(1, 1), "x")
	b, err := r.admin("erin").Get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`trustpack_ingest_events_total{outcome="accepted",tenant="nord"} 1`, `trustpack_ingest_events_total{outcome="dead-lettered",tenant="nord"} 1`, "trustpack_ingest_durable 1"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(string(b), "meter-4711") {
		t.Error("a device is named")
	}
}
