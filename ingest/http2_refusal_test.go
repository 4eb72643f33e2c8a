package ingest

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
)

// TestATooLargeBodyOverHTTP2EndsItsStreamAlone: a connection over HTTP/2 is that
// of other requests as well, and clients such as curl lose the answer where it
// ends with it.
func TestATooLargeBodyOverHTTP2EndsItsStreamAlone(t *testing.T) {
	l := newLimited(t, func(c *Config) { c.Limits.BodyBytes = 2000 })
	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	post := func(body string) (status int, answer string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.client.url+"/v1/telemetry", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		res, err := l.client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		said, err := io.ReadAll(res.Body)
		if err != nil || res.ProtoMajor != 2 {
			t.Fatal(res.Proto, err)
		}
		return res.StatusCode, string(said)
	}
	if status, said := post(l.event(`{}`)); status != http.StatusAccepted {
		t.Fatal(status, said)
	}
	if status, said := post(strings.Repeat(" ", 1<<20)); status != http.StatusRequestEntityTooLarge || !strings.Contains(said, string(CodeBodyTooLarge)) {
		t.Errorf("%d %s", status, said)
	}
	if status, said := post(l.event(`{}`)); status != http.StatusAccepted || !reused {
		t.Errorf("%d %s, on the same connection: %t", status, said, reused)
	}
}
