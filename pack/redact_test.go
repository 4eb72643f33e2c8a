package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

const (
	rawReplies  = "data/**/raw/**"
	populations = "data/**/population.jsonl"
)

func redactionOf(paths ...string) Redaction {
	return Redaction{Paths: paths, Reason: "personal data", Identity: "Dora Lindt", Time: day(100)}
}

func redacted(t testing.TB, data []byte, s Signer, paths ...string) ([]byte, Redacted) {
	t.Helper()
	var out bytes.Buffer
	done, err := Redact(&out, bytes.NewReader(data), int64(len(data)), Limits{}, redactionOf(paths...), s)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), done
}

// takenOut redacts without asking whether the files can be withheld.
func takenOut(t testing.TB, data []byte, s Signer, paths ...string) []byte {
	t.Helper()
	v := newVerifier(bytes.NewReader(data), int64(len(data)), VerifyOptions{})
	v.run()
	chosen := map[string]bool{}
	for _, p := range paths {
		chosen[p] = true
	}
	var out bytes.Buffer
	if _, err := v.takeOut(&out, chosen, redactionOf(), s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// linesOf gives the lines of a report with that status and ID.
func linesOf(r Report, id string, status Status) []Check {
	return slices.DeleteFunc(slices.Clone(r.Checks), func(c Check) bool { return c.ID != id || c.Status != status })
}

func TestRedactionKeepsTheRootAndEverySignature(t *testing.T) {
	s := edSigner(t, 1)
	o := options(t, s)
	good := withSignatures(t, buildPack(t, content(t), s), countersigned{role: roleReviewer, signer: edSigner(t, 3)}.as(t, "Anna Berg", packSum(t, buildPack(t, content(t), s))))
	o.Anchors = append(o.Anchors, Anchor{Role: roleReviewer, Key: edSigner(t, 3).Public()})
	short, done := redacted(t, good, s, rawReplies)
	was, is := entriesOf(t, good), entriesOf(t, short)
	for _, e := range was {
		i := slices.IndexFunc(is, func(x stored) bool { return x.name == e.name })
		switch {
		case strings.Contains(e.name, "/raw/"):
			if i >= 0 {
				t.Errorf("%s is still there", e.name)
			}
		case i < 0:
			t.Errorf("%s is gone", e.name)
		case !slices.Contains([]string{manifestName, bagInfoName, payloadManifestName, tagManifestName}, e.name) && !bytes.Equal(is[i].body, e.body):
			t.Errorf("%s was changed", e.name)
		}
	}
	if list := is[find(t, is, redactionList(1))].body; bytes.Contains(list, []byte("page")) || bytes.Contains(list, []byte("reply.json")) {
		t.Errorf("the list names a reply:\n%s", list)
	}
	r := verifyBytes(short, o)
	text := reportText(r)
	if r.Exit != 0 || r.Labels() != "WITHHELD: 4 files" || !strings.Contains(text, "verify: OK  (WITHHELD: 4 files)") {
		t.Fatalf("exit %d, %q\n%s", r.Exit, r.Labels(), text)
	}
	want := []Withheld{
		{"data/1-identity/ID-01/evidence/telemetry.devices/*/raw/*", "personal data", "Dora Lindt", true, 1},
		{"data/3-processing/PR-01/evidence/github.pull-requests/*/raw/*/*", "personal data", "Dora Lindt", true, 2},
		{"data/3-processing/PR-01/evidence/github.pull-requests/*/raw/*", "personal data", "Dora Lindt", true, 1},
	}
	if !slices.Equal(r.Withheld, want) {
		t.Errorf("withheld is %+v", r.Withheld)
	}
	if !strings.Contains(text, "withheld: 2 files of "+want[1].Class+", by Dora Lindt: personal data") {
		t.Errorf("the text does not say it:\n%s", text)
	}
	var asJSON struct{ Withheld []Withheld }
	if b, err := json.Marshal(r); err != nil || json.Unmarshal(b, &asJSON) != nil || !slices.Equal(asJSON.Withheld, want) {
		t.Errorf("JSON: %+v, %v", asJSON, err)
	}
	held := linesOf(r, checkEvidenceID, NotChecked)
	if len(held) != 4 || !strings.Contains(held[0].Path, "/raw/") || !strings.Contains(held[0].Actual, "withheld, as one of data/") {
		t.Errorf("not checked: %+v", held)
	}
	if done.Name != redactionList(1) || done.Classes[want[1].Class] != 2 || len(done.Classes) != 3 {
		t.Errorf("done: %+v", done)
	}
	for _, path := range []string{"data/report/index.html", exceptionsName, "data/3-processing/PR-01/findings.json",
		"data/3-processing/PR-01/evidence/github.pull-requests/*/population.jsonl", "data/3-processing/PR-01/evidence/github.pull-requests/*/evidence.json", "data/log/ingest.example/evidence/entries/*"} {
		if done.MayHold[path] == 0 {
			t.Errorf("nothing warns of %s, but of %v", path, done.MayHold)
		}
	}
	again, _ := redacted(t, good, s, rawReplies)
	if !bytes.Equal(again, short) {
		t.Error("the same redaction gives other bytes")
	}
}

func TestRedactedTwice(t *testing.T) {
	s, dora := edSigner(t, 1), edSigner(t, 6)
	o := options(t, s)
	first, _ := redacted(t, buildPack(t, content(t), s), s, rawReplies)
	second, done := redacted(t, first, dora, "data/**/telemetry.devices/*/population.jsonl", "data/report/*.html")
	if done.Name != redactionList(2) {
		t.Errorf("the second is %s", done.Name)
	}
	is, was := entriesOf(t, second), entriesOf(t, first)
	for _, name := range []string{redactionList(1), redactionSig(1)} {
		if !bytes.Equal(is[find(t, is, name)].body, was[find(t, was, name)].body) {
			t.Errorf("%s was changed", name)
		}
	}
	if r := verifyBytes(second, o); r.Exit != 3 || len(linesOf(r, checkRedaction, NotChecked)) != 1 || r.Labels() != "WITHHELD: 6 files" {
		t.Errorf("without the key of who redacted: exit %d\n%s", r.Exit, reportText(r))
	}
	o.Anchors = append(o.Anchors, Anchor{Role: roleAuditor, Key: dora.Public()})
	if r := verifyBytes(second, o); r.Exit != 0 || len(linesOf(r, checkRedaction, Passed)) != 1 {
		t.Errorf("exit %d\n%s", r.Exit, reportText(r))
	}
	until := day(99)
	o.Anchors[len(o.Anchors)-1].Until, o.Now = until, day(200)
	if r := verifyBytes(second, o); r.Exit != 3 {
		t.Errorf("a key that is not valid any more: exit %d\n%s", r.Exit, reportText(r))
	}
	o.Anchors[len(o.Anchors)-1] = Anchor{Role: roleAuditor, Key: dora.Public(), Identity: "Somebody Else"}
	wantFailure(t, verifyBytes(second, o), checkRedaction, redactionSig(2))
}

// TestWhatNeededAWithheldFileIsNotChecked: neither failed nor passed.
func TestWhatNeededAWithheldFileIsNotChecked(t *testing.T) {
	s := edSigner(t, 1)
	o := options(t, s)
	o.Reevaluate = func(c *Contents) ([]evidence.Finding, error) {
		if _, err := c.Evidence(); err != nil {
			return nil, err
		}
		if _, err := c.Catalog(); err != nil {
			return nil, err
		}
		return content(t).Findings, nil
	}
	o.Regenerate = func(c *Contents) (map[string][]byte, error) {
		if _, err := c.Evidence(); err != nil {
			return nil, err
		}
		return map[string][]byte{"data/report/index.html": content(t).Extra[0].Body}, nil
	}
	good := buildPack(t, content(t), s)
	if r := verifyBytes(good, o); r.Exit != 0 || !passed(r, checkReevaluated) || !passed(r, checkDerived) {
		t.Fatal(reportText(r))
	}
	for _, c := range []struct {
		glob    string
		id, say string
		whole   bool // nothing of the check passes
	}{
		{populations, checkReevaluated, "population.jsonl", true},
		{populations, checkDerived, "population.jsonl", true},
		{populations, checkEvidenceID, "population.jsonl", false},
		{"data/catalog/ID-01.yaml", checkReevaluated, "catalog/", true},
		{"data/report/index.html", checkDerived, "data/report/index.html", true},
		{"data/log/ingest.example/control/entries/3.entry", checkInclusion, "control/entries/3.entry", false},
		{"data/log/ingest.example/evidence/entries/*", checkInclusion, "evidence/entries/1.entry", false},
		{"data/log/ingest.example/evidence/entries/*", checkInclusion, "evidence.json: its entry in the evidence log may be among those withheld", false},
	} {
		short, _ := redacted(t, good, s, c.glob)
		r := verifyBytes(short, o)
		open := linesOf(r, c.id, NotChecked)
		said := slices.ContainsFunc(open, func(l Check) bool {
			return strings.Contains(l.Path+": "+l.Actual, c.say) && strings.Contains(l.Actual, "withheld")
		})
		if r.Exit != 0 || !said || c.whole == passed(r, c.id) {
			t.Errorf("%s, %s: exit %d, %+v\n%s", c.glob, c.id, r.Exit, open, reportText(r))
		}
	}
}

func TestSampleOfAWithheldPopulation(t *testing.T) {
	p := newSampledPack(t)
	o := options(t, p.vendor)
	o.Anchors = append(o.Anchors, Anchor{Role: roleAuditor, Key: p.auditor.Public()})
	if r := verifyBytes(p.whole, o); r.Exit != 0 {
		t.Fatal(reportText(r))
	}
	short, done := redacted(t, p.whole, p.vendor, "data/**/github.pull-requests/*/population.jsonl")
	r := verifyBytes(short, o)
	if r.Exit != 0 || passed(r, checkSample) || len(linesOf(r, checkSample, NotChecked)) != 1 {
		t.Errorf("exit %d\n%s", r.Exit, reportText(r))
	}
	if done.MayHold[sampleName(1)] != 1 || done.MayHold[worksheetName(1)] != 1 {
		t.Errorf("nothing warns of the sample, but of %v", done.MayHold)
	}
}

// TestCopiesOfWhatIsWithheldAreNamed: a file of the same bytes, such as a
// bundle of a log beside a collection, is warned of; another is not.
func TestCopiesOfWhatIsWithheldAreNamed(t *testing.T) {
	s := edSigner(t, 1)
	c := content(t)
	for name, body := range map[string]string{"a": "one", "b": "one", "c": "two"} {
		c.Extra = append(c.Extra, File{Path: "data/x/" + name, MediaType: typeText, Body: []byte(body)})
	}
	_, done := redacted(t, buildPack(t, c, s), s, "data/x/a")
	if done.MayHold["data/x/b"] != 1 || done.MayHold["data/x/c"] != 0 {
		t.Errorf("what may hold the same is %v", done.MayHold)
	}
}

func TestWhatCannotBeWithheld(t *testing.T) {
	s := edSigner(t, 1)
	data := buildPack(t, content(t), s)
	o := options(t, s)
	for path, check := range map[string]string{
		"data/1-identity/ID-01/control.json":                  checkManifest,
		"data/1-identity/ID-01/findings.json":                 checkFindings,
		"data/1-identity/ID-01/references.json":               checkFindings,
		exceptionsName:                                        checkExceptions,
		"data/log/ingest.example/control/checkpoint":          checkCheckpoint,
		"data/log/ingest.example/control/proofs/3.tlog-proof": checkInclusion,
		logsName:           checkCheckpoint,
		readmeName:         "",
		"trust/vendor.pub": "",
		recordOf(t, data):  checkManifest,
	} {
		var out bytes.Buffer
		_, err := Redact(&out, bytes.NewReader(data), int64(len(data)), Limits{}, redactionOf(path, rawReplies), s)
		var refused *UnredactableError
		if !errors.As(err, &refused) || refused.Files[path] == nil || len(refused.Files) != 1 || out.Len() > 0 || !strings.Contains(err.Error(), path+": ") {
			t.Errorf("%s: %v", path, err)
		}
		if check != "" {
			wantFailure(t, verifyBytes(takenOut(t, data, s, path), o), check, "")
		}
	}
	for name, c := range map[string]Redaction{
		"matches nothing":  redactionOf("data/none/*"),
		"matches a folder": redactionOf("data/report"),
		"no path":          redactionOf(),
		"no reason":        {Paths: []string{rawReplies}, Identity: "Dora", Time: day(1)},
		"no identity":      {Paths: []string{rawReplies}, Reason: "why", Time: day(1)},
	} {
		if _, err := Redact(&bytes.Buffer{}, bytes.NewReader(data), int64(len(data)), Limits{}, c, s); err == nil {
			t.Errorf("%s: it is redacted", name)
		}
	}
	broken := bytes.Clone(data)
	broken[bytes.Index(broken, []byte("Nobody approves"))] ^= 1
	var refused *NotVerifiedError
	if _, err := Redact(&bytes.Buffer{}, bytes.NewReader(broken), int64(len(broken)), Limits{}, redactionOf(rawReplies), s); !errors.As(err, &refused) {
		t.Errorf("a broken pack: %v", err)
	}
}

func recordOf(t testing.TB, data []byte) string {
	for _, e := range entriesOf(t, data) {
		if isRecord(e.name) {
			return e.name
		}
	}
	t.Fatal("the pack has no record")
	return ""
}

// badRedactions are packs whose redaction is not as it must be, with the path
// of the failure; empty for one that cannot be told.
func badRedactions(t testing.TB, s Signer) map[string]struct {
	pack []byte
	path string
} {
	good := buildPack(t, content(t), s)
	short, _ := redacted(t, good, s, rawReplies)
	twice, _ := redacted(t, short, s, "data/**/telemetry.devices/*/population.jsonl")
	list := func(data []byte, n int) []byte {
		e := entriesOf(t, data)
		return e[find(t, e, redactionList(n))].body
	}
	sig := func(lines []byte, count int, signer Signer) []byte {
		payload, err := redactionStatement(packSum(t, good), "Dora Lindt", day(100), count, lines)
		if err != nil {
			t.Fatal(err)
		}
		b, err := signBundle(payload, signer)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// with gives data with the entries replaced, added or, if nil, taken away.
	with := func(data []byte, changes ...stored) []byte {
		e := entriesOf(t, data)
		for _, c := range changes {
			e = slices.DeleteFunc(e, func(x stored) bool { return x.name == c.name })
			if c.body != nil {
				e = append(e, c)
			}
		}
		slices.SortFunc(e, func(a, b stored) int { return compareNames(a.name, b.name) })
		return zipOf(t, e)
	}
	resigned := func(data, lines []byte, count int) []byte {
		return with(data, stored{redactionList(1), lines}, stored{redactionSig(1), sig(lines, count, s)})
	}
	first, rest, _ := bytes.Cut(list(short, 1), []byte("\n"))
	var line redactedLine
	if err := json.Unmarshal(first, &line); err != nil {
		t.Fatal(err)
	}
	there := fmt.Appendf(nil, `{"class":"x","index":0,"leaf":"%s","reason":"r"}`+"\n%s", line.Leaf, list(short, 1))
	raws := slices.DeleteFunc(entriesOf(t, good), func(e stored) bool { return !strings.Contains(e.name, "/raw/") })
	oneLeaf := bytes.Replace(list(short, 1), []byte(line.Leaf), []byte(strings.Repeat("ab", 32)), 1)
	emptyReason := bytes.Replace(list(short, 1), []byte("personal data"), nil, 1)
	emptyClass := regexp.MustCompile(`"class":"[^"]*"`).ReplaceAll(list(short, 1), []byte(`"class":""`))
	forged := bytes.Replace(sig(list(short, 1), 4, edSigner(t, 2)), []byte(edSigner(t, 2).Public().Fingerprint()), []byte(s.Public().Fingerprint()), 1)
	type bad = struct {
		pack []byte
		path string
	}
	return map[string]bad{
		"no statement":                          {with(short, stored{redactionSig(1), nil}), redactionSig(1)},
		"neither list nor statement":            {with(short, stored{redactionSig(1), nil}, stored{redactionList(1), nil}), manifestName},
		"statement without its list":            {with(short, stored{redactionList(1), nil}), redactionSig(1)},
		"line in no list":                       {resigned(short, rest, 3), manifestName},
		"line that is there":                    {resigned(short, there, 5), redactionList(1)},
		"another leaf":                          {resigned(short, oneLeaf, 4), redactionList(1)},
		"line in two lists":                     {with(twice, stored{redactionList(2), list(short, 1)}, stored{redactionSig(2), sig(list(short, 1), 4, s)}), redactionList(2)},
		"no reason":                             {resigned(short, emptyReason, 4), redactionList(1)},
		"no class":                              {resigned(short, emptyClass, 4), redactionList(1)},
		"lines unsorted":                        {resigned(short, slices.Concat(rest, first, []byte("\n")), 4), redactionList(1)},
		"count of another list":                 {resigned(short, list(short, 1), 3), redactionSig(1)},
		"statement over another list":           {with(short, stored{redactionSig(1), sig(rest, 4, s)}), redactionSig(1)},
		"statement by another key under an ID":  {with(short, stored{redactionSig(1), forged}), redactionSig(1)},
		"statement of a role":                   {with(short, stored{redactionSig(1), signBundleOf(t, statementFor(t, roleVendor, packSum(t, good)), s)}), redactionSig(1)},
		"numbers with a gap":                    {with(short, stored{redactionList(1), nil}, stored{redactionSig(1), nil}, stored{redactionList(2), list(short, 1)}, stored{redactionSig(2), sig(list(short, 1), 4, s)}), redactionList(2)},
		"redaction of a pack that is all there": {with(good, stored{redactionList(1), list(short, 1)}, stored{redactionSig(1), sig(list(short, 1), 4, s)}), redactionList(1)},
		"withheld file put back":                {with(short, raws[0]), raws[0].name},
		"statement by a foreign key":            {with(short, stored{redactionSig(1), sig(list(short, 1), 4, edSigner(t, 2))}), ""},
	}
}

func TestRedactionsThatAreNotSignedFor(t *testing.T) {
	s := edSigner(t, 1)
	for name, bad := range badRedactions(t, s) {
		t.Run(name, func(t *testing.T) {
			r := verifyBytes(bad.pack, options(t, s))
			if bad.path == "" {
				if r.Exit != 3 || len(linesOf(r, checkRedaction, NotChecked)) != 1 || len(r.Withheld) == 0 || r.Withheld[0].Signed {
					t.Errorf("exit %d\n%s", r.Exit, reportText(r))
				}
				return
			}
			id := checkRedaction
			if strings.Contains(bad.path, "/raw/") || name == "numbers with a gap" {
				id = checkSet
			}
			wantFailure(t, r, id, bad.path)
		})
	}
}

func TestTotalsOfAPackFromWhichNothingIsWithheld(t *testing.T) {
	for _, c := range []struct {
		withheld int
		bytes    int64
		fails    bool
	}{{0, 10, false}, {0, 9, true}, {0, 11, true}, {1, 9, false}, {1, 10, false}, {1, 11, true}} {
		v := newVerifier(bytes.NewReader(nil), 0, VerifyOptions{})
		v.c.root.Totals = Totals{Files: 2, Bytes: 10}
		v.c.redacted = make([]withheldLine, c.withheld)
		if v.checkTotals(true, Totals{Files: 2, Bytes: c.bytes}); v.res.failed() != c.fails {
			t.Errorf("%d bytes of 10 with %d lines withheld: %v", c.bytes, c.withheld, v.res.failures)
		}
	}
}

func TestGlobs(t *testing.T) {
	for glob, paths := range map[string][2]string{
		"data/*/x":   {"data/a/x", "data/a/b/x"},
		"data/**/x":  {"data/a/b/x", "data/x"},
		"data/a?.c":  {"data/ab.c", "data/a/.c"},
		"data/[a]+":  {"data/[a]+", "data/aa"},
		"data/ü":     {"data/ü", "data/u"},
		"data/\xff*": {"data/\ufffdx", "data/x"},
	} {
		p := globPattern(glob)
		if !p.MatchString(paths[0]) || p.MatchString(paths[1]) {
			t.Errorf("%s: %v, %v", glob, p.MatchString(paths[0]), p.MatchString(paths[1]))
		}
	}
}

func TestClassesNameNothing(t *testing.T) {
	for path, want := range map[string]string{
		"data/1-identity/ID-01/evidence/k/20260101T000000Z-abc/population.jsonl": "data/1-identity/ID-01/evidence/k/*/population.jsonl",
		"data/evidence/k/20260101T000000Z-abc/raw/a/b~2f.json":                   "data/evidence/k/*/raw/*/*",
		"data/log/a/b/entries/17.entry":                                          "data/log/a/b/entries/*",
		"data/log/a/b/tile/entries/x001/234.p/5":                                 "data/log/a/b/tile/entries/*/*/*",
		"data/report/index.html":                                                 "data/report/index.html",
	} {
		if got := classOf(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestAWithheldFileStandsWhereItsLineWould: a file that is missing is not
// withheld because some other one is.
func TestAWithheldFileStandsWhereItsLineWould(t *testing.T) {
	c := Contents{redacted: []withheldLine{
		{index: 1, after: "data/a", before: "data/f", class: "data/c"},
		{index: 2, after: "data/a", before: "data/f"},
		{index: 9, after: "data/p", class: "data/z"},
	}}
	for path, class := range map[string]string{"data/b": "data/c", "data/c": "data/c", "data/z": "data/z", "data/q": "data/z"} {
		if w := c.withheld(path); w == nil || w.Class != class {
			t.Errorf("%s: %+v, want %s", path, w, class)
		}
	}
	for _, path := range []string{"data/0", "data/a", "data/f", "data/g", "data/p"} {
		if w := c.withheld(path); w != nil {
			t.Errorf("%s: %+v", path, w)
		}
	}
}
