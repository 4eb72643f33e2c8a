package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
	"trustpack/ingest"
)

const killRounds = 20

// TestKilledUnderLoad kills the ingest with SIGKILL twenty times while devices
// send and an operator provisions, and again and again while it recovers. What
// was acknowledged must then stand in the log exactly once, and nothing twice.
func TestKilledUnderLoad(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a system on which a process can be interrupted: a clean stop is part of the test")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	s := initServed(t)
	p := s.ready(s.start())
	var fleet []device
	for i := range 4 {
		fleet = append(fleet, device{"north", fmt.Sprintf("n-%d", i)}, device{"south", fmt.Sprintf("s-%d", i)})
	}
	pairs := s.enrol(ctx, fleet...)
	admin := s.operator("admin")
	if _, err := admin.QuarantineDevice(ctx, "south", "s-3", "it stays quarantined", "T-1"); err != nil {
		t.Fatal(err)
	}
	registry := stable(t, ctx, admin)

	l := &load{acks: make(chan struct{}, 1), stop: make(chan struct{})}
	group, gctx := errgroup.WithContext(ctx)
	for i, d := range fleet {
		if d.id == "s-3" {
			continue
		}
		l.senders = append(l.senders, newSender(l, d, s.deviceClient(pairs[d], i%2 == 0), rand.New(rand.NewPCG(seed, uint64(i)+1))))
	}
	for _, snd := range l.senders {
		group.Go(func() error { return snd.run(gctx) })
	}
	clerk := &clerk{load: l, client: admin}
	group.Go(func() error { return clerk.run(gctx) })

	for round := range killRounds {
		l.awaitAck(gctx, t, group)
		pause(gctx, time.Duration(rng.IntN(100))*time.Millisecond)
		s.kill(p)
		if rng.IntN(3) == 0 { // and once more, in the middle of coming back
			p = s.start()
			pause(gctx, time.Duration(rng.IntN(60))*time.Millisecond)
			s.kill(p)
		}
		p = s.ready(s.start())
		if got := stable(t, ctx, admin); !reflect.DeepEqual(got, registry) {
			t.Fatalf("round %d: the registry was\n%v\nand is\n%v", round, registry, got)
		}
	}
	l.awaitAck(gctx, t, group)
	close(l.stop)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	books, err := admin.Books(ctx, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	devices, err := admin.Devices(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	s.stop(p)
	stored := s.stored()
	logged := l.check(t, stored)
	clerk.check(t, devices, stored["control"])
	checkBooks(t, books, devices, logged)
	s.fsck()

	p = s.ready(s.start())
	again, err := admin.Devices(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, devices) {
		t.Errorf("the registry was\n%v\nand after a restart is\n%v", devices, again)
	}
	s.stop(p)
	t.Run("tessera", func(t *testing.T) { s.tesseraFsck(t, "north", "south", "control") })
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// stable lists the fleet without what moves while events come in, and without
// the clerk's devices.
func stable(t *testing.T, ctx context.Context, admin *ingest.AdminClient) []ingest.DeviceRecord {
	t.Helper()
	list, err := admin.Devices(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	var out []ingest.DeviceRecord
	for _, d := range list {
		if strings.HasPrefix(d.ID, "clerk-") {
			continue
		}
		d.LastSeen, d.LastEvent, d.Accepted, d.ActivatedAt = nil, nil, 0, nil
		if d.State == evidence.DeviceActive {
			d.State = evidence.DeviceIssued // its first contact makes it active
		}
		out = append(out, d)
	}
	return out
}

// load is what the clients do together.
type load struct {
	senders []*sender
	acks    chan struct{} // holds one where something was acknowledged
	stop    chan struct{} // closed: end with the batch at hand
}

func (l *load) acknowledged() {
	select {
	case l.acks <- struct{}{}:
	default:
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
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was acknowledged for 30 s")
	}
}

// number names an event of a device.
type number struct{ boot, seq int64 }

// sender is a device: it numbers its events, and sends a batch again until it
// is acknowledged, or forgets it and boots anew.
type sender struct {
	load   *load
	device device
	client *ingest.DeviceClient
	rng    *rand.Rand
	boot   int64
	seq    int64

	acked   map[number]bool
	tried   map[number]bool
	again   int64 // batches that were acknowledged when sent again
	known   int64 // of those: that had been stored without an answer
	dropped int64 // batches given up without an answer
	repeats int64 // acknowledged events that were sent once more and answered
}

func newSender(l *load, d device, c *ingest.DeviceClient, rng *rand.Rand) *sender {
	return &sender{load: l, device: d, client: c, rng: rng, boot: 1, acked: map[number]bool{}, tried: map[number]bool{}}
}

// batch makes up to twelve new events.
func (s *sender) batch() (body []byte, numbers []number) {
	for range 1 + s.rng.IntN(12) {
		n := number{s.boot, s.seq}
		s.seq++
		numbers = append(numbers, n)
		s.tried[n] = true
		body = fmt.Appendf(body, `{"boot":%d,"seq":%d,"time":%q,"type":"example.v1","data":{"value":%d}}`+"\n",
			n.boot, n.seq, time.Now().UTC().Format(time.RFC3339), n.seq%1000)
	}
	return body, numbers
}

func (s *sender) run(ctx context.Context) error {
	for !s.load.stopped() {
		body, numbers := s.batch()
		taken, err := s.deliver(ctx, body, numbers, true)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", s.device.tenant, s.device.id, err)
		}
		if !taken || s.rng.IntN(20) > 0 {
			continue
		}
		// As if the answer had been lost.
		if _, err := s.deliver(ctx, body, numbers, false); err != nil {
			return fmt.Errorf("%s/%s, sent once more: %w", s.device.tenant, s.device.id, err)
		}
	}
	return nil
}

// deliver sends until there is an answer. taken is false where the batch was
// given up.
func (s *sender) deliver(ctx context.Context, body []byte, numbers []number, fresh bool) (taken bool, err error) {
	for try := 1; ; try++ {
		receipt, err := s.client.Send(ctx, body)
		if err == nil {
			return true, s.answered(receipt, numbers, fresh, try)
		}
		var p *ingest.Problem
		if errors.As(err, &p) && p.Status != 503 || ctx.Err() != nil {
			return false, err
		}
		if fresh && try == 1 && s.rng.IntN(4) == 0 {
			s.boot, s.seq = s.boot+1, 0
			s.dropped++
			return false, nil
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// answered holds a receipt to what the device knows. A batch is stored whole
// or not at all.
func (s *sender) answered(r ingest.Receipt, numbers []number, fresh bool, try int) error {
	n := int64(len(numbers))
	isNew, isKnown := r.Accepted == n && r.Duplicate == 0, r.Accepted == 0 && r.Duplicate == n
	switch {
	case r.DeadLettered+r.Refused > 0 || !isNew && !isKnown:
		return fmt.Errorf("%d events, try %d: %+v", n, try, r)
	case fresh && try == 1 && !isNew:
		return fmt.Errorf("%d events that were never sent before are known: %+v", n, r)
	case !fresh && !isKnown:
		return fmt.Errorf("%d events that were acknowledged are taken again: %+v", n, r)
	}
	if fresh && try > 1 {
		s.again++
		if isKnown {
			s.known++
		}
	}
	if !fresh {
		s.repeats += n
	}
	for _, x := range numbers {
		s.acked[x] = true
	}
	s.load.acknowledged()
	return nil
}

// check holds the logs of the tenants to what the devices know, and counts the
// events of each device.
func (l *load) check(t *testing.T, stored map[string][][]byte) map[device]int64 {
	t.Helper()
	counts := map[device]map[number]int{}
	for _, tenant := range []string{"north", "south"} {
		for i, data := range stored[tenant] {
			var e struct {
				T, Device string
				Boot, Seq int64
				Data      struct{ Value int64 }
			}
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatalf("entry %d of %s: %v", i, tenant, err)
			}
			if e.T != "event" {
				if e.T != "tally" {
					t.Errorf("entry %d of %s is a %q", i, tenant, e.T)
				}
				continue
			}
			if e.Data.Value != e.Seq%1000 {
				t.Errorf("entry %d of %s holds another event's data: %s", i, tenant, data)
			}
			d := device{tenant, e.Device}
			if counts[d] == nil {
				counts[d] = map[number]int{}
			}
			counts[d][number{e.Boot, e.Seq}]++
		}
	}
	logged := map[device]int64{}
	var acked, unanswered, again, known, dropped, repeats int64
	for _, s := range l.senders {
		for n := range s.acked {
			if got := counts[s.device][n]; got != 1 {
				t.Errorf("%v %+v was acknowledged and stands in the log %d times", s.device, n, got)
			}
		}
		for n, got := range counts[s.device] {
			switch {
			case !s.tried[n]:
				t.Errorf("%v %+v was never sent and stands in the log", s.device, n)
			case got > 1:
				t.Errorf("%v %+v stands in the log %d times", s.device, n, got)
			case !s.acked[n]:
				unanswered++
			}
		}
		logged[s.device] = int64(len(counts[s.device]))
		acked += int64(len(s.acked))
		again, known, dropped, repeats = again+s.again, known+s.known, dropped+s.dropped, repeats+s.repeats
		delete(counts, s.device)
	}
	for d := range counts {
		t.Errorf("the log holds events of %v, which sent none", d)
	}
	t.Logf("%d events acknowledged; %d batches acknowledged when sent again, of which %d were there already; %d batches given up, of which %d events were stored; %d events repeated",
		acked, again, known, dropped, unanswered, repeats)
	if again == 0 || dropped == 0 || repeats == 0 {
		t.Error("no kill came between a batch and its answer: the test has shown nothing")
	}
	return logged
}

// checkBooks wants every line that came accounted for, as the logs have it.
func checkBooks(t *testing.T, books []evidence.Books, devices []ingest.DeviceRecord, logged map[device]int64) {
	t.Helper()
	accepted := map[string]int64{}
	for _, b := range books {
		if b.Received != b.Accepted+b.Duplicate+b.DeadLettered+b.Refused {
			t.Errorf("the books do not balance: %+v", b)
		}
		accepted[b.Tenant] += b.Accepted
	}
	for d, n := range logged {
		accepted[d.tenant] -= n
	}
	for tenant, off := range accepted {
		if off != 0 {
			t.Errorf("the books of %s have %d more accepted events than its log", tenant, off)
		}
	}
	if len(accepted) != 2 {
		t.Errorf("there are books of %d tenants, want 2", len(accepted))
	}
	for _, d := range devices {
		if want := logged[device{d.Tenant, d.ID}]; d.Accepted != want {
			t.Errorf("the registry counts %d events of %s/%s, the log %d", d.Accepted, d.Tenant, d.ID, want)
		}
	}
}

// clerk is an operator who requests one device after the other.
type clerk struct {
	load   *load
	client *ingest.AdminClient
	acked  []string
	asked  map[string]bool
}

func (c *clerk) run(ctx context.Context) error {
	c.asked = map[string]bool{}
	for i := 0; !c.load.stopped(); i++ {
		id := fmt.Sprintf("clerk-%04d", i)
		c.asked[id] = true
		_, err := c.client.RequestDevice(ctx, ingest.DeviceRequest{Tenant: "north", Device: id, Type: "meter", Reason: "test"})
		var p *ingest.Problem
		switch {
		case err == nil:
			c.acked = append(c.acked, id)
		case errors.As(err, &p) && p.Status != 503 || ctx.Err() != nil:
			return fmt.Errorf("requesting %s: %w", id, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

// check wants each acknowledged request in the registry, and in the log once.
func (c *clerk) check(t *testing.T, devices []ingest.DeviceRecord, control [][]byte) {
	t.Helper()
	listed, requests := map[string]bool{}, map[string]int{}
	for _, d := range devices {
		listed[d.ID] = true
	}
	for i, data := range control {
		var e evidence.AuditEntry
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("control entry %d: %v", i, err)
		}
		if e.Type == evidence.EntryDeviceRequested {
			requests[e.Device]++
		}
	}
	for _, id := range c.acked {
		if !listed[id] || requests[id] != 1 {
			t.Errorf("the request of %s was acknowledged; it is in the registry: %v, in the log %d times", id, listed[id], requests[id])
		}
	}
	for id, n := range requests {
		if n != 1 || strings.HasPrefix(id, "clerk-") && !c.asked[id] {
			t.Errorf("the request of %s stands in the log %d times", id, n)
		}
	}
	if len(c.acked) == 0 {
		t.Error("no request was acknowledged")
	}
}

// tesseraFsck has the logs read by Tessera's fsck, which is named by the
// variable TESSERA_FSCK. It exits 0 even where it finds faults, and may hang.
func (s *served) tesseraFsck(t *testing.T, logs ...string) {
	program := os.Getenv("TESSERA_FSCK")
	if program == "" {
		t.Skip("TESSERA_FSCK does not name Tessera's fsck program")
	}
	for _, log := range logs {
		out, key := filepath.Join(t.TempDir(), log), filepath.Join(t.TempDir(), log+".vkey")
		if b, err := exec.Command("trustpack", "ledger", "export", s.ledgerDir(), out, "--log", log, "--vkey", key).CombinedOutput(); err != nil {
			t.Fatalf("exporting %s: %v\n%s", log, err, b)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		b, err := exec.CommandContext(ctx, program, "-N", "8", "--storage_url=file://"+filepath.ToSlash(out)+"/", "--public_key="+key, "--ui=false").CombinedOutput()
		cancel()
		if err != nil || !bytes.Contains(b, []byte("Successfully fsck'd")) {
			t.Errorf("Tessera's fsck of %s: %v\n%s", log, err, b)
		}
	}
}
