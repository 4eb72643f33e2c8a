package controls

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkPolicy refuses one name with two types, since an override by name goes
// to every control that has the parameter.
func (c *Catalog) checkPolicy() error {
	type seen struct{ control, form string }
	first := map[string]seen{}
	for _, ctl := range c.controls {
		for _, name := range slices.Sorted(maps.Keys(ctl.file.Policy)) {
			f := form(ctl.file.Policy[name].Default)
			if s, ok := first[name]; ok && s.form != f {
				return fmt.Errorf("reading catalog: policy.%s is %s in %s and %s in %s", name, s.form, s.control, f, ctl.ID)
			}
			first[name] = seen{ctl.ID, f}
		}
	}
	return nil
}

// Parameter is one setting of policy that a control reads.
type Parameter struct {
	Control string `json:"control"`
	Name    string `json:"name"`
	Default any    `json:"default"` // number (float64), text, bool, or list of these
	About   string `json:"about"`
}

// Parameters lists the policy of the catalog, by control and name. A key of
// Input.Policy is a Name, for every control that has it, or "CONTROL.NAME".
func (c *Catalog) Parameters() []Parameter {
	var out []Parameter
	for _, ctl := range c.controls {
		for _, name := range slices.Sorted(maps.Keys(ctl.file.Policy)) {
			p := ctl.file.Policy[name]
			def, err := plainValue(p.Default)
			if err != nil {
				continue // refused when the file was read
			}
			out = append(out, Parameter{ctl.ID, name, def, oneLine(p.About)})
		}
	}
	return out
}

// policies gives each control its parameters: the file's defaults, then the
// overrides by name, then those for the control alone.
func (c *Catalog) policies(overrides map[string]any) (map[string]map[string]any, error) {
	out := map[string]map[string]any{}
	known := map[string]any{}
	for _, p := range c.Parameters() {
		if out[p.Control] == nil {
			out[p.Control] = map[string]any{}
		}
		out[p.Control][p.Name] = p.Default
		known[p.Name], known[p.Control+"."+p.Name] = p.Default, p.Default
	}
	names := slices.SortedFunc(maps.Keys(overrides), func(a, b string) int {
		if d := strings.Count(a, ".") - strings.Count(b, "."); d != 0 {
			return d // the general before the particular
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		def, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("policy: %q is no parameter of the catalog%s", name, nearest(name, slices.Sorted(maps.Keys(known))))
		}
		v, err := plainValue(overrides[name])
		if err != nil {
			return nil, fmt.Errorf("policy: %s: %w", name, err)
		}
		if form(v) != form(def) {
			return nil, fmt.Errorf("policy: %s: want %s, got %s", name, form(def), form(v))
		}
		id, param, one := strings.Cut(name, ".")
		for ctl, params := range out {
			if one && ctl == id {
				params[param] = v
			} else if _, has := params[name]; has && !one {
				params[name] = v
			}
		}
	}
	return out, nil
}

// form names the type of a parameter for people.
func form(v any) string {
	switch v.(type) {
	case bool:
		return "true or false"
	case string:
		return "text"
	case []any, []string:
		return "a list"
	}
	return "a number"
}

// nearest is " (did you mean …?)" where a candidate shares its beginning or
// its end with name.
func nearest(name string, candidates []string) string {
	best, score := "", 2
	for _, c := range candidates {
		if s := common(name, c); s > score {
			best, score = c, s
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// common counts the bytes that a and b share at the beginning and at the end.
func common(a, b string) int {
	n := min(len(a), len(b))
	head := 0
	for head < n && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < n-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head + tail
}
