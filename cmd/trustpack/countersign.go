package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/internal/signers"
	"trustpack/internal/tsa"
	"trustpack/pack"
)

// countersignFlags are those of "pack countersign".
type countersignFlags struct {
	anchors             anchorFlags
	role, identity, key string
	out, tsa            string
	samples, worksheets []string
}

func (a *app) packCountersign() *cobra.Command {
	var o countersignFlags
	cmd := &cobra.Command{
		Use:   "countersign PACK --role ROLE --key REF --identity TEXT --vendor-key PUB",
		Short: "Sign a finished pack as its reviewer or auditor",
		Long: `Verifies the pack as 'trustpack verify' does, and refuses unless it is whole
under the keys given. Then adds one signature, and the samples that it cites,
and leaves the bytes of every other file as they were. Keys and people of
distinct roles are distinct.

REF is a private key file, ssh-agent: (with a fingerprint, a comment or a .pub
file behind it where the agent has several keys), awskms:KEY, or exec:COMMAND.

Exit: 0 signed; 1 the pack is wrong; 2 usage or I/O; 3 the pack could not be
verified. The report of a pack that is not signed goes to standard error.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.role == "":
				return hint(errors.New("--role is not set"), "say as whom you sign: --role reviewer or --role auditor")
			case o.identity == "":
				return hint(errors.New("--identity is not set"), `say who you are, as allowed_signers names you: --identity "Anna Berg, Example Audit"`)
			}
			verify, err := o.anchors.options(args[0])
			if err != nil {
				return err
			}
			samples, err := readSamples(o.samples, o.worksheets)
			if err != nil {
				return err
			}
			var kms signers.KMSConfig
			if strings.HasPrefix(o.key, "awskms:") {
				if kms, err = a.kmsConfig(); err != nil {
					return err
				}
			}
			signer, err := a.openSigner(cmd.Context(), o.key, "", kms)
			if err != nil {
				return err
			}
			c := pack.Countersigning{Role: o.role, Identity: o.identity, Time: a.now(), Samples: samples}
			if o.tsa != "" {
				c.Timestamp = stampBy(cmd.Context(), tsa.Client{URL: o.tsa, Roots: verify.TSARoots}, "try again, or sign without --tsa")
			}
			out := o.out
			if out == "" { // in place: where a link points to
				if out, err = filepath.EvalSymlinks(args[0]); err != nil {
					return err
				}
			}
			name, err := a.countersign(args[0], out, verify, c, signer)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "pack: %s\nsignature: %s\nsigned by: %s, %s %s\n", out, name, signer.Public().Fingerprint(), o.role, plainText(o.identity))
			return err
		},
	}
	f := cmd.Flags()
	o.anchors.register(cmd, "vendor-key")
	f.StringVar(&o.role, "role", "", "`reviewer` or auditor")
	f.StringVar(&o.key, "key", "", "private key that signs, a `REF`")
	f.StringVar(&o.identity, "identity", "", "`who` signs, a line of text")
	f.StringArrayVar(&o.samples, "sample", nil, "`file` of a sample drawn from the pack, which the signature cites")
	f.StringArrayVar(&o.worksheets, "worksheet", nil, "`file` of the worksheet that a sample names")
	f.StringVar(&o.tsa, "tsa", "", "`URL` of a time stamp authority to ask; its answer must lead to a --tsa-root where one is given")
	f.StringVar(&o.out, "out", "", "where the signed pack goes (default: in place of the pack, whole or not at all)")
	return cmd
}

// countersign signs the pack at path and writes it to out.
func (a *app) countersign(path, out string, o pack.VerifyOptions, c pack.Countersigning, signer pack.Signer) (name string, err error) {
	err = writeWhole(out, func(w io.Writer) error {
		f, size, err := openSized(path)
		if err != nil {
			return err
		}
		name, err = pack.Countersign(w, f, size, o, c, signer)
		return errors.Join(err, f.Close()) // before it may be replaced
	})
	var refused *pack.NotVerifiedError
	if errors.As(err, &refused) {
		if err := refused.Report.WriteText(a.err); err != nil {
			return "", err
		}
		return "", &exitError{code: refused.Report.Exit, err: err}
	}
	return name, err
}

// readSamples reads samples, and gives each the worksheet that it names.
func readSamples(samples, worksheets []string) ([]pack.SampleFiles, error) {
	sheets := map[string][]byte{}
	for _, path := range worksheets {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading worksheet: %w", err)
		}
		sheets[evidence.SHA256Hex(data)] = data
	}
	var out []pack.SampleFiles
	used := map[string]bool{}
	for _, path := range samples {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading sample: %w", err)
		}
		s, err := pack.ParseSample(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		sheet, ok := sheets[s.Worksheet]
		if s.Worksheet != "" && !ok {
			return nil, hint(fmt.Errorf("%s names a worksheet, and none that is given is it", path), "give the file that 'trustpack sample --worksheet' wrote, unchanged: --worksheet FILE")
		}
		used[s.Worksheet] = true
		out = append(out, pack.SampleFiles{JSON: bytes.Clone(data), Worksheet: sheet})
	}
	for _, path := range worksheets {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading worksheet: %w", err)
		}
		if !used[evidence.SHA256Hex(data)] {
			return nil, fmt.Errorf("worksheet %s: no sample that is given names it", path)
		}
	}
	return out, nil
}
