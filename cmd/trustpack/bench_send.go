package main

import (
	"bufio"
	"bytes"
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
	conn   net.Conn
	in     *bufio.Reader
	head   []byte
	body   []byte
	out    []byte
	second int64 // of the time in at
	at     string
	seq    int64
}

func newBenchSender(conn net.Conn, host string) *benchSender {
	head := "POST /v1/telemetry HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/x-ndjson\r\nContent-Length: "
	return &benchSender{conn: conn, in: bufio.NewReader(conn), head: []byte(head)}
}

// send sends the next n events and waits for the answer.
func (b *benchSender) send(n int) error {
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
	b.out = append(b.out[:0], b.head...)
	b.out = strconv.AppendInt(b.out, int64(len(b.body)), 10)
	b.out = append(b.out, "\r\n\r\n"...)
	b.out = append(b.out, b.body...)
	if _, err := b.conn.Write(b.out); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return b.answer()
}

// answer reads one answer with a Content-Length, which must be 202.
func (b *benchSender) answer() error {
	line, err := b.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	accepted, status := bytes.HasPrefix(line, []byte("HTTP/1.1 202 ")), string(line)
	size := int64(0)
	for {
		line, err := b.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if size, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return fmt.Errorf("reading an answer: %w", err)
			}
		}
	}
	if !accepted {
		why, err := io.ReadAll(io.LimitReader(b.in, min(size, 2000)))
		return fmt.Errorf("answered %q: %s (%v)", status, why, err)
	}
	if _, err := b.in.Discard(int(size)); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	return nil
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
