package pack

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"trustpack/ledger"
)

func showEntry(data []byte, keys []string, log string, index int64) (ShownEntry, error) {
	return ShowEntry(bytes.NewReader(data), int64(len(data)), Limits{}, keys, log, index)
}

// TestShowEntry: an entry is shown that stands as a file, or in a bundle, under
// a key of its log or without one; what is not there is said not to be.
func TestShowEntry(t *testing.T) {
	m := newVectorMaker(t)
	c, log := tiledContent(t)
	tiled := buildPack(t, c, m.vendor)
	vkeys := options(t, m.vendor).LogKeys
	for _, tc := range []struct {
		data  []byte
		log   string
		index int64
		want  string
		path  string
	}{
		{m.good, "control", 3, "entry 3", "control/entries/3.entry"},
		{m.good, "ingest.example/control", 19, "entry 19", "control/entries/19.entry"},
		{tiled, "evidence", 512, "entry 512", "evidence/tile/entries/002"},
		{tiled, "evidence", 767, "entry 767", "evidence/tile/entries/002"},
		{tiled, "evidence", 257 * 256, "entry 65792", "evidence/tile/entries/257.p/208"},
		{tiled, "evidence", tiledSize - 1, string(log.entries[tiledSize-1]), "evidence/tile/entries/257.p/208"},
	} {
		for _, keys := range [][]string{nil, vkeys} {
			got, err := showEntry(tc.data, keys, tc.log, tc.index)
			if err != nil || string(got.Entry) != tc.want || got.Index != tc.index || got.Path != "data/log/ingest.example/"+tc.path || got.Signed != (keys != nil) {
				t.Errorf("%s %d: %+v, %v", tc.log, tc.index, got, err)
			}
		}
	}
	for _, tc := range []struct {
		data  []byte
		log   string
		index int64
		say   string
	}{
		{m.good, "control", 4, "not among the entries that the pack cites"},
		{m.good, "control", 20, "its checkpoint is of 20 entries"},
		{m.good, "control", -1, "its checkpoint is of 20 entries"},
		{m.good, "ontrol", 3, "it has ingest.example/evidence, ingest.example/control"},
		{m.good, "", 3, "it has ingest.example/evidence, ingest.example/control"},
		{tiled, "evidence", 100, "not among the entries that the pack cites"},
		{tiled, "evidence", tiledSize, "its checkpoint is of 66000 entries"},
	} {
		if got, err := showEntry(tc.data, vkeys, tc.log, tc.index); !errors.Is(err, ErrNotHeld) || !strings.Contains(err.Error(), tc.say) || got.Entry != nil {
			t.Errorf("%s %d: %+v, %v", tc.log, tc.index, got, err)
		}
	}
	heads := []LogHead{{Origin: "a.example/control"}, {Origin: "b.example/control"}}
	if _, err := chooseLog(heads, "control"); !errors.Is(err, ErrNotHeld) || !strings.Contains(err.Error(), "2 logs") {
		t.Errorf("two logs of one name: %v", err)
	}
	if got, err := chooseLog(heads, "b.example/control"); err != nil || got != heads[1] {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestShowEntryThatIsWithheld, which is told from one that was never there.
func TestShowEntryThatIsWithheld(t *testing.T) {
	s := edSigner(t, 1)
	c, _ := tiledContent(t)
	data := buildPack(t, c, s)
	short, _ := redacted(t, data, s, tiledDir+"tile/entries/002", "data/log/ingest.example/control/entries/3.entry")
	for log, index := range map[string]int64{"evidence": 600, "control": 3} {
		var withheld *WithheldError
		if got, err := showEntry(short, nil, log, index); !errors.As(err, &withheld) || got.Entry != nil {
			t.Errorf("%s %d: %+v, %v", log, index, got, err)
		}
	}
	for log, index := range map[string]int64{"evidence": tiledSize - 2, "control": 19} {
		if _, err := showEntry(short, nil, log, index); err != nil {
			t.Errorf("%s %d: %v", log, index, err)
		}
	}
	if _, err := showEntry(short, nil, "control", 4); !errors.Is(err, ErrNotHeld) {
		t.Errorf("an entry that was never there: %v", err)
	}
}

// TestShowEntryOfATamperedPack: under the log's key nothing is shown but what
// the log holds, whatever was done to the pack, and be it by the vendor.
func TestShowEntryOfATamperedPack(t *testing.T) {
	vkeys := options(t, edSigner(t, 1)).LogKeys
	hold := func(name string, data []byte, log string, index int64, want string) bool {
		t.Helper()
		got, err := showEntry(data, vkeys, log, index)
		if err == nil && string(got.Entry) != want || err != nil && got.Entry != nil {
			t.Errorf("%s: entry %d of %s is shown as %q: %v", name, index, log, got.Entry, err)
		}
		return err != nil
	}
	refused := map[string]bool{}
	m := newVectorMaker(t)
	m.files()
	m.manifests()
	m.logs()
	for _, v := range m.out {
		refused[v.Name] = hold(v.Name, v.pack, "control", 3, "entry 3")
	}
	for _, name := range []string{"proof of another leaf", "proof relabelled to another index", "entry changed", "checkpoint of another origin", "checkpoint by another key"} {
		if !refused[name] {
			t.Errorf("%s: shown, or no vector", name)
		}
	}
	s := edSigner(t, 1)
	c, log := tiledContent(t)
	wrong, right := tileCheats(t, log)
	count := 0
	for name, tc := range wrong {
		if hold(name, rebuild(t, c, s, tc.change), "evidence", 600, "entry 600") {
			count++
		}
	}
	if count < 10 {
		t.Errorf("%d of %d packs with wrong tiles were refused; the test looks at the wrong thing", count, len(wrong))
	}
	for name, tc := range right {
		if hold(name, rebuild(t, c, s, tc.change), "evidence", 600, "entry 600") {
			t.Errorf("%s: not shown", name)
		}
	}
	other := &testLog{t: t, origin: "ingest.example/control", seed: seed(9)}
	for i := range 20 {
		other.add(fmt.Appendf(nil, "other %d", i))
	}
	excerpt := other.excerpt(0, 3)
	// Without a key the checkpoint rests on pack.json, and must be the one there.
	swapped := rebuild(t, content(t), s, func(b *builder) {
		b.at(t, vectorLog+checkpointFile).set([]byte(excerpt.Checkpoint))
		b.at(t, vectorLog+"proofs/3.tlog-proof").set([]byte(excerpt.Records[0].Proof))
		b.at(t, vectorLog+"entries/3.entry").set(excerpt.Records[0].Entry)
	})
	if got, err := showEntry(swapped, nil, "control", 3); err == nil || got.Entry != nil {
		t.Errorf("a checkpoint that pack.json does not name: %+v", got)
	}
	lied := content(t)
	lied.Logs = append([]ledger.Excerpt{}, lied.Logs...)
	lied.Logs[1] = excerpt
	data := buildPack(t, lied, s)
	if got, err := showEntry(data, nil, "control", 3); err != nil || string(got.Entry) != "other 3" || got.Signed {
		t.Errorf("a log that somebody else made up, without a key: %+v, %v", got, err)
	}
	if got, err := showEntry(data, vkeys, "control", 3); err == nil || got.Entry != nil {
		t.Errorf("a log that somebody else made up: %+v", got)
	}
}
