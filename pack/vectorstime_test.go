package pack

import (
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// timestamps are vectors of cases 27, 32 and 33: a timestamp that tells of a
// key that had expired, a time that cannot be, a token that proves nothing.
func (m *vectorMaker) timestamps() {
	const path = "signatures/vendor-1.tsr"
	later := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC) // when the authority's certificates have expired too
	stamped := func(a *testTSA) ([]byte, vectorAnchors) {
		data, _ := stampedPack(m.t, a)
		anchors := m.anchors
		anchors.TSARoots = []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}))}
		anchors.Now = &later
		return data, anchors
	}
	for _, isRSA := range []bool{false, true} {
		of := map[bool]string{false: ", ECDSA", true: ", RSA"}[isRSA]
		for _, wrong := range wrongTokens(isRSA) {
			a := newTestTSA(m.t, isRSA)
			wrong.set(a)
			number := 33
			if slices.Contains([]string{"before the period's end", "collected after it"}, wrong.name) {
				number = 32
			}
			data, anchors := stamped(a)
			m.add(number, "token "+strings.ReplaceAll(wrong.name, ".", "")+of, checkTime, path, data).Anchors = anchors
		}
		a := newTestTSA(m.t, isRSA)
		data, anchors := stamped(a)
		e := entriesOf(m.t, data)
		reply := e[find(m.t, e, path)].body
		reply[len(reply)-1] ^= 1
		changed := m.add(33, "token changed, no roots given"+of, checkTime, path, zipOf(m.t, e))
		changed.Anchors = anchors
		changed.Anchors.TSARoots = []string{}
		until := a.genTime.Add(-time.Second)
		expired := anchors.Keys[0]
		expired.Until = &until
		anchors.Keys = []vectorKey{expired}
		m.add(27, "key expired at genTime"+of, checkSigPrefix+roleVendor, bundleName(roleVendor, 1), data).Anchors = anchors
	}
}
