package ingest

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

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
