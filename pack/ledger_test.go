package pack

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// TestPackOverRealLedger builds two quarters' packs over a ledger on disk:
// the second begins where the first ended and commits to it.
func TestPackOverRealLedger(t *testing.T) {
	now := day(1)
	l, err := ledger.Open(t.TempDir(), ledger.Options{Instance: "ingest.example", Seed: seed(7), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, s := content(t), edSigner(t, 1)
	o := options(t, s)
	o.LogKeys = []string{vkeyOf(t, "ingest.example/evidence")}
	var previous string
	var since int64
	for sequence := 1; sequence <= 2; sequence++ {
		var cited []int64
		for i, e := range c.Evidence {
			e.Completeness.Note = fmt.Sprintf("in quarter %d", sequence)
			_, _, id, err := evidence.RecordOf(e.Evidence)
			if err != nil {
				t.Fatal(err)
			}
			for f := range c.Findings {
				for x := range c.Findings[f].Evidence {
					if c.Findings[f].Evidence[x].ID == e.ID {
						c.Findings[f].Evidence[x].ID = id
					}
				}
			}
			e.ID = id
			c.Evidence[i] = e
			entry := []byte(canonical(t, map[string]any{"type": collectedEntry, "id": id, "kind": string(e.Kind)}))
			at, err := l.Append(t.Context(), ledger.Entry{Log: "evidence", Data: []byte("between")}, ledger.Entry{Log: "evidence", Data: entry})
			if err != nil {
				t.Fatal(err)
			}
			cited = append(cited, at[1].Index)
			now = now.Add(25 * time.Hour)
			if _, err := l.Checkpoint("evidence"); err != nil {
				t.Fatal(err)
			}
		}
		excerpt, err := l.Excerpt("evidence", since, cited)
		if err != nil {
			t.Fatal(err)
		}
		c.Logs, c.Sequence, c.Previous = []ledger.Excerpt{excerpt}, sequence, previous
		data := buildPack(t, c, s)
		r := verifyBytes(data, o)
		if r.Exit != 0 {
			t.Fatalf("quarter %d: %s", sequence, reportText(r))
		}
		for _, id := range []string{checkCheckpoint, checkConsistency, checkInclusion} {
			if !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.ID == id && c.Status == Passed }) {
				t.Errorf("quarter %d: %s did not pass\n%s", sequence, id, reportText(r))
			}
		}
		previous, since = r.PackJSONSHA256, l.Size("evidence")
	}
}
