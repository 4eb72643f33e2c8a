package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/internal/locker"
	"trustpack/ledger"
	"trustpack/pack"
)

// openLocker opens the evidence locker to write, making it and the key of its
// log on the first use.
func (a *app) openLocker(cfg *Config) (*locker.Locker, error) {
	seed, err := secretFile(cfg.seedFile(), ledger.NewSeed)
	if err != nil {
		return nil, fmt.Errorf("reading the evidence log's key: %w", err)
	}
	return locker.Open(cfg.lockerDir(), locker.Options{Instance: cfg.Instance, Seed: seed, Labels: cfg.labels(), Now: a.now})
}

// readLocker opens the evidence locker to read.
func (a *app) readLocker(cfg *Config) (*locker.Locker, error) {
	if _, err := os.Stat(cfg.lockerDir()); errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("there is no evidence at %s", cfg.lockerDir()), "run 'trustpack collect' first")
	}
	return locker.Open(cfg.lockerDir(), locker.Options{Instance: cfg.Instance, Now: a.now})
}

// secretFile reads a 32-byte secret, making it with newSecret where there is
// none.
func secretFile(path string, newSecret func() ([]byte, error)) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if err == nil {
		if len(secret) != 32 {
			return nil, fmt.Errorf("%s holds %d bytes and not 32; restore it from a backup", path, len(secret))
		}
		return secret, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if secret, err = newSecret(); err != nil {
		return nil, err
	}
	if err := durable.MkdirIn(durable.Disk{}, filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return secret, durable.WriteFile(path, secret, 0o600)
}

func randomSecret() ([]byte, error) {
	b := make([]byte, 32)
	_, err := rand.Read(b)
	return b, err
}

// ofPeriod is what was collected for a period.
type ofPeriod struct {
	evidence []evidence.Collected
	leftOut  []evidence.LeftOut
	entries  []locker.Collected // of both in the evidence log, in its order
}

// evidenceOf reads everything that was collected for the period: the
// collections whose window touches it. What was collected before its window
// began is evidence of nothing in it and no pack may hold it; it is left out,
// and whoever asked is told. What was made for a later period and looks back
// into this one is left to that one's pack where this one's own collections are
// enough.
func (a *app) evidenceOf(l *locker.Locker, p evidence.Period) (ofPeriod, error) {
	index, _, err := l.Index()
	if err != nil {
		return ofPeriod{}, err
	}
	var out ofPeriod
	for _, entry := range index {
		if !entry.Window.From.Before(p.To) || !p.From.Before(entry.Window.To) {
			continue
		}
		out.entries = append(out.entries, entry)
		if entry.CollectedAt.Before(entry.Window.From) {
			left, err := leftOutOf(l, entry)
			if err != nil {
				return ofPeriod{}, err
			}
			a.progress("warning: %s is left out: %s (%s, entry %d of the evidence log)", left.Kind, left.Why(), left.ID[:12], left.LogEntry)
			out.leftOut = append(out.leftOut, left)
			continue
		}
		e, err := l.Get(entry.ID)
		if err != nil {
			return ofPeriod{}, err
		}
		out.evidence = append(out.evidence, e)
	}
	a.leaveToLater(&out, p)
	return out, nil
}

// leaveToLater takes out what was made for a later period and is not needed.
func (a *app) leaveToLater(out *ofPeriod, p evidence.Period) {
	mine := controls.Own(out.evidence, p)
	left := map[string]bool{}
	for _, e := range out.evidence {
		left[e.ID] = true
	}
	for _, e := range mine {
		delete(left, e.ID)
	}
	if len(left) == 0 {
		return
	}
	what := "1 collection of a later period that looks"
	if len(left) > 1 {
		what = fmt.Sprintf("%d collections of a later period that look", len(left))
	}
	a.progress("%s back into %s: left to the later pack, since those of %s itself are whole", what, p, p)
	out.evidence = mine
	out.entries = slices.DeleteFunc(out.entries, func(entry locker.Collected) bool { return left[entry.ID] })
}

func leftOutOf(l *locker.Locker, entry locker.Collected) (evidence.LeftOut, error) {
	rec, err := l.Record(entry.ID)
	if err != nil {
		return evidence.LeftOut{}, err
	}
	return evidence.LeftOut{
		Citation: evidence.Citation{ID: entry.ID, Kind: entry.Kind, CollectedAt: entry.CollectedAt, Window: entry.Window,
			Completeness: entry.Completeness, Items: entry.Items, Origin: entry.Origin},
		Collector: entry.Collector, System: rec.Provenance.System, Account: rec.Provenance.Account, LogEntry: entry.Index,
	}, nil
}

// leftOutFile lists what a pack leaves out; a pack that leaves nothing out has none.
const leftOutFile = "data/left-out.json"

// leftOutIn reads what a pack says it leaves out.
func leftOutIn(c *pack.Contents) ([]evidence.LeftOut, error) {
	data, err := c.Read(leftOutFile)
	var withheld *pack.WithheldError
	if !errors.As(err, &withheld) && !c.Has(leftOutFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []evidence.LeftOut
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("reading %s: %w", leftOutFile, err)
	}
	return out, nil
}
