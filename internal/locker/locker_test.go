package locker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

var quarter = evidence.Period{From: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)}

func open(t *testing.T, dir string) *Locker {
	t.Helper()
	seed := []byte(strings.Repeat("k", 32))
	l, err := Open(dir, Options{Instance: "example.com/test", Seed: seed, Now: func() time.Time { return quarter.From.AddDate(0, 1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func sample(id string) evidence.Evidence {
	return evidence.Evidence{
		Kind: "test.things", Collector: "test", CollectedAt: quarter.From.AddDate(0, 1, 0), Window: quarter,
		Completeness: evidence.Completeness{State: evidence.Complete, Got: 1},
		Population:   evidence.Population{Items: []evidence.Item{{ID: id, Attributes: map[string]any{"n": 3.0, "list": []any{"a"}}}}},
		Raw:          []evidence.RawReply{{Name: "reply.json", Body: []byte(`{"id":"` + id + `"}`)}},
	}
}

func put(t *testing.T, l *Locker, e evidence.Evidence) Collected {
	t.Helper()
	c, err := l.Put(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPutIsLoggedAndReadBackTheSame(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	first, second := put(t, l, sample("a")), put(t, l, sample("b"))
	if first.Index != 0 || second.Index != 1 {
		t.Errorf("log indexes are %d and %d, want 0 and 1", first.Index, second.Index)
	}
	index, packs, err := l.Index()
	if err != nil || len(index) != 2 || len(packs) != 0 || index[1] != second {
		t.Fatalf("Index() = %+v, %v, %v", index, packs, err)
	}
	got, err := l.Get(first.ID)
	if err != nil {
		t.Fatal(err)
	}
	body, err := l.Read(evidence.SHA256Hex([]byte(`{"id":"a"}`)))
	if err != nil || string(body) != `{"id":"a"}` {
		t.Errorf("raw reply is %s, %v", body, err)
	}
	got.Raw = []evidence.RawReply{{Name: "reply.json", Body: body}}
	if _, _, id, err := evidence.RecordOf(got.Evidence); err != nil || id != first.ID {
		t.Errorf("what is read back has the ID %s (%v), want %s", id, err, first.ID)
	}
}

func TestChangedBytesAreRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	c := put(t, l, sample("a"))
	changed := 0
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, append([]byte("x"), old[1:]...), 0o600); err != nil {
			return err
		}
		if err := l.Check(c.ID); err == nil || !strings.Contains(err.Error(), "changed on disk") {
			t.Errorf("Check after %s was changed: %v", filepath.Base(path), err)
		}
		if _, err := l.Read(filepath.Base(path)); err == nil || !strings.Contains(err.Error(), "changed on disk") {
			t.Errorf("Read after %s was changed: %v", filepath.Base(path), err)
		}
		changed++
		return os.WriteFile(path, old, 0o600)
	})
	if err != nil || changed != 3 {
		t.Errorf("changed %d blobs (%v), want record, population and reply", changed, err)
	}
	if err := l.Check(c.ID); err != nil {
		t.Errorf("after all was put back: %v", err)
	}
}

func TestGetUnknown(t *testing.T) {
	l := open(t, t.TempDir())
	for _, id := range []string{"", "abc", strings.Repeat("0", 64), strings.Repeat("../", 21) + "x"} {
		if _, err := l.Get(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%q) = %v, want ErrNotFound", id, err)
		}
	}
}

func TestPutMendsADamagedBlob(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	c := put(t, l, sample("a"))
	path := l.path(c.ID)
	if err := os.WriteFile(path, []byte("damage"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, l, sample("a"))
	if _, err := l.Get(c.ID); err != nil {
		t.Errorf("after the same evidence was put again: %v", err)
	}
}

func TestExcerptStandsStillWhileTheLogGrows(t *testing.T) {
	l := open(t, t.TempDir())
	entries := []Collected{put(t, l, sample("a")), put(t, l, sample("b"))}
	if _, err := l.Excerpt(entries, quarter, 0); err == nil {
		t.Error("an excerpt without a checkpoint must be refused")
	}
	if _, err := l.Ledger().Checkpoint(LogName); err != nil {
		t.Fatal(err)
	}
	first, err := l.Excerpt(entries, quarter, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Verify(first.VerifierKey); err != nil || len(first.Records) != 2 {
		t.Errorf("%d records, %v", len(first.Records), err)
	}
	p := PackBuilt{Period: quarter, Sequence: 1, SHA256: "aa", PackJSON: "bb"}
	for range 2 {
		if _, err := l.PutPack(context.Background(), p, []byte(`["heads"]`)); err != nil {
			t.Fatal(err)
		}
	}
	_, packs, err := l.Index()
	if err != nil || len(packs) != 1 {
		t.Fatalf("the same pack was entered %d times (%v), want once", len(packs), err)
	}
	if heads, err := l.Read(packs[0].Logs); err != nil || string(heads) != `["heads"]` {
		t.Errorf("the logs that it cites are %s, %v", heads, err)
	}
	if _, err := l.Ledger().Checkpoint(LogName); err != nil {
		t.Fatal(err)
	}
	again, err := l.Excerpt(entries, quarter, 0)
	if err != nil || again.Checkpoint != first.Checkpoint {
		t.Errorf("the excerpt moved with the log: %v", err)
	}
}

// TestExcerptFollowsThePackBefore: what the next pack cites begins exactly
// where the one before ended, and never ends below.
func TestExcerptFollowsThePackBefore(t *testing.T) {
	l := open(t, t.TempDir())
	checkpoint := func() {
		t.Helper()
		if _, err := l.Ledger().Checkpoint(LogName); err != nil {
			t.Fatal(err)
		}
	}
	first := put(t, l, sample("a"))
	checkpoint()
	second := put(t, l, sample("b"))
	checkpoint()
	third := put(t, l, sample("c"))
	checkpoint()
	for _, c := range []struct {
		name            string
		entries         []Collected
		after, from, to int64
		steps           int
	}{
		{name: "first pack", entries: []Collected{first}, to: 1, steps: 1},
		{name: "next pack", entries: []Collected{first, third}, after: 1, from: 1, to: 3, steps: 2},
		{name: "next pack of older evidence", entries: []Collected{first, second}, after: 3, from: 3, to: 3},
	} {
		e, err := l.Excerpt(c.entries, quarter, c.after)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		size := func(note string) int64 {
			if note == "" {
				return 0
			}
			p, err := ledger.OpenCheckpoint([]byte(note), e.VerifierKey)
			if err != nil {
				t.Fatal(err)
			}
			return p.Size
		}
		if size(e.Previous) != c.from || size(e.Checkpoint) != c.to || len(e.History) != c.steps || len(e.Records) != len(c.entries) {
			t.Errorf("%s: from %d to %d in %d steps with %d records", c.name, size(e.Previous), size(e.Checkpoint), len(e.History), len(e.Records))
		}
	}
	if _, err := l.Excerpt([]Collected{first}, quarter, 17); err == nil {
		t.Error("an excerpt is cut that begins where the log has no checkpoint")
	}
}

func TestOpenForReadingNeedsNoKeyAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	c := put(t, l, sample("a"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir, Options{Instance: "example.com/test"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Get(c.ID); err != nil {
		t.Error(err)
	}
	if _, err := r.Put(context.Background(), sample("b")); err == nil {
		t.Error("a locker that is opened to read took evidence in")
	}
}

// TestExcerptOfManyEntries: where many entries are cited, the excerpt cites the
// bundles that hold them.
func TestExcerptOfManyEntries(t *testing.T) {
	l := open(t, t.TempDir())
	ctx := context.Background()
	var batch []ledger.Entry
	for range 1000 {
		batch = append(batch, ledger.Entry{Log: LogName, Data: []byte(`{"type":"other"}`)})
	}
	if _, err := l.Ledger().Append(ctx, batch...); err != nil {
		t.Fatal(err)
	}
	entries := []Collected{put(t, l, sample("a"))}
	if _, err := l.Ledger().Append(ctx, batch...); err != nil {
		t.Fatal(err)
	}
	entries = append(entries, put(t, l, sample("b")))
	for n := range int64(ledger.MostRecords) { // further entries, as if they were collections
		entries = append(entries, Collected{Index: n})
	}
	if _, err := l.Ledger().Checkpoint(LogName); err != nil {
		t.Fatal(err)
	}
	few, err := l.Excerpt(entries[:ledger.MostRecords], quarter, 0)
	if err != nil || few.Tiles != nil || len(few.Records) != ledger.MostRecords {
		t.Errorf("few: %d records, tiles %v, %v", len(few.Records), few.Tiles, err)
	}
	many, err := l.Excerpt(entries, quarter, 0)
	if err != nil || len(many.Records) != 0 || many.Tiles == nil || !slices.Equal(many.Tiles.Bundles, []int64{0, 3, 7}) {
		t.Fatalf("many: %d records, tiles %+v, %v", len(many.Records), many.Tiles, err)
	}
	bundle, err := many.Tiles.Read("tile/entries/003")
	if err != nil || !bytes.Contains(bundle, []byte(entries[0].ID)) {
		t.Errorf("bundle 3 does not hold %s: %v", entries[0].ID, err)
	}
}
