package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trustpack/evidence"
	"trustpack/pack"
	"trustpack/templates"
)

// sampleFlags are those of "sample".
type sampleFlags struct {
	population, seed, stratify, out, worksheet, redraw string
	size                                               int
	asJSON                                             bool
}

func (a *app) sampleCommand() *cobra.Command {
	var o sampleFlags
	cmd := &cobra.Command{
		Use:   "sample PACK --population NAME --seed DIGITS",
		Short: "Draw a sample that anybody can draw again",
		Long: `Draws a sample of one population of a finished pack, by Rivest's method: the
root of the pack's tree, which commits to the population, and digits that the
auditor chooses afterwards (dice, or a beacon's round named in advance) decide
each pick. --redraw draws a sample that somebody kept again and compares.
The pack is not verified by this: use 'trustpack verify' before.
Exit: 0 drawn, or drawn again the same; 1 it comes out otherwise; 2 usage or I/O.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, size, err := openSized(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			c, err := pack.Open(f, size, pack.Limits{})
			if err != nil {
				return &exitError{code: exitWrong, err: fmt.Errorf("reading %s: %w", args[0], err)}
			}
			if o.redraw != "" {
				return a.redraw(c, o)
			}
			return a.draw(args[0], c, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.population, "population", "", "`kind` of evidence to draw from, such as pull-requests")
	f.StringVar(&o.seed, "seed", "", "the auditor's `digits`")
	f.IntVar(&o.size, "size", 0, "items to draw, of each stratum; 0: by the size of the population")
	f.StringVar(&o.stratify, "stratify", "", "`attribute` by whose values the population is split")
	f.StringVar(&o.out, "out", "", "write the sample to this `file`, to be countersigned")
	f.StringVar(&o.worksheet, "worksheet", "", "write a workbook to test the items on to this `file`")
	f.StringVar(&o.redraw, "redraw", "", "draw the sample in this `file` again and compare")
	f.BoolVar(&o.asJSON, "json", false, "print as JSON")
	cmd.MarkFlagsMutuallyExclusive("redraw", "seed")
	cmd.MarkFlagsMutuallyExclusive("redraw", "population")
	return cmd
}

func (a *app) draw(path string, c *pack.Contents, o sampleFlags) error {
	if o.seed == "" {
		return hint(errors.New("--seed is not set"), "throw dice once the pack is finished, or name a beacon's round in advance: --seed 35465433")
	}
	kind, err := kindNamed(c, o.population)
	if err != nil {
		return err
	}
	s, items, err := c.Draw(pack.SampleRequest{Kind: kind, Seed: o.seed, Size: o.size, Stratify: o.stratify})
	if err != nil {
		return err
	}
	if err := a.warnPartial(c, kind); err != nil {
		return err
	}
	if o.worksheet != "" {
		sheet, err := worksheetOf(c, s, items)
		if err != nil {
			return err
		}
		if err := writeNew(o.worksheet, sheet); err != nil {
			return err
		}
		s.Worksheet = evidence.SHA256Hex(sheet)
	}
	encoded, err := s.Encode()
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := writeNew(o.out, encoded); err != nil {
			return err
		}
	}
	if o.asJSON {
		return a.printJSON(s)
	}
	if err := a.printSample(s); err != nil {
		return err
	}
	if o.out != "" {
		with := ""
		if o.worksheet != "" {
			with = " --worksheet " + o.worksheet
		}
		a.progress("%s is drawn; sign it into the pack: trustpack pack countersign %s --role auditor --sample %s%s", o.out, path, o.out, with)
	}
	return nil
}

// redraw draws a kept sample again.
func (a *app) redraw(c *pack.Contents, o sampleFlags) error {
	data, err := os.ReadFile(o.redraw)
	if err != nil {
		return fmt.Errorf("reading sample: %w", err)
	}
	s, err := pack.ParseSample(data)
	if err == nil {
		err = c.Redraw(s)
	}
	if err != nil {
		return &exitError{code: exitWrong, err: fmt.Errorf("sample %s: %w", o.redraw, err)}
	}
	if o.asJSON {
		return a.printJSON(s)
	}
	if err := a.printSample(s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "redrawn: the same %d items\n", len(s.Drawn))
	return err
}

func (a *app) printSample(s pack.Sample) error {
	p := s.Population
	_, err := fmt.Fprintf(a.out, "population: %s, %d items, SHA-256 of IDs %s\nseed: %s%s\n", plainText(string(p.Kind)), p.Size, p.SHA256, s.Root, s.Seed)
	if err != nil {
		return err
	}
	rows := [][]string{{"DRAW", "NUMBER", "STRATUM", "ID"}}
	for i, d := range s.Drawn {
		rows = append(rows, []string{strconv.Itoa(i + 1), strconv.Itoa(d.Index), d.Stratum, d.ID})
	}
	return a.table(rows)
}

// kindNamed finds the kind that a name means: the whole kind, or what follows
// its source where one kind alone ends so.
func kindNamed(c *pack.Contents, name string) (evidence.Kind, error) {
	kinds := c.SampleKinds()
	var found []evidence.Kind
	for _, k := range kinds {
		if string(k) == name {
			return k, nil
		}
		if _, short, ok := strings.Cut(string(k), "."); ok && short == name {
			found = append(found, k)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = plainText(string(k))
	}
	what := "--population is not set"
	switch {
	case len(found) > 1:
		what = fmt.Sprintf("population %q is of several sources", name)
	case name != "":
		what = fmt.Sprintf("the pack has no population %q", name)
	}
	return "", hint(errors.New(what), "it has %s", strings.Join(list, ", "))
}

// warnPartial says so where a population is not known to be whole: a sample of
// it speaks only for the part that is there.
func (a *app) warnPartial(c *pack.Contents, kind evidence.Kind) error {
	collected, err := c.Evidence()
	if err != nil {
		return err
	}
	for _, e := range collected {
		if e.Kind == kind && e.Completeness.State != evidence.Complete {
			a.progress("warning: %s of %s is not complete (%s): the sample speaks only for what was collected", kind, e.CollectedAt.UTC().Format("2006-01-02"), e.Completeness.State)
		}
	}
	return nil
}

// worksheetOf makes the workbook of a drawn sample.
func worksheetOf(c *pack.Contents, s pack.Sample, items []evidence.Item) ([]byte, error) {
	view, err := viewOfPack(c)
	if err != nil {
		return nil, err
	}
	size := strconv.Itoa(s.Size)
	if s.Size == 0 {
		size = "by the size of the population"
	}
	sheet := templates.Sampled{
		Kind: s.Population.Kind, Population: s.Population.Size, Root: s.Root, Seed: s.Seed, Size: size, Stratify: s.Stratify,
		Method: "Rivest's sampler: pick i is 1 + SHA-256(root, seed, \",\", i) mod the population's size; repeats are skipped; items are numbered by ID",
	}
	for i, d := range s.Drawn {
		sheet.Rows = append(sheet.Rows, templates.SampledItem{Number: d.Index, Stratum: d.Stratum, Item: items[i]})
	}
	var out bytes.Buffer
	if err := templates.Worksheet(&out, view, sheet); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeNew writes a file that is not there yet, whole or not at all.
func writeNew(path string, data []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return hint(fmt.Errorf("%s is there already", path), "name another file, or move it away")
	}
	return writeWhole(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}
