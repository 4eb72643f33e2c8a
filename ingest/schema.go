package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"trustpack/evidence"
)

// SchemaInfo describes the schema of one event type.
type SchemaInfo struct {
	Type          string   `json:"type"`
	SHA256        string   `json:"sha256"` // hex, of the file
	Required      []string `json:"required"`
	NumericFields []string `json:"numeric_fields"`
	RangedFields  []string `json:"ranged_fields"`
}

// rules judge the data of events: the compiled schemas and the ranges.
type rules struct {
	types map[string]*typeRules
	hash  string // hex SHA-256 over everything that decides, see loadRules
}

type typeRules struct {
	info   SchemaInfo
	schema *jsonschema.Schema
	fast   check // nil where the schema needs the library
	ranges []fieldRange
}

type fieldRange struct {
	field string
	path  []string
	Range
}

const schemaSuffix = ".schema.json"

// loadRules compiles each <type>.schema.json in dir and joins the ranges: of
// the schema's "x-ranges" and of the configuration, which wins. The hash
// covers the schema files, the ranges and the time policy.
func loadRules(cfg Config) (*rules, error) {
	if cfg.Schemas == "" {
		return nil, errors.New("ingest.schemas: name the folder with the schemas, one <type>" + schemaSuffix + " for each event type")
	}
	files, err := os.ReadDir(cfg.Schemas)
	if err != nil {
		return nil, fmt.Errorf("ingest.schemas: reading schemas: %w", err)
	}
	r := &rules{types: map[string]*typeRules{}}
	for _, f := range files {
		typ, ok := strings.CutSuffix(f.Name(), schemaSuffix)
		if !ok || f.IsDir() {
			continue
		}
		t, err := loadType(filepath.Join(cfg.Schemas, f.Name()), typ, cfg.Ranges[typ])
		if err != nil {
			return nil, err
		}
		r.types[typ] = t
	}
	if len(r.types) == 0 {
		return nil, fmt.Errorf("ingest.schemas: %s holds no *%s: no event could be accepted", cfg.Schemas, schemaSuffix)
	}
	for typ := range cfg.Ranges {
		if r.types[typ] == nil {
			return nil, fmt.Errorf("ingest.ranges.%s: there is no schema for this event type in %s", typ, cfg.Schemas)
		}
	}
	set := map[string]any{"time": []string{cfg.Time.Flag.String(), cfg.Time.Future.String(), cfg.Time.Past.String()}, "depth": cfg.Limits.Depth}
	for typ, t := range r.types {
		set["type:"+typ] = []any{t.info.SHA256, rangeMap(t.ranges)}
	}
	canonical, err := evidence.CanonicalJSON(set)
	if err != nil {
		return nil, err
	}
	r.hash = evidence.SHA256Hex(canonical)
	return r, nil
}

func rangeMap(ranges []fieldRange) map[string]Range {
	m := map[string]Range{}
	for _, f := range ranges {
		m[f.field] = f.Range
	}
	return m
}

// noLoader keeps schemas from reaching for other files or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s: a schema must hold all that it refers to", url)
}

func loadType(path, typ string, configured Fields) (*typeRules, error) {
	if typ == "" || len(typ) > 128 {
		return nil, fmt.Errorf("reading schema %s: the file's name must begin with an event type of 1 to 128 bytes", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading schema: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("reading schema %s: %w", path, err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noLoader{})
	name := "urn:trustpack:schema:" + typ
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("reading schema %s: %w", path, err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compiling schema %s: %w", path, err)
	}
	var x struct {
		Ranges Fields `json:"x-ranges"`
	}
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, fmt.Errorf("reading schema %s: x-ranges: %w", path, err)
	}
	joined := Fields{}
	for _, from := range []Fields{x.Ranges, configured} {
		for field, r := range from {
			joined[field] = r
		}
	}
	t := &typeRules{info: SchemaInfo{Type: typ, SHA256: evidence.SHA256Hex(b)}, schema: schema}
	if c, ok := compileFast(schema); ok {
		t.fast = c
	}
	for field, r := range joined {
		if r.Min == nil && r.Max == nil {
			return nil, fmt.Errorf("reading schema %s: x-ranges.%s: give min, max or both", path, field)
		}
		t.ranges = append(t.ranges, fieldRange{field, strings.Split(field, "."), r})
	}
	slices.SortFunc(t.ranges, func(a, b fieldRange) int { return strings.Compare(a.field, b.field) })
	t.describe("", schema)
	for _, f := range t.ranges {
		if !slices.Contains(t.info.NumericFields, f.field) {
			return nil, fmt.Errorf("range for %s.%s: %s declares no number of that name", typ, f.field, path)
		}
		t.info.RangedFields = append(t.info.RangedFields, f.field)
	}
	slices.Sort(t.info.NumericFields)
	slices.Sort(t.info.RangedFields)
	t.info.RangedFields = slices.Compact(t.info.RangedFields)
	t.info.Required = append([]string{}, schema.Required...)
	slices.Sort(t.info.Required)
	return t, nil
}

// describe lists the numeric fields and those that the schema itself bounds
// on both sides.
func (t *typeRules) describe(prefix string, s *jsonschema.Schema) {
	if t.info.NumericFields == nil {
		t.info.NumericFields, t.info.RangedFields = []string{}, []string{}
	}
	for name, p := range s.Properties {
		for p.Ref != nil && p.Ref != p {
			p = p.Ref
		}
		if p.Types == nil || strings.Count(prefix, ".") > 8 {
			continue
		}
		types := p.Types.ToStrings()
		switch {
		case slices.Contains(types, "number") || slices.Contains(types, "integer"):
			t.info.NumericFields = append(t.info.NumericFields, prefix+name)
			if (p.Minimum != nil || p.ExclusiveMinimum != nil) && (p.Maximum != nil || p.ExclusiveMaximum != nil) {
				t.info.RangedFields = append(t.info.RangedFields, prefix+name)
			}
		case slices.Contains(types, "object"):
			t.describe(prefix+name+".", p)
		}
	}
}

// judge gives the code under which the event cannot be accepted, and why;
// empty where it can. s has just read it. Why tells of the rules and nothing of
// what was sent: it stands in the dead letter's entry, where no purge erases it.
func (r *rules) judge(s *scanner, e *event) (Code, string) {
	t := r.types[e.typ]
	if t == nil {
		return CodeUnknownType, "there is no schema for its type"
	}
	if t.fast != nil && t.fast(s, e.root) {
		return t.judgeRanges(s, e.root)
	}
	if err := t.schema.Validate(s.decode(e.root)); err != nil {
		var v *jsonschema.ValidationError
		if !errors.As(err, &v) {
			return CodeSchemaViolation, "data cannot be held against the schema"
		}
		return explain(t.schema, v)
	}
	return t.judgeRanges(s, e.root)
}

func (t *typeRules) judgeRanges(s *scanner, root int) (Code, string) {
	for i := range t.ranges {
		f := &t.ranges[i]
		v, ok := s.lookup(root, f.path)
		if !ok {
			continue // absent, and the schema lets it be
		}
		switch {
		case f.Min != nil && v < *f.Min:
			return CodeRangeViolation, fmt.Sprintf("data.%s is below its minimum %v", f.field, *f.Min)
		case f.Max != nil && v > *f.Max:
			return CodeRangeViolation, fmt.Sprintf("data.%s is above its maximum %v", f.field, *f.Max)
		}
	}
	return "", ""
}

// explain names the first broken keyword, in the order of the fields. Only
// where every one is a bound of a number is it a matter of range.
func explain(schema *jsonschema.Schema, v *jsonschema.ValidationError) (Code, string) {
	var leaves []*jsonschema.ValidationError
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			leaves = append(leaves, e)
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(v)
	slices.SortStableFunc(leaves, func(a, b *jsonschema.ValidationError) int {
		return slices.Compare(a.InstanceLocation, b.InstanceLocation)
	})
	code := CodeRangeViolation
	first := leaves[0]
	for _, l := range leaves {
		switch l.ErrorKind.(type) {
		case *kind.Minimum, *kind.Maximum, *kind.ExclusiveMinimum, *kind.ExclusiveMaximum:
		default:
			if code == CodeRangeViolation {
				code, first = CodeSchemaViolation, l
			}
		}
	}
	where := placeIn(schema, first.InstanceLocation)
	keyword := strings.Join(first.ErrorKind.KeywordPath(), "/")
	return code, clip(where) + " breaks the schema's " + clip(keyword) + wanting(first.ErrorKind)
}

// placeIn names what the schema judged, by names that are the schema's own.
func placeIn(schema *jsonschema.Schema, path []string) string {
	where := "data"
	for _, p := range path {
		for schema != nil && schema.Ref != nil && schema.Ref != schema {
			schema = schema.Ref
		}
		if schema == nil || schema.Properties[p] == nil {
			return where + "…"
		}
		schema = schema.Properties[p]
		where += "." + p
	}
	return where
}

// wanting adds what the schema asks for where that is short and comes from
// the schema, not from the device.
func wanting(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Required:
		return ": missing " + clip(strings.Join(k.Missing, ", "))
	case *kind.Type:
		return ": want " + strings.Join(k.Want, " or ")
	case *kind.Minimum:
		return ": want at least " + k.Want.RatString()
	case *kind.Maximum:
		return ": want at most " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return ": want above " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return ": want below " + k.Want.RatString()
	case *kind.Format:
		return ": want " + k.Want
	case *kind.AdditionalProperties:
		return fmt.Sprintf(": it does not allow %d of the keys", len(k.Properties))
	}
	return ""
}

// infos lists the schemas by type.
func (r *rules) infos() []SchemaInfo {
	out := []SchemaInfo{}
	for _, t := range r.types {
		out = append(out, t.info)
	}
	slices.SortFunc(out, func(a, b SchemaInfo) int { return strings.Compare(a.Type, b.Type) })
	return out
}
