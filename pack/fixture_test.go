package pack

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/evidence"
	"trustpack/ledger"
)

func seed(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func edSigner(t testing.TB, b byte) Signer {
	t.Helper()
	s, err := NewSigner(ed25519.NewKeyFromSeed(seed(b)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testLog is a log in memory with the reader that tlog's provers want.
type testLog struct {
	t       testing.TB
	origin  string
	seed    []byte
	entries [][]byte
	hashes  []tlog.Hash
	ext     []string
}

func (l *testLog) read(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *testLog) add(entry []byte) int64 {
	n := int64(len(l.entries))
	hashes, err := tlog.StoredHashes(n, entry, tlog.HashReaderFunc(l.read))
	if err != nil {
		l.t.Fatal(err)
	}
	l.entries, l.hashes = append(l.entries, entry), append(l.hashes, hashes...)
	return n
}

func (l *testLog) checkpoint(size int64) (ledger.Checkpoint, string) {
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(l.read))
	if err != nil {
		l.t.Fatal(err)
	}
	c := ledger.Checkpoint{Origin: l.origin, Size: size, Root: root, Extensions: l.ext}
	note, err := ledger.SignCheckpoint(c, l.seed)
	if err != nil {
		l.t.Fatal(err)
	}
	return c, string(note)
}

func (l *testLog) consistency(from, to int64) []string {
	if from == 0 || from == to {
		return nil
	}
	proof, err := tlog.ProveTree(to, from, tlog.HashReaderFunc(l.read))
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, h := range proof {
		out = append(out, hashText(h))
	}
	return out
}

func (l *testLog) excerpt(since int64, records ...int64) ledger.Excerpt {
	size := int64(len(l.entries))
	vkey, err := ledger.VerifierKey(l.seed, l.origin)
	if err != nil {
		l.t.Fatal(err)
	}
	head, note := l.checkpoint(size)
	e := ledger.Excerpt{Origin: l.origin, VerifierKey: vkey, Checkpoint: note, Consistency: l.consistency(since, size)}
	if since > 0 {
		_, e.Previous = l.checkpoint(since)
	}
	last := since
	for _, at := range []int64{(since + size + 1) / 2, size} {
		c, n := l.checkpoint(at)
		e.History = append(e.History, ledger.HistoryStep{
			DatedCheckpoint: ledger.DatedCheckpoint{Time: day(80), Size: at, Root: hashText(c.Root), Note: n},
			Consistency:     l.consistency(last, at),
		})
		last = at
	}
	for _, i := range records {
		proof, err := tlog.ProveRecord(head.Size, i, tlog.HashReaderFunc(l.read))
		if err != nil {
			l.t.Fatal(err)
		}
		e.Records = append(e.Records, ledger.RecordProof{Index: i, Entry: l.entries[i], Proof: string(ledger.MarshalProof(i, proof, []byte(note)))})
	}
	return e
}

// day is the n-th day of the fixture's quarter, at noon.
func day(n int) time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func quarter() evidence.Period {
	p, err := evidence.ParsePeriod("2026-Q3")
	if err != nil {
		panic(err)
	}
	return p
}

func collected(t testing.TB, kind evidence.Kind, at time.Time, items int, raws ...string) evidence.Collected {
	t.Helper()
	e := evidence.Evidence{
		Kind: kind, Collector: strings.Split(string(kind), ".")[0], CollectedAt: at, Window: quarter(),
		Provenance:   evidence.Provenance{System: "test", Principal: "tester", Tool: "trustpack test", Origin: evidence.OriginLive, Clock: evidence.ClockSystem},
		Completeness: evidence.Completeness{State: evidence.Complete, Basis: "read-to-end", Got: items},
	}
	for i := range items {
		e.Population.Items = append(e.Population.Items, evidence.Item{ID: fmt.Sprintf("item-%03d", i), Attributes: map[string]any{"n": i, "kind": string(kind)}})
	}
	for _, name := range raws {
		e.Raw = append(e.Raw, evidence.RawReply{Name: name, Body: []byte(`{"reply":"` + name + `"}`)})
	}
	_, _, id, err := evidence.RecordOf(e)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Collected{ID: id, Evidence: e}
}

func cite(c evidence.Collected) evidence.Citation {
	return evidence.Citation{ID: c.ID, Kind: c.Kind, CollectedAt: c.CollectedAt, Window: c.Window, Completeness: c.Completeness.State, Items: c.Completeness.Got, Origin: c.Provenance.Origin}
}

// content is a small pack with all that a pack can have: evidence that two
// controls share, evidence that none cites, names that must be escaped, two
// logs, an extra file.
func content(t testing.TB) Content {
	t.Helper()
	return contentUntil(t, day(91))
}

// contentUntil is the same, last collected at a given time.
func contentUntil(t testing.TB, last time.Time) Content {
	t.Helper()
	prs := collected(t, "github.pull-requests", last, 3, "pulls/page=1?x.json", "pulls/PAGE=2.json", "pulls/page=2.json")
	devices := collected(t, "telemetry.devices", day(90), 2, "reply.json")
	stray := collected(t, "aws.users", day(60), 1)
	evidenceLog := &testLog{t: t, origin: "ingest.example/evidence", seed: seed(7)}
	controlLog := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
	evidenceLog.add([]byte("first"))
	var indexes []int64
	for _, c := range []evidence.Collected{prs, devices, stray} {
		entry, err := evidence.CanonicalJSON(map[string]string{"type": collectedEntry, "id": c.ID, "kind": string(c.Kind)})
		if err != nil {
			t.Fatal(err)
		}
		indexes = append(indexes, evidenceLog.add(entry))
		evidenceLog.add([]byte("between"))
	}
	for i := range 20 {
		controlLog.add(fmt.Appendf(nil, "entry %d", i))
	}
	controls := []evidence.Control{
		{ID: "ID-01", Title: "Devices are known", Stage: evidence.StageIdentity, Criteria: []evidence.Criterion{"CC6.1"}, Objective: "Every device is known.", Kinds: []evidence.Kind{"telemetry.devices"}},
		{ID: "PR-01", Title: "Changes are reviewed", Stage: evidence.StageProcessing, Criteria: []evidence.Criterion{"CC8.1"}, Objective: "Nobody approves his own change.", Kinds: []evidence.Kind{"github.pull-requests", "telemetry.devices"}},
	}
	findings := []evidence.Finding{
		{Control: "ID-01", Period: quarter(), Outcome: evidence.OutcomeMet, Reason: "all met", Population: 2, Exceptions: []evidence.Exception{}, Evidence: []evidence.Citation{cite(devices)}},
		{Control: "PR-01", Period: quarter(), Outcome: evidence.OutcomeException, Reason: "one is not met", Population: 3,
			Exceptions: []evidence.Exception{{Attribute: "reviewer", Kind: "github.pull-requests", Item: "item-001", Outcome: evidence.OutcomeException, Detail: "approved by its \x1b[31mauthor"}},
			Evidence:   []evidence.Citation{cite(prs), cite(devices)}},
	}
	return Content{
		Organisation: "Example Metering GmbH", System: "Meters", Tool: "trustpack test", Period: quarter(), Sequence: 1,
		Clock: evidence.ClockSystem, CatalogSHA256: evidence.SHA256Hex([]byte("catalog")), CatalogFiles: map[string][]byte{"ID-01.yaml": []byte("id: ID-01\n"), "sub/PR-01.yaml": []byte("id: PR-01\n")},
		Controls: controls, Findings: findings, Evidence: []evidence.Collected{prs, devices, stray},
		Extra:  []File{{Path: "data/report/index.html", MediaType: "text/html", Kind: "report", DerivedFrom: []string{exceptionsName}, Body: []byte("<!doctype html><title>report</title>")}},
		Logs:   []ledger.Excerpt{evidenceLog.excerpt(2, indexes...), controlLog.excerpt(0, 3, 19)},
		Secret: seed(9),
	}
}

func buildPack(t testing.TB, c Content, s Signer) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := Build(&out, c, s); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// options are the anchors of an auditor who has every key.
func options(t testing.TB, s Signer) VerifyOptions {
	t.Helper()
	o := VerifyOptions{Name: "test.epack.zip", Keys: []PublicKey{s.Public()}}
	for _, log := range []string{"evidence", "control"} {
		vkey, err := ledger.VerifierKey(seed(7), "ingest.example/"+log)
		if err != nil {
			t.Fatal(err)
		}
		o.LogKeys = append(o.LogKeys, vkey)
	}
	return o
}

func verifyBytes(data []byte, o VerifyOptions) Report {
	return Verify(bytes.NewReader(data), int64(len(data)), o)
}

func reportText(r Report) string {
	var b strings.Builder
	r.WriteText(&b)
	return b.String()
}

// failedChecks lists "id path" of each failure.
func failedChecks(r Report) []string {
	var out []string
	for _, c := range r.Checks {
		if c.Status == Failed {
			out = append(out, strings.TrimSpace(c.ID+" "+c.Path))
		}
	}
	return out
}

// wantFailure demands exit 1 and a failure of the check, at the path where
// one is given.
func wantFailure(t *testing.T, r Report, id, path string) {
	t.Helper()
	if r.Exit != 1 || r.Verdict != VerdictFailed {
		t.Errorf("exit %d, verdict %s, want 1 and failed\n%s", r.Exit, r.Verdict, reportText(r))
		return
	}
	for _, c := range r.Checks {
		if c.Status == Failed && c.ID == id && (path == "" || c.Path == path) {
			return
		}
	}
	t.Errorf("no failure of %s at %q, but of %q", id, path, failedChecks(r))
}
