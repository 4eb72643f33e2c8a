package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/ingest"
	"trustpack/internal/agefile"
)

func (a *app) caCommand() *cobra.Command {
	return group("ca", "The ingest's certificate authority", a.caInit())
}

func (a *app) caInit() *cobra.Command {
	var to string
	var readers []string
	cmd := &cobra.Command{
		Use:   "init --root DIR [--recipient KEY]…",
		Short: "Take the root key out of the ingest and let an issuing CA sign instead",
		Long: `Makes an issuing CA below the ingest's root (path length 0, three years), which
signs certificates and the list of revoked ones from the next start of the
ingest on, and moves the root key into DIR: a disk that is then locked away.
With --recipient KEY, an age recipient or SSH key, the root key is encrypted to it;
without, it is readable by its owner alone. Devices and operators trust the
root as before and need nothing new; what it has signed stays good.

The old place of the key on the ingest's disk is not overwritten; on a disk that
others can read later, keep the ingest's folder encrypted. Restart the ingest
afterwards: one that runs goes on with the root key that it has in memory.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if to == "" {
				return hint(errors.New("nowhere to put the root key"), "give --root DIR, a folder outside the ingest's")
			}
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if err := outside(cfg.path(cfg.State), to); err != nil {
				return err
			}
			o := ingest.OfflineOptions{To: to, Now: a.now}
			if len(readers) > 0 {
				recipients, err := agefile.Recipients(readers)
				if err != nil {
					return err
				}
				o.KeyFile = "root.key.age"
				o.Seal = func(plain []byte) ([]byte, error) {
					var out bytes.Buffer
					err := agefile.Encrypt(&out, bytes.NewReader(plain), recipients)
					return out.Bytes(), err
				}
			}
			issuing, err := ingest.TakeRootOffline(cfg.ingestDir(), o)
			if err != nil {
				return err
			}
			name := o.KeyFile
			if name == "" {
				name = "root.key"
			}
			_, err = fmt.Fprintf(a.out, "issuing CA: %s, until %s\nroot key: %s\nnext: lock that away, and restart the ingest\n",
				issuing.Subject.CommonName, issuing.NotAfter.UTC().Format(time.DateOnly), filepath.Join(to, name))
			return err
		},
	}
	cmd.Flags().StringVar(&to, "root", "", "`folder` that the root key goes to")
	cmd.Flags().StringArrayVar(&readers, "recipient", nil, "encrypt the root key to this `KEY`: an age recipient, SSH key, or file of such")
	return cmd
}

// outside makes sure that to is not within the state: a key there would be
// where it was.
func outside(state, to string) error {
	full, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(state, full); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return hint(fmt.Errorf("%s lies within the state folder %s: the root key would not be offline", to, state), "name a folder on another disk")
	}
	return nil
}
