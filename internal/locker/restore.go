package locker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// KindRestoreTests is the evidence of restore tests: an item for each ledger
// that was restored, of this test and of those before it.
const KindRestoreTests evidence.Kind = "ledger.restore-tests"

// RestoreTest says who made a restore test, and of what.
type RestoreTest struct {
	Records []ledger.RestoreRecord
	Copy    string // as the operator named it
	By      string // who made it
	Account string // the instance
	Tool    string
	Origin  evidence.Origin
	Clock   evidence.Clock
}

// PutRestoreTest keeps a restore test, failed ones too, with the tests that
// the locker holds from before, and enters it in the log.
func (l *Locker) PutRestoreTest(ctx context.Context, t RestoreTest) (Collected, error) {
	earlier, err := l.restoreTests()
	if err != nil {
		return Collected{}, fmt.Errorf("reading earlier restore tests: %w", err)
	}
	raw, err := json.MarshalIndent(t.Records, "", " ")
	if err != nil {
		return Collected{}, fmt.Errorf("keeping a restore test: %w", err)
	}
	began, ended := t.Records[0].StartedAt, t.Records[len(t.Records)-1].EndedAt
	day := began.UTC().Truncate(24 * time.Hour)
	e := evidence.Evidence{
		Kind: KindRestoreTests, Collector: "ledger", CollectedAt: ended, Window: evidence.Period{From: day, To: day.AddDate(0, 0, 1)}, Snapshot: true,
		Provenance: evidence.Provenance{
			System: "trustpack-ledger", Account: t.Account, Principal: t.By, Tool: t.Tool, Origin: t.Origin, Clock: t.Clock,
			Requests: []evidence.Request{{Method: "restore", Target: t.Copy, StartedAt: began, EndedAt: ended, ReplySHA256: evidence.SHA256Hex(raw)}},
		},
		Completeness: evidence.Completeness{
			State: evidence.Complete, Basis: "read-to-end",
			Note: "every ledger in the copy was restored; tests from before are as the evidence log holds them",
		},
		Raw: []evidence.RawReply{{Name: "restore-test.json", Body: raw}},
	}
	e.Population.Items = earlier
	for _, r := range t.Records {
		e.Population.Items = append(e.Population.Items, restoreItem(t, r))
	}
	e.Population.Items = sortedItems(e.Population.Items)
	e.Completeness.Got = len(e.Population.Items)
	return l.Put(ctx, e)
}

// restoreItem is one ledger of a test. roots_match says that every log that
// has a checkpoint hashed to it again, and that there was one.
func restoreItem(t RestoreTest, r ledger.RestoreRecord) evidence.Item {
	logs, problems := []any{}, []any{}
	wrong := map[string]bool{}
	for _, p := range r.Problems {
		problems = append(problems, p.String())
		wrong[p.Log] = true
	}
	signed, match, pinned := 0, !wrong[""], true
	for _, log := range r.Logs {
		logs = append(logs, map[string]any{
			"log": log.Log, "origin": log.Origin, "size": log.Size, "root": log.Root, "key": log.Key,
			"signed_size": log.Signed, "signed_root": log.SignedRoot, "behind": log.Behind,
		})
		if log.SignedRoot == "" {
			continue
		}
		signed++
		match = match && !wrong[log.Log]
		pinned = pinned && log.Key == "given"
	}
	name := filepath.Base(r.Copy)
	if rel, err := filepath.Rel(t.Copy, r.Copy); err == nil && rel != "." {
		name = filepath.ToSlash(rel)
	}
	return evidence.Item{ID: r.StartedAt.UTC().Format(time.RFC3339) + "/" + name, Attributes: map[string]any{
		"ledger": name, "copy": t.Copy, "by": t.By, "started_at": stamp(r.StartedAt), "ended_at": stamp(r.EndedAt),
		"files": r.Files, "bytes": r.Bytes, "replayed_entries": r.Replayed, "cut_bytes": r.Cut,
		"ok": r.OK, "problems": problems, "logs": logs, "signed_logs": signed, "roots_match": match && signed > 0, "keys_given": pinned && signed > 0,
		"latest": true,
	}}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// restoreTests are the items of the last restore test, as earlier ones.
func (l *Locker) restoreTests() ([]evidence.Item, error) {
	collected, _, err := l.Index()
	if err != nil {
		return nil, err
	}
	for i := len(collected) - 1; i >= 0; i-- {
		if collected[i].Kind != KindRestoreTests {
			continue
		}
		last, err := l.Get(collected[i].ID)
		if err != nil {
			return nil, err
		}
		var out []evidence.Item
		for _, it := range last.Population.Items {
			attributes := maps.Clone(it.Attributes)
			attributes["latest"] = false
			out = append(out, evidence.Item{ID: it.ID, Attributes: attributes})
		}
		return out, nil
	}
	return nil, nil
}

// sortedItems sorts by ID; of two the later one stays, as where two tests were
// made within a second.
func sortedItems(items []evidence.Item) []evidence.Item {
	byID := map[string]evidence.Item{}
	for _, it := range items {
		byID[it.ID] = it
	}
	out := make([]evidence.Item, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, byID[id])
	}
	return out
}
