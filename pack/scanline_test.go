package pack

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// sameLine demands that what the scanner reads the decoder reads the same.
func sameLine(t *testing.T, raw []byte) (scanned bool) {
	t.Helper()
	fast, ok := scanLine(raw)
	if !ok {
		return false
	}
	slow, err := decodeLine(raw)
	if err != nil || !reflect.DeepEqual(fast, slow) {
		t.Errorf("%q is read as %+v, and otherwise as %+v (%v)", raw, fast, slow, err)
	}
	return true
}

func manifestLines(t testing.TB) [][]byte {
	entries := entriesOf(t, buildPack(t, content(t), edSigner(t, 1)))
	return bytes.Split(bytes.TrimSuffix(entries[find(t, entries, manifestName)].body, []byte("\n")), []byte("\n"))
}

// TestScannedLines: every line of a pack is of the plain form, and no change
// of one is read otherwise than the decoder reads it.
func TestScannedLines(t *testing.T) {
	lines := manifestLines(t)
	rng := rand.New(rand.NewPCG(2026, 6))
	const bytesOf = `{}[]",:0123456789\\ZT-+.eEnulltruefalse ` + "\x00\x1f\x7f\u00e9<&"
	scanned := 0
	for _, raw := range lines {
		if !sameLine(t, raw) {
			t.Errorf("%s is not read", raw)
		}
		for range 2000 {
			changed := bytes.Clone(raw)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(changed))
				switch rng.IntN(4) {
				case 0:
					changed[at] = bytesOf[rng.IntN(len(bytesOf))]
				case 1:
					changed = slices.Delete(changed, at, min(len(changed), at+1+rng.IntN(12)))
				case 2:
					changed = slices.Insert(changed, at, bytesOf[rng.IntN(len(bytesOf))])
				case 3:
					from := rng.IntN(len(raw))
					changed = slices.Insert(changed, at, raw[from:min(len(raw), from+rng.IntN(30))]...)
				}
				if len(changed) == 0 {
					changed = []byte("{")
				}
			}
			if sameLine(t, changed) {
				scanned++
			}
		}
	}
	if scanned < 1000 {
		t.Errorf("only %d changed lines were read", scanned)
	}
}

// FuzzScanLine looks for a line that is read in two ways.
func FuzzScanLine(f *testing.F) {
	for _, raw := range manifestLines(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { sameLine(t, raw) })
}
