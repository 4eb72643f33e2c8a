package ingest

import (
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
)

func TestDrillPoliciesThatCannotStand(t *testing.T) {
	both := DrillPolicy{Requester: "a", Approver: "b"}
	for want, change := range map[string]func(*DrillPolicy){
		"ingest.drills.every: give it or daily":     func(p *DrillPolicy) { p.Daily, p.Every = "02:30", time.Hour },
		`ingest.drills.daily: "2:30" is no time`:    func(p *DrillPolicy) { p.Daily = "2:30" },
		`ingest.drills.daily: "24:00" is no time`:   func(p *DrillPolicy) { p.Daily = "24:00" },
		"ingest.drills.every: 1s is outside":        func(p *DrillPolicy) { p.Every = time.Second },
		"ingest.drills.requester: name the creden":  func(p *DrillPolicy) { p.Daily, p.Approver = "02:30", "" },
		"ingest.drills.approver: must be another o": func(p *DrillPolicy) { p.Daily, p.Approver = "02:30", "a" },
		"": func(p *DrillPolicy) { p.Daily = "02:30" },
	} {
		c := DefaultConfig()
		c.Drills = both
		change(&c.Drills)
		if err := c.Validate(); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", c.Drills, err, want)
		}
	}
}

// The state of the schedule is the fold of the log: a restart knows what was
// made, with and without a snapshot.
func TestScheduledDrillsAreTheFoldOfTheLog(t *testing.T) {
	r := newRig(t)
	due := r.clock.now().Truncate(time.Hour)
	run := evidence.DrillRun{Due: due, StartedAt: r.clock.now(), Missed: []time.Time{due.Add(-time.Hour)}, MissedAll: 1}
	if err := r.s.DrillsEnded(run); err == nil {
		t.Error("a run ended that had not begun")
	}
	if err := r.s.DrillsStarted(run); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if last, open := r.s.LastDrills(); !open || !last.Due.Equal(due) || len(last.Missed) != 1 || !last.Missed[0].Equal(run.Missed[0]) {
		t.Errorf("after a restart: %+v, open %v", last, open)
	}
	if err := r.s.DrillsStarted(evidence.DrillRun{Due: due.Add(time.Hour)}); err == nil {
		t.Error("a run began while another had not ended")
	}
	run.EndedAt, run.Verdict, run.Why, run.NotMade = r.clock.now(), "not-available", "cut off", 45
	if err := r.s.DrillsEnded(run); err != nil {
		t.Fatal(err)
	}
	if err := r.s.DrillsStarted(run); err == nil || !strings.Contains(err.Error(), "was made") {
		t.Errorf("the same run began again: %v", err)
	}
	r.restart()
	last, open := r.s.LastDrills()
	if open || last.Why != "cut off" || last.NotMade != 45 || !last.EndedAt.Equal(run.EndedAt) {
		t.Errorf("after a restart: %+v, open %v", last, open)
	}
	entries := append(r.control(evidence.EntryDrillsStarted), r.control(evidence.EntryDrillsEnded)...)
	if len(entries) != 2 || entries[0].Actor == nil || entries[0].Actor.Role != "host" {
		t.Errorf("entries %+v", entries)
	}
	r.sameAsFold()
}
