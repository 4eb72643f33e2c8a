package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"trustpack/collectors/telemetry"
	"trustpack/evidence"
	"trustpack/internal/locker"
	"trustpack/ledger"
	"trustpack/pack"
)

func TestEvidenceKeepsItsLabelsInThePack(t *testing.T) {
	sample := evidence.Collected{Evidence: evidence.Evidence{Provenance: evidence.Provenance{Origin: evidence.OriginSample, Clock: evidence.ClockSimulated}}}
	live := evidence.Collected{Evidence: evidence.Evidence{Provenance: evidence.Provenance{Origin: evidence.OriginLive, Clock: evidence.ClockSystem}}}
	for name, c := range map[string]struct {
		configured evidence.Clock
		evidence   []evidence.Collected
		clock      evidence.Clock
		sample     bool
	}{
		"one sample among live evidence": {evidence.ClockSystem, []evidence.Collected{live, sample}, evidence.ClockSimulated, true},
		"live":                           {evidence.ClockSystem, []evidence.Collected{live}, evidence.ClockSystem, false},
		"configured":                     {evidence.ClockSimulated, []evidence.Collected{live}, evidence.ClockSimulated, false},
	} {
		if got := clockOf(c.configured, c.evidence); got != c.clock {
			t.Errorf("%s: clock is %s, want %s", name, got, c.clock)
		}
		if got := anySample(c.evidence); got != c.sample {
			t.Errorf("%s: sample is %v, want %v", name, got, c.sample)
		}
	}
}

// A collection that failed later leaves the logs of the one before it.
func TestLogsOfTheLastWholeCollection(t *testing.T) {
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	whole := evidence.Collected{ID: "whole", Evidence: evidence.Evidence{
		Kind: telemetry.KindCheckpoints, CollectedAt: at, Completeness: evidence.Completeness{State: evidence.Complete},
	}}
	failed := evidence.Collected{ID: "failed", Evidence: evidence.Evidence{
		Kind: telemetry.KindCheckpoints, CollectedAt: at.Add(time.Hour), Completeness: evidence.Completeness{State: evidence.Incomplete},
	}}
	if got := lastCheckpoints([]evidence.Collected{whole, failed}); got == nil || got.ID != "whole" {
		t.Errorf("the logs are taken from %v, want those of the whole collection", got)
	}
	if got := lastCheckpoints([]evidence.Collected{failed}); got == nil || got.ID != "failed" {
		t.Errorf("the logs are taken from %v, want what there is", got)
	}
}

// TestPackOfManyCollections: where many entries of the evidence log are cited,
// the pack holds tiles instead of a proof for each, stays the same when the
// log has grown, and verifies.
func TestPackOfManyCollections(t *testing.T) {
	p := evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
	lock, err := locker.Open(t.TempDir(), locker.Options{Instance: "bench.example", Seed: bytes.Repeat([]byte{1}, 32), Now: func() time.Time { return p.From.AddDate(0, 1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	put := func(n int) {
		e := evidence.Evidence{
			Kind: "test.things", Collector: "test", CollectedAt: p.From.AddDate(0, 0, n%80), Window: p,
			Provenance:   evidence.Provenance{System: "test", Principal: "ben", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
			Completeness: evidence.Completeness{State: evidence.Complete, Got: 1},
			Population:   evidence.Population{Items: []evidence.Item{{ID: fmt.Sprint(n), Attributes: map[string]any{"n": 3.0}}}},
			Raw:          []evidence.RawReply{{Name: "reply.json", Body: fmt.Appendf(nil, "%d", n)}},
		}
		if _, err := lock.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 300 {
		put(n)
	}
	if _, err := lock.Ledger().Checkpoint(locker.LogName); err != nil {
		t.Fatal(err)
	}
	of, err := (&app{err: io.Discard}).evidenceOf(lock, p)
	collected, entries := of.evidence, of.entries
	if err != nil || len(collected) != 300 {
		t.Fatalf("%d collections, %v", len(collected), err)
	}
	private, public, err := pack.GenerateKey(pack.Ed25519, "test", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pack.LoadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	build := func() []byte {
		excerpt, err := lock.Excerpt(entries, p, 0)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, err = pack.Build(&out, pack.Content{
			Organisation: "Test", System: "Test", Tool: tool(), Period: p, Sequence: 1, Evidence: collected, Clock: evidence.ClockSystem,
			Secret: bytes.Repeat([]byte{2}, 32), Open: lock.Open, Logs: []ledger.Excerpt{excerpt},
		}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	data := build()
	put(1000)
	if _, err := lock.Ledger().Checkpoint(locker.LogName); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(build(), data) {
		t.Error("the pack is another once the log has grown")
	}
	key, err := pack.ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pack.Open(bytes.NewReader(data), int64(len(data)), pack.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	const dir = "data/log/bench.example/evidence/"
	if !c.Has(dir+"tile/entries/001.p/44") || !c.Has(dir+"tile/entries/000") || c.Has(dir+"proofs/0.tlog-proof") {
		t.Errorf("the log's entries are not in two bundles: %q", c.Paths())
	}
	vkey, err := lock.Ledger().VerifierKey(locker.LogName)
	if err != nil {
		t.Fatal(err)
	}
	r := pack.Verify(bytes.NewReader(data), int64(len(data)), pack.VerifyOptions{Keys: []pack.PublicKey{key}, LogKeys: []string{vkey}})
	if i := slices.IndexFunc(r.Checks, func(c pack.Check) bool { return c.ID == "log.inclusion" }); r.Exit != 0 || r.Checks[i].Actual != "300 entries, 300 of them of collections" {
		t.Errorf("%+v", r)
	}
}
