package pack

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

const (
	sampleFormat    = "trustpack-sample/1"
	sampleAlgorithm = "rivest-2011"
	maxSeed         = 200
	maxSampleFile   = 16 << 20
)

// Sample is a drawn sample as signatures/sample-<n>.json carries it: what was
// drawn, from what, and with which digits, so that anybody can draw it again.
type Sample struct {
	Algorithm  string           `json:"algorithm"`
	Drawn      []Drawn          `json:"drawn"` // in the order drawn, stratum by stratum
	Format     string           `json:"format"`
	Population SamplePopulation `json:"population"`
	Root       string           `json:"root"`               // of the pack's tree, hex
	Seed       string           `json:"seed"`               // the auditor's digits
	Size       int              `json:"size"`               // asked for, of each stratum; 0: the preset
	Stratify   string           `json:"stratify,omitempty"` // attribute whose values part the population
	Worksheet  string           `json:"worksheet_sha256,omitempty"`
}

// Drawn is an item of a sample.
type Drawn struct {
	ID      string `json:"id"`
	Index   int    `json:"index"` // from 1, within its stratum
	Stratum string `json:"stratum,omitempty"`
}

// SamplePopulation names what a sample was drawn from. All of it is committed
// to by the pack's root, before anybody knew the seed.
type SamplePopulation struct {
	Files  []string      `json:"files"` // every population.jsonl of the kind, sorted
	Kind   evidence.Kind `json:"kind"`
	SHA256 string        `json:"sha256"` // hex, of the items' IDs, sorted, each with a newline
	Size   int           `json:"size"`
}

// SampleRequest says what to draw.
type SampleRequest struct {
	Kind     evidence.Kind
	Seed     string // 1 to 200 decimal digits, chosen by the auditor once the pack was finished
	Size     int    // of each stratum; 0: PresetSize
	Stratify string // optional attribute
}

var digits = regexp.MustCompile(`^[0-9]{1,200}$`)

// Draw draws a sample of the pack's items of one kind, and gives the items in
// the order drawn.
func (c *Contents) Draw(q SampleRequest) (Sample, []evidence.Item, error) {
	fail := func(err error) (Sample, []evidence.Item, error) {
		return Sample{}, nil, fmt.Errorf("drawing a sample: %w", err)
	}
	switch {
	case !digits.MatchString(q.Seed):
		return fail(fmt.Errorf("seed %q: want 1 to %d decimal digits, such as dice or a beacon's round give", q.Seed, maxSeed))
	case q.Size < 0:
		return fail(fmt.Errorf("size %d: want 0 for the preset, or more", q.Size))
	}
	items, population, err := c.population(q.Kind)
	if err != nil {
		return fail(err)
	}
	s := Sample{
		Algorithm: sampleAlgorithm, Format: sampleFormat, Population: population, Root: c.root.Tree.Root,
		Seed: q.Seed, Size: q.Size, Stratify: q.Stratify, Drawn: []Drawn{},
	}
	strata, err := stratified(items, q.Stratify)
	if err != nil {
		return fail(err)
	}
	var drawn []evidence.Item
	for _, name := range slices.Sorted(maps.Keys(strata)) {
		of := strata[name]
		key := s.Root + s.Seed
		if s.Stratify != "" {
			key += "/" + s.Stratify + "=" + name
		}
		size := s.Size
		if size == 0 {
			size = PresetSize(len(of))
		}
		picks, err := Numbers(key, len(of), size)
		if err != nil {
			return fail(err)
		}
		for _, n := range picks {
			s.Drawn = append(s.Drawn, Drawn{of[n-1].ID, n, name})
			drawn = append(drawn, of[n-1])
		}
	}
	return s, drawn, nil
}

// SampleKinds lists the kinds of evidence that a sample can be drawn from.
func (c *Contents) SampleKinds() []evidence.Kind {
	seen := map[evidence.Kind]bool{}
	for _, col := range c.collections {
		seen[evidence.Kind(col.line.Kind)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// population gives every item of a kind, one for each ID and sorted by it: of
// an ID that several collections have, the latest collection's.
func (c *Contents) population(kind evidence.Kind) ([]evidence.Item, SamplePopulation, error) {
	p := SamplePopulation{Files: []string{}, Kind: kind}
	var of []collection
	for _, col := range c.collections {
		if col.line.Kind == string(kind) {
			of = append(of, col)
		}
	}
	if len(of) == 0 {
		return nil, p, fmt.Errorf("the pack has no evidence of kind %q", kind)
	}
	slices.SortFunc(of, func(a, b collection) int {
		return cmp.Or(collectedAt(a.line).Compare(collectedAt(b.line)), strings.Compare(a.dir, b.dir))
	})
	byID := map[string]evidence.Item{}
	for _, col := range of {
		path := col.dir + populationFile
		data, err := c.Read(path)
		if err != nil {
			return nil, p, err
		}
		got, err := evidence.ParsePopulation(data)
		if err != nil {
			return nil, p, fmt.Errorf("%s: %w", path, err)
		}
		for _, it := range got.Items {
			byID[it.ID] = it
		}
		p.Files = append(p.Files, path)
	}
	slices.Sort(p.Files)
	sum := sha256.New()
	items := make([]evidence.Item, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		items = append(items, byID[id])
		io.WriteString(sum, id+"\n") // a hash takes everything
	}
	p.Size, p.SHA256 = len(items), hex32([32]byte(sum.Sum(nil)))
	return items, p, nil
}

func collectedAt(l Line) time.Time {
	if l.CollectedAt == nil {
		return time.Time{}
	}
	return *l.CollectedAt
}

// stratified parts items, which keep their order, by the value of an
// attribute; without one they are one part, named "".
func stratified(items []evidence.Item, attribute string) (map[string][]evidence.Item, error) {
	if attribute == "" {
		return map[string][]evidence.Item{"": items}, nil
	}
	out := map[string][]evidence.Item{}
	for _, it := range items {
		name := ""
		switch value, ok := it.Attributes[attribute]; v := value.(type) {
		case string:
			name = v
		default:
			if !ok {
				break
			}
			b, err := evidence.CanonicalJSON(v)
			if err != nil {
				return nil, fmt.Errorf("item %q: %w", it.ID, err)
			}
			name = string(b)
		}
		out[name] = append(out[name], it)
	}
	return out, nil
}

// Encode gives the file that a pack carries the sample as.
func (s Sample) Encode() ([]byte, error) {
	b, err := evidence.CanonicalJSON(s)
	if err == nil && len(b) > maxSampleFile {
		err = fmt.Errorf("%d bytes, more than %d: draw fewer items", len(b), maxSampleFile)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the sample: %w", err)
	}
	return b, nil
}

// ParseSample reads a sample strictly. Whether it was drawn so is Redraw's
// question.
func ParseSample(data []byte) (Sample, error) {
	var s Sample
	err := decodeStrict(data, &s)
	switch {
	case err != nil:
	case s.Format != sampleFormat || s.Algorithm != sampleAlgorithm:
		err = fmt.Errorf("format %q and algorithm %q, want %q and %q", s.Format, s.Algorithm, sampleFormat, sampleAlgorithm)
	case s.Worksheet != "" && !isHex(s.Worksheet, sha256.Size):
		err = errors.New("worksheet_sha256: want 64 lower-case hex digits")
	}
	if err != nil {
		return Sample{}, fmt.Errorf("reading sample: %w", err)
	}
	return s, nil
}

// Redraw draws s again from the pack and says in what it differs.
func (c *Contents) Redraw(s Sample) error {
	if s.Root != c.root.Tree.Root {
		return fmt.Errorf("it was drawn from the pack with root %s, this one has %s", s.Root, c.root.Tree.Root)
	}
	again, _, err := c.Draw(SampleRequest{s.Population.Kind, s.Seed, s.Size, s.Stratify})
	if err != nil {
		return err
	}
	again.Worksheet = s.Worksheet
	for i := range min(len(s.Drawn), len(again.Drawn)) {
		if s.Drawn[i] != again.Drawn[i] {
			return fmt.Errorf("draw %d is item %q, its seed draws %q", i+1, s.Drawn[i].ID, again.Drawn[i].ID)
		}
	}
	if len(s.Drawn) != len(again.Drawn) {
		return fmt.Errorf("it has %d items, its seed draws %d", len(s.Drawn), len(again.Drawn))
	}
	want, err := json.Marshal(again)
	if err != nil {
		return err
	}
	got, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return errors.New("its population is not the pack's")
	}
	return nil
}
