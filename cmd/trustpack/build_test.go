package main

import (
	"testing"
	"time"

	"trustpack/collectors/telemetry"
	"trustpack/evidence"
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
