package collectors

import (
	"reflect"
	"testing"
)

// Every section of the configuration comes out alone, with its name.
func TestSections(t *testing.T) {
	var c Config
	all := reflect.ValueOf(&c).Elem()
	for i := range all.NumField() {
		all.Field(i).Set(reflect.New(all.Field(i).Type().Elem()))
	}
	got := c.Sections()
	if len(got) != all.NumField() || len(got) < 6 || got[0].Name != "telemetry" || got[len(got)-1].Name != "documents" {
		t.Fatalf("%d sections of %d: %v", len(got), all.NumField(), got)
	}
	for i, s := range got {
		if again := s.Config.Sections(); len(again) != 1 || again[0].Name != s.Name || reflect.ValueOf(s.Config).Field(i).Pointer() != all.Field(i).Pointer() {
			t.Errorf("section %s: %v", s.Name, again)
		}
	}
	if got := (Config{}).Sections(); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
