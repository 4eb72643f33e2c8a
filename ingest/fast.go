package ingest

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// check is a part of a schema compiled to run on the nodes of a scanner
// without allocating. True means that the schema holds for the value at node
// i; false, that the library must be asked, which alone refuses and explains.
type check func(s *scanner, i int) bool

// compileFast compiles s where it uses nothing but the keywords below; ok is
// false for any other schema. FuzzFastCheck holds it to the library's verdict.
func compileFast(s *jsonschema.Schema) (c check, ok bool) {
	if s == nil || !onlyCommon(s) {
		return nil, false
	}
	if s.Bool != nil {
		verdict := *s.Bool
		return func(*scanner, int) bool { return verdict }, true
	}
	n, okN := compileNumber(s)
	o, okO := compileObject(s)
	a, okA := compileArray(s)
	among, okE := compileEnum(s)
	if !okN || !okO || !okA || !okE {
		return nil, false
	}
	text := compileString(s)
	allowed := func(string) bool { return true }
	if s.Types != nil && !s.Types.IsEmpty() {
		types := map[string]bool{}
		for _, t := range s.Types.ToStrings() {
			types[t] = true
		}
		allowed = func(t string) bool { return types[t] }
	}
	isNull, isBool, isString := allowed("null"), allowed("boolean"), allowed("string")
	isNumber, isInteger, isArray, isObject := allowed("number"), allowed("integer"), allowed("array"), allowed("object")
	return func(s *scanner, i int) bool {
		holds := false
		switch n1 := &s.nodes[i]; n1.kind {
		case nodeNull:
			holds = isNull
		case nodeFalse, nodeTrue:
			holds = isBool
		case nodeString:
			holds = isString && (text == nil || text(s.textOf(i)))
		case nodeNumber:
			holds = (isNumber || isInteger && n1.num == math.Trunc(n1.num)) && (n == nil || n(n1.num))
		case nodeArray:
			holds = isArray && (a == nil || a(s, i))
		case nodeObject:
			holds = isObject && (o == nil || o(s, i))
		}
		return holds && (among == nil || among(s, i))
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
			"Bool", "Types", "Enum", "Const", "Format", "MaxProperties", "MinProperties", "Required", "Properties", "AdditionalProperties",
			"MinItems", "MaxItems", "Items", "Items2020", "MinLength", "MaxLength", "Pattern", "Maximum", "Minimum", "ExclusiveMaximum", "ExclusiveMinimum":
		default:
			return false
		}
	}
	return true
}

// compileEnum takes enumerations and constants of anything but arrays and
// objects. It is nil where every value is allowed.
func compileEnum(s *jsonschema.Schema) (check, bool) {
	var among check
	if s.Enum != nil {
		var ok bool
		if among, ok = oneOf(s.Enum.Values); !ok {
			return nil, false
		}
	}
	if s.Const == nil {
		return among, true
	}
	is, ok := oneOf([]any{*s.Const})
	if !ok || among == nil {
		return is, ok
	}
	return func(s *scanner, i int) bool { return is(s, i) && among(s, i) }, true
}

func oneOf(values []any) (check, bool) {
	texts, numbers, words := map[string]bool{}, map[float64]bool{}, map[nodeKind]bool{}
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			words[nodeNull] = true
		case bool:
			words[map[bool]nodeKind{false: nodeFalse, true: nodeTrue}[v]] = true
		case string:
			texts[v] = true
		case []any, map[string]any:
			return nil, false
		default:
			r, ok := new(big.Rat).SetString(fmt.Sprint(v))
			if !ok {
				return nil, false
			}
			f, ok := sameFloat(r)
			if !ok {
				return nil, false
			}
			numbers[f] = true
		}
	}
	return func(s *scanner, i int) bool {
		switch n := &s.nodes[i]; n.kind {
		case nodeString:
			return texts[s.textOf(i)]
		case nodeNumber:
			return numbers[n.num]
		default:
			return words[n.kind]
		}
	}, true
}

// sameFloat gives the float64 whose shortest decimal form is r: the library
// compares numbers by that form, so comparing with the float64 then says the
// same. ok is false where there is none.
func sameFloat(r *big.Rat) (f float64, ok bool) {
	f, _ = r.Float64()
	back, ok := new(big.Rat).SetString(fmt.Sprint(f))
	return f, ok && back.Cmp(r) == 0
}

// compileString is nil where any string will do.
func compileString(s *jsonschema.Schema) func(string) bool {
	if s.MinLength == nil && s.MaxLength == nil && s.Pattern == nil && s.Format == nil {
		return nil
	}
	least, most, pattern, format := s.MinLength, s.MaxLength, s.Pattern, s.Format
	return func(v string) bool {
		if least != nil || most != nil {
			n := utf8.RuneCountInString(v)
			if least != nil && n < *least || most != nil && n > *most {
				return false
			}
		}
		if pattern != nil && !pattern.MatchString(v) {
			return false
		}
		return format == nil || format.Name == "date-time" && plainDateTime(v) || format.Validate(v) == nil
	}
}

// plainDateTime reports whether v is a date-time of the common form: a day
// that every month has, no leap second, Z or an offset. Where it is not, the
// library looks.
func plainDateTime(v string) bool {
	if len(v) < 20 || v[4] != '-' || v[7] != '-' || v[10] != 'T' || v[13] != ':' || v[16] != ':' {
		return false
	}
	if !digitsWithin(v[:4], 0, 9999) || !digitsWithin(v[5:7], 1, 12) || !digitsWithin(v[8:10], 1, 28) ||
		!digitsWithin(v[11:13], 0, 23) || !digitsWithin(v[14:16], 0, 59) || !digitsWithin(v[17:19], 0, 59) {
		return false
	}
	v = v[19:]
	if v[0] == '.' {
		i := 1
		for i < len(v) && v[i] >= '0' && v[i] <= '9' {
			i++
		}
		if i == 1 {
			return false
		}
		v = v[i:]
	}
	return v == "Z" || len(v) == 6 && (v[0] == '+' || v[0] == '-') && v[3] == ':' && digitsWithin(v[1:3], 0, 23) && digitsWithin(v[4:6], 0, 59)
}

// digitsWithin reports whether v is digits only, and their number from low to high.
func digitsWithin(v string, low, high int) bool {
	n := 0
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
		n = n*10 + int(v[i]-'0')
	}
	return n >= low && n <= high
}

// compileNumber takes bounds that can be compared as float64. It is nil where
// any number will do.
func compileNumber(s *jsonschema.Schema) (func(float64) bool, bool) {
	if s.Minimum == nil && s.Maximum == nil && s.ExclusiveMinimum == nil && s.ExclusiveMaximum == nil {
		return nil, true
	}
	low, high := math.Inf(-1), math.Inf(1)
	above, below := math.Inf(-1), math.Inf(1)
	for _, b := range []struct {
		from *big.Rat
		to   *float64
	}{{s.Minimum, &low}, {s.Maximum, &high}, {s.ExclusiveMinimum, &above}, {s.ExclusiveMaximum, &below}} {
		if b.from == nil {
			continue
		}
		f, ok := sameFloat(b.from)
		if !ok {
			return nil, false
		}
		*b.to = f
	}
	return func(v float64) bool { return v >= low && v <= high && v > above && v < below }, true
}

// property is what a schema says of one key of an object.
type property struct {
	name     string
	check    check  // nil: any value
	required uint64 // its bit, where it must be there
}

// fewProperties is how many are compared one by one.
const fewProperties = 12

func compileObject(s *jsonschema.Schema) (check, bool) {
	var other check // nil: any value
	switch a := s.AdditionalProperties.(type) {
	case nil:
	case bool:
		if !a {
			other = func(*scanner, int) bool { return false }
		}
	case *jsonschema.Schema:
		c, ok := compileFast(a)
		if !ok {
			return nil, false
		}
		other = c
	default:
		return nil, false
	}
	list, required, ok := compileProperties(s, other)
	if !ok {
		return nil, false
	}
	least, most := s.MinProperties, s.MaxProperties
	if len(list) == 0 && other == nil && least == nil && most == nil {
		return nil, true
	}
	find, few := finder(list)
	return func(s *scanner, top int) bool {
		o := &s.nodes[top]
		if least != nil && int(o.count) < *least || most != nil && int(o.count) > *most {
			return false
		}
		have, end := uint64(0), int(o.next)
		for k := top + 1; k < end; k = int(s.nodes[k+1].next) {
			c, name := other, s.textOf(k)
			var p *property
			if find != nil {
				p = find[name]
			} else {
				for i := range few {
					if few[i].name == name {
						p = &few[i]
						break
					}
				}
			}
			if p != nil {
				c = p.check
				have |= p.required
			}
			if c != nil && !c(s, k+1) {
				return false
			}
		}
		return have == required
	}, true
}

// compileProperties lists the keys that the schema names, and the bits of
// those that must be there. other judges what it names only as required.
func compileProperties(s *jsonschema.Schema, other check) (list []property, required uint64, ok bool) {
	for name, p := range s.Properties {
		c, ok := compileFast(p)
		if !ok {
			return nil, 0, false
		}
		list = append(list, property{name: name, check: c})
	}
	bit := uint64(1)
next:
	for _, name := range s.Required {
		if bit == 0 {
			return nil, 0, false // more than 64
		}
		required |= bit
		for i := range list {
			if list[i].name == name {
				list[i].required |= bit
				bit <<= 1
				continue next
			}
		}
		list = append(list, property{name: name, check: other, required: bit})
		bit <<= 1
	}
	return list, required, true
}

// finder says how to find a property by its name: in the map, or, where that is
// nil, among the few.
func finder(list []property) (byName map[string]*property, few []property) {
	if len(list) <= fewProperties {
		return nil, list
	}
	byName = make(map[string]*property, len(list))
	for i := range list {
		byName[list[i].name] = &list[i]
	}
	return byName, nil
}

func compileArray(s *jsonschema.Schema) (check, bool) {
	items := s.Items2020
	switch i := s.Items.(type) { // of drafts before 2020-12
	case nil:
	case *jsonschema.Schema:
		items = i
	default:
		return nil, false
	}
	least, most := s.MinItems, s.MaxItems
	if items == nil && least == nil && most == nil {
		return nil, true
	}
	var item check
	if items != nil {
		var ok bool
		if item, ok = compileFast(items); !ok {
			return nil, false
		}
	}
	return func(s *scanner, top int) bool {
		a := &s.nodes[top]
		if least != nil && int(a.count) < *least || most != nil && int(a.count) > *most {
			return false
		}
		if item == nil {
			return true
		}
		end := int(a.next)
		for e := top + 1; e < end; e = int(s.nodes[e].next) {
			if !item(s, e) {
				return false
			}
		}
		return true
	}, true
}
