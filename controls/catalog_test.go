package controls

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"trustpack/evidence"
)

// The controls that the first catalog must have, two a stage at least.
func TestBuiltinControls(t *testing.T) {
	c := mustBuiltin(t)
	have := map[string]bool{}
	stages := map[evidence.Stage]int{}
	for _, ctl := range c.Controls() {
		have[ctl.ID] = true
		stages[ctl.Stage]++
		if ctl.SHA256 == "" || ctl.Source != ctl.ID+".yaml" || ctl.Guidance == "" {
			t.Errorf("%s: source %q, digest %q, guidance %q", ctl.ID, ctl.Source, ctl.SHA256, ctl.Guidance)
		}
	}
	for _, id := range strings.Fields("ID-01 ID-02 ID-03 ID-04 ID-05 ID-06 ID-07 ID-08 TR-01 TR-02 TR-03 TR-04 PR-01 PR-04 PR-06 PR-07 PR-08 PR-10 PR-11 ST-01 ST-02 ST-03 ST-05 ST-06 ST-07 AU-02 AU-03 AU-05 AU-06 AU-07 AU-08 AU-09") {
		if !have[id] {
			t.Errorf("control %s is missing", id)
		}
	}
	for _, s := range evidence.Stages() {
		if stages[s] < 2 {
			t.Errorf("stage %s has %d controls", s, stages[s])
		}
	}
	if !slices.IsSortedFunc(c.Controls(), func(a, b evidence.Control) int { return strings.Compare(a.Stage.Dir()+a.ID, b.Stage.Dir()+b.ID) }) {
		t.Error("the controls do not stand by stage and ID")
	}
}

func TestCatalogFromItsFiles(t *testing.T) {
	c := mustBuiltin(t)
	fsys := fstest.MapFS{}
	for name, body := range c.Files() {
		fsys[name] = &fstest.MapFile{Data: body}
	}
	again, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256() != c.SHA256() {
		t.Error("the same files give another digest")
	}
	fsys["ID-01.yaml"].Data = append(fsys["ID-01.yaml"].Data, '\n')
	if again, err = Load(fsys); err != nil || again.SHA256() == c.SHA256() {
		t.Errorf("a changed file gives the same digest (%v)", err)
	}
}

func TestMerge(t *testing.T) {
	base := tinyCatalog(t, "x.events")
	second := strings.ReplaceAll(fmt.Sprintf(tiny, "x.events", "x.events"), "XX-01", "XX-02")
	other := mustLoad(t, "XX-02.yaml", second)
	both, err := base.Merge(other)
	if err != nil || len(both.Controls()) != 2 || len(both.Files()) != 2 || len(base.Controls()) != 1 {
		t.Fatalf("%v", err)
	}
	if _, err := both.Merge(other); err == nil || !strings.Contains(err.Error(), "XX-02 exists already; say `override: true`") {
		t.Errorf("%v", err)
	}
	over := mustLoad(t, "XX-02.yaml", "override: true\n"+strings.Replace(second, "Things are good", "Things are better", 1))
	replaced, err := both.Merge(over)
	if err != nil || len(replaced.Controls()) != 2 || replaced.Controls()[1].Title != "Things are better" {
		t.Errorf("%v %+v", err, replaced)
	}
	if _, err := base.Merge(over); err == nil || !strings.Contains(err.Error(), "no control XX-02 to replace") {
		t.Errorf("%v", err)
	}
	clash := mustLoad(t, "XX-02.yaml", strings.Replace(second, "default: yes please", "default: 3", 1))
	if _, err := base.Merge(clash); err == nil || !strings.Contains(err.Error(), "policy.wanted is text in XX-01 and a number in XX-02") {
		t.Errorf("%v", err)
	}
}

func mustLoad(t *testing.T, name, body string) *Catalog {
	t.Helper()
	c, err := Load(fstest.MapFS{name: {Data: []byte(body)}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each bad file is refused with its name and what is wrong.
func TestBadFiles(t *testing.T) {
	good := fmt.Sprintf(tiny, "x.events", "x.events")
	for name, tc := range map[string]struct{ old, new, want string }{
		"unknown key":           {"objective:", "objectiv:", `XX-01.yaml:6:1: unknown key "objectiv"`},
		"nearest key":           {"    test:", "    tset:", `did you mean "test"?`},
		"file name":             {"id: XX-01", "id: XX-02", "the file must be called XX-02.yaml"},
		"stage":                 {"stage: processing", "stage: processes", `stage "processes": want one of`},
		"criterion":             {"CC8.1", "CC81", `"CC81" is no criterion`},
		"kind":                  {"kind: x.events", "kind: y.events", `kind "y.events" is not among the control's kinds`},
		"unused kind":           {"kinds: [x.events]", "kinds: [x.events, x.others]", "no attribute looks at x.others"},
		"syntax":                {"item.good == policy.wanted", "item.good ==", "XX-01.yaml: attributes[0] good: test:"},
		"type":                  {"item.good == policy.wanted", "size(policy.wanted)", "gives int, not bool"},
		"undeclared parameter":  {"policy.wanted", "policy.wnated", "policy.wnated is not declared"},
		"unused parameter":      {"policy.wanted", "'x'", "policy.wanted: no expression reads it"},
		"undeclared look-up":    {"item.good == policy.wanted", `lookup("x.others", item.id).hasValue() && policy.wanted == ''`, `lookup: kind "x.others" is not among`},
		"computed kind":         {"item.good == policy.wanted", `size(items(policy.wanted)) > 0`, "items: the kind must be written out"},
		"unknown function":      {"item.good == policy.wanted", `now() > period.to`, "undeclared reference to 'now'"},
		"open message":          {"{{item.version}}", "{{item.version", "closed by }}"},
		"bad message":           {"{{item.id}}", "{{itme.id}}", "undeclared reference to 'itme'"},
		"no message":            {"    message: 'thing {{item.id}} says {{item.good}}, version {{item.version}}'", "", "message is missing"},
		"population with when":  {"    test:", "    scope: population\n    when: 'true'\n    test:", "when and min_items are for tests of items"},
		"item in population":    {"    test:", "    scope: population\n    test:", "undeclared reference to 'item'"},
		"parameter without why": {", about: What a good thing says.", "", "policy.wanted: about is missing"},
		"case of nothing":       {"attributes:", "cases: [{name: a, expect: met, exceptions: {bad: [x]}}]\nattributes:", `there is no attribute "bad"`},
		"case of no item":       {"attributes:", "cases: [{name: a, expect: met, change: {x.events: {a: {good: x}}}}]\nattributes:", `there is no item "a"`},
		"case outcome":          {"attributes:", "cases: [{name: a, expect: passed}]\nattributes:", `expect "passed": want one of met`},
		"date in a case":        {"attributes:", "example: {x.events: [{id: a, at: 2026-07-01}]}\ncases: [{name: a, expect: met}]\nattributes:", "write a date or time as quoted text"},
	} {
		body := strings.Replace(good, tc.old, tc.new, 1)
		if body == good {
			t.Errorf("%s: nothing was replaced", name)
			continue
		}
		_, err := Load(fstest.MapFS{"XX-01.yaml": {Data: []byte(body)}})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "XX-01.yaml") {
			t.Errorf("%s: want %q, got %v", name, tc.want, err)
		}
	}
	if _, err := Load(fstest.MapFS{"XX-01.yaml": {Data: []byte(good)}, "XX-01.yml": {Data: []byte(good)}}); err == nil ||
		!strings.Contains(err.Error(), "control XX-01 stands in XX-01.yaml and in XX-01.yml") {
		t.Errorf("%v", err)
	}
	if _, err := Load(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "no control here") {
		t.Errorf("%v", err)
	}
}

func TestCasesThatFailAreTold(t *testing.T) {
	body := fmt.Sprintf(tiny, "x.events", "x.events") + `
example: {x.events: [{id: a, good: yes please}]}
cases:
  - {name: right, expect: met}
  - {name: wrong outcome, expect: exception}
  - {name: wrong item, change: {x.events: {a: {good: no way}}}, expect: exception, exceptions: {good: [b]}}
`
	got := load(t, body).Test()
	want := []string{"", "want exception, got met", `exceptions of good: want ["b"], got ["a"]`}
	for i, r := range got {
		if r.Passed != (want[i] == "") || !strings.Contains(r.Detail, want[i]) {
			t.Errorf("%s: %v %s", r.Case, r.Passed, r.Detail)
		}
	}
	if none := tinyCatalog(t, "x.events").Test(); len(none) != 1 || none[0].Passed {
		t.Errorf("a control without cases passes: %+v", none)
	}
}

// Fuzzing the loader: any bytes give a catalog or an error, never a panic.
func FuzzLoad(f *testing.F) {
	names, err := fs.Glob(builtin, "catalog/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range names[:3] {
		b, err := fs.ReadFile(builtin, n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(fmt.Sprintf(tiny, "x.events", "x.events")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Load(fstest.MapFS{"XX-01.yaml": {Data: b}})
		if err != nil {
			return
		}
		if len(slices.Collect(maps.Keys(c.Files()))) != 1 {
			t.Error("a catalog without its file")
		}
		c.Test()
	})
}
