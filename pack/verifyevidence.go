package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

// readRecord checks a collection by its record: that it is the one it is named
// after, that population and raw replies are those of the record, and that it
// belongs in this pack.
func (v *verifier) readRecord(f *file, data []byte, err error) {
	at, ok := v.collections[f.want]
	if !ok || v.c.collections[at].line.Path != f.name {
		if at, ok = v.collectionAt(f.name); !ok {
			return
		}
	}
	c := &v.c.collections[at]
	c.read = true
	var rec evidence.Record
	if err == nil {
		err = decodeStrict(data, &rec)
	}
	if err != nil {
		v.res.fail(checkEvidenceID, c.line.Path, "a record of collected evidence", err.Error())
		return
	}
	v.checkRecord(*c, rec)
	if err := checkPeriod(rec.Evidence, v.c.root.Period); err != nil {
		v.res.fail(checkWindow, c.line.Path, "evidence of the pack's period", err.Error())
	}
	if err := checkOrigin(rec.Provenance, v.c.root.Sample, v.c.root.Clock); err != nil {
		v.res.fail(checkLabels, c.line.Path, "a pack that says what its evidence says", err.Error())
	}
}

// collectionAt finds a collection by the path of its record.
func (v *verifier) collectionAt(path string) (int, bool) {
	return slices.BinarySearchFunc(v.c.collections, path, func(c collection, path string) int { return strings.Compare(c.line.Path, path) })
}

// concludeEvidence names the collections that were not reached.
func (v *verifier) concludeEvidence() {
	for _, c := range v.c.collections {
		if !c.read {
			v.res.fail(checkEvidenceID, c.line.Path, "a record of collected evidence", "it is missing")
		}
	}
	v.res.pass(checkEvidenceID, fmt.Sprintf("%d collections", len(v.c.collections)))
	v.res.pass(checkWindow, "within "+v.c.root.Period.String())
	label := labelText(v.c.root.Sample, v.c.root.Clock)
	if label == "" {
		label = "live evidence, system clock"
	}
	v.res.pass(checkLabels, label)
}

func (v *verifier) checkRecord(c collection, rec evidence.Record) {
	fail := func(path, expected, actual string) { v.res.fail(checkEvidenceID, path, expected, actual) }
	l := c.line
	if l.CollectedAt == nil || l.Window == nil || !l.CollectedAt.Equal(rec.CollectedAt) || *l.Window != rec.Window || l.Kind != string(rec.Kind) {
		fail(l.Path, "kind, window and time as the manifest gives them", "others")
	}
	collected := evidence.Collected{ID: l.SHA256, Evidence: rec.Evidence}
	if want := collectionDir("", collected); !strings.HasSuffix(c.dir, "/"+want) {
		fail(l.Path, "a folder named "+want, "another")
	}
	v.checkBeside(c.dir+populationFile, rec.PopulationSHA256, -1)
	names := make([]string, len(rec.RawFiles))
	for i, r := range rec.RawFiles {
		names[i] = r.Name
	}
	paths := rawPaths(names)
	there := c.raws
	for _, r := range rec.RawFiles {
		if v.checkBeside(c.dir+rawDir+paths[r.Name], r.SHA256, r.Size) {
			there++
		}
	}
	if len(paths) != there || len(paths) != len(rec.RawFiles) {
		fail(l.Path, fmt.Sprintf("the %d raw replies of the record", len(rec.RawFiles)), fmt.Sprintf("%d files in raw/", there))
	}
}

// checkBeside demands that the manifest gives a file the digest that its
// record gives; size -1 is any. It reports whether the file is withheld.
func (v *verifier) checkBeside(path, sha256 string, size int64) bool {
	i, ok := v.c.a.find(path)
	if !ok || !v.c.a.files[i].listed {
		if w := v.c.withheld(path); w != nil {
			v.res.withhold(checkEvidenceID, path, w.Error())
			return true
		}
		v.res.fail(checkEvidenceID, path, "the file that the record names", "it is missing")
		return false
	}
	f := &v.c.a.files[i]
	if got := hex32(f.want); got != sha256 {
		v.res.fail(checkEvidenceID, path, "SHA-256 "+sha256+", as the record says", "SHA-256 "+got)
	} else if size >= 0 && f.size != size {
		v.res.fail(checkEvidenceID, path, fmt.Sprintf("%d bytes, as the record says", size), fmt.Sprintf("%d bytes", f.size))
	}
	return false
}

// checkFindings checks that controls, findings and references fit each other
// and the evidence, and that the list of exceptions is that of the findings.
func (v *verifier) checkFindings() {
	exceptions := []ListedException{}
	for _, path := range v.c.controls {
		dir := strings.TrimSuffix(path, controlFile)
		var control evidence.Control
		var findings []evidence.Finding
		var references []Reference
		for _, f := range []struct {
			name string
			into any
		}{{controlFile, &control}, {findingsFile, &findings}, {referencesFile, &references}} {
			if err := v.c.readJSON(dir+f.name, f.into); err != nil {
				v.res.fail(checkFindings, dir+f.name, "a readable file", err.Error())
			}
		}
		if controlDir(control) != dir {
			v.res.fail(checkFindings, path, "the control of its folder", fmt.Sprintf("%s of stage %q", control.ID, control.Stage))
		}
		for _, r := range references {
			if v.pathOf(r.ID, r.Kind) != r.Path {
				v.res.fail(checkFindings, dir+referencesFile, "references to collections of the pack", fmt.Sprintf("%s at %s is none", r.ID, r.Path))
			}
		}
		for _, f := range findings {
			v.checkFinding(dir, control, f, references)
			exceptions = append(exceptions, listExceptions(f)...)
		}
	}
	v.res.pass(checkFindings, fmt.Sprintf("%d controls", len(v.c.controls)))
	want, err := evidence.CanonicalJSON(exceptions)
	if err != nil {
		v.res.fail(checkExceptions, exceptionsName, "", err.Error())
	} else if got, err := v.c.Read(exceptionsName); err != nil {
		v.res.fail(checkExceptions, exceptionsName, "the exceptions of all findings", err.Error())
	} else if !bytes.Equal(got, want) {
		v.res.fail(checkExceptions, exceptionsName, "the exceptions of all findings", "a list that differs from them")
	}
	v.res.pass(checkExceptions, fmt.Sprintf("%d exceptions", len(exceptions)))
}

// pathOf gives the path of the record with this ID and kind; empty where there
// is none.
func (v *verifier) pathOf(id string, kind evidence.Kind) string {
	if checkID(id) != nil {
		return ""
	}
	at, ok := v.collections[idBytes(id)]
	if !ok || v.c.collections[at].line.Kind != string(kind) {
		return ""
	}
	return v.c.collections[at].line.Path
}

func (v *verifier) checkFinding(dir string, control evidence.Control, f evidence.Finding, references []Reference) {
	fail := func(expected, actual string) { v.res.fail(checkFindings, dir+findingsFile, expected, actual) }
	if f.Control != control.ID {
		fail("findings of "+control.ID, "one of "+f.Control)
	}
	switch f.Outcome {
	case evidence.OutcomeMet, evidence.OutcomeException, evidence.OutcomeNotAvailable, evidence.OutcomeNotApplicable, evidence.OutcomeError:
	default:
		fail("an outcome", fmt.Sprintf("%q", f.Outcome))
	}
	for _, cited := range f.Evidence {
		if !slices.ContainsFunc(references, func(r Reference) bool { return r.ID == cited.ID && r.Kind == cited.Kind }) {
			fail("evidence of the pack", fmt.Sprintf("it cites %s as %s", cited.ID, cited.Kind))
		}
	}
}

// checkAgain judges and derives again through the hooks.
func (v *verifier) checkAgain() {
	if v.res.failed() {
		return // what is read from a broken pack would be judged for nothing
	}
	v.reevaluate()
	v.regenerate()
}

func (v *verifier) reevaluate() {
	if v.o.Reevaluate == nil {
		v.res.skip(checkReevaluated, "", "the controls were not applied to the evidence again")
		return
	}
	again, err := v.o.Reevaluate(&v.c)
	var withheld *WithheldError
	if errors.As(err, &withheld) {
		v.res.withhold(checkReevaluated, withheld.Path, "the controls were not applied again: "+withheld.Error())
		return
	}
	if err != nil {
		v.res.fail(checkReevaluated, catalogDir, "the pack's controls applied to its evidence", err.Error())
		return
	}
	signed, err := v.c.Findings()
	if err != nil {
		v.res.fail(checkReevaluated, "", "readable findings", err.Error())
		return
	}
	for _, path := range v.c.controls {
		dir := strings.TrimSuffix(path, controlFile)
		id := strings.TrimSuffix(dir[strings.LastIndex(strings.TrimSuffix(dir, "/"), "/")+1:], "/")
		want, got := ofControl(again, id), ofControl(signed, id)
		if a, b := canonicalText(want), canonicalText(got); a != b {
			v.res.fail(checkReevaluated, dir+findingsFile, "judged again: "+outcomes(want), "in the pack: "+outcomes(got)+differs(want, got))
		}
	}
	for _, f := range again {
		if len(ofControl(signed, f.Control)) == 0 {
			v.res.fail(checkReevaluated, "", "a finding of "+f.Control+", judged again: "+string(f.Outcome), "none in the pack")
		}
	}
	v.res.pass(checkReevaluated, fmt.Sprintf("%d findings, the same", len(again)))
}

func ofControl(findings []evidence.Finding, id string) []evidence.Finding {
	var out []evidence.Finding
	for _, f := range findings {
		if f.Control == id {
			out = append(out, f)
		}
	}
	return out
}

func canonicalText(findings []evidence.Finding) string {
	b, err := evidence.CanonicalJSON(findings)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	return string(b)
}

func outcomes(findings []evidence.Finding) string {
	if len(findings) == 0 {
		return "no finding"
	}
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s, %d exceptions", f.Outcome, len(f.Exceptions)))
	}
	return strings.Join(out, "; ")
}

// differs says where two findings of the same outcome differ.
func differs(a, b []evidence.Finding) string {
	if outcomes(a) != outcomes(b) || len(a) == 0 {
		return ""
	}
	fields := func(f evidence.Finding) map[string]json.RawMessage {
		m := map[string]json.RawMessage{}
		if text, err := evidence.CanonicalJSON(f); err == nil {
			json.Unmarshal(text, &m) // its own output
		}
		return m
	}
	for i := range a {
		x, y := fields(a[i]), fields(b[i])
		for _, key := range slices.Sorted(maps.Keys(x)) {
			if !bytes.Equal(x[key], y[key]) {
				return ": " + key + " differs"
			}
		}
	}
	return ""
}

func (v *verifier) regenerate() {
	var again map[string][]byte
	if v.o.Regenerate != nil {
		var err error
		var withheld *WithheldError
		if again, err = v.o.Regenerate(&v.c); errors.As(err, &withheld) {
			v.res.withhold(checkDerived, withheld.Path, "the derived files were not made again: "+withheld.Error())
			return
		}
		if err != nil {
			v.res.fail(checkDerived, "", "derived files made again", err.Error())
			return
		}
	}
	n := 0
	for _, path := range slices.Sorted(maps.Keys(again)) { // whether or not its line says that it is derived
		at, there := v.c.a.find(path)
		if w := v.c.withheld(path); !there && w != nil {
			v.res.withhold(checkDerived, path, w.Error())
			continue
		}
		if !there {
			v.res.skip(checkDerived, path, "the pack does not carry it")
			continue
		}
		n++
		if want, got := evidence.SHA256Hex(again[path]), hex32(v.c.a.files[at].want); got != want {
			v.res.fail(checkDerived, path, "what the pack's own content gives, SHA-256 "+want, "SHA-256 "+got)
		}
	}
	for _, l := range v.c.derived {
		if _, ok := again[l.Path]; !ok {
			v.res.skip(checkDerived, l.Path, "it was not made again from the evidence")
		}
	}
	switch {
	case n > 0:
		v.res.pass(checkDerived, fmt.Sprintf("%d made again, the same", n))
	case len(v.res.skipped[checkDerived])+len(v.res.withheld[checkDerived]) == 0:
		v.res.skip(checkDerived, "", "there is nothing that is made again")
	}
}
