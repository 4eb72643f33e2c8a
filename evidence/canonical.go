package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// CanonicalJSON encodes v on one line with object keys sorted, no white space
// and no HTML escaping, so that equal values have equal bytes. It follows RFC
// 8785 for what trustpack writes: strings, booleans, null, arrays, objects,
// and numbers as encoding/json formats them.
func CanonicalJSON(v any) ([]byte, error) {
	first, err := marshalPlain(v)
	if err != nil {
		return nil, fmt.Errorf("encoding canonical JSON: %w", err)
	}
	// Through a generic value, so that struct fields are sorted like map keys.
	dec := json.NewDecoder(bytes.NewReader(first))
	dec.UseNumber()
	var generic any
	if err := dec.Decode(&generic); err != nil {
		return nil, fmt.Errorf("encoding canonical JSON: %w", err)
	}
	return marshalPlain(generic)
}

func marshalPlain(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// SHA256Hex is the lower-case hex SHA-256 of b.
func SHA256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Lines encodes the population as population.jsonl: items sorted by ID, one
// canonical JSON object a line, "id" among its keys. Two items with one ID are
// an error, since a population lists each member once.
func (p Population) Lines() ([]byte, error) {
	items := slices.Clone(p.Items)
	slices.SortStableFunc(items, func(a, b Item) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	var out bytes.Buffer
	for i, it := range items {
		if it.ID == "" {
			return nil, fmt.Errorf("encoding population: item %d has no id", i)
		}
		if i > 0 && items[i-1].ID == it.ID {
			return nil, fmt.Errorf("encoding population: id %q stands twice", it.ID)
		}
		line, err := it.Line()
		if err != nil {
			return nil, err
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// Line is the item as one canonical JSON object.
func (it Item) Line() ([]byte, error) {
	m := make(map[string]any, len(it.Attributes)+1)
	for k, v := range it.Attributes {
		m[k] = v
	}
	if id, ok := m["id"]; ok && id != it.ID {
		return nil, fmt.Errorf("encoding item %q: its attributes carry another id, %v", it.ID, id)
	}
	m["id"] = it.ID
	line, err := CanonicalJSON(m)
	if err != nil {
		return nil, fmt.Errorf("encoding item %q: %w", it.ID, err)
	}
	return line, nil
}

// ParsePopulation reads what Lines writes. Numbers become float64.
func ParsePopulation(b []byte) (Population, error) {
	var p Population
	for n, line := range bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		if len(b) == 0 {
			break
		}
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			return Population{}, fmt.Errorf("reading population: line %d: %w", n+1, err)
		}
		id, ok := m["id"].(string)
		if !ok || id == "" {
			return Population{}, fmt.Errorf("reading population: line %d: no id", n+1)
		}
		p.Items = append(p.Items, Item{ID: id, Attributes: m})
	}
	return p, nil
}

// Record is the evidence.json of a collection: the evidence with the digests
// of its population and raw replies, so that one hash commits to all of it.
type Record struct {
	Evidence
	Items            int       `json:"items"`
	PopulationSHA256 string    `json:"population_sha256"`
	RawFiles         []RawFile `json:"raw"`
}

// RawFile names a kept reply and its digest.
type RawFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// RecordOf makes the record of e, its canonical JSON, and its ID, the hex
// SHA-256 of that JSON. Times are in UTC; raw replies are listed by name.
func RecordOf(e Evidence) (rec Record, canonical []byte, id string, err error) {
	lines, err := e.Population.Lines()
	if err != nil {
		return Record{}, nil, "", fmt.Errorf("recording %s: %w", e.Kind, err)
	}
	rec = Record{Evidence: e, Items: len(e.Population.Items), PopulationSHA256: SHA256Hex(lines), RawFiles: []RawFile{}}
	seen := map[string]bool{}
	for _, r := range e.Raw {
		if seen[r.Name] {
			return Record{}, nil, "", fmt.Errorf("recording %s: raw reply %q stands twice", e.Kind, r.Name)
		}
		seen[r.Name] = true
		if r.Kept != nil {
			rec.RawFiles = append(rec.RawFiles, RawFile{r.Name, r.Kept.Size, r.Kept.SHA256})
			continue
		}
		rec.RawFiles = append(rec.RawFiles, RawFile{r.Name, int64(len(r.Body)), SHA256Hex(r.Body)})
	}
	slices.SortFunc(rec.RawFiles, func(a, b RawFile) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	canonical, err = CanonicalJSON(rec)
	if err != nil {
		return Record{}, nil, "", err
	}
	return rec, canonical, SHA256Hex(canonical), nil
}
