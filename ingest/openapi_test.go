package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"trustpack/evidence"
	"trustpack/ledger"
)

// apiTypes are the Go types that the admin API speaks, besides what paths in
// openapi.yaml say in place. Those that they are made of are found.
func apiTypes() []any {
	return []any{
		Problem{}, evidence.Tenant{}, OperatorRecord{}, RoleChange{}, DeviceRecord{}, AlertView{}, ExportRecord{}, PurgeRecord{}, GrantRecord{}, BreakGlass{}, ConfigVersion{},
		AppliedConfig{}, DeadLetter{}, LogInfo{}, Keeper{}, evidence.Books{}, evidence.DrillResult{}, DrillRuns{}, OperatorToken{}, LoginTerms{}, OperatorSession{}, SessionInfo{}, ledger.Excerpt{}, StateSum{}, DueCredential{}, TenantStatus{},
		WhoCould{}, CutReceipt{}, DevicePage{}, BatchResult{}, BatchApproval{},
	}
}

const generatedFrom = "# From here on the Go types speak: UPDATE_OPENAPI=1 go test ./ingest -run OpenAPI writes it anew.\n"

// apiSchemas are the schemas of types as YAML.
type apiSchemas map[string]string

func (s apiSchemas) of(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "{type: string, format: date-time}"
	case reflect.TypeFor[json.RawMessage]():
		return "{}"
	case reflect.TypeFor[[]byte]():
		return "{type: string, contentEncoding: base64}"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return "{type: string}"
	case reflect.Bool:
		return "{type: boolean}"
	case reflect.Int, reflect.Int64:
		return "{type: integer}"
	case reflect.Float64:
		return "{type: number}"
	case reflect.Slice:
		return "{type: array, items: " + s.of(t.Elem()) + "}"
	case reflect.Map:
		return "{type: object, additionalProperties: " + s.of(t.Elem()) + "}"
	case reflect.Struct:
		if _, known := s[t.Name()]; !known {
			s[t.Name()] = "" // it may hold itself
			s[t.Name()] = s.object(t)
		}
		return "{$ref: '#/components/schemas/" + t.Name() + "'}"
	}
	panic("a type that no answer can have: " + t.String())
}

func (s apiSchemas) object(t reflect.Type) string {
	var required, properties []string
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				walk(f.Type)
				continue
			case !f.IsExported() || name == "-":
				continue
			case name == "":
				name = f.Name
			}
			if !strings.Contains(options, "omit") {
				required = append(required, name)
			}
			properties = append(properties, "        "+name+": "+s.of(f.Type)+"\n")
		}
	}
	walk(t)
	out := "      type: object\n"
	if len(required) > 0 {
		out += "      required: [" + strings.Join(required, ", ") + "]\n"
	}
	return out + "      additionalProperties: false\n      properties:\n" + strings.Join(properties, "")
}

func apiComponents() string {
	s := apiSchemas{}
	for _, x := range apiTypes() {
		s.of(reflect.TypeOf(x))
	}
	var names []string
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	out := `components:
  securitySchemes:
    certificate: {type: mutualTLS}
    token: {type: http, scheme: bearer}
  responses:
    Refused:
      description: Refused, and in the log; PROBLEMS.md lists the codes
      content: {application/problem+json: {schema: {$ref: '#/components/schemas/Problem'}}}
  schemas:
`
	for _, name := range names {
		out += "    " + name + ":\n" + s[name]
	}
	return out
}

// TestOpenAPIComponentsAreTheTypes: what openapi.yaml says of types is what
// they are.
func TestOpenAPIComponentsAreTheTypes(t *testing.T) {
	b, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths, components, ok := strings.Cut(string(b), generatedFrom)
	if !ok {
		t.Fatal("openapi.yaml lacks the line before its components")
	}
	want := apiComponents()
	if os.Getenv("UPDATE_OPENAPI") != "" {
		if err := os.WriteFile("openapi.yaml", []byte(paths+generatedFrom+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if components != want {
		t.Error("the components of openapi.yaml are not what the Go types say; write them anew with UPDATE_OPENAPI=1 go test ./ingest -run OpenAPI")
	}
}

// api is openapi.yaml, read.
type api struct {
	doc   map[string]any
	cache *jsonschema.Compiler
}

func readAPI(t *testing.T) *api {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw(doc)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("https://api.example/openapi.json", plain); err != nil {
		t.Fatal(err)
	}
	return &api{doc, c}
}

// place is where the route stands in openapi.yaml.
func (a *api) place(pattern string) (path, method string) {
	method, path, _ = strings.Cut(pattern, " ")
	return strings.ReplaceAll(path, "{path...}", "{path}"), strings.ToLower(method)
}

func (a *api) operation(pattern string) map[string]any {
	path, method := a.place(pattern)
	paths, _ := a.doc["paths"].(map[string]any)
	item, _ := paths[path].(map[string]any)
	op, _ := item[method].(map[string]any)
	return op
}

// fits checks a JSON body against the schema that stands at the place below
// the route's operation.
func (a *api) fits(pattern string, body []byte, at ...string) error {
	path, method := a.place(pattern)
	pointer := "/paths"
	for _, part := range append([]string{path, method}, at...) {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
	}
	schema, err := a.cache.Compile("https://api.example/openapi.json#" + strings.NewReplacer("{", "%7B", "}", "%7D", "+", "%2B").Replace(pointer))
	if err != nil {
		return fmt.Errorf("%s says nothing of %s: %w", pattern, strings.Join(at, " "), err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// TestOpenAPIHasEachRoute: each route of the admin API is in openapi.yaml with
// its action and a description, and each operation there is a route.
func TestOpenAPIHasEachRoute(t *testing.T) {
	a := readAPI(t)
	have := map[string]bool{"get /v1/admin/login": true, "post /v1/admin/login": true} // of which no operator is asked
	for _, route := range newRig(t).s.adminRoutes() {
		path, method := a.place(route.Pattern)
		have[method+" "+path] = true
		op := a.operation(route.Pattern)
		if op == nil {
			t.Errorf("%s is not in ingest/openapi.yaml: add it under paths (x-action: %s), and a case of it to adminCases in admin_cases_test.go", route.Pattern, route.Action)
			continue
		}
		if summary, _ := op["summary"].(string); len(summary) < 10 {
			t.Errorf("%s: openapi.yaml does not describe it: give it a summary", route.Pattern)
		}
		if op["x-action"] != route.Action {
			t.Errorf("%s: openapi.yaml says x-action %v, the route has %s", route.Pattern, op["x-action"], route.Action)
		}
	}
	paths, _ := a.doc["paths"].(map[string]any)
	for path, item := range paths {
		operations, _ := item.(map[string]any)
		for method := range operations {
			if !have[method+" "+path] {
				t.Errorf("openapi.yaml has %s %s, which is no route", method, path)
			}
		}
	}
}
