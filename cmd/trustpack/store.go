package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trustpack/evidence"
	"trustpack/internal/durable"
	"trustpack/internal/locker"
	"trustpack/ledger"
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

// evidenceOf reads everything that was collected for the period: the
// collections whose window touches it. What was collected before its window
// began is evidence of nothing in it, and no pack may hold it.
func evidenceOf(l *locker.Locker, p evidence.Period) ([]evidence.Collected, []locker.Collected, error) {
	index, _, err := l.Index()
	if err != nil {
		return nil, nil, err
	}
	var out []evidence.Collected
	var entries []locker.Collected
	for _, entry := range index {
		if !entry.Window.From.Before(p.To) || !p.From.Before(entry.Window.To) || entry.CollectedAt.Before(entry.Window.From) {
			continue
		}
		e, err := l.Get(entry.ID)
		if err != nil {
			return nil, nil, err
		}
		out, entries = append(out, e), append(entries, entry)
	}
	return out, entries, nil
}
