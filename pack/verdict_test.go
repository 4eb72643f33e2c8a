package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

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
		e = append(e, stored{bundleName(role, 1), signBundleOf(t, statementFor(t, role, sum), signer)})
		slices.SortFunc(e, func(a, b stored) int { return compareNames(a.name, b.name) })
		return zipOf(t, e)
	}
	vendor := []PublicKey{s.Public()}
	reviewers := []Anchor{{Role: roleReviewer, Key: reviewer.Public()}}
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
		{"role missing", data, VerifyOptions{Keys: vendor, RequireRoles: []string{roleReviewer}, Anchors: reviewers}, 3, checkRoles},
		{"role there", with(roleReviewer, reviewer), VerifyOptions{Keys: vendor, RequireRoles: []string{roleReviewer}, Anchors: reviewers}, 0, ""},
		{"role there, nobody asked", with(roleReviewer, reviewer), VerifyOptions{Keys: vendor}, 0, ""},
		{"role there, key not given", with(roleReviewer, reviewer), VerifyOptions{Keys: vendor, RequireRoles: []string{roleReviewer}}, 3, checkRoles},
		{"role by another", with(roleReviewer, edSigner(t, 4)), VerifyOptions{Keys: vendor, Anchors: reviewers}, 1, checkSigPrefix + roleReviewer},
		{"vendor as reviewer", with(roleReviewer, s), VerifyOptions{Keys: vendor, Anchors: reviewers}, 1, checkSigPrefix + roleReviewer},
		{"one key in two roles", with(roleReviewer, s), VerifyOptions{Keys: vendor, Anchors: []Anchor{{Role: roleReviewer, Key: s.Public()}}}, 1, checkRoles},
		{"unknown role", data, VerifyOptions{Keys: vendor, RequireRoles: []string{"boss"}}, 2, checkOptions},
		{"bad log key", data, VerifyOptions{Keys: vendor, LogKeys: []string{"nonsense"}}, 2, checkOptions},
		{"key of a log that is not there", data, VerifyOptions{Keys: vendor, LogKeys: []string{vkeyOf(t, "elsewhere/x")}}, 1, checkCheckpoint},
		{"too many entries", data, VerifyOptions{Keys: vendor, Limits: Limits{MaxEntries: 10}}, 1, checkLayout},
		{"records too long to read", data, VerifyOptions{Keys: vendor, Limits: Limits{MaxRead: 400}}, 1, checkEvidenceID},
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
	// What was not made again is not said to be the same.
	for name, again := range map[string]map[string][]byte{"data/report/index.html": nil, "data/report/other.html": {"data/report/other.html": nil}} {
		o.Regenerate = func(*Contents) (map[string][]byte, error) { return again, nil }
		r := verifyBytes(data, o)
		if r.Exit != 0 || len(linesOf(r, checkDerived, Passed)) > 0 {
			t.Errorf("made again %q: exit %d\n%s", name, r.Exit, reportText(r))
		}
		if !slices.ContainsFunc(linesOf(r, checkDerived, NotChecked), func(c Check) bool { return c.Path == name }) {
			t.Errorf("made again %q: nothing is said of it\n%s", name, reportText(r))
		}
	}
}

// TestWhatFailedStandsFirst: a reader of the first lines knows the worst.
func TestWhatFailedStandsFirst(t *testing.T) {
	s := edSigner(t, 1)
	data := buildPack(t, content(t), s)
	e := entriesOf(t, data)
	e[find(t, e, manifestName)].body[10] ^= 1
	text := reportText(verifyBytes(zipOf(t, e), options(t, s)))
	failed, passed, left, verdict := strings.LastIndex(text, "\nFAILED "), strings.Index(text, "\npassed "), strings.Index(text, "\nnot checked:"), strings.Index(text, "\nverify: FAILED")
	if failed < 0 || passed < failed || left < passed || verdict < left {
		t.Errorf("failed at %d, passed at %d, not checked at %d, verdict at %d:\n%s", failed, passed, left, verdict, text)
	}
}
