package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/term"

	"trustpack/internal/signers"
	"trustpack/pack"
)

// openSigner finds the key that ref names, as seen from dir; see package
// signers for what a reference can be.
func (a *app) openSigner(ctx context.Context, ref, dir string, kms signers.KMSConfig) (pack.Signer, error) {
	if ref == "" {
		return nil, hint(errors.New("no signing key is named"), "set pack.key in trustpack.yaml or give --key; 'trustpack keygen --out vendor.key' makes a key")
	}
	s, err := signers.Open(ctx, ref, signers.Options{Dir: dir, Passphrase: a.passphrase, Getenv: a.getenv, Stderr: a.err, KMS: kms})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(err, "make one with 'trustpack keygen --out FILE', or name a key otherwise: ssh-agent:, awskms:KEY, exec:COMMAND")
	}
	return s, err
}

// vendorSigner is the key that the configuration names, or that of a flag.
func (a *app) vendorSigner(ctx context.Context, cfg *Config, flag string) (pack.Signer, error) {
	if flag != "" {
		return a.openSigner(ctx, flag, "", cfg.Pack.KMS)
	}
	return a.openSigner(ctx, cfg.Pack.Key, cfg.dir, cfg.Pack.KMS)
}

// kmsConfig is that of the configuration, where there is one: who
// countersigns needs none.
func (a *app) kmsConfig() (signers.KMSConfig, error) {
	if _, err := os.Stat(a.config); errors.Is(err, fs.ErrNotExist) {
		return signers.KMSConfig{}, nil
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return signers.KMSConfig{}, err
	}
	return cfg.Pack.KMS, nil
}

// passphrase is that of an encrypted key file, from TRUSTPACK_KEY_PASSPHRASE
// or the terminal.
func (a *app) passphrase() ([]byte, error) {
	if p, ok := os.LookupEnv("TRUSTPACK_KEY_PASSPHRASE"); ok {
		return []byte(p), nil
	}
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, errors.New("the key is encrypted and nobody can be asked; set TRUSTPACK_KEY_PASSPHRASE")
	}
	if _, err := fmt.Fprint(a.err, "passphrase of the key: "); err != nil {
		return nil, err
	}
	p, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.err)
	return p, err
}
