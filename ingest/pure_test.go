package ingest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trustpack/internal/strictyaml"
)

func TestRateLimitIsExact(t *testing.T) {
	r := Rate{PerSecond: 2, Burst: 4}
	g := &gcra{}
	for i := range 4 {
		if ok, left, _ := g.take(t0, 1, r); !ok || left != 3-i {
			t.Fatalf("event %d of the burst: %v, left %d", i, ok, left)
		}
	}
	ok, _, retry := g.take(t0, 1, r)
	if ok || retry != 500*time.Millisecond {
		t.Fatalf("one over the burst: %v, retry %v", ok, retry)
	}
	if ok, _, _ := g.take(t0.Add(499*time.Millisecond), 1, r); ok {
		t.Error("let in just before its time")
	}
	if ok, _, _ := g.take(t0.Add(500*time.Millisecond), 1, r); !ok {
		t.Error("refused at its time")
	}
	if g.idle(t0.Add(500 * time.Millisecond)) {
		t.Error("idle while not full")
	}
}

func TestRateLimitLargeBatchLeavesDebt(t *testing.T) {
	r := Rate{PerSecond: 10, Burst: 5}
	g := &gcra{}
	if ok, _, _ := g.take(t0, 50, r); !ok {
		t.Fatal("a batch over the burst must pass a full bucket")
	}
	if ok, _, _ := g.take(t0.Add(4599*time.Millisecond), 1, r); ok {
		t.Error("let in while in debt")
	}
	if ok, _, _ := g.take(t0.Add(4600*time.Millisecond), 1, r); !ok {
		t.Error("refused when the debt was paid")
	}
	g = &gcra{}
	g.take(t0, 5, r)
	g.give(5, r)
	if ok, _, _ := g.take(t0, 5, r); !ok {
		t.Error("what was given back is missing")
	}
}

func TestScanEvent(t *testing.T) {
	good := `{"seq":42,"time":"2026-07-01T10:00:00Z","type":"power.v1","boot":3,"fw":"1.2","data":{"kw":1.5,"a":[1,{"b":null}],"é":"\u00e9\ud83d\ude00"}}`
	e, sc := scanWith([]byte(good), 32)
	if e.fault != "" || e.seq != 42 || e.boot != 3 || e.fw != "1.2" || e.typ != "power.v1" || !strings.HasPrefix(e.data, `{"kw"`) {
		t.Fatalf("%+v", e)
	}
	if got := sc.decode(e.root).(map[string]any)["é"]; got != "é😀" {
		t.Errorf("escapes: %q", got)
	}
	wrap := func(data string) string {
		return `{"seq":1,"time":"2026-07-01T10:00:00Z","type":"x","data":` + data + `}`
	}
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n-2) + strings.Repeat("]", n-2) + "}" }
	for name, c := range map[string]struct {
		line string
		want Code
	}{
		"good":            {wrap(`{}`), ""},
		"depth at limit":  {wrap(deep(32)), ""},
		"depth over":      {wrap(deep(33)), CodeEventTooDeep},
		"empty":           {``, CodeEventMalformed},
		"array":           {`[]`, CodeEventMalformed},
		"truncated":       {good[:50], CodeEventMalformed},
		"trailing":        {good + "{}", CodeEventMalformed},
		"no seq":          {`{"time":"2026-07-01T10:00:00Z","type":"x","data":{}}`, CodeEventMalformed},
		"no data":         {`{"seq":1,"time":"2026-07-01T10:00:00Z","type":"x"}`, CodeEventMalformed},
		"data not object": {wrap(`1`), CodeEventMalformed},
		"key twice":       {`{"seq":1,"seq":2,"time":"2026-07-01T10:00:00Z","type":"x","data":{}}`, CodeEventMalformed},
		"inner key twice": {wrap(`{"a":1,"\u0061":2}`), CodeEventMalformed},
		"unknown key":     {`{"seq":1,"time":"2026-07-01T10:00:00Z","type":"x","data":{},"y":1}`, CodeEventMalformed},
		"negative seq":    {strings.Replace(wrap(`{}`), `"seq":1`, `"seq":-1`, 1), CodeEventMalformed},
		"fraction seq":    {strings.Replace(wrap(`{}`), `"seq":1`, `"seq":1.0`, 1), CodeEventMalformed},
		"seq 2^53":        {strings.Replace(wrap(`{}`), `"seq":1`, `"seq":9007199254740992`, 1), ""},
		"seq over 2^53":   {strings.Replace(wrap(`{}`), `"seq":1`, `"seq":9007199254740993`, 1), CodeEventMalformed},
		"leading zero":    {strings.Replace(wrap(`{}`), `"seq":1`, `"seq":01`, 1), CodeEventMalformed},
		"bad time":        {strings.Replace(wrap(`{}`), `T10:00:00Z`, ` 10:00`, 1), CodeEventMalformed},
		"NaN":             {wrap(`{"a":NaN}`), CodeEventMalformed},
		"huge number":     {wrap(`{"a":1e309}`), CodeEventMalformed},
		"largest number":  {wrap(`{"a":1e308}`), ""},
		"bad UTF-8":       {wrap("{\"a\":\"\xff\"}"), CodeEventMalformed},
		"lone surrogate":  {wrap(`{"a":"\ud800"}`), CodeEventMalformed},
		"control char":    {wrap("{\"a\":\"\x01\"}"), CodeEventMalformed},
		"number 01":       {wrap(`{"a":01}`), CodeEventMalformed},
		"number 1.":       {wrap(`{"a":1.}`), CodeEventMalformed},
		"number -":        {wrap(`{"a":-}`), CodeEventMalformed},
		"trailing comma":  {wrap(`{"a":1,}`), CodeEventMalformed},
		"line at limit":   {wrap(`{"a":"` + strings.Repeat("x", maxLine-len(wrap(`{"a":""}`))) + `"}`), ""},
		"line over limit": {wrap(`{"a":"` + strings.Repeat("x", maxLine+1-len(wrap(`{"a":""}`))) + `"}`), CodeEventTooLarge},
		"type not string": {strings.Replace(wrap(`{}`), `"x"`, `7`, 1), CodeEventMalformed},
	} {
		if e := scanEvent([]byte(c.line), 32); e.fault != c.want {
			t.Errorf("%s: got %q (%s), want %q", name, e.fault, e.detail, c.want)
		}
	}
}

func TestTenantClaimIsSeenEvenWhereItIsNoString(t *testing.T) {
	for _, v := range []string{`"other"`, `null`, `["x"]`} {
		if e := scanEvent([]byte(`{"tenant":`+v+`,"seq":1}`), 32); !e.claimed {
			t.Errorf("tenant %s: not seen", v)
		}
	}
}

func TestSplit(t *testing.T) {
	lines, n, ok := splitLines(nil, "a\n\n b \r\nc", 3)
	if len(lines) != 3 || n != 3 || !ok || lines[1] != "b" {
		t.Errorf("%q %d %v", lines, n, ok)
	}
	if _, n, ok := splitLines(nil, "a\nb\nc\nd", 3); ok || n != 4 {
		t.Errorf("four lines with a limit of three: %d %v", n, ok)
	}
	lines, n, ok, err := splitArray(nil, ` [ {"a":"],{\"" , "b":[1,2]} , 5 ] `, 2)
	if err != nil || !ok || n != 2 || lines[0] != `{"a":"],{\"" , "b":[1,2]}` || lines[1] != "5" {
		t.Errorf("%q %d %v %v", lines, n, ok, err)
	}
	if lines, n, _, err := splitArray(nil, `[]`, 2); err != nil || n != 0 || lines != nil {
		t.Error(lines, n, err)
	}
	if _, n, ok, err := splitArray(nil, `[1,2,3]`, 2); ok || n != 3 || err != nil {
		t.Error(n, ok, err)
	}
	for _, bad := range []string{``, `{}`, `[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1] x`, `[}]`, `["a`, `[{]`} {
		if _, _, _, err := splitArray(nil, bad, 9); err == nil {
			if lines, _, _, _ := splitArray(nil, bad, 9); len(lines) == 0 || scanEvent([]byte(lines[0]), 9).fault == "" {
				t.Errorf("%q: no error", bad)
			}
		}
	}
}

func TestRules(t *testing.T) {
	cfg := testConfig(t)
	one := 1.0
	cfg.Ranges = map[string]Fields{"power.v1": {"meter.kwh": {Min: &one}}}
	r, err := loadRules(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]Code{
		`{"kw":1}`: "", `{"kw":500}`: "", `{"kw":500.01}`: CodeRangeViolation, `{"kw":-1000}`: "", `{"kw":-1000.5}`: CodeRangeViolation,
		`{}`: CodeSchemaViolation, `{"kw":"1"}`: CodeSchemaViolation, `{"kw":1,"x":1}`: CodeSchemaViolation, `{"kw":1,"phase":"l9"}`: CodeSchemaViolation,
		`{"kw":1,"meter":{"kwh":1}}`: "", `{"kw":1,"meter":{"kwh":0.9}}`: CodeRangeViolation, `{"kw":-2000,"phase":"l9"}`: CodeSchemaViolation,
	} {
		s := &scanner{b: data, max: 9}
		if err := s.value(); err != nil {
			t.Fatal(err)
		}
		if got, detail := r.judge(s, &event{typ: "power.v1"}); got != want {
			t.Errorf("%s: got %q (%s), want %q", data, got, detail, want)
		} else if want != "" && detail == "" {
			t.Errorf("%s: no detail", data)
		}
	}
	if got, _ := r.judge(nil, &event{typ: "other"}); got != CodeUnknownType {
		t.Error(got)
	}
	i := r.infos()[0]
	if strings.Join(i.NumericFields, " ") != "kw meter.kwh" || strings.Join(i.RangedFields, " ") != "kw meter.kwh" || strings.Join(i.Required, " ") != "kw" {
		t.Errorf("%+v", i)
	}
	hash := r.hash
	two := 2.0
	cfg.Ranges["power.v1"]["meter.kwh"] = Range{Min: &two}
	if r, err = loadRules(cfg); err != nil || r.hash == hash {
		t.Error("another range must give another hash", err)
	}
}

func TestRulesRefuse(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"name the folder":       func(c *Config) { c.Schemas = "" },
		"no such file":          func(c *Config) { c.Schemas = filepath.Join(c.Schemas, "nowhere") },
		"no event could be":     func(c *Config) { c.Schemas = filepath.Dir(c.Schemas) },
		"there is no schema":    func(c *Config) { one := 1.0; c.Ranges = map[string]Fields{"gas.v1": {"x": {Min: &one}}} },
		"declares no number":    func(c *Config) { one := 1.0; c.Ranges = map[string]Fields{"power.v1": {"phase": {Min: &one}}} },
		"compiling schema":      func(c *Config) { write(t, c.Schemas, `{"type":"nothing"}`) },
		"reading schema":        func(c *Config) { write(t, c.Schemas, `{`) },
		"all that it refers to": func(c *Config) { write(t, c.Schemas, `{"$ref":"https://example.com/x.json"}`) },
	} {
		cfg := testConfig(t)
		change(&cfg)
		if _, err := loadRules(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error with %q, got %v", name, err)
		}
	}
}

func write(t *testing.T, dir, schema string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "power.v1.schema.json"), []byte(schema), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfig(t *testing.T) {
	read := func(text string) error {
		c := struct {
			Ingest Config `yaml:"ingest"`
		}{DefaultConfig()}
		if err := strictyaml.Decode("trustpack.yaml", []byte(text), &c); err != nil {
			return err
		}
		return c.Ingest.Validate()
	}
	for text, want := range map[string]string{
		"ingest: {}": "",
		"ingest: {limits: {body_bytes: 1}, heartbeat: {types: {meter: 90s}}, approvals: {critical_fleets: [a]}}": "",
		"ingest: {rates: {device: {per_second: 0}}}":                                                             "ingest.rates.device.per_second",
		"ingest: {rates: {device: {per_second: .nan}}}":                                                          "ingest.rates.device.per_second",
		"ingest: {limits: {lines: 0}}":                                                                           "ingest.limits.lines: 0 is outside",
		"ingest: {limits: {lines: 1000000}}":                                                                     "one append takes",
		"ingest: {ranges: {t: {f: {max: .inf}}}}":                                                                "is no bound",
		"ingest: {listen: nonsense}":                                                                             "ingest.listen",
		"ingest: {time: {flag: 20m}}":                                                                            "ingest.time.flag",
		"ingest: {heartbeat: {types: {m: 0s}}}":                                                                  "ingest.heartbeat.types.m",
		"ingest: {heartbeat: {missed: 1}}":                                                                       "ingest.heartbeat.missed",
		"ingest: {ranges: {t: {f: {}}}}":                                                                         "ingest.ranges.t.f",
		"ingest: {ranges: {t: {f: {min: 2, max: 1}}}}":                                                           "above max",
		"ingest:\n  limits:\n    body_byte: 1":                                                                   "trustpack.yaml:3:5",
	} {
		err := read(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestDiff(t *testing.T) {
	got, err := diffJSON([]byte(`{"a":{"b":1,"c":[1]},"d":"x"}`), []byte(`{"a":{"b":2,"c":[1]},"e":true}`))
	if want := "a.b: 1 -> 2|d: removed \"x\"|e: added true"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestProblemsAreOneList(t *testing.T) {
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[Code]bool{}
	for _, p := range Problems() {
		if listed[p.Code] || p.Meaning == "" || p.Scope == "" {
			t.Errorf("%s stands twice or says nothing", p.Code)
		}
		listed[p.Code] = true
	}
	declared := 0
	for line := range strings.Lines(string(source)) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, "Code") || !strings.Contains(rest, `Code = "`) {
			continue
		}
		declared++
		code := Code(strings.Trim(rest[strings.Index(rest, `"`):], "\""))
		if !listed[code] {
			t.Errorf("%s is not in the table", code)
		}
	}
	if declared != len(listed) || declared < 30 {
		t.Errorf("%d constants, %d rows", declared, len(listed))
	}
}

func TestTimePolicyEdges(t *testing.T) {
	p := DefaultConfig().Time
	for off, want := range map[time.Duration]string{
		0: "", 2 * time.Minute: "", 2*time.Minute + 1: "time.ahead", -2 * time.Minute: "", -2*time.Minute - 1: "time.behind",
		10 * time.Minute: "time.ahead", 10*time.Minute + 1: string(CodeTimeFuture), -7 * day: "time.behind", -7*day - 1: string(CodeTimeTooOld),
	} {
		code, _, flags := p.judge(t0.Add(off), t0)
		if got := string(code) + strings.Join(flags, ","); got != want {
			t.Errorf("%v: got %q, want %q", off, got, want)
		}
	}
	if code, _, _ := p.judge(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), t0); code != CodeTimeFuture {
		t.Error("the far future")
	}
	if code, _, _ := p.judge(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), t0); code != CodeTimeTooOld {
		t.Error("the far past")
	}
}

func TestProblemTableIsCurrent(t *testing.T) {
	want := ProblemTable()
	if os.Getenv("UPDATE_PROBLEMS") != "" {
		if err := os.WriteFile("PROBLEMS.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("PROBLEMS.md")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("PROBLEMS.md is not what Problems() says (%v); write it anew with UPDATE_PROBLEMS=1 go test ./ingest -run ProblemTable", err)
	}
}

func TestAppendedEntriesAreCanonical(t *testing.T) {
	f := sender{device: "m-1", gen: 2, received: t0.Add(1), rules: strings.Repeat("ab", 32)}
	e := scanEvent([]byte(`{"seq":7,"boot":3,"time":"2026-07-01T00:00:00Z","type":"a\"b<é","fw":"v\u0001","data":{"a":1,"b":"x"}}`), 9)
	for name, b := range map[string][]byte{
		"event": f.appendEvent(nil, &e, flagAhead), "dead letter": f.appendDeadLetter(nil, &e, CodeTimeFuture, "é \"quoted\""),
		"tally": f.appendTally(nil, counts{9, 1, 2, 3, 3, 0}), "replay": f.appendReplay(&e, flagAhead, 3),
	} {
		var v any
		if err := unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %v: %s", name, err, b)
		}
		if canonical, err := canonicalOf(v); err != nil || string(canonical) != string(b) {
			t.Errorf("%s is not canonical:\n%s\n%s", name, b, canonical)
		}
		var back tenantEntry
		if err := unmarshal(b, &back); err != nil || back.Device != "m-1" || back.Gen != 2 || !back.Received.Equal(f.received) {
			t.Errorf("%s: %v %+v", name, err, back)
		}
	}
}
