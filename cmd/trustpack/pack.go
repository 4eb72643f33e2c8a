package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/pack"
)

func (a *app) packCommand() *cobra.Command {
	return group("pack", "Build, sign, redact, encrypt, show and compare evidence packs", a.packBuild(), a.packCountersign(), a.packRedact(), a.packEncrypt(), a.packDecrypt(), a.packShow(), a.packDiff())
}

func (a *app) packBuild() *cobra.Command {
	var period, out, key string
	var noTimestamp bool
	var breakChain bool
	cmd := &cobra.Command{
		Use:   "build --period PERIOD --out FILE",
		Short: "Build and sign the evidence pack of a period",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := evidence.ParsePeriod(period)
			if err != nil {
				return err
			}
			if out == "" {
				return hint(errors.New("--out is not set"), "say where the pack goes: --out acme-2026-Q3.epack.zip")
			}
			if err := mustNotExist(out); err != nil { // it may be countersigned, and is a link of the chain
				return err
			}
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			signer, err := a.vendorSigner(cmd.Context(), cfg, key)
			if err != nil {
				return err
			}
			if noTimestamp {
				cfg.Pack.TSA = TSAConfig{}
			}
			built, err := a.buildPack(cmd.Context(), cfg, p, out, signer, breakChain)
			if err != nil {
				return err
			}
			stamped := "none: nobody but the signer says when it was signed"
			if !built.Timestamp.IsZero() {
				stamped = built.Timestamp.UTC().Format(time.RFC3339Nano)
			}
			_, err = fmt.Fprintf(a.out, "pack: %s\nfiles: %d\nbytes: %d\nroot: %s\nsigned by: %s\ntimestamp: %s\n", out, built.Files, built.Bytes, built.TreeRoot, built.Fingerprint, stamped)
			return err
		},
	}
	cmd.Flags().StringVar(&period, "period", "", "the period, such as 2026-Q3")
	cmd.Flags().StringVar(&out, "out", "", "where the pack goes, a new `file`")
	cmd.Flags().BoolVar(&noTimestamp, "no-timestamp", false, "do not ask the time stamp authority of pack.tsa")
	cmd.Flags().StringVar(&key, "key", "", "private key that signs, over pack.key in trustpack.yaml: a file, ssh-agent:, awskms:`KEY` or exec:COMMAND")
	cmd.Flags().BoolVar(&breakChain, "break-chain", false, "build even where a log is not proved to have grown from what the pack before cites; verifiers that keep a state will refuse the pack")
	return cmd
}

func (a *app) packShow() *cobra.Command {
	var asJSON bool
	var entry shownEntry
	cmd := &cobra.Command{
		Use: "show PACK", Short: "Say what a pack holds, or show an entry of one of its logs; the pack is not verified by this",
		Long: `Says what a pack holds; nothing of that is verified.

With --log and --entry, by which evidence, report and workbook cite it, it prints
the exact bytes of one entry of a log, having proved that the entry stands in the
log under the pack's checkpoint; with --log-key also that the log signed the
checkpoint. What was not checked is said beside it. Exit: 1 where the proof fails,
2 where the pack has no such log or not that entry, 3 where it is withheld, or
where no key given is of that log.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("entry") {
				return a.showEntry(args[0], entry, asJSON)
			}
			if entry.log != "" || len(entry.keys) > 0 {
				return hint(errors.New("--entry is not set"), "evidence names an entry by its log and its index: --log control --entry 12")
			}
			f, size, err := openSized(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			s, err := pack.Show(f, size, pack.Limits{})
			if err != nil {
				return &exitError{code: exitWrong, err: fmt.Errorf("reading %s: %w", args[0], err)}
			}
			if asJSON {
				return a.printJSON(s)
			}
			return s.WriteText(a.out)
		},
	}
	cmd.Flags().StringVar(&entry.log, "log", "", "show an entry of this log: its `name`, the last part of its origin, or the origin")
	cmd.Flags().Var((*entryIndex)(&entry.index), "entry", "which entry, its `index` from 0")
	cmd.Flags().StringArrayVar(&entry.keys, "log-key", nil, "verifier key of a log: a `file`, a folder with *.vkey files, or the key itself")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func openSized(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// writeWhole writes a file through write, durably and whole or not at all.
func writeWhole(path string, write func(io.Writer) error) error {
	return writeChecked(path, write, func(*os.File) error { return nil })
}

// writeChecked is writeWhole that gives the file its name only if check finds
// nothing wrong with what was written.
func writeChecked(path string, write func(io.Writer) error, check func(*os.File) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) { // the temporary file's name tells nobody anything
			err = at.Err
		}
		return hint(fmt.Errorf("writing %s: %w", path, err), "name a file in a folder that exists and that you may write to")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	if err := write(temp); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := check(temp); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := temp.Sync(); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.Chmod(temp.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
