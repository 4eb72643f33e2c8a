package pack

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// stored is an entry of an archive with its content.
type stored struct {
	name string
	body []byte
}

func entriesOf(t testing.TB, data []byte) []stored {
	t.Helper()
	a, err := scan(bytes.NewReader(data), int64(len(data)), Limits{}, func(p scanProblem) { t.Errorf("scan: %+v", p) })
	if err != nil {
		t.Fatal(err)
	}
	var out []stored
	for _, f := range a.files {
		out = append(out, stored{f.name, bytes.Clone(data[f.at : f.at+f.size])})
	}
	return out
}

// zipOf writes entries as a pack's archive is written, right CRCs and all.
func zipOf(t testing.TB, entries []stored) []byte {
	t.Helper()
	var out bytes.Buffer
	z := &zipWriter{w: &out}
	for _, e := range entries {
		if err := z.add(e.name, crc32.ChecksumIEEE(e.body), e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func find(t testing.TB, entries []stored, name string) int {
	t.Helper()
	i := slices.IndexFunc(entries, func(e stored) bool { return e.name == name })
	if i < 0 {
		t.Fatalf("no entry %s", name)
	}
	return i
}

func TestOneByteOfAnyFileChanged(t *testing.T) {
	s := edSigner(t, 1)
	data, o := buildPack(t, content(t), s), options(t, s)
	entries := entriesOf(t, data)
	if len(entries) < 50 {
		t.Fatalf("only %d entries", len(entries))
	}
	for i, e := range entries {
		for _, at := range []int{0, len(e.body) / 2, len(e.body) - 1} {
			changed := slices.Clone(entries)
			changed[i].body = bytes.Clone(e.body)
			changed[i].body[at] ^= 1
			inPlace := bytes.Clone(data)
			inPlace[bytes.Index(data, append([]byte(e.name), e.body...))+len(e.name)+at] ^= 1
			for how, pack := range map[string][]byte{"with its CRC": zipOf(t, changed), "in place": inPlace} {
				r := verifyBytes(pack, o)
				named := slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Status == Failed && c.Path == e.name })
				if r.Exit != 1 || !named {
					t.Errorf("%s, byte %d, %s: exit %d, failures %q", e.name, at, how, r.Exit, failedChecks(r))
				}
				// Without a key tampering is still told from a mere lack of anchors,
				// except where only the key could tell.
				if bare := verifyBytes(pack, VerifyOptions{}); bare.Exit != 1 {
					t.Errorf("%s, byte %d, %s, no key: exit %d", e.name, at, how, bare.Exit)
				}
			}
		}
	}
}

// TestAnyFileRemovedOrRenamed: no file of a pack can be spared.
func TestAnyFileRemovedOrRenamed(t *testing.T) {
	s := edSigner(t, 1)
	data, o := buildPack(t, content(t), s), options(t, s)
	entries := entriesOf(t, data)
	for i, e := range entries {
		renamed := slices.Clone(entries)
		renamed[i].name += "x"
		for how, pack := range map[string][]byte{"removed": zipOf(t, slices.Delete(slices.Clone(entries), i, i+1)), "renamed": zipOf(t, renamed)} {
			r := verifyBytes(pack, o)
			named := slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Status == Failed && strings.HasPrefix(c.Path, e.name) })
			if r.Exit != 1 || !named {
				t.Errorf("%s %s: exit %d, failures %q", e.name, how, r.Exit, failedChecks(r))
			}
		}
	}
}

func TestFilesTampered(t *testing.T) {
	s := edSigner(t, 1)
	data, o := buildPack(t, content(t), s), options(t, s)
	const finding, control = "data/1-identity/ID-01/findings.json", "data/1-identity/ID-01/control.json"
	for _, tc := range []struct {
		name        string
		change      func(e []stored) []stored
		check, path string
	}{
		{"added", func(e []stored) []stored {
			return slices.Insert(e, find(t, e, finding), stored{"data/1-identity/ID-01/extra.json", []byte("{}")})
		}, checkSet, "data/1-identity/ID-01/extra.json"},
		{"added outside", func(e []stored) []stored { return append(e, stored{"zzz.txt", []byte("x")}) }, checkSet, "zzz.txt"},
		{"added signature", func(e []stored) []stored {
			return slices.Insert(e, find(t, e, sshsigName), stored{"signatures/other.sig", []byte("x")})
		}, checkSet, "signatures/other.sig"},
		{"removed", func(e []stored) []stored {
			return slices.Delete(e, find(t, e, finding), find(t, e, finding)+1)
		}, checkSet, finding},
		{"renamed", func(e []stored) []stored {
			e[find(t, e, finding)].name = "data/1-identity/ID-01/findings2.json"
			return e
		}, checkSet, "data/1-identity/ID-01/findings2.json"},
		{"swapped", func(e []stored) []stored {
			i, j := find(t, e, finding), find(t, e, control)
			e[i].body, e[j].body = e[j].body, e[i].body
			return e
		}, checkDigest, finding},
		{"duplicate", func(e []stored) []stored { i := find(t, e, finding); return slices.Insert(e, i, e[i]) }, checkNames, finding},
		{"case twin", func(e []stored) []stored {
			i := find(t, e, finding)
			return slices.Insert(e, i, stored{"data/1-identity/ID-01/FINDINGS.json", e[i].body})
		}, checkNames, finding},
		{"climbing", func(e []stored) []stored { return append(e, stored{"trust/../../x", []byte("x")}) }, checkNames, "trust/../../x"},
		{"absolute", func(e []stored) []stored { return append(e, stored{"/etc/passwd", []byte("x")}) }, checkNames, "/etc/passwd"},
		{"backslash", func(e []stored) []stored { return append(e, stored{`trust\x`, []byte("x")}) }, checkNames, `trust\x`},
		{"drive", func(e []stored) []stored { return append(e, stored{"C:x", []byte("x")}) }, checkNames, "C:x"},
		{"device", func(e []stored) []stored { return append(e, stored{"trust/nul.txt", []byte("x")}) }, checkNames, "trust/nul.txt"},
		{"folder", func(e []stored) []stored { return append(e, stored{"trust/x/", nil}) }, checkNames, "trust/x/"},
		{"file under a file", func(e []stored) []stored {
			return slices.Insert(e, find(t, e, finding)+1, stored{finding + "/x", []byte("x")})
		}, checkNames, finding + "/x"},
		{"terminal escape in a name", func(e []stored) []stored { return append(e, stored{"trust/\x1b[2Jx", []byte("x")}) }, checkNames, `trust/\x1b[2Jx`},
		{"reordered", func(e []stored) []stored {
			i, j := find(t, e, finding), find(t, e, control)
			e[i], e[j] = e[j], e[i]
			return e
		}, checkNames, control},
		{"manifest line twice", func(e []stored) []stored {
			i := find(t, e, manifestName)
			first, _, _ := bytes.Cut(e[i].body, []byte("\n"))
			e[i].body = slices.Concat(first, []byte("\n"), e[i].body)
			return e
		}, checkManifest, manifestName},
		{"manifest unsorted", func(e []stored) []stored {
			i := find(t, e, manifestName)
			lines := bytes.SplitAfter(e[i].body, []byte("\n"))
			lines[3], lines[4] = lines[4], lines[3]
			e[i].body = bytes.Join(lines, nil)
			return e
		}, checkManifest, manifestName},
		{"manifest key twice", func(e []stored) []stored {
			i := find(t, e, manifestName)
			e[i].body = bytes.Replace(e[i].body, []byte(`{"`), []byte(`{"path":"x","`), 1)
			return e
		}, checkManifest, manifestName},
		{"manifest key in capitals", func(e []stored) []stored {
			i := find(t, e, manifestName)
			e[i].body = bytes.Replace(e[i].body, []byte(`"path"`), []byte(`"Path"`), 1)
			return e
		}, checkManifest, manifestName},
		{"manifest unknown field", func(e []stored) []stored {
			i := find(t, e, manifestName)
			e[i].body = bytes.Replace(e[i].body, []byte(`{"`), []byte(`{"a":1,"`), 1)
			return e
		}, checkManifest, manifestName},
		{"manifest bad UTF-8", func(e []stored) []stored {
			i := find(t, e, manifestName)
			e[i].body = bytes.Replace(e[i].body, []byte(`"media_type":"`), []byte("\"media_type\":\"\xff"), 1)
			return e
		}, checkManifest, manifestName},
		{"manifest line cut", func(e []stored) []stored {
			i := find(t, e, manifestName)
			e[i].body = e[i].body[:len(e[i].body)-1]
			return e
		}, checkManifest, manifestName},
		{"pack.json trailing newline", func(e []stored) []stored {
			i := find(t, e, packJSONName)
			e[i].body = append(e[i].body, '\n')
			return e
		}, checkPackJSON, packJSONName},
		{"pack.json key twice", func(e []stored) []stored {
			i := find(t, e, packJSONName)
			e[i].body = bytes.Replace(e[i].body, []byte(`{"`), []byte(`{"system":"x","`), 1)
			return e
		}, checkPackJSON, packJSONName},
		{"relabelled period", func(e []stored) []stored {
			i := find(t, e, packJSONName)
			e[i].body = bytes.Replace(e[i].body, []byte("2026-07-01"), []byte("2026-04-01"), 1)
			return e
		}, checkSigPrefix + roleVendor, packJSONName},
		{"stale checksums", func(e []stored) []stored {
			i := find(t, e, payloadManifestName)
			_, e[i].body, _ = bytes.Cut(e[i].body, []byte("\n"))
			return e
		}, checkBagit, payloadManifestName},
		{"signature stripped", func(e []stored) []stored {
			i := find(t, e, bundleName(roleVendor, 1))
			return slices.Delete(e, i, i+1)
		}, checkSigPrefix + roleVendor, bundleName(roleVendor, 1)},
		{"SSH signature stripped", func(e []stored) []stored {
			i := find(t, e, sshsigName)
			return slices.Delete(e, i, i+1)
		}, checkSSHSig, sshsigName},
		{"signature renumbered", func(e []stored) []stored {
			e[find(t, e, bundleName(roleVendor, 1))].name = bundleName(roleVendor, 2)
			return e
		}, checkSigPrefix + roleVendor, bundleName(roleVendor, 2)},
		{"payload type", func(e []stored) []stored {
			i := find(t, e, bundleName(roleVendor, 1))
			e[i].body = bytes.Replace(e[i].body, []byte(payloadType), []byte("application/json"), 1)
			return e
		}, checkSigPrefix + roleVendor, bundleName(roleVendor, 1)},
		{"hint", func(e []stored) []stored {
			i := find(t, e, bundleName(roleVendor, 1))
			e[i].body = bytes.Replace(e[i].body, []byte(s.Public().Fingerprint()), []byte(edSigner(t, 2).Public().Fingerprint()), 1)
			return e
		}, checkSigPrefix + roleVendor, bundleName(roleVendor, 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantFailure(t, verifyBytes(zipOf(t, tc.change(entriesOf(t, data))), o), tc.check, tc.path)
		})
	}
}

// signBundleOf wraps any statement in a bundle by s.
func signBundleOf(t testing.TB, st statement, s Signer) []byte {
	t.Helper()
	payload, err := evidence.CanonicalJSON(st)
	if err != nil {
		t.Fatal(err)
	}
	b, err := signBundle(payload, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func statementFor(role, packSHA256 string) statement {
	return statement{Type: statementType, Predicate: []byte(`{}`), PredicateType: PredicateType(role), Subject: []subject{{map[string]string{"sha256": packSHA256}, packJSONName}}}
}

func TestSignaturesForged(t *testing.T) {
	s, attacker := edSigner(t, 1), edSigner(t, 2)
	data, o := buildPack(t, content(t), s), options(t, s)
	entries := entriesOf(t, data)
	packJSON := entries[find(t, entries, packJSONName)].body
	sum := evidence.SHA256Hex(packJSON)
	bundleAt := bundleName(roleVendor, 1)
	replaced := func(name string, body []byte) []byte {
		e := slices.Clone(entries)
		e[find(t, e, name)].body = body
		return zipOf(t, e)
	}
	good := entries[find(t, entries, bundleAt)].body
	c := content(t)
	c.System = "Another"
	other := entriesOf(t, buildPack(t, c, s))
	forged := signBundleOf(t, statementFor(roleVendor, sum), attacker)
	attackersHint := []byte(attacker.Public().Fingerprint())
	wrongPredicate, twoSubjects := statementFor(roleReviewer, sum), statementFor(roleVendor, sum)
	twoSubjects.Subject = append(twoSubjects.Subject, twoSubjects.Subject[0])
	for name, pack := range map[string][]byte{
		"foreign key":                replaced(bundleAt, forged),
		"foreign key under our hint": replaced(bundleAt, bytes.Replace(forged, attackersHint, []byte(s.Public().Fingerprint()), 1)),
		"bundle of another pack":     replaced(bundleAt, other[find(t, other, bundleAt)].body),
		"wrong predicate":            replaced(bundleAt, signBundleOf(t, wrongPredicate, s)),
		"two subjects":               replaced(bundleAt, signBundleOf(t, twoSubjects, s)),
		"two signatures":             replaced(bundleAt, bytes.Replace(good, []byte(`"signatures":[{`), []byte(`"signatures":[{"sig":"AAAA"},{`), 1)),
		"unknown field":              replaced(bundleAt, bytes.Replace(good, []byte(`{"dsse`), []byte(`{"a":1,"dsse`), 1)),
		"whole pack signed anew":     buildPack(t, content(t), attacker),
	} {
		t.Run(name, func(t *testing.T) { wantFailure(t, verifyBytes(pack, o), checkSigPrefix+roleVendor, "") })
	}
	sshForged, err := signSSH(packJSON, attacker)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("foreign SSH signature", func(t *testing.T) {
		wantFailure(t, verifyBytes(replaced(sshsigName, sshForged), o), checkSSHSig, sshsigName)
	})
	t.Run("SSH signature of another pack", func(t *testing.T) {
		wantFailure(t, verifyBytes(replaced(sshsigName, other[find(t, other, sshsigName)].body), o), checkSSHSig, sshsigName)
	})
	t.Run("no key, two signers", func(t *testing.T) {
		wantFailure(t, verifyBytes(replaced(bundleAt, forged), VerifyOptions{}), checkSigPrefix+roleVendor, bundleAt)
	})
}

func TestArchiveTampered(t *testing.T) {
	s := edSigner(t, 1)
	data, o := buildPack(t, content(t), s), options(t, s)
	name := "data/1-identity/ID-01/control.json"
	local := bytes.Index(data, []byte(name)) - localHeaderSize
	central := bytes.LastIndex(data, []byte(name)) - centralHeaderSize
	end := len(data) - endSize
	edit := func(at int, b ...byte) []byte { d := bytes.Clone(data); copy(d[at:], b); return d }
	var twoZips, hidden bytes.Buffer
	twoZips.Write(data)
	twoZips.Write(data)
	z := &zipWriter{w: &hidden} // an entry that the directory does not list
	for i, e := range entriesOf(t, data) {
		if i == 20 {
			z.add("hidden", crc32.ChecksumIEEE([]byte("x")), []byte("x"))
			z.entries = z.entries[:len(z.entries)-1]
		}
		z.add(e.name, crc32.ChecksumIEEE(e.body), e.body)
	}
	z.close()
	dirOffset := int64(binary.LittleEndian.Uint32(data[end+16:]))
	gap := slices.Concat(data[:dirOffset], []byte("hidden"), data[dirOffset:end], data[end:])
	binary.LittleEndian.PutUint32(gap[len(gap)-endSize+16:], uint32(dirOffset+6))
	for name, pack := range map[string][]byte{
		"gap before the directory": gap,
		"prefix":                   slices.Concat([]byte("#!/bin/sh\n"), data),
		"suffix":                   slices.Concat(data, []byte("x")),
		"concatenated":             twoZips.Bytes(),
		"truncated by one":         data[:len(data)-1],
		"truncated in half":        data[:len(data)/2],
		"truncated to nothing":     nil,
		"hidden entry":             hidden.Bytes(),
		"local name":               edit(local+localHeaderSize, 'e'),
		"local size":               edit(local+22, 1),
		"local CRC":                edit(local+14, 0, 0, 0, 0),
		"local flags":              edit(local+6, 8),
		"local method":             edit(local+8, 8),
		"local extra":              edit(local+28, 4),
		"central name":             edit(central+centralHeaderSize, 'e'),
		"central size":             edit(central+24, 1),
		"central method":           edit(central+10, 8),
		"central offset":           edit(central+42, 0, 0, 0, 0),
		"symlink":                  edit(central+41, 0xa1),
		"directory entry":          edit(central+38, 0x10),
		"time":                     edit(central+12, 1),
		"archive comment":          slices.Concat(data[:len(data)-2], []byte{1, 0, 'x'}),
		"count too small":          edit(end+8, 3, 0, 3, 0),
		"count too big":            edit(end+8, 0xff, 0, 0xff, 0),
		"directory moved":          edit(end+16, 0, 0, 0, 0),
		"zip64 without records":    edit(end+8, 0xff, 0xff, 0xff, 0xff),
		"split archive":            edit(end+4, 1),
	} {
		t.Run(name, func(t *testing.T) { wantFailure(t, verifyBytes(pack, o), checkLayout, "") })
	}
}

// rebuild builds the pack of c after change has worked on its files: what a
// vendor could do who holds the key.
func rebuild(t testing.TB, c Content, s Signer, change func(*builder)) []byte {
	t.Helper()
	b, err := gather(c, s.Public())
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	var out bytes.Buffer
	if _, err := b.write(&out, s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b *builder) at(t testing.TB, suffix string) *builtFile {
	t.Helper()
	for i := range b.files {
		if strings.HasSuffix(b.files[i].line.Path, suffix) {
			return &b.files[i]
		}
	}
	t.Fatalf("no file %s", suffix)
	return nil
}

func (f *builtFile) set(body []byte) {
	f.body, f.line.Size, f.line.SHA256 = body, int64(len(body)), evidence.SHA256Hex(body)
}

// collection changes each file of the first collection.
func (b *builder) collection(t testing.TB, change func(*builtFile)) {
	dir := strings.TrimSuffix(b.at(t, recordFile).line.Path, recordFile)
	for i := range b.files {
		if strings.HasPrefix(b.files[i].line.Path, dir) {
			change(&b.files[i])
		}
	}
}

// insert puts a file in its place.
func (b *builder) insert(f builtFile) {
	b.files = append(b.files, f)
	slices.SortFunc(b.files, func(x, y builtFile) int { return strings.Compare(x.line.Path, y.line.Path) })
}

func (b *builder) remove(t testing.TB, suffix string) {
	f := b.at(t, suffix)
	b.files = slices.DeleteFunc(b.files, func(x builtFile) bool { return x.line.Path == f.line.Path })
}

// TestVendorCheats: the vendor's own signature does not make these true.
func TestVendorCheats(t *testing.T) {
	s := edSigner(t, 1)
	const control, evidenceLog = "log/ingest.example/control/", "log/ingest.example/evidence/"
	for _, tc := range []struct {
		name   string
		change func(b *builder)
		check  string
	}{
		{"checkpoint by another key", func(b *builder) {
			f := b.at(t, control+checkpointFile)
			c, err := unverifiedCheckpoint(f.body)
			if err != nil {
				t.Fatal(err)
			}
			note, err := ledger.SignCheckpoint(c, seed(8))
			if err != nil {
				t.Fatal(err)
			}
			f.set(note)
		}, checkCheckpoint},
		{"checkpoint of another log", func(b *builder) {
			b.at(t, control+checkpointFile).set(b.at(t, evidenceLog+checkpointFile).body)
		}, checkCheckpoint},
		{"log taken out", func(b *builder) {
			b.files = slices.DeleteFunc(b.files, func(f builtFile) bool { return strings.Contains(f.line.Path, control) })
			b.c.Logs = b.c.Logs[:1]
			f := b.at(t, logsName)
			first, _, _ := bytes.Cut(f.body, []byte("\n"))
			f.set(append(bytes.Clone(first), '\n'))
		}, checkCheckpoint},
		{"fork", func(b *builder) {
			fork := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
			for i := range 20 {
				fork.add(fmt.Appendf(nil, "other %d", i))
			}
			_, note := fork.checkpoint(10)
			b.at(t, control+historyFile).set(bytes.Replace(b.at(t, control+historyFile).body, []byte(canonical(t, b.c.Logs[1].History[0].Note)), []byte(canonical(t, note)), 1))
		}, checkConsistency},
		{"consistency proof", func(b *builder) { b.at(t, evidenceLog+consistencyFile).set([]byte(`[]`)) }, checkConsistency},
		{"history cut", func(b *builder) {
			f := b.at(t, control+historyFile)
			first, _, _ := bytes.Cut(f.body, []byte("\n"))
			f.set(append(bytes.Clone(first), '\n'))
		}, checkConsistency},
		{"proof of another leaf", func(b *builder) {
			b.at(t, control+"proofs/3.tlog-proof").set(b.at(t, control+"proofs/19.tlog-proof").body)
		}, checkInclusion},
		{"proof relabelled", func(b *builder) {
			b.at(t, control+"proofs/3.tlog-proof").set(bytes.Replace(b.at(t, control+"proofs/19.tlog-proof").body, []byte("index 19"), []byte("index 3"), 1))
		}, checkInclusion},
		{"entry changed", func(b *builder) { b.at(t, control+"entries/3.entry").set([]byte("other")) }, checkInclusion},
		{"proof taken out", func(b *builder) { b.remove(t, control+"proofs/3.tlog-proof") }, checkInclusion},
		{"evidence not in the log", func(b *builder) {
			b.remove(t, evidenceLog+"proofs/1.tlog-proof")
			b.remove(t, evidenceLog+"entries/1.entry")
		}, checkInclusion},
		{"population changed", func(b *builder) {
			f := b.at(t, populationFile)
			f.set(bytes.Replace(f.body, []byte("item-000"), []byte("item-999"), 1))
		}, checkEvidenceID},
		{"population taken out", func(b *builder) { b.remove(t, populationFile) }, checkEvidenceID},
		{"raw reply changed", func(b *builder) { b.at(t, "raw/reply.json").set([]byte("{}")) }, checkEvidenceID},
		{"raw reply taken out", func(b *builder) { b.remove(t, "raw/reply.json") }, checkEvidenceID},
		{"record changed", func(b *builder) {
			f := b.at(t, recordFile)
			f.set(bytes.Replace(f.body, []byte(`"complete"`), []byte(`"completE"`), 1))
		}, checkEvidenceID},
		{"record that is none", func(b *builder) {
			b.at(t, recordFile).set([]byte("not JSON"))
			b.collection(t, func(f *builtFile) { f.line.Provenance = evidence.SHA256Hex([]byte("not JSON")) })
		}, checkEvidenceID},
		{"collected at another time", func(b *builder) {
			at := day(50)
			b.collection(t, func(f *builtFile) { f.line.CollectedAt = &at })
		}, checkEvidenceID},
		{"folder of another ID", func(b *builder) {
			b.collection(t, func(f *builtFile) { f.line.Path = strings.Replace(f.line.Path, "Z-", "Z-0", 1) })
		}, checkEvidenceID},
		{"raw reply added", func(b *builder) {
			f := *b.at(t, "telemetry.devices/"+day(90).Format("20060102T150405Z")+"-"+b.c.Evidence[1].ID[:12]+"/raw/reply.json")
			f.line.Path += "2"
			b.insert(f)
		}, checkEvidenceID},
		{"stranger in a collection", func(b *builder) {
			f := *b.at(t, populationFile)
			f.line.Path += "2"
			b.insert(f)
		}, checkEvidenceID},
		{"one file's time changed", func(b *builder) { at := day(50); b.at(t, populationFile).line.CollectedAt = &at }, checkEvidenceID},
		{"provenance of nothing", func(b *builder) { b.at(t, exceptionsName).line.Provenance = strings.Repeat("0", 64) }, checkEvidenceID},
		{"provenance of itself missing", func(b *builder) { b.at(t, recordFile).line.Provenance = "" }, checkEvidenceID},
		{"finding that is none", func(b *builder) { b.at(t, "ID-01/findings.json").set([]byte("[")) }, checkFindings},
		{"control of another folder", func(b *builder) {
			b.at(t, "ID-01/control.json").set(b.at(t, "PR-01/control.json").body)
			b.at(t, "ID-01/findings.json").set([]byte("[]"))
		}, checkFindings},
		{"outcome that is none", func(b *builder) {
			f := b.at(t, "ID-01/findings.json")
			f.set(bytes.Replace(f.body, []byte(`"outcome":"met"`), []byte(`"outcome":"fine"`), 1))
		}, checkFindings},
		{"finding cites what is not there", func(b *builder) {
			f := b.at(t, "ID-01/findings.json")
			f.set(bytes.Replace(f.body, []byte(b.c.Evidence[1].ID), []byte(strings.Repeat("0", 64)), 1))
		}, checkFindings},
		{"exceptions taken out", func(b *builder) { b.remove(t, exceptionsName) }, checkExceptions},
		{"list of logs taken out", func(b *builder) { b.remove(t, logsName) }, checkCheckpoint},
		{"list of logs miswritten", func(b *builder) {
			f := b.at(t, logsName)
			f.set(bytes.Replace(f.body, []byte(`{"`), []byte(`{"a":1,"`), 1))
		}, checkCheckpoint},
		{"list of logs differs", func(b *builder) {
			f := b.at(t, logsName)
			f.set(bytes.Replace(f.body, []byte(`"size":20`), []byte(`"size":21`), 1))
		}, checkCheckpoint},
		{"checkpoint taken out", func(b *builder) { b.remove(t, control+checkpointFile) }, checkCheckpoint},
		{"previous checkpoint by another key", func(b *builder) {
			f := b.at(t, evidenceLog+previousFile)
			c, err := unverifiedCheckpoint(f.body)
			if err != nil {
				t.Fatal(err)
			}
			note, err := ledger.SignCheckpoint(c, seed(8))
			if err != nil {
				t.Fatal(err)
			}
			f.set(note)
		}, checkCheckpoint},
		{"consistency proof taken out", func(b *builder) { b.remove(t, evidenceLog+consistencyFile) }, checkConsistency},
		{"history taken out", func(b *builder) { b.remove(t, evidenceLog+historyFile) }, checkConsistency},
		{"history miswritten", func(b *builder) { b.at(t, evidenceLog+historyFile).set([]byte("x\n")) }, checkConsistency},
		{"sample label dropped", func(b *builder) { b.c.Sample, b.c.Clock = false, "" }, checkLabels},
		{"another period", func(b *builder) { b.c.Period, _ = evidence.ParsePeriod("2025-Q1") }, checkWindow},
		{"exceptions hidden", func(b *builder) { b.at(t, exceptionsName).set([]byte("[]")) }, checkExceptions},
		{"finding of another control", func(b *builder) {
			b.at(t, "ID-01/findings.json").set(b.at(t, "PR-01/findings.json").body)
		}, checkFindings},
		{"references elsewhere", func(b *builder) {
			f := b.at(t, "ID-01/references.json")
			f.set(bytes.Replace(f.body, []byte("data/"), []byte("date/"), 1))
		}, checkFindings},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := content(t)
			if tc.check == checkLabels {
				sampled(t, &c, true)
			}
			o := options(t, s)
			if len(c.Logs) == 0 {
				o.LogKeys = nil
			}
			wantFailure(t, verifyBytes(rebuild(t, c, s, tc.change), o), tc.check, "")
		})
	}
}

func canonical(t testing.TB, v any) string {
	t.Helper()
	b, err := evidence.CanonicalJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestKeyInsideThePackIsNoAnchor: a checkpoint under the key that the pack
// itself brings is not called checked.
func TestKeyInsideThePackIsNoAnchor(t *testing.T) {
	s := edSigner(t, 1)
	r := verifyBytes(buildPack(t, content(t), s), VerifyOptions{Keys: []PublicKey{s.Public()}})
	if r.Exit != 0 {
		t.Fatal(reportText(r))
	}
	for _, c := range r.Checks {
		if c.ID == checkCheckpoint && c.Status != NotChecked {
			t.Errorf("without a log key, %+v", c)
		}
	}
}

func TestVerdicts(t *testing.T) {
	s, reviewer := edSigner(t, 1), edSigner(t, 3)
	data := buildPack(t, content(t), s)
	entries := entriesOf(t, data)
	sum := evidence.SHA256Hex(entries[find(t, entries, packJSONName)].body)
	with := func(role string, signer Signer) []byte {
		e := slices.Clone(entries)
		e = append(e, stored{bundleName(role, 1), signBundleOf(t, statementFor(role, sum), signer)})
		slices.SortFunc(e, func(a, b stored) int { return compareNames(a.name, b.name) })
		return zipOf(t, e)
	}
	vendor := []PublicKey{s.Public()}
	reviewers := map[string][]PublicKey{roleReviewer: {reviewer.Public()}}
	for _, tc := range []struct {
		name  string
		pack  []byte
		o     VerifyOptions
		exit  int
		check string // that must not have passed, where exit is not 0
	}{
		{"all", data, VerifyOptions{Keys: vendor}, 0, ""},
		{"no key", data, VerifyOptions{}, 3, checkSigPrefix + roleVendor},
		{"wrong key", data, VerifyOptions{Keys: []PublicKey{reviewer.Public()}}, 1, checkSigPrefix + roleVendor},
		{"one of two keys", data, VerifyOptions{Keys: []PublicKey{reviewer.Public(), s.Public()}}, 0, ""},
		{"role missing", data, VerifyOptions{Keys: vendor, RequireRoles: []string{roleReviewer}, Signers: reviewers}, 3, checkRoles},
		{"role there", with(roleReviewer, reviewer), VerifyOptions{Keys: vendor, RequireRoles: []string{roleReviewer}, Signers: reviewers}, 0, ""},
		{"role there, nobody asked", with(roleReviewer, reviewer), VerifyOptions{Keys: vendor}, 0, ""},
		{"role there, key not given", with(roleReviewer, reviewer), VerifyOptions{Keys: vendor, RequireRoles: []string{roleReviewer}}, 3, checkRoles},
		{"role by another", with(roleReviewer, edSigner(t, 4)), VerifyOptions{Keys: vendor, Signers: reviewers}, 1, checkSigPrefix + roleReviewer},
		{"vendor as reviewer", with(roleReviewer, s), VerifyOptions{Keys: vendor, Signers: reviewers}, 1, checkSigPrefix + roleReviewer},
		{"one key in two roles", with(roleReviewer, s), VerifyOptions{Keys: vendor, Signers: map[string][]PublicKey{roleReviewer: vendor}}, 1, checkRoles},
		{"unknown role", data, VerifyOptions{Keys: vendor, RequireRoles: []string{"boss"}}, 2, checkOptions},
		{"bad log key", data, VerifyOptions{Keys: vendor, LogKeys: []string{"nonsense"}}, 2, checkOptions},
		{"key of a log that is not there", data, VerifyOptions{Keys: vendor, LogKeys: []string{vkeyOf(t, "elsewhere/x")}}, 1, checkCheckpoint},
		{"too many entries", data, VerifyOptions{Keys: vendor, Limits: Limits{MaxEntries: 10}}, 1, checkLayout},
		{"too many bytes", data, VerifyOptions{Keys: vendor, Limits: Limits{MaxBytes: 1000}}, 1, checkLayout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := verifyBytes(tc.pack, tc.o)
			if r.Exit != tc.exit {
				t.Fatalf("exit %d, want %d\n%s", r.Exit, tc.exit, reportText(r))
			}
			if tc.check != "" && slices.ContainsFunc(r.Checks, func(c Check) bool { return c.ID == tc.check && c.Status == Passed }) && r.Exit != 3 {
				t.Errorf("%s passed", tc.check)
			}
		})
	}
}

func vkeyOf(t testing.TB, origin string) string {
	t.Helper()
	vkey, err := ledger.VerifierKey(seed(7), origin)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

func TestReportJSON(t *testing.T) {
	s := edSigner(t, 1)
	data := buildPack(t, content(t), s)
	out, err := json.Marshal(verifyBytes(data[:len(data)-1], options(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Pack    string              `json:"pack"`
		Verdict string              `json:"verdict"`
		Exit    int                 `json:"exit"`
		Checks  []map[string]string `json:"checks"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got.Pack != "test.epack.zip" || got.Verdict != "failed" || got.Exit != 1 || len(got.Checks) < 20 {
		t.Errorf("got %s", out)
	}
	for _, c := range got.Checks {
		for _, key := range []string{"id", "status", "expected", "actual", "path"} {
			if _, ok := c[key]; !ok {
				t.Errorf("no %s in %v", key, c)
			}
		}
	}
}

type brokenDisk struct {
	io.ReaderAt
	at int64
}

func (d brokenDisk) ReadAt(p []byte, off int64) (int, error) {
	if off <= d.at && d.at < off+int64(len(p)) {
		return 0, errors.New("disk read error")
	}
	return d.ReaderAt.ReadAt(p, off)
}

func TestBrokenMediumIsNoTampering(t *testing.T) {
	s := edSigner(t, 1)
	data := buildPack(t, content(t), s)
	for _, at := range []int64{10, int64(len(data)) / 2, int64(len(data)) - 5} {
		r := Verify(brokenDisk{bytes.NewReader(data), at}, int64(len(data)), options(t, s))
		if r.Exit != 2 || r.Verdict != VerdictError {
			t.Errorf("error at byte %d: exit %d, %s", at, r.Exit, r.Verdict)
		}
	}
}

func TestHooks(t *testing.T) {
	s := edSigner(t, 1)
	c := content(t)
	data := buildPack(t, c, s)
	o := options(t, s)
	o.Reevaluate = func(p *Contents) ([]evidence.Finding, error) {
		ev, err := p.Evidence()
		if err != nil || len(ev) != 3 {
			t.Errorf("evidence: %d, %v", len(ev), err)
		}
		cat, err := p.Catalog()
		if err != nil || string(cat["sub/PR-01.yaml"]) != "id: PR-01\n" {
			t.Errorf("catalog: %q, %v", cat, err)
		}
		for _, e := range ev {
			if e.ID == c.Evidence[0].ID && e.Population.Items[1].Attributes["n"] != 1.0 {
				t.Errorf("population: %+v", e.Population)
			}
		}
		return c.Findings, nil
	}
	o.Regenerate = func(*Contents) (map[string][]byte, error) {
		return map[string][]byte{"data/report/index.html": c.Extra[0].Body}, nil
	}
	r := verifyBytes(data, o)
	for _, id := range []string{checkReevaluated, checkDerived} {
		if !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.ID == id && c.Status == Passed }) {
			t.Errorf("%s did not pass\n%s", id, reportText(r))
		}
	}
	o.Reevaluate = func(*Contents) ([]evidence.Finding, error) {
		f := slices.Clone(c.Findings)
		f[0].Outcome = evidence.OutcomeException
		return f, nil
	}
	wantFailure(t, verifyBytes(data, o), checkReevaluated, "data/1-identity/ID-01/findings.json")
	o.Reevaluate = func(*Contents) ([]evidence.Finding, error) {
		return append(slices.Clone(c.Findings), evidence.Finding{Control: "XX-01"}), nil
	}
	wantFailure(t, verifyBytes(data, o), checkReevaluated, "")
	o.Reevaluate = func(*Contents) ([]evidence.Finding, error) { return nil, errors.New("no such catalog") }
	wantFailure(t, verifyBytes(data, o), checkReevaluated, catalogDir)
	o.Reevaluate = nil
	o.Regenerate = func(*Contents) (map[string][]byte, error) { return nil, errors.New("no template") }
	wantFailure(t, verifyBytes(data, o), checkDerived, "")
	o.Regenerate = func(*Contents) (map[string][]byte, error) {
		return map[string][]byte{"data/report/index.html": []byte("other")}, nil
	}
	wantFailure(t, verifyBytes(data, o), checkDerived, "data/report/index.html")
}

// TestRandomMutations: no change of the archive's bytes goes unnoticed.
func TestRandomMutations(t *testing.T) {
	s := edSigner(t, 1)
	data, o := buildPack(t, content(t), s), options(t, s)
	rounds := 600
	if testing.Short() {
		rounds = 100
	}
	rng := rand.New(rand.NewPCG(2026, 3))
	for n := range rounds {
		d := bytes.Clone(data)
		at, to := rng.IntN(len(d)), rng.IntN(len(d))
		span := 1 + rng.IntN(64)
		what := ""
		switch n % 4 {
		case 0, 1:
			what = fmt.Sprintf("bit flip at %d", at)
			d[at] ^= 1 << rng.IntN(8)
		case 2:
			what = fmt.Sprintf("%d bytes deleted at %d", span, at)
			d = slices.Delete(d, at, min(at+span, len(d)))
		case 3:
			what = fmt.Sprintf("%d bytes from %d inserted at %d", span, to, at)
			d = slices.Insert(d, at, bytes.Clone(d[to:min(to+span, len(d))])...)
		}
		if r := verifyBytes(d, o); r.Exit != 1 {
			t.Fatalf("round %d: %s: exit %d\n%s", n, what, r.Exit, reportText(r))
		}
	}
}

// TestSignedRubbish: a vendor may sign anything; the verifier may refuse or
// accept it, but not panic, and never calls it a mere lack of keys.
func TestSignedRubbish(t *testing.T) {
	s := edSigner(t, 1)
	o := options(t, s)
	rng := rand.New(rand.NewPCG(2026, 4))
	refused := 0
	for n := range 200 {
		pack := rebuild(t, content(t), s, func(b *builder) {
			f := &b.files[rng.IntN(len(b.files))]
			body := bytes.Clone(f.body)
			switch at := rng.IntN(len(body)); n % 3 {
			case 0:
				body[at] ^= 1 << rng.IntN(8)
			case 1:
				body = body[:at]
			case 2:
				body = slices.Insert(body, at, body[rng.IntN(len(body)):]...)
			}
			f.set(body)
		})
		switch r := verifyBytes(pack, o); r.Exit {
		case 0:
		case 1:
			refused++
		default:
			t.Fatalf("round %d: exit %d\n%s", n, r.Exit, reportText(r))
		}
	}
	if refused < 100 {
		t.Errorf("only %d of 200 were refused", refused)
	}
}
