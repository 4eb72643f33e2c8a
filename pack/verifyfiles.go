package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	pathpkg "path"
	"slices"
	"strings"

	"trustpack/evidence"
)

// payloadSums is what the manifest says of the BagIt payload, as
// manifest-sha256.txt must list it.
type payloadSums struct {
	sum          hash.Hash
	size         int64
	files, bytes int64
}

// readManifest reads manifest.jsonl once: rebuilds the tree, ties each line to
// its file, and notes what later checks need.
func (v *verifier) readManifest() bool {
	i, ok := v.c.a.find(manifestName)
	if !ok {
		v.res.fail(checkManifest, manifestName, "the list of files", "it is missing")
		return false
	}
	body, err := v.c.a.body(&v.c.a.files[i])
	if err != nil {
		v.res.fail(checkManifest, manifestName, "", err.Error())
		return false
	}
	var tree treeBuilder
	var totals Totals
	whole, readme := true, false
	v.payload = payloadSums{sum: sha256.New()}
	sum := newSummer()
	in := io.TeeReader(body, sum)
	last := "" // path
	err = readManifest(in, func(n int, raw []byte, l Line, err error) {
		if l.leaf != "" {
			tree.addHash(idBytes(l.leaf))
			totals.Files++
			v.c.redacted = append(v.c.redacted, withheldLine{index: int64(n - 1), leaf: l.leaf, after: last})
			return
		}
		tree.add(raw)
		if err != nil {
			whole = false
			v.res.fail(checkManifest, manifestName, "one strict JSON line for each file, sorted by path", err.Error())
			return
		}
		totals.Files, totals.Bytes = totals.Files+1, totals.Bytes+l.Size
		v.takeLine(l, &totals, whole)
		readme = readme || l.Path == readmeName
		last = l.Path
		for i := len(v.c.redacted) - 1; i >= 0 && v.c.redacted[i].before == ""; i-- {
			v.c.redacted[i].before = last
		}
	})
	if err != nil {
		whole = false
		v.res.fail(checkManifest, manifestName, "one strict JSON line for each file, sorted by path", err.Error())
	}
	if _, err := io.Copy(io.Discard, in); err == nil { // what is left where reading ended early
		got := sum.sums()
		v.manifest = &got
	}
	root := v.c.root
	if got := hex32(tree.root()); got != root.Tree.Root || tree.size != root.Tree.Size {
		v.res.fail(checkTreeRoot, manifestName, fmt.Sprintf("root %s over %d lines, as pack.json says", root.Tree.Root, root.Tree.Size), fmt.Sprintf("root %s over %d lines", got, tree.size))
	} else {
		v.res.pass(checkTreeRoot, fmt.Sprintf("%s over %d lines", got, tree.size))
	}
	if whole && !readme {
		v.res.fail(checkManifest, manifestName, "a line for "+readmeName, "there is none")
	}
	v.checkTotals(whole, totals)
	v.res.pass(checkManifest, fmt.Sprintf("%d lines", tree.size))
	return whole
}

// checkTotals holds what the lines add up to to pack.json. The sizes of files
// that are withheld are not known.
func (v *verifier) checkTotals(whole bool, totals Totals) {
	want, atMost := v.c.root.Totals, ""
	if len(v.c.redacted) > 0 && totals.Bytes <= want.Bytes {
		totals.Bytes, atMost = want.Bytes, ", of bytes at most"
	}
	if whole && totals != want {
		v.res.fail(checkManifest, manifestName, fmt.Sprintf("the totals of pack.json, %+v%s", want, atMost), fmt.Sprintf("%+v", totals))
	}
}

// takeLine ties a line to its file. Where not all lines before it could be
// read, what it stands beside is not known.
func (v *verifier) takeLine(l Line, totals *Totals, whole bool) {
	stage := v.c.stages[l.Stage]
	stage.Files, stage.Bytes = stage.Files+1, stage.Bytes+l.Size
	if inPayload(l.Path) {
		line := checksumLine(l.SHA256, l.Path)
		io.WriteString(v.payload.sum, line) // a hash takes everything
		v.payload.size += int64(len(line))
		v.payload.files, v.payload.bytes = v.payload.files+1, v.payload.bytes+l.Size
	}
	switch {
	case isRecord(l.Path):
		totals.Evidence++
		stage.Evidence++
		if at, twice := v.collections[idBytes(l.SHA256)]; twice {
			v.res.fail(checkEvidenceID, l.Path, "each collection once", "the same stands at "+v.c.collections[at].line.Path)
		}
		v.collections[idBytes(l.SHA256)] = len(v.c.collections)
		v.c.collections = append(v.c.collections, collection{line: v.compact(l), dir: strings.TrimSuffix(l.Path, recordFile)})
	case isControl(l.Path):
		totals.Controls++
		stage.Controls++
		v.c.controls = append(v.c.controls, l.Path)
	case isJudged(l.Path):
		if !v.c.Has(pathpkg.Dir(l.Path) + "/" + controlFile) {
			v.res.fail(checkFindings, l.Path, "the control.json that it belongs to", "there is none beside it")
		}
	case strings.HasPrefix(l.Path, catalogDir):
		v.c.catalog = append(v.c.catalog, l.Path)
	}
	v.c.stages[l.Stage] = stage
	if l.CollectedAt != nil && l.CollectedAt.After(v.lastCollected) {
		v.lastCollected = *l.CollectedAt
	}
	if whole {
		v.takeBeside(l)
	}
	if len(l.DerivedFrom) > 0 && l.Path != exceptionsName {
		v.c.derived = append(v.c.derived, l)
	}
	f := v.fileOf(l.Path)
	if f == nil {
		v.res.fail(checkSet, l.Path, "the file that the manifest lists", "it is missing")
		return
	}
	f.listed, f.want = true, idBytes(l.SHA256)
	if f.size != l.Size {
		v.res.fail(checkDigest, l.Path, fmt.Sprintf("%d bytes", l.Size), fmt.Sprintf("%d bytes", f.size))
	}
}

// fileOf finds the entry of a line; most follow the one before.
func (v *verifier) fileOf(path string) *file {
	files := v.c.a.files
	if v.next < len(files) && files[v.next].name == path {
		v.next++
		return &files[v.next-1]
	}
	i, ok := v.c.a.find(path)
	if !ok {
		return nil
	}
	v.next = i + 1
	return &files[i]
}

// compact is the line of a record with what the archive's table or another
// line holds already in memory once.
func (v *verifier) compact(l Line) Line {
	if i, ok := v.c.a.find(l.Path); ok {
		l.Path = v.c.a.files[i].name
	}
	if l.Provenance == l.SHA256 {
		l.Provenance = l.SHA256 // one text for both
	}
	if n := len(v.c.collections); n > 0 {
		last := v.c.collections[n-1].line
		if slices.Equal(last.Controls, l.Controls) {
			l.Controls = last.Controls
		}
		if last.Kind == l.Kind {
			l.Kind = last.Kind
		}
		if last.Stage == l.Stage {
			l.Stage = last.Stage
		}
	}
	l.Salt, l.MediaType, l.DerivedFrom = "", "", nil
	return l
}

// takeBeside ties a file of a collection to the record that comes before it,
// since lines are sorted.
func (v *verifier) takeBeside(l Line) {
	n := len(v.c.collections)
	if n == 0 || !strings.HasPrefix(l.Path, v.c.collections[n-1].dir) {
		if _, _, in := cutCollection(l.Path); in || l.Provenance != "" { // what may stand beside an evidence.json comes after it
			v.res.fail(checkEvidenceID, l.Path, "a place beside an evidence.json, population.jsonl or in raw/, with that as its provenance", "another")
		}
		return
	}
	c := &v.c.collections[n-1]
	switch rest := strings.TrimPrefix(l.Path, c.dir); {
	case rest == recordFile:
		if l.Provenance != l.SHA256 {
			v.res.fail(checkEvidenceID, l.Path, "its own SHA-256 as its provenance", l.Provenance)
		}
		return
	case rest == populationFile:
		c.population = true
	case strings.HasPrefix(rest, rawDir):
		c.raws++
	default:
		v.res.fail(checkEvidenceID, l.Path, "evidence.json, population.jsonl and raw/ alone", "another file")
	}
	if l.Provenance != c.line.Provenance || !sameTime(l, c.line) || l.Kind != c.line.Kind {
		v.res.fail(checkEvidenceID, l.Path, "provenance, kind and times of the evidence.json beside it", "others")
	}
}

func sameTime(a, b Line) bool {
	if a.CollectedAt == nil || b.CollectedAt == nil || a.Window == nil || b.Window == nil {
		return false
	}
	return a.CollectedAt.Equal(*b.CollectedAt) && a.Window.From.Equal(b.Window.From) && a.Window.To.Equal(b.Window.To)
}

// readFiles reads every file of the archive once, in order: its header, its
// CRC-32 and SHA-256, and what records of collections and logs say.
func (v *verifier) readFiles(haveManifest bool) {
	k := v.c.a.walk()
	problem := func(p scanProblem) { v.res.fail(p.check, p.path, p.expected, p.actual) }
	var total int64
	for i := range v.c.a.files {
		f := &v.c.a.files[i]
		k.checkHeader(f, problem)
		part := v.partOf(f, haveManifest)
		got, data, err := v.sumUp(k, f, part != noPart)
		if err != nil {
			v.res.fail(checkLayout, f.name, "a stored file", err.Error())
		} else {
			total += got.size
			if got.size != f.size || got.crc != f.crc {
				v.res.fail(checkLayout, f.name, fmt.Sprintf("%d bytes with CRC-32 %08x", f.size, f.crc), fmt.Sprintf("%d bytes with CRC-32 %08x", got.size, got.crc))
			}
			v.checkFile(f, got, haveManifest)
		}
		if part == noPart {
			continue
		}
		if err == nil {
			err = asListed(f, got, data, v.c.a.limits.MaxRead)
		}
		v.readPart(part, f, data, err)
	}
	v.res.pass(checkLayout, fmt.Sprintf("%d entries, %d bytes", len(v.c.a.files), v.size))
	if haveManifest {
		v.res.pass(checkDigest, fmt.Sprintf("%d files, %d bytes", v.c.root.Totals.Files-int64(len(v.c.redacted)), total))
		v.res.pass(checkSet, "none missing, none added")
	}
}

// part is what a file is to a check that needs its bytes.
type part int

const (
	noPart part = iota
	recordPart
	logPart
)

// partOf says who needs the bytes of a file.
func (v *verifier) partOf(f *file, haveManifest bool) part {
	switch {
	case !haveManifest || !f.listed:
		return noPart
	case strings.HasPrefix(f.name, logDir):
		return logPart
	case isRecord(f.name):
		return recordPart
	}
	return noPart
}

func (v *verifier) readPart(p part, f *file, data []byte, err error) {
	switch p {
	case recordPart:
		v.readRecord(f, data, err)
	case logPart:
		if l, rest := v.logOf(f.name); l != nil {
			l.readFile(f, rest, data, err)
		}
	}
}

// checkHeaders reads the header of each file, where nothing more is read.
func (v *verifier) checkHeaders() {
	k := v.c.a.walk()
	for i := range v.c.a.files {
		k.checkHeader(&v.c.a.files[i], func(p scanProblem) { v.res.fail(p.check, p.path, p.expected, p.actual) })
	}
}

// sumUp reads a body, but that of the manifest, which has been read.
func (v *verifier) sumUp(k *walker, f *file, keep bool) (sums, []byte, error) {
	if f.name == manifestName && v.manifest != nil {
		return *v.manifest, nil, nil
	}
	return k.body(f, keep, v.c.a.limits.MaxRead)
}

// asListed says why the bytes of a file cannot be gone by.
func asListed(f *file, got sums, data []byte, limit int64) error {
	switch {
	case got.sha256 != f.want:
		return errors.New("it is not what the manifest says")
	case f.size > limit:
		return fmt.Errorf("%d bytes, more than %d", f.size, limit)
	case int64(len(data)) != f.size:
		return errors.New("it does not stand in the archive as it must")
	}
	return nil
}

func (v *verifier) checkFile(f *file, got sums, haveManifest bool) {
	if inTagManifest(f.name) || strings.HasPrefix(f.name, signaturesDir) || f.name == tagManifestName {
		v.tags[f.name] = got.sha256
	}
	switch {
	case f.listed:
		if got.sha256 != f.want {
			v.res.fail(checkDigest, f.name, "SHA-256 "+hex32(f.want), "SHA-256 "+hex32(got.sha256))
		}
	case inManifest(f.name):
		if haveManifest {
			v.res.fail(checkSet, f.name, "only files that the manifest lists", "a file that it does not list")
		}
	case strings.HasPrefix(f.name, signaturesDir):
		if !isSignature(f.name) {
			v.res.fail(checkSet, f.name, "only signatures named as the format says", "another file")
		} else if _, beside := v.c.a.find(strings.TrimSuffix(f.name, ".tsr") + ".sigstore.json"); !beside && isTimestamp(f.name) {
			v.res.fail(checkSet, f.name, "a timestamp beside its bundle", "the bundle is missing")
		}
	case area(f.name) == noArea:
		v.res.fail(checkSet, f.name, "only files that the format knows", "another file")
	}
}

// checkBagit derives the BagIt files again and compares digests.
func (v *verifier) checkBagit() {
	want := map[string]string{
		bagitName:           evidence.SHA256Hex([]byte(bagitText)),
		bagInfoName:         evidence.SHA256Hex(bagInfo(v.c.root, v.payload.files, v.payload.bytes)),
		payloadManifestName: hex.EncodeToString(v.payload.sum.Sum(nil)),
	}
	tags := map[string]string{}
	for name, sum := range v.tags {
		if inTagManifest(name) {
			tags[name] = hex32(sum)
		}
	}
	want[tagManifestName] = evidence.SHA256Hex(tagManifest(tags))
	for _, name := range []string{bagitName, bagInfoName, payloadManifestName, tagManifestName} {
		sum, ok := v.tags[name]
		if !ok {
			v.res.fail(checkBagit, name, "the BagIt file", "it is missing")
			continue
		}
		if got := hex32(sum); got != want[name] {
			v.res.fail(checkBagit, name, "what the manifest and pack.json give, SHA-256 "+want[name], "SHA-256 "+got)
		}
	}
	v.res.pass(checkBagit, "as derived from the manifest")
}
