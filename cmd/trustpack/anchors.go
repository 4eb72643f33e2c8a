package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/internal/keyfile"
	"trustpack/pack"
)

// anchorFlags are those by which a verification learns whom to trust.
type anchorFlags struct {
	keys, signers, allowed, roles, logs, witnesses, tsaRoots []string
}

// register adds the flags. vendorFlag names the one of the vendor's key.
func (a *anchorFlags) register(cmd *cobra.Command, vendorFlag string) {
	f := cmd.Flags()
	f.StringArrayVar(&a.keys, vendorFlag, nil, "the vendor's public key `file`, OpenSSH or PEM")
	f.StringArrayVar(&a.signers, "signer", nil, "public key of a role, `ROLE=FILE`")
	f.StringArrayVar(&a.allowed, "allowed-signers", nil, "OpenSSH allowed_signers `file` whose principals are ROLE or ROLE:IDENTITY; its validities are kept to")
	f.StringArrayVar(&a.tsaRoots, "tsa-root", nil, "PEM `file` with root certificates of time stamp authorities; a timestamp under one is then required")
	f.StringArrayVar(&a.roles, "require-role", nil, "a `role` that must have signed")
	f.StringArrayVar(&a.logs, "log-key", nil, "verifier key of a log: a `file`, a folder with *.vkey files, or the key itself")
	f.StringArrayVar(&a.witnesses, "witness", nil, "verifier key of a witness, whose cosignatures of the logs are asked for: a `file`, a folder with *.vkey files, or the key itself")
}

// options reads what the flags name.
func (a *anchorFlags) options(name string) (pack.VerifyOptions, error) {
	o := verifyOptions(name, nil, nil)
	o.RequireRoles = a.roles
	for _, file := range a.keys {
		pub, err := readPublicKey(file)
		if err != nil {
			return o, err
		}
		o.Keys = append(o.Keys, pub)
	}
	for _, s := range a.signers {
		role, file, ok := strings.Cut(s, "=")
		if !ok {
			return o, fmt.Errorf("--signer %s: want ROLE=FILE", s)
		}
		pub, err := readPublicKey(file)
		if err != nil {
			return o, err
		}
		o.Anchors = append(o.Anchors, pack.Anchor{Role: role, Key: pub})
	}
	for _, file := range a.allowed {
		data, err := keyfile.Read(file, keyfile.Max)
		if err != nil {
			return o, fmt.Errorf("reading allowed signers: %w", err)
		}
		anchors, err := pack.ParseAllowedSigners(data)
		if err != nil {
			return o, fmt.Errorf("%s: %w", file, err)
		}
		o.Anchors = append(o.Anchors, anchors...)
	}
	for _, file := range a.tsaRoots {
		roots, err := readCertificates(file)
		if err != nil {
			return o, fmt.Errorf("--tsa-root: %w", err)
		}
		o.TSARoots = append(o.TSARoots, roots...)
	}
	for _, k := range a.logs {
		lines, err := readLogKeys(k)
		if err != nil {
			return o, err
		}
		o.LogKeys = append(o.LogKeys, lines...)
	}
	for _, k := range a.witnesses {
		lines, err := readLogKeys(k)
		if err != nil {
			return o, fmt.Errorf("--witness: %w", err)
		}
		o.Witnesses = append(o.Witnesses, lines...)
	}
	return o, nil
}

// readCertificates reads a PEM file of one certificate or more.
func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := keyfile.Read(file, keyfile.Max)
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("reading certificates: %s holds a %q; want CERTIFICATE blocks only", file, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificates: %s: %w", file, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading certificates: %s holds none in PEM", file)
	}
	return out, nil
}

func readPublicKey(file string) (pack.PublicKey, error) {
	data, err := keyfile.Read(file, keyfile.Max)
	if err != nil {
		return pack.PublicKey{}, fmt.Errorf("reading public key: %w", err)
	}
	key, err := pack.ParsePublicKey(data)
	if err != nil {
		return pack.PublicKey{}, hint(fmt.Errorf("public key %s: %w", file, err), "give the vendor's .pub file (OpenSSH line) or a PEM public key")
	}
	return key, nil
}

// readLogKeys takes a verifier key as it is, or reads a file of them, or every
// *.vkey file of a folder.
func readLogKeys(arg string) ([]string, error) {
	if strings.Count(arg, "+") >= 2 {
		return []string{arg}, nil
	}
	files := []string{arg}
	if st, err := os.Stat(arg); err == nil && st.IsDir() {
		if files, err = filepath.Glob(filepath.Join(arg, "*.vkey")); err != nil {
			return nil, err
		}
	}
	var keys []string
	for _, file := range files {
		data, err := keyfile.Read(file, keyfile.Max)
		if err != nil {
			return nil, fmt.Errorf("reading verifier key: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("reading verifier key: %s holds none", arg)
	}
	return keys, nil
}
