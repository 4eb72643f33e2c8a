package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Sample makes the smallest object that a JSON Schema allows, for
// Target.EventData: the required properties, numbers in the middle of their
// range, the first of an enum. It is an error where the schema asks for
// something that cannot be made up so simply (a pattern, a reference).
func Sample(schema []byte) (json.RawMessage, error) {
	var s shape
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("reading JSON Schema: %w", err)
	}
	v, err := s.value()
	if err != nil {
		return nil, fmt.Errorf("making a sample of a JSON Schema: %w", err)
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, errors.New("making a sample of a JSON Schema: its type is not object")
	}
	return json.Marshal(v)
}

// shape is what Sample understands of a schema.
type shape struct {
	Type       json.RawMessage  `json:"type"`
	Required   []string         `json:"required"`
	Properties map[string]shape `json:"properties"`
	Enum       []any            `json:"enum"`
	Const      any              `json:"const"`
	Minimum    *float64         `json:"minimum"`
	Maximum    *float64         `json:"maximum"`
	Above      *float64         `json:"exclusiveMinimum"`
	Below      *float64         `json:"exclusiveMaximum"`
	MinLength  int              `json:"minLength"`
	MinItems   int              `json:"minItems"`
	Items      *shape           `json:"items"`
	Format     string           `json:"format"`
	Pattern    string           `json:"pattern"`
	Ref        string           `json:"$ref"`
	Multiple   *float64         `json:"multipleOf"`
}

func (s shape) value() (any, error) {
	switch {
	case s.Ref != "" || s.Pattern != "" || s.Multiple != nil:
		return nil, errors.New("it uses $ref, pattern or multipleOf: give the event's data yourself")
	case s.Const != nil:
		return s.Const, nil
	case len(s.Enum) > 0:
		return s.Enum[0], nil
	}
	switch typ := s.typ(); typ {
	case "object":
		return s.object()
	case "number", "integer":
		v := s.middle()
		if typ == "integer" {
			v = float64(int64(v))
		}
		return v, nil
	case "string":
		if s.Format == "date-time" {
			return "2026-01-01T00:00:00Z", nil
		}
		if s.Format != "" {
			return nil, fmt.Errorf("it wants a string of format %q: give the event's data yourself", s.Format)
		}
		return strings.Repeat("x", s.MinLength), nil
	case "boolean":
		return true, nil
	case "array":
		return s.array()
	case "null":
		return nil, nil
	default:
		return nil, fmt.Errorf("type %q: give the event's data yourself", typ)
	}
}

// typ is the first type that the schema allows; an object where it only lists
// properties.
func (s shape) typ() string {
	var one string
	var many []string
	if json.Unmarshal(s.Type, &one) == nil {
		return one
	}
	if json.Unmarshal(s.Type, &many) == nil && len(many) > 0 {
		return many[0]
	}
	if s.Properties != nil || s.Required != nil {
		return "object"
	}
	return string(s.Type)
}

func (s shape) object() (any, error) {
	out := map[string]any{}
	for _, name := range s.Required {
		property, ok := s.Properties[name]
		if !ok {
			return nil, fmt.Errorf("property %q is required and not described", name)
		}
		v, err := property.value()
		if err != nil {
			return nil, fmt.Errorf("property %q: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}

func (s shape) array() (any, error) {
	out := []any{}
	for range s.MinItems {
		if s.Items == nil {
			return nil, errors.New("items are wanted and not described")
		}
		v, err := s.Items.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// middle is a number within the bounds.
func (s shape) middle() float64 {
	low, high := s.Minimum, s.Maximum
	if low == nil {
		low = s.Above
	}
	if high == nil {
		high = s.Below
	}
	switch {
	case low != nil && high != nil:
		return (*low + *high) / 2
	case low != nil:
		return *low + 1
	case high != nil:
		return *high - 1
	}
	return 1
}
