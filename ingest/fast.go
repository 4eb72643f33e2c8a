package ingest

import (
	"math"
	"math/big"
	"reflect"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// check is a part of a schema compiled to run on decoded data without
// allocating. True means that the schema holds; false, that the library must
// be asked, which alone refuses and explains.
type check func(v any) bool

// compileFast compiles s where it uses nothing but the keywords below; ok is
// false for any other schema. FuzzFastCheck holds it to the library's verdict.
func compileFast(s *jsonschema.Schema) (c check, ok bool) {
	if s == nil || !onlyCommon(s) {
		return nil, false
	}
	if s.Bool != nil {
		verdict := *s.Bool
		return func(any) bool { return verdict }, true
	}
	n, ok := compileNumber(s)
	if !ok {
		return nil, false
	}
	o, ok := compileObject(s)
	if !ok {
		return nil, false
	}
	a, ok := compileArray(s)
	if !ok {
		return nil, false
	}
	allowed := func(string) bool { return true }
	if s.Types != nil {
		types := map[string]bool{}
		for _, t := range s.Types.ToStrings() {
			types[t] = true
		}
		allowed = func(t string) bool { return types[t] }
	}
	isNull, isBool, isString := allowed("null"), allowed("boolean"), allowed("string")
	isNumber, isInteger, isArray, isObject := allowed("number"), allowed("integer"), allowed("array"), allowed("object")
	enum, ok := compileEnum(s)
	if !ok {
		return nil, false
	}
	return func(v any) bool {
		switch v := v.(type) {
		case nil:
			return isNull && enum == nil
		case bool:
			return isBool && enum == nil
		case string:
			return isString && (enum == nil || enum[v]) && stringHolds(s, v)
		case float64:
			return (isNumber || isInteger && v == math.Trunc(v)) && enum == nil && n(v)
		case []any:
			return isArray && enum == nil && a(v)
		case map[string]any:
			return isObject && enum == nil && o(v)
		}
		return false
	}, true
}

// onlyCommon reports whether no keyword is set beyond those compiled here and
// annotations, which decide nothing.
func onlyCommon(s *jsonschema.Schema) bool {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || v.Field(i).IsZero() {
			continue
		}
		switch f.Name {
		case "DraftVersion", "Location", "ID", "Anchor", "Title", "Description", "Default", "Comment", "ReadOnly", "WriteOnly", "Examples", "Deprecated",
			"Bool", "Types", "Enum", "Format", "MaxProperties", "MinProperties", "Required", "Properties", "AdditionalProperties",
			"MinItems", "MaxItems", "Items2020", "MinLength", "MaxLength", "Pattern", "Maximum", "Minimum", "ExclusiveMaximum", "ExclusiveMinimum":
		default:
			return false
		}
	}
	return true
}

// compileEnum takes enumerations of strings.
func compileEnum(s *jsonschema.Schema) (map[string]bool, bool) {
	if s.Enum == nil {
		return nil, true
	}
	out := map[string]bool{}
	for _, v := range s.Enum.Values {
		text, ok := v.(string)
		if !ok {
			return nil, false
		}
		out[text] = true
	}
	return out, true
}

func stringHolds(s *jsonschema.Schema, v string) bool {
	if s.MinLength != nil || s.MaxLength != nil {
		n := utf8.RuneCountInString(v)
		if s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			return false
		}
	}
	return (s.Pattern == nil || s.Pattern.MatchString(v)) && (s.Format == nil || s.Format.Validate(v) == nil)
}

// compileNumber takes bounds that a float64 holds exactly.
func compileNumber(s *jsonschema.Schema) (func(float64) bool, bool) {
	low, high := math.Inf(-1), math.Inf(1)
	var above, below float64 = math.Inf(-1), math.Inf(1)
	for _, b := range []struct {
		from *big.Rat
		to   *float64
	}{{s.Minimum, &low}, {s.Maximum, &high}, {s.ExclusiveMinimum, &above}, {s.ExclusiveMaximum, &below}} {
		if b.from == nil {
			continue
		}
		f, exact := b.from.Float64()
		if !exact {
			return nil, false
		}
		*b.to = f
	}
	return func(v float64) bool { return v >= low && v <= high && v > above && v < below }, true
}

func compileObject(s *jsonschema.Schema) (func(map[string]any) bool, bool) {
	properties := map[string]check{}
	for name, p := range s.Properties {
		c, ok := compileFast(p)
		if !ok {
			return nil, false
		}
		properties[name] = c
	}
	var other check // nil: any
	switch a := s.AdditionalProperties.(type) {
	case nil:
	case bool:
		other = func(any) bool { return a }
	case *jsonschema.Schema:
		c, ok := compileFast(a)
		if !ok {
			return nil, false
		}
		other = c
	default:
		return nil, false
	}
	required, least, most := s.Required, s.MinProperties, s.MaxProperties
	return func(m map[string]any) bool {
		if least != nil && len(m) < *least || most != nil && len(m) > *most {
			return false
		}
		for _, name := range required {
			if _, ok := m[name]; !ok {
				return false
			}
		}
		for name, v := range m {
			if c, ok := properties[name]; ok {
				if !c(v) {
					return false
				}
			} else if other != nil && !other(v) {
				return false
			}
		}
		return true
	}, true
}

func compileArray(s *jsonschema.Schema) (func([]any) bool, bool) {
	var item check
	if s.Items2020 != nil {
		var ok bool
		if item, ok = compileFast(s.Items2020); !ok {
			return nil, false
		}
	}
	least, most := s.MinItems, s.MaxItems
	return func(list []any) bool {
		if least != nil && len(list) < *least || most != nil && len(list) > *most {
			return false
		}
		for _, v := range list {
			if item != nil && !item(v) {
				return false
			}
		}
		return true
	}, true
}
