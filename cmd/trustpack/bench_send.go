package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// benchSender is a device that writes HTTP/1.1 by hand over one kept
// connection, so that the client takes little of what is measured.
type benchSender struct {
	addr   string
	tls    *tls.Config
	conn   net.Conn
	in     *bufio.Reader
	head   []byte
	body   []byte
	out    []byte
	second int64 // of the time in at
	at     string
	seq    int64
}

func newBenchSender(addr string, root []byte, pair *tls.Certificate) *benchSender {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root) // without one, connecting says so
	return &benchSender{
		addr: addr,
		tls:  &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"},
		head: []byte("POST /v1/telemetry HTTP/1.1\r\nHost: " + addr + "\r\nContent-Type: application/x-ndjson\r\nContent-Length: "),
	}
}

// dial connects, or connects anew.
func (b *benchSender) dial() error {
	conn, err := tls.Dial("tcp", b.addr, b.tls)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", b.addr, err)
	}
	if b.conn != nil {
		_ = b.conn.Close() // it is broken off
	}
	b.conn, b.in = conn, bufio.NewReader(conn)
	return nil
}

// send sends the next n events, which must be taken.
func (b *benchSender) send(n int) error {
	status, why, err := b.try(n)
	if err == nil && status != 202 {
		err = fmt.Errorf("answered %d: %s", status, why)
	}
	return err
}

// fill makes the next n events the body.
func (b *benchSender) fill(n int) {
	if now := time.Now(); now.Unix() != b.second {
		b.second, b.at = now.Unix(), now.UTC().Format(time.RFC3339)
	}
	b.body = b.body[:0]
	for range n {
		b.seq++
		b.body = append(b.body, `{"seq":`...)
		b.body = strconv.AppendInt(b.body, b.seq, 10)
		b.body = append(b.body, `,"time":"`...)
		b.body = append(b.body, b.at...)
		b.body = append(b.body, `","type":"power.v1","fw":"1.4.2","data":{"kw":`...)
		b.body = strconv.AppendInt(b.body, b.seq%400, 10)
		b.body = append(b.body, `.25,"phase":"l2","meter":{"kwh":`...)
		b.body = strconv.AppendInt(b.body, b.seq, 10)
		b.body = append(b.body, ".125}}}\n"...)
	}
}

// try sends the next n events and waits for the answer. why is the body of an
// answer other than 202.
func (b *benchSender) try(n int) (status int, why []byte, err error) {
	b.fill(n)
	b.out = append(b.out[:0], b.head...)
	b.out = strconv.AppendInt(b.out, int64(len(b.body)), 10)
	b.out = append(b.out, "\r\n\r\n"...)
	b.out = append(b.out, b.body...)
	if _, err := b.conn.Write(b.out); err != nil {
		return 0, nil, fmt.Errorf("sending: %w", err)
	}
	if status, why, err = b.answer(); err != nil {
		return 0, nil, fmt.Errorf("reading an answer: %w", err)
	}
	return status, why, nil
}

// answer reads one answer with a Content-Length.
func (b *benchSender) answer() (status int, why []byte, err error) {
	line, err := b.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, nil, fmt.Errorf("%q is no status line", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	size := int64(0)
	for {
		line, err := b.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if size, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, nil, err
			}
		}
	}
	if status != 202 {
		why, err = io.ReadAll(io.LimitReader(b.in, min(size, 2000)))
		size -= int64(len(why))
	}
	if err == nil {
		_, err = b.in.Discard(int(size))
	}
	return status, why, err
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
