package ledger

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestCheckpointTextIsReadStrictly(t *testing.T) {
	root := hashText(LeafHash([]byte("x")))
	good := "example.com/log\n5\n" + root + "\n"
	for _, text := range []string{good, good + "sample=true clock=simulated\n", "example.com/log\n0\n" + hashText(emptyRoot()) + "\n"} {
		c, err := ParseCheckpoint(text)
		if err != nil || c.Text() != text {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "no newline": strings.TrimSuffix(good, "\n"), "two lines": "example.com/log\n5\n", "empty origin": "\n5\n" + root + "\n",
		"leading zero": "o\n05\n" + root + "\n", "sign": "o\n+5\n" + root + "\n", "negative": "o\n-5\n" + root + "\n", "too large": "o\n9223372036854775808\n" + root + "\n",
		"hash of 31 bytes": "o\n5\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n", "url base64": "o\n5\n" + strings.Repeat("_", 43) + "=\n",
		"loose base64": "o\n5\n" + strings.Repeat("A", 42) + "B=\n", "empty extension": good + "\n", "carriage return": "o\n5\n" + root + "\r\n",
		"wrong root of nothing": "o\n0\n" + root + "\n",
	} {
		if c, err := ParseCheckpoint(text); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func TestOpenCheckpointTiesOriginToKey(t *testing.T) {
	seed := testOptions().Seed
	vkey, err := VerifierKey(seed, "example.com/one")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := SignerFor(seed, "example.com/one")
	if err != nil {
		t.Fatal(err)
	}
	text := Checkpoint{Origin: "example.com/two", Size: 1, Root: LeafHash([]byte("x"))}.Text()
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCheckpoint(signed, vkey); err == nil || !strings.Contains(err.Error(), `its origin is "example.com/two"`) {
		t.Errorf("a checkpoint of another log: %v", err)
	}
	other, err := SignerFor([]byte(strings.Repeat("w", SeedSize)), "witness.example.com")
	if err != nil {
		t.Fatal(err)
	}
	text = Checkpoint{Origin: "example.com/one", Size: 1, Root: LeafHash([]byte("x"))}.Text()
	if signed, err = note.Sign(&note.Note{Text: text}, signer, other); err != nil {
		t.Fatal(err)
	}
	if c, err := OpenCheckpoint(signed, vkey); err != nil || c.Size != 1 {
		t.Errorf("a cosigned checkpoint: %v", err)
	}
	for _, bad := range []string{"", "no key", vkey + "x"} {
		if _, err := OpenCheckpoint(signed, bad); err == nil || !strings.Contains(err.Error(), "verifier key") {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}

func TestSignerMatchesVerifierKey(t *testing.T) {
	a, err := NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	if string(a) == string(b) || len(a) != SeedSize {
		t.Error("two seeds are alike, or of a wrong size")
	}
	for _, origin := range []string{"", "a b", "a+b", "a\nb"} {
		if _, err := VerifierKey(a, origin); err == nil {
			t.Errorf("origin %q was taken", origin)
		}
	}
}

func TestConsistencyCases(t *testing.T) {
	c := func(origin string, size int64, root byte) Checkpoint {
		return Checkpoint{Origin: origin, Size: size, Root: tlog.Hash{root}}
	}
	for name, x := range map[string]struct {
		older, newer Checkpoint
		proof        tlog.TreeProof
		ok           bool
	}{
		"same":            {c("o", 5, 1), c("o", 5, 1), nil, true},
		"from nothing":    {c("o", 0, 0), c("o", 5, 1), nil, true},
		"two roots":       {c("o", 5, 1), c("o", 5, 2), nil, false},
		"shrunk":          {c("o", 5, 1), c("o", 4, 1), nil, false},
		"another log":     {c("o", 5, 1), c("p", 5, 1), nil, false},
		"no proof":        {c("o", 5, 1), c("o", 6, 2), nil, false},
		"needless proof":  {c("o", 5, 1), c("o", 5, 1), tlog.TreeProof{{}}, false},
		"proof from zero": {c("o", 0, 0), c("o", 5, 1), tlog.TreeProof{{}}, false},
	} {
		if err := CheckConsistency(x.older, x.newer, x.proof); (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProofTextIsReadStrictly(t *testing.T) {
	h := hashText(LeafHash([]byte("x")))
	const note = "checkpoint\n"
	for _, text := range []string{
		"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note, "c2sp.org/tlog-proof@v1\nindex 7\n" + h + "\n" + h + "\n\n" + note, "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 1\n\n" + note,
	} {
		p, err := ParseProof([]byte(text))
		if err != nil || string(p.Marshal()) != text {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "another version": "c2sp.org/tlog-proof@v2\nindex 0\n\n" + note, "no index": "c2sp.org/tlog-proof@v1\n" + h + "\n\n" + note,
		"no checkpoint": "c2sp.org/tlog-proof@v1\nindex 0\n", "leading zero": "c2sp.org/tlog-proof@v1\nindex 00\n\n" + note, "bad hash": "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n" + note,
		"empty extra": "c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n" + note, "bad extra": "c2sp.org/tlog-proof@v1\nextra ?\nindex 0\n\n" + note,
		"extra behind index": "c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\n" + note, "endless": "c2sp.org/tlog-proof@v1\nindex 0\n" + strings.Repeat(h+"\n", 64) + "\n" + note,
	} {
		if p, err := ParseProof([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", name, p)
		}
	}
}

// TestNothingIsSignedThatContradictsTheLastCheckpoint gives a running ledger
// a last checkpoint that its tree does not hold.
func TestNothingIsSignedThatContradictsTheLastCheckpoint(t *testing.T) {
	for name, change := range map[string]func(*Checkpoint){
		"longer":       func(c *Checkpoint) { c.Size = 7 },
		"another root": func(c *Checkpoint) { c.Root[0]++ },
	} {
		l := open(t, t.TempDir(), testOptions())
		fill(t, l, "a", 5)
		signed, err := l.Checkpoint("a")
		if err != nil {
			t.Fatal(err)
		}
		tree, err := l.find("a")
		if err != nil {
			t.Fatal(err)
		}
		change(&tree.checkpoints.head)
		fill(t, l, "a", 1)
		var c *ContradictionError
		if _, err := l.Checkpoint("a"); !errors.As(err, &c) {
			t.Errorf("%s: %v", name, err)
		}
		if last, err := l.LastCheckpoint("a"); err != nil || string(last) != string(signed) {
			t.Errorf("%s: the last checkpoint was replaced", name)
		}
	}
}

func TestHashesHaveOneForm(t *testing.T) {
	h := tlog.Hash{31: 7}
	good := hashText(h)
	if got, err := parseHash(good); err != nil || got != h {
		t.Errorf("%s: %v, %v", good, got, err)
	}
	for name, text := range map[string]string{
		"stray bits":                    good[:42] + "d=",
		"no padding":                    good[:43],
		"line break":                    good[:10] + "\n" + good[10:],
		"line break kept to the length": good[:10] + "\n" + good[11:],
		"a byte less":                   hashText(h)[:40] + "AA==",
		"a byte more":                   good[:43] + "A",
		"something after":               good + "A",
		"nothing":                       "",
		"other alphabet":                "-" + good[1:],
	} {
		if _, err := parseHash(text); err == nil {
			t.Errorf("%s: %q was read", name, text)
		}
	}
}
