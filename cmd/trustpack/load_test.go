package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
	"trustpack/ingest"
)

// mostLines is how many lines the ingest under load takes in a request.
const mostLines = 120

// load is what the clients do together.
type load struct {
	senders []*sender
	acks    chan struct{} // holds one where something was acknowledged
	stop    chan struct{} // closed: end with the batch at hand

	mu      sync.Mutex
	answers books // what answers have said, by tenant
	sent    map[string]int64
}

// books are lines by tenant, and by day where the key has one behind a slash.
type books map[string]evidence.Books

func (b books) add(key string, n evidence.Books) {
	have := b[key]
	have.Received += n.Received
	have.Accepted += n.Accepted
	have.Duplicate += n.Duplicate
	have.DeadLettered += n.DeadLettered
	have.Refused += n.Refused
	b[key] = have
}

func newLoad() *load {
	return &load{acks: make(chan struct{}, 1), stop: make(chan struct{}), answers: books{}, sent: map[string]int64{}}
}

// told is what the answers until now have said, and sent what was asked.
func (l *load) told() books {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := books{}
	for tenant, n := range l.answers {
		out[tenant] = n
	}
	return out
}

// check holds the books to what answers have said: nothing of it may be
// missing. What was not answered may stand there beyond it.
func (told books) check(t *testing.T, list []evidence.Books) {
	t.Helper()
	sums := books{}
	for _, b := range list {
		if b.Received != b.Accepted+b.Duplicate+b.DeadLettered+b.Refused {
			t.Errorf("the books do not balance: %+v", b)
		}
		sums.add(b.Tenant, b)
	}
	for tenant, n := range told {
		if b := sums[tenant]; b.Accepted < n.Accepted || b.Duplicate < n.Duplicate || b.DeadLettered < n.DeadLettered || b.Refused < n.Refused {
			t.Errorf("the books of %s are %+v; the answers alone make %+v", tenant, b, n)
		}
	}
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// awaitAck waits for an acknowledgement from now on.
func (l *load) awaitAck(ctx context.Context, t *testing.T, group *errgroup.Group) {
	t.Helper()
	select {
	case <-l.acks:
	default:
	}
	select {
	case <-l.acks:
	case <-ctx.Done():
		t.Fatalf("the load has ended: %v", errors.Join(group.Wait(), context.Cause(ctx)))
	case <-time.After(patience):
		t.Fatalf("nothing was acknowledged for %v", patience)
	}
}

// number names an event of a device.
type number struct{ boot, seq int64 }

// What a line is, which says what must become of it.
const (
	lineFresh    = "fresh"    // a new number
	lineLetter   = "letter"   // a new number, of a type that nobody knows
	lineNoNumber = "none"     // cannot be read
	lineRepeat   = "repeat"   // as it was acknowledged before
	lineConflict = "conflict" // acknowledged before, now with another content
)

type sentLine struct {
	kind, text string
	n          number
}

// sender is a device: it numbers its events, and sends a batch again until it
// is acknowledged, or forgets it and boots anew.
type sender struct {
	load   *load
	device device
	url    string
	http   *http.Client
	rng    *rand.Rand
	size   int    // of its batches; 0: up to twelve
	coding string // of its bodies
	array  bool   // JSON array rather than NDJSON

	boot   int64
	seq    int64
	recent []sentLine // acknowledged last

	acked   map[number]string // kind
	tried   map[number]bool
	again   int64 // batches that were acknowledged when sent again
	known   int64 // of those: that had been stored without an answer
	dropped int64 // batches given up without an answer
	repeats int64 // acknowledged events that were sent once more and answered
	refused int64 // requests that were refused whole
}

func newSender(s *served, l *load, d device, pair *tls.Certificate, i int, rng *rand.Rand) *sender {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.root)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: i%2 == 0,
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &sender{
		load: l, device: d, url: s.public, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}, rng: rng,
		size: []int{0, 1, 100}[i%3], coding: []string{"", "gzip", "zstd", ""}[i%4], array: i%5 == 4,
		boot: 1, acked: map[number]string{}, tried: map[number]bool{},
	}
}

// next makes a line of the kind, with the next number where it takes one.
func (s *sender) next(kind string) sentLine {
	typ, at := "example.v1", time.Now().UTC().Format(time.RFC3339)
	switch kind {
	case lineNoNumber:
		return sentLine{kind: kind, text: `{"seq":"none","time":"` + at + `","type":"example.v1","data":{}}`}
	case lineRepeat, lineConflict:
		l := s.recent[s.rng.IntN(len(s.recent))]
		l.kind = kind
		if kind == lineConflict {
			l.text = strings.Replace(l.text, `"value":`, `"value":1`, 1)
		}
		return l
	case lineLetter:
		typ = "unknown.v1"
	}
	n := number{s.boot, s.seq}
	s.seq++
	s.tried[n] = true
	return sentLine{kind, fmt.Sprintf(`{"boot":%d,"seq":%d,"time":%q,"type":%q,"data":{"value":%d}}`, n.boot, n.seq, at, typ, n.seq%100), n}
}

// batch makes new events, with something else among them now and then.
func (s *sender) batch() (lines []sentLine) {
	size := s.size
	if size == 0 {
		size = 1 + s.rng.IntN(12)
	}
	for range size {
		kind := lineFresh
		switch s.rng.IntN(40) {
		case 0:
			kind = lineLetter
		case 1:
			kind = lineNoNumber
		case 2:
			if len(s.recent) > 0 {
				kind = lineRepeat
			}
		case 3:
			if len(s.recent) > 0 {
				kind = lineConflict
			}
		}
		lines = append(lines, s.next(kind))
	}
	return lines
}

func (s *sender) run(ctx context.Context) error {
	for !s.load.stopped() {
		lines := s.batch()
		taken, err := s.deliver(ctx, lines, true)
		if err == nil && taken && s.rng.IntN(20) == 0 { // as if the answer had been lost
			_, err = s.deliver(ctx, lines, false)
		}
		if err == nil && s.rng.IntN(10) == 0 {
			err = s.sendRefused(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s/%s: %w", s.device.tenant, s.device.id, err)
		}
	}
	return nil
}

// post sends lines as one request. status is 0 where there was no answer.
func (s *sender) post(ctx context.Context, lines []sentLine) (status int, reply []byte, err error) {
	var text []string
	for _, l := range lines {
		text = append(text, l.text)
	}
	body, media := []byte(strings.Join(text, "\n")), "application/x-ndjson"
	if s.array {
		body, media = []byte("["+strings.Join(text, ",")+"]"), "application/json"
	}
	if body, err = compressed(s.coding, body); err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/telemetry?lines=all", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", media)
	if s.coding != "" {
		req.Header.Set("Content-Encoding", s.coding)
	}
	s.load.mu.Lock()
	s.load.sent[s.device.tenant] += int64(len(lines))
	s.load.mu.Unlock()
	res, err := s.http.Do(req)
	if err != nil {
		return 0, nil, ctx.Err()
	}
	defer res.Body.Close()
	if reply, err = io.ReadAll(res.Body); err != nil {
		return 0, nil, ctx.Err()
	}
	return res.StatusCode, reply, nil
}

func compressed(coding string, body []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "zstd":
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		w = z
	default:
		return body, nil
	}
	_, err := w.Write(body)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// answered enters what an answer has said.
func (l *load) answered(tenant string, n evidence.Books) {
	l.mu.Lock()
	l.answers.add(tenant, n)
	l.mu.Unlock()
	select {
	case l.acks <- struct{}{}:
	default:
	}
}

// sendRefused sends what is refused whole after its events were counted.
func (s *sender) sendRefused(ctx context.Context) error {
	var lines []sentLine
	n, want := mostLines+1, ingest.CodeTooManyLines
	if s.rng.IntN(2) == 0 {
		n, want = 3, ingest.CodeTenantMismatch
	}
	for i := range n {
		lines = append(lines, sentLine{text: fmt.Sprintf(`{"tenant":"elsewhere","boot":%d,"seq":%d,"time":"2026-01-01T00:00:00Z","type":"example.v1","data":{"value":1}}`, s.boot, s.seq+int64(i))})
	}
	status, reply, err := s.post(ctx, lines)
	if err != nil || status == 0 || status == http.StatusServiceUnavailable {
		return err
	}
	var p ingest.Problem
	if json.Unmarshal(reply, &p) != nil || p.Code != want {
		return fmt.Errorf("%d lines that must be refused as %s: %d %s", n, want, status, reply)
	}
	s.refused++
	s.load.answered(s.device.tenant, evidence.Books{Received: int64(n), Refused: int64(n)})
	return nil
}

// deliver sends until there is an answer. taken is false where the batch was
// given up.
func (s *sender) deliver(ctx context.Context, lines []sentLine, fresh bool) (taken bool, err error) {
	for try := 1; ; try++ {
		status, reply, err := s.post(ctx, lines)
		switch {
		case err != nil:
			return false, err
		case status == http.StatusAccepted:
			var r ingest.Receipt
			if err := json.Unmarshal(reply, &r); err != nil {
				return false, fmt.Errorf("the receipt %s: %w", reply, err)
			}
			return true, s.acknowledge(r, lines, fresh, try)
		case status != 0 && status != http.StatusServiceUnavailable:
			return false, fmt.Errorf("answered %d %s", status, reply)
		case fresh && try == 1 && s.rng.IntN(4) == 0:
			s.boot, s.seq, s.recent = s.boot+1, 0, nil
			s.dropped++
			return false, nil
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// acknowledge holds a receipt to what the device knows. The new events and
// dead letters of a batch are stored whole or not at all.
func (s *sender) acknowledge(r ingest.Receipt, lines []sentLine, fresh bool, try int) error {
	if len(r.Lines) != len(lines) {
		return fmt.Errorf("%d lines sent, and the receipt has %d: %+v", len(lines), len(r.Lines), r)
	}
	var n evidence.Books
	stored, before := 0, 0
	for i, l := range lines {
		got, bad := r.Lines[i], false
		n.Received++
		switch got.Status {
		case "accepted":
			n.Accepted++
		case "duplicate":
			n.Duplicate++
		case "dead-lettered":
			n.DeadLettered++
		case "refused":
			n.Refused++
		}
		switch l.kind {
		case lineFresh, lineLetter:
			switch {
			case got.Status == "duplicate":
				before++
			case got.Status == "accepted" && l.kind == lineFresh, got.Status == "dead-lettered" && l.kind == lineLetter:
				stored++
			default:
				bad = true
			}
		case lineNoNumber:
			bad = got.Status != "dead-lettered"
		case lineRepeat:
			bad = got.Status != "duplicate"
		case lineConflict:
			bad = got.Status != "refused" || got.Code != ingest.CodeReplayConflict
		}
		if bad {
			return fmt.Errorf("%s line %s, try %d: %+v", l.kind, l.text, try, got)
		}
	}
	if n.Accepted != r.Accepted || n.Duplicate != r.Duplicate || n.DeadLettered != r.DeadLettered || n.Refused != r.Refused {
		return fmt.Errorf("the lines of the receipt make %+v: %+v", n, r)
	}
	switch {
	case stored > 0 && before > 0:
		return fmt.Errorf("of a batch, %d lines were stored and %d were known, try %d: %+v", stored, before, try, r)
	case fresh && try == 1 && before > 0:
		return fmt.Errorf("lines that were never sent before are known: %+v", r)
	case !fresh && stored > 0:
		return fmt.Errorf("lines that were acknowledged are taken again: %+v", r)
	}
	s.remember(lines, fresh, try, before)
	s.load.answered(s.device.tenant, n)
	return nil
}

func (s *sender) remember(lines []sentLine, fresh bool, try, before int) {
	if fresh && try > 1 {
		s.again++
		if before > 0 {
			s.known++
		}
	}
	if !fresh {
		s.repeats += int64(before)
	}
	if !fresh {
		return
	}
	s.recent = nil
	for _, l := range lines {
		if l.kind == lineFresh || l.kind == lineLetter {
			s.acked[l.n] = l.kind
		}
		if l.kind == lineFresh {
			s.recent = append(s.recent, l)
		}
	}
}

// logLine is an entry of a tenant's log, as far as it is counted.
type logLine struct {
	T, Device     string
	Received      time.Time
	Boot          int64
	Seq           *int64
	Duplicate     int64
	Refused       int64
	Accepted      int64
	DeadLettered  int64 `json:"dead_lettered"`
	ReceivedLines int64 `json:"received_lines"`
}

// check holds the logs of the tenants to what the devices know, and counts the
// events of each device.
func (l *load) check(t *testing.T, stored, payloads map[string][][]byte) map[device]int64 {
	t.Helper()
	events, letters := map[device]map[number]int{}, map[device]map[number]int{}
	for _, tenant := range []string{"north", "south"} {
		for i, data := range stored[tenant] {
			var e logLine
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatalf("entry %d of %s: %v", i, tenant, err)
			}
			d, count := device{tenant, e.Device}, events
			if e.T == "deadletter" {
				count = letters
			}
			if e.Seq == nil {
				continue
			}
			if count[d] == nil {
				count[d] = map[number]int{}
			}
			count[d][number{e.Boot, *e.Seq}]++
			var sent struct{ Value int64 }
			if e.T == "event" && (json.Unmarshal(payloads[tenant][i], &sent) != nil || sent.Value != *e.Seq%100) {
				t.Errorf("entry %d of %s holds another event's data: %s of %s", i, tenant, payloads[tenant][i], data)
			}
		}
	}
	logged := map[device]int64{}
	var acked, unanswered, again, known, dropped, repeats, refused int64
	for _, s := range l.senders {
		for n, kind := range s.acked {
			wantEvents, wantLetters := 1, 0
			if kind == lineLetter {
				wantEvents, wantLetters = 0, 1
			}
			if e, d := events[s.device][n], letters[s.device][n]; e != wantEvents || d != wantLetters {
				t.Errorf("%v %+v was acknowledged as %s and stands in the log as %d events and %d dead letters", s.device, n, kind, e, d)
			}
		}
		for _, count := range []map[number]int{events[s.device], letters[s.device]} {
			for n, got := range count {
				switch {
				case !s.tried[n]:
					t.Errorf("%v %+v was never sent and stands in the log", s.device, n)
				case got > 1:
					t.Errorf("%v %+v stands in the log %d times", s.device, n, got)
				case s.acked[n] == "":
					unanswered++
				}
			}
		}
		logged[s.device] = int64(len(events[s.device]))
		acked += int64(len(s.acked))
		again, known, dropped, repeats, refused = again+s.again, known+s.known, dropped+s.dropped, repeats+s.repeats, refused+s.refused
		delete(events, s.device)
		delete(letters, s.device)
	}
	for d := range events {
		t.Errorf("the log holds events of %v, which sent none", d)
	}
	t.Logf("%d events and dead letters acknowledged; %d batches acknowledged when sent again, of which %d were there already; %d batches given up, of which %d lines were stored; %d lines repeated; %d requests refused",
		acked, again, known, dropped, unanswered, repeats, refused)
	if again == 0 || dropped == 0 || repeats == 0 {
		t.Error("no end of the ingest came between a batch and its answer: the test has shown nothing")
	}
	for tenant, n := range recountByTenant(t, stored) {
		if n.Received > l.sent[tenant] {
			t.Errorf("the log of %s accounts for %d lines, and %d were sent", tenant, n.Received, l.sent[tenant])
		}
	}
	return logged
}

// recount makes the books anew from the entries of the logs alone, by tenant
// and UTC day.
func recount(t *testing.T, stored map[string][][]byte) books {
	t.Helper()
	out := books{}
	for log, entries := range stored {
		for i, data := range entries {
			if log == "control" {
				recountRefusal(t, out, data)
				continue
			}
			var e logLine
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatalf("entry %d of %s: %v", i, log, err)
			}
			key := log + "/" + e.Received.UTC().Format(time.DateOnly)
			switch e.T {
			case "event":
				out.add(key, evidence.Books{Received: 1, Accepted: 1})
			case "deadletter":
				out.add(key, evidence.Books{Received: 1, DeadLettered: 1})
			case "tally": // it counts the entries before it once more
				out.add(key, evidence.Books{Received: e.ReceivedLines - e.Accepted - e.DeadLettered, Duplicate: e.Duplicate, Refused: e.Refused})
			default:
				t.Errorf("entry %d of %s is a %q", i, log, e.T)
			}
		}
	}
	return out
}

func recountRefusal(t *testing.T, out books, data []byte) {
	t.Helper()
	var e evidence.AuditEntry
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	if e.Type != evidence.EntryRefusal {
		return
	}
	var r evidence.Refusal
	if err := json.Unmarshal(e.Data, &r); err != nil {
		t.Fatal(err)
	}
	if r.Events > 0 {
		out.add(e.Tenant+"/"+r.Last.UTC().Format(time.DateOnly), evidence.Books{Received: r.Events, Refused: r.Events})
	}
}

func recountByTenant(t *testing.T, stored map[string][][]byte) books {
	out := books{}
	for key, n := range recount(t, stored) {
		tenant, _, _ := strings.Cut(key, "/")
		out.add(tenant, n)
	}
	return out
}

// checkBooks wants the books to say what the logs say, day by day.
func checkBooks(t *testing.T, list []evidence.Books, logged books) {
	t.Helper()
	for _, b := range list {
		key := b.Tenant + "/" + b.Day
		want := logged[key]
		want.Tenant, want.Day = b.Tenant, b.Day
		if b != want {
			t.Errorf("the books are %+v, and the logs make %+v", b, want)
		}
		delete(logged, key)
	}
	for key := range logged {
		t.Errorf("there are no books of %s", key)
	}
}
