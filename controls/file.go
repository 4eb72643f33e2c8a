package controls

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"trustpack/evidence"
	"trustpack/internal/strictyaml"
)

// file is the shape of one control's YAML file.
type file struct {
	ID        string               `yaml:"id"`
	Title     string               `yaml:"title"`
	Stage     string               `yaml:"stage"`
	Criteria  []string             `yaml:"criteria"`
	Objective string               `yaml:"objective"`
	Guidance  string               `yaml:"guidance"`
	Override  bool                 `yaml:"override"` // replaces the control of that ID in the catalog it is merged into
	Policy    map[string]parameter `yaml:"policy"`
	Kinds     []string             `yaml:"kinds"`

	Attributes []attributeFile `yaml:"attributes"`

	Example map[string][]map[string]any `yaml:"example"` // conforming evidence that every case starts from
	Cases   []caseFile                  `yaml:"cases"`
}

// parameter is a value of policy that the organisation may set for itself.
type parameter struct {
	Default any    `yaml:"default"`
	About   string `yaml:"about"`
}

type attributeFile struct {
	ID      string `yaml:"id"`
	Title   string `yaml:"title"`
	Kind    string `yaml:"kind"`
	Scope   string `yaml:"scope"`
	Applies string `yaml:"applies"` // CEL over policy and period: false leaves the attribute out
	// LooksBack is CEL over policy: how many days before the period the items begin
	// whose judgement may fall due in it.
	LooksBack string `yaml:"looks_back"`
	When      string `yaml:"when"`
	Test      string `yaml:"test"`
	MinItems  int    `yaml:"min_items"`
	Message   string `yaml:"message"` // {{CEL}} in it is replaced by its value
}

const (
	scopeItem       = "item"
	scopePopulation = "population"
)

var (
	idForm        = regexp.MustCompile(`^[A-Z][A-Z0-9]*-[0-9]+$`)
	attributeForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	parameterForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	kindForm      = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$`)
	criterionForm = regexp.MustCompile(`^(CC[1-9]\.[0-9]{1,2}|A1\.[1-3]|C1\.[12]|PI1\.[1-5]|P[1-8]\.[0-9])$`)
)

// readFile decodes and checks one file, all but its expressions.
func readFile(name string, body []byte) (file, error) {
	var f file
	if err := strictyaml.Decode(name, body, &f); err != nil {
		return file{}, fmt.Errorf("reading control: %w", err)
	}
	if err := f.check(name); err != nil {
		return file{}, fmt.Errorf("reading control: %s: %w", name, err)
	}
	return f, nil
}

func (f file) check(name string) error {
	stages := evidence.Stages()
	switch {
	case !idForm.MatchString(f.ID):
		return fmt.Errorf("id %q: want a form like ID-01", f.ID)
	case strings.TrimSuffix(path.Base(name), path.Ext(name)) != f.ID:
		return fmt.Errorf("id %q: the file must be called %s.yaml", f.ID, f.ID)
	case f.Title == "":
		return errors.New("title is missing")
	case f.Objective == "":
		return errors.New("objective is missing")
	case !slices.Contains(stages, evidence.Stage(f.Stage)):
		return fmt.Errorf("stage %q: want one of %v", f.Stage, stages)
	case len(f.Criteria) == 0:
		return errors.New("criteria: name at least one, such as CC6.1")
	case len(f.Kinds) == 0:
		return errors.New("kinds: name the evidence that the control needs")
	case len(f.Attributes) == 0:
		return errors.New("attributes: a control tests at least one thing")
	}
	for _, c := range f.Criteria {
		if !criterionForm.MatchString(c) {
			return fmt.Errorf("criteria: %q is no criterion of the trust services categories (such as CC8.1, A1.2, PI1.3)", c)
		}
	}
	for i, k := range f.Kinds {
		if !kindForm.MatchString(k) {
			return fmt.Errorf("kinds: %q: want a form like github.changes", k)
		}
		if slices.Contains(f.Kinds[:i], k) {
			return fmt.Errorf("kinds: %q stands twice", k)
		}
	}
	for p, v := range f.Policy {
		if !parameterForm.MatchString(p) {
			return fmt.Errorf("policy: %q: want lower-case letters, digits and _", p)
		}
		if v.About == "" {
			return fmt.Errorf("policy.%s: about is missing: say what the parameter does and its unit", p)
		}
		if _, err := plainValue(v.Default); err != nil || v.Default == nil {
			return fmt.Errorf("policy.%s: default: want a number, text, true or false, or a list of these", p)
		}
	}
	seen := map[string]bool{}
	for i, a := range f.Attributes {
		if seen[a.ID] {
			return fmt.Errorf("attributes[%d]: id %q stands twice", i, a.ID)
		}
		seen[a.ID] = true
		if err := a.check(f.Kinds); err != nil {
			return fmt.Errorf("attributes[%d] %s: %w", i, a.ID, err)
		}
	}
	return nil
}

func (a attributeFile) check(kinds []string) error {
	switch {
	case !attributeForm.MatchString(a.ID):
		return fmt.Errorf("id %q: want lower-case words joined by -", a.ID)
	case a.Title == "":
		return errors.New("title is missing")
	case !slices.Contains(kinds, a.Kind):
		return fmt.Errorf("kind %q is not among the control's kinds", a.Kind)
	case a.Scope != "" && a.Scope != scopeItem && a.Scope != scopePopulation:
		return fmt.Errorf("scope %q: want item or population", a.Scope)
	case a.Test == "":
		return errors.New("test is missing")
	case a.Message == "":
		return errors.New("message is missing: say what is wrong when the test is false")
	case a.MinItems < 0:
		return errors.New("min_items: want 0 or more")
	case a.Scope == scopePopulation && (a.When != "" || a.MinItems != 0):
		return errors.New("when and min_items are for tests of items; put the condition into the test")
	}
	return nil
}
