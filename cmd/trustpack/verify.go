package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trustpack/controls"
	"trustpack/evidence"
	"trustpack/internal/agefile"
	"trustpack/pack"
	"trustpack/templates"
)

func (a *app) verifyCommand() *cobra.Command {
	var anchors anchorFlags
	var limits limitFlags
	var state, page string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify PACK --key PUB",
		Short: "Verify a pack offline against a key that reached you by another way",
		Long: `Verifies a pack without any network, against public keys that the pack did not
bring. Exit: 0 everything required was checked and holds; 1 something is wrong;
2 it could not be read; 3 it could not be checked (no key, or a role missing).

With --page it writes a verifier as one page for a browser, which works from a
file and without a network; no PACK is needed then.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if page != "" {
				return cobra.MaximumNArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if page != "" {
				if err := a.writePage(page); err != nil || len(args) == 0 {
					return err
				}
			}
			o, err := anchors.options(args[0])
			if err != nil {
				return err
			}
			if o.Limits, err = limits.limits(); err != nil {
				return err
			}
			return a.verify(args[0], o, state, asJSON)
		},
	}
	f := cmd.Flags()
	anchors.register(cmd, "key")
	limits.register(cmd)
	f.StringVar(&state, "state", "", "`folder` that remembers the last pack that was OK, and to which the next one is held")
	f.StringVar(&page, "page", "", "write the verifier as a page for a browser to this `file`; one that exists is not overwritten")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// verifyOptions are those of every verification here: the pack's findings are
// judged again and its pages made again.
func verifyOptions(name string, keys []pack.PublicKey, logKeys []string) pack.VerifyOptions {
	return pack.VerifyOptions{
		Name: name, Keys: keys, LogKeys: logKeys,
		Reevaluate: reevaluate, Regenerate: regenerate,
	}
}

// verify checks the pack at path and prints the report. Where a state is
// given the pack is held to it, and kept in it if all is well.
func (a *app) verify(path string, o pack.VerifyOptions, stateDir string, asJSON bool) (err error) {
	f, size, err := openSized(path)
	if err != nil {
		return err
	}
	defer f.Close()
	defer a.frugal(size)()
	if agefile.Is(f) {
		return hint(fmt.Errorf("%s is encrypted: decrypt it first", path), "trustpack pack decrypt %s --identity KEYFILE --out %s", path, cmp.Or(strings.TrimSuffix(path, ".age"), "pack.epack.zip"))
	}
	var state *verifyState
	if stateDir != "" {
		if state, err = openState(stateDir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, state.close()) }()
		o.State = state.last
	}
	report := pack.Verify(f, size, o)
	write := report.WriteText
	if asJSON {
		write = func(io.Writer) error { return a.printJSON(report) }
	}
	if err := write(a.out); err != nil {
		return err
	}
	if state != nil && report.Accepted != nil {
		if err := state.keep(*report.Accepted); err != nil {
			return err
		}
		a.progress("state: pack %d is kept in %s; the next one is held to it", report.Sequence, stateDir)
	}
	if report.Exit != exitOK {
		return &exitError{code: report.Exit}
	}
	return nil
}

// policyFile holds the parameters that the vendor set over the catalog's.
const policyFile = "data/policy.json"

// reevaluate judges the pack's evidence again, by the pack's own catalog and
// policy and by nothing else.
func reevaluate(c *pack.Contents) ([]evidence.Finding, error) {
	files, err := c.Catalog()
	if err != nil {
		return nil, err
	}
	catalog, err := controls.FromFiles(files)
	if err != nil {
		return nil, err
	}
	if err := sameControls(c, catalog); err != nil {
		return nil, err
	}
	policyJSON, err := c.Read(policyFile)
	if err != nil {
		return nil, err
	}
	var policy map[string]any
	if err := json.Unmarshal(policyJSON, &policy); err != nil {
		return nil, fmt.Errorf("reading %s: %w", policyFile, err)
	}
	collected, err := c.Evidence()
	if err != nil {
		return nil, err
	}
	leftOut, err := leftOutIn(c)
	if err != nil {
		return nil, err
	}
	got, err := catalog.Assess(controls.Input{Period: c.Root().Period, Evidence: collected, LeftOut: leftOut, Policy: policy})
	return got.Findings, err
}

// sameControls demands that the catalog in the pack is the one that pack.json
// names, and its controls those that the pack shows people: what is read must
// be what judged.
func sameControls(c *pack.Contents, catalog *controls.Catalog) error {
	if got, want := catalog.SHA256(), c.Root().Catalog.SHA256; got != want {
		return fmt.Errorf("pack.json names the catalog %s, the pack holds %s", cmp.Or(want, "none"), got)
	}
	judged := map[string]evidence.Control{}
	for _, control := range catalog.Controls() {
		judged[control.ID] = control
	}
	shown, err := c.Controls()
	if err != nil {
		return err
	}
	for _, control := range shown {
		was, err := evidence.CanonicalJSON(judged[control.ID])
		if err != nil {
			return err
		}
		is, err := evidence.CanonicalJSON(control)
		if err != nil {
			return err
		}
		if !bytes.Equal(was, is) {
			return fmt.Errorf("control %s: its control.json is not what the catalog in the pack says", control.ID)
		}
	}
	return nil
}

// regenerate makes the report, the workbook and the statements again from
// what else the pack holds. A pack of another version of the tool is let be:
// its pages may look otherwise and be right.
func regenerate(c *pack.Contents) (map[string][]byte, error) {
	if c.Root().Tool != tool() {
		return nil, nil
	}
	view, err := viewOfPack(c)
	if err != nil {
		return nil, err
	}
	files, err := rendered(view)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, f := range files {
		out[f.Path] = f.Body
	}
	return out, nil
}

func viewOfPack(c *pack.Contents) (templates.View, error) {
	root := c.Root()
	ctls, err := c.Controls()
	if err != nil {
		return templates.View{}, err
	}
	findings, err := c.Findings()
	if err != nil {
		return templates.View{}, err
	}
	collected, err := c.Evidence()
	if err != nil {
		return templates.View{}, err
	}
	leftOut, err := leftOutIn(c)
	if err != nil {
		return templates.View{}, err
	}
	view, err := viewOf(pack.Content{
		Organisation: root.Organisation, System: root.System, Tool: root.Tool, Period: root.Period, Sample: root.Sample,
		Clock: root.Clock, CatalogSHA256: root.Catalog.SHA256, Controls: ctls, Findings: findings, Evidence: collected,
	})
	view.LeftOut = leftOut
	return view, err
}

// viewOf is what people are shown of the content: of what stands in the pack
// alone and in one order, so that a verifier makes the same of it.
func viewOf(c pack.Content) (templates.View, error) {
	v := templates.View{
		Organisation: c.Organisation, System: c.System, Tool: c.Tool, Period: c.Period, Sample: c.Sample, Clock: cmp.Or(c.Clock, evidence.ClockSystem),
		AsOf: asOf(c.Evidence), CatalogSHA256: c.CatalogSHA256,
		Controls: slices.Clone(c.Controls), Findings: slices.Clone(c.Findings),
	}
	stageOf := map[string]int{}
	for _, ctl := range c.Controls {
		stageOf[ctl.ID] = slices.Index(evidence.Stages(), ctl.Stage)
	}
	inOrder := func(a, b string) int { return cmp.Or(cmp.Compare(stageOf[a], stageOf[b]), cmp.Compare(a, b)) }
	slices.SortFunc(v.Controls, func(a, b evidence.Control) int { return inOrder(a.ID, b.ID) })
	slices.SortFunc(v.Findings, func(a, b evidence.Finding) int { return inOrder(a.Control, b.Control) })
	for _, e := range c.Evidence {
		// As the verifier reads it: without raw replies, numbers as JSON has them.
		lines, err := e.Population.Lines()
		if err != nil {
			return templates.View{}, err
		}
		e.Raw = nil
		if e.Population, err = evidence.ParsePopulation(lines); err != nil {
			return templates.View{}, err
		}
		v.Evidence = append(v.Evidence, e)
	}
	slices.SortFunc(v.Evidence, func(a, b evidence.Collected) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.CollectedAt.Compare(b.CollectedAt), cmp.Compare(a.ID, b.ID))
	})
	return v, nil
}

// asOf is the time of the latest collection: what the pack knows, it knew then.
func asOf(collected []evidence.Collected) time.Time {
	var latest time.Time
	for _, e := range collected {
		if e.CollectedAt.After(latest) {
			latest = e.CollectedAt
		}
	}
	return latest.UTC()
}
