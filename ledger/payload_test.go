package ledger

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// handClock is a clock that stands until it is set.
type handClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *handClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *handClock) set(text string) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func handOptions(at string) (Options, *handClock) {
	c := &handClock{}
	c.set(at)
	o := testOptions()
	o.Now = c.now
	return o, c
}

// fillPayloads appends n entries with payloads that do not compress, of size
// bytes each.
func fillPayloads(t testing.TB, l *Ledger, log string, n, size int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(l.Size(log)), 7))
	var batch []Entry
	for i := range n {
		payload := make([]byte, size)
		for k := range payload {
			payload[k] = byte(r.Uint32())
		}
		batch = append(batch, Entry{Log: log, Data: fmt.Appendf(nil, `{"n":%d}`, int(l.Size(log))+i), Payload: payload})
	}
	if _, err := l.Append(context.Background(), batch...); err != nil {
		t.Fatal(err)
	}
}

func closeLedger(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// wantProblem wants fsck to report what contains text, or nothing where text
// is empty.
func wantProblem(t *testing.T, what, dir, text string) Report {
	t.Helper()
	r, err := Fsck(dir, FsckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range r.Problems {
		said = append(said, p.String())
	}
	if all := strings.Join(said, "; "); text == "" && all != "" || !strings.Contains(all, text) {
		t.Errorf("%s: fsck says %q, want %q", what, all, text)
	}
	return r
}

func TestEntriesCommitToTheirPayloads(t *testing.T) {
	dir := t.TempDir()
	o, _ := handOptions("2026-07-01T10:00:00Z")
	l := open(t, dir, o)
	batch := []Entry{
		{Log: "a", Data: []byte(`{"old":"style"}`)},
		{Log: "a", Data: []byte(`{"k":1}`), Payload: []byte(`{"kw":1.5}`)},
		{Log: "b", Data: []byte(`{}`), Payload: []byte("x")},
		{Log: "a", Data: []byte(`{"k":2}`), Payload: []byte(`{"kw":1.5}`)},
		{Log: "a", Data: []byte(`{"t":"tally"}`)},
	}
	at, err := l.Append(context.Background(), batch...)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, "a", 300)
	fillPayloads(t, l, "a", 10, 50) // beyond a gap
	check := func(l *Ledger) {
		t.Helper()
		for i, p := range at {
			if err := checkEntry(l, p, batch[i]); err != nil {
				t.Errorf("%v: %v", p, err)
			}
		}
		if payload, _, err := l.Payload("a", 307); err != nil || len(payload) != 50 {
			t.Errorf("beyond a gap: %d bytes, %v", len(payload), err)
		}
		if _, _, err := l.Payload("a", 100); !errors.Is(err, ErrNoPayload) {
			t.Errorf("an entry without payload: %v", err)
		}
		for _, p := range []Position{{"a", 1 << 40}, {"a", -1}, {"z", 0}} {
			if _, _, err := l.Payload(p.Log, p.Index); !errors.Is(err, ErrNotFound) {
				t.Errorf("%v: %v, want ErrNotFound", p, err)
			}
		}
		for payload, want := range map[string]bool{`{"kw":1.5}`: true, `{"kw":1.6}`: false} {
			if is, err := l.HasPayload("a", 1, []byte(payload)); err != nil || is != want {
				t.Errorf("%s is the payload: %v, %v", payload, is, err)
			}
		}
		n := 0
		for data, err := range l.Data("a", 0, 4) {
			if want := [][]byte{batch[0].Data, batch[1].Data, batch[3].Data, batch[4].Data}; err != nil || !bytes.Equal(data, want[n]) {
				t.Errorf("data %d is %s, %v", n, data, err)
			}
			n++
		}
		// The leaf is what is hashed, served and proved.
		leaf, err := l.Entry("a", 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := entries(t, l, "a", 1, 2); got[0] != string(leaf) {
			t.Errorf("Entries gives %q", got)
		}
		hash, err := l.ReadTile("a", "tile/0/000.p/2")
		if err != nil || tlog.Hash(hash[32:]) != LeafHash(leaf) {
			t.Errorf("hash of %s: %x, %v", leaf, hash, err)
		}
		if bundle, err := l.ReadTile("a", "tile/entries/000.p/2"); err != nil || !bytes.HasSuffix(bundle, leaf) {
			t.Errorf("bundle: %q, %v", bundle, err)
		}
	}
	check(l)
	// The salt, made anew from the file of the key.
	name := filepath.Join(dir, "payloads", "a", "2026-07-01.key")
	key, err := os.ReadFile(name)
	if err != nil || len(key) != 32 {
		t.Fatalf("key: %d bytes, %v", len(key), err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key: %v, %v", info.Mode(), err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	stream := make([]byte, 4*aes.BlockSize)
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(stream, stream)
	_, salt, err := l.Payload("a", 2)
	if err != nil || !bytes.Equal(salt, stream[2*aes.BlockSize:3*aes.BlockSize]) {
		t.Errorf("salt %x, %v", salt, err)
	}
	t.Run("openssl", func(t *testing.T) {
		tool, err := exec.LookPath("openssl")
		if err != nil {
			t.Skip("openssl is not installed")
		}
		cmd := exec.Command(tool, "enc", "-aes-256-ctr", "-K", hex.EncodeToString(key), "-iv", fmt.Sprintf("%032x", 2))
		cmd.Stdin = bytes.NewReader(make([]byte, 16))
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, salt) {
			t.Errorf("openssl gives the salt %x, %v; the ledger %x", out, err, salt)
		}
	})
	if other, err := os.ReadFile(filepath.Join(dir, "payloads", "b", "2026-07-01.key")); err != nil || bytes.Equal(key, other) {
		t.Errorf("two logs have one key: %v", err)
	}
	signed, err := l.Checkpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	l = open(t, dir, o)
	check(l)
	if again, err := l.Checkpoint("a"); err != nil || !bytes.Equal(signed, again) {
		t.Errorf("the checkpoint changed: %v", err)
	}
	fillPayloads(t, l, "a", 1, 10) // with the key that is there
	closeLedger(t, l)
	if again, err := os.ReadFile(name); err != nil || !bytes.Equal(key, again) {
		t.Errorf("the day has another key now: %v", err)
	}
	readOnly, err := OpenReadOnly(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	check(readOnly)
	closeLedger(t, readOnly)
	if r := wantProblem(t, "sound", dir, ""); r.Payloads != 14 {
		t.Errorf("%d payloads were checked, want 14", r.Payloads)
	}
}

func TestPayloadDayNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	o, clock := handOptions("2026-07-01T23:59:59Z")
	l := open(t, dir, o)
	var want []string
	step := func(at, day string) {
		clock.set(at)
		fillPayloads(t, l, "a", 1, 10)
		want = append(want, day)
	}
	step("2026-07-01T23:59:59Z", "2026-07-01")
	step("2026-07-02T00:00:00Z", "2026-07-02")
	step("2026-06-30T12:00:00Z", "2026-07-02")
	closeLedger(t, l)
	l = open(t, dir, o)
	step("2026-07-01T12:00:00Z", "2026-07-02") // the log knows better than the clock
	step("2026-07-03T12:00:00Z", "2026-07-03")
	// Another log has a day of its own.
	clock.set("2026-07-01T00:00:00Z")
	fillPayloads(t, l, "b", 1, 10)
	check := func(l *Ledger) {
		t.Helper()
		tree, err := l.find("a")
		if err != nil {
			t.Fatal(err)
		}
		for i, day := range want {
			f, err := tree.frameOf(l, int64(i))
			if err != nil || f.day.String() != day {
				t.Errorf("payload %d is of %v, want %s: %v", i, f.day, day, err)
			}
		}
	}
	check(l)
	closeLedger(t, l)
	l = open(t, dir, o)
	check(l)
	for name, want := range map[string]int{"a/2026-06-30.key": 0, "a/2026-07-03.zst": 1, "b/2026-07-01.key": 1, "b/2026-07-02.key": 0} {
		if _, err := os.Stat(filepath.Join(dir, "payloads", filepath.FromSlash(name))); (err == nil) != (want == 1) {
			t.Errorf("%s: %v", name, err)
		}
	}
	closeLedger(t, l)
	wantProblem(t, "sound", dir, "")
}

// TestPayloadRangeFindsByTime holds the time index to a list kept beside it,
// also where the clock went back.
func TestPayloadRangeFindsByTime(t *testing.T) {
	dir := t.TempDir()
	o, clock := handOptions("2026-07-01T00:00:00Z")
	l := open(t, dir, o)
	fill(t, l, "a", 5)
	var times []time.Time // of the payloads, from index 5 on
	grow := func(n int, step time.Duration) {
		for range n {
			clock.mu.Lock()
			clock.at = clock.at.Add(step)
			clock.mu.Unlock()
			fillPayloads(t, l, "a", 4, 20_000) // a frame
			for range 4 {
				times = append(times, clock.now())
			}
		}
	}
	grow(40, 2*time.Hour)
	closeLedger(t, l)
	l = open(t, dir, o)
	grow(10, time.Hour)
	check := func(what string, narrow bool) {
		t.Helper()
		begin := time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC)
		for h := range 8 * 24 {
			from := begin.Add(time.Duration(h) * time.Hour)
			to := from.Add(5 * time.Hour)
			first, end, err := l.PayloadRange("a", from, to)
			if err != nil {
				t.Fatal(err)
			}
			inside := 0
			for i, at := range times {
				if !at.Before(from) && at.Before(to) {
					inside++
					if index := int64(i) + 5; index < first || index >= end {
						t.Fatalf("%s: entry %d of %v is not in %d to %d for %v to %v", what, index, at, first, end, from, to)
					}
				}
			}
			if narrow && inside > 0 && first > 5 && end-first > int64(inside)+12 {
				t.Errorf("%s: %d to %d for the %d entries from %v on", what, first, end, inside, from)
			}
		}
	}
	check("memory and files", true)
	if first, end, err := l.PayloadRange("a", time.Unix(0, 0), clock.now().Add(1)); err != nil || first != 0 || end != l.Size("a") {
		t.Errorf("all of it is %d to %d, %v", first, end, err)
	}
	if _, _, err := l.PayloadRange("z", time.Unix(0, 0), clock.now()); !errors.Is(err, ErrNotFound) {
		t.Errorf("no log: %v", err)
	}
	clock.mu.Lock()
	clock.at = clock.at.Add(-30 * time.Hour)
	clock.mu.Unlock()
	grow(20, time.Hour)
	check("a clock that went back", false)
	closeLedger(t, l)
	l = open(t, dir, o)
	check("reopened", false)
}

// TestOtherSaltsAreRefused takes a journal from when salts were made otherwise:
// its payloads would not be what the entries commit to.
func TestOtherSaltsAreRefused(t *testing.T) {
	b := sampleSegment()
	binary.BigEndian.PutUint32(b[8:], 4)
	binary.BigEndian.PutUint32(b[60:], castagnoli(b[:60]))
	if _, err := parseSegmentHeader(b); err == nil || !strings.Contains(err.Error(), "format version 4") {
		t.Errorf("a segment of version 4: %v", err)
	}
}

// TestOlderLedgerOpens takes a ledger as it was left before there were
// payloads.
func TestOlderLedgerOpens(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, testOptions())
	fill(t, l, "a", 300)
	if err := l.PublishCheckpoints(); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "older") // killed, so that the journal is wanted
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(older, "payloads")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(older, segmentName(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(b[8:], 3)
	binary.BigEndian.PutUint32(b[60:], castagnoli(b[:60]))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "as it was", older, "")
	l = open(t, older, testOptions())
	if got := entries(t, l, "a", 299, 300); l.Size("a") != 300 || got[0] != "a entry 299" {
		t.Errorf("%d entries, the last %q", l.Size("a"), got)
	}
	fillPayloads(t, l, "a", 3, 10)
	closeLedger(t, l)
	l = open(t, older, testOptions())
	if payload, _, err := l.Payload("a", 302); err != nil || len(payload) != 10 {
		t.Errorf("%d bytes, %v", len(payload), err)
	}
	closeLedger(t, l)
	wantProblem(t, "gone on", older, "")
}

func TestDamageOfPayloadsIsNamed(t *testing.T) {
	dir := t.TempDir()
	o, clock := handOptions("2026-07-01T00:00:00Z")
	l := open(t, dir, o)
	for day := 1; day <= 3; day++ {
		clock.set(fmt.Sprintf("2026-07-0%dT00:00:00Z", day))
		fillPayloads(t, l, "a", 9, 20_000)
	}
	closeLedger(t, l)
	in := func(dir, name string) string { return filepath.Join(dir, "payloads", "a", name) }
	change := func(name string, do func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(in(dir, name))
			if err == nil {
				err = os.WriteFile(in(dir, name), do(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(name string, at int) func(*testing.T, string) {
		return change(name, func(b []byte) []byte { b[at] ^= 1; return b })
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				if err := os.Remove(in(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for what, c := range map[string]struct {
		spoil func(*testing.T, string)
		fsck  string
		read  bool // the payload of entry 1 can still be read
	}{
		"payload changed":     {flip("2026-07-01.zst", 30_000), "2026-07-01.zst: damaged at byte 0", false},
		"key changed":         {flip("2026-07-01.key", 3), "entry 0: the payload is not what the entry commits to", false},
		"key cut":             {change("2026-07-01.key", func(b []byte) []byte { return b[:31] }), "want a key of 32", false},
		"key gone":            {remove("2026-07-01.key"), "2026-07-01.key: the key is missing", false},
		"a day gone":          {remove("2026-07-01.key", "2026-07-01.zst", "2026-07-01.idx"), "those of 9 entries in all up to 8, and no purge erased them", false},
		"another day gone":    {remove("2026-07-02.key", "2026-07-02.zst", "2026-07-02.idx"), "entry 9: the payload is missing", true},
		"the last day gone":   {remove("2026-07-03.key", "2026-07-03.zst", "2026-07-03.idx"), "2026-07-03.idx: damaged at byte 0: it is missing", false},
		"index record":        {flip("2026-07-01.idx", 3), "2026-07-01.idx: damaged at byte 0", false},
		"index cut":           {change("2026-07-01.idx", func(b []byte) []byte { return b[:32] }), "entry 4: the payload is missing", true},
		"index torn":          {change("2026-07-01.idx", func(b []byte) []byte { return b[:33] }), "2026-07-01.idx: damaged at byte 33", false},
		"payloads cut":        {change("2026-07-01.zst", func(b []byte) []byte { return b[:len(b)-1] }), "2026-07-01.zst: damaged at byte", false},
		"last payloads cut":   {change("2026-07-03.zst", func(b []byte) []byte { return b[:len(b)-1] }), "2026-07-03.zst: damaged at byte", false},
		"commitment":          {func(t *testing.T, dir string) { flipFile(t, filepath.Join(dir, "logs", "a", "commitments"), 70) }, "hash 2", true},
		"a file of no day":    {func(t *testing.T, dir string) { writeFile(t, in(dir, "yesterday.idx")) }, "yesterday.idx", false},
		"another day's frame": {func(t *testing.T, dir string) { copyOver(t, in(dir, "2026-07-02.idx"), in(dir, "2026-07-01.idx")) }, "2026-07-0", false},
	} {
		copyDir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copyDir, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		c.spoil(t, copyDir)
		wantProblem(t, what, copyDir, c.fsck)
		l, err := OpenReadOnly(copyDir, o)
		if err == nil {
			if _, _, err = l.Payload("a", 1); err == nil && l.Size("a") != 27 {
				t.Errorf("%s: %d entries", what, l.Size("a"))
			}
			closeLedger(t, l)
		}
		var d *DamageError
		if c.read != (err == nil) || err != nil && !errors.As(err, &d) {
			t.Errorf("%s: reading: %v", what, err)
		}
	}
}

func flipFile(t *testing.T, path string, at int) {
	b, err := os.ReadFile(path)
	if err == nil {
		b[at] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path string) {
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyOver(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPayloadsAreReadWhileTheyGrow reads what was acknowledged from memory and
// from files, while both change.
func TestPayloadsAreReadWhileTheyGrow(t *testing.T) {
	o := testOptions()
	o.segmentBytes, o.flushLag = 1<<20, 1
	l := open(t, t.TempDir(), o)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			log := []string{"a", "b"}[w%2]
			for n := range 150 {
				batch := []Entry{}
				for i := range 20 {
					batch = append(batch, Entry{Log: log, Data: fmt.Appendf(nil, `{"w":%d,"n":%d,"i":%d}`, w, n, i), Payload: fmt.Appendf(nil, "%d/%d/%d %s", w, n, i, strings.Repeat("y", r.IntN(900)))})
				}
				at, err := l.Append(context.Background(), batch...)
				if err != nil {
					t.Error(err)
					return
				}
				i := r.IntN(len(at))
				if err := checkEntry(l, at[i], batch[i]); err != nil {
					t.Errorf("%v: %v", at[i], err)
				}
				if _, _, err := l.Payload(log, r.Int64N(at[0].Index+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// testKey is a day's key of zeros.
func testKey(t testing.TB, day utcDay) *payloadKey {
	t.Helper()
	key, err := newPayloadKey(day, make([]byte, payloadKeyLen))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
