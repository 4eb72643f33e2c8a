package controls

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// plainValue makes v what JSON would give back: every number a float64. So an
// expression sees the same types in evidence from a collector, from a case and
// from a pack. It refuses what JSON does not hold.
func plainValue(v any) (any, error) {
	switch x := v.(type) {
	case nil, bool, string:
		return x, nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("%v is no JSON number", x)
		}
		return x, nil
	case float32:
		return plainValue(float64(x))
	case int:
		return float64(x), nil
	case int32:
		return float64(x), nil
	case int64:
		return float64(x), nil
	case uint32:
		return float64(x), nil
	case uint64:
		return float64(x), nil
	case json.Number:
		f, err := x.Float64()
		if err != nil {
			return nil, fmt.Errorf("number %q: %w", x, err)
		}
		return f, nil
	case []any:
		out := make([]any, len(x))
		for i, el := range x {
			p, err := plainValue(el)
			if err != nil {
				return nil, err
			}
			out[i] = p
		}
		return out, nil
	case []string:
		out := make([]any, len(x))
		for i, el := range x {
			out[i] = el
		}
		return out, nil
	case map[string]any:
		return plainMap(x)
	case time.Time:
		return nil, fmt.Errorf("%v is no plain JSON value; write a date or time as quoted text", x)
	}
	return throughJSON(v)
}

// throughJSON makes plain what a collector built from types of its own.
func throughJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%T is no plain JSON value: %w", v, err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("%T is no plain JSON value: %w", v, err)
	}
	return out, nil
}

func plainMap(m map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(m)+1)
	for k, v := range m {
		p, err := plainValue(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = p
	}
	return out, nil
}

// show renders a value for an exception's detail.
func show(v ref.Val) string {
	switch x := v.(type) {
	case types.Double:
		return strconv.FormatFloat(float64(x), 'f', -1, 64)
	case types.String:
		return string(x)
	case types.Null:
		return "none"
	case *types.Optional:
		if !x.HasValue() {
			return "none"
		}
		return show(x.GetValue())
	case traits.Lister:
		var parts []string
		for it := x.Iterator(); it.HasNext() == types.True; {
			parts = append(parts, show(it.Next()))
		}
		if len(parts) == 0 {
			return "none"
		}
		return strings.Join(parts, ", ")
	}
	if s, ok := v.ConvertToType(types.StringType).(types.String); ok {
		return string(s)
	}
	return "?"
}
