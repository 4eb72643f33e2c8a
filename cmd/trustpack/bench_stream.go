package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// benchStream sends events over one kept request, some ahead of their receipts.
type benchStream struct {
	*benchSender
	receipts *bufio.Reader
	ahead    []sentAt // oldest first
	acks     histogram
}

// sentAt is how many events were sent at once, and when.
type sentAt struct {
	n  int
	at time.Time
}

// open begins the stream and reads its first line.
func (b *benchStream) open() error {
	head := "POST /v1/stream HTTP/1.1\r\nHost: " + b.addr + "\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := b.conn.Write([]byte(head)); err != nil {
		return fmt.Errorf("opening a stream: %w", err)
	}
	res, err := http.ReadResponse(b.in, nil)
	if err != nil {
		return fmt.Errorf("opening a stream: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("opening a stream: answered %s", res.Status)
	}
	b.receipts = bufio.NewReaderSize(res.Body, 64<<10)
	_, err = b.receipts.ReadSlice('\n')
	return err
}

// push sends the next n events in one piece.
func (b *benchStream) push(n int) error {
	b.fill(n)
	b.out = strconv.AppendInt(b.out[:0], int64(len(b.body)), 16)
	b.out = append(b.out, "\r\n"...)
	b.out = append(b.out, b.body...)
	b.out = append(b.out, "\r\n"...)
	b.ahead = append(b.ahead, sentAt{n, time.Now()})
	if _, err := b.conn.Write(b.out); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

// pull waits for a receipt and takes all that have come. Each must say that
// its event was accepted.
func (b *benchStream) pull() (n int, err error) {
	for n == 0 || b.whole() {
		line, err := b.receipts.ReadSlice('\n')
		if err != nil {
			return n, fmt.Errorf("reading a receipt: %w", err)
		}
		if !bytes.Contains(line, []byte(`"status":"accepted"`)) {
			return n, fmt.Errorf("no receipt of an accepted event: %s", line)
		}
		n++
	}
	now := time.Now()
	for left := n; left > 0; {
		if len(b.ahead) == 0 {
			return n, errors.New("more receipts than events")
		}
		first := &b.ahead[0]
		k := min(left, first.n)
		for range k {
			b.acks.add(now.Sub(first.at))
		}
		if first.n -= k; first.n == 0 {
			b.ahead = append(b.ahead[:0], b.ahead[1:]...)
		}
		left -= k
	}
	return n, nil
}

// whole reports whether a whole line has come.
func (b *benchStream) whole() bool {
	waiting, err := b.receipts.Peek(b.receipts.Buffered())
	return err == nil && bytes.IndexByte(waiting, '\n') >= 0
}

// streams lets each device send over a stream of its own. Only events with a
// receipt count.
func (t benchTarget) streams(ctx context.Context, l workload, inFlight int) (r benchResult, err error) {
	senders, err := t.connect()
	if err != nil {
		return r, err
	}
	defer closeSenders(senders)
	streams := make([]*benchStream, len(senders))
	for i, b := range senders {
		streams[i] = &benchStream{benchSender: b}
		if err := streams[i].open(); err != nil {
			return r, err
		}
	}
	ctx, stop := context.WithTimeout(ctx, l.duration)
	defer stop()
	end, err := l.profiled()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, end()) }()
	runtime.GC()
	cpu, began := processCPU(), time.Now()
	errs := make([]error, len(streams))
	var wg sync.WaitGroup
	for i, b := range streams {
		wg.Go(func() {
			defer stop()
			for n := inFlight; ctx.Err() == nil; {
				if errs[i] = b.push(n); errs[i] != nil {
					return
				}
				if n, errs[i] = b.pull(); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	took, cpu := time.Since(began), processCPU()-cpu
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	var all histogram
	for _, b := range streams {
		all.merge(&b.acks)
	}
	return l.result(&all, took, cpu)
}
