package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"trustpack/evidence"
	"trustpack/ingest"
	"trustpack/ingest/drill"
)

// serverBook is where the ingest of this process keeps its scheduled runs.
type serverBook struct{ s *ingest.Server }

func (b serverBook) Last(context.Context) (evidence.DrillRun, bool, error) {
	run, open := b.s.LastDrills()
	return run, open, nil
}

func (b serverBook) Started(_ context.Context, run evidence.DrillRun) error {
	return b.s.DrillsStarted(run)
}

func (b serverBook) Ended(_ context.Context, run evidence.DrillRun) error {
	return b.s.DrillsEnded(run)
}

// scheduleOf is the timetable of the policy, nil for none.
func scheduleOf(p ingest.DrillPolicy) drill.Timetable {
	if !p.Scheduled() {
		return nil
	}
	return p
}

// newSchedule is the schedule that policy gives at each time, entered in book.
func (a *app) newSchedule(cfg *Config, policy func() ingest.DrillPolicy, book drill.Book, logger *slog.Logger) *drill.Schedule {
	return &drill.Schedule{
		Table:  func() drill.Timetable { return scheduleOf(policy()) },
		Book:   book,
		Target: func() (drill.Target, error) { return a.scheduledTarget(cfg, policy()) },
		Now:    a.now,
		Failed: func(err error) { logger.Error("drills on schedule failed", "error", err) },
		Ended: func(run evidence.DrillRun) {
			logger.Info("drills ended", "due", run.Due, "verdict", run.Verdict, "passed", run.Passed, "failed", run.Failed, "not_available", run.NotMade, "missed", run.MissedAll, "why", run.Why)
		},
	}
}

// scheduledTarget reads the credentials anew for each run, since they are
// renewed now and then.
func (a *app) scheduledTarget(cfg *Config, p ingest.DrillPolicy) (drill.Target, error) {
	t, err := a.targetOf(cfg, p.EventType)
	if err != nil {
		return t, err
	}
	if p.Public != "" {
		t.PublicURL = "https://" + p.Public
	}
	if p.Admin != "" {
		t.AdminURL = "https://" + p.Admin
	}
	for _, o := range []struct {
		key, path string
		to        *tls.Certificate
	}{{"requester", p.Requester, &t.Requester}, {"approver", p.Approver, &t.Approver}} {
		if *o.to, err = tls.LoadX509KeyPair(o.path+".crt", o.path+".key"); err != nil {
			return t, fmt.Errorf("ingest.drills.%s: reading %s.crt and .key: %w", o.key, o.path, err)
		}
	}
	return t, nil
}

// serveWithDrills serves until ctx ends, and runs the drills on schedule
// meanwhile. A run under way ends before the ingest does, which it needs to
// clear away.
func (a *app) serveWithDrills(ctx context.Context, cfg *Config, s *ingest.Server, logger *slog.Logger) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		schedule := a.newSchedule(cfg, s.DrillsPolicy, serverBook{s}, logger)
		schedule.Alone = true
		schedule.Run(running)
	}()
	go func() {
		<-ended
		stop()
	}()
	err := s.Serve(serving) // it may end by itself, in an error
	cancel()
	<-ended
	return err
}

// drillOnSchedule runs the drills of an ingest that another process serves,
// until ctx ends.
func (a *app) drillOnSchedule(ctx context.Context, cfg *Config) error {
	p := cfg.Ingest.Drills
	if !p.Scheduled() {
		return hint(errors.New("trustpack.yaml says nothing of when the drills are due"), "write ingest.drills with daily or every, requester and approver")
	}
	t, err := a.scheduledTarget(cfg, p)
	if err != nil {
		return err
	}
	book, err := drill.RemoteBook(t)
	if err != nil {
		return err
	}
	a.newSchedule(cfg, func() ingest.DrillPolicy { return p }, book, slog.New(slog.NewJSONHandler(a.err, nil))).Run(ctx)
	return nil
}
