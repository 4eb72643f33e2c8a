package derived

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

func protectionOf(more attrs) attrs {
	out := attrs{"id": "acme/app@main", "repo": "acme/app", "branch": "main", "required_reviews": 1, "dismiss_stale": true, "enforce_admins": true,
		"allow_force_pushes": false, "allow_deletions": false, "required_checks": []any{"build"}, "bypass": []any{}}
	maps.Copy(out, more)
	return out
}

func readOn(s *shelf, when string, more attrs) {
	s.put("github.branch-protection", when, protectionOf(more))
}

// days gives the items by day.
func days(t *testing.T, s shelf, now string) (map[string]attrs, evidence.Evidence) {
	t.Helper()
	e := s.draw(t, KindProtectionDays, now)
	out := map[string]attrs{}
	for _, it := range e.Population.Items {
		if want := "acme/app@main " + text(it, "day"); it.ID != want {
			t.Errorf("the ID %s, want %s", it.ID, want)
		}
		out[text(it, "day")] = it.Attributes
	}
	return out, e
}

// TestEachRuleByDay: a day on which a rule was off, or somebody could bypass,
// is told from those on which all held; each rule alone makes it so.
func TestEachRuleByDay(t *testing.T) {
	for rule, c := range map[string]struct {
		weak attrs
		off  string
	}{
		"required_reviews":   {attrs{"required_reviews": 0}, "[required_reviews]"},
		"required_checks":    {attrs{"required_checks": []any{}}, "[required_checks]"},
		"dismiss_stale":      {attrs{"dismiss_stale": false}, "[dismiss_stale]"},
		"enforce_admins":     {attrs{"enforce_admins": false}, "[enforce_admins]"},
		"allow_force_pushes": {attrs{"allow_force_pushes": true}, "[allow_force_pushes]"},
		"allow_deletions":    {attrs{"allow_deletions": true}, "[allow_deletions]"},
		"bypass":             {attrs{"bypass": []any{"user:mallory"}}, "[]"},
	} {
		var s shelf
		s.put("github.changes", after)
		readOn(&s, "2026-07-01T06:00:00Z", nil)
		readOn(&s, "2026-07-02T06:00:00Z", nil)
		readOn(&s, "2026-07-02T09:00:00Z", c.weak) // off at noon, on again in the evening
		readOn(&s, "2026-07-02T18:00:00Z", nil)
		readOn(&s, "2026-07-03T06:00:00Z", nil)
		got, e := days(t, s, over)
		for day, want := range map[string]string{"2026-07-01": "[]", "2026-07-02": c.off, "2026-07-03": "[]"} {
			if off := fmt.Sprint(got[day]["off"]); off != want {
				t.Errorf("%s: on %s there was off %s, want %s", rule, day, off, want)
			}
		}
		if rule == "bypass" && fmt.Sprint(got["2026-07-02"]["bypass"], got["2026-07-03"]["bypass"]) != "[user:mallory] []" {
			t.Errorf("who could bypass: %v", got["2026-07-02"]["bypass"])
		}
		if n := got["2026-07-02"]["collections"]; n != 3 {
			t.Errorf("%s: %v readings on a day of 3", rule, n)
		}
		for _, day := range []string{"2026-07-02", "2026-07-03"} {
			if changed := fmt.Sprint(got[day]["changed"]); !strings.HasPrefix(changed, "["+rule+": ") {
				t.Errorf("%s: on %s it is said to have changed: %s", rule, day, changed)
			}
		}
		if e.Completeness.State != evidence.Complete || len(got) != 92 {
			t.Errorf("%s: %d days, %s\n%s", rule, len(got), e.Completeness.State, gapsOf(e))
		}
	}
}

// A rule that a reading does not tell of does not count as kept.
func TestARuleThatIsNotKnown(t *testing.T) {
	var s shelf
	s.put("github.changes", after)
	without := protectionOf(nil)
	for rule := range switches() {
		delete(without, rule)
	}
	s.put("github.branch-protection", "2026-07-01T06:00:00Z", without)
	got, _ := days(t, s, over)
	if off := fmt.Sprint(got["2026-07-01"]["off"]); off != "[allow_deletions allow_force_pushes dismiss_stale enforce_admins]" {
		t.Error(off)
	}
}

// TestDaysOfWhichNothingIsKnown: a day without a reading has no rules, neither
// on nor off, and the end of each run of such days says how long it was.
func TestDaysOfWhichNothingIsKnown(t *testing.T) {
	var s shelf
	s.put("github.changes", after)
	readOn(&s, "2026-07-03T06:00:00Z", nil)
	failed := s.put("github.branch-protection", "2026-07-05T06:00:00Z")
	failed.Completeness.State, failed.Completeness.Gaps = evidence.Incomplete, []evidence.Gap{{What: "protection of main", Reason: "HTTP 500"}}
	readOn(&s, "2026-10-02T06:00:00Z", attrs{"enforce_admins": false}) // soon after: it speaks for the period too
	readOn(&s, "2026-10-09T06:00:00Z", attrs{"allow_deletions": true}) // too late
	got, e := days(t, s, "2026-10-10T00:00:00Z")
	for day, want := range map[string]string{
		"2026-07-01": "false 1 false <nil>", "2026-07-02": "false 2 true <nil>", "2026-07-03": "true 0 false true", "2026-07-04": "false 1 false <nil>",
		"2026-09-30": "false 89 true <nil>", "2026-10-02": "true 0 false false",
	} {
		d := got[day]
		if said := fmt.Sprint(d["collected"], d["unread_days"], d["unread_ends"], d["enforce_admins"]); said != want {
			t.Errorf("%s: %s, want %s", day, said, want)
		}
	}
	if w := got["2026-07-05"]["why"]; w != "protection of main: HTTP 500" {
		t.Errorf("the day on which it failed: %v", w)
	}
	if w := got["2026-07-04"]["why"]; w != "the rules were not collected on this day" {
		t.Errorf("the day on which it was not tried: %v", w)
	}
	if got["2026-10-02"]["in_period"] != false || got["2026-09-30"]["in_period"] != true || len(got) != 93 {
		t.Errorf("%d days", len(got))
	}
	if e.Completeness.State != evidence.Complete {
		t.Error(gapsOf(e))
	}
	// A period that lasts has no days to come.
	got, _ = days(t, s[:2], "2026-07-04T12:00:00Z")
	if k := slices.Sorted(maps.Keys(got)); strings.Join(k, " ") != "2026-07-01 2026-07-02 2026-07-03 2026-07-04" || got["2026-07-04"]["unread_ends"] != true {
		t.Errorf("%v", k)
	}
}

// TestWhatMergedOnADay: by the time of the push, else of the merge, else of the
// committer, whatever the day's rules were.
func TestWhatMergedOnADay(t *testing.T) {
	var s shelf
	at := func(n int, pushed, merged, committed string) attrs {
		c := changeOf(n, 7, committed)
		c["pushed_at"], c["merged_at"], c["merged_by"] = pushed, merged, "carla"
		return c
	}
	s.put("github.changes", after,
		at(1, "2026-07-02T23:59:59Z", "2026-07-03T10:00:00Z", "2026-07-03T10:00:00Z"),
		at(2, "", "2026-07-02T08:00:00Z", "2026-07-01T10:00:00Z"),
		at(3, "", "", "2026-07-02T09:00:00Z"),
		at(4, "2026-06-30T09:00:00Z", "", "2026-07-02T09:00:00Z"), // dated into the period
		at(7, "2026-10-01T00:30:00Z", "", "2026-09-30T09:00:00Z"), // pushed after it
		changeOf(5, 0, "2026-07-03T00:00:00Z"),
		attrs{"id": sha(6), "repo": "acme/other", "branch": "main", "committed_at": "2026-07-02T09:00:00Z"})
	readOn(&s, "2026-07-02T06:00:00Z", attrs{"required_reviews": 0})
	readOn(&s, "2026-10-01T00:40:00Z", nil)
	got, _ := days(t, s, over)
	said := func(day string) string {
		var out []string
		for _, m := range got[day]["merged"].([]any) {
			v := m.(attrs)
			out = append(out, fmt.Sprint(strings.TrimLeft(v["commit"].(string), "0"), v["class"], v["pr"], v["by"]))
		}
		return strings.Join(out, " ")
	}
	if s := said("2026-07-02"); s != "2approved7carla 3approved7carla 1approved7carla" {
		t.Errorf("on the 2nd: %s", s)
	}
	if s := said("2026-07-03"); s != "5direct-push0" {
		t.Errorf("on the 3rd: %s", s)
	}
	if s := said("2026-09-30") + said("2026-10-01"); s != "" {
		t.Errorf("after the period: %s", s)
	}
	if s := said("2026-07-01"); s != "" {
		t.Errorf("on the 1st: %s", s)
	}
}

func TestRulesetsThatDidNotHold(t *testing.T) {
	var s shelf
	s.put("github.changes", after)
	readOn(&s, "2026-07-02T06:00:00Z", nil)
	s.put("github.rulesets", "2026-07-02T06:00:00Z",
		attrs{"id": "1", "repo": "acme/app", "name": "main", "enforcement": "active"},
		attrs{"id": "2", "repo": "acme/app", "name": "signed", "enforcement": "disabled"},
		attrs{"id": "3", "repo": "acme/other", "name": "theirs", "enforcement": "disabled"})
	got, _ := days(t, s, over)
	if said := fmt.Sprint(got["2026-07-02"]["rulesets_not_enforced"]); said != "[signed (disabled)]" {
		t.Error(said)
	}
}

// Without the rules, or without the changes, the evidence is not whole.
func TestDaysAreNotWhole(t *testing.T) {
	var s shelf
	s.put("github.changes", after)
	if e := s.draw(t, KindProtectionDays, over); e.Completeness.State != evidence.Incomplete || !strings.Contains(gapsOf(e), "nothing is known of any day") {
		t.Errorf("without rules: %s", gapsOf(e))
	}
	s = nil
	readOn(&s, "2026-07-02T06:00:00Z", nil)
	if e := s.draw(t, KindProtectionDays, over); e.Completeness.State != evidence.Incomplete || !strings.Contains(gapsOf(e), "github.changes: it was not collected") {
		t.Errorf("without changes: %s", gapsOf(e))
	}
}
