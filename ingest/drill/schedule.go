package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trustpack/evidence"
)

// missedMost is how many missed times an entry lists; it counts all.
const missedMost = 100

// Timetable says when runs are due.
type Timetable interface {
	Slot(t time.Time) time.Time     // the last moment at or before t
	After(slot time.Time) time.Time // the first one after a slot
}

// Book is where the log says which runs were made: what Last gives is the fold
// of what Started and Ended entered, also after a restart.
type Book interface {
	// Last is the last run that began, the zero one where there was none, and
	// whether it has not ended.
	Last(context.Context) (run evidence.DrillRun, open bool, err error)
	Started(context.Context, evidence.DrillRun) error
	Ended(context.Context, evidence.DrillRun) error
}

// Schedule runs the drills by itself.
type Schedule struct {
	// Table is the timetable in force, nil for none. It is asked before each run.
	Table func() Timetable
	Book  Book
	// Target gives what to attack and the credentials for it. An error is why a
	// run could not start, and is entered as such.
	Target func() (Target, error)
	Now    func() time.Time // the ingest's clock
	// Alone says that whoever makes runs of the book ends with this process, so
	// that one which has not ended when the schedule begins never will.
	Alone bool
	// Failed is told what could not even be entered.
	Failed func(error)
	// Ended is told of each run that ended; may be nil.
	Ended func(evidence.DrillRun)

	since time.Time // runs due before were nobody's to make
	dead  time.Time // when a run began that was cut off and is not cleared away after; zero where none is
}

// glance is how long the schedule lets pass at most before it looks at the
// clock again, which may have been set.
const glance = 30 * time.Second

// Run runs the drills whenever they are due, until ctx ends. A run under way
// then makes no further attack, clears away after itself and is entered.
func (s *Schedule) Run(ctx context.Context) {
	s.since = s.Now()
	for ctx.Err() == nil {
		wait := glance
		if table := s.Table(); table != nil {
			if err := s.step(ctx, table); err != nil {
				s.Failed(err)
			}
			now := s.Now()
			wait = min(glance, max(table.After(table.Slot(now)).Sub(now), 10*time.Millisecond))
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// step makes the run that is due, if one is.
func (s *Schedule) step(ctx context.Context, table Timetable) error {
	last, open, err := s.Book.Last(ctx)
	if err != nil {
		return fmt.Errorf("looking up the last run of the drills: %w", err)
	}
	if open && !s.Alone && s.Now().Sub(last.StartedAt) < runTime+5*time.Minute {
		return nil // another process makes it
	}
	if open {
		last.EndedAt, last.Verdict = s.Now().UTC(), NotAvailable
		last.Why = "cut off: the process that made it ended before it did"
		if err := s.Book.Ended(ctx, last); err != nil {
			return err
		}
		s.dead = last.StartedAt
		s.clear(ctx)
	}
	now := s.Now()
	due := table.Slot(now)
	if !due.After(last.Due) || last.Due.IsZero() && !due.After(s.since) {
		return nil
	}
	run := evidence.DrillRun{Due: due, StartedAt: now.UTC()}
	if !last.Due.IsZero() {
		run.Missed, run.MissedAll = missed(table, last.Due, due)
	}
	if err := s.Book.Started(ctx, run); err != nil {
		return err
	}
	s.clear(ctx)
	s.make(ctx, &run)
	run.EndedAt = s.Now().UTC()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Book.Ended(ending, run); err != nil {
		return err
	}
	if s.Ended != nil {
		s.Ended(run)
	}
	return nil
}

// clear clears away what a run left behind that was cut off. Where that fails,
// it is tried again before the next run.
func (s *Schedule) clear(ctx context.Context) {
	if s.dead.IsZero() {
		return
	}
	target, err := s.Target()
	if err == nil {
		err = Clear(ctx, target, s.dead)
	}
	if err != nil {
		s.Failed(err)
		return
	}
	s.dead = time.Time{}
}

// missed lists the slots between two, the last ones where they are many.
func missed(table Timetable, last, due time.Time) (list []time.Time, all int) {
	for slot := table.After(table.Slot(last)); slot.Before(due); slot = table.After(slot) {
		if !slot.After(last) {
			continue
		}
		if all++; len(list) == missedMost {
			list = list[1:]
		}
		list = append(list, slot)
	}
	return list, all
}

// make makes the run and enters the results.
func (s *Schedule) make(ctx context.Context, run *evidence.DrillRun) {
	target, err := s.Target()
	if err != nil {
		run.Verdict, run.Why = NotAvailable, oneLine(err.Error())
		return
	}
	results, err := Run(ctx, target, nil)
	if len(results) > 0 {
		posting, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if _, perr := Post(posting, target, results); perr != nil {
			err = errors.Join(err, perr)
		}
	}
	verdicts := []string{}
	for _, r := range results {
		switch verdicts = append(verdicts, r.Verdict); r.Verdict {
		case Passed:
			run.Passed++
		case Failed:
			run.Failed++
		default:
			run.NotMade++
		}
	}
	run.Verdict = join(verdicts...)
	if len(results) == 0 || err != nil {
		run.Verdict = join(run.Verdict, NotAvailable)
	}
	if err != nil {
		run.Why = oneLine(err.Error())
	}
	if ctx.Err() != nil {
		run.Why = oneLine("cut off: the process was told to end; " + run.Why)
	}
}
