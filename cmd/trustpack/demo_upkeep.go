package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"trustpack/evidence"
)

// restoreBefore is how many nights of drills are left when the vendor tries a
// backup.
const restoreBefore = 5

// purgeBefore is how many nights of drills are left when the vendor purges what
// was received in the quarter's first week: its policy keeps it for 60 days.
const purgeBefore = 2

// purge erases what was received of each tenant before a day. One asks, and
// another approves.
func (q *quarter) purge(ctx context.Context, before time.Time) error {
	asks, err := q.operator("ben.okafor")
	if err != nil {
		return err
	}
	approves, err := q.operator("carla.ruiz")
	if err != nil {
		return err
	}
	for _, t := range q.fleet.Tenants {
		x, err := asks.RequestPurge(ctx, t.ID, before.Format(time.DateOnly), "the 60 days of the contract are over", "")
		if err != nil {
			return err
		}
		if _, err := approves.ApprovePurge(ctx, x.ID, "as the contract has it", ""); err != nil {
			return err
		}
	}
	return nil
}

// tryBackup copies the ingest's ledger as a backup does, restores the copy,
// and keeps the record as evidence.
func (q *quarter) tryBackup(ctx context.Context) error {
	temp, err := os.MkdirTemp("", "trustpack-demo-backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	backup := filepath.Join(temp, "backup")
	if err := os.CopyFS(filepath.Join(backup, "ledger"), os.DirFS(filepath.Join(q.cfg.ingestDir(), "ledger"))); err != nil {
		return err
	}
	logs, err := q.logs(ctx)
	if err != nil {
		return err
	}
	pinned := map[string]string{}
	for _, l := range logs {
		pinned[l.Origin] = l.VerifierKey
	}
	sample := *q.app
	sample.now = q.now
	records, err := sample.restoreTest([]string{filepath.Join(backup, "ledger")}, pinned)
	if err != nil {
		return err
	}
	for _, r := range records {
		if !r.OK {
			return fmt.Errorf("the copy is not what was signed: %v", r.Problems)
		}
	}
	return sample.recordRestoreTest(ctx, q.cfg, "backup", "ben.okafor", records)
}

// drillTimes are the nights in which the vendor lets the drills run: weekly.
func drillTimes(p evidence.Period) []time.Time {
	var out []time.Time
	for at := p.From.Add(26 * time.Hour); at.Before(p.To); at = at.AddDate(0, 0, 7) {
		out = append(out, at)
	}
	return out
}

func (q *quarter) drill(ctx context.Context) error {
	quiet := *q.app
	quiet.now = q.now
	target, err := quiet.drillTarget(q.cfg, adminFlags{as: "anna.berg"}, adminFlags{as: "carla.ruiz"}, "meter.v1")
	if err != nil {
		return err
	}
	// The ingest's duties, which write what was counted, go on meanwhile.
	target.Settle = 200 * time.Millisecond
	target.Wait = func(_ context.Context, d time.Duration) error {
		q.jump(q.now().Add(d))
		return nil
	}
	ticking, stop := context.WithCancel(ctx)
	group, ticking := errgroup.WithContext(ticking)
	group.Go(func() error {
		for {
			select {
			case <-ticking.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
				if err := q.server.Tick(ctx, q.now()); err != nil {
					return err
				}
			}
		}
	})
	results, err := quiet.runDrills(ctx, target, nil)
	stop()
	if err := errors.Join(err, group.Wait()); err != nil {
		return fmt.Errorf("drills: %w", err)
	}
	return drillVerdict(results)
}
