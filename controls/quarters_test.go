package controls

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"trustpack/evidence"
)

// told is what happened in a year, as a collector tells it at the end of a
// period: of each kind, the items, made by what was known by then.
type told map[evidence.Kind]struct {
	field string // when it began
	items []func(until time.Time) evidence.Item
}

// Four quarters judge what the year judges as one period: whatever an attribute
// that looks back judges falls into one quarter, and into one only.
func TestFourQuartersJudgeWhatTheirYearJudges(t *testing.T) {
	c := mustBuiltin(t)
	year := evidence.Period{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	happened := generated(rand.New(rand.NewPCG(7, 7)), year)
	whole := judgedAfter(t, c, happened, year)
	tested, failed := map[string]int{}, map[string][]string{}
	for q := range 4 {
		p := evidence.Period{From: year.From.AddDate(0, 3*q, 0), To: year.From.AddDate(0, 3*q+3, 0)}
		for name, j := range judgedAfter(t, c, happened, p) {
			tested[name] += j.tested
			failed[name] = append(failed[name], j.failed...)
		}
	}
	looked := 0
	for _, ctl := range c.controls {
		for _, a := range ctl.attrs {
			if name := ctl.ID + " " + a.ID; a.looksBack != nil && a.Scope != scopePopulation {
				looked++
				got, want := slices.Sorted(slices.Values(failed[name])), slices.Sorted(slices.Values(whole[name].failed))
				if len(want) < 20 || tested[name] <= len(want) {
					t.Errorf("%s: only %d tested, %d exceptions: nothing is shown", name, tested[name], len(want))
				}
				// An alert that is resolved after its time, which is an exception for it,
				// is not looked for so far back that its words are read too.
				all := tested[name] == whole[name].tested || name == "AU-07 resolution-told"
				if !all || !slices.Equal(got, want) {
					t.Errorf("%s: the quarters tested %d, the year %d; exceptions %d and %d: %v", name, tested[name], whole[name].tested, len(got), len(want), differing(got, want))
				}
			}
		}
	}
	if looked != 8 {
		t.Errorf("%d attributes of items look back, and 8 are known to this test", looked)
	}
}

type verdicts struct {
	tested int
	failed []string
}

func judgedAfter(t *testing.T, c *Catalog, happened told, p evidence.Period) map[string]verdicts {
	t.Helper()
	var in []evidence.Collected
	for _, kind := range slices.Sorted(maps.Keys(happened)) {
		var items []evidence.Item
		for _, make := range happened[kind].items {
			items = append(items, make(p.To))
		}
		in = append(in, collectedFor(t, c, kind, p, happened[kind].field, items))
	}
	a, err := c.Assess(Input{Period: p, Evidence: in})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]verdicts{}
	for _, f := range a.Findings {
		for _, at := range f.Attributes {
			v := verdicts{tested: at.Tested}
			for _, e := range f.Exceptions {
				if e.Attribute == at.ID {
					v.failed = append(v.failed, string(e.Outcome)+" "+e.Item)
				}
			}
			out[f.Control+" "+at.ID] = v
		}
	}
	return out
}

// generated is a year of alerts, rotations, roles taken in an emergency and
// deployments, begun at any time from a month before it, good and bad.
func generated(r *rand.Rand, year evidence.Period) told {
	const n = 1200
	hours := func(most int) time.Duration { return time.Duration(r.IntN(most*3600)) * time.Second }
	begin := func() time.Time { return year.From.AddDate(0, -1, 0).Add(hours(396 * 24)) }
	known := func(at, until time.Time) string { // the ingest's log is read to its end, which is the period's here
		if at.IsZero() || !at.Before(until) {
			return ""
		}
		return at.Format(time.RFC3339)
	}
	out := told{}
	add := func(kind evidence.Kind, field string, make func(until time.Time) map[string]any) {
		k := out[kind]
		id := fmt.Sprintf("%s-%04d", kind, len(k.items))
		k.field = field
		k.items = append(k.items, func(until time.Time) evidence.Item { return evidence.Item{ID: id, Attributes: make(until)} })
		out[kind] = k
	}
	for range n {
		raised := begin()
		var acked, resolved time.Time
		if r.IntN(4) > 0 {
			acked = raised.Add(hours(30))
		}
		if r.IntN(4) > 0 {
			resolved = raised.Add(hours(24 * []int{1, 20}[r.IntN(2)]))
		}
		word, by, ticket := []string{"", "set right"}[r.IntN(2)], []string{"", "ben"}[r.IntN(2)], []string{"", "T-1"}[r.IntN(2)]
		if resolved.Sub(raised) > 14*24*time.Hour {
			word = "set right" // see TestFourQuartersJudgeWhatTheirYearJudges
		}
		add("telemetry.alerts", "raised_at", func(until time.Time) map[string]any {
			a := map[string]any{"tenant": "nord", "kind": "x", "raised_at": raised.Format(time.RFC3339), "acknowledged_at": known(acked, until), "acknowledged_by": "ben",
				"resolved_at": known(resolved, until), "resolution": word, "resolved_by": by, "ticket": ticket, "seen_until": until.Format(time.RFC3339), "deliveries": []any{}, "undelivered": []any{}}
			if a["resolved_at"] == "" {
				a["resolution"], a["resolved_by"] = "", ""
			}
			return a
		})
		at := begin()
		end := at.Add(hours(7 * 24))
		var retired time.Time
		if r.IntN(3) > 0 {
			retired = end.Add(time.Duration(r.IntN(1000)) * time.Second)
		}
		seen := r.IntN(2)
		add("telemetry.rotations", "time", func(until time.Time) map[string]any {
			a := map[string]any{"tenant": "nord", "device": "m", "replaces": "x", "time": at.Format(time.RFC3339), "old_until": end.Format(time.RFC3339), "overlap_s": end.Sub(at).Seconds(),
				"over": end.Before(until), "retired_at": known(retired, until), "retired_delay_s": nil, "seen_after": 0}
			if a["retired_at"] != "" {
				a["retired_delay_s"] = retired.Sub(end).Seconds()
			}
			if end.Before(until) {
				a["seen_after"] = seen
			}
			return a
		})
		taken := begin()
		over := taken.Add(hours(1))
		closed := over
		if r.IntN(2) == 0 {
			closed = time.Time{}
		}
		add("telemetry.break-glass", "time", func(until time.Time) map[string]any {
			return map[string]any{"operator": "anna", "role": "approver", "reason": "x", "alert_id": "a", "minutes": 60, "time": taken.Format(time.RFC3339), "until": over.Format(time.RFC3339),
				"over": over.Before(until), "closed_at": known(closed, until), "late": []any{}}
		})
		deployed := begin()
		add("github.deployments", "created_at", func(time.Time) map[string]any {
			return map[string]any{"environment": "production", "created_at": deployed.Format(time.RFC3339), "statuses": []any{map[string]any{"state": "success"}}}
		})
	}
	for range 30 {
		ran := begin().Format(time.RFC3339)
		add("telemetry.drills", "started_at", func(time.Time) map[string]any {
			return map[string]any{"control": "PR-01", "drill": "x", "verdict": "passed", "started_at": ran, "time": ran, "log_since": "2025-01-01T00:00:00Z"}
		})
	}
	return out
}

// differing are the words that only one of two sorted lists has, or has more of.
func differing(a, b []string) []string {
	n := map[string]int{}
	for _, s := range a {
		n[s]++
	}
	for _, s := range b {
		n[s]--
	}
	maps.DeleteFunc(n, func(_ string, d int) bool { return d == 0 })
	return slices.Sorted(maps.Keys(n))[:min(5, len(n))]
}
