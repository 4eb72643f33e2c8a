package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trustpack/internal/durable"
	"trustpack/pack"
)

// verifyState is the folder of --state, which keeps the last accepted pack of
// each organisation's system. It is held against a second verifier from the
// reading of what was accepted to the writing of what is.
type verifyState struct {
	dir  string
	lock *durable.Lock
}

func openState(dir string) (*verifyState, error) {
	if err := durable.MkdirIn(durable.Disk{}, dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state: %w", err)
	}
	lock, err := durable.LockDir(dir)
	var held *durable.LockedError
	if errors.As(err, &held) {
		return nil, hint(err, "another verification is using this --state: run this one when that has ended")
	}
	if err != nil {
		return nil, err
	}
	return &verifyState{dir, lock}, nil
}

func (s *verifyState) close() error { return s.lock.Unlock() }

// last is pack.VerifyOptions.State.
func (s *verifyState) last(organisation, system string) (*pack.Accepted, error) {
	path := filepath.Join(s.dir, pack.AcceptedFile(organisation, system))
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	last, err := pack.ParseAccepted(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (restore it from a backup; without it the next pack cannot be held to the last)", path, err)
	}
	if last.Organisation != organisation || last.System != system {
		return nil, fmt.Errorf("%s keeps a pack of %s, %s: take another folder for this one", path, last.Organisation, last.System)
	}
	return &last, nil
}

// keep makes a pack the last accepted one, durably and whole or not at all.
func (s *verifyState) keep(a pack.Accepted) error {
	data, err := a.Encode()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(s.dir, pack.AcceptedFile(a.Organisation, a.System)), data, 0o600); err != nil {
		return hint(fmt.Errorf("keeping the accepted pack: %w", err), "the pack was verified, but the next one cannot be held to it: make room or write access and verify again")
	}
	return nil
}
