//go:build weakened

package drill

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// TestDrillsOfAWeakenedIngest is run by TestEachGuardLeftOut, in a process of its own for
// each guard that is left out. It writes the results to a file.
func TestDrillsOfAWeakenedIngest(t *testing.T) {
	path := os.Getenv("TRUSTPACK_DRILL_RESULTS")
	if path == "" {
		t.Skip("nobody asked for the results")
	}
	results, err := Run(context.Background(), movedIngest(t, time.Now), nil)
	if results == nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Log(err)
	}
	b, err := json.Marshal(results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
