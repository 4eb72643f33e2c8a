package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestNothingBeginsInADrain has a request in hand over HTTP/2 while the ingest
// is told to end: that is answered, and one that comes later takes no effect.
func TestNothingBeginsInADrain(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	pair := r.enrol("nord", "m-1")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*pair}, Time: r.clock.now}}
	t.Cleanup(transport.CloseIdleConnections)
	addr, _ := r.s.Addrs()
	post := func(seq int) (status int, answer string) {
		req, err := http.NewRequest("POST", "https://"+addr+"/v1/telemetry", strings.NewReader(r.line(seq, 1)))
		if err != nil {
			return 0, err.Error()
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		res, err := transport.RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.ProtoMajor != 2 {
			return 0, fmt.Sprint(res.Proto, err)
		}
		return res.StatusCode, string(b)
	}
	if status, answer := post(1); status != 202 {
		t.Fatal(status, answer)
	}
	d := r.s.st.device("nord", "m-1")
	d.flow.Lock()
	type reply struct {
		status int
		answer string
	}
	first := make(chan reply, 1)
	go func() {
		status, answer := post(2)
		first <- reply{status, answer}
	}()
	await(t, "the request waits for its turn", func() bool {
		d.flow.queue.Lock()
		defer d.flow.queue.Unlock()
		return d.flow.led
	})
	closed := make(chan error, 1)
	go func() { closed <- r.s.Close(context.Background()) }()
	await(t, "the drain has begun", func() bool {
		r.s.inHand.mu.Lock()
		defer r.s.inHand.mu.Unlock()
		return r.s.inHand.draining
	})
	if status, answer := post(3); status != 503 || !strings.Contains(answer, string(CodeDraining)) {
		t.Errorf("in the drain: %d %s", status, answer)
	}
	select {
	case err := <-closed:
		t.Errorf("closed with a request in hand: %v", err)
	default:
	}
	d.flow.Unlock()
	if got := <-first; got.status != 202 {
		t.Errorf("in hand: %d %s", got.status, got.answer)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if d.accepted != 2 {
		t.Errorf("%d events were taken, not 2", d.accepted)
	}
}

// TestADrainWaitsForNobodyWhoIsGone: the time that the last answers over HTTP/2
// may take ends when the connections do that they would go by.
func TestADrainWaitsForNobodyWhoIsGone(t *testing.T) {
	s := &Server{sessions: newSessions()}
	c := &session{s: s, listener: "admin"}
	s.sessions.all[c] = struct{}{}
	s.sessions.ports[c.listener] = &crowd{open: 1}
	h := newInHand()
	h.last = time.Now().Add(time.Hour) // an answer that is long on its way
	drained := make(chan error, 1)
	go func() { drained <- h.drain(context.Background(), s.sessions.gone()) }()
	until(t, "the drain", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.draining
	})
	select {
	case err := <-drained:
		t.Fatalf("it ended with a connection open: %v", err)
	default:
	}
	s.sessions.remove(c)
	select {
	case err := <-drained:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("no connection is open, and it waits on")
	}
	if err := newInHand().drain(context.Background(), s.sessions.gone()); err != nil {
		t.Error(err)
	}
}
