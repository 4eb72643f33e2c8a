package controls

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"trustpack/evidence"
)

//go:embed catalog/*.yaml
var builtin embed.FS

// Catalog is a set of controls, compiled and ready to judge.
type Catalog struct {
	controls []*control // sorted by stage, then ID
	files    map[string][]byte
}

// control is one control with what evidence.Control does not carry.
type control struct {
	evidence.Control
	file  file
	attrs []attribute
}

// attribute is one test, compiled.
type attribute struct {
	evidence.Attribute
	minItems            int
	applies, when, test *program // applies and when are nil where there is none
	looksBack           *program // days; nil: none
	message             message
	looksAt             []evidence.Kind // its own kind first, then those it joins
}

// Builtin is the catalog that comes with trustpack.
func Builtin() (*Catalog, error) {
	sub, err := fs.Sub(builtin, "catalog")
	if err != nil {
		return nil, fmt.Errorf("opening the built-in catalog: %w", err)
	}
	return Load(sub)
}

// Load reads every *.yaml and *.yml file at the top of fsys as one control.
// It refuses unknown keys (file:line:column and the nearest key), expressions
// that do not compile, look-ups of kinds that are not declared, parameters
// that are not declared or not used, and IDs that stand twice.
func Load(fsys fs.FS) (*Catalog, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("reading catalog: %w", err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); e.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		if files[e.Name()], err = fs.ReadFile(fsys, e.Name()); err != nil {
			return nil, fmt.Errorf("reading catalog: %w", err)
		}
	}
	return FromFiles(files)
}

// FromFiles is Load over the files that Files gives.
func FromFiles(files map[string][]byte) (*Catalog, error) {
	envs, err := newEnvironments()
	if err != nil {
		return nil, err
	}
	c := &Catalog{files: map[string][]byte{}}
	from := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ctl, err := newControl(envs, name, files[name])
		if err != nil {
			return nil, err
		}
		if other, ok := from[ctl.ID]; ok {
			return nil, fmt.Errorf("reading catalog: control %s stands in %s and in %s", ctl.ID, other, name)
		}
		from[ctl.ID] = name
		c.controls = append(c.controls, ctl)
		c.files[name] = files[name]
	}
	if len(c.controls) == 0 {
		return nil, fmt.Errorf("reading catalog: no control here; each is a file such as XX-01.yaml")
	}
	c.sort()
	return c, c.checkPolicy()
}

func newControl(envs environments, name string, body []byte) (*control, error) {
	f, err := readFile(name, body)
	if err != nil {
		return nil, err
	}
	c := &control{file: f}
	c.Control = evidence.Control{
		ID: f.ID, Title: f.Title, Stage: evidence.Stage(f.Stage), Objective: oneLine(f.Objective), Guidance: oneLine(f.Guidance),
		Source: name, SHA256: evidence.SHA256Hex(body),
	}
	for _, k := range f.Kinds {
		c.Kinds = append(c.Kinds, evidence.Kind(k))
	}
	for _, cr := range f.Criteria {
		c.Criteria = append(c.Criteria, evidence.Criterion(cr))
	}
	usedKinds, usedPolicy := map[evidence.Kind]bool{}, map[string]bool{}
	for i, af := range f.Attributes {
		a, reads, err := newAttribute(envs, f, af)
		if err != nil {
			return nil, fmt.Errorf("reading control: %s: attributes[%d] %s: %w", name, i, af.ID, err)
		}
		for _, k := range a.looksAt {
			usedKinds[k] = true
		}
		for _, p := range reads {
			usedPolicy[p] = true
		}
		c.attrs = append(c.attrs, a)
		c.Attributes = append(c.Attributes, a.Attribute)
	}
	for _, k := range c.Kinds {
		if !usedKinds[k] {
			return nil, fmt.Errorf("reading control: %s: kinds: no attribute looks at %s", name, k)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(f.Policy)) {
		if !usedPolicy[p] {
			return nil, fmt.Errorf("reading control: %s: policy.%s: no expression reads it", name, p)
		}
	}
	return c, c.checkCases(name)
}

func newAttribute(envs environments, f file, af attributeFile) (attribute, []string, error) {
	a := attribute{minItems: af.MinItems, looksAt: []evidence.Kind{evidence.Kind(af.Kind)}}
	a.Attribute = evidence.Attribute{
		ID: af.ID, Title: af.Title, Kind: evidence.Kind(af.Kind),
		When: oneLine(af.When), Test: oneLine(af.Test), Scope: af.Scope,
	}
	env, limit := envs.item, uint64(itemCostLimit)
	if af.Scope == scopePopulation {
		env, limit = envs.population, attributeCostLimit
	}
	var reads []string
	one := func(what string, env *cel.Env, source string, want *cel.Type) (*program, error) {
		if source == "" {
			return nil, nil
		}
		p, err := compile(env, source, want, f.Kinds, f.Policy, limit)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		reads = append(reads, p.policy...)
		for _, k := range p.kinds {
			if !slices.Contains(a.looksAt, k) {
				a.looksAt = append(a.looksAt, k)
			}
		}
		return p, nil
	}
	var err error
	if a.applies, err = one("applies", envs.applies, af.Applies, cel.BoolType); err != nil {
		return attribute{}, nil, err
	}
	if a.looksBack, err = one("looks_back", envs.applies, af.LooksBack, cel.DoubleType); err != nil {
		return attribute{}, nil, err
	}
	if a.when, err = one("when", env, af.When, cel.BoolType); err != nil {
		return attribute{}, nil, err
	}
	if a.test, err = one("test", env, af.Test, cel.BoolType); err != nil {
		return attribute{}, nil, err
	}
	a.message, err = parseMessage(oneLine(af.Message), func(source string) (*program, error) {
		return one("message", env, source, nil)
	})
	return a, reads, err
}

// Merge gives the catalog of c with the controls of other added. A control of
// other whose ID is in c already is an error, unless its file says
// `override: true`: then it takes the place of c's. An override of nothing is
// an error too, since its ID is probably misspelt. Neither catalog is changed.
func (c *Catalog) Merge(other *Catalog) (*Catalog, error) {
	out := &Catalog{controls: slices.Clone(c.controls), files: maps.Clone(c.files)}
	for _, ctl := range other.controls {
		at := slices.IndexFunc(out.controls, func(o *control) bool { return o.ID == ctl.ID })
		switch {
		case at >= 0 && !ctl.file.Override:
			return nil, fmt.Errorf("merging catalogs: %s: control %s exists already; say `override: true` to replace it", ctl.Source, ctl.ID)
		case at < 0 && ctl.file.Override:
			return nil, fmt.Errorf("merging catalogs: %s: `override: true`, but there is no control %s to replace", ctl.Source, ctl.ID)
		case at >= 0:
			delete(out.files, out.controls[at].Source)
			out.controls[at] = ctl
		default:
			out.controls = append(out.controls, ctl)
		}
		out.files[ctl.Source] = other.files[ctl.Source]
	}
	out.sort()
	return out, out.checkPolicy()
}

func (c *Catalog) sort() {
	stages := evidence.Stages()
	slices.SortFunc(c.controls, func(a, b *control) int {
		if d := slices.Index(stages, a.Stage) - slices.Index(stages, b.Stage); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// Controls lists the controls by stage, then ID.
func (c *Catalog) Controls() []evidence.Control {
	out := make([]evidence.Control, len(c.controls))
	for i, ctl := range c.controls {
		out[i] = ctl.Control
	}
	return out
}

// Files gives the catalog's files by name, byte for byte; Load of the same
// files gives the same catalog.
func (c *Catalog) Files() map[string][]byte {
	out := make(map[string][]byte, len(c.files))
	for name, body := range c.files {
		out[name] = slices.Clone(body)
	}
	return out
}

// SHA256 is the lower-case hex SHA-256 of the catalog: of one line a file, in
// order of name, each the file's own hex SHA-256, two spaces, its name and a
// line feed, which is what sha256sum prints.
func (c *Catalog) SHA256() string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		fmt.Fprintf(&lines, "%s  %s\n", evidence.SHA256Hex(c.files[name]), name)
	}
	return evidence.SHA256Hex([]byte(lines.String()))
}

// oneLine joins a folded text into one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
