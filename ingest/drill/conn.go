package drill

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// patience is how long a drill waits for an answer.
const patience = 15 * time.Second

// endpoint is one of the ingest's ports.
type endpoint struct {
	base   *url.URL
	config *tls.Config // without a client certificate
	budget *budget     // what may still be sent
}

func endpointOf(t Target, raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{base: u, budget: newBudget(), config: &tls.Config{RootCAs: t.CA, ServerName: u.Hostname(), Time: t.Now, MinVersion: tls.VersionTLS12}}, nil
}

// with is the TLS configuration that shows the certificates.
func (e endpoint) with(certs ...tls.Certificate) *tls.Config {
	c := e.config.Clone()
	if len(certs) > 0 {
		// Shown also where the server names other issuers than ours.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
	}
	return c
}

// request is one HTTP request. Chunked sends the body without its length.
type request struct {
	method, path string
	header       http.Header
	body         []byte
	chunked      bool
}

// answer is what came back. Exactly one of status, alert, closed and err
// says how the attempt ended.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	alert   string // the TLS alert with which the server ended it
	closed  bool   // the server closed the connection and said nothing
	err     error  // the drill could not look
	code    string // of the problem document
	request string // ID that the server gave the request
	latency time.Duration
	source  string // our own address, as the server saw it
}

// connection is one connection, kept so that requests can follow each other
// on it. It speaks HTTP/1.1.
type connection struct {
	conn    net.Conn
	reader  *bufio.Reader
	host    string
	budget  *budget
	began   time.Time
	greeted time.Duration // dial and handshake
}

// dial connects and shakes hands; config nil means plain text. The answer is
// non-nil where there is no connection to use.
func (e endpoint) dial(ctx context.Context, config *tls.Config) (*connection, *answer) {
	began := time.Now()
	d := net.Dialer{Timeout: patience}
	raw, err := d.DialContext(ctx, "tcp", e.base.Host)
	if err != nil {
		return nil, &answer{err: fmt.Errorf("connecting: %w", err)}
	}
	c := &connection{conn: raw, host: e.base.Host, budget: e.budget, began: began}
	if config != nil {
		t := tls.Client(raw, config)
		if err := raw.SetDeadline(began.Add(patience)); err != nil {
			return nil, &answer{err: errors.Join(err, raw.Close())}
		}
		if err := t.HandshakeContext(ctx); err != nil {
			a := c.broken(fmt.Errorf("shaking hands: %w", err))
			a.latency = time.Since(began)
			c.close()
			return nil, &a
		}
		c.conn = t
	}
	c.reader, c.greeted = bufio.NewReader(c.conn), time.Since(began)
	return c, nil
}

// close ends the connection; what it says is of no interest to a drill.
func (c *connection) close() { _ = c.conn.Close() }

// source is our address of the connection, without the port.
func (c *connection) source() string {
	host, _, err := net.SplitHostPort(c.conn.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}

// do sends a request and reads the answer. The latency runs from the first
// byte sent to the last byte read.
func (c *connection) do(q request) answer {
	if err := c.budget.spend(len(q.body) + 512); err != nil { // about what the head and TLS add
		c.close()
		return answer{err: err}
	}
	began := time.Now()
	if err := c.conn.SetDeadline(began.Add(patience)); err != nil {
		return answer{err: fmt.Errorf("sending: %w", err)}
	}
	wrote := make(chan error, 1)
	go func() { wrote <- c.write(q) }()
	a := c.read(q.method)
	a.latency, a.source = time.Since(began), c.source()
	if a.status == 0 {
		c.close() // so that the writer ends
		<-wrote
		return a
	}
	// An early answer counts for more than an unfinished request; but then
	// nothing can follow on this connection.
	select {
	case err := <-wrote:
		if err != nil {
			c.close()
		}
	case <-time.After(time.Second):
		c.close()
		<-wrote
	}
	return a
}

// write sends the request in HTTP/1.1 as it is, also where it is not allowed.
func (c *connection) write(q request) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: trustpack-drill\r\n", q.method, q.path, c.host)
	h := q.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if q.chunked {
		h.Set("Transfer-Encoding", "chunked")
	} else if q.method != "GET" {
		h.Set("Content-Length", fmt.Sprint(len(q.body)))
	}
	if err := h.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	if !q.chunked {
		head.Write(q.body)
		_, err := c.conn.Write(head.Bytes())
		return err
	}
	for rest := q.body; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		fmt.Fprintf(&head, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
		if _, err := c.conn.Write(head.Bytes()); err != nil {
			return err
		}
		head.Reset()
	}
	_, err := io.WriteString(c.conn, "0\r\n\r\n")
	return err
}

// read reads one answer.
func (c *connection) read(method string) answer {
	reply, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return c.broken(fmt.Errorf("reading the answer: %w", err))
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, 8<<20))
	if err != nil {
		return c.broken(fmt.Errorf("reading the answer's body: %w", err))
	}
	if err := reply.Body.Close(); err != nil {
		return c.broken(fmt.Errorf("reading the answer's end: %w", err))
	}
	a := answer{status: reply.StatusCode, header: reply.Header, body: body, request: reply.Header.Get("X-Request-Id")}
	var problem struct {
		Code      string `json:"code"`
		RequestID string `json:"request_id"`
	}
	if a.status >= 400 && json.Unmarshal(body, &problem) == nil {
		a.code = problem.Code
		if a.request == "" {
			a.request = problem.RequestID
		}
	}
	return a
}

// broken tells a refusal by the server (an alert, or the connection closed)
// from what keeps the drill from looking.
func (c *connection) broken(err error) answer {
	a := answer{source: c.source()}
	var op *net.OpError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		a.alert = op.Err.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		a.err = fmt.Errorf("no answer within %s: %w", patience, err)
	case errors.As(err, &certificate), errors.As(err, &record), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		a.err = err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &op):
		a.closed = true
	default:
		a.err = err
	}
	return a
}

// once dials, sends one request and closes.
func (e endpoint) once(ctx context.Context, config *tls.Config, q request) answer {
	c, failed := e.dial(ctx, config)
	if failed != nil {
		return *failed
	}
	defer c.close()
	return c.do(q)
}

// String says in a few words how the attempt ended.
func (a answer) String() string {
	switch {
	case a.err != nil:
		return "could not look: " + a.err.Error()
	case a.alert != "":
		return "TLS alert: " + a.alert
	case a.closed:
		return "connection closed without an answer"
	case a.code != "":
		return fmt.Sprintf("%d %s", a.status, a.code)
	}
	return fmt.Sprint(a.status)
}
