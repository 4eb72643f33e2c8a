package pack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// knows is a state that holds one pack.
func knows(a *Accepted) func(string, string) (*Accepted, error) {
	return func(string, string) (*Accepted, error) { return a, nil }
}

// acceptedOf gives what is kept of a pack, as it comes back from a file.
func acceptedOf(t testing.TB, data []byte, o VerifyOptions) *Accepted {
	t.Helper()
	r := verifyBytes(data, o)
	if r.Accepted == nil {
		t.Fatalf("nothing is accepted:\n%s", reportText(r))
	}
	text, err := r.Accepted.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseAccepted(text)
	if err != nil {
		t.Fatal(err)
	}
	return &again
}

// grownLog is the fixture's control log with more entries, its excerpt from
// size since on.
func grownLog(t testing.TB, entry string, size, since int) ledger.Excerpt {
	l := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
	for i := range size {
		if i < 20 {
			l.add(fmt.Appendf(nil, "entry %d", i))
			continue
		}
		l.add(fmt.Appendf(nil, "%s %d", entry, i))
	}
	return l.excerpt(int64(since))
}

// nextContent follows the pack of content(t), whose pack.json has the digest.
func nextContent(t testing.TB, previous string) Content {
	c := content(t)
	c.Sequence, c.Previous = 2, previous
	c.Logs[0].Previous = c.Logs[0].Checkpoint
	c.Logs[0].Consistency, c.Logs[0].History = nil, nil
	c.Logs[1] = grownLog(t, "entry", 30, 20)
	return c
}

func TestNextPackFollowsTheAcceptedOne(t *testing.T) {
	s := edSigner(t, 1)
	o := options(t, s)
	first := buildPack(t, content(t), s)
	o.State = knows(nil)
	r := verifyBytes(first, o)
	if r.Exit != 0 || !strings.Contains(reportText(r), "the state knows no earlier pack") {
		t.Fatalf("first use:\n%s", reportText(r))
	}
	kept := acceptedOf(t, first, o)
	o.State = knows(kept)
	if r := verifyBytes(first, o); r.Exit != 0 || !passed(r, checkChain) {
		t.Errorf("the very pack again:\n%s", reportText(r))
	}
	for name, change := range map[string]func(*Content){
		"from the accepted head": func(c *Content) {},
		"from an earlier head, through it in the history": func(c *Content) {
			c.Logs[1] = grownLog(t, "entry", 30, 10) // the fixture's step in the middle is 20
		},
		"of the same period, nothing grown": func(c *Content) { c.Logs[1] = grownLog(t, "entry", 20, 20) },
		"with another log beside": func(c *Content) {
			l := &testLog{t: t, origin: "ingest.example/new", seed: seed(7)}
			l.add([]byte("x"))
			c.Logs = append(c.Logs, l.excerpt(0))
		},
	} {
		c := nextContent(t, r.PackJSONSHA256)
		change(&c)
		second := buildPack(t, c, s)
		if r := verifyBytes(second, o); r.Exit != 0 || !passed(r, checkChain) {
			t.Errorf("%s:\n%s", name, reportText(r))
		}
	}
	other := *kept
	other.System = "Another"
	o.State = knows(&other)
	if r := verifyBytes(first, o); r.Exit != 0 || passed(r, checkChain) {
		t.Errorf("a state of another system:\n%s", reportText(r))
	}
}

func passed(r Report, id string) bool {
	for _, c := range r.Checks {
		if c.ID == id && c.Status == Passed {
			return true
		}
	}
	return false
}

// brokenChain are packs that do not follow the accepted one, with the path and
// a word of what must be said.
func brokenChain(t testing.TB, s Signer) map[string]struct {
	pack       []byte
	path, word string
} {
	previous := packSum(t, buildPack(t, content(t), s))
	control, log := vectorLog, packJSONName
	made := map[string]struct {
		pack       []byte
		path, word string
	}{}
	add := func(name, path, word string, change func(*Content)) {
		c := nextContent(t, previous)
		change(&c)
		made[name] = struct {
			pack       []byte
			path, word string
		}{buildPack(t, c, s), path, word}
	}
	add("a second pack 1", log, "another pack under the same number", func(c *Content) { c.Sequence, c.Previous = 1, "" })
	add("sequence gap", log, "ask the vendor for every pack from 2 to 3", func(c *Content) { c.Sequence = 4 })
	add("wrong previous", log, "follows another pack 1", func(c *Content) { c.Previous = strings.Repeat("ab", 32) })
	add("earlier period under a later number", log, "an older period sold as newer", func(c *Content) {
		c.Period.From = c.Period.From.AddDate(0, 0, -1)
	})
	add("log left out", control, "the pack has no such log", func(c *Content) { c.Logs = c.Logs[:1] })
	add("smaller log", control+checkpointFile, "it has 15 entries", func(c *Content) { c.Logs[1] = grownLog(t, "entry", 15, 10) })
	add("log forked", control+previousFile, "the log was forked", func(c *Content) { c.Logs[1] = forkedLog(t, 20) })
	add("log forked within the history", control+historyFile, "the log was forked", func(c *Content) { c.Logs[1] = forkedLog(t, 10) })
	add("log not proved to have grown", control+checkpointFile, "no checkpoint of 20 entries is proved", func(c *Content) { c.Logs[1] = grownLog(t, "entry", 30, 21) })
	return made
}

// forkedLog differs from the fixture's control log from its first entry on.
func forkedLog(t testing.TB, since int64) ledger.Excerpt {
	l := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
	for i := range 30 {
		l.add(fmt.Appendf(nil, "other %d", i))
	}
	return l.excerpt(since)
}

func TestPacksOffTheChainAreRefused(t *testing.T) {
	s := edSigner(t, 1)
	o := options(t, s)
	o.State = knows(acceptedOf(t, buildPack(t, content(t), s), o))
	free := o
	free.State = nil
	for name, broken := range brokenChain(t, s) {
		t.Run(name, func(t *testing.T) {
			if r := verifyBytes(broken.pack, free); len(failedChecks(r)) != 0 && !strings.HasPrefix(name, "log left out") {
				t.Fatalf("it fails without a state too:\n%s", reportText(r))
			}
			r := verifyBytes(broken.pack, o)
			wantFailure(t, r, checkChain, broken.path)
			if r.Accepted != nil {
				t.Error("it is to be kept")
			}
			if !strings.Contains(reportText(r), broken.word) {
				t.Errorf("nothing says %q:\n%s", broken.word, reportText(r))
			}
		})
	}
	t.Run("older pack", func(t *testing.T) {
		first := buildPack(t, content(t), s)
		next := buildPack(t, nextContent(t, packSum(t, first)), s)
		o.State = knows(acceptedOf(t, next, o))
		r := verifyBytes(first, o)
		wantFailure(t, r, checkChain, packJSONName)
		if !strings.Contains(reportText(r), "ask the vendor for the latest") {
			t.Error(reportText(r))
		}
	})
}

func TestAStateThatCannotBeReadIsNoVerdict(t *testing.T) {
	s := edSigner(t, 1)
	o := options(t, s)
	first := buildPack(t, content(t), s)
	for name, state := range map[string]func(string, string) (*Accepted, error){
		"unreadable": func(string, string) (*Accepted, error) { return nil, errors.New("no permission") },
		"nonsense":   knows(&Accepted{Format: "trustpack-accepted/2"}),
	} {
		o.State = state
		if r := verifyBytes(first, o); r.Exit != 2 || r.Verdict != VerdictError || r.Accepted != nil {
			t.Errorf("%s: exit %d\n%s", name, r.Exit, reportText(r))
		}
	}
}

func TestAcceptedIsReadStrictly(t *testing.T) {
	s := edSigner(t, 1)
	text, err := acceptedOf(t, buildPack(t, content(t), s), options(t, s)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := AcceptedFile("Example Metering GmbH", "Meters"); got != evidence.SHA256Hex([]byte("Example Metering GmbH\x00Meters"))[:16]+".json" {
		t.Errorf("file name %s", got)
	}
	for name, bad := range map[string]string{
		"newline":        string(text) + "\n",
		"no logs":        strings.Replace(string(text), `"logs":[`, `"logs":null,"x":[`, 1),
		"log twice":      strings.Replace(string(text), "ingest.example/evidence", "ingest.example/control", 1),
		"root":           strings.Replace(string(text), `"root":"`, `"root":"A`, 1),
		"sequence":       strings.Replace(string(text), `"sequence":1`, `"sequence":0`, 1),
		"digest":         strings.Replace(string(text), `"pack_json_sha256":"`, `"pack_json_sha256":"A`, 1),
		"another format": strings.Replace(string(text), acceptedFormat, "trustpack-accepted/2", 1),
	} {
		if _, err := ParseAccepted([]byte(bad)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestALogThatStandsTwiceIsNotKept(t *testing.T) {
	s := edSigner(t, 1)
	r, heads := Root{Organisation: "O", System: "S", Period: quarter(), Sequence: 1}, []LogHead{{Origin: "b"}, {Origin: "a"}}
	for i := range heads {
		heads[i].Root = acceptedOf(t, buildPack(t, content(t), s), options(t, s)).Logs[0].Root
	}
	if a, err := accept(r, strings.Repeat("ab", 32), heads); err != nil || a.Logs[0].Origin != "a" {
		t.Errorf("%v, %+v", err, a)
	}
	if _, err := accept(r, strings.Repeat("ab", 32), append(heads, heads[0])); err == nil {
		t.Error("a log is kept twice")
	}
}

// testWitness cosigns checkpoints.
type testWitness struct {
	name    string
	private ed25519.PrivateKey
}

func newWitness(name string, b byte) testWitness {
	return testWitness{name, ed25519.NewKeyFromSeed(seed(b))}
}

func (w testWitness) material() []byte {
	return append([]byte{4}, w.private.Public().(ed25519.PublicKey)...)
}

func (w testWitness) id() []byte {
	sum := sha256.Sum256(append([]byte(w.name+"\n"), w.material()...))
	return sum[:4]
}

func (w testWitness) vkey() string {
	return fmt.Sprintf("%s+%x+%s", w.name, w.id(), base64.StdEncoding.EncodeToString(w.material()))
}

// cosign adds w's cosignature of the time at to a signed checkpoint.
func (w testWitness) cosign(note string, at uint64) string {
	text := note[:strings.Index(note, "\n\n")+1]
	sig := binary.BigEndian.AppendUint64(bytes.Clone(w.id()), at)
	sig = append(sig, ed25519.Sign(w.private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	return note + fmt.Sprintf("— %s %s\n", w.name, base64.StdEncoding.EncodeToString(sig))
}

// cosignedContent is the fixture with its control log cosigned by w.
func cosignedContent(t testing.TB, w testWitness) Content {
	c := content(t)
	l := &testLog{t: t, origin: "ingest.example/control", seed: seed(7)}
	for i := range 20 {
		l.add(fmt.Appendf(nil, "entry %d", i))
	}
	c.Logs[1] = l.excerpt(0)
	c.Logs[1].Checkpoint = w.cosign(c.Logs[1].Checkpoint, 1790000000)
	return c
}

func TestCosignaturesOfGivenWitnesses(t *testing.T) {
	s, w := edSigner(t, 1), newWitness("witness.example/w1", 40)
	o := options(t, s)
	o.Witnesses = []string{w.vkey(), newWitness("witness.example/w2", 41).vkey()}
	good := buildPack(t, cosignedContent(t, w), s)
	r := verifyBytes(good, o)
	text := reportText(r)
	if r.Exit != 0 || !strings.Contains(text, "ingest.example/control of 20 entries by witness.example/w1 at 2026-09-21T14:13:20Z") {
		t.Errorf("a good cosignature:\n%s", text)
	}
	if !strings.Contains(text, "data/log/ingest.example/evidence/checkpoint: none of the given witnesses has cosigned it") {
		t.Errorf("the log that no witness has cosigned is not named:\n%s", text)
	}
	o.LogKeys = nil
	if r := verifyBytes(good, o); r.Exit != 0 || !passed(r, checkWitness) {
		t.Errorf("without the logs' keys:\n%s", reportText(r))
	}
	o.Witnesses = o.Witnesses[1:]
	if r := verifyBytes(good, o); r.Exit != 3 || passed(r, checkWitness) {
		t.Errorf("a witness that has cosigned nothing:\n%s", reportText(r))
	}
	forger := newWitness(w.name, 42)
	forged := cosignedContent(t, forger)
	o.Witnesses = []string{w.vkey()}
	wantFailure(t, verifyBytes(buildPack(t, forgedUnder(t, forged, forger, w), s), o), checkWitness, vectorLog+checkpointFile)
	o.Witnesses = []string{"nonsense"}
	if r := verifyBytes(good, o); r.Exit != 2 {
		t.Errorf("a key that is none: exit %d\n%s", r.Exit, reportText(r))
	}
}

// forgedUnder puts the key ID of w on the cosignature of forger.
func forgedUnder(t testing.TB, c Content, forger, w testWitness) Content {
	note := c.Logs[1].Checkpoint
	at := strings.LastIndex(note, "— ")
	fields := strings.Fields(note[at:])
	sig, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		t.Fatal(err)
	}
	copy(sig, w.id())
	c.Logs[1].Checkpoint = note[:at] + fmt.Sprintf("— %s %s\n", w.name, base64.StdEncoding.EncodeToString(sig))
	return c
}
