package ingest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
)

// streamer is a client of a stream, over HTTP/1.1 or HTTP/2.
type streamer struct {
	t    *testing.T
	conn *rawConn // HTTP/1.1 alone
	body io.WriteCloser
	in   *bufio.Scanner
	open StreamOpen
}

// chunks writes a chunked body (RFC 9112, section 7.1).
type chunks struct{ to io.Writer }

func (c chunks) Write(b []byte) (int, error) {
	_, err := fmt.Fprintf(c.to, "%x\r\n%s\r\n", len(b), b)
	return len(b), err
}

func (c chunks) Close() error {
	_, err := io.WriteString(c.to, "0\r\n\r\n")
	return err
}

const streamHead = "POST /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

func (r *rig) stream(t *testing.T, pair *tls.Certificate) *streamer {
	t.Helper()
	return streamOver(t, r.dial(pair))
}

func streamOver(t *testing.T, c *rawConn) *streamer {
	t.Helper()
	c.write(t, streamHead)
	res, err := http.ReadResponse(c.read, nil)
	if err != nil {
		t.Fatal(err)
	}
	return begunStream(t, c, chunks{c.conn}, res)
}

// stream2 opens one over HTTP/2.
func (r *rig) stream2(t *testing.T, pair *tls.Certificate) *streamer {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*pair}, Time: r.clock.now}}
	t.Cleanup(transport.CloseIdleConnections)
	addr, _ := r.s.Addrs()
	out, in := io.Pipe()
	t.Cleanup(func() { in.Close() })
	req, err := http.NewRequest("POST", "https://"+addr+"/v1/stream", out)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.ProtoMajor != 2 {
		t.Fatal(res.Proto)
	}
	return begunStream(t, nil, in, res)
}

func begunStream(t *testing.T, conn *rawConn, body io.WriteCloser, res *http.Response) *streamer {
	t.Helper()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-ndjson" || res.Header.Get("X-Request-Id") == "" {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%s %v %s", res.Status, res.Header, b)
	}
	t.Cleanup(func() { res.Body.Close() })
	st := &streamer{t: t, conn: conn, body: body, in: bufio.NewScanner(res.Body)}
	st.in.Buffer(nil, 1<<20)
	st.decode(&st.open)
	return st
}

func (st *streamer) decode(into any) {
	st.t.Helper()
	if !st.in.Scan() {
		st.t.Fatalf("the stream has ended: %v", st.in.Err())
	}
	if err := json.Unmarshal(st.in.Bytes(), into); err != nil {
		st.t.Fatalf("%s: %v", st.in.Bytes(), err)
	}
}

func (st *streamer) send(lines ...string) {
	st.t.Helper()
	if _, err := io.WriteString(st.body, strings.Join(lines, "\n")+"\n"); err != nil {
		st.t.Fatal(err)
	}
}

// receipt reads the next and gives it as text: "2 accepted @1", "3 refused rate.device".
func (st *streamer) receipt() string {
	st.t.Helper()
	var r StreamReceipt
	st.decode(&r)
	out := fmt.Sprintf("%d %s", r.Line, r.Status)
	if r.Index != nil {
		out += fmt.Sprintf(" @%d", *r.Index)
	}
	if r.Code != "" {
		out += " " + string(r.Code)
	}
	if r.RetryAfter > 0 {
		out += fmt.Sprintf(" again in %d s", r.RetryAfter)
	}
	return out
}

func (st *streamer) expect(want ...string) {
	st.t.Helper()
	for _, w := range want {
		if got := st.receipt(); got != w {
			st.t.Errorf("receipt %q, want %q", got, w)
		}
	}
}

// ends reads the last line.
func (st *streamer) ends(end string) StreamEnd {
	st.t.Helper()
	var e StreamEnd
	st.decode(&e)
	if e.End != end {
		st.t.Errorf("the end is %+v, want %q", e, end)
	}
	if st.in.Scan() {
		st.t.Errorf("behind the end stands %s", st.in.Bytes())
	}
	if err := st.in.Err(); err != nil {
		st.t.Errorf("the answer does not end behind its last line: %v", err)
	}
	return e
}

func (st *streamer) finish() StreamEnd {
	st.t.Helper()
	if err := st.body.Close(); err != nil {
		st.t.Fatal(err)
	}
	return st.ends(streamDone)
}

func TestStream(t *testing.T) {
	for _, over := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(over, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.DeadLetters.PerTenant = 3 })
			r.tenant("nord")
			pair := r.enrol("nord", "m-1")
			open := r.stream
			if over == "HTTP/2" {
				open = r.stream2
			}
			st := open(t, pair)
			if st.open != (StreamOpen{"test.example/ingest/nord", "nord"}) {
				t.Errorf("%+v", st.open)
			}
			st.send(r.line(1, 1))
			st.expect("1 accepted @0") // before anything else is sent, and before the body ends
			st.send(r.line(2, 1), "", r.line(1, 1), r.line(2, 2))
			st.expect("2 accepted @1", "3 duplicate @0", "4 refused replay.conflict")
			st.send("x", strings.Repeat("y", maxLine+1), r.line(3, 501), strings.Replace(r.line(4, 1), `"seq"`, `"device":"m-9","seq"`, 1), "over the quota")
			st.expect("5 dead-lettered @3 event.malformed", "6 refused event.too-large", "7 dead-lettered @4 range.violation", "8 dead-lettered @5 device.mismatch", "9 refused deadletter.quota")
			st.send(eventLine(5, r.clock.now().Add(time.Hour), 1))
			st.expect("10 refused deadletter.quota")
			for i, part := range strings.SplitAfter(r.line(6, 1)+"\n", ",") { // in pieces
				if _, err := io.WriteString(st.body, part); err != nil {
					t.Fatal(i, err)
				}
			}
			st.expect("11 accepted @8")
			if _, err := io.WriteString(st.body, r.line(7, 1)); err != nil { // without a newline, at the end
				t.Fatal(err)
			}
			if err := st.body.Close(); err != nil {
				t.Fatal(err)
			}
			st.expect("12 accepted @9")
			e := st.ends(streamDone)
			if want := (StreamEnd{End: streamDone, Lines: 12, Accepted: 4, Duplicate: 1, DeadLettered: 3, Refused: 4}); e != want {
				t.Errorf("%+v, want %+v", e, want)
			}
			books, err := r.admin("erin").Books(t.Context(), "nord", "", "")
			if err != nil {
				t.Fatal(err)
			}
			if want := (evidence.Books{Tenant: "nord", Day: "2026-07-01", Received: 12, Accepted: 4, Duplicate: 1, DeadLettered: 3, Refused: 4}); len(books) != 1 || books[0] != want {
				t.Errorf("%+v, want %+v", books, want)
			}
			r.sameAsFold()
			if over == "HTTP/1.1" { // and the connection is good for more
				if status := st.conn.post(t, r.line(8, 1)); status != 202 {
					t.Error(status)
				}
			}
		})
	}
}

// TestStreamTakesManyInFlight sends thousands before it reads a receipt, from
// several gateways at once.
func TestStreamTakesManyInFlight(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rates = Rates{Rate{1e9, 1 << 30}, Rate{1e9, 1 << 30}} })
	r.tenant("nord")
	const n = 5000
	var wg sync.WaitGroup
	for g := range 3 {
		st := r.stream(t, r.enrol("nord", fmt.Sprintf("g-%d", g)))
		sent := make(chan error, 1)
		wg.Go(func() {
			var lines strings.Builder
			for i := range n {
				lines.WriteString(r.line(i+1, 1) + "\n")
			}
			_, err := io.WriteString(st.body, lines.String())
			if err == nil {
				err = st.body.Close()
			}
			sent <- err
		})
		wg.Go(func() {
			for i := range n {
				if got, want := st.receipt(), fmt.Sprintf("%d accepted", i+1); !strings.HasPrefix(got, want) {
					t.Errorf("%q, want %q", got, want)
					return
				}
			}
			if e := st.ends(streamDone); e.Accepted != n {
				t.Errorf("%+v", e)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if size := r.s.led.Size("nord"); size != 3*n {
		t.Errorf("%d entries, want %d", size, 3*n)
	}
	r.sameAsFold()
}

// TestStreamOverTheRate refuses single events, durably, and goes on.
func TestStreamOverTheRate(t *testing.T) {
	for _, code := range []Code{CodeRateDevice, CodeRateTenant} {
		t.Run(string(code), func(t *testing.T) {
			r := newRig(t, func(c *Config) {
				few, many := Rate{2, 3}, Rate{1000, 1000}
				c.Rates = Rates{few, many}
				if code == CodeRateTenant {
					c.Rates = Rates{many, few}
				}
			})
			r.tenant("nord")
			st := r.stream(t, r.enrol("nord", "m-1"))
			var lines []string
			for i := range 5 {
				lines = append(lines, r.line(i+1, 1))
			}
			st.send(lines...)
			st.expect("1 accepted @0", "2 accepted @1", "3 accepted @2", "4 refused "+string(code)+" again in 1 s", "5 refused "+string(code)+" again in 1 s")
			if n := r.refusals(code); n != 1 {
				t.Errorf("%d refusals in the log before the receipts", n)
			}
			r.clock.add(time.Second)
			st.send(lines[3:]...)
			st.expect("6 accepted @3", "7 accepted @4")
			if e := st.finish(); e.Accepted != 5 || e.Refused != 2 {
				t.Errorf("%+v", e)
			}
			books, err := r.admin("erin").Books(t.Context(), "nord", "", "")
			if err != nil || len(books) != 1 || books[0].Received != 7 || books[0].Refused != 2 || books[0].Accepted != 5 {
				t.Errorf("%+v %v", books, err)
			}
			r.sameAsFold()
		})
	}
}

// TestStreamThatNamesAnotherTenant ends, and is refused as a batch is.
func TestStreamThatNamesAnotherTenant(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	r.tenant("sued")
	st := r.stream(t, r.enrol("nord", "m-1"))
	st.send(r.line(1, 1))
	st.expect("1 accepted @0")
	st.send(r.line(2, 1), strings.Replace(r.line(3, 1), `"seq"`, `"tenant":"sued","seq"`, 1))
	st.expect("2 refused tenant.mismatch", "3 refused tenant.mismatch")
	if e := st.ends(streamProblem); e.Problem == nil || e.Problem.Code != CodeTenantMismatch || e.Lines != 3 || e.Refused != 2 {
		t.Errorf("%+v", e)
	}
	var ref evidence.Refusal
	if list := r.control(evidence.EntryRefusal); len(list) != 1 || unmarshal(list[0].Data, &ref) != nil || ref.ClaimedTenant != "sued" || ref.Events != 2 || ref.Path != "/v1/stream" {
		t.Errorf("%+v %+v", list, ref)
	}
	r.sameAsFold()
}

// TestStreamIsCutByARevocation in the middle, and nothing is taken afterwards.
func TestStreamIsCutByARevocation(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	st := r.stream(t, pair)
	st.send(r.line(1, 1))
	st.expect("1 accepted @0")
	if _, err := r.admin("carla").RevokeDevice(t.Context(), "nord", "m-1", "stolen", "T-1"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(st.body, r.line(2, 1)+"\n") // may fail: the connection is cut
	if st.in.Scan() {
		t.Errorf("behind the revocation stands %s", st.in.Bytes())
	}
	again := r.dial(pair)
	if res, body := again.raw(t, streamHead); res.StatusCode != 403 || !strings.Contains(body, string(CodeRevoked)) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if n := r.s.led.Size("nord"); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// TestStreamAsksForEachGroup who it is: a decision whose cut has not come yet
// is in force all the same.
func TestStreamAsksForEachGroup(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	st := r.stream(t, r.enrol("nord", "m-1"))
	st.send(r.line(1, 1))
	st.expect("1 accepted @0")
	d := r.s.st.device("nord", "m-1")
	r.s.st.mu.Lock()
	d.flow.Lock()
	d.record.State = evidence.DeviceQuarantined
	d.flow.Unlock()
	r.s.st.mu.Unlock()
	st.send(r.line(2, 1), r.line(3, 1))
	st.expect("2 refused auth.quarantined", "3 refused auth.quarantined")
	if e := st.ends(streamProblem); e.Problem == nil || e.Problem.Code != CodeQuarantined {
		t.Errorf("%+v", e)
	}
	st = r.stream(t, r.enrol("nord", "m-2"))
	r.clock.add(400 * day)
	st.send(eventLine(1, r.clock.now(), 1))
	st.expect("1 refused auth.expired-credential")
	st.ends(streamProblem)
}

// TestStreamDrains tells the client what was taken, and the next ingest takes
// the rest.
func TestStreamDrains(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	st := r.stream(t, pair)
	st.send(r.line(1, 1), r.line(2, 1))
	st.expect("1 accepted @0", "2 accepted @1")
	closed := make(chan error, 1)
	go func() { closed <- r.s.Close(context.Background()) }()
	if e := st.ends(streamDraining); e.Lines != 2 || e.Accepted != 2 {
		t.Errorf("%+v", e)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	r.restart()
	st = r.stream(t, pair)
	st.send(r.line(2, 1), r.line(3, 1))
	st.expect("1 duplicate @1", "2 accepted @2")
	st.finish()
}

// TestStreamLosesDurability ends without a receipt for what is not durable.
func TestStreamLosesDurability(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	st := r.stream(t, r.enrol("nord", "m-1"))
	st.send(r.line(1, 1))
	st.expect("1 accepted @0")
	r.s.lose(fmt.Errorf("the disk is gone"))
	st.send(r.line(2, 1))
	if e := st.ends(streamProblem); e.Problem == nil || e.Problem.Code != CodeDurabilityLost || e.Lines != 1 {
		t.Errorf("%+v", e)
	}
}

// TestStreamWithALineWithoutEnd ends: it is more than one can hold.
func TestStreamWithALineWithoutEnd(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	st := r.stream(t, r.enrol("nord", "m-1"))
	st.send(r.line(1, 1))
	st.expect("1 accepted @0")
	go func() { _, _ = io.WriteString(st.body, strings.Repeat("x", 2*streamRoom)) }() // the ingest may close before it has all
	if e := st.ends(streamProblem); e.Problem == nil || e.Problem.Code != CodeBodyTooLarge || e.Lines != 1 {
		t.Errorf("%+v", e)
	}
}

func TestStreamThatIsIdle(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Timeouts.Idle = 300 * time.Millisecond })
	r.tenant("nord")
	for _, open := range []func(*testing.T, *tls.Certificate) *streamer{r.stream, r.stream2} {
		st := open(t, r.enrol("nord", "m-"+itoa(int64(len(r.s.st.devices)))))
		st.send(r.line(1, 1))
		st.receipt()
		if e := st.ends(streamIdle); e.Lines != 1 {
			t.Errorf("%+v", e)
		}
	}
}

// TestStreamOutlivesARequestsTimes: the times for a head and a body are those
// of a batch.
func TestStreamOutlivesARequestsTimes(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Timeouts = Timeouts{5 * time.Second, 100 * time.Millisecond, time.Minute, time.Minute}
	})
	r.s.public.ReadTimeout, r.s.public.WriteTimeout = 150*time.Millisecond, 150*time.Millisecond
	r.tenant("nord")
	for i, open := range []func(*testing.T, *tls.Certificate) *streamer{r.stream, r.stream2} {
		st := open(t, r.enrol("nord", fmt.Sprintf("m-%d", i)))
		for k := range 4 {
			st.send(r.line(k+1, 1))
			st.receipt()
			<-time.After(160 * time.Millisecond)
		}
		if e := st.finish(); e.Accepted != 4 {
			t.Errorf("%+v", e)
		}
	}
}

// TestStreamWhoseReceiptsNobodyReads is cut off, and takes no more than fits.
func TestStreamWhoseReceiptsNobodyReads(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Timeouts.Answer = 200 * time.Millisecond
		c.Rates = Rates{Rate{1e9, 1 << 30}, Rate{1e9, 1 << 30}}
	})
	r.tenant("nord")
	st := r.stream(t, r.enrol("nord", "m-1"))
	lines := strings.Repeat("x\n", 4000) // short to send, long to answer
	for sent, err := 0, error(nil); err == nil; sent++ {
		if sent > 5000 {
			t.Fatal("it takes without end")
		}
		if err = st.conn.conn.SetWriteDeadline(time.Now().Add(patience)); err == nil {
			_, err = io.WriteString(st.body, lines)
		}
	}
	await(t, "the connection is let go", func() bool { return r.s.sessions.count() == 0 || r.streams() == 0 })
	if err := r.s.refusals.settle(); err != nil { // what was only counted is entered every second
		t.Fatal(err)
	}
	r.sameAsFold()
}

// streams counts those under way.
func (r *rig) streams() (n int) {
	r.s.sessions.mu.Lock()
	defer r.s.sessions.mu.Unlock()
	for c := range r.s.sessions.all {
		if c.streaming.Load() {
			n++
		}
	}
	return n
}

// TestStreamIsRefused before it begins.
func TestStreamIsRefused(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	for _, c := range []struct {
		from, to string
		status   int
		code     Code
	}{
		{"POST", "PUT", 405, CodeMethod}, {"x-ndjson", "json", 415, CodeMediaUnsupported}, {"Host: x", "Host: x\r\nContent-Encoding: gzip", 415, CodeMediaUnsupported},
		{"Host: x", "Host: x\r\nX-Tenant: sued", 403, CodeTenantMismatch},
	} {
		res, body := r.dial(pair).raw(t, strings.Replace(streamHead, c.from, c.to, 1)+"0\r\n\r\n")
		if res.StatusCode != c.status || !strings.Contains(body, string(c.code)) {
			t.Errorf("%s: %d %s", c.to, res.StatusCode, body)
		}
	}
	// One stream a connection, where HTTP/2 could carry more.
	c := &call{sess: &session{s: r.s, fingerprint: fingerprintOf(pair.Certificate[0]), notAfter: r.clock.now().Add(time.Hour)}, set: r.s.set.Load(), method: "POST", media: "application/x-ndjson"}
	for i, want := range []Code{"", CodeConflict} {
		p := (&stream{s: r.s, c: c}).admit(nil)
		if (p == nil) != (want == "") || p != nil && p.Code != want {
			t.Errorf("stream %d: %v", i, p)
		}
	}
}

// TestStreamKilledUnderLoad kills the ingest at some moment of a stream, again
// and again; the gateway connects anew and sends what has no receipt.
func TestStreamKilledUnderLoad(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rates = Rates{Rate{1e6, 1e6}, Rate{1e6, 1e6}} })
	r.tenant("nord")
	pair := r.enrol("nord", "g-1")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca)
	r.stop()
	next := 1 // the first without a receipt
	for round := range 6 {
		addr, kill := r.child(t)
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*pair}, Time: r.clock.now, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		st := streamOver(t, &rawConn{conn, newReader(conn)})
		first := next
		var wg sync.WaitGroup
		wg.Go(func() {
			for seq := first; ; seq++ { // many in flight, until the connection breaks
				if _, err := io.WriteString(st.body, r.line(seq, 1)+"\n"); err != nil {
					return
				}
			}
		})
		for n := 0; st.in.Scan(); n++ {
			var got StreamReceipt
			if err := json.Unmarshal(st.in.Bytes(), &got); err != nil {
				break // cut in the middle
			}
			if got.Line != int64(next-first+1) || got.Status != lineAccepted && (got.Status != lineDuplicate || round == 0) {
				t.Fatalf("round %d: %s, want the receipt of line %d", round, st.in.Bytes(), next-first+1)
			}
			next++
			if n == 50+137*round {
				kill()
			}
		}
		conn.Close()
		wg.Wait()
	}
	seen := map[int64]int{}
	r.eventsOf(t, "nord", func(e tenantEntry) { seen[*e.Seq]++ })
	for seq := int64(1); seq < int64(next); seq++ {
		if seen[seq] != 1 {
			t.Errorf("event %d has a receipt and stands %d times", seq, seen[seq])
		}
	}
	for seq, n := range seen {
		if n != 1 {
			t.Errorf("event %d stands %d times", seq, n)
		}
	}
	r.start()
	r.sameAsFold()
}
