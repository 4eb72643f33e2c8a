package collectors

import "reflect"

// Section is one source of a Config by itself.
type Section struct {
	Name   string // of the section, such as "github"
	Config Config // with no other section
}

// Sections are the sources that c has a section for, one by one, so that one
// that All cannot make hides none of the others.
func (c Config) Sections() []Section {
	var out []Section
	all := reflect.ValueOf(c)
	for i := range all.NumField() {
		if all.Field(i).IsNil() {
			continue
		}
		s := Section{Name: all.Type().Field(i).Tag.Get("yaml")}
		reflect.ValueOf(&s.Config).Elem().Field(i).Set(all.Field(i))
		out = append(out, s)
	}
	return out
}
