package pack

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// sampledPack is a pack that an auditor drew a sample from, signed by him, and
// what each step of it gave.
type sampledPack struct {
	vendor, auditor Signer
	finished, whole []byte // before and after the auditor
	sample          Sample
	encoded         []byte
	worksheet       []byte
}

func newSampledPack(t testing.TB) sampledPack {
	t.Helper()
	p := sampledPack{vendor: edSigner(t, 1), auditor: edSigner(t, 5), worksheet: []byte("worksheet")}
	p.finished = buildPack(t, content(t), p.vendor)
	c, err := Open(bytes.NewReader(p.finished), int64(len(p.finished)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if p.sample, _, err = c.Draw(SampleRequest{Kind: "github.pull-requests", Seed: "20261121", Size: 2}); err != nil {
		t.Fatal(err)
	}
	p.sample.Worksheet = evidence.SHA256Hex(p.worksheet)
	if p.encoded, err = p.sample.Encode(); err != nil {
		t.Fatal(err)
	}
	p.whole = p.with(t, p.encoded, p.worksheet)
	return p
}

// with puts a sample into the finished pack, with an auditor's signature that
// cites it; a nil worksheet is left out.
func (p sampledPack) with(t testing.TB, sample, worksheet []byte) []byte {
	t.Helper()
	files := []stored{{sampleName(1), sample}}
	if worksheet != nil {
		files = append(files, stored{worksheetName(1), worksheet})
	}
	return p.put(t, sampleProperty+evidence.SHA256Hex(sample), files...)
}

func (p sampledPack) put(t testing.TB, property string, files ...stored) []byte {
	t.Helper()
	payload, err := verifierStatement(roleAuditor, packSum(t, p.finished), "Ben Cole", day(95), []string{property})
	if err != nil {
		t.Fatal(err)
	}
	b, err := signBundle(payload, p.auditor)
	if err != nil {
		t.Fatal(err)
	}
	e := append(entriesOf(t, p.finished), stored{bundleName(roleAuditor, 1), b})
	e = append(e, files...)
	slices.SortFunc(e, func(a, b stored) int { return compareNames(a.name, b.name) })
	return zipOf(t, e)
}

func (p sampledPack) options(t testing.TB) VerifyOptions {
	o := options(t, p.vendor)
	o.Anchors = []Anchor{{Role: roleAuditor, Key: p.auditor.Public()}}
	return o
}

func TestSampleIsDrawnAgain(t *testing.T) {
	p := newSampledPack(t)
	if r := verifyBytes(p.whole, p.options(t)); r.Exit != 0 {
		t.Fatalf("exit %d\n%s", r.Exit, reportText(r))
	} else if i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == checkSample }); r.Checks[i].Status != Passed {
		t.Errorf("%+v", r.Checks[i])
	}
	// Nobody vouches for the auditor's key: the draw is right, whose it is is not known.
	if r := verifyBytes(p.whole, options(t, p.vendor)); r.Exit != 3 {
		t.Errorf("without the auditor's key: exit %d\n%s", r.Exit, reportText(r))
	}
}

// wrongSample is a pack whose sample is not right, and the file that is to blame.
type wrongSample struct {
	pack []byte
	path string
}

func (p sampledPack) wrong(t testing.TB) map[string]wrongSample {
	t.Helper()
	changed := func(change func(*Sample)) []byte {
		s := p.sample
		s.Drawn = slices.Clone(s.Drawn)
		change(&s)
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cites := sampleProperty + evidence.SHA256Hex(p.encoded)
	return map[string]wrongSample{
		"another item drawn":      {p.with(t, changed(func(s *Sample) { s.Drawn[0].ID = "item-999" }), p.worksheet), sampleName(1)},
		"another seed":            {p.with(t, changed(func(s *Sample) { s.Seed = "1" }), p.worksheet), sampleName(1)},
		"drawn from another pack": {p.with(t, changed(func(s *Sample) { s.Root = evidence.SHA256Hex(nil) }), p.worksheet), sampleName(1)},
		"not canonical":           {p.with(t, append(bytes.Clone(p.encoded), '\n'), p.worksheet), sampleName(1)},
		"cited by nobody":         {p.put(t, "other", stored{sampleName(1), p.encoded}, stored{worksheetName(1), p.worksheet}), sampleName(1)},
		"worksheet changed":       {p.put(t, cites, stored{sampleName(1), p.encoded}, stored{worksheetName(1), []byte("other")}), worksheetName(1)},
		"worksheet missing":       {p.with(t, p.encoded, nil), worksheetName(1)},
		"worksheet not named":     {p.with(t, changed(func(s *Sample) { s.Worksheet = "" }), p.worksheet), worksheetName(1)},
		"worksheet alone":         {p.put(t, cites, stored{worksheetName(1), p.worksheet}), worksheetName(1)},
		"numbered from two":       {p.put(t, cites, stored{sampleName(2), p.encoded}, stored{worksheetName(2), p.worksheet}), sampleName(2)},
	}
}

func TestSampleTamperedWith(t *testing.T) {
	p := newSampledPack(t)
	for name, tc := range p.wrong(t) {
		t.Run(name, func(t *testing.T) { wantFailure(t, verifyBytes(tc.pack, p.options(t)), checkSample, tc.path) })
	}
}

// samples are vectors beyond the list of cases: a sample that was not drawn so,
// or that nobody signed for.
func (m *vectorMaker) samples() {
	p := newSampledPack(m.t)
	wrong := p.wrong(m.t)
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		path := wrong[name].path
		if strings.HasSuffix(path, ".xlsx") {
			path = "" // of a worksheet that is wrong, its sample may be named too
		}
		v := m.add(41, "sample, "+name, checkSample, path, wrong[name].pack)
		v.Anchors.Keys = append(slices.Clone(m.anchors.Keys), m.key(roleAuditor, p.auditor))
	}
}
