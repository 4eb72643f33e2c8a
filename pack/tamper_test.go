package pack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
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
		{"manifest with another size", func(e []stored) []stored {
			i := find(t, e, manifestName)
			at := bytes.Index(e[i].body, []byte(`"path":"`+finding))
			size := at + bytes.Index(e[i].body[at:], []byte(`"size":`)) + len(`"size":`)
			e[i].body = bytes.Clone(e[i].body)
			e[i].body[size] ^= 1 // another digit
			return e
		}, checkDigest, finding},
		{"folder in another case", func(e []stored) []stored {
			return slices.Insert(e, find(t, e, finding)+2, stored{"data/1-identity/Id-01/x", []byte("x")})
		}, checkNames, "data/1-identity/Id-01/x"},
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
		{"signature too long", func(e []stored) []stored {
			i := find(t, e, bundleName(roleVendor, 1))
			e[i].body = append(e[i].body, bytes.Repeat([]byte(" "), maxSignatureBundle)...)
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

// statementFor is the statement that a signer of the role makes, over the
// pack.json of that digest.
func statementFor(t testing.TB, role, packSHA256 string) statement {
	t.Helper()
	payload, err := vendorStatement(packSHA256, "")
	if role != roleVendor {
		payload, err = verifierStatement(role, packSHA256, "the "+role, day(95), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	var st statement
	if err := decodeStrict(payload, &st); err != nil {
		t.Fatal(err)
	}
	return st
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
	forged := signBundleOf(t, statementFor(t, roleVendor, sum), attacker)
	attackersHint := []byte(attacker.Public().Fingerprint())
	wrongPredicate, twoSubjects := statementFor(t, roleReviewer, sum), statementFor(t, roleVendor, sum)
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
		"junk in the directory": func() []byte {
			d := slices.Concat(data[:end], []byte("junk"), data[end:])
			binary.LittleEndian.PutUint32(d[end+4+12:], uint32(end)-uint32(dirOffset)+4)
			return d
		}(),
		"prefix":                slices.Concat([]byte("#!/bin/sh\n"), data),
		"suffix":                slices.Concat(data, []byte("x")),
		"concatenated":          twoZips.Bytes(),
		"truncated by one":      data[:len(data)-1],
		"truncated in half":     data[:len(data)/2],
		"truncated to nothing":  nil,
		"hidden entry":          hidden.Bytes(),
		"local name":            edit(local+localHeaderSize, 'e'),
		"local size":            edit(local+22, 1),
		"local CRC":             edit(local+14, 0, 0, 0, 0),
		"local flags":           edit(local+6, 8),
		"local method":          edit(local+8, 8),
		"local extra":           edit(local+28, 4),
		"central name":          edit(central+centralHeaderSize, 'e'),
		"central size":          edit(central+24, 1),
		"central method":        edit(central+10, 8),
		"central offset":        edit(central+42, 0, 0, 0, 0),
		"symlink":               edit(central+41, 0xa1),
		"directory entry":       edit(central+38, 0x10),
		"time":                  edit(central+12, 1),
		"archive comment":       slices.Concat(data[:len(data)-2], []byte{1, 0, 'x'}),
		"count too small":       edit(end+8, 3, 0, 3, 0),
		"count too big":         edit(end+8, 0xff, 0, 0xff, 0),
		"directory moved":       edit(end+16, 0, 0, 0, 0),
		"zip64 without records": edit(end+8, 0xff, 0xff, 0xff, 0xff),
		"split archive":         edit(end+4, 1),
	} {
		t.Run(name, func(t *testing.T) { wantFailure(t, verifyBytes(pack, o), checkLayout, "") })
	}
}

// TestRandomMutations: of 10,000 changes of a pack's bytes none goes unnoticed,
// none panics, and none makes the verifier read or hold more than a pack of
// that size may cost.
func TestRandomMutations(t *testing.T) {
	s := edSigner(t, 1)
	data, o := buildPack(t, content(t), s), options(t, s)
	rounds := 10_000
	if testing.Short() {
		rounds = 500
	}
	records := recordsOf(t, data)
	rng := rand.New(rand.NewPCG(2026, 3))
	for n := range rounds {
		d, what := mutated(data, records, rng, n)
		if bytes.Equal(d, data) {
			continue
		}
		in := &meteredReader{r: bytes.NewReader(d)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := Verify(in, int64(len(d)), o)
		runtime.ReadMemStats(&after)
		if r.Exit != 1 {
			t.Fatalf("round %d: %s: exit %d\n%s", n, what, r.Exit, reportText(r))
		}
		if most := 8*int64(len(data)) + 1<<20; in.read > most {
			t.Fatalf("round %d: %s: %d bytes were read, of a pack of %d", n, what, in.read, len(d))
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
			t.Fatalf("round %d: %s: %d bytes were allocated", n, what, got)
		}
	}
}

// mutated changes data in the n-th of four ways.
func mutated(data []byte, records [][2]int, rng *rand.Rand, n int) (out []byte, what string) {
	d := bytes.Clone(data)
	at, to, span := rng.IntN(len(d)), rng.IntN(len(d)), 1+rng.IntN(64)
	switch n % 5 {
	case 0, 1:
		d[at] ^= 1 << rng.IntN(8)
		return d, fmt.Sprintf("bit flip at %d", at)
	case 2:
		return slices.Delete(d, at, min(at+span, len(d))), fmt.Sprintf("%d bytes deleted at %d", span, at)
	case 3:
		return slices.Insert(d, at, bytes.Clone(data[to:min(to+span, len(data))])...), fmt.Sprintf("%d bytes from %d inserted at %d", span, to, at)
	}
	i, j := rng.IntN(len(records)), rng.IntN(len(records))
	if i > j {
		i, j = j, i
	}
	a, b := records[i], records[j]
	if i == j {
		return d, "nothing"
	}
	return slices.Concat(data[:a[0]], data[b[0]:b[1]], data[a[1]:b[0]], data[a[0]:a[1]], data[b[1]:]), fmt.Sprintf("records %d and %d swapped", i, j)
}

// recordsOf gives where each record of the archive begins and ends: entries
// with their headers, directory entries, the end.
func recordsOf(t testing.TB, data []byte) [][2]int {
	t.Helper()
	var starts []int
	for _, signature := range []string{"PK\x03\x04", "PK\x01\x02", "PK\x05\x06"} {
		for at := 0; ; at++ {
			i := bytes.Index(data[at:], []byte(signature))
			if i < 0 {
				break
			}
			at += i
			starts = append(starts, at)
		}
	}
	slices.Sort(starts)
	var out [][2]int
	for i, at := range starts {
		end := len(data)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		out = append(out, [2]int{at, end})
	}
	if len(out) < 100 {
		t.Fatalf("only %d records", len(out))
	}
	return out
}

// meteredReader counts the bytes that are asked for.
type meteredReader struct {
	r    io.ReaderAt
	read int64
}

func (m *meteredReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.r.ReadAt(p, off)
	m.read += int64(n)
	return n, err
}
