package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
	"trustpack/ingest"
)

// killRounds is how many times the ingest is killed: as TRUSTPACK_KILLS says,
// or 20 times.
func killRounds(t *testing.T) int {
	text := os.Getenv("TRUSTPACK_KILLS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TRUSTPACK_KILLS: %q is no number of kills", text)
	}
	return n
}

// TestKilledUnderLoad kills the ingest with SIGKILL again and again while
// devices send and an operator provisions, and some more times while it
// recovers. Devices of two tenants send one event at a time or a hundred, plain
// and compressed, with repeats, dead letters and what is refused among them,
// and send again what was not acknowledged. What was acknowledged must then
// stand in the log exactly once, nothing twice, and the books must say what the
// log says and no less than what the devices were told.
func TestKilledUnderLoad(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a system on which a process can be interrupted: a clean stop is part of the test")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()

	s := initServed(t, fmt.Sprintf("  limits: {lines: %d}", mostLines), "  dead_letters: {per_tenant: 1000000}")
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

	l := newLoad()
	group, gctx := errgroup.WithContext(ctx)
	for i, d := range fleet {
		if d.id == "s-3" {
			continue
		}
		l.senders = append(l.senders, newSender(s, l, d, pairs[d], i, rand.New(rand.NewPCG(seed, uint64(i)+1))))
	}
	for _, snd := range l.senders {
		group.Go(func() error { return snd.run(gctx) })
	}
	clerk := &clerk{load: l, client: admin}
	group.Go(func() error { return clerk.run(gctx) })

	for round := range killRounds(t) {
		l.awaitAck(gctx, t, group)
		pause(gctx, time.Duration(rng.IntN(100))*time.Millisecond)
		s.kill(p)
		if rng.IntN(3) == 0 { // and once more, in the middle of coming back
			p = s.start()
			pause(gctx, time.Duration(rng.IntN(60))*time.Millisecond)
			s.kill(p)
		}
		told := l.told()
		p = s.ready(s.start())
		books, err := admin.Books(ctx, "", "", "")
		if err != nil {
			t.Fatal(err)
		}
		told.check(t, books)
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
	stored, payloads := s.stored()
	logged := l.check(t, stored, payloads)
	if n := l.told(); n["north"].Refused == 0 || n["south"].DeadLettered == 0 {
		t.Errorf("nothing was refused or dead-lettered: %+v", n)
	}
	clerk.check(t, devices, stored["control"])
	checkBooks(t, books, recount(t, stored))
	l.told().check(t, books)
	for _, d := range devices {
		if want := logged[device{d.Tenant, d.ID}]; d.Accepted != want {
			t.Errorf("the registry counts %d events of %s/%s, the log %d", d.Accepted, d.Tenant, d.ID, want)
		}
	}
	s.fsck()

	p = s.ready(s.start())
	again, err := admin.Devices(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, devices) {
		t.Errorf("the registry was\n%v\nand after a restart is\n%v", devices, again)
	}
	t.Run("tessera reads what is served", func(t *testing.T) { s.tesseraFsckServed(t, "north", "south", "control") })
	s.stop(p)
	t.Run("tessera reads what is exported", func(t *testing.T) { s.tesseraFsck(t, "north", "south", "control") })
}

// TestStoppedUnderLoad stops the ingest with SIGTERM while devices send. It
// answers what it has in hand, and takes nothing that it does not answer: of
// the batches that a device had to send again, none is known.
func TestStoppedUnderLoad(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be told to stop there")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := initServed(t, fmt.Sprintf("  limits: {lines: %d}", mostLines), "  dead_letters: {per_tenant: 1000000}")
	p := s.ready(s.start())
	var fleet []device
	for i := range 4 {
		fleet = append(fleet, device{"north", fmt.Sprintf("n-%d", i)}, device{"south", fmt.Sprintf("s-%d", i)})
	}
	pairs := s.enrol(ctx, fleet...)
	l := newLoad()
	group, gctx := errgroup.WithContext(ctx)
	for i, d := range fleet {
		snd := newSender(s, l, d, pairs[d], i, rand.New(rand.NewPCG(seed, uint64(i))))
		l.senders = append(l.senders, snd)
		group.Go(func() error { return snd.run(gctx) })
	}
	for range 8 {
		l.awaitAck(gctx, t, group)
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-p.ended
		if p.err != nil {
			t.Fatalf("told to stop, the ingest ended with %v\n%s", p.err, p.errOut.String())
		}
		p = s.ready(s.start())
	}
	l.awaitAck(gctx, t, group)
	close(l.stop)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	books, err := s.operator("admin").Books(ctx, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.stop(p)
	stored, payloads := s.stored()
	l.check(t, stored, payloads)
	l.told().check(t, books)
	checkBooks(t, books, recount(t, stored))
	for _, snd := range l.senders {
		if snd.known > 0 {
			t.Errorf("%v: %d batches were taken without an answer", snd.device, snd.known)
		}
	}
	s.fsck()
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
