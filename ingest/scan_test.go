package ingest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// TestScanAllocatesNothing is the promise of the accept path.
func TestScanAllocatesNothing(t *testing.T) {
	rules, err := loadRules(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	line := `{"seq":42,"time":"2026-07-01T10:00:00.5Z","type":"power.v1","boot":3,"fw":"1.2","data":{"kw":1.5,"phase":"l2","meter":{"kwh":12.25}}}`
	var e event
	s := &scanner{}
	n := testing.AllocsPerRun(100, func() {
		s.event(&e, line, 32)
		if code, detail := rules.judge(s, &e); e.fault != "" || code != "" {
			t.Fatal(e.detail, code, detail)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

// TestKeysTwiceInObjectsOfEverySize puts the second one anywhere.
func TestKeysTwiceInObjectsOfEverySize(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for size := 1; size < 3*fewKeys; size++ {
		var members []string
		for i := range size {
			members = append(members, fmt.Sprintf(`"k%d":{"k%d":[%d]}`, i, i, i))
		}
		whole := "{" + strings.Join(members, ",") + "}"
		if err := (&scanner{b: whole, max: 9}).value(); err != nil {
			t.Fatalf("%s: %v", whole, err)
		}
		again := rnd.IntN(size)
		for at := range size {
			if at == again {
				continue
			}
			twice := append([]string{}, members...)
			twice[at] = fmt.Sprintf(`"\u006b%d":null`, again)
			text := "{" + strings.Join(twice, ",") + "}"
			if err := (&scanner{b: text, max: 9}).value(); err == nil || !strings.Contains(err.Error(), "twice") {
				t.Fatalf("%s: %v", text, err)
			}
		}
	}
}

// TestNumbersReadLikeStrconv compares the short way with the library's.
func TestNumbersReadLikeStrconv(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	list := []string{"0", "-0", "0.1", "0.3", "999999999999999", "9999999999999999", "0.000000000000001", "123456789012345.678", "5e-324", "1.7976931348623157e308", "0.00000000000000000000000001", "-1234.5678"}
	for range 20_000 {
		list = append(list, strconv.FormatFloat(rnd.NormFloat64()*1e3, 'f', rnd.IntN(20), 64), strconv.FormatUint(rnd.Uint64()>>rnd.IntN(60), 10))
	}
	for _, text := range list {
		s := &scanner{b: text, max: 1}
		if err := s.value(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if want, err := strconv.ParseFloat(text, 64); err != nil || s.nodes[0].num != want || 1/s.nodes[0].num != 1/want {
			t.Errorf("%s: %v, want %v (%v)", text, s.nodes[0].num, want, err)
		}
	}
}

// TestTextsOfAnEvent holds how the event's own keys and strings are read, with
// and without what the common ones are free of.
func TestTextsOfAnEvent(t *testing.T) {
	e, _ := scanWith([]byte(`{"\u0073eq" :1,"time":"2026-07-01T10:00:00\u005a","type" : "a\"b\\","f\u0077":"\u00e9é","device":"dé","data":{"\u0061":1}}`), 16)
	if e.fault != "" || !e.hasSeq || e.seq != 1 || e.time != "2026-07-01T10:00:00Z" || e.typ != `a"b\` || e.fw != "éé" || e.device != "dé" {
		t.Fatalf("read as %+v", e)
	}
	for line, want := range map[string]string{
		`{"seq":1,"type":"a`:                  "string without end",
		`{"seq":1,"type":"a\`:                 "string without end",
		`{"seq`:                               "string without end",
		"{\"seq\":1,\"type\":\"a\x1f\"}":      "control character",
		"{\"seq\":1,\"type\":\"a\xc3\"}":      "bad UTF-8",
		"{\"seq\":1,\"ty\xffpe\":\"a\"}":      "bad UTF-8",
		`{"seq":1,"type":"\q"}`:               "bad escape",
		`{"seq":1,"type" "a"}`:                "expected ':'",
		`{"seq":1,"\u0073eq":2}`:              `"seq" stands twice`,
		`{"seq":1,"data":{"a":1,"\u0061":2}}`: "a key stands twice",
	} {
		if e, _ := scanWith([]byte(line), 16); e.fault != CodeEventMalformed || !strings.Contains(e.detail, want) {
			t.Errorf("%q: %s %q, want %q", line, e.fault, e.detail, want)
		}
	}
}
