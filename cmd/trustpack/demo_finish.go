package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trustpack/collectors/github"
	"trustpack/evidence"
	"trustpack/internal/locker"
)

// finish closes the last day, writes the logs' verifier keys, and collects.
func (q *quarter) finish(ctx context.Context, p evidence.Period) error {
	q.jump(p.To.Add(time.Hour))
	if err := q.server.Tick(ctx, q.now()); err != nil {
		return err
	}
	if err := q.writeKeys(ctx); err != nil {
		return err
	}
	q.progress("%d uploads sent; collecting evidence", q.sent)
	sample := *q.app
	sample.now, sample.getenv = q.now, func(string) string { return "sample-not-a-secret" }
	done, err := sample.collect(ctx, q.cfg, p, nil)
	if err != nil {
		return err
	}
	for _, c := range done {
		if c.Kind == github.KindRuleSuites {
			continue // of a quarter that is collected once, GitHub gives the last month of these alone
		}
		for _, g := range c.Gaps {
			return fmt.Errorf("%s is incomplete: %s: %s", c.Kind, g.What, g.Reason)
		}
	}
	return nil
}

// writeKeys writes the verifier key of every log to a file of its name.
func (q *quarter) writeKeys(ctx context.Context) error {
	logs, err := q.logs(ctx)
	if err != nil {
		return err
	}
	keys := map[string]string{}
	for _, l := range logs {
		keys[l.Name] = l.VerifierKey
	}
	lock, err := q.openLocker(q.cfg)
	if err != nil {
		return err
	}
	keys[locker.LogName], err = lock.Ledger().VerifierKey(locker.LogName)
	if err := errors.Join(err, lock.Close()); err != nil {
		return err
	}
	for name, key := range keys {
		if err := os.WriteFile(filepath.Join(q.cfg.dir, name+".vkey"), []byte(key+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
