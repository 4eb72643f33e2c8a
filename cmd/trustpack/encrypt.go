package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"trustpack/internal/agefile"
)

func (a *app) packEncrypt() *cobra.Command {
	var to []string
	var out string
	cmd := &cobra.Command{
		Use:   "encrypt PACK --recipient KEY --out FILE.age",
		Short: "Encrypt a pack for those who may read it (age)",
		Long: `Writes the pack as an age file (age-encryption.org/v1) that each recipient can
decrypt, with trustpack or with age. KEY is a native recipient (age1…), an SSH
public key line (ssh-ed25519 AAAA…), or a file that holds such lines. What is
decrypted is the pack byte for byte: its signatures know nothing of this.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(to) == 0 {
				return hint(errors.New("--recipient is not set"), "give who may read it: age1…, 'ssh-ed25519 AAAA…', or a file of such keys")
			}
			recipients, err := agefile.Recipients(to)
			if err != nil {
				return err
			}
			err = a.throughFile(args[0], out, args[0]+".age", func(w io.Writer, r *io.SectionReader) error {
				if agefile.Is(r) {
					return fmt.Errorf("%s is encrypted already", args[0])
				}
				return agefile.Encrypt(w, r, recipients)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "encrypted: %s\nrecipients: %d\n", out, len(recipients))
			return err
		},
	}
	cmd.Flags().StringArrayVar(&to, "recipient", nil, "who may read it, a `KEY` or a file of keys")
	cmd.Flags().StringVar(&out, "out", "", "where the encrypted pack goes, a new `file`")
	return cmd
}

func (a *app) packDecrypt() *cobra.Command {
	var identity, out string
	cmd := &cobra.Command{
		Use:   "decrypt FILE.age --identity KEYFILE --out PACK",
		Short: "Decrypt a pack that was encrypted for you (age)",
		Long: `Writes the pack that was encrypted, whole or not at all. KEYFILE holds private
keys: native ones (AGE-SECRET-KEY-1…), such a file encrypted with a passphrase,
or an SSH key (Ed25519 or RSA), encrypted or not. The passphrase is asked for on
the terminal or taken from TRUSTPACK_KEY_PASSPHRASE. Verify the pack then: that
you can decrypt it says nothing of who made it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if identity == "" {
				return hint(errors.New("--identity is not set"), "give the file of your private key")
			}
			ids, err := agefile.Identities(identity, a.passphrase)
			if err != nil {
				return err
			}
			err = a.throughFile(args[0], out, "pack.epack.zip", func(w io.Writer, r *io.SectionReader) error {
				if !agefile.Is(r) {
					return fmt.Errorf("%s is not encrypted with age", args[0])
				}
				return agefile.Decrypt(w, r, ids)
			})
			if errors.Is(err, agefile.ErrNotForUs) {
				return hint(err, "ask whoever sent it to encrypt it for your key")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "pack: %s\nnot verified yet: trustpack verify %s --key PUB\n", out, out)
			return err
		},
	}
	cmd.Flags().StringVar(&identity, "identity", "", "`file` of the private key that decrypts")
	cmd.Flags().StringVar(&out, "out", "", "where the pack goes, a new `file`")
	return cmd
}

// throughFile writes to out, which must be new, what through makes of the file
// at path; example is a name for out.
func (a *app) throughFile(path, out, example string, through func(io.Writer, *io.SectionReader) error) (err error) {
	if out == "" {
		return hint(errors.New("--out is not set"), "say where it goes: --out %s", example)
	}
	if err := mustNotExist(out); err != nil {
		return err
	}
	f, size, err := openSized(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return writeWhole(out, func(w io.Writer) error { return through(w, io.NewSectionReader(f, 0, size)) })
}
