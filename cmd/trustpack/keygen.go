package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"trustpack/internal/durable"
	"trustpack/pack"
)

func (a *app) keygenCommand() *cobra.Command {
	var out, keyType, comment string
	cmd := &cobra.Command{
		Use:   "keygen --out FILE",
		Short: "Make a signing key: FILE (private, OpenSSH format) and FILE.pub",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return hint(errors.New("--out is not set"), "say where the key goes: trustpack keygen --out vendor.key")
			}
			if err := writeKey(out, out+".pub", pack.KeyType(keyType), comment); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.out, "private key: %s\npublic key:  %s.pub\n", out, out)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "where the private key goes; the public key goes beside it")
	cmd.Flags().StringVar(&keyType, "type", "ed25519", "ed25519 or p256")
	cmd.Flags().StringVar(&comment, "comment", "trustpack", "comment in the public key")
	return cmd
}

// writeKey makes a key pair and writes both halves; it overwrites neither.
func writeKey(private, public string, t pack.KeyType, comment string) error {
	for _, path := range []string{private, public} {
		if err := mustNotExist(path); err != nil {
			return err
		}
	}
	priv, pub, err := pack.GenerateKey(t, comment, rand.Reader)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(private, priv, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(public, pub, 0o644)
}

// mustNotExist refuses to overwrite.
func mustNotExist(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return hint(fmt.Errorf("%s exists and is not overwritten", path), "name another file, or move this one away")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
