package ingest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"trustpack/internal/strictyaml"
)

// FuzzEventLine holds the scanner against encoding/json: whatever it takes,
// the standard library reads the same, and its entry is valid JSON.
func FuzzEventLine(f *testing.F) {
	seeds := []string{
		`{"seq":1,"time":"2026-07-01T10:00:00Z","type":"power.v1","data":{"kw":1.5e3,"a":[true,false,null,"\u00e9\ud83d\ude00\\\/"]}}`,
		`{"seq":9007199254740992,"boot":3,"fw":"é","device":"m","tenant":"t","time":"2026-07-01T10:00:00.5+02:00","type":"x","data":{}}`,
		`{"seq":1,"seq":2}`, `{"data":{"a":1,"a":2}}`, `{"data":{"a":[[[[[[[[]]]]]]]]}}`, "{\"data\":{\"\xff\":\"\\ud800\"}}", `{"data":{"n":-0.0e-5,"m":1e999}}`, `[`, ``,
		`{"\u0073eq":1,"time":"2026-07-01T10:00:00\u005a","type":"a\"b\\","fw":"\u00e9é","data":{"\u0061":1}}`, "{\"seq\":1,\"fw\":\"a\x01\"}", "{\"seq\":1,\"type\":\"\xff\"}",
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, sc := scanWith(line, 16)
		if e.fault != "" {
			from := sender{device: "d", rules: "r"}
			if b := from.appendDeadLetter(nil, &e, e.fault, clip(e.detail)); !json.Valid(b) {
				t.Fatalf("dead letter is no JSON: %s", b)
			}
			return
		}
		var std struct {
			Seq  int64
			Boot int64
			Time string
			Type string
			FW   string
			Data json.RawMessage
		}
		if err := json.Unmarshal(line, &std); err != nil {
			t.Fatalf("taken, but encoding/json says %v", err)
		}
		var value any
		if err := json.Unmarshal(std.Data, &value); err != nil {
			t.Fatal(err)
		}
		if std.Seq != e.seq || std.Boot != e.boot || std.Time != e.time || std.Type != e.typ || std.FW != e.fw || !reflect.DeepEqual(value, sc.decode(e.root)) {
			t.Fatalf("read differently:\n%+v\n%+v", std, e)
		}
		f := sender{device: "d", rules: "r"}
		b := f.appendEvent(nil, &e, nil)
		var back tenantEntry
		if err := json.Unmarshal(b, &back); err != nil || *back.Seq != e.seq || back.Type != e.typ {
			t.Fatalf("entry: %v %s", err, b)
		}
	})
}

// FuzzArray holds the splitting of an array against encoding/json.
func FuzzArray(f *testing.F) {
	for _, s := range []string{`[{"a":1},{"b":"],["}]`, `[]`, `[1,"\"",[2,[3]]]`, `[,]`, `[{]}`, `[1`, ` [ 1 ] x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		lines, n, _, err := splitArray(nil, string(body), 1000)
		var std []json.RawMessage
		if json.Unmarshal(body, &std) != nil || strings.TrimSpace(string(body)) == "null" {
			return // it may be split, and then the elements are judged one by one
		}
		if err != nil || n != len(std) {
			t.Fatalf("%d elements and %v, encoding/json reads %d", n, err, len(std))
		}
		for i := range min(n, 1000) {
			if lines[i] != string(std[i]) {
				t.Fatalf("element %d: %q, encoding/json reads %q", i, lines[i], std[i])
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"listen: a:1", "limits: {body_bytes: 5}", "ranges: {x: {y: {min: 1, max: .inf}}}", "heartbeat: {types: {m: 5m}}", "time: {flag: -1s}", "rates: {device: {per_second: .nan}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := DefaultConfig()
		if strictyaml.Decode("x.yaml", data, &c) != nil || c.Validate() != nil {
			return
		}
		set := &settings{c, &rules{}, &externals{}}
		if _, err := json.Marshal(set.effective()); err != nil {
			t.Fatalf("a configuration that was taken cannot be logged: %v", err)
		}
		g := &gcra{}
		if ok, _, _ := g.take(t0, 1, c.Rates.Device); !ok {
			t.Fatal("the first event is refused")
		}
	})
}

// TestWhichSchemasAreCompiled tells the schemas that run on the scan from those
// that the library judges.
func TestWhichSchemasAreCompiled(t *testing.T) {
	for _, list := range []struct {
		schemas []string
		fast    bool
	}{{commonSchemas, true}, {otherSchemas, false}} {
		for _, text := range list.schemas {
			s := compileSchema(text)
			if s == nil {
				t.Fatalf("%s does not compile", text)
			}
			if _, ok := compileFast(s); ok != list.fast {
				t.Errorf("%s is compiled to checks: %v, want %v", text, ok, list.fast)
			}
		}
	}
}

var commonSchemas = []string{
	powerSchema, `true`, `false`, `{}`, `{"type":["string","null"],"minLength":2,"maxLength":3,"pattern":"^é"}`,
	`{"type":"integer","exclusiveMinimum":0,"maximum":10}`, `{"type":"number","minimum":0.1,"exclusiveMaximum":99.9}`,
	`{"properties":{"a":{"items":{"type":"string","format":"date-time"},"minItems":1,"maxItems":2}},"additionalProperties":{"type":"boolean"},"minProperties":1,"maxProperties":2}`,
	`{"enum":["a","b",1,0.5,null,true]}`, `{"const":1}`, `{"const":"a","enum":["a","b"]}`, `{"const":false}`, `{"required":["a","b"],"properties":{"a":{"type":"array"}}}`,
	`{"required":["b"],"additionalProperties":{"type":"string"}}`, `{"$schema":"http://json-schema.org/draft-07/schema#","items":{"type":"integer"}}`, `{"format":"ipv4"}`, `{"format":"date-time"}`,
	`{"properties":{"a":{},"b":{},"c":{},"d":{},"e":{},"f":{},"g":{},"h":{},"i":{},"j":{},"k":{},"l":{},"m":{"const":3}},"additionalProperties":false}`,
}

var otherSchemas = []string{
	`{"not":{}}`, `{"const":{"a":1}}`, `{"enum":[[1]]}`, `{"multipleOf":2}`, `{"uniqueItems":true}`, `{"$ref":"#/$defs/a","$defs":{"a":{"type":"null"}}}`,
	`{"minimum":9007199254740993}`, `{"const":0.1000000000000000000001}`, `{"patternProperties":{"^a":{"type":"null"}}}`, `{"properties":{"a":{"anyOf":[{"type":"null"}]}}}`,
	`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"integer"}]}`, `{"prefixItems":[{"type":"integer"}]}`, `{"dependentRequired":{"a":["b"]}}`,
}

// compileSchema gives nil for a text that is no schema.
func compileSchema(text string) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(noLoader{})
	if c.AddResource("urn:s", doc) != nil {
		return nil
	}
	s, err := c.Compile("urn:s")
	if err != nil {
		return nil
	}
	return s
}

// FuzzFastCheck holds the compiled checks to the library: where they take a
// schema both say the same of the same data.
func FuzzFastCheck(f *testing.F) {
	for _, schema := range append(append([]string{}, commonSchemas...), otherSchemas...) {
		for _, d := range []string{
			`{"kw":1}`, `{"kw":1,"phase":"l2","meter":{"kwh":1e300}}`, `null`, `true`, `false`, `"éa"`, `"\u00e9a"`, `"a"`, `10`, `10.5`, `1.0`, `0.5`, `-0`, `99.9`, `{"m":3}`, `{"m":4}`, `{"z":1}`,
			`{"a":["2026-07-01T00:00:00Z"],"b":true}`, `{"a":[]}`, `[1]`, `[1.0,2e0,3.5]`, `0.1`, `9007199254740993`, `{"a":[],"b":null}`, `{"b":"x"}`, `"127.0.0.1"`, `{"\u0061":[]}`,
			`"2026-02-29T00:00:00Z"`, `"2024-02-29T23:59:60Z"`, `"2026-07-31T24:00:00+02:00"`, `"2026-07-01t10:00:00.5z"`, `"2026-07-01T10:00:00.123-23:59"`, `"2026-07-01T10:00:00.Z"`, `"2026-07-01T+1:00:00Z"`,
			`"2026-07-01T10:00:00+24:00"`, `"2026-00-01T10:00:00Z"`, `"0000-01-01T00:00:00Z"`, `"2026-07-01T10:00:00"`,
		} {
			f.Add(schema, d)
		}
	}
	f.Fuzz(func(t *testing.T, schema, text string) {
		compiled := compileSchema(schema)
		if compiled == nil {
			return
		}
		fast, ok := compileFast(compiled)
		s := &scanner{b: text, max: 16}
		if s.value() != nil || !ok {
			return
		}
		if err := compiled.Validate(s.decode(0)); (err == nil) != fast(s, 0) {
			t.Fatalf("schema %s, data %s: the library says %v", schema, text, err)
		}
	})
}
