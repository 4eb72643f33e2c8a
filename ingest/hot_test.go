package ingest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"

	"trustpack/evidence"
	"trustpack/ledger"
)

// hotPost is a request that is read without net/http.
func hotPost(body string, fields ...string) string {
	head := "POST /v1/telemetry HTTP/1.1\r\nHost: meters.example:8443\r\n"
	if len(fields) == 0 {
		fields = []string{"Content-Type: application/x-ndjson"}
	}
	return head + strings.Join(fields, "\r\n") + "\r\nContent-Length: " + itoa(int64(len(body))) + "\r\n\r\n" + body
}

// coldPost is the same request with one field more, which makes it net/http's.
func coldPost(body string, fields ...string) string {
	return strings.Replace(hotPost(body, fields...), "\r\n", "\r\nX-Other: 1\r\n", 1)
}

// hots counts the connections that net/http has not got.
func (r *rig) hots() int {
	r.s.port.mu.Lock()
	defer r.s.port.mu.Unlock()
	return len(r.s.port.hots)
}

// exchange sends a request and gives the answer as it came, but for its date.
func (c *rawConn) exchange(t *testing.T, request string) (status int, answer string) {
	t.Helper()
	c.write(t, request)
	var head strings.Builder
	length := 0
	for {
		line, err := c.read.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "Date: ") {
			if at, err := http.ParseTime(strings.TrimSpace(line[6:])); err != nil || time.Since(at) > time.Hour {
				t.Errorf("%q: %v", line, err)
			}
			line = "Date: …\r\n"
		}
		head.WriteString(line)
		_, _ = fmt.Sscanf(line, "HTTP/1.1 %d", &status)
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.read, body); err != nil {
		t.Fatal(err)
	}
	return status, head.String() + string(body)
}

// twin is one of two ingests to which the same is sent.
type twin struct {
	*rig
	pair *tls.Certificate
	conn *rawConn
	send func(body string, fields ...string) string
}

type twins [2]*twin

// newTwins makes two ingests, one that is sent what is read without net/http
// and one that is not.
func newTwins(t *testing.T, change ...func(*Config)) (both twins) {
	for i, send := range []func(string, ...string) string{hotPost, coldPost} {
		r := newRig(t, change...)
		r.tenant("nord")
		w := &twin{rig: r, pair: r.enrol("nord", "m-1"), send: send}
		w.conn = r.dial(w.pair)
		both[i] = w
	}
	return both
}

// request is what both are sent, and the status that both must answer.
type request struct {
	name   string
	status int
	body   string
	fields []string
}

func (both twins) compare(t *testing.T, q request) {
	t.Helper()
	var got [2]string
	for i, w := range both {
		status, answer := w.conn.exchange(t, w.send(q.body, q.fields...))
		if status != q.status {
			t.Errorf("%s: path %d answers %d, want %d: %s", q.name, i, status, q.status, answer)
		}
		if strings.Contains(answer, "Connection: close") {
			w.conn.ended(t)
			w.conn = w.dial(w.pair)
		}
		got[i] = strings.ReplaceAll(answer, w.s.run, "RUN") // what follows counts, alike in both
	}
	if got[0] != got[1] {
		t.Errorf("%s:\n%s\nnet/http:\n%s", q.name, got[0], got[1])
	}
}

// refusals lists the entries of refusals, without what two ingests never have alike.
func (w *twin) refusals() (out []string) {
	if err := w.s.refusals.flush(true); err != nil {
		w.t.Fatal(err)
	}
	for _, e := range w.control(evidence.EntryRefusal) {
		var r evidence.Refusal
		if err := unmarshal(e.Data, &r); err != nil {
			w.t.Fatal(err)
		}
		if r.Fingerprint == "" {
			w.t.Errorf("a refusal without the credential: %s", e.Data)
		}
		r.Fingerprint = ""
		out = append(out, fmt.Sprintf("%s %s/%s/%d %+v", strings.ReplaceAll(e.RequestID, w.s.run, "RUN"), e.Tenant, e.Device, e.Generation, r))
	}
	slices.Sort(out) // those that were counted stand in no order
	return out
}

// entries are a log's entries with their payloads, in place of what they commit
// to, which depends on a key.
func (w *twin) entries(log string) (out []string) {
	for data, err := range w.s.led.Data(log, 0, 1<<62) {
		if err != nil {
			w.t.Fatal(err)
		}
		payload, _, err := w.s.led.Payload(log, int64(len(out)))
		if err != nil && !errors.Is(err, ledger.ErrNoPayload) {
			w.t.Fatal(err)
		}
		out = append(out, string(data)+string(payload))
	}
	return out
}

// TestBothPathsAnswerAlike sends the same requests to two ingests, by the
// reader of the device port and by net/http, and compares the answers byte for
// byte but for their date, and what stands in the logs afterwards.
func TestBothPathsAnswerAlike(t *testing.T) {
	both := newTwins(t, func(c *Config) {
		c.Limits.Lines, c.Limits.DecompressedBytes, c.Limits.Depth, c.DeadLetters.PerTenant = 20, 5000, 6, 9
		c.Rates.Device = Rate{1, 90}
	})
	line := both[0].line
	many := func(from, n int) (out string) {
		for i := range n {
			out += line(from+i, 1) + "\n"
		}
		return out
	}
	array, plain := "Content-Type: application/json", "Content-Type: application/x-ndjson"
	for _, q := range []request{
		{"one event", 202, line(1, 1), nil},
		{"the same again", 202, line(1, 1), nil},
		{"a conflict", 202, line(1, 2), nil},
		{"three", 202, many(2, 3), nil},
		{"an array", 202, "[" + line(5, 1) + "," + line(6, 1) + "]", []string{array}},
		{"a charset", 202, line(7, 1), []string{"content-type: application/jsonl; charset=utf-8"}},
		{"gzip", 202, string(zip(t, []byte(many(8, 2)))), []string{plain, "Content-Encoding: gzip"}},
		{"zstd", 202, string(zstdOf(t, []byte(many(10, 2)))), []string{plain, "Content-Encoding: zstd"}},
		{"identity", 202, line(12, 1), []string{plain, "Content-Encoding: identity", "Connection: keep-alive", "User-Agent: meter/1", "Accept: */*", "Accept-Encoding: gzip"}},
		{"a bomb", 413, string(zip(t, make([]byte, 6000))), []string{plain, "Content-Encoding: gzip"}},
		{"no gzip", 400, line(13, 1), []string{plain, "Content-Encoding: gzip"}},
		{"another coding", 415, line(13, 1), []string{plain, "Content-Encoding: br"}},
		{"text", 415, line(13, 1), []string{"Content-Type: text/plain"}},
		{"no media type", 415, line(13, 1), []string{"Accept: */*"}},
		{"no event", 400, "\n\n", nil},
		{"no array", 400, "{}", []string{array}},
		{"too many lines", 413, many(13, 21), nil},
		{"dead letters", 202, "x\n" + line(13, 501) + "\n" + strings.Replace(line(14, 1), "power.v1", "a<b>.v1", 1) + "\n" + line(15, 1), nil},
		{"too deep", 202, `{"seq":16,"data":{"a":[[[[[[[]]]]]]]}}`, nil},
		{"another device's", 202, strings.Replace(line(16, 1), `"seq"`, `"device":"m-7","seq"`, 1), nil},
		{"another tenant's", 403, strings.Replace(line(16, 1), `"seq"`, `"tenant":"süd","seq"`, 1), nil},
		{"too long a line", 202, strings.Repeat("x", maxLine+1), nil},
		{"a body of many reads", 202, strings.Repeat(" ", 50_000) + line(17, 1), nil},
		{"one of more", 202, strings.Repeat(" ", 150_000) + line(18, 1), nil},
		{"the same packed", 202, string(zip(t, []byte(line(19, 1)))), []string{"Content-Encoding: gzip", plain}},
		{"over the quota", 202, strings.Repeat("x\n", 8), nil},
		{"into debt", 202, many(40, 20), nil},
		{"almost", 202, many(60, 20), nil},
		{"over the rate", 429, many(80, 20), nil},
		{"over the rate again", 429, many(80, 20), nil},
	} {
		both.compare(t, q)
	}
	for _, w := range both {
		w.clock.add(time.Hour)
		if _, err := w.admin("carla").QuarantineDevice(t.Context(), "nord", "m-1", "test", "T-1"); err != nil {
			t.Fatal(err)
		}
		w.conn = w.dial(w.pair)
	}
	both.compare(t, request{"in quarantine", 403, line(100, 1), nil})
	for _, w := range both {
		if _, err := w.admin("carla").ReleaseDevice(t.Context(), "nord", "m-1", "test", "T-1"); err != nil {
			t.Fatal(err)
		}
	}
	both.compare(t, request{"released", 202, line(100, 1), nil})
	for _, w := range both {
		w.clock.add(400 * day)
	}
	both.compare(t, request{"expired", 401, line(101, 1), nil})
	if hot, cold := both[0].hots(), both[1].hots(); hot == 0 || cold != 0 {
		t.Errorf("%d connections are read without net/http where they should be, %d where not", hot, cold)
	}
	if a, b := both[0].refusals(), both[1].refusals(); len(a) < 12 || !reflect.DeepEqual(a, b) {
		t.Errorf("refusals:\n%s\nnet/http:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if a, b := both[0].entries("nord"), both[1].entries("nord"); len(a) < 60 || !reflect.DeepEqual(a, b) {
		t.Errorf("the tenants' logs differ, or hold too little: %d and %d entries", len(a), len(b))
	}
}

// TestBothPathsLoseDurabilityAlike: 503, and the connection is closed.
func TestBothPathsLoseDurabilityAlike(t *testing.T) {
	both := newTwins(t)
	for _, w := range both {
		w.s.lose(errors.New("the disk is gone"))
	}
	both.compare(t, request{"durability lost", 503, both[0].line(1, 1), nil})
}

// TestPipelinedRequestsAreAnsweredInOrder sends many in one write.
func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.dial(r.enrol("nord", "m-1"))
	const n = 1200 // cut at every place of a record and of the reader's room
	var all strings.Builder
	for i := range n {
		if body := r.line(i+1, 1) + strings.Repeat("\n", i*i%97); i%2 == 0 {
			all.WriteString(hotPost(body))
		} else {
			all.WriteString(hotPost(string(zip(t, []byte(body))), "Content-Encoding: gzip", "Content-Type: application/x-ndjson", "User-Agent: "+strings.Repeat("x", 1+i*i%97)))
		}
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c.conn, all.String())
		sent <- err
	}()
	for i := range n {
		res, body := c.next(t)
		if want := fmt.Sprintf(`"first_index":%d,"count":1,"accepted":1,`, i); res.StatusCode != 202 || !strings.Contains(body, want) {
			t.Fatalf("answer %d: %d %s", i, res.StatusCode, body)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if r.hots() != 1 {
		t.Error("net/http has got the connection")
	}
	// Then something else, behind one that is in hand: it is net/http's, to the end.
	if _, err := io.WriteString(c.conn, hotPost(r.line(n+1, 1))+"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"+hotPost(r.line(n+2, 1))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{202, 200, 202} {
		if res, body := c.next(t); res.StatusCode != want {
			t.Errorf("%d %s, want %d", res.StatusCode, body, want)
		}
	}
	if r.hots() != 0 {
		t.Error("net/http has not got the connection")
	}
}

// TestRequestInPieces sends one byte by byte.
func TestRequestInPieces(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.dial(r.enrol("nord", "m-1"))
	for i := range 2 {
		request := hotPost(r.line(i+1, 1))
		for k := range len(request) {
			if _, err := io.WriteString(c.conn, request[k:k+1]); err != nil {
				t.Fatal(err)
			}
		}
		if res, body := c.next(t); res.StatusCode != 202 {
			t.Errorf("%d %s", res.StatusCode, body)
		}
	}
	if r.hots() != 1 {
		t.Error("net/http has got the connection")
	}
}

// TestHotTimeouts cuts off clients that are slow with the head, the body, or
// the next request, and tells the one with the body so.
func TestHotTimeouts(t *testing.T) {
	short, long := 200*time.Millisecond, time.Minute
	for _, c := range []struct {
		name     string
		timeouts Timeouts
		sends    string
		answer   int
		then     string
	}{
		{"no first request", Timeouts{short, long, long, long}, "", 0, ""},
		{"half a head", Timeouts{short, long, long, long}, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nCont", 0, ""},
		{"half of net/http's", Timeouts{short, long, long, long}, "GET / HTTP/1.1\r\nHost: x\r\nCont", 0, ""},
		{"half a body", Timeouts{short, short, long, long}, strings.TrimSuffix(hotPost("abcdef"), "def"), 400, ""},
		{"no next request", Timeouts{long, long, short, long}, hotPost("x"), 202, ""},
		{"half a next head", Timeouts{short, long, long, long}, hotPost("x"), 202, "POST /v1/tele"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) { cfg.Timeouts = c.timeouts })
			r.tenant("nord")
			conn := r.dial(r.enrol("nord", "m-1"))
			if _, err := io.WriteString(conn.conn, c.sends); err != nil {
				t.Fatal(err)
			}
			if c.answer > 0 {
				if res, body := conn.next(t); res.StatusCode != c.answer || (c.answer == 400) != res.Close {
					t.Errorf("%d, close %v: %s", res.StatusCode, res.Close, body)
				}
			}
			if _, err := io.WriteString(conn.conn, c.then); err != nil {
				t.Fatal(err)
			}
			conn.ended(t)
			await(t, "the connection is let go", func() bool { return r.hots() == 0 })
		})
	}
}

// TestBodyThatBreaksOff is refused and recorded as through net/http.
func TestBodyThatBreaksOff(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.dial(r.enrol("nord", "m-1"))
	if _, err := io.WriteString(c.conn, strings.TrimSuffix(hotPost("abcdef"), "def")); err != nil {
		t.Fatal(err)
	}
	c.closeWrite(t)
	if res, body := c.next(t); res.StatusCode != 400 || !strings.Contains(body, string(CodeBodyMalformed)) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if n := len(r.control(evidence.EntryRefusal)); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// TestAnswerBehindAHalfClosedConnection: a client may say at once that nothing
// more will come.
func TestAnswerBehindAHalfClosedConnection(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	c := r.dial(r.enrol("nord", "m-1"))
	if _, err := io.WriteString(c.conn, hotPost(r.line(1, 1))); err != nil {
		t.Fatal(err)
	}
	c.closeWrite(t)
	if res, body := c.next(t); res.StatusCode != 202 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	c.ended(t)
}

// TestDrain ends idle connections, answers what is in hand, and takes nothing
// more.
func TestDrain(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	idle, busy := r.dial(r.enrol("nord", "m-1")), r.dial(r.enrol("nord", "m-2"))
	for i, c := range []*rawConn{idle, busy} {
		if res, body := c.raw(t, hotPost(r.line(1, 1))); res.StatusCode != 202 || res.Close {
			t.Fatalf("%d: %d %s", i, res.StatusCode, body)
		}
	}
	flow := &r.s.st.device("nord", "m-2").flow
	flow.Lock()
	if _, err := io.WriteString(busy.conn, hotPost(r.line(2, 1))); err != nil {
		t.Fatal(err)
	}
	await(t, "the request waits for its turn", func() bool {
		flow.queue.Lock()
		defer flow.queue.Unlock()
		return flow.led
	})
	closed := make(chan error, 1)
	go func() { closed <- r.s.Close(context.Background()) }()
	idle.ended(t)
	select {
	case err := <-closed:
		t.Fatalf("closed with a request in hand: %v", err)
	default:
	}
	flow.Unlock()
	if res, body := busy.next(t); res.StatusCode != 202 || !res.Close {
		t.Errorf("%d, close %v: %s", res.StatusCode, res.Close, body)
	}
	busy.ended(t)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	addr, _ := r.s.Addrs()
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the port is open")
	}
}

// TestNotHot hands over what is not plainly the one request.
func TestNotHot(t *testing.T) {
	good := "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
	var h hotHead
	if !parseHotHead([]byte(good+"hello"), &h) || h.length != 5 || h.size != len(good) {
		t.Fatalf("%+v", h)
	}
	for _, change := range []struct{ from, to string }{
		{"POST", "post"}, {"POST", "PUT"}, {"POST ", "POST  "}, {"/v1/telemetry", "/v1/telemetry/"}, {"/v1/telemetry", "/v1/telemetry?lines=some"}, {"/v1/telemetry", "/v1/telemetry?"},
		{"/v1/telemetry", "https://x/v1/telemetry"}, {"/v1", "//v1"}, {"HTTP/1.1", "HTTP/1.0"}, {"HTTP/1.1", "HTTP/1.1 "}, {"HTTP/1.1\r\n", "HTTP/1.1\n"}, {"POST", "\r\nPOST"},
		{"Host: x\r\n", ""}, {"Host: x", "Host: x\r\nHost: x"}, {"Host: x", "Host: x/y"}, {"Host: x", "Host: x, y"}, {"Host: x", "Host: "}, {"Host: x", "Host:"}, {"Host: x", "Host:  x"}, {"Host: x", "Host: x "},
		{"Host: x", "Host : x"}, {"Host: x", "Host:\tx"}, {"Host: x", " Host: x"}, {"Host: x", "Host: x\r\n y"}, {"Host: x\r\n", "Host: x\n"}, {"Host: x\r\n", "Host: x\r"}, {"Host: x", "Host: x\x00"}, {"Host: x", "Host: é"},
		{"Content-Length: 5\r\n", ""}, {": 5", ": +5"}, {": 5", ": -5"}, {": 5", ": 05"}, {": 5", ": 0"}, {": 5", ": 5, 5"}, {": 5", ": 0x5"}, {": 5", ": 5\r\nContent-Length: 5"}, {": 5", ": 5\r\nContent-Length: 6"},
		{": 5", ": 1000000"}, {": 5", ": 200000"}, {": 5", ": 99999999999999999999"}, {"Content-Length: 5", "Transfer-Encoding: chunked"}, {": 5", ": 5\r\nTransfer-Encoding: chunked"}, {": 5", ": 5\r\nTransfer-Encoding: identity"},
		{": 5", ": 5\r\nExpect: 100-continue"}, {": 5", ": 5\r\nUpgrade: h2c"}, {": 5", ": 5\r\nConnection: close"}, {": 5", ": 5\r\nConnection: keep-alive, upgrade"}, {": 5", ": 5\r\nTrailer: x"}, {": 5", ": 5\r\nTE: trailers"},
		{": 5", ": 5\r\nX-Tenant: süd"}, {": 5", ": 5\r\nX-Tenant-ID: nord"}, {": 5", ": 5\r\nAnything: 1"}, {": 5", ": 5\r\nContent_Length: 1"}, {": 5", ": 5\r\n: x"}, {": 5", ": 5\r\nno colon"},
		{": 5", ": 5\r\nUser-Agent: " + strings.Repeat("x", maxHotHead)}, {": 5", ": 5\r\nContent-Type: a\r\nContent-Type: b"}, {"\r\n\r\n", "\r\n\n"}, {"\r\n\r\n", "\r\n"},
	} {
		if bad := strings.Replace(good, change.from, change.to, 1); bad == good || parseHotHead([]byte(bad), &h) {
			t.Errorf("taken: %q", bad)
		}
	}
}

// FuzzHotHead holds the reader to net/http: whatever it takes, net/http takes
// too, and reads the same of it.
func FuzzHotHead(f *testing.F) {
	for _, s := range []string{
		hotPost("hello"), hotPost("x", "content-type:application/json", "Content-Encoding: gzip", "CONNECTION: keep-alive"), hotPost("x") + hotPost("y"), coldPost("x"),
		hotPost("x", "authorization:Bearer tpd_"+strings.Repeat("a-_Z", 10)+"0Az"),
		"POST /v1/telemetry?lines=all HTTP/1.1\r\nhost:[::1]:8443\r\nuser-agent: a b\r\naccept: */*\r\naccept-encoding: gzip, zstd\r\naccept-language: de\r\ndate: x\r\ntraceparent: 00-1-2-01\r\ntracestate: a=b\r\ncontent-length: 12\r\n\r\n",
		"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n\tContent-Length: 5\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h hotHead
		if !parseHotHead(b, &h) {
			return
		}
		if unfinished(b) {
			t.Fatal("a whole head is said to be unfinished")
		}
		in := bufio.NewReaderSize(bytes.NewReader(b), 64<<10)
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("taken, but net/http says %v", err)
		}
		query := ""
		if h.all {
			query = "lines=all"
		}
		if r.Method != "POST" || r.Proto != "HTTP/1.1" || r.URL.Path != "/v1/telemetry" || r.URL.RawQuery != query || r.URL.Host != "" || r.ContentLength != int64(h.length) ||
			len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.Close || r.Header.Get("Content-Type") != h.media || r.Header.Get("Content-Encoding") != h.coding || h.bearer != strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") {
			t.Fatalf("%+v, but net/http reads %+v", h, r)
		}
		if !httpguts.ValidHostHeader(r.Host) || r.Host == "" {
			t.Fatalf("host %q", r.Host)
		}
		for name, values := range r.Header {
			if len(values) != 1 || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(values[0]) || hotFieldOf([]byte(name)) == 0 || textproto.TrimString(values[0]) != values[0] {
				t.Fatalf("field %q: %q", name, values)
			}
		}
		body, err := io.ReadAll(r.Body)
		if want := b[h.size:min(len(b), h.size+h.length)]; !bytes.Equal(body, want) || (err == nil) != (len(want) == h.length) {
			t.Fatalf("body %q, but net/http reads %q, %v", want, body, err)
		}
	})
}
