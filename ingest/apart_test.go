package ingest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// until waits for a condition that another goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// logged is what a logger wrote.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// kept is an ingest whose checkpoints are kept apart.
type kept struct {
	*rig
	w    *smallWitness
	copy string
	log  *logged
}

// newKept starts an ingest with a copy, a witness, or both.
func newKept(t *testing.T, withCopy, withWitness bool) *kept {
	t.Helper()
	k := &kept{log: &logged{}}
	k.rig = newRig(t)
	k.stop()
	k.w = newWitness(t, k.dir)
	k.copy = filepath.Join(t.TempDir(), "checkpoints.json")
	k.config.Ledger.Interval = time.Millisecond
	if withCopy {
		k.config.Ledger.CheckpointCopy = k.copy
	}
	if withWitness {
		k.config.Ledger.Witnesses = []WitnessPolicy{{k.w.URL, k.w.key}}
	}
	k.start()
	return k
}

// tick publishes checkpoints and waits until they are kept apart.
func (k *kept) tick() {
	k.t.Helper()
	if err := k.s.Tick(k.t.Context(), k.clock.now()); err != nil {
		k.t.Fatal(err)
	}
	until(k.t, "checkpoints to be kept apart", func() bool {
		for _, log := range k.s.led.Logs() {
			_, size, err := k.s.apart.last(log)
			sizes := k.s.apart.kept(log)
			for _, keeper := range k.s.apart.keepers() {
				if err != nil || sizes[keeper.name] != size {
					return false
				}
			}
		}
		return true
	})
}

// open opens the ingest without serving.
func (k *kept) open(accept string) (*Server, error) {
	return Open(Options{
		Dir: k.dir, Config: k.config, Now: k.clock.now, Clock: evidence.ClockSimulated, Sample: true, Version: "test",
		AcceptRollback: accept, Logger: slog.New(slog.NewJSONHandler(k.log, nil)),
	})
}

// rollBack puts an older copy of the ingest's folder in its place.
func (k *kept) rollBack() {
	k.t.Helper()
	k.tenant("nord")
	k.tick()
	old := filepath.Join(k.t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(k.dir)); err != nil {
		k.t.Fatal(err)
	}
	k.tenant("sued")
	k.tick()
	k.stop()
	if err := os.RemoveAll(k.dir); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(old, k.dir); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kept) controlSize() int64 {
	k.t.Helper()
	l, err := ledger.OpenReadOnly(filepath.Join(k.dir, "ledger"), ledger.Options{Instance: "test.example/ingest"})
	if err != nil {
		k.t.Fatal(err)
	}
	defer l.Close()
	return l.Size(controlLog)
}

// TestADiskTakenBackIsRefused: an older copy of the whole folder is put back,
// and the ingest starts no more, but for an operator who says why.
func TestADiskTakenBackIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ copy, witness bool }{"copy": {copy: true}, "witness": {witness: true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t, c.copy, c.witness)
			k.rollBack()
			size := k.controlSize()
			seenBy := copyName
			if !c.copy {
				seenBy = "witness " + witnessName
			}
			for range 2 { // it stays refused
				_, err := k.open("")
				if !errors.Is(err, ledger.ErrRollback) || !strings.Contains(err.Error(), "ledger.rollback: ") || !strings.Contains(err.Error(), "log control holds") || !strings.Contains(err.Error(), seenBy) {
					t.Fatalf("%v", err)
				}
				if got := k.controlSize(); got != size {
					t.Fatalf("the refused start entered %d entries", got-size)
				}
			}
			s, err := k.open("restored Monday's backup after the disk broke")
			if err != nil {
				t.Fatal(err)
			}
			k.rig.s = s
			taken := k.control(evidence.EntryRollbackTaken)
			if len(taken) == 0 || taken[0].Reason != "restored Monday's backup after the disk broke" || taken[0].Actor == nil || !strings.Contains(string(taken[0].Data), `"seen"`) {
				t.Fatalf("%+v", taken)
			}
			aside, err := filepath.Glob(k.copy + ".*")
			if err != nil || (len(aside) == 1) != c.copy {
				t.Errorf("put aside: %v, %v", aside, err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(k.log.String(), "an operator accepts that the ledger was taken back") {
				t.Error("nothing was logged")
			}
			if c.copy { // it was killed before it put the copy aside
				b, err := os.ReadFile(aside[0])
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(k.copy, b, 0o600); err != nil {
					t.Fatal(err)
				}
				if s, err = k.open(""); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if now, err := os.ReadFile(k.copy); err != nil || bytes.Equal(now, b) {
					t.Errorf("the copy is the old one: %v", err)
				}
			}
			// From now on it starts as it is, and nobody can accept in advance.
			if _, err := k.open("again"); err == nil || !strings.Contains(err.Error(), "nobody knows of one") {
				t.Errorf("accepting what is not there: %v", err)
			}
			k.start()
			k.tenant("west")
			if err := k.s.Tick(t.Context(), k.clock.now()); err != nil {
				t.Fatal(err)
			}
			if n := len(k.control(evidence.EntryRollbackTaken)); n != len(taken) {
				t.Errorf("%d entries, want %d", n, len(taken))
			}
			if c.witness { // which goes on to say so
				until(t, "the witness to contradict", func() bool {
					list := k.s.apart.list()
					return list[len(list)-1].State == heldContradicts
				})
			}
			k.sameAsFold()
		})
	}
}

// TestARollbackIsNoticedLater: the witness could not be asked at the start.
func TestARollbackIsNoticedLater(t *testing.T) {
	k := newKept(t, false, true)
	k.rollBack()
	k.w.fail(true)
	k.start()
	held := k.control(evidence.EntryLedgerHeld)
	if got := string(held[len(held)-1].Data); !strings.Contains(got, `"state":"failed"`) {
		t.Errorf("%s", got)
	}
	k.w.fail(false)
	until(t, "the rollback to be noticed", func() bool { return k.s.durable() != nil })
	err := k.admin("root.admin").AddTenant(t.Context(), evidence.Tenant{ID: "west"}, "")
	if p := refusedWith(t, err, CodeLedgerRollback); p.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", p)
	}
	if _, err := k.admin("erin").Get(t.Context(), "/readyz"); err == nil {
		t.Error("ready after a rollback")
	}
	k.endLost()
}

func TestAWitnessThatCannotBeUsed(t *testing.T) {
	other := witnessKey(witnessName, ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize))))
	for name, c := range map[string]struct {
		change func(*kept)
		state  string
		detail string
	}{
		"wrong key":   {func(k *kept) { k.config.Ledger.Witnesses[0].Key = other }, heldFailed, "holds no cosignature under its key"},
		"down":        {func(k *kept) { k.w.fail(true) }, heldFailed, "answered 500"},
		"unreachable": {func(k *kept) { k.w.Close() }, heldUnreachable, "connection refused"},
		"silent": {func(k *kept) {
			held := make(chan struct{})
			k.t.Cleanup(func() { close(held) })
			k.w.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held })
			k.config.Ledger.StartWait = 50 * time.Millisecond
		}, heldUnreachable, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t, true, true)
			k.tenant("nord")
			k.tick()
			k.stop()
			c.change(k)
			s, err := k.open("")
			if err != nil {
				t.Fatal(err)
			}
			k.rig.s = s
			held := k.control(evidence.EntryLedgerHeld)
			var h evidence.LedgerHeld
			if err := json.Unmarshal(held[len(held)-1].Data, &h); err != nil || h.Copy == nil || h.Copy.State != heldAgrees || h.Copy.Logs != 1 || len(h.Witnesses) != 1 || h.Witnesses[0].State != c.state || !strings.Contains(h.Witnesses[0].Detail, c.detail) {
				t.Errorf("%s, %v", held[len(held)-1].Data, err)
			}
			if got := k.log.String(); !strings.Contains(got, `"level":"WARN","msg":"the ledger was held to what is kept apart","by":"`+witnessName+`","state":"`+c.state) {
				t.Errorf("logged: %s", got)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			k.config.Ledger.Quorum = 1
			if _, err := k.open(""); err == nil || !strings.Contains(err.Error(), "ingest.ledger.quorum: 0 of 1 witnesses agreed, and 1 must: "+witnessName+": "+c.state) {
				t.Errorf("with a quorum: %v", err)
			}
		})
	}
}

func TestAWitnessIsTriedAgain(t *testing.T) {
	t.Parallel() // it waits more than it works
	k := newKept(t, false, true)
	if first := k.control(evidence.EntryLedgerHeld); !strings.Contains(string(first[0].Data), `"state":"first-use"`) {
		t.Errorf("%s", first[0].Data)
	}
	k.tick()
	k.w.fail(true)
	k.tenant("nord")
	if err := k.s.Tick(t.Context(), k.clock.now()); err != nil {
		t.Fatal(err)
	}
	until(t, "a failure", func() bool { return k.s.apart.list()[0].State == heldFailed })
	metric := func() string {
		b, err := k.admin("erin").Get(t.Context(), "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := metric(); !strings.Contains(got, `trustpack_ingest_checkpoints_kept{by="`+witnessName+`"} 0`) || strings.Contains(got, `trustpack_ingest_checkpoints_kept_behind_entries{by="`+witnessName+`"} 0`) {
		t.Errorf("metrics: %s", got)
	}
	k.w.fail(false)
	until(t, "another attempt, without news", func() bool { return k.s.apart.list()[0].State == heldAgrees })
	if got := metric(); !strings.Contains(got, `trustpack_ingest_checkpoints_kept{by="`+witnessName+`"} 1`) {
		t.Errorf("metrics: %s", got)
	}
	b, err := k.admin("erin").Get(t.Context(), "/v1/admin/logs")
	var got struct {
		Logs    []LogInfo
		Keepers []Keeper
	}
	if err != nil || json.Unmarshal(b, &got) != nil || len(got.Logs) != 1 || got.Logs[0].Kept[witnessName] != got.Logs[0].Checkpoint || k.w.size("control") != got.Logs[0].Checkpoint || len(got.Keepers) != 1 || got.Keepers[0].LastGood == nil {
		t.Errorf("%s, %v", b, err)
	}
	k.stop() // what is entered at the end is offered too
	if got := k.controlSize(); k.w.size("control") != got {
		t.Errorf("the witness has %d entries of %d", k.w.size("control"), got)
	}
}

func TestACopyThatCannotBeUsed(t *testing.T) {
	k := newKept(t, true, false)
	k.tick()
	k.stop()
	sound, err := os.ReadFile(k.copy)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, want string }{
		"no JSON":     {"{", "is no copy of checkpoints"},
		"garbled":     {strings.Replace(string(sound), "test.example", "best.example", 1), "is not this ingest's"},
		"another log": {strings.Replace(string(sound), `"control"`, `"other"`, 1), "is not this ingest's"},
	} {
		if err := os.WriteFile(k.copy, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := k.open(""); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "ingest.ledger.checkpoint_copy") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, gone := range map[string]string{"the file": k.copy, "the disk": filepath.Dir(k.copy)} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		s, err := k.open("")
		if err != nil {
			t.Fatal(err)
		}
		k.rig.s = s
		held := k.control(evidence.EntryLedgerHeld)
		if got := string(held[len(held)-1].Data); !strings.Contains(got, `"state":"unreachable"`) || !strings.Contains(got, "was there before") {
			t.Errorf("%s is gone: %s", name, got)
		}
		if gone != k.copy {
			until(t, "a failure", func() bool { return s.apart.list()[0].State == heldFailed })
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestBadLedgerPolicies(t *testing.T) {
	key := witnessKey(witnessName, ed25519.NewKeyFromSeed(make([]byte, 32)))
	for want, p := range map[string]LedgerPolicy{
		"quorum: 1 of 0":            {Quorum: 1},
		"witnesses[0].key":          {Witnesses: []WitnessPolicy{{"https://w.example", "nonsense"}}},
		"witnesses[0].url":          {Witnesses: []WitnessPolicy{{"w.example", key}}},
		"for this machine alone":    {Witnesses: []WitnessPolicy{{"http://w.example", key}}},
		"submission prefix":         {Witnesses: []WitnessPolicy{{"https://me:secret@w.example", key}}},
		"is listed twice":           {Witnesses: []WitnessPolicy{{"https://w.example", key}, {"https://w2.example", key}}},
		"start_wait: 0s is outside": {},
	} {
		c := DefaultConfig()
		if !strings.HasPrefix(want, "start_wait") {
			p.StartWait, p.Interval = time.Second, time.Second
		}
		c.Ledger = p
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "ingest.ledger.") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
