package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"

	"trustpack/evidence"
)

// FuzzVerify: whatever the bytes, Verify ends, and only the pack itself is OK.
func FuzzVerify(f *testing.F) {
	s := edSigner(f, 1)
	data := buildPack(f, content(f), s)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte{})
	f.Add(endRecords(0, 0, 0))
	o := options(f, s)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := verifyBytes(b, o)
		if same := bytes.Equal(b, data); same != (r.Exit == 0) || !same && r.Exit != 1 {
			t.Errorf("exit %d for a pack that is the signed one: %v", r.Exit, same)
		}
	})
}

// FuzzManifest: a line that is accepted is written the same way again.
func FuzzManifest(f *testing.F) {
	data := buildPack(f, content(f), edSigner(f, 1))
	entries := entriesOf(f, data)
	lines := bytes.SplitAfter(entries[find(f, entries, manifestName)].body, []byte("\n"))
	f.Add(bytes.Join(lines[:2], nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		bad := false
		err := readManifest(bytes.NewReader(b), func(n int, raw []byte, l Line, err error) {
			bad = bad || err != nil
			line, err := l.encode()
			if err != nil {
				bad = true
			}
			again = append(append(again, line...), '\n')
		})
		if err == nil && !bad && !bytes.Equal(again, b) {
			t.Errorf("accepted %q but writes %q", b, again)
		}
	})
}

// FuzzBundle: a bundle or SSH signature that is accepted has one form.
func FuzzBundle(f *testing.F) {
	data := buildPack(f, content(f), edSigner(f, 1))
	entries := entriesOf(f, data)
	f.Add(entries[find(f, entries, bundleName(roleVendor, 1))].body)
	f.Add(entries[find(f, entries, sshsigName)].body)
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := parseBundle(b); err == nil {
			_, err := checkStatement(o.payload, roleVendor, "")
			if !json.Valid(b) || len(o.sig) > len(b) || err == nil {
				t.Errorf("accepted %q", b)
			}
		}
		if blob, key, err := parseSSH(b); err == nil && (key.IsZero() || blob.Namespace != SSHNamespace) {
			t.Errorf("accepted %q", b)
		}
	})
}

// FuzzAllowedSigners: anchors that are read make sense, and as many lines as
// are no comments gave them.
func FuzzAllowedSigners(f *testing.F) {
	line := edSigner(f, 1).Public().Line()
	f.Add([]byte("# comment\nvendor namespaces=\"trustpack-pack\" " + line + " c\n"))
	f.Add([]byte("\"reviewer:Anna Berg,auditor\" valid-after=\"20260701Z\",valid-before=\"20261001120000Z\" " + line))
	f.Add([]byte("vendor valid-after=\"20270101Z\",valid-before=\"20261001Z\" " + line))
	f.Fuzz(func(t *testing.T, b []byte) {
		anchors, err := ParseAllowedSigners(b)
		if err != nil {
			return
		}
		if len(anchors) == 0 {
			t.Errorf("accepted without a key: %q", b)
		}
		for _, a := range anchors {
			if err := a.check(); err != nil {
				t.Errorf("accepted %q, whose anchor is wrong: %v", b, err)
			}
		}
	})
}

// FuzzStatement: a statement that is accepted is over the pack.json asked for,
// and its signer is somebody with one role.
func FuzzStatement(f *testing.F) {
	sum := evidence.SHA256Hex([]byte("pack.json"))
	payload, err := verifierStatement(roleReviewer, sum, "Anna Berg", day(95), []string{sampleProperty + sum})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	if payload, err = vendorStatement(sum, "Example GmbH"); err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add(bytes.Replace(payload, []byte(sum), []byte(evidence.SHA256Hex(nil)), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, role := range roles() {
			says, err := checkStatement(b, role, sum)
			if err != nil {
				continue
			}
			if !bytes.Contains(b, []byte(sum)) || role != roleVendor && (says.identity == "" || !slices.Contains(says.properties, roleProperty+role)) {
				t.Errorf("accepted for %s: %q", role, b)
			}
		}
	})
}

// benchContent is a pack of about 64 MB in a thousand raw replies.
func benchContent(b *testing.B) Content {
	c := content(b)
	e := collected(b, "git.commits", day(91), 100)
	for i := range 1000 {
		e.Raw = append(e.Raw, evidence.RawReply{Name: fmt.Sprintf("page-%04d.json", i), Body: bytes.Repeat([]byte{byte(i)}, 64<<10)})
	}
	_, _, id, err := evidence.RecordOf(e.Evidence)
	if err != nil {
		b.Fatal(err)
	}
	e.ID = id
	c.Evidence, c.Logs = append(c.Evidence, e), c.Logs[1:]
	return c
}

func BenchmarkBuild(b *testing.B) {
	c, s := benchContent(b), edSigner(b, 1)
	b.SetBytes(int64(len(buildPack(b, c, s))))
	for b.Loop() {
		if _, err := Build(io.Discard, c, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := edSigner(b, 1)
	data := buildPack(b, benchContent(b), s)
	o := VerifyOptions{Keys: []PublicKey{s.Public()}}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if r := verifyBytes(data, o); r.Exit != 0 {
			b.Fatal(reportText(r))
		}
	}
}

// BenchmarkSHA256 is the floor that BenchmarkVerify is measured against.
func BenchmarkSHA256(b *testing.B) {
	data := buildPack(b, benchContent(b), edSigner(b, 1))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sha256.Sum256(data)
	}
}

// BenchmarkManyFiles verifies a pack of 20,000 small files.
func BenchmarkManyFiles(b *testing.B) {
	c, s := content(b), edSigner(b, 1)
	for i := range 20_000 {
		c.Extra = append(c.Extra, File{Path: fmt.Sprintf("data/many/%03d/%06d.json", i%100, i), MediaType: typeJSON, Body: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	data := buildPack(b, c, s)
	o := VerifyOptions{Keys: []PublicKey{s.Public()}}
	for b.Loop() {
		if r := verifyBytes(data, o); r.Exit != 0 {
			b.Fatal(reportText(r))
		}
	}
}
