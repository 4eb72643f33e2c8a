package tsa

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"trustpack/pack"
)

// TestRealServer asks Sigstore's timestamp-server, with its signer in memory.
func TestRealServer(t *testing.T) {
	path := os.Getenv("TRUSTPACK_TIMESTAMP_SERVER")
	if path == "" {
		var err error
		if path, err = exec.LookPath("timestamp-server"); err != nil {
			t.Skip("neither TRUSTPACK_TIMESTAMP_SERVER nor PATH has a timestamp-server: no real authority was asked")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "serve", "--host", "127.0.0.1", "--port", port, "--disable-ntp-monitoring", "--timestamp-signer", "memory", "--include-chain-in-response")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); cmd.Wait() })
	base := fmt.Sprintf("http://127.0.0.1:%s/api/v1/timestamp", port)
	var chain []byte
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(base + "/certchain")
		if err == nil {
			chain, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not come up: %v", err)
		}
	}
	var roots []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(c.RawSubject, c.RawIssuer) {
			roots = append(roots, c)
		}
	}
	reply, err := Client{URL: base, Roots: roots}.Stamp(context.Background(), []byte("signature"))
	if err != nil {
		t.Fatal(err)
	}
	ts, err := pack.CheckTimestamp(reply, []byte("signature"), roots)
	if err != nil || time.Since(ts.Time).Abs() > time.Hour {
		t.Errorf("%+v, %v", ts, err)
	}
	t.Logf("%d bytes, %s by %s", len(reply), ts.Time, ts.Authority)
	if _, err := pack.CheckTimestamp(reply, []byte("another"), roots); err == nil {
		t.Error("a timestamp over other bytes")
	}
}

// TestErrors: what is no timestamp is an error that says so.
func TestErrors(t *testing.T) {
	for want, handler := range map[string]http.HandlerFunc{
		"404 Not Found":    http.NotFound,
		"the reply is mal": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"longer than":      func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxReply+2)) },
		"status is 2":      func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte{0x30, 5, 0x30, 3, 2, 1, 2}) },
	} {
		s := httptest.NewServer(handler)
		if _, err := (Client{URL: s.URL}).Stamp(context.Background(), []byte("x")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		s.Close()
	}
	if _, err := (Client{URL: "http://127.0.0.1:1"}).Stamp(context.Background(), []byte("x")); err == nil {
		t.Error("nobody there, and no error")
	}
}
