package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/internal/signers"
	"trustpack/pack"
)

func (a *app) packRedact() *cobra.Command {
	var r pack.Redaction
	var key, out string
	cmd := &cobra.Command{
		Use:   "redact PACK --path GLOB --reason TEXT --key REF --identity TEXT --out FILE",
		Short: "Take files out of a finished pack, with its root and signatures whole",
		Long: `Writes the pack without the files that a GLOB matches ("*" within a folder, "**"
across folders). Their lines of the manifest become hashes, so that pack.json
and every signature stay as they are and hold, and a signed list says what kind
of file was withheld, why and by whom. Verifiers show it beside the verdict.

Files that the pack cannot be verified without are refused. Others that may
hold the same content are named: a report, a workbook, findings.

REF is a private key as for 'pack countersign'; who verifies needs its public
key for some role. Exit: 0 written; 1 the pack is wrong; 2 usage or I/O.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, missing := range [][2]string{{r.Reason, "--reason"}, {r.Identity, "--identity"}, {out, "--out"}, {strings.Join(r.Paths, ""), "--path"}} {
				if missing[0] == "" {
					return hint(fmt.Errorf("%s is not set", missing[1]), "see 'trustpack pack redact --help'; 'trustpack pack show PACK' and 'unzip -l PACK' list what it holds")
				}
			}
			if err := mustNotExist(out); err != nil {
				return err
			}
			var kms signers.KMSConfig
			if strings.HasPrefix(key, "awskms:") {
				var err error
				if kms, err = a.kmsConfig(); err != nil {
					return err
				}
			}
			signer, err := a.openSigner(cmd.Context(), key, "", kms)
			if err != nil {
				return err
			}
			r.Time = a.now()
			done, err := a.redact(args[0], out, r, signer)
			if err != nil {
				return err
			}
			return a.printRedacted(out, done, signer.Public(), r.Identity)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&r.Paths, "path", nil, "what is withheld, a `GLOB` over the paths of the pack's files")
	f.StringVar(&r.Reason, "reason", "", "`why`, a line of text that everybody who verifies is shown")
	f.StringVar(&key, "key", "", "private key that signs the list, a `REF`")
	f.StringVar(&r.Identity, "identity", "", "`who` withholds, a line of text")
	f.StringVar(&out, "out", "", "where the redacted pack goes, a new `file`")
	return cmd
}

// redact writes the redacted pack to out once it has been verified: nothing
// may be wrong with it but that files are withheld.
func (a *app) redact(path, out string, r pack.Redaction, signer pack.Signer) (done pack.Redacted, err error) {
	f, size, err := openSized(path)
	if err != nil {
		return pack.Redacted{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = writeChecked(out, func(w io.Writer) error {
		done, err = pack.Redact(w, f, size, pack.Limits{}, r, signer)
		return err
	}, func(written *os.File) error {
		st, err := written.Stat()
		if err != nil {
			return err
		}
		if report := pack.Verify(written, st.Size(), pack.VerifyOptions{Name: out}); report.Exit == exitWrong || report.Exit == exitUsage {
			return &pack.NotVerifiedError{Report: report}
		}
		return nil
	})
	var refused *pack.NotVerifiedError
	if errors.As(err, &refused) {
		if werr := refused.Report.WriteText(a.err); werr != nil {
			return pack.Redacted{}, werr
		}
		why := errors.New("nothing is redacted: the pack is not whole")
		if done.Name != "" {
			why = errors.New("nothing is redacted: without these files the rest of the pack cannot be verified")
		}
		return pack.Redacted{}, &exitError{code: refused.Report.Exit, err: why}
	}
	return done, err
}

func (a *app) printRedacted(out string, done pack.Redacted, key pack.PublicKey, identity string) error {
	if _, err := fmt.Fprintf(a.out, "pack: %s\nredaction: %s\nsigned by: %s, %s\n", out, done.Name, key.Fingerprint(), plainText(identity)); err != nil {
		return err
	}
	for _, class := range slices.Sorted(maps.Keys(done.Classes)) {
		if _, err := fmt.Fprintf(a.out, "withheld: %d of %s\n", done.Classes[class], plainText(class)); err != nil {
			return err
		}
	}
	if len(done.MayHold) == 0 {
		return nil
	}
	a.progress("warning: these files stay, and may hold the same content or its SHA-256; look into them before you give the pack away:")
	for _, class := range slices.Sorted(maps.Keys(done.MayHold)) {
		a.progress("  %d of %s", done.MayHold[class], class)
	}
	return nil
}
