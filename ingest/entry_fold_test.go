package ingest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// entriesByChance gives entries of all kinds as the ingest writes them.
func entriesByChance(rnd *rand.Rand) (out [][]byte) {
	texts := []string{"meter-1", "meter-2", "power.v1", "x", "y", "a", "größe", `qu"ote`, "4.2.1", "tab\t", "Z-9_.x", "\u2028"}
	some := func() string { return texts[rnd.IntN(len(texts))] }
	received := t0.Add(time.Duration(rnd.Int64N(1e17)))
	if rnd.IntN(3) == 0 {
		received = received.Truncate(time.Second)
	}
	f := sender{device: some(), gen: 1 + rnd.IntN(3), rules: "9f86"}
	f.stamp(received)
	zone := []*time.Location{time.UTC, time.FixedZone("", -5400)}[rnd.IntN(2)]
	e := event{boot: rnd.Int64N(1 << 53), seq: rnd.Int64N(1000), hasSeq: rnd.IntN(4) > 0, at: received, time: received.In(zone).Format(time.RFC3339Nano), typ: some(), fw: some(), raw: `{"x":1}`, data: `{"kw":[1,"}"]}`}
	if rnd.IntN(2) == 0 {
		e.fw = ""
	}
	out = append(out, f.appendDeadLetter(nil, &e, CodeTimeFuture, some()))
	e.hasSeq = true
	out = append(out, f.appendEvent(nil, &e, [][]string{nil, flagAhead, {"a", "b"}}[rnd.IntN(3)]), f.appendReplay(&e, nil, rnd.Int64N(99)))
	return append(out, f.appendTally(nil, counts{rnd.Int64N(9), rnd.Int64N(9), 3, 4, 5, 0}))
}

// TestEntriesAreScannedAsTheyAreDecoded: of what the ingest writes the scanner
// says what encoding/json says, and has a word on all that is plain.
func TestEntriesAreScannedAsTheyAreDecoded(t *testing.T) {
	rnd, scanned := rand.New(rand.NewPCG(1, 9)), 0
	for range 2000 {
		for _, data := range entriesByChance(rnd) {
			want, err := decodeFolded(data)
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			var got foldedEntry
			if !got.scan(data) {
				continue
			}
			scanned++
			if !sameFolded(got, want) {
				t.Fatalf("%s:\nscanned %+v\ndecoded %+v", data, got, want)
			}
		}
	}
	if scanned < 2500 {
		t.Errorf("only %d of 8000 entries were scanned", scanned)
	}
	for _, plain := range []string{
		`{"boot":3,"device":"m","flags":["time.ahead"],"fw":"1","gen":1,"received":"2026-07-01T10:00:00.5Z","rules":"9f","seq":0,"t":"event","time":"2026-07-01T12:00:00+02:00","type":"p"}`,
		`{"accepted":1,"dead_lettered":0,"device":"m","duplicate":2,"gen":1,"received":"2028-02-29T10:00:00Z","received_lines":3,"refused":0,"t":"tally"}`,
		`{"detail":"d","device":"m","gen":1,"reason":"x","received":"2026-07-01T10:00:00.123456789Z","rules":"9f","t":"deadletter"}`,
	} {
		var e foldedEntry
		if !e.scan([]byte(plain)) {
			t.Errorf("not scanned: %s", plain)
		}
	}
}

func sameFolded(a, b foldedEntry) bool {
	same := string(a.device) == string(b.device) && string(a.fw) == string(b.fw) && a.at.Equal(b.at) && a.at.Format(time.RFC3339Nano) == b.at.Format(time.RFC3339Nano)
	a.device, a.fw, a.at, b.device, b.fw, b.at = nil, nil, time.Time{}, nil, nil, time.Time{}
	return same && reflect.DeepEqual(a, b)
}

// FuzzFoldedEntry: whatever the scanner takes, encoding/json takes too and
// makes the same of it.
func FuzzFoldedEntry(f *testing.F) {
	rnd := rand.New(rand.NewPCG(2, 9))
	for range 3 {
		for _, data := range entriesByChance(rnd) {
			f.Add(data)
		}
	}
	f.Add([]byte(`{"device":"m","gen":1,"received":"2026-02-30T10:00:00Z","t":"tally"}`))
	f.Add([]byte(`{"device":"m","gen":01,"received":"2026-02-28T10:00:00Z","t":"tally"}`))
	f.Add([]byte(`{"device":"m","device":"n","gen":1,"gen":2,"received":"2026-02-28T10:00:00Z","t":"tally","t":"deadletter"}`))
	f.Add([]byte(`{"device":"m","gen":01,"received":"2026-02-28T10:00:00.0Z","seq":-0,"t":"event","time":"2026-02-28T24:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got foldedEntry
		if !got.scan(data) {
			return
		}
		want, err := decodeFolded(data)
		if err != nil || !sameFolded(got, want) {
			t.Errorf("%s:\nscanned %+v\ndecoded %+v, %v", data, got, want, err)
		}
	})
}

func BenchmarkReadFolded(b *testing.B) {
	e := event{boot: 3, seq: 12345, hasSeq: true, time: "2026-07-01T10:00:00Z", typ: "power.v1", fw: "4.2.1"}
	f := sender{device: "meter-00042", gen: 1, rules: fmt.Sprintf("%064d", 1)}
	f.stamp(t0.Add(123456789))
	line := f.appendEvent(nil, &e, nil)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readFolded(line); err != nil {
			b.Fatal(err)
		}
	}
}
