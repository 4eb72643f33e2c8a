// Package strictyaml decodes one YAML document into Go values and refuses
// what it does not know, naming file, line and column. A setting that is
// misspelt must never be taken for one that is absent.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Error is a fault at a place in a YAML file.
type Error struct {
	File      string
	Line, Col int // from 1
	Message   string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Message)
}

// Decode reads the one YAML document in data into the value that into points
// to. Struct fields are matched by their `yaml` tags; fields that the document
// leaves out keep the value they had, which is how defaults are given.
//
// It refuses, with an *Error: a key that the struct does not have (naming the
// nearest one), a key given twice, a value of the wrong type, anchors and
// aliases, and a second document. An empty document leaves into as it is.
func Decode(file string, data []byte, into any) error {
	dst := reflect.ValueOf(into)
	if dst.Kind() != reflect.Pointer || dst.IsNil() {
		return fmt.Errorf("decoding %s: into must be a pointer, not %T", file, into)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return syntaxError(file, data, err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return &Error{file, second.Line, second.Column, "a second document begins here; one file holds one document"}
	} else if !errors.Is(err, io.EOF) {
		return syntaxError(file, data, err)
	}
	c := checker{file}
	root := doc.Content[0]
	if err := c.check(root, dst.Elem().Type(), ""); err != nil {
		return err
	}
	if err := root.Decode(into); err != nil {
		return &Error{file, root.Line, root.Column, plain(err)}
	}
	return nil
}

// syntaxError turns yaml's "yaml: line 3: …" into file:line:col.
func syntaxError(file string, data []byte, err error) error {
	msg := plain(err)
	line := 1
	if n, scanErr := fmt.Sscanf(msg, "line %d:", &line); scanErr == nil && n == 1 {
		_, msg, _ = strings.Cut(msg, ": ")
	}
	if lines := strings.Split(string(data), "\n"); line <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[line-1], " "), "\t") {
		msg += "; the line begins with a tab: indent it with spaces"
	}
	return &Error{file, line, 1, msg}
}

func plain(err error) string {
	var te *yaml.TypeError
	if errors.As(err, &te) && len(te.Errors) > 0 {
		return te.Errors[0]
	}
	return strings.TrimPrefix(err.Error(), "yaml: ")
}

type checker struct{ file string }

func (c checker) errorf(n *yaml.Node, format string, a ...any) error {
	return &Error{c.file, n.Line, n.Column, fmt.Sprintf(format, a...)}
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

// check walks node against t; path is for messages.
func (c checker) check(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return c.errorf(n, "anchors and aliases are not read here; write the value out")
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	isNull := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	switch {
	case reflect.PointerTo(t).Implements(unmarshaler) || t.Implements(unmarshaler):
		return c.decodes(n, t, path)
	case isNull:
		return nil
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		return c.checkStruct(n, t, path)
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		return c.checkMap(n, t, path)
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, el := range n.Content {
			if err := c.check(el, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() == reflect.Interface:
		return c.checkAny(n, path)
	}
	return c.decodes(n, t, path)
}

// decodes tries the value on its own, so that a wrong type has its place.
func (c checker) decodes(n *yaml.Node, t reflect.Type, path string) error {
	if t.Kind() == reflect.String && n.Kind == yaml.ScalarNode && n.Tag != "!!str" && n.Style == 0 {
		return nil // 2026-07-01 or 1.2 where text is wanted is that text
	}
	if err := n.Decode(reflect.New(t).Interface()); err != nil {
		what := n.Value
		switch n.Kind {
		case yaml.MappingNode:
			what = "a mapping"
		case yaml.SequenceNode:
			what = "a list"
		default:
			what = fmt.Sprintf("%q", what)
		}
		msg := fmt.Sprintf("%s: want %s, got %s", orRoot(path), typeName(t), what)
		if reflect.PointerTo(t).Implements(unmarshaler) {
			msg = fmt.Sprintf("%s: %s", orRoot(path), plain(err))
		}
		return c.errorf(n, "%s", msg)
	}
	return nil
}

func (c checker) checkStruct(n *yaml.Node, t reflect.Type, path string) error {
	fields := map[string]reflect.Type{}
	collectFields(t, fields)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if seen[k.Value] {
			return c.errorf(k, "key %q stands twice", k.Value)
		}
		seen[k.Value] = true
		ft, ok := fields[k.Value]
		if !ok {
			return c.errorf(k, "unknown key %q%s%s", k.Value, inSection(path), nearest(k.Value, fields))
		}
		if err := c.check(v, ft, join(path, k.Value)); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) checkMap(n *yaml.Node, t reflect.Type, path string) error {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if seen[k.Value] {
			return c.errorf(k, "key %q stands twice", k.Value)
		}
		seen[k.Value] = true
		if err := c.check(v, t.Elem(), join(path, k.Value)); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) checkAny(n *yaml.Node, path string) error {
	anyType := reflect.TypeFor[any]()
	switch n.Kind {
	case yaml.MappingNode:
		return c.checkMap(n, reflect.MapOf(reflect.TypeFor[string](), anyType), path)
	case yaml.SequenceNode:
		return c.check(n, reflect.SliceOf(anyType), path)
	}
	return c.decodes(n, anyType, path)
}

func collectFields(t reflect.Type, into map[string]reflect.Type) {
	for f := range fieldsOf(t) {
		if !f.IsExported() {
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		if slices.Contains(strings.Split(opts, ","), "inline") {
			ft := f.Type
			for ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			collectFields(ft, into)
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		into[name] = f.Type
	}
}

func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func typeName(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return `a duration such as "90s" or "24h"`
	case t.String() == "time.Time":
		return "a date or time"
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, not negative"
	}
	return t.String()
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func orRoot(path string) string {
	if path == "" {
		return "the document"
	}
	return path
}

func inSection(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}
