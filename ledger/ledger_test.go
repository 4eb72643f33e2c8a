package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"trustpack/internal/durable"
)

func testOptions() Options {
	seed := make([]byte, SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	return Options{
		Instance: "ingest.example.com", Seed: seed,
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); at = at.Add(time.Second); return at },
	}
}

func open(t testing.TB, dir string, o Options) *Ledger {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendOne(t testing.TB, l *Ledger, log, data string) int64 {
	t.Helper()
	at, err := l.Append(context.Background(), Entry{Log: log, Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return at[0].Index
}

func fill(t testing.TB, l *Ledger, log string, n int) {
	t.Helper()
	var batch []Entry
	for i := range n {
		batch = append(batch, Entry{Log: log, Data: fmt.Appendf(nil, "%s entry %d", log, int(l.Size(log))+i)})
	}
	if _, err := l.Append(context.Background(), batch...); err != nil {
		t.Fatal(err)
	}
}

func entries(t testing.TB, l *Ledger, log string, from, to int64) []string {
	t.Helper()
	var out []string
	for e, err := range l.Entries(log, from, to) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(e))
	}
	return out
}

func TestAppendIsReadBackAndSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, testOptions())
	at, err := l.Append(context.Background(), Entry{Log: "a", Data: []byte("1")}, Entry{Log: "b", Data: []byte("2")}, Entry{Log: "a", Data: []byte("3")})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Position{{"a", 0}, {"b", 0}, {"a", 1}}; !slices.Equal(at, want) {
		t.Errorf("positions are %v, want %v", at, want)
	}
	fill(t, l, "a", 1000)
	check := func(l *Ledger) {
		t.Helper()
		if got := entries(t, l, "a", 0, math.MaxInt64); len(got) != 1002 || got[1] != "3" || got[700] != "a entry 700" {
			t.Errorf("log a has %d entries, or wrong ones", len(got))
		}
		if got := entries(t, l, "a", 255, 258); !slices.Equal(got, []string{"a entry 255", "a entry 256", "a entry 257"}) {
			t.Errorf("entries around a bundle's end are %q", got)
		}
		if e, err := l.Entry("b", 0); err != nil || string(e) != "2" {
			t.Errorf("entry 0 of b is %q, %v", e, err)
		}
		if _, err := l.Entry("b", 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("entry 1 of b: %v, want ErrNotFound", err)
		}
		if got := l.Logs(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("logs are %v", got)
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir, testOptions()))
}

func TestReadOnlyNeitherWritesNorMeetsAWriter(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, testOptions())
	fill(t, l, "a", 10)
	var locked *durable.LockedError
	if _, err := OpenReadOnly(dir, testOptions()); !errors.As(err, &locked) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("opening beside a writer: %v, want a LockedError that names the holder", err)
	}
	if _, err := Open(dir, testOptions()); !errors.As(err, &locked) {
		t.Errorf("opening twice: %v, want a LockedError", err)
	}
	l.Close()
	r, err := OpenReadOnly(dir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Append(context.Background(), Entry{Log: "a", Data: []byte("x")}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("appending: %v, want ErrReadOnly", err)
	}
	if r.Size("a") != 10 {
		t.Errorf("size is %d", r.Size("a"))
	}
}

func TestAppendRefusesBadEntriesWhole(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	for name, bad := range map[string]Entry{
		"empty":          {Log: "a"},
		"no object":      {Log: "a", Data: []byte("x"), Payload: []byte("x")},
		"no room":        {Log: "a", Data: fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", maxWithPayload-7)), Payload: []byte("x")},
		"a huge payload": {Log: "a", Data: []byte("{}"), Payload: make([]byte, maxEntry+1)},
		"too large":      {Log: "a", Data: make([]byte, maxEntry+1)},
		"upper":          {Log: "A", Data: []byte("x")},
		"path":           {Log: "../a", Data: []byte("x")},
		"no name":        {Data: []byte("x")},
		"long name":      {Log: strings.Repeat("a", 64), Data: []byte("x")},
		"dash":           {Log: "-a", Data: []byte("x")},
	} {
		if _, err := l.Append(context.Background(), Entry{Log: "a", Data: []byte("good")}, bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if l.Size("a") != 0 {
		t.Errorf("%d entries of refused batches were appended", l.Size("a"))
	}
	appendOne(t, l, "a", strings.Repeat("x", maxEntry))
}

func TestTreesAgreeWithTheReference(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	var leaves []tlog.Hash
	reference := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = leaves[x]
		}
		return out, nil
	})
	const total = 70_000 // three tile levels
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := int64(0); n < total; {
		batch := min(1+rnd.Int64N(3000), total-n)
		var es []Entry
		for i := range batch {
			data := fmt.Appendf(nil, "entry %d", n+i)
			es = append(es, Entry{Log: "a", Data: data})
			more, err := tlog.StoredHashes(n+i, data, reference)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, more...)
		}
		if _, err := l.Append(context.Background(), es...); err != nil {
			t.Fatal(err)
		}
		n += batch
		tr, err := l.find("a")
		if err != nil {
			t.Fatal(err)
		}
		_, root := tr.head()
		want, err := tlog.TreeHash(n, reference)
		if err != nil {
			t.Fatal(err)
		}
		if root != want {
			t.Fatalf("root at size %d differs from the reference", n)
		}
	}
	tr, _ := l.find("a")
	if err := tr.flush(l.fsys, true); err != nil { // half of the checks against files, half of them against memory
		t.Fatal(err)
	}
	for range 300 {
		size := 1 + rnd.Int64N(total)
		index, old := rnd.Int64N(size), 1+rnd.Int64N(size)
		root, err := tr.rootAt(size)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := tlog.TreeHash(size, reference); root != want {
			t.Fatalf("root at %d differs", size)
		}
		inclusion, err := l.InclusionProof("a", index, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(inclusion, size, root, index, LeafHash(fmt.Appendf(nil, "entry %d", index))); err != nil {
			t.Errorf("inclusion of %d at %d: %v", index, size, err)
		}
		consistency, err := l.ConsistencyProof("a", old, size)
		if err != nil {
			t.Fatal(err)
		}
		oldRoot, _ := tlog.TreeHash(old, reference)
		if err := tlog.CheckTree(consistency, size, root, old, oldRoot); err != nil && old != size {
			t.Errorf("consistency of %d and %d: %v", old, size, err)
		}
	}
}

func TestConcurrentAppendsEachStandOnceAndInOrder(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	o.segmentBytes = 20_000 // many rotations
	l := open(t, dir, o)
	const producers, each = 8, 200
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := int64(0)
			for _, err := range l.Entries("shared", 0, math.MaxInt64) {
				if err != nil {
					t.Error(err)
					return
				}
				n++
			}
			if n > 0 {
				if _, err := l.PublishCheckpoint("shared"); err != nil {
					t.Error(err)
				}
				if _, err := l.InclusionProof("shared", n-1, n); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for p := range producers {
		wg.Go(func() {
			own := fmt.Sprintf("log-%d", p)
			for i := range each {
				data := fmt.Appendf(nil, "%d/%d", p, i)
				at, err := l.Append(context.Background(), Entry{Log: "shared", Data: data}, Entry{Log: own, Data: data})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := l.Entry("shared", at[0].Index); err != nil || string(got) != string(data) {
					t.Errorf("entry %v is %q, %v; want %q", at[0], got, err, data)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	reader.Wait()
	check := func(l *Ledger) {
		t.Helper()
		next := make([]int, producers)
		for _, e := range entries(t, l, "shared", 0, math.MaxInt64) {
			var p, i int
			fmt.Sscanf(e, "%d/%d", &p, &i)
			if i != next[p] {
				t.Fatalf("producer %d: entry %d comes where %d should", p, i, next[p])
			}
			next[p]++
		}
		for p, n := range next {
			if n != each || l.Size(fmt.Sprintf("log-%d", p)) != each {
				t.Errorf("producer %d has %d entries, %d in its own log, want %d", p, n, l.Size(fmt.Sprintf("log-%d", p)), each)
			}
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, err := listSegments(durable.Disk{}, dir)
	if err != nil || len(numbers) != 1 || numbers[0] < 3 {
		t.Errorf("after closing the segments are %v, %v: want the last of several", numbers, err)
	}
	check(open(t, dir, o))
}

func TestAppendAfterContextEnded(t *testing.T) {
	l := open(t, t.TempDir(), testOptions())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		before := l.Size("a")
		_, err := l.Append(ctx, Entry{Log: "a", Data: []byte("x")})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		appendOne(t, l, "b", "settles the order")
		want := before
		if err == nil {
			want++
		}
		if l.Size("a") != want {
			t.Fatalf("Append answered %v, and the log went from %d to %d", err, before, l.Size("a"))
		}
	}
	l.Close()
	if _, err := l.Append(context.Background(), Entry{Log: "a", Data: []byte("x")}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
