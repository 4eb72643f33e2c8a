package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/internal/signers"
)

// here is the source of what is looked at on this machine.
const here = "here"

// checkHere looks at what a run needs of this machine: the key that signs
// packs, where one is named, and the state folder with its disk.
func (a *app) checkHere(ctx context.Context, cfg *Config) []evidence.AccessCheck {
	var out []evidence.AccessCheck
	row := func(target, permission, reads string, state evidence.AccessState, said string) {
		out = append(out, evidence.AccessCheck{Source: here, Target: target, Permission: permission, For: reads, Kinds: []evidence.Kind{}, State: state, Said: said})
	}
	if cfg.Pack.Key != "" {
		state, said := a.checkKey(ctx, cfg)
		row("pack.key", "signing key: open", "signing packs", state, said)
	}
	dir, begun := standing(cfg.path(cfg.State))
	took, err := writeOnce(dir)
	switch {
	case err != nil:
		row("state", "folder: write", "state and evidence", evidence.AccessLacking, err.Error())
	case !begun:
		row("state", "folder: write", "state and evidence", evidence.AccessGranted, "it does not exist yet; it can be made")
	default:
		row("state", "folder: write", "state and evidence", evidence.AccessGranted, "")
	}
	if err == nil {
		row("state", "disk: fsync", "nothing acknowledged is lost", evidence.AccessGranted, fmt.Sprintf("the disk says that 4 KiB were kept after %.1f ms", float64(took.Microseconds())/1000))
	}
	if free, err := freeBytes(dir); err != nil {
		row("state", "disk: room", "state and evidence", evidence.AccessUnknown, "asking how much is free: "+err.Error())
	} else {
		row("state", "disk: room", "state and evidence", evidence.AccessGranted, fmt.Sprintf("%.1f GiB are free", float64(free)/(1<<30)))
	}
	return out
}

// errNotAsked is why an encrypted key stays closed here.
var errNotAsked = errors.New("the key is encrypted, and doctor asks for no passphrase; TRUSTPACK_KEY_PASSPHRASE may hold it")

// checkKey opens the key without asking anybody, and says its public half.
func (a *app) checkKey(ctx context.Context, cfg *Config) (evidence.AccessState, string) {
	s, err := signers.Open(ctx, cfg.Pack.Key, signers.Options{
		Dir: cfg.dir, Getenv: a.getenv, KMS: cfg.Pack.KMS, Timeout: 10 * time.Second,
		Passphrase: func() ([]byte, error) {
			if p := a.getenv("TRUSTPACK_KEY_PASSPHRASE"); p != "" {
				return []byte(p), nil
			}
			return nil, errNotAsked
		},
	})
	if err == nil {
		return evidence.AccessGranted, s.Public().Fingerprint()
	}
	// The reference is left out: it may be a command with whatever its words hold.
	said := strings.TrimPrefix(err.Error(), "signing key "+cfg.Pack.Key+": ")
	service := strings.HasPrefix(cfg.Pack.Key, "ssh-agent:") || strings.HasPrefix(cfg.Pack.Key, "awskms:") || strings.HasPrefix(cfg.Pack.Key, "exec:")
	if errors.Is(err, errNotAsked) || service {
		return evidence.AccessUnknown, said
	}
	return evidence.AccessLacking, said
}

// standing is the folder, or where it does not exist the nearest above it.
func standing(dir string) (there string, begun bool) {
	begun = true
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, begun
		}
		dir, begun = filepath.Dir(dir), false
	}
}

// writeOnce writes a file into dir, waits until the disk has it, and takes it
// away again. The time is that of the waiting.
func writeOnce(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, fmt.Errorf("writing there: %w", err)
	}
	defer func() {
		if gone := os.Remove(f.Name()); err == nil && gone != nil {
			err = fmt.Errorf("taking away what was written: %w", gone)
		}
	}()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return 0, fmt.Errorf("writing there: %w", errors.Join(err, f.Close()))
	}
	start := time.Now()
	err = f.Sync()
	took = time.Since(start)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("waiting for the disk: %w", err)
	}
	return took, nil
}
