package ingest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// rawConn is one HTTP/1.1 connection that the test holds.
type rawConn struct {
	conn net.Conn
	read *bufio.Reader
}

func newReader(conn net.Conn) *bufio.Reader { return bufio.NewReader(conn) }

func (r *rig) dial(pair *tls.Certificate) *rawConn {
	r.t.Helper()
	c, err := r.dialErr(pair)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) dialErr(pair *tls.Certificate) (*rawConn, error) {
	addr, _ := r.s.Addrs()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca)
	config := &tls.Config{RootCAs: roots, Time: r.clock.now, NextProtos: []string{"http/1.1"}}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, config)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { conn.Close() })
	return &rawConn{conn, newReader(conn)}, nil
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

// write sends text and has the next read end after the tests' patience.
func (c *rawConn) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		t.Fatal(err)
	}
	c.patient(t)
}

func (c *rawConn) patient(t *testing.T) {
	t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

// next reads one answer.
func (c *rawConn) next(t *testing.T) (*http.Response, string) {
	t.Helper()
	c.patient(t)
	res, err := http.ReadResponse(c.read, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// raw sends bytes and reads one answer.
func (c *rawConn) raw(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	c.write(t, request)
	return c.next(t)
}

// request is raw for who wants the status alone.
func (c *rawConn) request(t *testing.T, text string) int {
	t.Helper()
	res, _ := c.raw(t, text)
	return res.StatusCode
}

// post sends a batch of telemetry and gives the status of the answer.
func (c *rawConn) post(t *testing.T, body string) int {
	t.Helper()
	return c.request(t, "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body)
}

// closeWrite says that nothing more will be sent.
func (c *rawConn) closeWrite(t *testing.T) {
	t.Helper()
	if err := c.conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// ended fails where the server lets the connection live, or answers before it
// ends it.
func (c *rawConn) ended(t *testing.T) {
	t.Helper()
	if n := c.rest(t, "the connection"); n > 0 {
		t.Errorf("%d bytes before the connection's end", n)
	}
}

// closed fails where the server lets the connection live.
func (c *rawConn) closed(t *testing.T, why string) {
	t.Helper()
	c.rest(t, why)
}

// rest reads to the end that the server makes, and gives how much there was.
func (c *rawConn) rest(t *testing.T, what string) int64 {
	t.Helper()
	c.patient(t)
	n, err := io.Copy(io.Discard, c.read)
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		t.Errorf("%s: it is still open after %v", what, patience)
	}
	return n
}
