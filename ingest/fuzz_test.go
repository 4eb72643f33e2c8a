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
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e := scanEvent(line, 16)
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
		if std.Seq != e.seq || std.Boot != e.boot || std.Time != e.time || std.Type != e.typ || std.FW != e.fw || !reflect.DeepEqual(value, e.value) {
			t.Fatalf("read differently:\n%+v\n%+v", std, e)
		}
		b := sender{device: "d", rules: "r"}.appendEvent(nil, &e, nil)
		var back tenantEntry
		if err := json.Unmarshal(b, &back); err != nil || *back.Seq != e.seq || back.Type != e.typ || string(back.Data) != string(e.data) {
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
		lines, n, _, err := splitArray(body, 1000)
		var std []json.RawMessage
		if json.Unmarshal(body, &std) != nil || strings.TrimSpace(string(body)) == "null" {
			return // it may be split, and then the elements are judged one by one
		}
		if err != nil || n != len(std) {
			t.Fatalf("%d elements and %v, encoding/json reads %d", n, err, len(std))
		}
		for i := range min(n, 1000) {
			if string(lines[i]) != string(std[i]) {
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
		set := &settings{c, &rules{}}
		if _, err := json.Marshal(set.effective()); err != nil {
			t.Fatalf("a configuration that was taken cannot be logged: %v", err)
		}
		g := &gcra{}
		if ok, _, _ := g.take(t0, 1, c.Rates.Device); !ok {
			t.Fatal("the first event is refused")
		}
	})
}

// FuzzFastCheck holds the compiled checks to the library: what they let pass
// must be valid, and for schemas that they take, what they refuse must not be.
func FuzzFastCheck(f *testing.F) {
	schemas := []string{
		powerSchema, `true`, `false`, `{"type":["string","null"],"minLength":2,"maxLength":3,"pattern":"^é"}`, `{"type":"integer","exclusiveMinimum":0,"maximum":10}`,
		`{"properties":{"a":{"items":{"type":"string","format":"date-time"},"minItems":1,"maxItems":2}},"additionalProperties":{"type":"boolean"},"minProperties":1,"maxProperties":2}`,
		`{"enum":["a","b"]}`, `{"type":"number","minimum":0.1}`, `{"not":{}}`, `{"const":1}`,
	}
	for i := range schemas {
		for _, d := range []string{`{"kw":1}`, `null`, `"éa"`, `"a"`, `10`, `10.5`, `{"a":["2026-07-01T00:00:00Z"],"b":true}`, `{"a":[]}`, `[1]`, `0.1`} {
			f.Add(uint8(i), d)
		}
	}
	compiled := make([]*jsonschema.Schema, len(schemas))
	checks := make([]check, len(schemas))
	fast := 0
	for i, text := range schemas {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			f.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("urn:s", doc); err != nil {
			f.Fatal(err)
		}
		if compiled[i], err = c.Compile("urn:s"); err != nil {
			f.Fatal(err)
		}
		if k, ok := compileFast(compiled[i]); ok {
			checks[i] = k
			fast++
		}
	}
	if fast != 7 {
		f.Fatalf("%d of the schemas are compiled, want 7", fast)
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		i := int(which) % len(schemas)
		s := &scanner{b: []byte(text), max: 16}
		v, err := s.value()
		if err != nil || checks[i] == nil {
			return
		}
		if valid := compiled[i].Validate(v) == nil; valid != checks[i](v) {
			t.Fatalf("schema %s, data %s: the library says %v", schemas[i], text, valid)
		}
	})
}
