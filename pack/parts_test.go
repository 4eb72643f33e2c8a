package pack

import (
	"bytes"
	"crypto/ed25519"
	cryptorand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func TestTreeIsRFC6962(t *testing.T) {
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	var tree treeBuilder
	for n := range int64(130) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if tree.root() != want {
			t.Fatalf("root of %d leaves differs", n)
		}
		leaf := []byte{byte(n), 'x'}
		more, err := tlog.StoredHashes(n, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
		tree.add(leaf)
	}
}

func TestPreAuthIsDSSE(t *testing.T) {
	// The example of the DSSE protocol's text.
	if got, want := string(preAuth("http://example.com/HelloWorld", []byte("hello world"))), "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRawNamesBecomePaths(t *testing.T) {
	long := strings.Repeat("a", 300)
	names := []string{"a.json", "A.json", "../up", "x?y=1&z", "nul", "nul.txt", "dir/", "dot.", "tilde~", long + "1", long + "2", "", "ünï", "a.json/b", `c:\d`}
	paths := rawPaths(names)
	set := newNameSet()
	for _, n := range names {
		p := rawDir + paths[n]
		if err := checkName(p); err != nil {
			t.Errorf("%q became %q: %v", n, p, err)
		}
		if err := set.add(p); err != nil {
			t.Errorf("%q became %q: %v", n, p, err)
		}
	}
	if paths["a.json"] != "a.json~~2" || paths["A.json"] != "A.json" || paths["../up"] != "~2e~2e/up" || paths["a.json/b"] != "a.json~2fb~~2" {
		t.Errorf("got %q", paths)
	}
}

// TestManyNamesThatClash: what a hostile record names costs no more than its
// length. Were each number tried again for each name, this would take hours.
func TestManyNamesThatClash(t *testing.T) {
	const bits = 17
	var names []string
	for n := range 1 << bits {
		name := []byte(strings.Repeat("a", bits))
		for i := range name {
			if n>>i&1 == 1 {
				name[i] = 'A'
			}
		}
		names = append(names, string(name))
	}
	paths := rawPaths(names)
	if last := paths[strings.Repeat("a", bits)]; last != fmt.Sprintf("%s~~%d", strings.Repeat("a", bits), 1<<bits) {
		t.Errorf("the last of %d is %q", len(names), last)
	}
}

func TestCleanLeavesNothingForTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain Grüße":            "plain Grüße",
		"\x1b[31mred\x07":        `\x1b[31mred\a`,
		"line\nbreak\r":          `line\nbreak\r`,
		"c1 \u009b31m":           `c1 \u009b31m`,
		"bidi \u202etxt.exe":     `bidi \u202etxt.exe`,
		"bad \xff utf8":          `bad \xff utf8`,
		strings.Repeat("x", 900): strings.Repeat("x", 601) + "…",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPublicKeys(t *testing.T) {
	s := edSigner(t, 1)
	pemKey, err := s.Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"line": []byte(s.Public().Line() + " me\n"), "PEM": pemKey} {
		if k, err := ParsePublicKey(text); err != nil || !k.Equal(s.Public()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	private, public, err := GenerateKey(Ed25519, "c", cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed(1)))
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string][]byte{
		"private key":      private,
		"this is a privat": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"neither":          []byte("hello"),
		"exactly one key":  slices.Concat(public, public),
		"without options":  append([]byte(`command="x" `), public...),
		"follows":          append(bytes.Clone(pemKey), pemKey...),
		"want PUBLIC KEY":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	} {
		if _, err := ParsePublicKey(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := LoadSigner(public, nil); err == nil || !strings.Contains(err.Error(), "this is a public key") {
		t.Errorf("a public key as private: %v", err)
	}
	if _, _, err := GenerateKey("dsa", "", cryptorand.Reader); err == nil {
		t.Error("a key of type dsa was made")
	}
	if (PublicKey{}).Verify(nil, nil) == nil {
		t.Error("no key verifies anything")
	}
}

// sparse is an archive of which only the headers exist.
type sparse struct {
	size   int64
	pieces map[int64][]byte
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at, b := range s.pieces {
		lo, hi := max(at, off), min(at+int64(len(b)), off+int64(len(p)))
		if lo < hi {
			copy(p[lo-off:hi-off], b[lo-at:])
		}
	}
	if off+int64(len(p)) > s.size {
		return int(max(0, s.size-off)), io.EOF
	}
	return len(p), nil
}

func TestZip64(t *testing.T) {
	s := &sparse{pieces: map[int64][]byte{}}
	at := int64(0)
	var dir []byte
	for _, name := range []string{"README.txt", "pack.json", "manifest.jsonl"} {
		e := entry{name: name, size: maxFileSize, offset: at}
		s.pieces[at] = e.localHeader()
		dir = append(dir, e.centralHeader()...)
		at = e.end()
	}
	tail := append(dir, endRecords(3, at, int64(len(dir)))...)
	s.pieces[at], s.size = tail, at+int64(len(tail))
	problem := func(p scanProblem) { t.Errorf("%+v", p) }
	a, err := scan(s, s.size, Limits{}, problem)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.files) != 3 || a.files[2].offset <= math.MaxUint32 {
		t.Errorf("got %+v", a.files)
	}
	s.pieces[at] = bytes.Clone(tail)
	s.pieces[at][len(tail)-endSize-locator64Size-8]++ // the zip64 record's directory offset
	if _, err := scan(s, s.size, Limits{}, problem); err == nil {
		t.Error("a zip64 record with another offset was accepted")
	}
}

func TestManyEntries(t *testing.T) {
	var out bytes.Buffer
	z := &zipWriter{w: &out}
	for n := range 70_000 {
		if err := z.add("data/"+strings.Repeat("0", 8-len(itoa(n)))+itoa(n), 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.close(); err != nil {
		t.Fatal(err)
	}
	a, err := scan(bytes.NewReader(out.Bytes()), int64(out.Len()), Limits{}, func(p scanProblem) { t.Fatalf("%+v", p) })
	if err != nil || len(a.files) != 70_000 {
		t.Fatalf("%d entries, %v", len(a.files), err)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestShow(t *testing.T) {
	data := buildPack(t, content(t), edSigner(t, 1))
	s, err := Show(bytes.NewReader(data), int64(len(data)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Controls) != 2 || s.Controls[1].Exceptions != 1 || len(s.Evidence) != 3 || len(s.Signatures) != 2 || len(s.Logs) != 2 || s.Root.Totals.Evidence != 3 {
		t.Errorf("got %+v", s)
	}
	var b strings.Builder
	if err := s.WriteText(&b); err != nil || !strings.Contains(b.String(), "Nothing of this has been verified") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if _, err := Show(bytes.NewReader(data[1:]), int64(len(data)-1), Limits{}); err == nil {
		t.Error("a broken archive was shown")
	}
}

// TestTwinsSuspectWhatClashes: the quick look lets nothing pass that the slow
// one refuses.
func TestTwinsSuspectWhatClashes(t *testing.T) {
	rng := rand.New(rand.NewPCG(2026, 5))
	clashes := 0
	for range 20_000 {
		set, quick := newNameSet(), newTwins()
		var names []string
		refused, suspected := false, false
		for range 2 + rng.IntN(4) {
			var segs []string
			for range 1 + rng.IntN(3) {
				segs = append(segs, string("aAbB"[rng.IntN(4)])+"xX"[:rng.IntN(3)])
			}
			name := strings.Join(segs, "/")
			names = append(names, name)
			suspected = quick.add(name) || suspected
			refused = set.add(name) != nil || refused
		}
		if refused {
			clashes++
		}
		if refused != suspected {
			t.Fatalf("%q: refused %v, suspected %v", names, refused, suspected)
		}
	}
	if clashes < 1000 {
		t.Errorf("only %d clashes", clashes)
	}
}

func TestCollectedID(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for entry, want := range map[string]bool{
		`{"id":"` + id + `","type":"evidence.collected"}`:                  true,
		`{"id":"` + id + `","type":"evidence\u002ecollected"}`:             true, // JSON's other way to write it
		`{"id":"` + id + `","type":"pack.built"}`:                          false,
		`{"id":"` + id + `","note":"evidence.collected","type":"other"}`:   false,
		`{"id":"` + id[1:] + `","type":"evidence.collected"}`:              false,
		`{"id":"` + strings.ToUpper(id) + `","type":"evidence.collected"}`: false,
		`{"ID":"` + id + `","Type":"evidence.collected"}`:                  false, // other members, to whoever reads exactly
		`{"id":"` + id + `","ID":"x","type":"evidence.collected"}`:         true,
		`"evidence.collected"`:                                             false,
		``:                                                                 false,
	} {
		if got, ok := collectedID([]byte(entry)); ok != want || ok && hex32(got) != id {
			t.Errorf("%s: %v", entry, ok)
		}
	}
}
