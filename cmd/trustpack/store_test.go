package main

import (
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/internal/locker"
)

// TestEvidenceOf: what was collected before its window began stands in the
// log, and is evidence of nothing: it must not keep the period's pack from
// being built.
func TestEvidenceOf(t *testing.T) {
	p := evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}
	lock, err := locker.Open(t.TempDir(), locker.Options{Instance: "store.example", Seed: make([]byte, 32), Now: func() time.Time { return p.To }})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, at := range []time.Time{p.From.Add(-time.Second), p.From, p.To} {
		e := evidence.Evidence{
			Kind: "test.things", Collector: "test", CollectedAt: at, Window: p,
			Provenance:   evidence.Provenance{System: "test", Principal: "ben", Tool: "test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
			Completeness: evidence.Completeness{State: evidence.Complete},
		}
		if _, err := lock.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	collected, entries, err := evidenceOf(lock, p)
	if err != nil || len(collected) != 2 || len(entries) != 2 || !collected[0].CollectedAt.Equal(p.From) || !collected[1].CollectedAt.Equal(p.To) {
		t.Errorf("%d collections, %d entries, %v", len(collected), len(entries), err)
	}
}
