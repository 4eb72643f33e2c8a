package pack

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

// TestNumbersAreRivests holds the sampler to a public vector: the first ballots
// of an audit of 876, whose seed was rolled with dice in public.
func TestNumbersAreRivests(t *testing.T) {
	got, err := Numbers("3546311556112163624615351222", 876, 5)
	if want := []int{740, 180, 264, 789, 238}; err != nil || !slices.Equal(got, want) {
		t.Errorf("drew %v (%v), want %v", got, err, want)
	}
}

func TestNumbersAreEachOnce(t *testing.T) {
	for _, tc := range []struct{ n, want, drawn int }{{0, 5, 0}, {1, 5, 1}, {10, 10, 10}, {10, 11, 10}, {1000, 25, 25}} {
		got, err := Numbers("seed", tc.n, tc.want)
		if err != nil {
			t.Fatal(err)
		}
		once := slices.Compact(slices.Sorted(slices.Values(got)))
		if len(got) != tc.drawn || len(once) != tc.drawn || tc.drawn > 0 && (once[0] < 1 || once[len(once)-1] > tc.n) {
			t.Errorf("%d of %d: drew %v", tc.want, tc.n, got)
		}
	}
	if _, err := Numbers("seed", -1, 1); err == nil {
		t.Error("a negative population was drawn from")
	}
}

func TestPresetSizes(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 1, 4: 4, 5: 5, 6: 5, 50: 5, 51: 6, 60: 6, 61: 7, 250: 25, 251: 25, 100_000: 25} {
		if got := PresetSize(n); got != want {
			t.Errorf("of %d: %d, want %d", n, got, want)
		}
	}
}

// sampled opens a pack whose pull requests come in two collections: the later
// one says otherwise of item-001 and adds one.
func openWithPulls(t *testing.T) *Contents {
	t.Helper()
	c := content(t)
	later := collected(t, "github.pull-requests", day(95), 0)
	for i := range 60 {
		later.Population.Items = append(later.Population.Items, evidence.Item{ID: fmt.Sprintf("item-%03d", i+1), Attributes: map[string]any{"base": []string{"main", "release"}[i%2], "n": i}})
	}
	_, _, id, err := evidence.RecordOf(later.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	later.ID = id
	c.Evidence, c.Logs = append(c.Evidence, later), c.Logs[1:]
	data := buildPack(t, c, edSigner(t, 1))
	open, err := Open(bytes.NewReader(data), int64(len(data)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return open
}

func TestDrawIsOfThePopulation(t *testing.T) {
	c := openWithPulls(t)
	s, items, err := c.Draw(SampleRequest{Kind: "github.pull-requests", Seed: "2026"})
	if err != nil {
		t.Fatal(err)
	}
	// item-000 of the first collection and item-001 to item-060 of the second.
	if s.Population.Size != 61 || len(s.Population.Files) != 2 || len(s.Drawn) != 7 || len(items) != 7 {
		t.Fatalf("population %+v, %d drawn", s.Population, len(s.Drawn))
	}
	want, err := Numbers(c.Root().Tree.Root+"2026", 61, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range s.Drawn {
		if d.Index != want[i] || d.ID != fmt.Sprintf("item-%03d", want[i]-1) || items[i].ID != d.ID {
			t.Errorf("draw %d is %+v, want number %d", i, d, want[i])
		}
		if items[i].ID == "item-001" && items[i].Attributes["base"] != "main" {
			t.Errorf("item-001 is the earlier collection's: %v", items[i].Attributes)
		}
	}
	if err := c.Redraw(s); err != nil {
		t.Error(err)
	}
}

func TestDrawByStrata(t *testing.T) {
	c := openWithPulls(t)
	s, _, err := c.Draw(SampleRequest{Kind: "github.pull-requests", Seed: "7", Size: 3, Stratify: "base"})
	if err != nil {
		t.Fatal(err)
	}
	per := map[string][]int{}
	for _, d := range s.Drawn {
		per[d.Stratum] = append(per[d.Stratum], d.Index)
	}
	for stratum, n := range map[string]int{"": 1, "main": 30, "release": 30} {
		want, err := Numbers(c.Root().Tree.Root+"7/base="+stratum, n, 3)
		if err != nil || !slices.Equal(per[stratum], want) {
			t.Errorf("stratum %q: drew %v, want %v (%v)", stratum, per[stratum], want, err)
		}
	}
	if len(per) != 3 {
		t.Errorf("strata %v", per)
	}
}

func TestDrawRefuses(t *testing.T) {
	c := openWithPulls(t)
	for want, q := range map[string]SampleRequest{
		"decimal digits":       {Kind: "github.pull-requests", Seed: "12a"},
		`seed ""`:              {Kind: "github.pull-requests"},
		"size -1":              {Kind: "github.pull-requests", Seed: "1", Size: -1},
		"no evidence of kind ": {Kind: "github.nothing", Seed: "1"},
	} {
		if _, _, err := c.Draw(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
}

// TestRedrawTellsEachChange: no member of a sample can be changed without
// being told.
func TestRedrawTellsEachChange(t *testing.T) {
	c := openWithPulls(t)
	for name, change := range map[string]func(*Sample){
		"an item":          func(s *Sample) { s.Drawn[2].ID = "item-059" },
		"its number":       func(s *Sample) { s.Drawn[2].Index++ },
		"one dropped":      func(s *Sample) { s.Drawn = s.Drawn[:len(s.Drawn)-1] },
		"one added":        func(s *Sample) { s.Drawn = append(s.Drawn, Drawn{"item-059", 60, ""}) },
		"swapped":          func(s *Sample) { s.Drawn[0], s.Drawn[1] = s.Drawn[1], s.Drawn[0] },
		"seed":             func(s *Sample) { s.Seed = "2027" },
		"size":             func(s *Sample) { s.Size = 8 },
		"root":             func(s *Sample) { s.Root = strings.Repeat("0", 64) },
		"kind":             func(s *Sample) { s.Population.Kind = "telemetry.devices" },
		"files":            func(s *Sample) { s.Population.Files = s.Population.Files[:1] },
		"population's sum": func(s *Sample) { s.Population.SHA256 = strings.Repeat("0", 64) },
		"population's N":   func(s *Sample) { s.Population.Size++ },
		"strata":           func(s *Sample) { s.Stratify = "base" },
	} {
		s, _, err := c.Draw(SampleRequest{Kind: "github.pull-requests", Seed: "2026"})
		if err != nil {
			t.Fatal(err)
		}
		change(&s)
		if err := c.Redraw(s); err == nil {
			t.Errorf("%s changed, and nobody noticed", name)
		}
	}
}

func TestSampleIsReadStrictly(t *testing.T) {
	c := openWithPulls(t)
	s, _, err := c.Draw(SampleRequest{Kind: "github.pull-requests", Seed: "2026"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSample(data); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"space":        append(bytes.Clone(data), ' '),
		"unknown key":  bytes.Replace(data, []byte(`{"algorithm"`), []byte(`{"a":1,"algorithm"`), 1),
		"twice":        bytes.Replace(data, []byte(`"seed":`), []byte(`"seed":"1","seed":`), 1),
		"other format": bytes.Replace(data, []byte(sampleFormat), []byte("trustpack-sample/2"), 1),
		"other way":    bytes.Replace(data, []byte(sampleAlgorithm), []byte("dice"), 1),
		"worksheet":    bytes.Replace(data, []byte(`"size":0}`), []byte(`"size":0,"worksheet_sha256":"00"}`), 1),
	} {
		if bytes.Equal(bad, data) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseSample(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
