package pack

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// forged adds the vectors of packs that a vendor signed whole and right but in
// one place, of which nothing else in the pack tells.
func (m *vectorMaker) forged() {
	m.forgedRecords()
	m.strangers()
	m.forgedLogs()
	m.add(16, "finding with a negative number, signed", checkFindings, vectorFinding, m.rewritten(vectorFinding, `"population":2`, `"population":-2`))
	m.add(16, "finding with a time of another zone, signed", checkFindings, vectorFinding,
		m.rewritten(vectorFinding, `"collected_at":"2026-09-29T12:00:00Z"`, `"collected_at":"2026-09-29T14:00:00+02:00"`))
	m.add(5, "finding that calls itself another control's, signed", checkFindings, vectorFinding, m.rewritten(vectorFinding, `"control":"ID-01"`, `"control":"PR-01"`))
	for _, key := range []string{"constructor", "valueOf", "toString"} { // which every object of JavaScript has
		m.add(16, "control with a member named "+key+", signed", checkFindings, vectorControl, m.rewritten(vectorControl, `}`, `,"`+key+`":"x"}`))
	}
	m.add(16, "sequence beyond what every reader has exactly, signed", checkPackJSON, packJSONName, m.resigned(func(r *Root) {
		r.Sequence, r.Previous = 1<<53, strings.Repeat("ab", 32)
	}))
	m.add(16, "total beyond what every reader has exactly, signed", checkPackJSON, packJSONName, m.resigned(func(r *Root) { r.Totals.Bytes = 1 << 53 }))
	for name, change := range map[string][2]string{
		"a path that has no line":        {`"path":"README.txt"`, `"path":"READMF.txt"`},
		"a path that is no name":         {`"path":"trust/vendor.pub"`, `"path":"trust/vendor.pub/."`},
		"a digest that is none":          {`"sha256":"[0-9a-f]`, `"sha256":"A`},
		"a salt that is none":            {`"salt":"[0-9a-f]`, `"salt":"A`},
		"a size below 0":                 {`("path":"README.txt".*"size":)[0-9]+`, `${1}-1`},
		"a size that no file has":        {`("path":"README.txt".*"size":)[0-9]+`, `${1}4294967295`},
		"no media type":                  {`"media_type":"[^"]+","path":"README.txt"`, `"media_type":"","path":"README.txt"`},
		"a provenance that is none":      {`"path":"README.txt"`, `"path":"README.txt","provenance":"x"`},
		"a stage that is none":           {`("path":"README.txt".*"size":[0-9]+)`, `${1},"stage":"none"`},
		"what it was made from unsorted": {`"derived_from":\["data/exceptions.json"\]`, `"derived_from":["data/z","data/a"]`},
		"what it was made from repeated": {`"derived_from":\["data/exceptions.json"\]`, `"derived_from":["data/z","data/z"]`},
	} {
		m.add(16, "line of the manifest with "+name+", signed", checkManifest, manifestName, m.relined(change[0], change[1]))
	}
	for name, change := range map[string]func(*Root){
		"another format":               func(r *Root) { r.Format = "trustpack-pack/2" },
		"no organisation":              func(r *Root) { r.Organisation = "" },
		"space after the system":       func(r *Root) { r.System += " " },
		"a tool that turns the text":   func(r *Root) { r.Tool = "a\u202eb" },
		"a name too long":              func(r *Root) { r.Organisation = strings.Repeat("x", 201) },
		"a period that ends before":    func(r *Root) { r.Period.From, r.Period.To = r.Period.To, r.Period.From },
		"a period of no time":          func(r *Root) { r.Period.To = r.Period.From },
		"sequence 0":                   func(r *Root) { r.Sequence = 0 },
		"a second without a previous":  func(r *Root) { r.Sequence = 2 },
		"a first with a previous":      func(r *Root) { r.Previous = strings.Repeat("ab", 32) },
		"a previous that is no digest": func(r *Root) { r.Sequence, r.Previous = 2, strings.Repeat("AB", 32) },
		"a clock that is none":         func(r *Root) { r.Clock = "system" },
		"another algorithm":            func(r *Root) { r.Tree.Algorithm = "rfc6962-sha1" },
		"a root that is none":          func(r *Root) { r.Tree.Root = strings.ToUpper(r.Tree.Root) },
		"a tree of another size":       func(r *Root) { r.Tree.Size++ },
		"totals below 0":               func(r *Root) { r.Totals.Bytes = -1 },
		"a catalog that is no digest":  func(r *Root) { r.Catalog.SHA256 = "none" },
		"the vendor not required":      func(r *Root) { r.RequiredRoles = []string{} },
		"a role that is none":          func(r *Root) { r.RequiredRoles = []string{roleVendor, "notary"} },
		"a role twice":                 func(r *Root) { r.RequiredRoles = []string{roleVendor, roleVendor} },
		"logs there and omitted":       func(r *Root) { r.LogsOmitted = 2 },
		"more than 4096 bytes":         func(r *Root) { r.Catalog.Framework = strings.Repeat("x", 4096) },
	} {
		m.add(16, "pack.json with "+name+", signed", checkPackJSON, packJSONName, m.resigned(change))
	}
	m.forgedBundles()
	m.add(3, "pack without a README, signed", checkManifest, manifestName, m.signed(func(b *builder) { b.remove(m.t, readmeName) }))
	report := m.add(39, "report whose line does not say that it is derived, signed", checkDerived, "data/report/index.html", m.signed(func(b *builder) {
		f := b.at(m.t, "data/report/index.html")
		f.set([]byte("<!doctype html><title>all is well</title>"))
		f.edit(func(l *Line) { l.DerivedFrom = nil })
	}))
	report.GoOnly = "making the report again needs the templates"
}

// rewritten is a pack in which one file says something else.
func (m *vectorMaker) rewritten(name, from, to string) []byte {
	return m.signed(func(b *builder) {
		f := b.at(m.t, name)
		was := f.body(m.t)
		f.set(bytes.Replace(was, []byte(from), []byte(to), 1))
		if bytes.Equal(was, f.body(m.t)) {
			m.t.Fatalf("%s holds no %s: %s", name, from, was)
		}
	})
}

// resigned is the good pack with another pack.json.
func (m *vectorMaker) resigned(change func(*Root)) []byte {
	return m.signedOver(entriesOf(m.t, m.good), change)
}

// relined is the good pack with another manifest, whose root the vendor signed.
func (m *vectorMaker) relined(from, to string) []byte {
	e := entriesOf(m.t, m.good)
	body := &e[find(m.t, e, manifestName)].body
	was := *body
	*body = regexp.MustCompile(from).ReplaceAll(was, []byte(to))
	if bytes.Equal(was, *body) {
		m.t.Fatalf("no line of the manifest has %s", from)
	}
	var tree treeBuilder
	for line := range bytes.Lines(*body) {
		tree.add(bytes.TrimSuffix(line, []byte("\n")))
	}
	return m.signedOver(e, func(r *Root) { r.Tree.Root = hex32(tree.root()) })
}

// signedOver puts another pack.json into entries, signed by the vendor, and all
// that follows from it.
func (m *vectorMaker) signedOver(e []stored, change func(*Root)) []byte {
	at := func(name string) *[]byte { return &e[find(m.t, e, name)].body }
	var r Root
	if err := decodeStrict(*at(packJSONName), &r); err != nil {
		m.t.Fatal(err)
	}
	change(&r)
	packJSON := []byte(canonical(m.t, r))
	*at(packJSONName) = packJSON
	made, err := sign(packJSON, evidence.SHA256Hex(packJSON), "", m.vendor)
	if err != nil {
		m.t.Fatal(err)
	}
	for name, body := range made {
		*at(name) = body
	}
	tags := map[string]string{}
	for _, x := range e {
		if inTagManifest(x.name) {
			tags[x.name] = evidence.SHA256Hex(x.body)
		}
	}
	*at(tagManifestName) = tagManifest(tags)
	return zipOf(m.t, e)
}

// forgedBundles are signatures that hold, in bundles or over statements that are
// not of the form.
func (m *vectorMaker) forgedBundles() {
	sum := packSum(m.t, m.good)
	made := func(role string, s Signer, st statement, change func(*bundle)) []byte {
		payload := []byte(canonical(m.t, st))
		sig, err := s.Sign(preAuth(payloadType, payload))
		if err != nil {
			m.t.Fatal(err)
		}
		encode := base64.StdEncoding.EncodeToString
		b := bundle{envelope{encode(payload), payloadType, []signature{{Sig: encode(sig)}}}, bundleMediaType, material{keyHint{s.Public().Fingerprint()}}}
		change(&b)
		e := entriesOf(m.t, withSignatures(m.t, m.good, countersigned{role: roleReviewer, signer: m.reviewer}.as(m.t, "Anna Berg", sum)))
		e[find(m.t, e, bundleName(role, 1))].body = []byte(canonical(m.t, b))
		return zipOf(m.t, e)
	}
	for name, change := range map[string]func(*bundle){
		"of another version":           func(b *bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.2+json" },
		"with two signatures":          func(b *bundle) { b.Envelope.Signatures = append(b.Envelope.Signatures, b.Envelope.Signatures[0]) },
		"with the hint of another key": func(b *bundle) { b.Material.PublicKey.Hint = m.attacker.Public().Fingerprint() },
		"with no signatures":           func(b *bundle) { b.Envelope.Signatures = []signature{} },
		"with another key's ID":        func(b *bundle) { b.Envelope.Signatures[0].KeyID = m.attacker.Public().Fingerprint() },
	} {
		m.add(25, "bundle "+name, checkSigPrefix+roleVendor, bundleName(roleVendor, 1), made(roleVendor, m.vendor, statementFor(m.t, roleVendor, sum), change))
	}
	as := func(*bundle) {}
	named := statementFor(m.t, roleVendor, sum)
	named.Subject[0].Name = "manifest.jsonl"
	m.add(25, "subject of another name", checkSigPrefix+roleVendor, bundleName(roleVendor, 1), made(roleVendor, m.vendor, named, as))
	var properties []string
	for n := range 30 {
		properties = append(properties, fmt.Sprintf("%0190d", n))
	}
	payload, err := verifierStatement(roleReviewer, sum, "Anna Berg", day(95), properties)
	if err != nil {
		m.t.Fatal(err)
	}
	var long statement
	if err := decodeStrict(payload, &long); err != nil {
		m.t.Fatal(err)
	}
	tooLong := m.add(25, "statement of more than 4096 bytes", checkSigPrefix+roleReviewer, bundleName(roleReviewer, 1), made(roleReviewer, m.reviewer, long, as))
	tooLong.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.reviewer))
}

// forgedRecords are of evidence.json files whose digest, folder and lines in the
// manifest all fit.
func (m *vectorMaker) forgedRecords() {
	forge := func(name, from, to string, replies ...string) {
		pack := m.signed(func(b *builder) { b.forgeStray(m.t, from, to, replies...) })
		v := m.add(16, "record with "+name+", signed", checkEvidenceID, "", pack)
		v.Anchors.LogKeys = []string{}
	}
	forge("a time of another zone", `"collected_at":"2026-08-30T12:00:00Z"`, `"collected_at":"2026-08-30T14:00:00+02:00"`)
	forge("a negative number", `"got":1`, `"got":-1`)
	reply := fmt.Sprintf(`{"name":"a","sha256":"%s","size":1}`, evidence.SHA256Hex([]byte("x")))
	forge("two replies of one name", `"raw":[]`, `"raw":[`+reply+`,`+reply+`]`, "a", "a~~2")
	forge("two replies of one name in one file", `"raw":[]`, `"raw":[`+reply+`,`+reply+`]`, "a")
	forge("a reply of another size", `"raw":[]`, `"raw":[`+strings.Replace(reply, `"size":1`, `"size":2`, 1)+`]`, "a")
}

// forgeStray changes the record of the collection that nothing cites, and all
// that its digest is in, in a pack without logs.
func (b *builder) forgeStray(t testing.TB, from, to string, replies ...string) {
	b.c.Logs = nil
	b.files = slices.DeleteFunc(b.files, func(f builtFile) bool { return strings.HasPrefix(f.path, logDir) })
	at := slices.IndexFunc(b.files, func(f builtFile) bool {
		return strings.HasPrefix(f.path, strayDir) && strings.HasSuffix(f.path, recordFile)
	})
	record := &b.files[at]
	was := record.body(t)
	body := bytes.Replace(was, []byte(from), []byte(to), 1)
	if bytes.Equal(was, body) {
		t.Fatalf("the record holds no %s: %s", from, was)
	}
	record.set(body)
	dir, id := strings.TrimSuffix(record.path, recordFile), evidence.SHA256Hex(body)
	is := dir[:strings.LastIndexByte(dir, '-')+1] + id[:12] + "/"
	about := *record
	for i := range b.files {
		f := &b.files[i]
		if rest, ok := strings.CutPrefix(f.path, dir); ok {
			f.path = is + rest
			f.edit(func(l *Line) { l.Provenance = id })
			about.about = f.about
		}
	}
	for _, name := range replies {
		f := about
		f.path = is + rawDir + name
		f.set([]byte("x"))
		b.insert(f)
	}
	b.sort()
}

// strangers are files that look as if they belonged to something that is
// verified.
func (m *vectorMaker) strangers() {
	stranger := func(name, check, like, path string) {
		m.add(2, name+", signed", check, path, m.signed(func(b *builder) {
			f := *b.at(m.t, like)
			f.about = &Line{}
			f.path = path
			b.insert(f)
		}))
	}
	devices := m.content.Evidence[1]
	folder := "data/1-identity/ID-01/evidence/telemetry.devices/" + day(90).Format("20060102T150405Z") + "-" + devices.ID[:12] + "/"
	m.add(2, "stranger before a collection's record, signed", checkEvidenceID, "", m.signed(func(b *builder) {
		f := *b.at(m.t, folder+populationFile)
		f.about, f.path = &Line{}, folder+"approvals.html"
		b.insert(f)
	}))
	m.add(2, "collection without a record, signed", checkEvidenceID, "", m.signed(func(b *builder) {
		f := *b.at(m.t, folder+populationFile)
		f.about, f.path = &Line{}, "data/evidence/telemetry.devices/20260830T120000Z-0123456789ab/"+populationFile
		b.insert(f)
	}))
	for name, change := range map[string]func(*Line){
		"kind":         func(l *Line) { l.Kind = "telemetry.alerts" },
		"provenance":   func(l *Line) { l.Provenance = m.content.Evidence[0].ID },
		"collected_at": func(l *Line) { l.CollectedAt = nil },
		"window":       func(l *Line) { l.Window = nil },
		"period":       func(l *Line) { l.Window = &evidence.Period{From: l.Window.From, To: l.Window.To.AddDate(0, 0, 1)} },
	} {
		m.add(31, "population with "+name+" that is not its record's, signed", checkEvidenceID, "", m.signed(func(b *builder) {
			b.at(m.t, folder+populationFile).edit(change)
		}))
		if name == "provenance" {
			continue
		}
		m.add(31, "collection with "+name+" that is not its record's, signed", checkEvidenceID, "", m.signed(func(b *builder) {
			for i := range b.files {
				if strings.HasPrefix(b.files[i].path, folder) {
					b.files[i].edit(change)
				}
			}
		}))
	}
	m.add(20, "all withheld as two subtrees", checkTreeRoot, manifestName, m.asSubtrees())
	m.add(17, "collection twice, signed", checkEvidenceID, "", m.signed(func(b *builder) {
		var again []builtFile
		for _, f := range b.files {
			if rest, ok := strings.CutPrefix(f.path, strayDir); ok {
				f.path = "data/1-identity/ID-01/evidence/" + rest
				again = append(again, f)
			}
		}
		b.files = append(b.files, again...)
		b.records++
	}))
	m.add(2, "folder of a control that is none, signed", checkFindings, "", m.signed(func(b *builder) {
		f := *b.at(m.t, folder+populationFile)
		f.about, f.path = &Line{}, "data/1-identity/ID-99/approved.txt"
		b.insert(f)
	}))
	stranger("log that is on no list", checkSet, vectorLog+checkpointFile, "data/log/other.example/x/"+checkpointFile)
	stranger("entry of a log that is on no list", checkSet, vectorLog+"entries/3.entry", "data/log/other.example/x/entries/3.entry")
	stranger("file in a log's folder", checkSet, vectorLog+checkpointFile, vectorLog+"checkpoint.new")
	stranger("file among a log's entries", checkSet, vectorLog+"entries/3.entry", vectorLog+"entries/4.json")
	stranger("file among a log's proofs", checkSet, vectorLog+"entries/3.entry", vectorLog+"proofs/4.txt")
}

// asSubtrees is the good pack without a file, in whose manifest the two halves
// of the tree are called lines that were taken out. They give the same root.
func (m *vectorMaker) asSubtrees() []byte {
	var tree treeBuilder
	lines := bytes.SplitAfter(m.body(manifestName), []byte("\n"))
	lines = lines[:len(lines)-1]
	half := 1
	for half*2 < len(lines) {
		half *= 2
	}
	var manifest []byte
	for _, of := range [][][]byte{lines[:half], lines[half:]} {
		tree = treeBuilder{}
		for _, line := range of {
			tree.add(bytes.TrimSuffix(line, []byte("\n")))
		}
		manifest = fmt.Appendf(manifest, `{"leaf":"%s"}`+"\n", hex32(tree.root()))
	}
	return m.entries(func(e []stored) []stored {
		e[find(m.t, e, manifestName)].body = manifest
		return slices.DeleteFunc(e, func(s stored) bool { return inManifest(s.name) })
	})
}

// forgedLogs are of logs that say what pack.json does not, or say it otherwise
// than the format does.
func (m *vectorMaker) forgedLogs() {
	cut := func(name string) []byte {
		return m.signed(func(b *builder) { f := b.at(m.t, name); f.set(bytes.TrimSuffix(f.body(m.t), []byte("\n"))) })
	}
	m.add(16, "list of logs without its last newline, signed", checkCheckpoint, logsName, cut(logsName))
	m.add(16, "history without its last newline, signed", checkConsistency, vectorLog+historyFile, cut(vectorLog+historyFile))
	m.add(16, "history with a time of another zone, signed", checkConsistency, vectorLog+historyFile,
		m.rewritten(vectorLog+historyFile, `"time":"2026-09-19T12:00:00Z"`, `"time":"2026-09-19T14:00:00+02:00"`))
	m.add(17, "log listed twice, signed", checkCheckpoint, logsName, m.signed(func(b *builder) {
		b.c.Logs = append(b.c.Logs, b.c.Logs[1])
		f := b.at(m.t, logsName)
		lines := bytes.SplitAfter(f.body(m.t), []byte("\n"))
		f.set(slices.Concat(lines[0], lines[1], lines[1]))
	}))
	m.add(37, "log of another size in pack.json, signed", checkCheckpoint, logsName, m.resigned(func(r *Root) { r.Logs[1].Size-- }))
	m.add(37, "number of logs that is not theirs in pack.json, signed", checkCheckpoint, logsName, m.resigned(func(r *Root) { r.Logs, r.LogsOmitted = nil, 3 }))
	m.add(37, "line of the history of another size than its note, signed", checkConsistency, vectorLog+historyFile, m.rewritten(vectorLog+historyFile, `"size":10`, `"size":11`))
	m.add(36, "proof that says another index, signed", checkInclusion, vectorLog+"proofs/3.tlog-proof", m.rewritten(vectorLog+"proofs/3.tlog-proof", "index 3\n", "index 19\n"))
	m.add(36, "proof that stands twice, signed", checkInclusion, vectorLog+"proofs/03.tlog-proof", m.signed(func(b *builder) {
		f := *b.at(m.t, vectorLog+"proofs/3.tlog-proof")
		f.path = vectorLog + "proofs/03.tlog-proof"
		b.insert(f)
	}))
	m.add(36, "proof with another checkpoint of the same tree, signed", checkInclusion, vectorLog+"proofs/3.tlog-proof", m.signed(func(b *builder) {
		note := b.c.Logs[1].Checkpoint
		c, err := unverifiedCheckpoint([]byte(note))
		if err != nil {
			m.t.Fatal(err)
		}
		c.Extensions = []string{"another"}
		other, err := ledger.SignCheckpoint(c, seed(7))
		if err != nil {
			m.t.Fatal(err)
		}
		f := b.at(m.t, vectorLog+"proofs/3.tlog-proof")
		f.set(bytes.Replace(f.body(m.t), []byte(note), other, 1))
	}))
	unsigned := m.add(37, "checkpoint whose signature is no line of a note, signed", checkCheckpoint, vectorLog+checkpointFile, m.signed(func(b *builder) {
		f := b.at(m.t, vectorLog+checkpointFile)
		text, _, _ := bytes.Cut(f.body(m.t), []byte("\n\n"))
		f.set(append(bytes.Clone(text), "\n\nsigned by nobody\n"...))
	}))
	unsigned.Anchors.LogKeys = []string{}
	for _, ext := range []string{sampleExtension, simulatedExtension} {
		labelled := func(note string) string {
			c, err := unverifiedCheckpoint([]byte(note))
			if err != nil {
				m.t.Fatal(err)
			}
			c.Extensions = []string{ext}
			signed, err := ledger.SignCheckpoint(c, seed(7))
			if err != nil {
				m.t.Fatal(err)
			}
			return string(signed)
		}
		m.add(29, ext+" in a log's history alone, signed", checkLabels, vectorLog+historyFile, m.signed(func(b *builder) {
			note := b.c.Logs[1].History[0].Note
			f := b.at(m.t, vectorLog+historyFile)
			f.set(bytes.Replace(f.body(m.t), []byte(canonical(m.t, note)), []byte(canonical(m.t, labelled(note))), 1))
		}))
		previous := "data/log/ingest.example/evidence/" + previousFile
		m.add(29, ext+" in the previous checkpoint alone, signed", checkLabels, previous, m.signed(func(b *builder) {
			b.at(m.t, previous).set([]byte(labelled(b.c.Logs[0].Previous)))
		}))
	}
}

// TestPlaces: where a path stands among controls and collections. A folder that
// is like that of a stage but is none has neither.
func TestPlaces(t *testing.T) {
	for path, want := range map[string]string{
		"data/1-identity/ID-01/control.json":                     "control",
		"data/1-identity/ID-01/notes.txt":                        "judged",
		"data/1-identity/ID-01/more/control.json":                "",
		"data/1-identity/control.json":                           "",
		"data/2-identity/ID-01/control.json":                     "",
		"data/1-foo/ID-01/control.json":                          "",
		"data/1-/ID-01/control.json":                             "",
		"data/1/ID-01/control.json":                              "",
		"trust/1-identity/ID-01/control.json":                    "",
		"data/1-identity/ID-01/evidence/kind/name/evidence.json": "record of data/1-identity/ID-01/evidence/kind/name/",
		"data/evidence/kind/name/evidence.json":                  "record of data/evidence/kind/name/",
		"data/evidence/kind/name/raw/evidence.json":              "in data/evidence/kind/name/",
		"data/evidence/kind/name/a":                              "in data/evidence/kind/name/",
		"data/evidence/kind/evidence.json":                       "",
		"data/evidence/evidence.json":                            "",
		"data/1-foo/ID-01/evidence/kind/name/evidence.json":      "",
	} {
		got := ""
		folder, _, in := cutCollection(path)
		switch {
		case isControl(path):
			got = "control"
		case isJudged(path):
			got = "judged"
		case isRecord(path):
			got = "record of " + folder
		case in:
			got = "in " + folder
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
