package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable/crashfs"
)

// testWitness is a small witness (c2sp.org/tlog-witness) that keeps the last
// checkpoint it cosigned for each log it was told of.
type testWitness struct {
	*httptest.Server
	key     string
	private ed25519.PrivateKey
	logs    map[string]string // verifier key by origin

	mu     sync.Mutex
	seen   map[string]Checkpoint
	asked  int
	answer func([]byte) []byte // changes what it says, if set
}

func newTestWitness(t *testing.T, vkeys ...string) *testWitness {
	t.Helper()
	w := witnessOf(vkeys...)
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

// someWitness is one that serves no HTTP and knows log a of testOptions.
func someWitness(t *testing.T) *testWitness {
	t.Helper()
	vkey, err := VerifierKey(testOptions().Seed, testOptions().Instance+"/a")
	if err != nil {
		t.Fatal(err)
	}
	return witnessOf(vkey)
}

func (w *testWitness) clone() *testWitness {
	return &testWitness{key: w.key, private: w.private, logs: w.logs, seen: maps.Clone(w.seen)}
}

func witnessOf(vkeys ...string) *testWitness {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("w", ed25519.SeedSize)))
	w := &testWitness{private: private, logs: map[string]string{}, seen: map[string]Checkpoint{}}
	material := append([]byte{cosignatureKey}, private.Public().(ed25519.PublicKey)...)
	w.key = fmt.Sprintf("witness.example/w1+%08x+%s", keyID("witness.example/w1", material), base64.StdEncoding.EncodeToString(material))
	for _, k := range vkeys {
		origin, _, _ := strings.Cut(k, "+")
		w.logs[origin] = k
	}
	return w
}

func (w *testWitness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/add-checkpoint" || r.Method != "POST" {
		http.Error(rw, "", 400)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	reply, status := w.addCheckpoint(body)
	if w.answer != nil {
		reply = w.answer(reply)
	}
	if status == 409 {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
	}
	rw.WriteHeader(status)
	rw.Write(reply)
}

func (w *testWitness) addCheckpoint(body []byte) ([]byte, int) {
	head, signed, _ := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	digits, ok := strings.CutPrefix(lines[0], "old ")
	old, err := parseDecimal(digits)
	proof, err2 := parseHashes(lines[1:])
	if !ok || err != nil || err2 != nil {
		return nil, 400
	}
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	origin, _, _ := strings.Cut(string(text), "\n")
	vkey, known := w.logs[origin]
	if !known {
		return nil, 404
	}
	c, err := OpenCheckpoint(signed, vkey)
	if err != nil {
		return nil, 403
	}
	before := w.seen[origin]
	switch {
	case old > c.Size:
		return nil, 400
	case old != before.Size, old == c.Size && old > 0 && before.Root != c.Root:
		return fmt.Appendf(nil, "%d\n", before.Size), 409
	case old == 0 && len(proof) > 0:
		return nil, 422
	case old > 0 && old < c.Size:
		if tlog.CheckTree(tlog.TreeProof(proof), c.Size, c.Root, old, before.Root) != nil {
			return nil, 422
		}
	}
	w.seen[origin] = c
	return []byte("— other.example AAAAAAAA\n" + w.sign(string(text)+"\n", 1782864000)), 200
}

func (w *testWitness) sign(text string, at uint64) string {
	sig := ed25519.Sign(w.private, cosigned(at, []byte(text)))
	v, err := newWitnessVerifier(w.key)
	if err != nil {
		panic(err)
	}
	line := binary.BigEndian.AppendUint32(nil, v.hash)
	line = binary.BigEndian.AppendUint64(line, at)
	return fmt.Sprintf("— %s %s\n", v.name, base64.StdEncoding.EncodeToString(append(line, sig...)))
}

func post(ctx context.Context, url string, body []byte) ([]byte, int, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return reply, resp.StatusCode, err
}

func mustKey(t *testing.T, l *Ledger, log string) string {
	t.Helper()
	vkey, err := l.VerifierKey(log)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

func TestWitnessCosigns(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	l := open(t, dir, o)
	vkey := mustKey(t, l, "a")
	w := newTestWitness(t, vkey)
	at := Witness{URL: w.URL + "/", Key: w.key}
	if err := l.Cosign(t.Context(), "a", at, post); !errors.Is(err, ErrNotFound) {
		t.Errorf("a log without a checkpoint: %v", err)
	}
	for _, n := range []int{3, 500, 0, 7} {
		fill(t, l, "a", n)
		if err := l.PublishCheckpoints(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a second time changes nothing
			if err := l.Cosign(t.Context(), "a", at, post); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(l *Ledger) {
		t.Helper()
		signed, err := l.LastCheckpoint("a")
		if err != nil {
			t.Fatal(err)
		}
		c, by, err := OpenCosigned(signed, vkey, []string{w.key})
		if err != nil || c.Size != 510 || len(by) != 1 || by[0].Witness != "witness.example/w1" || by[0].Time.Unix() != 1782864000 {
			t.Errorf("%+v, %+v, %v", c, by, err)
		}
		if n := strings.Count(string(signed), "\n— "); n != 2 {
			t.Errorf("%d signatures: %s", n, signed)
		}
		past, err := l.Checkpoints("a")
		if err != nil || past[len(past)-1].Note != string(signed) {
			t.Errorf("the history ends with another note: %v", err)
		}
		if got := sizesOf(past); got != "3, 510" {
			t.Errorf("the history is %s", got)
		}
		if _, by, err := OpenCosigned([]byte(past[0].Note), vkey, []string{w.key}); err != nil || len(by) != 1 {
			t.Errorf("the first of the history: %+v, %v", by, err)
		}
	}
	check(l)
	l.Close()
	l = open(t, dir, o)
	check(l)
	asked := w.asked
	if err := l.Cosign(t.Context(), "a", at, post); err != nil {
		t.Fatal(err)
	}
	if w.asked != asked+1 {
		t.Errorf("%d calls: what was cosigned before can be read out of the checkpoint", w.asked-asked)
	}
	asked = w.asked
	fill(t, l, "a", 1)
	if _, err := l.Checkpoint("a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Cosign(t.Context(), "a", at, post); err != nil || w.asked != asked+1 {
		t.Errorf("%v after %d calls: the size that was cosigned before should be known", err, w.asked-asked)
	}
	e, err := l.Excerpt("a", 3, []int64{5})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(vkey); err != nil {
		t.Errorf("an excerpt with cosignatures: %v", err)
	}
}

func TestBadAnswersOfAWitness(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	fill(t, l, "a", 5)
	signed, err := l.Checkpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	w := newTestWitness(t, mustKey(t, l, "a"))
	at := Witness{URL: w.URL, Key: w.key}
	for name, c := range map[string]struct {
		reply  string
		status int
		err    error
		want   string
	}{
		"nothing":        {"", 200, nil, "holds no cosignature"},
		"another key":    {"— other.example/w1 AAAAAAAA\n", 200, nil, "holds no cosignature"},
		"another text":   {w.sign(text+"\nmore\n", 1), 200, nil, "does not verify"},
		"time too large": {w.sign(text+"\n", 1<<63), 200, nil, "does not verify"},
		"no size":        {"five\n", 409, nil, "reading what size it knows"},
		"unknown log":    {"", 404, nil, "have it configured there"},
		"untrusted":      {"", 403, nil, "another key of this log"},
		"broken":         {"oops", 500, nil, `answered 500: "oops"`},
		"unreachable":    {"", 0, errors.New("no route"), "no route"},
		"never the same": {"", 0, nil, "another size each time"},
	} {
		n := 0
		say := func(_ context.Context, _ string, body []byte) ([]byte, int, error) {
			if name == "never the same" {
				n++
				return fmt.Appendf(nil, "%d\n", n), 409, nil
			}
			return []byte(c.reply), c.status, c.err
		}
		if err := l.Cosign(t.Context(), "a", at, say); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := l.LastCheckpoint("a"); err != nil || string(now) != string(signed) {
			t.Errorf("%s: the checkpoint was changed: %s, %v", name, now, err)
		}
	}
	for _, bad := range []string{"", "a", "a+b", "a+b+c", mustKey(t, l, "a"), strings.Replace(w.key, "w1+", "w2+", 1), w.key + "AA"} {
		if err := l.Cosign(t.Context(), "a", Witness{URL: w.URL, Key: bad}, post); err == nil || !strings.Contains(err.Error(), "witness key") {
			t.Errorf("key %q: %v", bad, err)
		}
	}
	appendOne(t, l, "a", "goes on")
}

// TestRollbackIsNoticedWhereAWitnessKnowsBetter takes the whole directory
// back, the checkpoints included.
func TestRollbackIsNoticedWhereAWitnessKnowsBetter(t *testing.T) {
	o := testOptions()
	disk := crashfs.New()
	o.fsys = disk
	l := open(t, "/ledger", o)
	w := newTestWitness(t, mustKey(t, l, "a"))
	at := Witness{URL: w.URL, Key: w.key}
	cosign := func(l *Ledger) error {
		if _, err := l.Checkpoint("a"); err != nil {
			return err
		}
		return l.Cosign(t.Context(), "a", at, post)
	}
	fill(t, l, "a", 5)
	if err := cosign(l); err != nil {
		t.Fatal(err)
	}
	l.Close()
	old := disk.Restart()
	o.fsys = old
	l = open(t, "/ledger", o)
	fill(t, l, "a", 5)
	if err := cosign(l); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := l.LastCheckpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		add int // entries before the witness is asked
		ask func(*Ledger) error
	}{
		"at once":              {0, cosign},
		"another, as long":     {5, cosign},
		"another, longer":      {9, cosign},
		"a copy, at once":      {0, func(l *Ledger) error { return l.HoldTo("a", elsewhere, "copy.txt") }},
		"a copy, another tree": {7, func(l *Ledger) error { return l.HoldTo("a", elsewhere, "copy.txt") }},
	} {
		o.fsys = disk.Restart()
		l := open(t, "/ledger", o)
		for range c.add {
			appendOne(t, l, "a", "something else")
		}
		err := c.ask(l)
		var r *RollbackError
		if !errors.Is(err, ErrRollback) || !errors.As(err, &r) || r.Log != "a" || r.Seen != 10 || r.Size != int64(5+c.add) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := l.Append(t.Context(), Entry{Log: "a", Data: []byte("x")}); !errors.Is(err, ErrRollback) || !errors.Is(err, ErrJournalLost) {
			t.Errorf("%s: appending then says %v", name, err)
		}
		if _, err := l.Checkpoint("a"); !errors.Is(err, ErrRollback) {
			t.Errorf("%s: signing then says %v", name, err)
		}
		l.Close()
	}
	if err := l.HoldTo("a", elsewhere, "copy.txt"); err != nil {
		t.Errorf("a copy that agrees: %v", err)
	}
	// Only the checkpoints are taken back: the witness's size is within the
	// tree, so a newer one is signed and cosigned.
	l.Close()
	files := old.Restart()
	files.Put(filepath.Join("/ledger", signedFile), disk.Files()[filepath.Join("/ledger", signedFile)])
	o.fsys = files
	l = open(t, "/ledger", o)
	if err := l.Cosign(t.Context(), "a", at, post); err != nil {
		t.Errorf("checkpoints taken back: %v", err)
	}
	if signed, err := l.LastCheckpoint("a"); err != nil || !strings.Contains(string(signed), "\n10\n") {
		t.Errorf("%s, %v", signed, err)
	}
}
