package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
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
	i, ok := v.c.a.index[manifestName]
	if !ok {
		v.res.fail(checkManifest, manifestName, "the list of files", "it is missing")
		return false
	}
	in, err := v.c.a.body(&v.c.a.files[i])
	if err != nil {
		v.res.fail(checkManifest, manifestName, "", err.Error())
		return false
	}
	var tree treeBuilder
	var totals Totals
	whole := true
	v.payload = payloadSums{sum: sha256.New()}
	err = readManifest(in, func(n int, raw []byte, l Line, err error) {
		tree.add(raw)
		if err != nil {
			whole = false
			v.res.fail(checkManifest, manifestName, "one strict JSON line for each file, sorted by path", err.Error())
			return
		}
		totals.Files, totals.Bytes = totals.Files+1, totals.Bytes+l.Size
		v.takeLine(l, &totals)
	})
	if err != nil {
		whole = false
		v.res.fail(checkManifest, manifestName, "one strict JSON line for each file, sorted by path", err.Error())
	}
	root := v.c.root
	if got := hex32(tree.root()); got != root.Tree.Root || tree.size != root.Tree.Size {
		v.res.fail(checkTreeRoot, manifestName, fmt.Sprintf("root %s over %d lines, as pack.json says", root.Tree.Root, root.Tree.Size), fmt.Sprintf("root %s over %d lines", got, tree.size))
	} else {
		v.res.pass(checkTreeRoot, fmt.Sprintf("%s over %d lines", got, tree.size))
	}
	if whole && totals != root.Totals {
		v.res.fail(checkManifest, manifestName, fmt.Sprintf("the totals of pack.json, %+v", root.Totals), fmt.Sprintf("%+v", totals))
	}
	v.res.pass(checkManifest, fmt.Sprintf("%d lines", tree.size))
	return whole
}

// takeLine ties a line to its file.
func (v *verifier) takeLine(l Line, totals *Totals) {
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
		v.c.collections = append(v.c.collections, collection{line: l, dir: strings.TrimSuffix(l.Path, recordFile)})
	case isControl(l.Path):
		totals.Controls++
		stage.Controls++
		v.c.controls = append(v.c.controls, l.Path)
	case strings.HasPrefix(l.Path, catalogDir):
		v.c.catalog = append(v.c.catalog, l.Path)
	}
	v.c.stages[l.Stage] = stage
	v.takeBeside(l)
	if len(l.DerivedFrom) > 0 && l.Path != exceptionsName {
		v.c.derived = append(v.c.derived, l)
	}
	i, ok := v.c.a.index[l.Path]
	if !ok {
		v.res.fail(checkSet, l.Path, "the file that the manifest lists", "it is missing")
		return
	}
	f := &v.c.a.files[i]
	f.listed, f.wantSize = true, l.Size
	hex.Decode(f.want[:], []byte(l.SHA256)) // parseLine has seen that it is 64 hex digits
}

// takeBeside ties a file of a collection to the record that comes before it,
// since lines are sorted.
func (v *verifier) takeBeside(l Line) {
	n := len(v.c.collections)
	if n == 0 || !strings.HasPrefix(l.Path, v.c.collections[n-1].dir) {
		if l.Provenance != "" {
			v.res.fail(checkEvidenceID, l.Path, "a place beside the evidence.json it names as its provenance", "there is none")
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

// hashFiles reads every file of the archive once, in order, and holds it to
// its CRC-32 and the manifest.
func (v *verifier) hashFiles(haveManifest bool) {
	sum, crc := sha256.New(), crc32.NewIEEE()
	both := io.MultiWriter(sum, crc)
	buf := make([]byte, 256<<10)
	var total int64
	for i := range v.c.a.files {
		f := &v.c.a.files[i]
		in, err := v.c.a.body(f)
		var n int64
		if err == nil {
			sum.Reset()
			crc.Reset()
			n, err = io.CopyBuffer(both, in, buf)
		}
		if err != nil {
			v.res.fail(checkLayout, f.name, "a stored file", err.Error())
			continue
		}
		total += n
		sum.Sum(f.got[:0])
		if n != f.size || crc.Sum32() != f.crc {
			v.res.fail(checkLayout, f.name, fmt.Sprintf("%d bytes with CRC-32 %08x", f.size, f.crc), fmt.Sprintf("%d bytes with CRC-32 %08x", n, crc.Sum32()))
		}
		v.checkFile(f, n, haveManifest)
	}
	v.res.pass(checkLayout, fmt.Sprintf("%d entries, %d bytes", len(v.c.a.files), v.size))
	if haveManifest {
		v.res.pass(checkDigest, fmt.Sprintf("%d files, %d bytes", v.c.root.Totals.Files, total))
		v.res.pass(checkSet, "none missing, none added")
	}
}

func (v *verifier) checkFile(f *file, n int64, haveManifest bool) {
	switch {
	case f.listed:
		if f.got != f.want || n != f.wantSize {
			v.res.fail(checkDigest, f.name, fmt.Sprintf("SHA-256 %s, %d bytes", hex32(f.want), f.wantSize), fmt.Sprintf("SHA-256 %s, %d bytes", hex32(f.got), n))
		}
	case inManifest(f.name):
		if haveManifest {
			v.res.fail(checkSet, f.name, "only files that the manifest lists", "a file that it does not list")
		}
	case strings.HasPrefix(f.name, signaturesDir):
		if !isSignature(f.name) {
			v.res.fail(checkSet, f.name, "only signatures named as the format says", "another file")
		}
	case area(f.name) == len(archiveOrder()):
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
	for _, f := range v.c.a.files {
		if inTagManifest(f.name) {
			tags[f.name] = hex32(f.got)
		}
	}
	want[tagManifestName] = evidence.SHA256Hex(tagManifest(tags))
	for _, name := range []string{bagitName, bagInfoName, payloadManifestName, tagManifestName} {
		i, ok := v.c.a.index[name]
		if !ok {
			v.res.fail(checkBagit, name, "the BagIt file", "it is missing")
			continue
		}
		if got := hex32(v.c.a.files[i].got); got != want[name] {
			v.res.fail(checkBagit, name, "what the manifest and pack.json give, SHA-256 "+want[name], "SHA-256 "+got)
		}
	}
	v.res.pass(checkBagit, "as derived from the manifest")
}
