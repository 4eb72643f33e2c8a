package pack

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// rebuild builds the pack of c after change has worked on its files: what a
// vendor could do who holds the key.
func rebuild(t testing.TB, c Content, s Signer, change func(*builder)) []byte {
	t.Helper()
	b, err := gather(c, s.Public())
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	b.sort()
	d, err := b.derive()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := b.write(&out, s, d); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b *builder) at(t testing.TB, suffix string) *builtFile {
	t.Helper()
	for i := range b.files {
		if strings.HasSuffix(b.files[i].path, suffix) {
			return &b.files[i]
		}
	}
	t.Fatalf("no file %s", suffix)
	return nil
}

// set gives the file another content.
func (f *builtFile) set(body []byte) {
	sum := newSummer()
	sum.Write(body)
	f.sums, f.open = sum.sums(), inMemory(body)
}

// body is the file's content.
func (f *builtFile) body(t testing.TB) []byte {
	t.Helper()
	b, err := new(copier).read(f.open, maxRead)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// edit changes the file's line, that of no other.
func (f *builtFile) edit(change func(*Line)) {
	l := *f.about
	change(&l)
	f.about = &l
}

// collection changes each file of the first collection.
func (b *builder) collection(t testing.TB, change func(*builtFile)) {
	dir := strings.TrimSuffix(b.at(t, recordFile).path, recordFile)
	for i := range b.files {
		if strings.HasPrefix(b.files[i].path, dir) {
			change(&b.files[i])
		}
	}
}

// insert puts a file in its place.
func (b *builder) insert(f builtFile) {
	b.files = append(b.files, f)
	b.sort()
}

func (b *builder) sort() {
	slices.SortFunc(b.files, func(x, y builtFile) int { return strings.Compare(x.path, y.path) })
}

func (b *builder) remove(t testing.TB, suffix string) {
	f := b.at(t, suffix)
	b.files = slices.DeleteFunc(b.files, func(x builtFile) bool { return x.path == f.path })
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
			c, err := unverifiedCheckpoint(f.body(t))
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
			b.at(t, control+checkpointFile).set(b.at(t, evidenceLog+checkpointFile).body(t))
		}, checkCheckpoint},
		{"log taken out", func(b *builder) {
			b.files = slices.DeleteFunc(b.files, func(f builtFile) bool { return strings.Contains(f.path, control) })
			b.c.Logs = b.c.Logs[:1]
			f := b.at(t, logsName)
			first, _, _ := bytes.Cut(f.body(t), []byte("\n"))
			f.set(append(bytes.Clone(first), '\n'))
		}, checkCheckpoint},
		{"fork", func(b *builder) {
			fork := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
			for i := range 20 {
				fork.add(fmt.Appendf(nil, "other %d", i))
			}
			_, note := fork.checkpoint(10)
			b.at(t, control+historyFile).set(bytes.Replace(b.at(t, control+historyFile).body(t), []byte(canonical(t, b.c.Logs[1].History[0].Note)), []byte(canonical(t, note)), 1))
		}, checkConsistency},
		{"consistency proof", func(b *builder) { b.at(t, evidenceLog+consistencyFile).set([]byte(`[]`)) }, checkConsistency},
		{"history cut", func(b *builder) {
			f := b.at(t, control+historyFile)
			first, _, _ := bytes.Cut(f.body(t), []byte("\n"))
			f.set(append(bytes.Clone(first), '\n'))
		}, checkConsistency},
		{"proof of another leaf", func(b *builder) {
			b.at(t, control+"proofs/3.tlog-proof").set(b.at(t, control+"proofs/19.tlog-proof").body(t))
		}, checkInclusion},
		{"proof relabelled", func(b *builder) {
			b.at(t, control+"proofs/3.tlog-proof").set(bytes.Replace(b.at(t, control+"proofs/19.tlog-proof").body(t), []byte("index 19"), []byte("index 3"), 1))
		}, checkInclusion},
		{"entry changed", func(b *builder) { b.at(t, control+"entries/3.entry").set([]byte("other")) }, checkInclusion},
		{"proof taken out", func(b *builder) { b.remove(t, control+"proofs/3.tlog-proof") }, checkInclusion},
		{"evidence not in the log", func(b *builder) {
			b.remove(t, evidenceLog+"proofs/1.tlog-proof")
			b.remove(t, evidenceLog+"entries/1.entry")
		}, checkInclusion},
		{"population changed", func(b *builder) {
			f := b.at(t, populationFile)
			f.set(bytes.Replace(f.body(t), []byte("item-000"), []byte("item-999"), 1))
		}, checkEvidenceID},
		{"population taken out", func(b *builder) { b.remove(t, populationFile) }, checkEvidenceID},
		{"raw reply changed", func(b *builder) { b.at(t, "raw/reply.json").set([]byte("{}")) }, checkEvidenceID},
		{"raw reply taken out", func(b *builder) { b.remove(t, "raw/reply.json") }, checkEvidenceID},
		{"record changed", func(b *builder) {
			f := b.at(t, recordFile)
			f.set(bytes.Replace(f.body(t), []byte(`"complete"`), []byte(`"completE"`), 1))
		}, checkEvidenceID},
		{"record that is none", func(b *builder) {
			b.at(t, recordFile).set([]byte("not JSON"))
			b.collection(t, func(f *builtFile) { f.edit(func(l *Line) { l.Provenance = evidence.SHA256Hex([]byte("not JSON")) }) })
		}, checkEvidenceID},
		{"collected at another time", func(b *builder) {
			at := day(50)
			b.collection(t, func(f *builtFile) { f.edit(func(l *Line) { l.CollectedAt = &at }) })
		}, checkEvidenceID},
		{"folder of another ID", func(b *builder) {
			b.collection(t, func(f *builtFile) { f.path = strings.Replace(f.path, "Z-", "Z-0", 1) })
		}, checkEvidenceID},
		{"raw reply added", func(b *builder) {
			f := *b.at(t, "telemetry.devices/"+day(90).Format("20060102T150405Z")+"-"+b.c.Evidence[1].ID[:12]+"/raw/reply.json")
			f.path += "2"
			b.insert(f)
		}, checkEvidenceID},
		{"stranger in a collection", func(b *builder) {
			f := *b.at(t, populationFile)
			f.path += "2"
			b.insert(f)
		}, checkEvidenceID},
		{"one file's time changed", func(b *builder) { at := day(50); b.at(t, populationFile).edit(func(l *Line) { l.CollectedAt = &at }) }, checkEvidenceID},
		{"provenance of nothing", func(b *builder) {
			b.at(t, exceptionsName).edit(func(l *Line) { l.Provenance = strings.Repeat("0", 64) })
		}, checkEvidenceID},
		{"provenance of itself missing", func(b *builder) { b.at(t, recordFile).edit(func(l *Line) { l.Provenance = "" }) }, checkEvidenceID},
		{"provenance of itself another", func(b *builder) {
			b.collection(t, func(f *builtFile) { f.edit(func(l *Line) { l.Provenance = strings.Repeat("0", 64) }) })
		}, checkEvidenceID},
		{"finding that is none", func(b *builder) { b.at(t, "ID-01/findings.json").set([]byte("[")) }, checkFindings},
		{"control of another folder", func(b *builder) {
			b.at(t, "ID-01/control.json").set(b.at(t, "PR-01/control.json").body(t))
			b.at(t, "ID-01/findings.json").set([]byte("[]"))
		}, checkFindings},
		{"outcome that is none", func(b *builder) {
			f := b.at(t, "ID-01/findings.json")
			f.set(bytes.Replace(f.body(t), []byte(`"outcome":"met"`), []byte(`"outcome":"fine"`), 1))
		}, checkFindings},
		{"finding cites what is not there", func(b *builder) {
			f := b.at(t, "ID-01/findings.json")
			f.set(bytes.Replace(f.body(t), []byte(b.c.Evidence[1].ID), []byte(strings.Repeat("0", 64)), 1))
		}, checkFindings},
		{"exceptions taken out", func(b *builder) { b.remove(t, exceptionsName) }, checkExceptions},
		{"list of logs taken out", func(b *builder) { b.remove(t, logsName) }, checkCheckpoint},
		{"list of logs miswritten", func(b *builder) {
			f := b.at(t, logsName)
			f.set(bytes.Replace(f.body(t), []byte(`{"`), []byte(`{"a":1,"`), 1))
		}, checkCheckpoint},
		{"head of another size everywhere but in the log", func(b *builder) {
			b.c.Logs[1].Checkpoint = b.c.Logs[1].History[0].Note
			heads, err := b.c.logHeads()
			if err != nil {
				t.Fatal(err)
			}
			b.at(t, logsName).set([]byte(canonical(t, heads[0]) + "\n" + canonical(t, heads[1]) + "\n"))
		}, checkCheckpoint},
		{"log taken off the list", func(b *builder) {
			f := b.at(t, logsName)
			first, _, _ := bytes.Cut(f.body(t), []byte("\n"))
			f.set(append(bytes.Clone(first), '\n'))
		}, checkCheckpoint},
		{"list of logs differs", func(b *builder) {
			f := b.at(t, logsName)
			f.set(bytes.Replace(f.body(t), []byte(`"size":20`), []byte(`"size":21`), 1))
		}, checkCheckpoint},
		{"checkpoint taken out", func(b *builder) { b.remove(t, control+checkpointFile) }, checkCheckpoint},
		{"previous checkpoint by another key", func(b *builder) {
			f := b.at(t, evidenceLog+previousFile)
			c, err := unverifiedCheckpoint(f.body(t))
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
		{"totals miscounted", func(b *builder) { b.records++ }, checkManifest},
		{"sample label dropped", func(b *builder) { b.c.Sample, b.c.Clock = false, "" }, checkLabels},
		{"another period", func(b *builder) { b.c.Period, _ = evidence.ParsePeriod("2025-Q1") }, checkWindow},
		{"exceptions hidden", func(b *builder) { b.at(t, exceptionsName).set([]byte("[]")) }, checkExceptions},
		{"finding of another control", func(b *builder) {
			b.at(t, "ID-01/findings.json").set(b.at(t, "PR-01/findings.json").body(t))
		}, checkFindings},
		{"references elsewhere", func(b *builder) {
			f := b.at(t, "ID-01/references.json")
			f.set(bytes.Replace(f.body(t), []byte("data/"), []byte("date/"), 1))
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
			pack := rebuild(t, c, s, tc.change)
			wantFailure(t, verifyBytes(pack, o), tc.check, "")
			switch tc.name { // those that only the log's key can tell
			case "checkpoint by another key", "previous checkpoint by another key", "log taken out":
			default:
				o.LogKeys = nil
				wantFailure(t, verifyBytes(pack, o), tc.check, "")
			}
		})
	}
}

// TestLogsSayWhatThePackHides: checkpoints signed as sample data or simulated
// time do not go into a pack that passes for real.
func TestLogsSayWhatThePackHides(t *testing.T) {
	s := edSigner(t, 1)
	for _, ext := range []string{sampleExtension, "x " + simulatedExtension} {
		c := content(t)
		l := &testLog{t: t, origin: "ingest.example/tenant", seed: seed(7), ext: []string{ext}}
		l.add([]byte("entry"))
		c.Logs = append(c.Logs, l.excerpt(0))
		if _, err := Build(io.Discard, c, s); err == nil || !strings.Contains(err.Error(), "the pack does not") {
			t.Errorf("%s: Build: %v", ext, err)
		}
		c.Sample, c.Clock = true, evidence.ClockSimulated
		pack := rebuild(t, c, s, func(b *builder) { b.c.Sample, b.c.Clock = false, "" })
		wantFailure(t, verifyBytes(pack, options(t, s)), checkLabels, "data/log/ingest.example/tenant/checkpoint")
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
			body := bytes.Clone(f.body(t))
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
