package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	controls := map[string]evidence.Control{}
	for _, c := range b.c.Controls {
		controls[c.ID] = c
	}
	references := map[string][]Reference{}
	for _, e := range b.c.Evidence {
		if b.logged.any && !b.logged.logged[idBytes(e.ID)] {
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
	rec, bodies, err := b.record(e)
	if err != nil {
		return "", err
	}
	if err := errors.Join(checkPeriod(rec.Evidence, b.c.Period), checkOrigin(rec.Provenance, b.c.Sample, b.c.Clock)); err != nil {
		return "", err
	}
	dir, at, window := collectionDir(base, e), rec.CollectedAt.UTC(), rec.Window
	about := &Line{CollectedAt: &at, Controls: citers, Kind: string(rec.Kind), Provenance: e.ID, Stage: stage, Window: &window}
	add := func(path, media, digest string) error {
		open := bodies[digest]
		b.sum.Reset()
		source := open
		if source == nil {
			source = func() (io.ReadCloser, error) { return b.c.Open(digest) }
		}
		if err := b.copier.copy(b.sum, source); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f := builtFile{path, media, about, b.sum.sums(), open}
		if hex32(f.sha256) != digest {
			return fmt.Errorf("%s: its bytes have the SHA-256 %s, the record says %s: they have changed since it was collected", path, hex32(f.sha256), digest)
		}
		return b.addSummed(f)
	}
	if err := add(dir+recordFile, typeJSON, e.ID); err != nil {
		return "", err
	}
	if err := add(dir+populationFile, typeJSONL, rec.PopulationSHA256); err != nil {
		return "", err
	}
	names := make([]string, len(rec.RawFiles))
	for i, r := range rec.RawFiles {
		names[i] = r.Name
	}
	paths := rawPaths(names)
	for _, r := range rec.RawFiles {
		if err := add(dir+rawDir+paths[r.Name], rawMedia(r.Name), r.SHA256); err != nil {
			return "", err
		}
	}
	b.records++
	return dir, nil
}

// record gives the record of e, which must have its ID, with the bytes by
// their SHA-256 that the content holds itself.
func (b *builder) record(e evidence.Collected) (evidence.Record, map[string]opener, error) {
	if b.c.Open != nil {
		rec, err := b.openRecord(e)
		return rec, nil, err
	}
	rec, canonical, id, err := evidence.RecordOf(e.Evidence)
	if err != nil {
		return evidence.Record{}, nil, err
	}
	if id != e.ID {
		return evidence.Record{}, nil, fmt.Errorf("its content has the ID %s: it has changed since it was collected", id)
	}
	population, err := e.Population.Lines()
	if err != nil {
		return evidence.Record{}, nil, err
	}
	bodies := map[string]opener{id: inMemory(canonical), rec.PopulationSHA256: inMemory(population)}
	for _, r := range e.Raw {
		bodies[evidence.SHA256Hex(r.Body)] = inMemory(r.Body)
	}
	return rec, bodies, nil
}

// openRecord reads the record of e and holds e to it: what was judged must be
// what the pack shows.
func (b *builder) openRecord(e evidence.Collected) (evidence.Record, error) {
	data, err := b.copier.read(func() (io.ReadCloser, error) { return b.c.Open(e.ID) }, maxRead)
	if err != nil {
		return evidence.Record{}, fmt.Errorf("reading its record: %w", err)
	}
	var rec evidence.Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return evidence.Record{}, fmt.Errorf("reading its record: %w", err)
	}
	given := rec
	given.Evidence = e.Evidence
	again, err := evidence.CanonicalJSON(given)
	if err != nil {
		return evidence.Record{}, err
	}
	if evidence.SHA256Hex(again) != e.ID {
		return evidence.Record{}, fmt.Errorf("it is not what its record says: it has changed since it was collected")
	}
	if e.Population.Items != nil {
		lines, err := e.Population.Lines()
		if err != nil {
			return evidence.Record{}, err
		}
		if evidence.SHA256Hex(lines) != rec.PopulationSHA256 {
			return evidence.Record{}, fmt.Errorf("its population is not that of its record: it has changed since it was collected")
		}
	}
	return rec, nil
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
