package pack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// snapshotGrace is how long after a period's end a snapshot still speaks for
// the period's end.
const snapshotGrace = 7 * 24 * time.Hour

// addControls adds each control with its findings.
func (b *builder) addControls() error {
	seen := map[string]bool{}
	for _, c := range b.c.Controls {
		if c.Stage.Dir() == "" {
			return fmt.Errorf("control %s: stage %q is none", c.ID, c.Stage)
		}
		if checkName(c.ID) != nil || strings.Contains(c.ID, "/") {
			return fmt.Errorf("control %q: its ID cannot name a folder", c.ID)
		}
		seen[c.ID] = true
		if err := b.addJSON(Line{Path: controlDir(c) + controlFile, Stage: c.Stage, Controls: []string{c.ID}, Kind: kindControl}, c); err != nil {
			return err
		}
		findings := []evidence.Finding{}
		for _, f := range b.c.Findings {
			if f.Control == c.ID {
				findings = append(findings, f)
			}
		}
		if err := b.addJSON(Line{Path: controlDir(c) + findingsFile, Stage: c.Stage, Controls: []string{c.ID}, Kind: kindFindings}, findings); err != nil {
			return err
		}
	}
	for _, f := range b.c.Findings {
		if !seen[f.Control] {
			return fmt.Errorf("the finding of %s: there is no such control in the pack", f.Control)
		}
	}
	return nil
}

// addEvidence adds each collection once, in the folder of the first control
// that cites it, and each control's references to what it was judged by.
func (b *builder) addEvidence() error {
	citers, err := b.c.citers()
	if err != nil {
		return err
	}
	logged := b.c.loggedEvidence()
	controls := map[string]evidence.Control{}
	for _, c := range b.c.Controls {
		controls[c.ID] = c
	}
	references := map[string][]Reference{}
	for _, e := range b.c.Evidence {
		if len(logged) > 0 && !logged[e.ID] {
			return fmt.Errorf("evidence %s (%s): no log excerpt holds its %s entry", e.ID, e.Kind, collectedEntry)
		}
		base, stage := strayDir, evidence.Stage("")
		if ids := citers[e.ID]; len(ids) > 0 {
			first := controls[ids[0]]
			base, stage = controlDir(first)+"evidence/", first.Stage
		}
		dir, err := b.addCollection(e, base, stage, citers[e.ID])
		if err != nil {
			return fmt.Errorf("evidence %s (%s): %w", e.ID, e.Kind, err)
		}
		for _, id := range citers[e.ID] {
			references[id] = append(references[id], Reference{e.ID, e.Kind, dir + recordFile})
		}
	}
	for _, c := range b.c.Controls {
		refs := references[c.ID]
		if refs == nil {
			refs = []Reference{}
		}
		slices.SortFunc(refs, func(x, y Reference) int { return strings.Compare(x.Path, y.Path) })
		if err := b.addJSON(Line{Path: controlDir(c) + referencesFile, Stage: c.Stage, Controls: []string{c.ID}, Kind: kindReferences}, refs); err != nil {
			return err
		}
	}
	return nil
}

// addCollection adds the record, population and raw replies of e and gives
// their folder.
func (b *builder) addCollection(e evidence.Collected, base string, stage evidence.Stage, citers []string) (string, error) {
	if err := checkID(e.ID); err != nil {
		return "", err
	}
	rec, canonical, id, err := evidence.RecordOf(e.Evidence)
	if err != nil {
		return "", err
	}
	if id != e.ID {
		return "", fmt.Errorf("its content has the ID %s: it has changed since it was collected", id)
	}
	if err := errors.Join(checkPeriod(e.Evidence, b.c.Period), checkOrigin(e.Provenance, b.c.Sample, b.c.Clock)); err != nil {
		return "", err
	}
	population, err := e.Population.Lines()
	if err != nil {
		return "", err
	}
	dir, at, window := collectionDir(base, e), e.CollectedAt.UTC(), e.Window
	line := Line{CollectedAt: &at, Controls: citers, Kind: string(e.Kind), Provenance: e.ID, Stage: stage, Window: &window}
	add := func(path, media, digest string, body []byte) error {
		l := line
		l.Path, l.MediaType, l.SHA256 = path, media, digest
		return b.add(l, body)
	}
	if err := add(dir+recordFile, typeJSON, id, canonical); err != nil {
		return "", err
	}
	if err := add(dir+populationFile, typeJSONL, rec.PopulationSHA256, population); err != nil {
		return "", err
	}
	names, digests := make([]string, len(rec.RawFiles)), make(map[string]string, len(rec.RawFiles))
	for i, r := range rec.RawFiles {
		names[i], digests[r.Name] = r.Name, r.SHA256
	}
	paths := rawPaths(names)
	for _, r := range e.Raw {
		if err := add(dir+rawDir+paths[r.Name], rawMedia(r.Name), digests[r.Name], r.Body); err != nil {
			return "", err
		}
	}
	b.records++
	return dir, nil
}

func rawMedia(name string) string {
	for suffix, media := range map[string]string{".json": typeJSON, ".jsonl": typeJSONL, ".txt": typeText, ".yaml": typeYAML, ".yml": typeYAML, ".md": "text/markdown"} {
		if strings.HasSuffix(name, suffix) {
			return media
		}
	}
	return typeBinary
}

// checkPeriod holds a collection to the pack's period; the verifier asks the
// same.
func checkPeriod(e evidence.Evidence, p evidence.Period) error {
	at := e.CollectedAt.UTC()
	inWindow := e.Window.From.Before(p.To) && e.Window.To.After(p.From)
	inGrace := !at.Before(p.From) && at.Before(p.To.Add(snapshotGrace))
	if !inWindow && !inGrace {
		return fmt.Errorf("its window %s and the time it was collected, %s, lie outside the pack's period %s", e.Window, at.Format(time.RFC3339), p)
	}
	if at.Before(e.Window.From) {
		return fmt.Errorf("it was collected at %s, before its window %s began", at.Format(time.RFC3339), e.Window)
	}
	return nil
}

// checkOrigin demands that a pack with sample data or simulated times says so.
func checkOrigin(p evidence.Provenance, sample bool, clock evidence.Clock) error {
	if p.Origin != evidence.OriginLive && !sample {
		return fmt.Errorf("its origin is %q, but the pack does not call itself sample data", p.Origin)
	}
	if p.Clock != evidence.ClockSystem && clock != evidence.ClockSimulated {
		return fmt.Errorf("its times are by the clock %q, but the pack does not say so", p.Clock)
	}
	return nil
}

// ListedException is an exception with the control whose finding it is of.
type ListedException struct {
	Control string `json:"control"`
	evidence.Exception
}

// addExceptions adds every exception of every finding in one list, in the
// order of the controls' folders.
func (b *builder) addExceptions() error {
	controls := slices.Clone(b.c.Controls)
	slices.SortFunc(controls, func(x, y evidence.Control) int { return strings.Compare(controlDir(x), controlDir(y)) })
	list := []ListedException{}
	var from []string
	for _, c := range controls {
		from = append(from, controlDir(c)+findingsFile)
		for _, f := range b.c.Findings {
			if f.Control == c.ID {
				list = append(list, listExceptions(f)...)
			}
		}
	}
	return b.addJSON(Line{Path: exceptionsName, Kind: kindExceptions, DerivedFrom: from}, list)
}

func listExceptions(f evidence.Finding) []ListedException {
	out := make([]ListedException, len(f.Exceptions))
	for i, x := range f.Exceptions {
		out[i] = ListedException{f.Control, x}
	}
	return out
}
