package pack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// countersignBytes countersigns a pack in memory.
func countersignBytes(data []byte, o VerifyOptions, c Countersigning, s Signer) ([]byte, string, error) {
	var out bytes.Buffer
	name, err := Countersign(&out, bytes.NewReader(data), int64(len(data)), o, c, s)
	return out.Bytes(), name, err
}

func TestCountersign(t *testing.T) {
	for _, kt := range []KeyType{Ed25519, P256} {
		t.Run(string(kt), func(t *testing.T) {
			vendor, anna, ben, eve := edSigner(t, 1), newKey(t, kt), newKey(t, kt), newKey(t, kt)
			c := content(t)
			c.RequiredRoles, c.Identity = []string{roleReviewer, roleAuditor}, "Example Metering GmbH"
			data, o := buildPack(t, c, vendor), options(t, vendor)
			o.Now = day(95)
			before := entriesOf(t, data)
			anchor := func(role string, s Signer, identity string) {
				o.Anchors = append(o.Anchors, Anchor{Role: role, Key: s.Public(), Identity: identity})
			}
			signed := data
			for i, step := range []struct {
				role, identity, name string
				signer               Signer
			}{
				{roleReviewer, "Anna Berg", "signatures/reviewer-1.sigstore.json", anna},
				{roleAuditor, "Ben Cole", "signatures/auditor-1.sigstore.json", ben},
				{roleReviewer, "Eve Dahl", "signatures/reviewer-2.sigstore.json", eve},
			} {
				var name string
				var err error
				signed, name, err = countersignBytes(signed, o, Countersigning{Role: step.role, Identity: step.identity, Time: day(93), Properties: []string{"urn:example:seen"}}, step.signer)
				if err != nil || name != step.name {
					t.Fatalf("step %d: %q, %v", i, name, err)
				}
				anchor(step.role, step.signer, step.identity)
				if r := verifyBytes(signed, o); i == 0 && r.Exit != 3 || i > 0 && r.Exit != 0 {
					t.Fatalf("after %s: exit %d\n%s", name, r.Exit, reportText(r))
				}
			}
			after := entriesOf(t, signed)
			if len(after) != len(before)+3 {
				t.Errorf("%d entries became %d", len(before), len(after))
			}
			for _, e := range before {
				if !bytes.Equal(after[find(t, after, e.name)].body, e.body) {
					t.Errorf("%s was changed", e.name)
				}
			}
			b, err := parseBundle(after[find(t, after, "signatures/auditor-1.sigstore.json")].body)
			if err != nil {
				t.Fatal(err)
			}
			want := `{"properties":["urn:example:seen","urn:trustpack:role:auditor"],"timeVerified":"2026-10-02T12:00:00Z","verifier":{"id":"Ben Cole"}}`
			if !bytes.Contains(b.payload, []byte(want)) {
				t.Errorf("the statement is %s", b.payload)
			}
		})
	}
}

func newKey(t testing.TB, kt KeyType) Signer {
	t.Helper()
	private, _, err := GenerateKey(kt, "", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCountersignRefuses(t *testing.T) {
	vendor, anna, ben := edSigner(t, 1), edSigner(t, 3), edSigner(t, 4)
	c := content(t)
	c.Identity = "Example Metering GmbH"
	data := buildPack(t, c, vendor)
	o := VerifyOptions{Keys: []PublicKey{vendor.Public()}, Now: day(95)}
	good := Countersigning{Role: roleReviewer, Identity: "Anna Berg", Time: day(93)}
	signed, _, err := countersignBytes(data, o, good, anna)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(data)
	flipped[len(flipped)/2] ^= 1
	c.System = "Another"
	other := buildPack(t, c, vendor)
	sample := drawnFrom(t, data)
	for _, tc := range []struct {
		name   string
		pack   []byte
		o      VerifyOptions
		c      Countersigning
		signer Signer
		why    string
	}{
		{"vendor's role", data, o, Countersigning{Role: roleVendor, Identity: "x", Time: day(93)}, ben, "want reviewer or auditor"},
		{"no role", data, o, Countersigning{Identity: "x", Time: day(93)}, ben, "want reviewer or auditor"},
		{"nobody", data, o, Countersigning{Role: roleAuditor, Time: day(93)}, ben, "identity"},
		{"identity of two lines", data, o, Countersigning{Role: roleAuditor, Identity: "a\nb", Time: day(93)}, ben, "identity"},
		{"no key of the vendor", data, VerifyOptions{}, good, ben, "inconclusive"},
		{"another key of the vendor", data, VerifyOptions{Keys: []PublicKey{ben.Public()}}, good, anna, "failed"},
		{"changed pack", flipped, o, good, anna, "failed"},
		{"a role that the caller demands", data, VerifyOptions{Keys: o.Keys, RequireRoles: []string{roleAuditor}}, good, anna, "inconclusive"},
		{"the vendor himself", data, o, good, vendor, "a key of its own"},
		{"another key of the vendor's", data, VerifyOptions{Keys: append(slices.Clone(o.Keys), ben.Public())}, good, ben, "cannot be his own reviewer"},
		{"the vendor by name", data, o, Countersigning{Role: roleAuditor, Identity: "example metering GmbH", Time: day(93)}, ben, "somebody else"},
		{"twice by one key", signed, o, Countersigning{Role: roleAuditor, Identity: "Ben", Time: day(93)}, anna, "a key of its own"},
		{"twice by one person", signed, o, Countersigning{Role: roleAuditor, Identity: "ANNA Berg", Time: day(93)}, ben, "somebody else"},
		{"property of another role", data, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Properties: []string{roleProperty + "auditor"}}, ben, "no other role"},
		{"property of two lines", data, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Properties: []string{"a\nb"}}, ben, "property"},
		{"statement too long", data, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Properties: longProperties()}, ben, "more than 4096"},
		{"sample of another pack", other, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Samples: []SampleFiles{{JSON: sample}}}, ben, "sample: drawing it again: it was drawn from"},
		{"sample that is none", data, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Samples: []SampleFiles{{JSON: []byte("{}")}}}, ben, "sample: "},
		{"sample changed", data, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Samples: []SampleFiles{{JSON: bytes.Replace(sample, []byte(`"id":"item-00`), []byte(`"id":"item-01`), 1)}}}, ben, "sample: drawing it again"},
		{"worksheet of another", data, o, Countersigning{Role: roleReviewer, Identity: "x", Time: day(93), Samples: []SampleFiles{{sample, []byte("sheet")}}}, ben, "not the one that it names"},
		{"signer that signs something else", data, o, good, badSigner{ben}, "checking the new signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _, err := countersignBytes(tc.pack, tc.o, tc.c, tc.signer)
			if err == nil || !strings.Contains(err.Error(), tc.why) || len(out) > 0 {
				t.Errorf("%d bytes were written, %v; want an error with %q and nothing", len(out), err, tc.why)
			}
			var refused *NotVerifiedError
			if errors.As(err, &refused) != (tc.why == "failed" || tc.why == "inconclusive") || refused != nil && len(refused.Report.Checks) < 5 {
				t.Errorf("%v does not bring the report", err)
			}
		})
	}
}

type badSigner struct{ Signer }

func (badSigner) Sign([]byte) ([]byte, error) { return make([]byte, 64), nil }

func longProperties() []string {
	var out []string
	for i := range 40 {
		out = append(out, fmt.Sprintf("urn:example:%0180d", i))
	}
	return out
}

// drawnFrom is a sample of a pack, as the auditor keeps it.
func drawnFrom(t testing.TB, data []byte) []byte {
	t.Helper()
	open, err := Open(bytes.NewReader(data), int64(len(data)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := open.Draw(SampleRequest{Kind: "github.pull-requests", Seed: "2026"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCountersignedSamples: a sample goes in once, and everybody who signs it
// cites it.
func TestCountersignedSamples(t *testing.T) {
	vendor, anna, ben := edSigner(t, 1), edSigner(t, 3), edSigner(t, 4)
	data, o := buildPack(t, content(t), vendor), options(t, vendor)
	o.Anchors = []Anchor{{Role: roleReviewer, Key: anna.Public()}, {Role: roleAuditor, Key: ben.Public()}}
	sheet := []byte("a worksheet")
	s, err := ParseSample(drawnFrom(t, data))
	if err != nil {
		t.Fatal(err)
	}
	plain := drawnFrom(t, data)
	s.Worksheet = evidence.SHA256Hex(sheet)
	withSheet, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := countersignBytes(data, o, Countersigning{Role: roleReviewer, Identity: "Anna", Time: day(93), Samples: []SampleFiles{{JSON: withSheet}}}, anna); err == nil || !strings.Contains(err.Error(), "worksheet is missing") {
		t.Errorf("without its worksheet: %v", err)
	}
	signed, _, err := countersignBytes(data, o, Countersigning{Role: roleReviewer, Identity: "Anna", Time: day(93), Samples: []SampleFiles{{JSON: plain}, {JSON: plain}, {withSheet, sheet}}}, anna)
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err = countersignBytes(signed, o, Countersigning{Role: roleAuditor, Identity: "Ben", Time: day(93), Samples: []SampleFiles{{withSheet, sheet}, {JSON: plain}, {JSON: plain}}}, ben)
	if err != nil {
		t.Fatal(err)
	}
	if r := verifyBytes(signed, o); r.Exit != 0 {
		t.Error(reportText(r))
	}
	entries := entriesOf(t, signed)
	var names []string
	for _, e := range entries {
		if strings.Contains(e.name, "/sample-") {
			names = append(names, e.name)
		}
	}
	if want := []string{"signatures/sample-1.json", "signatures/sample-2.json", "signatures/sample-2.xlsx"}; !slices.Equal(names, want) {
		t.Errorf("samples are %q, want %q", names, want)
	}
	for _, name := range []string{bundleName(roleReviewer, 1), bundleName(roleAuditor, 1)} {
		b, err := parseBundle(entries[find(t, entries, name)].body)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range [][]byte{plain, withSheet} {
			if !bytes.Contains(b.payload, []byte(`"`+sampleProperty+evidence.SHA256Hex(body)+`"`)) {
				t.Errorf("%s does not cite %s: %s", name, body, b.payload)
			}
		}
	}
}

// changing is a medium whose bytes are others when they are read again.
type changing struct {
	io.ReaderAt
	at    int64
	reads int
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	if off <= c.at && c.at < off+int64(n) {
		if c.reads++; c.reads > 1 {
			p[c.at-off] ^= 1
		}
	}
	return n, err
}

func TestCountersignNoticesAChangeBehindItsBack(t *testing.T) {
	vendor := edSigner(t, 1)
	data, o := buildPack(t, content(t), vendor), options(t, vendor)
	at := bytes.Index(data, []byte("<!doctype html>"))
	_, err := Countersign(io.Discard, &changing{bytes.NewReader(data), int64(at), 0}, int64(len(data)), o, Countersigning{Role: roleReviewer, Identity: "Anna", Time: day(93)}, edSigner(t, 3))
	if err == nil || !strings.Contains(err.Error(), "data/report/index.html: it changed") {
		t.Errorf("got %v", err)
	}
}
