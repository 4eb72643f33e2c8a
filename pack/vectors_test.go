package pack

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// vector is a pack that must be refused, with the anchors of whoever refuses
// it and the check that must say so. Both verifiers are held to it.
type vector struct {
	Case    int           `json:"case"` // of FORMAT.md's list of tampering cases
	Name    string        `json:"name"`
	What    string        `json:"what"`
	Anchors vectorAnchors `json:"anchors"`
	Expect  expectation   `json:"expect"`
	// GoOnly says why only the Go verifier can tell; the other must say then
	// that it did not check.
	GoOnly string `json:"go_only,omitempty"`

	pack []byte
}

// expectation is what a verifier must say: the exit code, and a line of the
// check that failed (exit 1) or could not be checked (exit 3).
type expectation struct {
	Exit    int    `json:"exit"`
	Verdict string `json:"verdict"`
	Check   string `json:"check"`
	Path    string `json:"path,omitempty"`
}

// vectorAnchors are the anchors in the form that the JavaScript verifier takes.
type vectorAnchors struct {
	Keys         []vectorKey     `json:"keys"`
	RequireRoles []string        `json:"require_roles"`
	LogKeys      []string        `json:"log_keys"`
	Witnesses    []string        `json:"witnesses"`
	TSARoots     []string        `json:"tsa_roots"`
	State        json.RawMessage `json:"state"`
	Now          *time.Time      `json:"now,omitempty"`
}

type vectorKey struct {
	Role     string     `json:"role"`
	Identity string     `json:"identity,omitempty"`
	Key      string     `json:"key"`
	From     *time.Time `json:"from,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
}

// vectorMaker holds what the vectors are made from: a good pack, its keys and
// its anchors.
type vectorMaker struct {
	t                                   testing.TB
	vendor, reviewer, auditor, attacker Signer
	content                             Content
	good                                []byte
	anchors                             vectorAnchors
	out                                 []vector
}

func newVectorMaker(t testing.TB) *vectorMaker {
	m := &vectorMaker{t: t, vendor: edSigner(t, 1), attacker: edSigner(t, 2), reviewer: edSigner(t, 3), auditor: edSigner(t, 4), content: content(t)}
	m.good = buildPack(t, m.content, m.vendor)
	m.anchors = vectorAnchors{Keys: []vectorKey{m.key(roleVendor, m.vendor)}, RequireRoles: []string{}, LogKeys: options(t, m.vendor).LogKeys, Witnesses: []string{}, TSARoots: []string{}}
	return m
}

func (m *vectorMaker) key(role string, s Signer) vectorKey {
	return vectorKey{Role: role, Key: s.Public().Line()}
}

// add adds a vector that is refused (exit 1) under the usual anchors.
func (m *vectorMaker) add(number int, name, check, path string, pack []byte) *vector {
	m.out = append(m.out, vector{Case: number, Name: name, What: name, Anchors: m.anchors, Expect: expectation{1, VerdictFailed, check, path}, pack: pack})
	return &m.out[len(m.out)-1]
}

// entries changes the list of the good pack's entries and zips it anew, with
// right CRCs.
func (m *vectorMaker) entries(change func([]stored) []stored) []byte {
	return zipOf(m.t, change(entriesOf(m.t, m.good)))
}

// edit changes the content of one entry.
func (m *vectorMaker) edit(name string, change func([]byte) []byte) []byte {
	return m.entries(func(e []stored) []stored {
		i := find(m.t, e, name)
		was := e[i].body
		e[i].body = change(bytes.Clone(was))
		if bytes.Equal(was, e[i].body) {
			m.t.Fatalf("%s was not changed", name)
		}
		return e
	})
}

func (m *vectorMaker) replace(name, from, to string) []byte {
	return m.edit(name, func(b []byte) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) })
}

// signed rebuilds the pack with the vendor's own key.
func (m *vectorMaker) signed(change func(*builder)) []byte {
	return rebuild(m.t, content(m.t), m.vendor, change)
}

func (m *vectorMaker) body(name string) []byte {
	e := entriesOf(m.t, m.good)
	return e[find(m.t, e, name)].body
}

const (
	vectorFinding = "data/1-identity/ID-01/findings.json"
	vectorControl = "data/1-identity/ID-01/control.json"
	vectorLog     = "data/log/ingest.example/control/"
)

func (m *vectorMaker) files() {
	m.add(1, "one byte changed", checkDigest, vectorFinding, m.edit(vectorFinding, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }))
	added := "data/1-identity/ID-01/extra.json"
	m.add(2, "file added", checkSet, added, m.entries(func(e []stored) []stored {
		return slices.Insert(e, find(m.t, e, vectorFinding), stored{added, []byte("{}")})
	}))
	m.add(3, "file removed", checkSet, vectorFinding, m.entries(func(e []stored) []stored {
		i := find(m.t, e, vectorFinding)
		return slices.Delete(e, i, i+1)
	}))
	m.add(4, "file renamed", checkSet, vectorFinding, m.entries(func(e []stored) []stored {
		e[find(m.t, e, vectorFinding)].name = "data/1-identity/ID-01/findings2.json"
		return e
	}))
	m.add(5, "contents of two files swapped", checkDigest, vectorFinding, m.entries(func(e []stored) []stored {
		i, j := find(m.t, e, vectorFinding), find(m.t, e, vectorControl)
		e[i].body, e[j].body = e[j].body, e[i].body
		return e
	}))
}

func (m *vectorMaker) names() {
	insert := func(e stored) func([]stored) []stored {
		return func(all []stored) []stored { return slices.Insert(all, find(m.t, all, vectorFinding), e) }
	}
	m.add(6, "duplicate entry", checkNames, vectorFinding, m.entries(func(e []stored) []stored {
		i := find(m.t, e, vectorFinding)
		return slices.Insert(e, i, e[i])
	}))
	m.add(7, "case twin", checkNames, "", m.entries(insert(stored{"data/1-identity/ID-01/FINDINGS.json", m.body(vectorFinding)})))
	m.add(7, "name in decomposed Unicode", checkNames, "", m.entries(insert(stored{"data/1-identity/ID-01/e\u0301.json", []byte("{}")})))
	for what, name := range map[string]string{"climbing name": "trust/../../x", "absolute name": "/etc/passwd", "backslash": `trust\x`, "drive": "C:x", "device": "trust/NUL.txt"} {
		m.add(8, what, checkNames, name, m.entries(func(e []stored) []stored { return append(e, stored{name, []byte("x")}) }))
	}
	m.add(14, "entries reordered", checkNames, "", m.entries(func(e []stored) []stored {
		i, j := find(m.t, e, vectorFinding), find(m.t, e, vectorControl)
		e[i], e[j] = e[j], e[i]
		return e
	}))
}

func (m *vectorMaker) layout() {
	data := m.good
	local := bytes.Index(data, []byte(vectorControl)) - localHeaderSize
	central := bytes.LastIndex(data, []byte(vectorControl)) - centralHeaderSize
	edit := func(at int, b ...byte) []byte { d := bytes.Clone(data); copy(d[at:], b); return d }
	hidden := &bytes.Buffer{}
	z := &zipWriter{w: hidden}
	for i, e := range entriesOf(m.t, data) {
		if i == 20 {
			addTo(m.t, z, stored{"hidden", []byte("x")})
			z.entries = z.entries[:len(z.entries)-1]
		}
		addTo(m.t, z, e)
	}
	if err := z.close(); err != nil {
		m.t.Fatal(err)
	}
	for _, v := range []struct {
		number int
		name   string
		pack   []byte
	}{
		{9, "symbolic link", edit(central+41, 0xa1)},
		{10, "bytes before", slices.Concat([]byte("#!/bin/sh\n"), data)},
		{10, "bytes after", slices.Concat(data, []byte("x"))},
		{10, "two archives", slices.Concat(data, data)},
		{10, "archive comment", slices.Concat(data[:len(data)-2], []byte{1, 0, 'x'})},
		{11, "local name differs", edit(local+localHeaderSize, 'e')},
		{11, "local size differs", edit(local+22, 1)},
		{11, "entry that the directory hides", hidden.Bytes()},
		{12, "truncated by a byte", data[:len(data)-1]},
		{12, "truncated in half", data[:len(data)/2]},
		{13, "compressed entry", edit(central+10, 8)},
		{13, "size beyond the archive", edit(central+20, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f)},
		{13, "overlapping entries", edit(central+42, 0, 0, 0, 0)},
	} {
		m.add(v.number, v.name, checkLayout, "", v.pack)
	}
}

func addTo(t testing.TB, z *zipWriter, e stored) {
	t.Helper()
	if err := z.add(e.name, crc32.ChecksumIEEE(e.body), e.body); err != nil {
		t.Fatal(err)
	}
}

func (m *vectorMaker) manifests() {
	for _, v := range []struct {
		number           int
		name, from, to   string
		packFrom, packTo string
	}{
		{number: 15, name: "key twice", from: `{"`, to: `{"path":"x","`, packFrom: `{"`, packTo: `{"system":"x","`},
		{number: 15, name: "key in capitals", from: `"path"`, to: `"Path"`, packFrom: `"system"`, packTo: `"System"`},
		{number: 16, name: "unknown field", from: `{"`, to: `{"a":1,"`, packFrom: `{"`, packTo: `{"a":1,"`},
		{number: 16, name: "bad UTF-8", from: `"media_type":"`, to: "\"media_type\":\"\xff", packFrom: `"system":"`, packTo: "\"system\":\"\xff"},
		{number: 16, name: "white space", from: `{"`, to: `{ "`, packFrom: `{"`, packTo: `{ "`},
	} {
		m.add(v.number, v.name+" in the manifest", checkManifest, manifestName, m.replace(manifestName, v.from, v.to))
		m.add(v.number, v.name+" in pack.json", checkPackJSON, packJSONName, m.replace(packJSONName, v.packFrom, v.packTo))
	}
	m.add(16, "time with an offset in the manifest", checkManifest, manifestName, m.replace(manifestName, `T12:00:00Z",`, `T14:00:00+02:00",`))
	m.add(16, "controls unsorted in the manifest", checkManifest, manifestName, m.replace(manifestName, `["ID-01","PR-01"]`, `["PR-01","ID-01"]`))
	m.add(16, "bytes after pack.json", checkPackJSON, packJSONName, m.edit(packJSONName, func(b []byte) []byte { return append(b, '\n') }))
	m.add(17, "line twice", checkManifest, manifestName, m.edit(manifestName, func(b []byte) []byte {
		first, _, _ := bytes.Cut(b, []byte("\n"))
		return slices.Concat(first, []byte("\n"), b)
	}))
	m.add(17, "lines unsorted", checkManifest, manifestName, m.edit(manifestName, func(b []byte) []byte {
		lines := bytes.SplitAfter(b, []byte("\n"))
		lines[3], lines[4] = lines[4], lines[3]
		return bytes.Join(lines, nil)
	}))
	m.add(18, "stale checksums", checkBagit, payloadManifestName, m.edit(payloadManifestName, func(b []byte) []byte {
		_, rest, _ := bytes.Cut(b, []byte("\n"))
		return rest
	}))
	m.add(19, "line of the manifest changed", checkTreeRoot, manifestName, m.replace(manifestName, `"media_type":"application/json"`, `"media_type":"application/xml"`))
	m.add(19, "size that the manifest does not give", checkDigest, vectorFinding, m.edit(vectorFinding, func(b []byte) []byte { return append(b, ' ') }))
	m.add(19, "totals that are not the manifest's", checkManifest, manifestName, m.signed(func(b *builder) { b.records++ }))
}

func (m *vectorMaker) signatures() {
	t := m.t
	sum := packSum(t, m.good)
	at := bundleName(roleVendor, 1)
	good := m.body(at)
	forged := signBundleOf(t, statementFor(t, roleVendor, sum), m.attacker)
	set := func(body []byte) []byte { return m.edit(at, func([]byte) []byte { return body }) }
	m.add(21, "attacker's key", checkSigPrefix+roleVendor, at, set(forged))
	m.add(21, "attacker's key under the vendor's ID", checkSigPrefix+roleVendor, at,
		set(bytes.Replace(forged, []byte(m.attacker.Public().Fingerprint()), []byte(m.vendor.Public().Fingerprint()), 1)))
	m.add(21, "whole pack signed anew", checkSigPrefix+roleVendor, at, buildPack(t, m.content, m.attacker))

	stripped := m.add(22, "required role stripped", checkRoles, "", m.good)
	stripped.Anchors.RequireRoles, stripped.Anchors.Keys = []string{roleReviewer}, append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.reviewer))
	stripped.Expect = expectation{Exit: 3, Verdict: VerdictInconclusive, Check: checkRoles}
	bare := m.add(22, "vendor's signature stripped", checkSigPrefix+roleVendor, at, m.entries(func(e []stored) []stored {
		i := find(t, e, at)
		return slices.Delete(e, i, i+1)
	}))
	bare.What = "the vendor's own bundle is missing"

	anna := countersigned{role: roleReviewer, signer: m.reviewer}.as(t, "Anna Berg", sum)
	ben := countersigned{role: roleAuditor, signer: m.reviewer}.as(t, "Ben Cole", sum)
	twice := m.add(23, "one key counted twice", checkRoles, "", withSignatures(t, m.good, anna, ben))
	twice.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.reviewer), m.key(roleAuditor, m.reviewer))
	same := m.add(23, "one person counted twice", checkRoles, "", withSignatures(t, m.good, anna, countersigned{role: roleAuditor, signer: m.auditor}.as(t, "ANNA Berg", sum)))
	same.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.reviewer), m.key(roleAuditor, m.auditor))
	own := m.add(24, "vendor as his own reviewer", checkRoles, "", withSignatures(t, m.good, countersigned{role: roleReviewer, signer: m.vendor}.as(t, "Anna Berg", sum)))
	own.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleReviewer, m.vendor))

	m.add(25, "payload type", checkSigPrefix+roleVendor, at, m.replace(at, payloadType, "application/json"))
	predicate := statementFor(t, roleVendor, sum)
	predicate.PredicateType = verifierPredicate
	m.add(25, "predicate type", checkSigPrefix+roleVendor, at, set(signBundleOf(t, predicate, m.vendor)))
	m.add(25, "no signature at all", checkSigPrefix+roleVendor, at, m.edit(at, func(b []byte) []byte {
		i := bytes.Index(b, []byte(`"sig":"`)) + len(`"sig":"`)
		return append(b[:i:i], b[i+bytes.IndexByte(b[i:], '"'):]...)
	}))
	otherAlgorithm := m.add(25, "key of another algorithm", checkSigPrefix+roleVendor, at, m.good)
	otherAlgorithm.Anchors.Keys = []vectorKey{m.key(roleVendor, p256Signer(t))}

	c := m.content
	c.System = "Another"
	other := entriesOf(t, buildPack(t, c, m.vendor))
	m.add(26, "bundle of another pack", checkSigPrefix+roleVendor, packJSONName, set(other[find(t, other, at)].body))
	m.add(26, "SSH signature of another pack", checkSSHSig, sshsigName, m.edit(sshsigName, func([]byte) []byte { return other[find(t, other, sshsigName)].body }))

	later := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	until := day(100)
	expired := m.add(27, "key expired, no trusted time", checkSigPrefix+roleVendor, at, m.good)
	expired.Anchors.Keys = []vectorKey{{Role: roleVendor, Key: m.vendor.Public().Line(), Until: &until}}
	expired.Anchors.Now = &later
	expired.Expect = expectation{Exit: 3, Verdict: VerdictInconclusive, Check: checkSigPrefix + roleVendor, Path: at}

	own2 := m.add(28, "the pack's own trust as anchor", checkKeys, "", buildPack(t, m.content, m.attacker))
	own2.Anchors.Keys = []vectorKey{}
	own2.Expect = expectation{Exit: 3, Verdict: VerdictInconclusive, Check: checkKeys}
	if !bytes.Contains(good, []byte(m.vendor.Public().Fingerprint())) {
		t.Fatal("the good bundle names another key")
	}
}

func (m *vectorMaker) times() {
	m.add(29, "old pack relabelled", checkSigPrefix+roleVendor, packJSONName, m.replace(packJSONName, "2026-07-01", "2026-04-01"))
	m.add(29, "old evidence under a new label, signed", checkWindow, "", m.signed(func(b *builder) {
		p, err := evidence.ParsePeriod("2027-Q3")
		if err != nil {
			m.t.Fatal(err)
		}
		b.c.Period = p
	}))
	m.add(31, "collected outside the period, signed", checkWindow, "", m.signed(func(b *builder) {
		p, err := evidence.ParsePeriod("2025-Q1")
		if err != nil {
			m.t.Fatal(err)
		}
		b.c.Period = p
	}))
	at := day(50)
	m.add(31, "collected at another time than its record says, signed", checkEvidenceID, "", m.signed(func(b *builder) {
		b.collection(m.t, func(f *builtFile) { f.edit(func(l *Line) { l.CollectedAt = &at }) })
	}))
}

func (m *vectorMaker) logs() {
	fork := &testLog{t: m.t, origin: "ingest.example/control", seed: seed(7)}
	for i := range 20 {
		fork.add(fmt.Appendf(nil, "other %d", i))
	}
	_, forked := fork.checkpoint(10)
	m.add(34, "history with a fork, signed by the log", checkConsistency, vectorLog+historyFile, m.signed(func(b *builder) {
		f := b.at(m.t, vectorLog+historyFile)
		f.set(bytes.Replace(f.body(m.t), []byte(canonical(m.t, b.c.Logs[1].History[0].Note)), []byte(canonical(m.t, forked)), 1))
	}))
	m.add(35, "head smaller than the last of the history", checkConsistency, vectorLog+historyFile, m.signed(func(b *builder) {
		b.at(m.t, vectorLog+checkpointFile).set([]byte(b.c.Logs[1].History[0].Note))
		b.c.Logs[1].Checkpoint = b.c.Logs[1].History[0].Note
		heads, err := b.c.logHeads()
		if err != nil {
			m.t.Fatal(err)
		}
		b.at(m.t, logsName).set([]byte(canonical(m.t, heads[0]) + "\n" + canonical(m.t, heads[1]) + "\n"))
	}))
	m.add(36, "proof of another leaf", checkInclusion, vectorLog+"proofs/3.tlog-proof", m.signed(func(b *builder) {
		b.at(m.t, vectorLog+"proofs/3.tlog-proof").set(b.at(m.t, vectorLog+"proofs/19.tlog-proof").body(m.t))
	}))
	m.add(36, "proof relabelled to another index", checkInclusion, vectorLog+"proofs/3.tlog-proof", m.signed(func(b *builder) {
		b.at(m.t, vectorLog+"proofs/3.tlog-proof").set(bytes.Replace(b.at(m.t, vectorLog+"proofs/19.tlog-proof").body(m.t), []byte("index 19"), []byte("index 3"), 1))
	}))
	m.add(36, "entry changed", checkInclusion, vectorLog+"proofs/3.tlog-proof", m.signed(func(b *builder) { b.at(m.t, vectorLog+"entries/3.entry").set([]byte("other")) }))
	m.add(37, "checkpoint of another origin", checkCheckpoint, vectorLog+checkpointFile, m.signed(func(b *builder) {
		b.at(m.t, vectorLog+checkpointFile).set(b.at(m.t, "log/ingest.example/evidence/"+checkpointFile).body(m.t))
	}))
	m.add(37, "checkpoint by another key", checkCheckpoint, vectorLog+checkpointFile, m.signed(func(b *builder) {
		f := b.at(m.t, vectorLog+checkpointFile)
		c, err := unverifiedCheckpoint(f.body(m.t))
		if err != nil {
			m.t.Fatal(err)
		}
		note, err := ledger.SignCheckpoint(c, seed(8))
		if err != nil {
			m.t.Fatal(err)
		}
		f.set(note)
	}))
}

func (m *vectorMaker) output() {
	m.add(39, "exceptions that the findings do not give, signed", checkExceptions, exceptionsName, m.signed(func(b *builder) { b.at(m.t, exceptionsName).set([]byte("[]")) }))
	report := m.add(39, "report that the evidence does not give, signed", checkDerived, "data/report/index.html", m.signed(func(b *builder) {
		b.at(m.t, "data/report/index.html").set([]byte("<!doctype html><title>all is well</title>"))
	}))
	report.GoOnly = "making the report again needs the templates"
	m.add(40, "terminal escape in the organisation, signed", checkPackJSON, packJSONName, m.replace(packJSONName, "Example Metering", `Example\u001b[2J Metering`))
	m.add(40, "terminal escape in a name", checkNames, "", m.entries(func(e []stored) []stored { return append(e, stored{"trust/\x1b[2Jx", []byte("x")}) }))
}

// vectors makes every vector, in the order of the cases.
func vectors(t testing.TB) []vector {
	t.Helper()
	m := newVectorMaker(t)
	for _, make := range []func(){m.files, m.names, m.layout, m.manifests, m.signatures, m.roles, m.times, m.timestamps, m.logs, m.chain, m.redactions, m.output, m.samples, m.forged} {
		make()
	}
	slices.SortStableFunc(m.out, func(a, b vector) int { return a.Case - b.Case })
	return m.out
}

// options are the anchors for our own verifier. What derived files there must
// be is given for all vectors: the fixture's report.
func (v vector) options(t testing.TB) VerifyOptions {
	t.Helper()
	o := VerifyOptions{Name: v.file(), RequireRoles: v.Anchors.RequireRoles, LogKeys: v.Anchors.LogKeys, Witnesses: v.Anchors.Witnesses, State: v.Anchors.state(t)}
	for _, k := range v.Anchors.Keys {
		key, err := ParsePublicKey([]byte(k.Key))
		if err != nil {
			t.Fatal(err)
		}
		a := Anchor{Role: k.Role, Key: key, Identity: k.Identity}
		if k.From != nil {
			a.From = *k.From
		}
		if k.Until != nil {
			a.Until = *k.Until
		}
		o.Anchors = append(o.Anchors, a)
	}
	for _, text := range v.Anchors.TSARoots {
		block, _ := pem.Decode([]byte(text))
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		o.TSARoots = append(o.TSARoots, root)
	}
	if v.Anchors.Now != nil {
		o.Now = *v.Anchors.Now
	}
	o.Regenerate = func(c *Contents) (map[string][]byte, error) {
		return map[string][]byte{"data/report/index.html": content(t).Extra[0].Body}, nil
	}
	return o
}

func (v vector) file() string {
	return fmt.Sprintf("%02d-%s.epack.zip", v.Case, strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r == ',' || r == '\'' {
			return -1
		}
		return r
	}, v.Name), " ", "-"))
}

// holds says in what a report is not what the vector demands.
func (v vector) holds(r Report) error {
	if r.Exit != v.Expect.Exit || r.Verdict != v.Expect.Verdict {
		return fmt.Errorf("exit %d, %s; want %d, %s", r.Exit, r.Verdict, v.Expect.Exit, v.Expect.Verdict)
	}
	status := Failed
	if v.Expect.Exit == 3 {
		status = NotChecked
	}
	for _, c := range r.Checks {
		if c.ID == v.Expect.Check && c.Status == status && (v.Expect.Path == "" || c.Path == v.Expect.Path) {
			return nil
		}
	}
	return fmt.Errorf("%s is not %s at %q", v.Expect.Check, status, v.Expect.Path)
}

// TestVectors holds our verifier to every vector, and the list to the cases.
func TestVectors(t *testing.T) {
	all := vectors(t)
	if r := verifyBytes(newVectorMaker(t).good, (vector{Anchors: newVectorMaker(t).anchors}).options(t)); r.Exit != 0 {
		t.Fatalf("the pack that all are made from: exit %d\n%s", r.Exit, reportText(r))
	}
	seen := map[string]bool{}
	for _, v := range all {
		if seen[v.file()] {
			t.Errorf("two vectors are named %s", v.file())
		}
		seen[v.file()] = true
		t.Run(v.file(), func(t *testing.T) {
			r := verifyBytes(v.pack, v.options(t))
			if err := v.holds(r); err != nil {
				t.Errorf("%v\n%s", err, reportText(r))
			}
		})
	}
	for number := 1; number <= 40; number++ {
		if !slices.ContainsFunc(all, func(v vector) bool { return v.Case == number }) {
			t.Errorf("case %d has no vector", number)
		}
	}
	if dir := os.Getenv("TRUSTPACK_VECTORS"); dir != "" {
		writeVectors(t, dir, all)
	}
}

// writeVectors writes each vector as a pack and a JSON file beside it, for the
// other verifier.
func writeVectors(t testing.TB, dir string, all []vector) {
	t.Helper()
	for _, v := range all {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, v.file())
		for path, body := range map[string][]byte{name: v.pack, strings.TrimSuffix(name, ".epack.zip") + ".json": text} {
			if err := os.WriteFile(path, body, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
