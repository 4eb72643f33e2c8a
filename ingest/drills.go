package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"trustpack/evidence"
)

// DrillPolicy says when the drills are run by themselves, and as whom. Neither
// Daily nor Every: never.
type DrillPolicy struct {
	Daily     string        `yaml:"daily"`      // "02:30", in UTC
	Every     time.Duration `yaml:"every"`      // instead: counted from midnight UTC of 1 January 1970
	Requester string        `yaml:"requester"`  // the credential of an operator: PATH.crt and PATH.key
	Approver  string        `yaml:"approver"`   // that of another one
	EventType string        `yaml:"event_type"` // what the canaries send; empty: the first schema's
	Public    string        `yaml:"public"`     // host:port at which devices reach the ingest; empty: ingest.listen
	Admin     string        `yaml:"admin"`      // host:port at which operators do; empty: ingest.admin_listen
}

// Resolve makes the paths those that path gives.
func (p *DrillPolicy) Resolve(path func(string) string) {
	for _, f := range []*string{&p.Requester, &p.Approver} {
		if *f != "" {
			*f = path(*f)
		}
	}
}

// Scheduled reports whether the drills are run at all.
func (p DrillPolicy) Scheduled() bool { return p.Daily != "" || p.Every != 0 }

func (p DrillPolicy) effective() map[string]any {
	return map[string]any{
		"daily": p.Daily, "every": durationText(p.Every), "requester": p.Requester, "approver": p.Approver, "event_type": p.EventType,
		"public": p.Public, "admin": p.Admin,
	}
}

// validate gives an error that begins with the key.
func (p DrillPolicy) validate() error {
	switch _, err := time.Parse("15:04", p.Daily); {
	case p.Daily != "" && p.Every != 0:
		return errors.New("every: give it or daily, not both")
	case p.Daily != "" && (err != nil || len(p.Daily) != 5):
		return fmt.Errorf("daily: %q is no time of the day; write it like 02:30, in UTC", p.Daily)
	case p.Every != 0 && (p.Every < 15*time.Second || p.Every > 31*day):
		return fmt.Errorf("every: %v is outside 15s to 31 days; write it like 12h", p.Every)
	case p.Scheduled() && (p.Requester == "" || p.Approver == ""):
		return errors.New("requester: name the credentials of two operators, requester and approver; nobody approves his own request")
	case p.Scheduled() && p.Requester == p.Approver:
		return errors.New("approver: must be another operator than the requester")
	}
	return nil
}

// Slot is the last moment at or before t at which the drills are due.
func (p DrillPolicy) Slot(t time.Time) time.Time {
	t = t.UTC()
	if p.Every != 0 {
		return time.Unix(0, t.UnixNano()-t.UnixNano()%int64(p.Every)).UTC()
	}
	at, err := time.Parse("15:04", p.Daily)
	if err != nil {
		return time.Time{} // which validate refuses
	}
	slot := time.Date(t.Year(), t.Month(), t.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
	if slot.After(t) {
		slot = slot.AddDate(0, 0, -1)
	}
	return slot
}

// After is the first moment after slot at which they are due again.
func (p DrillPolicy) After(slot time.Time) time.Time {
	if p.Every != 0 {
		return slot.Add(p.Every)
	}
	return slot.AddDate(0, 0, 1)
}

// drillRuns is what the log says of scheduled runs.
type drillRuns struct {
	last evidence.DrillRun
	open bool  // it has begun and has not ended
	runs int64 // that have begun
}

func (st *state) applyDrillRun(e *evidence.AuditEntry) error {
	var d evidence.DrillRun
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	st.drillRuns.last, st.drillRuns.open = d, e.Type == evidence.EntryDrillsStarted
	if st.drillRuns.open {
		st.drillRuns.runs++
	}
	return nil
}

func (c *codec) drillRuns(r *drillRuns) {
	c.time(&r.last.Due)
	c.time(&r.last.StartedAt)
	c.time(&r.last.EndedAt)
	c.name(&r.last.Verdict)
	c.int(&r.last.Passed)
	c.int(&r.last.Failed)
	c.int(&r.last.NotMade)
	c.text(&r.last.Why)
	listOf(c, &r.last.Missed, (*codec).time)
	c.int(&r.last.MissedAll)
	c.bool(&r.open)
	c.int64(&r.runs)
}

// LastDrills is the last scheduled run of the drills, the zero one where there
// was none, and whether it has begun and not ended.
func (s *Server) LastDrills() (run evidence.DrillRun, open bool) {
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	return s.st.drillRuns.last, s.st.drillRuns.open
}

// DrillsPolicy is the schedule in force.
func (s *Server) DrillsPolicy() DrillPolicy { return s.cfg().Drills }

// DrillsStarted enters that a scheduled run begins. One that is due when the
// last one was, or before, was made: that is an error.
func (s *Server) DrillsStarted(run evidence.DrillRun) error {
	return s.noteDrills(evidence.EntryDrillsStarted, run, nil)
}

// DrillsEnded enters what became of the run that began last.
func (s *Server) DrillsEnded(run evidence.DrillRun) error {
	return s.noteDrills(evidence.EntryDrillsEnded, run, nil)
}

// noteDrills enters a beginning or an end, of an operator where one says so.
func (s *Server) noteDrills(typ string, run evidence.DrillRun, a *adminCall) error {
	s.decide.Lock()
	defer s.decide.Unlock()
	last, open := s.LastDrills()
	at := run.Due.UTC().Format(time.RFC3339)
	switch started := typ == evidence.EntryDrillsStarted; {
	case started && open:
		return problem(CodeConflict, "the run of drills that was due at "+last.Due.Format(time.RFC3339)+" has not ended")
	case started && !run.Due.After(last.Due):
		return problem(CodeConflict, "the run of drills that was due at "+last.Due.Format(time.RFC3339)+" was made")
	case !started && (!open || !run.Due.Equal(last.Due)):
		return problem(CodeConflict, "no run of drills that was due at "+at+" is under way")
	}
	e := evidence.AuditEntry{Target: at, Data: raw(run), Before: stateData("due"), After: stateData("begun")}
	if typ == evidence.EntryDrillsEnded {
		e.Before, e.After = e.After, stateData("ended")
	}
	if a != nil {
		if p := a.done(typ, e); p != nil {
			return p
		}
		return nil
	}
	e.Actor, e.Result = &evidence.Actor{Name: "host", Role: "host"}, "done"
	_, err := s.record(s.entry(typ, e))
	return err
}

// drillRunCall is what the admin API takes of a run.
type drillRunCall struct {
	State string            `json:"state"` // "started" or "ended"
	Run   evidence.DrillRun `json:"run"`
}

// postDrillRun enters the beginning or the end of a run that another process
// makes on its own schedule.
func (s *Server) postDrillRun(a *adminCall) (any, *Problem) {
	var in drillRunCall
	if p := a.decode(&in); p != nil {
		return nil, p
	}
	typ, ok := map[string]string{"started": evidence.EntryDrillsStarted, "ended": evidence.EntryDrillsEnded}[in.State]
	a.target = in.Run.Due.UTC().Format(time.RFC3339)
	switch verdict := in.Run.Verdict; {
	case !ok:
		return nil, problem(CodeInvalid, "state: want started or ended")
	case in.Run.Due.IsZero() || in.Run.Due.After(s.now().Add(time.Minute)):
		return nil, problem(CodeInvalid, "run.due: say when the run was due, which cannot lie ahead")
	case len(in.Run.Missed) > 100 || len(in.Run.Why) > 2000:
		return nil, problem(CodeInvalid, "run: at most 100 times missed, and 2000 bytes of why")
	case in.State == "ended" && verdict != "passed" && verdict != "failed" && verdict != "not-available":
		return nil, problem(CodeInvalid, "run.verdict: want passed, failed or not-available")
	}
	if err := s.noteDrills(typ, in.Run, a); err != nil {
		return nil, s.failure(err)
	}
	return s.showDrillRun(a)
}

// DrillRuns is what the admin API says of runs on a schedule.
type DrillRuns struct {
	Last evidence.DrillRun `json:"last"`
	Open bool              `json:"open"` // it has begun and has not ended
}

// showDrillRun tells of the last run on a schedule.
func (s *Server) showDrillRun(*adminCall) (any, *Problem) {
	last, open := s.LastDrills()
	return DrillRuns{last, open}, nil
}
