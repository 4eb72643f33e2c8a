package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/pack"
	"trustpack/templates"
)

func (a *app) packDiff() *cobra.Command {
	var html string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what changed from one pack to another; neither is verified by this",
		Long: `Compares two packs: controls whose outcome changed, exceptions new and closed,
items new and gone, settings changed. An exception is called fixed only where
its item was tested again; one whose item is gone, or that was not tested, is
called so. Neither pack is verified by this: use 'trustpack verify' before.
Exit: 0 compared; 1 one is no pack that can be read; 2 usage or I/O; 3 one
withholds what would be compared.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			from, err := readVersion(args[0])
			if err != nil {
				return err
			}
			to, err := readVersion(args[1])
			if err != nil {
				return err
			}
			changes := templates.Compare(from, to)
			if html != "" {
				var page bytes.Buffer
				if err := changes.WriteHTML(&page); err != nil {
					return err
				}
				if err := writeNew(html, page.Bytes()); err != nil {
					return err
				}
			}
			if asJSON {
				return a.printJSON(changes)
			}
			return changes.WriteText(a.out)
		},
	}
	cmd.Flags().StringVar(&html, "html", "", "write a page of it to this `file` as well")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// readVersion reads what a comparison needs of the pack at path.
func readVersion(path string) (templates.Version, error) {
	wrong := func(err error) (templates.Version, error) {
		return templates.Version{}, &exitError{code: exitWrong, err: fmt.Errorf("reading %s: %w", path, err)}
	}
	f, size, err := openSized(path)
	if err != nil {
		return templates.Version{}, err
	}
	defer f.Close()
	c, err := pack.Open(f, size, pack.Limits{})
	if err != nil {
		return wrong(err)
	}
	view, err := viewOfPack(c)
	var withheld *pack.WithheldError
	switch {
	case errors.As(err, &withheld):
		return templates.Version{}, &exitError{code: exitInconclusive, err: hint(fmt.Errorf("reading %s: %w", path, err),
			"what is withheld cannot be told from what is gone: compare the packs from before anything was taken out")}
	case err != nil:
		return wrong(err)
	}
	v := templates.Version{View: view, Name: path, Sequence: c.Root().Sequence, Previous: c.Root().Previous, PackJSONSHA256: evidence.SHA256Hex(c.PackJSON())}
	if slices.Contains(c.Paths(), policyFile) {
		policy, err := c.Read(policyFile)
		if err != nil {
			return wrong(err)
		}
		if err := json.Unmarshal(policy, &v.Policy); err != nil {
			return wrong(fmt.Errorf("reading %s: %w", policyFile, err))
		}
	}
	return v, nil
}
