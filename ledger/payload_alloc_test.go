//go:build !race

// The race detector makes pools forget at random what they hold.

package ledger

import (
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func TestDerivingAllocatesNothing(t *testing.T) {
	e := telemetry(1)[0]
	key := testKey(t, 3)
	var entries, payloads []byte
	for range 100 {
		entries, payloads = appendEntry(entries, e.Data), appendEntry(payloads, e.Payload)
	}
	leaves, commitments := make([]tlog.Hash, 100), make([]commitment, 100)
	if n := testing.AllocsPerRun(100, func() { key.derive(7, entries, payloads, leaves, commitments) }); n > 1 { // where the pool was emptied
		t.Errorf("%v allocations for 100 entries", n)
	}
}
