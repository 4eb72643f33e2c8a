package controls

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

// collectedFor is evidence as a collector brings it for the period under the
// catalog's policy: of what happened in the window, which begins earlier for
// kinds that are judged when they fall due.
func collectedFor(t *testing.T, c *Catalog, kind evidence.Kind, period evidence.Period, field string, all []evidence.Item) evidence.Collected {
	t.Helper()
	back, err := c.LooksBack(nil)
	if err != nil {
		t.Fatal(err)
	}
	period.From = period.From.Add(-back[kind])
	e := evidence.Evidence{
		Kind: kind, Collector: "test", CollectedAt: period.To, Window: period,
		Provenance:   evidence.Provenance{Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
		Completeness: evidence.Completeness{State: evidence.Complete},
	}
	for _, it := range all {
		if at, ok := timeOf(it.Attributes[field]); ok && period.Contains(at) {
			e.Population.Items = append(e.Population.Items, it)
		}
	}
	e.Completeness.Got = len(e.Population.Items)
	return evidence.Collected{ID: string(kind) + " " + period.String(), Evidence: e}
}

// Over a year that is judged by quarters, each deployment is judged once and
// only once: in the quarter in which the days for its run of drills end.
func TestADeploymentIsJudgedInOneQuarterAndInOneOnly(t *testing.T) {
	c := mustBuiltin(t)
	year := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var deployments, drills []evidence.Item
	for at := year.Add(-40*24*time.Hour + 10*time.Hour); at.Before(year.AddDate(1, 0, 0)); at = at.AddDate(0, 0, 1) {
		deployments = append(deployments, evidence.Item{ID: "d" + at.Format(time.DateOnly), Attributes: map[string]any{
			"environment": "production", "created_at": at.Format(time.RFC3339), "statuses": []any{map[string]any{"state": "success"}},
		}})
	}
	// One run a quarter, in its middle: all deployments but those of a week before lack theirs.
	ran := map[string]bool{}
	for q := range 4 {
		at := year.AddDate(0, 3*q+1, 15)
		drills = append(drills, evidence.Item{ID: fmt.Sprint(q), Attributes: map[string]any{
			"control": "PR-01", "drill": "x", "verdict": "passed", "started_at": at.Format(time.RFC3339), "time": at.Format(time.RFC3339), "log_since": "2025-01-01T00:00:00Z",
		}})
		for n := range 7 {
			ran["d"+at.AddDate(0, 0, -n-1).Format(time.DateOnly)] = true
		}
	}
	judged, missed := 0, map[string]int{}
	var in []evidence.Collected // everything that was ever collected, as the locker has it
	for q := range 4 {
		p := evidence.Period{From: year.AddDate(0, 3*q, 0), To: year.AddDate(0, 3*q+3, 0)}
		in = append(in, collectedFor(t, c, "github.deployments", p, "created_at", deployments), collectedFor(t, c, "telemetry.drills", p, "started_at", drills))
	}
	for q := range 4 {
		p := evidence.Period{From: year.AddDate(0, 3*q, 0), To: year.AddDate(0, 3*q+3, 0)}
		a, err := c.Assess(Input{Period: p, Evidence: in})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Findings {
			if f.Control != "PR-02" {
				continue
			}
			for _, at := range f.Attributes {
				if at.ID == "run-after-deployment" {
					judged += at.Tested
					if from := p.From.AddDate(0, 0, -7).Format(time.DateOnly); at.Outcome != evidence.OutcomeException || !strings.Contains(at.Reason, "from "+from+" on") {
						t.Errorf("%s: %+v", p, at)
					}
				}
			}
			for _, x := range f.Exceptions {
				if x.Attribute == "run-after-deployment" {
					missed[x.Item]++
				}
			}
			for _, cited := range f.Evidence {
				if cited.Window.To != p.To || cited.Window.From != p.From.AddDate(0, 0, -7) {
					t.Errorf("%s rests on %s of %s", p, cited.Kind, cited.Window)
				}
			}
		}
	}
	want := 0
	for _, d := range deployments {
		at, _ := timeOf(d.Attributes["created_at"])
		due := at.AddDate(0, 0, 7)
		falls := !due.Before(year) && due.Before(year.AddDate(1, 0, 0))
		if falls {
			want++
		}
		if n := missed[d.ID]; n > 1 || (n == 1) != (falls && !ran[d.ID]) {
			t.Errorf("%s fell due in the year: %v, has its run: %v, and is an exception in %d quarters", d.ID, falls, ran[d.ID], n)
		}
	}
	if judged != want || len(missed) < 300 || missed["d2026-03-28"] != 1 {
		t.Errorf("%d deployments were judged, want %d; %d missed their run, that of the last week of March in %d quarters", judged, want, len(missed), missed["d2026-03-28"])
	}
}

// What was collected for a later period looks back into this one. It speaks
// where this one's own collections do not reach, and of an item where none of
// them does.
func TestALaterPeriodsCollectionSpeaksOnlyWhereNothingElseDoes(t *testing.T) {
	c := tinyCatalog(t, "x.events")
	own := collected("x.events", "2026-07-01", "2026-10-01", item("1", "yes please"))
	short := collected("x.events", "2026-07-01", "2026-09-29", item("1", "yes please"))
	next := collected("x.events", "2026-09-24", "2027-01-01", item("1", "no"), item("2", "no"))
	for name, x := range map[string]struct {
		in     []evidence.Collected
		failed string
		used   int
	}{
		"whole without it": {[]evidence.Collected{own, next}, "", 1},
		"it fills the end": {[]evidence.Collected{short, next}, "2", 2},
	} {
		a, err := c.Assess(Input{Period: q3, Evidence: x.in})
		if err != nil {
			t.Fatal(err)
		}
		f, failed := a.Findings[0], ""
		for _, e := range f.Exceptions {
			failed += e.Item
		}
		if failed != x.failed || len(f.Evidence) != x.used || f.Outcome == evidence.OutcomeNotAvailable {
			t.Errorf("%s: %s, exceptions %q, %d collections: %s", name, f.Outcome, failed, len(f.Evidence), f.Reason)
		}
	}
}

func TestHowFarToLookBackFollowsPolicy(t *testing.T) {
	c := mustBuiltin(t)
	day := 24 * time.Hour
	for _, x := range []struct {
		policy map[string]any
		kind   evidence.Kind
		want   time.Duration
	}{
		{nil, "github.deployments", 7 * day}, {nil, "telemetry.drills", 7 * day}, {nil, "telemetry.alerts", 14 * day}, {nil, "telemetry.rotations", 8 * day},
		{nil, "telemetry.break-glass", day}, {nil, "telemetry.devices", 0}, {nil, "telemetry.refusals", 0},
		{map[string]any{"max_days_between_runs": 31}, "github.deployments", 31 * day}, {map[string]any{"max_ack_hours": 500.0}, "telemetry.alerts", 21 * day},
	} {
		got, err := c.LooksBack(x.policy)
		if err != nil || got[x.kind] != x.want {
			t.Errorf("%v: %s: %v, want %v (%v)", x.policy, x.kind, got[x.kind], x.want, err)
		}
	}
	for _, bad := range []any{-1, 4000} {
		policy := map[string]any{"max_resolve_days": bad}
		if _, err := c.LooksBack(policy); err == nil || !strings.Contains(err.Error(), "want 0 to 3660 days") {
			t.Errorf("%v: %v", bad, err)
		}
		if _, err := c.Assess(Input{Period: q3, Policy: policy}); err == nil {
			t.Errorf("%v was judged by", bad)
		}
	}
	if _, err := c.LooksBack(map[string]any{"max_resolve_dys": 3}); err == nil {
		t.Error("a parameter that does not exist was taken")
	}
}
