package strictyaml

import (
	"strings"
	"testing"
	"time"
)

type sample struct {
	Name  string        `yaml:"name"`
	Keep  time.Duration `yaml:"retention"`
	On    bool          `yaml:"on"`
	Limit struct {
		Body int `yaml:"body_bytes"`
	} `yaml:"limits"`
	Tags  []string `yaml:"tags"`
	Types map[string]struct {
		Every time.Duration `yaml:"every"`
	} `yaml:"types"`
	Free  map[string]any `yaml:"policy"`
	Inner `yaml:",inline"`
}

type Inner struct {
	Version string `yaml:"version"`
}

func TestDecodeKeepsDefaultsAndReadsValues(t *testing.T) {
	s := sample{Name: "default", On: true}
	err := Decode("a.yaml", []byte("retention: 24h\nlimits: {body_bytes: 7}\ntypes:\n  m.v1: {every: 90s}\nversion: 1.2\ntags: [a, 2026-07-01]\npolicy: {days: 3, deep: {x: [1]}}\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "default" || !s.On || s.Keep != 24*time.Hour || s.Limit.Body != 7 || s.Types["m.v1"].Every != 90*time.Second || s.Version != "1.2" || s.Tags[1] != "2026-07-01" || s.Free["days"] != 3 {
		t.Errorf("got %+v", s)
	}
	if err := Decode("a.yaml", nil, &s); err != nil {
		t.Errorf("an empty document: %v", err)
	}
}

func TestDecodeRefusesWithPlaceAndHint(t *testing.T) {
	for in, want := range map[string]string{
		"name: x\nretnetion: 24h\n":    `f.yaml:2:1: unknown key "retnetion" (did you mean "retention"?)`,
		"limits:\n  body_byte: 1\n":    `f.yaml:2:3: unknown key "body_byte" in limits (did you mean "body_bytes"?)`,
		"types:\n  m:\n    evry: 1s\n": `f.yaml:3:5: unknown key "evry" in types.m (did you mean "every"?)`,
		"zzzzzzzz: 1\n":                `known here: limits, name, on`,
		"retention: soon\n":            `f.yaml:1:12: retention: want a duration such as "90s" or "24h", got "soon"`,
		"limits: {body_bytes: lots}\n": `f.yaml:1:22: limits.body_bytes: want a whole number, got "lots"`,
		"tags: one\n":                  `f.yaml:1:7: tags: want a list, got "one"`,
		"tags:\n- [x]\n":               `f.yaml:2:3: tags[0]: want text, got a list`,
		"on: {}\n":                     `f.yaml:1:5: on: want true or false, got a mapping`,
		"name: a\nname: b\n":           `f.yaml:2:1: key "name" stands twice`,
		"policy:\n  a: 1\n  a: 2\n":    `f.yaml:3:3: key "a" stands twice`,
		"name: a\n---\nname: b\n":      `f.yaml:2:1: a second document begins here`,
		"name: &x a\n":                 `f.yaml:1:7: anchors and aliases`,
		"name: [a\n":                   `f.yaml:`,
		"limits:\n\tbody_bytes: 1\n":   `f.yaml:2:1: found character that cannot start any token; the line begins with a tab: indent it with spaces`,
		"- a\n":                        `f.yaml:1:1: the document: want a mapping, got a list`,
		"types: {m.v1: {every: 1s}, m.v1: {every: 2s}}": `key "m.v1" stands twice`,
	} {
		var s sample
		err := Decode("f.yaml", []byte(in), &s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"retnetion", "retention", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: x\nlimits: {body_bytes: 1}\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sample
		if err := Decode("f", b, &s); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
